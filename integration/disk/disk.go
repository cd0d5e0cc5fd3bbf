// Package disk is a disk that fails on demand: a block device whose other end is
// the test. Requests to it fail, hang, are slow, torn or lost, as a [Rule] or a
// script says; it counts them; and it can lose its power, and with that, as real
// disks do, anything that no flush has covered.
//
// It is a loop device on a file of a FUSE server, which is this process. Files is
// such a server without the device.
package disk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// A Disk is a block device that this process serves.
type Disk struct {
	Faults
	Device string // the name of the device, while it is attached
	Detach func() // takes the device away, which nothing has open

	t      testing.TB
	image  string // the file that the device is on
	sector int64  // bytes that are written as a whole
	random *rand.Rand

	power   sync.Mutex
	off     chan struct{} // closed while the power is off
	now     memory        // what is read
	platter memory        // what is left without power
	cache   []*write      // what was answered and is not on the platter yet, the oldest first
	coming  []*write      // what is not answered yet
}

type write struct {
	off  int64
	data []byte
}

// New makes a disk of size bytes in sectors of 512 or 4096, and attaches it. It
// decides by seed what is left when the power goes. With the test's end it is gone.
func New(t testing.TB, size int64, sector int, seed uint64) *Disk {
	t.Helper()
	d := &Disk{t: t, sector: int64(sector), random: rand.New(rand.NewPCG(seed, 0)), off: make(chan struct{})}
	d.now, d.platter = newMemory(t, size), newMemory(t, size)
	name := fmt.Sprintf("disk-%x.img", rand.Uint64()) // by which it is known among all loop devices
	d.image = filepath.Join(serve(t, &shelf{d: d, name: name}, &d.Faults), name)
	d.Attach()
	return d
}

// Attach makes the device.
func (d *Disk) Attach() {
	d.t.Helper()
	// With --direct-io the device's requests come as they are, many at a time.
	device, detach := disks.Attach(d.t, d.image, "--direct-io=on", "--sector-size", fmt.Sprint(d.sector))
	d.Device = device
	d.Detach = sync.OnceFunc(func() {
		detach()
		d.awaitReleased(device)
	})
	d.t.Cleanup(d.Detach)
	// A loop device takes a short write for a whole one. So none of its requests may
	// come here in parts. And none is to fail because it was merged with another.
	d.setQueue("max_sectors_kb", maxTransfer/2>>10)
	d.setQueue("nomerges", 2)
}

// awaitReleased waits until nobody has the device any more. A process that came to
// a mount namespace of its own (unshare(1)) while a file system was mounted keeps
// that for as long as it lives; and a file system that is still there is not mounted
// a second time as from nothing.
func (d *Disk) awaitReleased(device string) {
	d.t.Helper()
	name := filepath.Join("/sys/block", filepath.Base(device), "loop/backing_file")
	was, err := os.ReadFile(name)
	for end := time.Now().Add(time.Minute); err == nil && strings.Contains(string(was), filepath.Base(d.image)); {
		if time.Now().After(end) {
			d.t.Errorf("%s is still in use", device)
			return
		}
		runtime.Gosched()
		was, err = os.ReadFile(name)
	}
}

func (d *Disk) setQueue(attribute string, value int) {
	d.t.Helper()
	name := filepath.Join("/sys/block", filepath.Base(d.Device), "queue", attribute)
	if err := os.WriteFile(name, []byte(fmt.Sprint(value)), 0); err != nil {
		d.t.Fatal(err)
	}
}

// Pull has whoever is at the other end go away: what hangs fails, and whatever
// comes from now on.
func (d *Disk) Pull() {
	d.t.Helper()
	if err := syscall.Unmount(filepath.Dir(d.image), syscall.MNT_FORCE|syscall.MNT_DETACH); err != nil {
		d.t.Errorf("umount: %v", err)
	}
	d.Inject(nil)
}

// A shelf is the folder that the image is in.
type shelf struct {
	fs.Inode
	d    *Disk
	name string
}

func (s *shelf) OnAdd(ctx context.Context) {
	s.AddChild(s.name, s.NewPersistentInode(ctx, &image{d: s.d}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

// An image is the disk as the file that the loop device has.
type image struct {
	fs.Inode
	d *Disk
}

// Open has the kernel keep nothing of the image in its page cache.
func (m *image) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (m *image) Getattr(ctx context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = 0o600, uint64(len(m.d.now))
	return 0
}

func (m *image) Read(ctx context.Context, h fs.FileHandle, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	errno := m.d.read(p, off)
	return fuse.ReadResultData(p), errno
}

func (m *image) Write(ctx context.Context, h fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	return uint32(len(p)), m.d.write(p, off)
}

func (m *image) Fsync(ctx context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	return m.d.flush()
}

// Allocate is not there: a disk that cannot discard.
func (m *image) Allocate(ctx context.Context, h fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	return syscall.EOPNOTSUPP
}
