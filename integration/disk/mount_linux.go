package disk

import (
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
	"golang.org/x/sys/unix"
)

// maxTransfer is the most bytes of one request. FUSE has none larger (fs/fuse/fuse_i.h,
// FUSE_DEFAULT_MAX_PAGES_LIMIT).
const maxTransfer = 1 << 20

// serve mounts root on a folder of its own and answers the kernel, until the test
// ends.
func serve(t testing.TB, root fs.InodeEmbedder, faults *Faults) (dir string) {
	t.Helper()
	disks.NeedsRoot(t)
	faults.init()
	dir = filepath.Join(t.TempDir(), "fuse")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// go-fuse would open and mount for us, but leave the descriptor to children of
	// this process; and as long as one has it, the kernel waits for answers.
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		disks.Unable(t, "/dev/fuse: %v", err)
	}
	over := disks.Guard(t, `await; umount --no-canonicalize --force "$0" || umount --no-canonicalize --lazy "$0"`, dir)
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", fd, maxTransfer)
	if err := syscall.Mount("asyncfile", dir, "fuse", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		syscall.Close(fd)
		disks.Unable(t, "mount of FUSE: %v", err)
	}
	server, err := fuse.NewServer(fs.NewNodeFS(root, &fs.Options{}), fmt.Sprint("/dev/fd/", fd), &fuse.MountOptions{
		MaxWrite:          maxTransfer,
		MaxBackground:     1024, // so many may hang without holding up others
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		DisableXAttrs:     true,
		Logger:            log.New(io.Discard, "", 0), // which would tell of answers that nobody waits for any more
	})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	t.Cleanup(func() {
		faults.Inject(nil)
		if err := syscall.Unmount(dir, 0); err != nil && err != syscall.EINVAL { // it is not mounted any more
			t.Errorf("umount %s: %v", dir, err)
			syscall.Unmount(dir, syscall.MNT_FORCE|syscall.MNT_DETACH)
		}
		server.Wait()
		over()
	})
	declinePoll(t, dir)
	return dir
}

// declinePoll has the kernel ask once whether files can be polled, and learn that
// they cannot. Otherwise it would ask when package os gives a file to the network
// poller, with a lock held that the scheduler needs, which the answer needs. The
// name is one that go-fuse knows.
func declinePoll(t testing.TB, dir string) {
	t.Helper()
	fd, err := syscall.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		t.Fatal(err)
	}
}
