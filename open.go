package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

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
//
// The errors are those of Open, but for what open(2) answers. A nil f answers
// os.ErrInvalid, and a closed one fs.ErrClosed.
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
	core, err := file.New(osf, info, misaligned)
	if err != nil {
		return nil, err
	}
	f := &AsyncFile{core: core}
	core.Owner = f
	if err := f.setDirect(c, info); err != nil {
		return nil, err
	}
	place, err := f.attach(c, info)
	if err != nil {
		core.UnsetDirect()
		return nil, err
	}
	if info.Mode().IsRegular() {
		err = core.JoinKernel(f.ring.kernel)
	}
	if err == nil {
		info, err = f.truncateAtOpen(c, info)
	}
	if err != nil {
		core.LeaveKernel()
		core.UnsetDirect()
		place.Release()
		return nil, err
	}
	core.Attach(place, info)
	f.initView()
	return f, nil
}

// truncateAtOpen does what O_TRUNC would have done, now that nothing else can fail. A
// file that is empty is truncated, too: that sets its times, and frees what was
// allocated behind its end. One that was made just now is not.
func (f *AsyncFile) truncateAtOpen(c *config, info os.FileInfo) (os.FileInfo, error) {
	if !c.truncate || !info.Mode().IsRegular() || c.absent && info.Size() == 0 {
		return info, nil
	}
	if err := f.core.SetSize(0); err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.core.Name(), Err: errors.Unwrap(err)}
	}
	return f.os().Stat()
}

// privateDepth is the queue depth of the Ring of a file that shares none.
const privateDepth = 16

// attach finds the Ring that the file runs on, and returns where it is to be attached.
func (f *AsyncFile) attach(c *config, info os.FileInfo) (at file.Place, err error) {
	want := f.core.OnDisk && (c.backend == BackendAIO || c.backend == BackendAuto && f.Direct())
	at = file.Place{Kernel: want, KeepDirect: c.keepDirect, Release: func() error { return nil }}
	if c.ring != nil && c.ring.core.Closed() {
		return at, ring.ErrClosed
	}
	// A pipe's reader may keep an operation waiting for as long as it likes: that
	// is to hold up no other files, neither for workers nor for slots.
	at.Alone = !f.core.OnDisk && !info.IsDir()
	why := f.whyPool(c.backend, info)
	switch {
	case c.ring != nil && !at.Alone:
		f.ring = c.ring
		if want && !c.ring.core.OnKernel() {
			f.reason = c.ring.reason
			if c.backend == BackendAIO {
				return at, errors.Join(invalid("WithRing and BackendAIO: the Ring is on the pool"), c.ring.reason)
			}
		}
	case c.shaped != "":
		if !want {
			c.backend = BackendPool
		}
		if f.ring, err = newRing(c); err != nil {
			return at, err
		}
		f.reason, at.Release = f.ring.reason, f.ring.core.Close
	case at.Alone:
		c.backend, c.depth = BackendPool, min(c.depth, privateDepth)
		if f.ring, err = newRing(c); err != nil {
			return at, err
		}
		at.Release = f.ring.core.Close
	default:
		if at.Release, err = f.share(want, c.backend); err != nil {
			return at, err
		}
	}
	if !(want && f.ring.core.OnKernel()) && f.reason == nil {
		f.reason = why
	}
	at.Group = f.ring.files
	return at, nil
}

// share has the file run on a Ring that files share which name none, on native AIO if
// want says so, and returns how it is given back.
func (f *AsyncFile) share(want bool, backend Backend) (release func() error, err error) {
	shared := &sharedPool
	if want {
		shared = &sharedAIO
	}
	f.ring, err = shared.acquire()
	if err != nil && backend == BackendAuto {
		f.reason = err
		shared = &sharedPool
		f.ring, err = shared.acquire()
	}
	if err != nil {
		return nil, err
	}
	return func() error { shared.release(); return nil }, nil
}

// whyPool returns why the file goes on the pool with such a backend, what is plainest
// first.
func (f *AsyncFile) whyPool(backend Backend, info os.FileInfo) error {
	switch {
	case !f.core.OnDisk:
		return fmt.Errorf("asyncfile: it is no regular file nor block device (%v), and native AIO has no meaning for others", info.Mode().Type())
	case backend == BackendPool:
		return errors.New("asyncfile: WithBackend, or ASYNCFILE_BACKEND, asks for the pool")
	case f.core.Direct:
		return errors.New("asyncfile: its Ring was made with BackendPool")
	case f.directReason != nil:
		return fmt.Errorf("asyncfile: it is buffered: %w", f.directReason)
	}
	return errors.New("asyncfile: it is buffered: pass WithDirect(DirectPrefer)")
}
