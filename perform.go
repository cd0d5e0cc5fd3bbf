package asyncfile

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
func (f *AsyncFile) perform(o *operation) {
	switch {
	case o.op.Kind.syncs():
		o.err = f.performSync(o.op.Kind)
	case o.way == cached:
		f.performCached(o)
	case o.op.Kind == OpAppend && f.serial():
		f.performAppend(o)
	case o.way == bounced:
		f.performBounced(o)
	default:
		n, err := f.transfer(o.op.Kind, &o.cursor, o.op.Offset+int64(o.done))
		o.done += n
		o.fail(err)
	}
}

// performInline carries op out on its caller, without a request.
func (f *AsyncFile) performInline(op *Op) (int, error) {
	c := op.cursor()
	n, err := f.transfer(op.Kind, &c, op.Offset)
	return n, f.pathError(op.Kind, err)
}

func (f *AsyncFile) performSync(kind OpKind) error {
	if kind == OpDatasync {
		err := aio.Fdatasync(f.fd)
		if !errors.Is(err, errors.ErrUnsupported) {
			return f.pathError(OpDatasync, err)
		}
	}
	return f.osf.Sync()
}

// transfer reads or writes what is left of c at off, and returns how many bytes
// that was and why not all.
func (f *AsyncFile) transfer(kind OpKind, c *vec.Cursor, off int64) (n int, err error) {
	n, err = transfer(f.osf, f.fd, kind, c, off)
	if f.direct && !kind.writes() && n > 0 && errors.Is(err, syscall.EINVAL) &&
		(off+int64(n))%int64(f.align.ReadOffset) != 0 {
		// A direct read that stopped inside a block stopped at the end of the
		// file. To go on from there is refused if the file has grown meanwhile.
		err = io.EOF
	}
	return n, err
}

// transfer reads or writes what is left of c at off, with as few system calls as
// there are short transfers. Unlike os.File.WriteAt it tells also of a write that
// failed how much of it is in the file.
func transfer(osf *os.File, fd int, kind OpKind, c *vec.Cursor, off int64) (n int, err error) {
	var bufs [][]byte
	for c.Left() > 0 {
		var m int
		if head := c.Head(); int64(len(head)) == c.Left() {
			m, err = transferOne(osf, fd, kind, head, off+int64(n))
		} else {
			bufs, _ = c.AppendBuffers(bufs[:0], 1)
			m, err = transferMany(osf, fd, kind, bufs, off+int64(n))
		}
		n += c.Skip(m)
		if err == nil && m == 0 {
			if err = io.EOF; kind.writes() {
				err = io.ErrUnexpectedEOF
			}
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func transferOne(osf *os.File, fd int, kind OpKind, p []byte, off int64) (n int, err error) {
	if kind.writes() {
		n, err = aio.Pwrite(fd, p, off)
	} else {
		n, err = aio.Pread(fd, p, off)
	}
	switch {
	case n > 0 || !errors.Is(err, errors.ErrUnsupported):
		return n, err
	case kind.writes(): // not Linux
		n, err = osf.WriteAt(p, off)
	default:
		n, err = osf.ReadAt(p, off)
	}
	return n, unwrapped(err)
}

func transferMany(osf *os.File, fd int, kind OpKind, bufs [][]byte, off int64) (n int, err error) {
	call := aio.Preadv
	if kind.writes() {
		call = aio.Pwritev
	}
	if n, err = call(fd, bufs, off); errors.Is(err, errors.ErrUnsupported) && n == 0 {
		return transferOne(osf, fd, kind, bufs[0], off)
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
func (f *AsyncFile) serial() bool { return f.refuse != nil || f.seekless }

// performAppend appends to a file that is not direct. It is the only append at work.
func (f *AsyncFile) performAppend(o *operation) {
	o.fail(appendTo(f.osf, o))
}

// appendTo appends with write(2) on osf, and sets Offset to where the data went. If
// that cannot be told it fails, whatever was written: lseek(2) answers EIO where XFS
// has shut down (xfs_file_llseek, fs/xfs/xfs_file.c).
func appendTo(osf *os.File, o *operation) error {
	if f := o.file; osf == f.osf && !f.seekless {
		n, at, err := f.view.cursor.append(o.op.Buf[o.done:])
		o.op.Offset = at - int64(o.done)
		o.done += o.cursor.Skip(n)
		return unwrapped(err)
	}
	n, err := osf.Write(o.op.Buf[o.done:])
	end, e := osf.Seek(0, io.SeekCurrent)
	switch {
	case e == nil:
		o.op.Offset = end - int64(n) - int64(o.done)
	case err == nil && !o.file.seekless:
		err = e
	}
	o.done += o.cursor.Skip(n)
	return unwrapped(err)
}
