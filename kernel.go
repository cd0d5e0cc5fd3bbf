package asyncfile

import (
	"io/fs"
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/seam"
)

// WithKernel has a Ring, and the regular files on it, run on k in place of the running
// kernel. It is there for package asyncfiletest, whose NewRing users call instead: no
// other module can make a seam.Kernel. nil is refused.
func WithKernel(k *seam.Kernel) Option {
	return func(c *config) {
		c.shape("WithKernel")
		if c.reject(k == nil, "WithKernel(nil): use asyncfiletest.NewRing"); k != nil {
			c.kernel, c.setup = k, k.Setup
		}
	}
}

// joinKernel has the system calls on the contents of f made by the kernel of its
// Ring, if that is not the running one.
func (f *AsyncFile) joinKernel(info os.FileInfo) (err error) {
	if k := f.ring.kernel; k != nil && info.Mode().IsRegular() {
		f.kernel, err = k.Open(f.osf, f.fd)
	}
	return err
}

func (f *AsyncFile) leaveKernel() error {
	if f.kernel == nil {
		return nil
	}
	return f.kernel.Close()
}

// setSize is ftruncate(2).
func (f *AsyncFile) setSize(size int64) error {
	if f.kernel == nil {
		return f.osf.Truncate(size)
	}
	if err := f.kernel.Truncate(size); err != nil {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: unwrapped(err)}
	}
	return nil
}

// allocateRange is fallocate(2).
func (f *AsyncFile) allocateRange(off, size int64) error {
	if f.kernel == nil {
		return aio.Allocate(f.fd, off, size)
	}
	return unwrapped(f.kernel.Allocate(off, size))
}

// punch is fallocate(2) with FALLOC_FL_PUNCH_HOLE.
func (f *AsyncFile) punch(off, n int64) error {
	if f.kernel == nil {
		return aio.PunchHole(f.fd, off, n)
	}
	return unwrapped(f.kernel.Punch(off, n))
}

// zero is fallocate(2) with FALLOC_FL_ZERO_RANGE.
func (f *AsyncFile) zero(off, n int64) error {
	if f.kernel == nil {
		return aio.ZeroRange(f.fd, off, n)
	}
	return unwrapped(f.kernel.Zero(off, n))
}

// appendBy is write(2) by a descriptor of f that is in append mode.
func (f *AsyncFile) appendBy(osf *os.File, p []byte) (int, error) {
	if f.kernel == nil {
		return osf.Write(p)
	}
	return f.kernel.Append(osf, p)
}

// transferThrough is preadv(2) or pwritev(2) by k.
func transferThrough(k seam.File, kind OpKind, bufs [][]byte, off int64) (n int, err error) {
	if kind.writes() {
		n, err = k.Writev(bufs, off)
	} else {
		n, err = k.Readv(bufs, off)
	}
	return n, unwrapped(err)
}
