package file

import (
	"io/fs"
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/seam"
)

// JoinKernel has the system calls on the contents of f, a regular file, made by k. nil
// is the running kernel.
func (f *Handle) JoinKernel(k *seam.Kernel) (err error) {
	if k != nil {
		f.kernel, err = k.Open(f.osf, f.fd)
	}
	return err
}

// LeaveKernel undoes JoinKernel.
func (f *Handle) LeaveKernel() error {
	if f.kernel == nil {
		return nil
	}
	return f.kernel.Close()
}

// Staged reports whether another than the running kernel makes the system calls on the
// contents of f.
func (f *Handle) Staged() bool { return f.kernel != nil }

// SetSize is ftruncate(2).
func (f *Handle) SetSize(size int64) error {
	if f.kernel == nil {
		return f.osf.Truncate(size)
	}
	if err := f.kernel.Truncate(size); err != nil {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: unwrapped(err)}
	}
	return nil
}

// allocateRange is fallocate(2).
func (f *Handle) allocateRange(off, size int64) error {
	if f.kernel == nil {
		return aio.Allocate(f.fd, off, size)
	}
	return unwrapped(f.kernel.Allocate(off, size))
}

// punch is fallocate(2) with FALLOC_FL_PUNCH_HOLE.
func (f *Handle) punch(off, n int64) error {
	if f.kernel == nil {
		return aio.PunchHole(f.fd, off, n)
	}
	return unwrapped(f.kernel.Punch(off, n))
}

// zero is fallocate(2) with FALLOC_FL_ZERO_RANGE.
func (f *Handle) zero(off, n int64) error {
	if f.kernel == nil {
		return aio.ZeroRange(f.fd, off, n)
	}
	return unwrapped(f.kernel.Zero(off, n))
}

// appendBy is write(2) by a descriptor of f that is in append mode.
func (f *Handle) appendBy(osf *os.File, p []byte) (int, error) {
	if f.kernel == nil {
		return osf.Write(p)
	}
	return f.kernel.Append(osf, p)
}

// transferThrough is preadv(2) or pwritev(2) by k.
func transferThrough(k seam.File, kind Kind, bufs [][]byte, off int64) (n int, err error) {
	if kind.Writes() {
		n, err = k.Writev(bufs, off)
	} else {
		n, err = k.Readv(bufs, off)
	}
	return n, unwrapped(err)
}
