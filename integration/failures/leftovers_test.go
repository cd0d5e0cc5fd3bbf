package failures

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
	"golang.org/x/sys/unix"
)

// TestFailureTouchesNothing has writes behind an extension fail without a byte, for
// want of room and beyond RLIMIT_FSIZE. The file is not modified: to set the size
// that it has already would cut off what another process appends just then. And it
// has no more blocks than such a write of an os.File leaves, but for one of the extent
// tree, which stays as deep as it was.
func TestFailureTouchesNothing(t *testing.T) {
	if os.Getenv("ASYNCFILE_CHILD") == "" {
		inChild(t)
		return
	}
	const room, length = 1 << 20, 4 << 20
	limit := func(t *testing.T, n uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}); err != nil {
			t.Fatal(err)
		}
	}
	for _, shortage := range []struct {
		name string
		arm  func(t *testing.T, dir string)
		want error
	}{
		{"no room", func(t *testing.T, dir string) { fill(t, dir, room) }, syscall.ENOSPC},
		{"a limit", func(t *testing.T, dir string) {
			limit(t, room)
			t.Cleanup(func() { limit(t, unix.RLIM_INFINITY) })
		}, syscall.EFBIG},
	} {
		t.Run(shortage.name, func(t *testing.T) {
			dir := disks.FS{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-m", "0"}, Size: 24 << 20}.Mount(t)
			shortage.arm(t, dir)
			p := asyncfile.AlignedBuffer(length)
			blocks := func(put func(name string) (int, error)) int64 {
				name := filepath.Join(dir, "file")
				if err := os.WriteFile(name, p[:4096], 0o600); err != nil {
					t.Fatal(err)
				}
				defer os.Remove(name)
				flush(t, dir)
				modified := watch(t, name)
				if n, err := put(name); n != 0 || errnoOf(err) != shortage.want {
					t.Errorf("%d, %v; want 0, %v", n, err, shortage.want)
				}
				if modified() {
					t.Error("the file was modified")
				}
				var st syscall.Stat_t
				if err := syscall.Stat(name, &st); err != nil {
					t.Fatal(err)
				}
				return st.Blocks
			}
			for _, off := range []int64{room, 1 << 30} {
				want := blocks(func(name string) (int, error) {
					f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_DIRECT, 0)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					return pwrite(f, p, off)
				})
				got := blocks(func(name string) (int, error) {
					f, err := asyncfile.OpenFile(name, os.O_WRONLY, 0,
						asyncfile.WithBackend(asyncfile.BackendAIO), asyncfile.WithDirect(asyncfile.DirectRequire))
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					return f.WriteAt(p, off).Wait()
				})
				if got > want+4096/512 {
					t.Errorf("at %d: %d blocks of 512 bytes, want %d", off, got, want)
				}
			}
		})
	}
}

// watch watches a file, and returns what tells whether it has been modified since
// (inotify(7), IN_MODIFY).
func watch(t *testing.T, name string) (modified func() bool) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err == nil {
		_, err = unix.InotifyAddWatch(fd, name, unix.IN_MODIFY)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() bool {
		defer unix.Close(fd)
		n, err := unix.Read(fd, make([]byte, 4096))
		if n <= 0 && err != unix.EAGAIN {
			t.Fatal(err)
		}
		return n > 0
	}
}
