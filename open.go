package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// blocking says which direct writes block in io_submit.
type blocking struct {
	all    bool
	unit   int64 // those that are not of whole units of so many bytes
	beyond bool  // those that end beyond the end of the file, for which it is extended first
}

// Open opens the named file for reading, as os.Open does.
func Open(name string, opts ...Option) (*AsyncFile, error) {
	return OpenFile(name, os.O_RDONLY, 0, opts...)
}

// Create creates or truncates the named file for reading and writing, as
// os.Create does.
func Create(name string, opts ...Option) (*AsyncFile, error) {
	return OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666, opts...)
}

// OpenFile opens the named file as os.OpenFile does. O_DIRECT in flag means
// WithDirect(DirectRequire). An option out of its range is refused, with an
// error that answers errors.Is(err, os.ErrInvalid), before the file is touched.
// Where it fails later, a file that O_CREATE has made stays, but none that was
// to be written has been truncated.
func OpenFile(name string, flag int, perm os.FileMode, opts ...Option) (*AsyncFile, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if flag&aio.ODirect != 0 && flag&aio.OPath == 0 {
		c.direct, c.keepDirect = DirectRequire, true
		flag &^= aio.ODirect // newFile sets it, where a refusal can be told from other errors
	}
	if truncates(flag) {
		flag &^= os.O_TRUNC
		c.truncate = true
		if flag&os.O_CREATE != 0 {
			_, err := os.Stat(name)
			c.absent = errors.Is(err, fs.ErrNotExist)
		}
	}
	osf, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	f, err := newFile(osf, c)
	if err != nil {
		osf.Close()
		return nil, err
	}
	return f, nil
}

// truncates reports whether flag asks for what ftruncate(2) can do afterwards. To
// O_PATH and O_TMPFILE, which opens a new file, O_TRUNC means nothing.
func truncates(flag int) bool {
	access := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	return flag&os.O_TRUNC != 0 && (access == os.O_WRONLY || access == os.O_RDWR) &&
		flag&aio.OPath == 0 && (aio.OTmpfile == 0 || flag&aio.OTmpfile != aio.OTmpfile)
}

// New makes an AsyncFile of f, which belongs to it from then on: use and close
// only the AsyncFile. Where New fails f is still the caller's, unchanged.
//
// Duplicates of a descriptor, in this process or others, share O_DIRECT. Where
// WithDirect has New set it, all of them have it until Close. Of two AsyncFiles on
// duplicates the one that set it takes it back; the other goes on, through the
// page cache.
func New(f *os.File, opts ...Option) (*AsyncFile, error) {
	if f == nil {
		return nil, invalid("New(nil): pass an open file")
	}
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return newFile(f, c)
}

func newFile(osf *os.File, c *config) (*AsyncFile, error) {
	info, err := osf.Stat()
	if err != nil {
		return nil, err
	}
	f := &AsyncFile{
		osf:     osf,
		name:    osf.Name(),
		align:   aio.Alignment{Memory: 1, Offset: 1, ReadOffset: 1},
		drained: make(chan struct{}, 1),
	}
	f.companion.reopen, f.companion.setDirect = aio.Reopen, aio.SetDirect
	f.seeker.reopen = aio.Reopen
	raw, err := osf.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) { f.fd = int(fd) }); err != nil {
		return nil, err
	}
	_, f.refuse = osf.WriteAt(nil, 0)
	if err := f.setDirect(c, info); err != nil {
		return nil, err
	}
	if err := f.attach(c, info); err != nil {
		f.unsetDirect()
		return nil, err
	}
	f.directSet = f.directSet && !c.keepDirect
	if info, err = f.truncateAtOpen(c, info); err != nil {
		f.unsetDirect()
		f.releaseRing()
		return nil, err
	}
	f.setRoutes(info)
	f.initView(capable(info))
	f.cleanup = runtime.AddCleanup(f, leftBehind.release, leftBehind{raw, f.directSet, f.lane, f.releaseRing})
	return f, nil
}

// truncateAtOpen does what O_TRUNC would have done, now that nothing else can fail. A
// file that is empty is truncated, too: that sets its times, and frees what was
// allocated behind its end. One that was made just now is not.
func (f *AsyncFile) truncateAtOpen(c *config, info os.FileInfo) (os.FileInfo, error) {
	if !c.truncate || !info.Mode().IsRegular() || c.absent && info.Size() == 0 {
		return info, nil
	}
	if err := f.osf.Truncate(0); err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.name, Err: errors.Unwrap(err)}
	}
	return f.osf.Stat()
}

// leftBehind is what remains of an AsyncFile that was dropped without Close.
type leftBehind struct {
	raw       syscall.RawConn // keeps the file open until then
	directSet bool
	lane      *ring.Lane
	ring      func() error // gives the Ring back
}

func (l leftBehind) release() {
	if l.directSet {
		l.raw.Control(func(fd uintptr) { aio.SetDirect(int(fd), false) })
	}
	l.lane.Release()
	go l.ring()
}

// privateDepth is the queue depth of the Ring of a file that shares none.
const privateDepth = 16

// attach finds the Ring that the file runs on.
func (f *AsyncFile) attach(c *config, info os.FileInfo) error {
	want := capable(info) && (c.backend == BackendAIO || c.backend == BackendAuto && f.direct)
	f.releaseRing = func() error { return nil }
	if c.ring != nil && c.ring.core.Closed() {
		return ring.ErrClosed
	}
	// A pipe's reader may keep an operation waiting for as long as it likes: that
	// is to hold up no other files, neither for workers nor for slots.
	alone := !capable(info) && !info.IsDir()
	why := f.whyPool(c.backend, info)
	var err error
	switch {
	case c.ring != nil && !alone:
		f.ring = c.ring
		if want && !c.ring.core.OnKernel() {
			f.reason = c.ring.reason
			if c.backend == BackendAIO {
				return errors.Join(invalid("WithRing and BackendAIO: the Ring is on the pool"), c.ring.reason)
			}
		}
	case c.shaped != "":
		if !want {
			c.backend = BackendPool
		}
		if f.ring, err = newRing(c); err != nil {
			return err
		}
		f.reason, f.releaseRing = f.ring.reason, f.ring.core.Close
	case alone:
		c.backend, c.depth = BackendPool, min(c.depth, privateDepth)
		if f.ring, err = newRing(c); err != nil {
			return err
		}
		f.releaseRing = f.ring.core.Close
	default:
		shared := &sharedPool
		if want {
			shared = &sharedAIO
		}
		f.ring, err = shared.acquire()
		if err != nil && c.backend == BackendAuto {
			f.reason = err
			shared = &sharedPool
			f.ring, err = shared.acquire()
		}
		if err != nil {
			return err
		}
		f.releaseRing = func() error { shared.release(); return nil }
	}
	f.aio = want && f.ring.core.OnKernel()
	if !f.aio && f.reason == nil {
		f.reason = why
	}
	device, err := aio.Device(f.fd)
	f.lane = f.ring.core.LaneOf(device, !alone && err == nil)
	return nil
}

// whyPool returns why the file goes on the pool with such a backend, what is plainest
// first.
func (f *AsyncFile) whyPool(backend Backend, info os.FileInfo) error {
	switch {
	case !capable(info):
		return fmt.Errorf("asyncfile: it is no regular file nor block device (%v), and native AIO has no meaning for others", info.Mode().Type())
	case backend == BackendPool:
		return errors.New("asyncfile: WithBackend, or ASYNCFILE_BACKEND, asks for the pool")
	case f.direct:
		return errors.New("asyncfile: its Ring was made with BackendPool")
	case f.directReason != nil:
		return fmt.Errorf("asyncfile: it is buffered: %w", f.directReason)
	}
	return errors.New("asyncfile: it is buffered: pass WithDirect(DirectPrefer)")
}

// capable reports whether native AIO has a meaning for the file: whether it has
// offsets and a device.
func capable(info os.FileInfo) bool {
	mode := info.Mode()
	return mode.IsRegular() || mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
}

// setRoutes learns from the file system which operations block where.
func (f *AsyncFile) setRoutes(info os.FileInfo) {
	regular := info.Mode().IsRegular()
	f.seekless = !regular
	var writable bool
	var block int64
	if f.direct {
		flags, err := aio.StatusFlags(f.fd)
		writable = err != nil || flags&(os.O_WRONLY|os.O_RDWR) != 0
		block = aio.BlockSize(f.fd)
	}
	f.sequence.init(f.ring, max(block, int64(os.Getpagesize())))
	f.mixed = writable // a block device, too
	system, err := aio.FileSystem(f.fd)
	if err != nil || !regular {
		return
	}
	f.inMemory = system == aio.Tmpfs
	f.cached.Store(!f.direct && !f.inMemory)
	f.resizesAlone = writable
	if !f.aio || !writable {
		return
	}
	switch system {
	case aio.Tmpfs: // copies memory, whatever the offset
	case aio.Btrfs: // falls back to buffered writes, and flushes them
		f.blocks.all = true
	case aio.XFS: // extends without waiting
		f.blocks.unit = block
	default: // ext4, and what is not known to do better
		f.blocks.unit = block
		f.blocks.beyond = true
		f.sequence.resized(info.Size())
	}
}
