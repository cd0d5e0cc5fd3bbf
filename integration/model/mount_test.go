package model

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A fileSystem is one to be made in a loop device.
type fileSystem struct {
	name   string
	mkfs   []string // and the device; none for one that needs no device
	sector int      // logical block size of the device in bytes
	size   int64    // of the device in bytes
	mount  string   // options
}

var fileSystems = []fileSystem{
	{"ext4", []string{"mkfs.ext4", "-q", "-F"}, 512, 256 << 20, ""},
	{"ext4-1k", []string{"mkfs.ext4", "-q", "-F", "-b", "1024"}, 512, 256 << 20, ""},
	{"ext4-device4k", []string{"mkfs.ext4", "-q", "-F"}, 4096, 256 << 20, ""},
	{"ext2", []string{"mkfs.ext2", "-q", "-F"}, 512, 256 << 20, ""}, // has no fallocate
	{"xfs-512", []string{"mkfs.xfs", "-q", "-f", "-s", "size=512"}, 512, 512 << 20, ""},
	{"xfs-4096", []string{"mkfs.xfs", "-q", "-f", "-s", "size=4096"}, 512, 512 << 20, ""},
	{"xfs-device4k", []string{"mkfs.xfs", "-q", "-f"}, 4096, 512 << 20, ""},
	{"btrfs", []string{"mkfs.btrfs", "-q", "-f"}, 512, 512 << 20, ""},
	{"tmpfs", nil, 0, 512 << 20, ""},
	{"overlay", []string{"mkfs.ext4", "-q", "-F"}, 512, 256 << 20, ""}, // over ext4
}

// unable skips the test, or fails it where it has to run: in CI, as root.
func unable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" && runtime.GOOS == "linux" && os.Geteuid() == 0 {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// needsRoot skips the test where loop devices and mounts are not to be had.
func (fs fileSystem) needsRoot(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skipf("%s in a loop device is for Linux", fs.name)
	}
	if os.Geteuid() != 0 {
		unable(t, "only root may mount %s", fs.name)
	}
}

// mountFor makes the file system and returns a folder on it, until the test
// ends.
func (fs fileSystem) mountFor(t *testing.T) string {
	t.Helper()
	fs.needsRoot(t)
	target := filepath.Join(t.TempDir(), fs.name)
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if fs.mkfs == nil {
		fs.mountOn(t, target, "-t", fs.name, "-o", fmt.Sprintf("size=%d", fs.size), fs.name)
		return target
	}
	device := fs.loop(t)
	make := append(fs.mkfs[1:len(fs.mkfs):len(fs.mkfs)], device)
	if out, err := exec.Command(fs.mkfs[0], make...).CombinedOutput(); err != nil {
		unable(t, "%s: %v: %s", fs.mkfs[0], err, out)
	}
	fs.mountOn(t, target, device)
	if fs.name != "overlay" {
		return target
	}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(target, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(target, "merged")
	fs.mountOn(t, merged, "-t", "overlay", "-o", fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", target), "overlay")
	return merged
}

// loop makes a loop device on an image in memory, or where ASYNCFILE_IMAGES
// says.
func (fs fileSystem) loop(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ASYNCFILE_IMAGES")
	if dir == "" {
		dir = "/dev/shm"
		if _, err := os.Stat(dir); err != nil {
			dir = t.TempDir()
		}
	}
	image, err := os.CreateTemp(dir, "asyncfile-"+fs.name+"-*.img")
	if err != nil {
		unable(t, "%s: no image: %v", fs.name, err)
	}
	t.Cleanup(func() { os.Remove(image.Name()) })
	defer image.Close()
	if err := image.Truncate(fs.size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "--find", "--show", "--sector-size", fmt.Sprint(fs.sector), image.Name()).CombinedOutput()
	if err != nil {
		unable(t, "%s: losetup: %v: %s", fs.name, err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
	})
	return device
}

// mountOn runs mount with args and target, and umount at the end.
func (fs fileSystem) mountOn(t *testing.T, target string, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", append(args, target)...).CombinedOutput(); err != nil {
		unable(t, "mount of %s: %v: %s", fs.name, err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", target).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", target, err, out)
		}
	})
}
