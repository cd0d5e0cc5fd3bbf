package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Device is a block device, with what /sys/block says of it.
type Device struct {
	Name   string   // "vda1"
	Number string   // "254:1", of the device that the file system is on
	Disk   string   // that it is a partition of: "vda"; its own name where it is none
	Model  string   // "" where it has none
	Below  []string // the devices that it is made of (device mapper, RAID), by name

	Size          int64  // bytes
	LogicalBlock  int    // bytes: the least that it reads and writes
	PhysicalBlock int    // bytes: the least that it writes without reading
	OptimalIO     int    // bytes; 0 where it does not tell
	Requests      int    // nr_requests: how many its queue holds
	Scheduler     string // "none", "mq-deadline", ...; "" where it has none
	Rotational    bool
	WriteCache    string // "write back" or "write through"

	disk string // number of the disk
}

// A Throttle is a limit that a cgroup of this process sets for the device.
type Throttle struct {
	Cgroup string // its path
	Limit  string // "read bytes/s", "write bytes/s", "read requests/s" or "write requests/s"
	Value  int64
}

// mountOf finds the line of mountinfo that fd is on.
func mountOf(fd int) Mount {
	id, ok := aio.MountID(fd)
	if !ok {
		return Mount{}
	}
	return parseMount(readText("/proc/self/mountinfo"), id)
}

// parseMount reads proc_pid_mountinfo(5): "36 35 98:0 /root /point options opt:1 - type
// source super", with spaces in names as \040.
func parseMount(text string, id uint64) Mount {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if len(fields) < 6 || fields[0] != strconv.FormatUint(id, 10) || dash < 0 || len(fields) < dash+3 {
			continue
		}
		return Mount{Point: unescape(fields[4]), Source: unescape(fields[dash+2]), Options: fields[5]}
	}
	return Mount{}
}

// unescape replaces \ooo, as the kernel writes spaces, tabs, newlines and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// deviceOf returns what /sys says of the device with the number, or, where that is none
// of a device (btrfs has numbers of its own), of the one that is mounted.
func deviceOf(number uint64, source string) *Device {
	major, minor := aio.SplitDevice(number)
	text := fmt.Sprintf("%d:%d", major, minor)
	if d := readDevice("/sys/dev/block/"+text, text); d != nil {
		return d
	}
	if !strings.HasPrefix(source, "/dev/") {
		return nil
	}
	dir := "/sys/class/block/" + filepath.Base(source)
	return readDevice(dir, readLine(dir+"/dev"))
}

// readDevice reads a folder of /sys/block, or that of a partition in one.
func readDevice(link, number string) *Device {
	dir, err := filepath.EvalSymlinks(link)
	if err != nil {
		return nil
	}
	d := &Device{Name: filepath.Base(dir), Number: number, disk: number}
	d.Size = readNumber(dir+"/size") * 512 // sectors, whatever the device's blocks
	if _, err := os.Stat(dir + "/partition"); err == nil {
		dir = filepath.Dir(dir)
		d.disk = readLine(dir + "/dev")
	}
	d.Disk = filepath.Base(dir)
	d.Model = readLine(dir + "/device/model")
	if below, err := os.ReadDir(dir + "/slaves"); err == nil {
		for _, entry := range below {
			d.Below = append(d.Below, entry.Name())
		}
	}
	queue := dir + "/queue/"
	d.LogicalBlock = int(readNumber(queue + "logical_block_size"))
	d.PhysicalBlock = int(readNumber(queue + "physical_block_size"))
	d.OptimalIO = int(readNumber(queue + "optimal_io_size"))
	d.Requests = int(readNumber(queue + "nr_requests"))
	d.Scheduler = chosen(readLine(queue + "scheduler"))
	d.Rotational = readNumber(queue+"rotational") == 1
	d.WriteCache = readLine(queue + "write_cache")
	return d
}

func readNumber(name string) int64 {
	n, _ := strconv.ParseInt(readLine(name), 10, 64)
	return n
}

// chosen returns the one in brackets of "none [mq-deadline]", or all where there is none.
func chosen(line string) string {
	if _, rest, ok := strings.Cut(line, "["); ok {
		line, _, _ = strings.Cut(rest, "]")
	}
	return line
}

// throttlesOf returns what the cgroups of this process, and those above them, limit the
// device to: io.max of version 2, blkio.throttle of version 1.
func throttlesOf(device string) (list []Throttle) {
	mounts := cgroupMounts(readText("/proc/self/mountinfo"))
	for line := range strings.Lines(readText("/proc/self/cgroup")) { // cgroups(7): id:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		key := fields[1]
		if slices.Contains(strings.Split(key, ","), "blkio") {
			key = "blkio"
		}
		root, ok := mounts[key]
		if !ok {
			continue
		}
		for dir := fields[2]; ; dir = filepath.Dir(dir) {
			if key == "" {
				list = append(list, parseMax(readText(filepath.Join(root, dir, "io.max")), device, dir)...)
			} else {
				list = append(list, readBlkio(filepath.Join(root, dir), device, dir)...)
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return list
}

// cgroupMounts returns where version 2, under "", and the controllers blkio of version
// 1, under their list, are mounted.
func cgroupMounts(mountinfo string) map[string]string {
	mounts := map[string]string{}
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		dash := slices.Index(fields, "-")
		if dash < 5 || len(fields) < dash+4 {
			continue
		}
		switch fields[dash+1] {
		case "cgroup2":
			mounts[""] = unescape(fields[4])
		case "cgroup":
			options := strings.Split(fields[dash+3], ",")
			if slices.Contains(options, "blkio") {
				mounts["blkio"] = unescape(fields[4])
			}
		}
	}
	return mounts
}

// parseMax reads io.max: "254:0 rbps=1048576 wbps=max riops=120 wiops=max".
func parseMax(text, device, cgroup string) (list []Throttle) {
	names := map[string]string{"rbps": "read bytes/s", "wbps": "write bytes/s", "riops": "read requests/s", "wiops": "write requests/s"}
	for _, pair := range strings.Fields(field(text, device+" ")) {
		key, value, _ := strings.Cut(pair, "=")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && names[key] != "" {
			list = append(list, Throttle{cgroup, names[key], n})
		}
	}
	return list
}

// readBlkio reads the files of version 1, with lines such as "254:0 120".
func readBlkio(dir, device, cgroup string) (list []Throttle) {
	for _, file := range []struct{ name, limit string }{
		{"read_bps", "read bytes/s"}, {"write_bps", "write bytes/s"},
		{"read_iops", "read requests/s"}, {"write_iops", "write requests/s"},
	} {
		text := readText(filepath.Join(dir, "blkio.throttle."+file.name+"_device"))
		if n, err := strconv.ParseInt(field(text, device+" "), 10, 64); err == nil {
			list = append(list, Throttle{cgroup, file.limit, n})
		}
	}
	return list
}
