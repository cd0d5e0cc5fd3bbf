// Package disks makes file systems in loop devices, for tests, and takes them
// away when a test ends. Where that cannot be, for want of root, tools or
// devices, it skips the test, and fails it in CI.
package disks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// An FS is a file system that Mount makes in a loop device.
type FS struct {
	Name    string
	Mkfs    []string // the command, without the device; none for tmpfs, which needs no device
	Sector  int      // logical block size of the device in bytes; 0 means 512
	Size    int64    // of the device in bytes
	Options string   // of the mount
	Images  string   // the folder of the image; none means in memory, or where ASYNCFILE_IMAGES says
}

// All is the file systems on which the library is tested.
var All = []FS{
	{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Size: 256 << 20},
	{Name: "ext4-1k", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-b", "1024"}, Size: 256 << 20},
	{Name: "ext4-device4k", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Sector: 4096, Size: 256 << 20},
	{Name: "ext2", Mkfs: []string{"mkfs.ext2", "-q", "-F"}, Size: 256 << 20}, // has no fallocate
	{Name: "xfs-512", Mkfs: []string{"mkfs.xfs", "-q", "-f", "-s", "size=512"}, Size: 512 << 20},
	{Name: "xfs-4096", Mkfs: []string{"mkfs.xfs", "-q", "-f", "-s", "size=4096"}, Size: 512 << 20},
	{Name: "xfs-device4k", Mkfs: []string{"mkfs.xfs", "-q", "-f"}, Sector: 4096, Size: 512 << 20},
	{Name: "btrfs", Mkfs: []string{"mkfs.btrfs", "-q", "-f"}, Size: 512 << 20},
	{Name: "tmpfs", Size: 512 << 20},
	{Name: "overlay", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Size: 256 << 20}, // over ext4
}

// Unable skips the test, or fails it where it has to run: in CI, as root.
func Unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" && runtime.GOOS == "linux" && os.Geteuid() == 0 {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// NeedsRoot skips the test where loop devices and mounts are not to be had.
func NeedsRoot(t testing.TB) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("loop devices are Linux's")
	}
	if os.Geteuid() != 0 {
		Unable(t, "only root may make loop devices and mount them")
	}
}

// Mount makes the file system and returns a folder on it, until the test ends.
func (fs FS) Mount(t testing.TB) string {
	t.Helper()
	NeedsRoot(t)
	target := filepath.Join(t.TempDir(), fs.Name)
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if fs.Mkfs == nil {
		if _, err := fs.mountOn(t, target, "-t", fs.Name, "-o", fmt.Sprintf("size=%d", fs.Size), fs.Name); err != nil {
			Unable(t, "%v", err)
		}
		return target
	}
	device, detach := fs.attach(t)
	// With its last user, which the mount is from here on, the device goes.
	defer detach()
	fs.Format(t, device)
	if _, err := fs.mountDevice(t, device, target); err != nil {
		Unable(t, "%v", err)
	}
	if fs.Name != "overlay" {
		return target
	}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(target, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	merged := filepath.Join(target, "merged")
	layers := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", target)
	if _, err := fs.mountOn(t, merged, "-t", "overlay", "-o", layers, "overlay"); err != nil {
		Unable(t, "%v", err)
	}
	return merged
}

// Format makes the file system on a device.
func (fs FS) Format(t testing.TB, device string) {
	t.Helper()
	if out, err := exec.Command(fs.Mkfs[0], append(fs.Mkfs[1:len(fs.Mkfs):len(fs.Mkfs)], device)...).CombinedOutput(); err != nil {
		Unable(t, "%s: %v: %s", fs.Mkfs[0], err, out)
	}
}

// MountDevice mounts the file system that Format has made on a device, until
// unmount is called or the test ends.
func (fs FS) MountDevice(t testing.TB, device string) (dir string, unmount func(), err error) {
	t.Helper()
	target := filepath.Join(t.TempDir(), fs.Name)
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount, err = fs.mountDevice(t, device, target)
	return target, unmount, err
}

func (fs FS) mountDevice(t testing.TB, device, target string) (unmount func(), err error) {
	t.Helper()
	if fs.Options != "" {
		return fs.mountOn(t, target, "-o", fs.Options, device)
	}
	return fs.mountOn(t, target, device)
}

// Loop makes a loop device of fs.Size bytes and returns its name.
func (fs FS) Loop(t testing.TB) string {
	t.Helper()
	NeedsRoot(t)
	device, _ := fs.attach(t)
	return device
}

// attach makes a loop device on an image that is gone with it.
func (fs FS) attach(t testing.TB) (device string, detach func()) {
	t.Helper()
	dir := fs.Images
	if dir == "" {
		dir = os.Getenv("ASYNCFILE_IMAGES")
	}
	if dir == "" {
		dir = "/dev/shm"
		if _, err := os.Stat(dir); err != nil {
			dir = t.TempDir()
		}
	}
	image, err := os.CreateTemp(dir, "asyncfile-"+fs.Name+"-*.img")
	if err != nil {
		Unable(t, "%s: no image: %v", fs.Name, err)
	}
	defer os.Remove(image.Name())
	defer image.Close()
	if err := image.Truncate(fs.Size); err != nil {
		t.Fatal(err)
	}
	return Attach(t, image.Name(), "--sector-size", fmt.Sprint(max(fs.Sector, 512)))
}

// detached is what becomes of a loop device that is still on its image when the
// test is over. The image's file system may have been unmounted by then: the kernel
// names the image as of there.
const detached = `await; case $(cat "$0/loop/backing_file") in "$1"*|"/${1##*/}") losetup --detach "/dev/${0##*/}"; esac`

// Attach makes a loop device on an image, with further options of losetup(8), until
// detach is called or the test ends.
func Attach(t testing.TB, image string, options ...string) (device string, detach func()) {
	t.Helper()
	NeedsRoot(t)
	out, err := exec.Command("losetup", append(options, "--find", "--show", image)...).CombinedOutput()
	if err != nil {
		Unable(t, "losetup on %s: %v: %s", image, err, out)
	}
	device = strings.TrimSpace(string(out))
	over := Guard(t, detached, filepath.Join("/sys/block", filepath.Base(device)), image)
	detach = sync.OnceFunc(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", device, err, out)
		}
		over()
	})
	t.Cleanup(detach)
	return device, detach
}

// cleared is what becomes of a file system that is still mounted when its test
// is over, because that was killed.
const cleared = `await; if mountpoint -q "$0"; then fsfreeze --unfreeze "$0"; umount --lazy "$0"; fi`

// mountOn runs mount with args and target, and umount when it is called or at the
// end.
func (fs FS) mountOn(t testing.TB, target string, args ...string) (unmount func(), err error) {
	t.Helper()
	over := Guard(t, cleared, target)
	if out, err := exec.Command("mount", append(args, target)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mount of %s: %w: %s", fs.Name, err, out)
	}
	unmount = sync.OnceFunc(func() {
		if out, err := exec.Command("umount", target).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %v: %s", target, err, out)
		}
		over()
	})
	t.Cleanup(unmount)
	return unmount, nil
}
