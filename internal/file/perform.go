package file

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// perform carries o out with ordinary system calls on the calling goroutine, from
// where it is. o.err is how it ended.
func (f *Handle) perform(o *operation) {
	switch {
	case o.op.Kind.Syncs():
		o.err = f.performSync(o.op.Kind)
	case o.way == cached:
		f.performCached(o)
	case o.op.Kind == Append && f.serial():
		f.performAppend(o)
	case o.way == bounced:
		f.performBounced(o)
	default:
		n, err := f.transfer(o.op.Kind, &o.cursor, o.op.Offset+int64(o.done))
		o.done += n
		o.fail(err)
	}
}

// Queues reports whether it is of use to have many operations of the file in flight.
func (f *Handle) Queues() bool { return f.OnKernel && !f.InMemory }

// Simple reports whether op has to keep off no other operation of the file, and O_DIRECT
// takes it as it is.
func (f *Handle) Simple(op *Op) bool {
	return !f.Mixed && op.Kind == Read && f.fits(op.Buf, op.Offset)
}

// CarryOut carries op out on its caller, without a request.
func (f *Handle) CarryOut(op *Op) (int, error) {
	c := op.cursor()
	n, err := f.transfer(op.Kind, &c, op.Offset)
	return n, f.PathError(op.Kind, err)
}

func (f *Handle) performSync(kind Kind) error {
	if f.kernel != nil {
		return f.PathError(kind, unwrapped(f.kernel.Sync()))
	}
	if kind == Datasync {
		err := aio.Fdatasync(f.fd)
		if !errors.Is(err, errors.ErrUnsupported) {
			return f.PathError(Datasync, err)
		}
	}
	return f.osf.Sync()
}

// transfer reads or writes what is left of c at off, and returns how many bytes
// that was and why not all.
func (f *Handle) transfer(kind Kind, c *vec.Cursor, off int64) (n int, err error) {
	n, err = transfer(f, f.osf, f.fd, kind, c, off)
	if f.Direct && !kind.Writes() && n > 0 && errors.Is(err, syscall.EINVAL) &&
		(off+int64(n))%int64(f.Align.ReadOffset) != 0 {
		// A direct read that stopped inside a block stopped at the end of the
		// file. To go on from there is refused if the file has grown meanwhile.
		err = io.EOF
	}
	return n, err
}

// transfer reads or writes what is left of c at off, by a descriptor of f, with as few
// system calls as there are short transfers. Unlike os.File.WriteAt it tells also of a
// write that failed how much of it is in the file.
func transfer(f *Handle, osf *os.File, fd int, kind Kind, c *vec.Cursor, off int64) (n int, err error) {
	var bufs [][]byte
	for c.Left() > 0 {
		var m int
		if head := c.Head(); int64(len(head)) == c.Left() {
			m, err = transferOne(f, osf, fd, kind, head, off+int64(n))
		} else {
			bufs, _ = c.AppendBuffers(bufs[:0], 1)
			m, err = transferMany(f, osf, fd, kind, bufs, off+int64(n))
		}
		n += c.Skip(m)
		if err == nil && m == 0 {
			if err = io.EOF; kind.Writes() {
				err = io.ErrUnexpectedEOF
			}
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func transferOne(f *Handle, osf *os.File, fd int, kind Kind, p []byte, off int64) (n int, err error) {
	if f.kernel != nil {
		return transferThrough(f.kernel, kind, [][]byte{p}, off)
	}
	if kind.Writes() {
		n, err = aio.Pwrite(fd, p, off)
	} else {
		n, err = aio.Pread(fd, p, off)
	}
	switch {
	case n > 0 || !errors.Is(err, errors.ErrUnsupported):
		return n, err
	case kind.Writes(): // not Linux
		n, err = osf.WriteAt(p, off)
	default:
		n, err = osf.ReadAt(p, off)
	}
	return n, unwrapped(err)
}

func transferMany(f *Handle, osf *os.File, fd int, kind Kind, bufs [][]byte, off int64) (n int, err error) {
	if f.kernel != nil {
		return transferThrough(f.kernel, kind, bufs, off)
	}
	call := aio.Preadv
	if kind.Writes() {
		call = aio.Pwritev
	}
	if n, err = call(fd, bufs, off); errors.Is(err, errors.ErrUnsupported) && n == 0 {
		return transferOne(f, osf, fd, kind, bufs[0], off)
	}
	return n, err
}

// unwrapped returns the error in a *fs.PathError.
func unwrapped(err error) error {
	if err == nil {
		return nil
	}
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// serial reports whether only the kernel can say where appended data goes
// (O_APPEND, pipes), so that appends take turns. Otherwise each is given its offset
// in the order of the calls, and they are in flight together.
func (f *Handle) serial() bool { return f.refuse != nil || f.Seekless }

// performAppend appends to a file that is not direct. It is the only append at work.
func (f *Handle) performAppend(o *operation) {
	o.fail(appendTo(f.osf, o))
}

// appendTo appends with write(2) on osf, and sets Offset to where the data went. If
// that cannot be told it fails, whatever was written: lseek(2) answers EIO where XFS
// has shut down (xfs_file_llseek, fs/xfs/xfs_file.c).
func appendTo(osf *os.File, o *operation) error {
	f := o.file
	if osf == f.osf && !f.Seekless {
		n, at, err := f.Cursor.append(f, o.op.Buf[o.done:])
		o.op.Offset = at - int64(o.done)
		o.done += o.cursor.Skip(n)
		return unwrapped(err)
	}
	n, err := f.appendBy(osf, o.op.Buf[o.done:])
	end, e := osf.Seek(0, io.SeekCurrent)
	switch {
	case e == nil:
		o.op.Offset = end - int64(n) - int64(o.done)
	case err == nil && !f.Seekless:
		err = e
	}
	o.done += o.cursor.Skip(n)
	return unwrapped(err)
}
