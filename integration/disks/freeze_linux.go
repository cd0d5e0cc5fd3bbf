package disks

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// frozenAtMost is for how many seconds a file system stays frozen if nobody
// thaws it. What sleeps in it cannot be killed, and so could not end either.
const frozenAtMost = "30"

// Freeze freezes the file system that is mounted on dir, as fsfreeze(8) does
// for a snapshot: what writes to it sleeps in the kernel until thaw, which may be
// called more than once. The test's end thaws it, and so does a process of its
// own when this one dies or takes too long.
func Freeze(t testing.TB, dir string) (thaw func()) {
	t.Helper()
	if _, err := exec.LookPath("fsfreeze"); err != nil {
		Unable(t, "%v", err)
	}
	thaw = Guard(t, `timeout `+frozenAtMost+` cat; mountpoint -q "$0" && fsfreeze --unfreeze "$0"`, dir)
	if out, err := exec.Command("fsfreeze", "--freeze", dir).CombinedOutput(); err != nil {
		Unable(t, "fsfreeze %s: %v: %s", dir, err, out)
	}
	return thaw
}

// Sleepers returns how many threads of this process sleep in the kernel without
// being to be woken by a signal, as in a write to a frozen file system.
func Sleepers() (n int) {
	stats, _ := filepath.Glob("/proc/self/task/*/stat")
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if end := bytes.LastIndexByte(text, ')'); err == nil && bytes.HasPrefix(text[end+1:], []byte(" D")) {
			n++
		}
	}
	return n
}

// SetQueue sets an attribute of the request queue of the device that dir is on,
// until the test ends.
func SetQueue(t testing.TB, dir, attribute, value string) {
	t.Helper()
	name := fmt.Sprintf("/sys/dev/block/%s/queue/%s", device(t, dir), attribute)
	before, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, []byte(value), 0)
	}
	if err != nil {
		Unable(t, "%v", err)
	}
	t.Cleanup(func() { os.WriteFile(name, before, 0) })
}

// Throttle has a device take so many reads and writes a second of a process that
// writes its id to the file procs, until the test ends: blkio of cgroup v1.
func Throttle(t testing.TB, device string, perSecond int) (procs string) {
	t.Helper()
	group, err := os.MkdirTemp("/sys/fs/cgroup/blkio", "asyncfile-")
	if err != nil {
		Unable(t, "no blkio of cgroup v1: %v", err)
	}
	Guard(t, `await; rmdir "$0"`, group)
	var st syscall.Stat_t
	if err := syscall.Stat(device, &st); err != nil {
		t.Fatal(err)
	}
	limit := fmt.Appendf(nil, "%s %d", numbers(st.Rdev), perSecond)
	for _, name := range []string{"read", "write"} {
		if err := os.WriteFile(filepath.Join(group, "blkio.throttle."+name+"_iops_device"), limit, 0); err != nil {
			Unable(t, "%v", err)
		}
	}
	return filepath.Join(group, "cgroup.procs")
}

// Remount unmounts the file system that is mounted on dir and mounts it again:
// the kernel then knows nothing of its files.
func Remount(t testing.TB, dir string) {
	t.Helper()
	name, err := os.Readlink("/sys/dev/block/" + device(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	keep, err := os.Open("/dev/" + filepath.Base(name)) // without a user it would go
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	for _, command := range [][]string{{"umount", dir}, {"mount", "/dev/" + filepath.Base(name), dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
}

// device returns the numbers of the device that dir is on, as sysfs has them.
func device(t testing.TB, dir string) string {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return numbers(st.Dev)
}

// numbers returns the major and the minor number in dev_t.
func numbers(dev uint64) string {
	return fmt.Sprintf("%d:%d", dev>>8&0xfff, dev&0xff|dev>>12&^0xff)
}
