package asyncfile

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// perform carries op out with ordinary system calls, from where done bytes have
// been transferred, and returns how many more were.
func (f *AsyncFile) perform(op *Op, done int) (int, error) {
	switch op.Kind {
	case OpAppend:
		if f.appender.serial() {
			return f.appender.write(f.osf, op)
		}
	case OpDatasync:
		err := aio.Fdatasync(f.fd)
		if !errors.Is(err, errors.ErrUnsupported) {
			return 0, f.pathError(OpDatasync, err)
		}
		return 0, f.osf.Sync()
	case OpSync:
		return 0, f.osf.Sync()
	}
	n, err := transfer(f.osf, f.fd, op, done)
	if f.direct && !op.Kind.writes() && n > 0 && errors.Is(err, syscall.EINVAL) &&
		(op.Offset+int64(done+n))%int64(f.align.ReadOffset) != 0 {
		// A direct read that stopped inside a block stopped at the end of the
		// file. To go on from there is refused if the file has grown meanwhile.
		err = io.EOF
	}
	return n, err
}

// transfer reads or writes at op's offset, with as few system calls as there are
// short transfers.
func transfer(osf *os.File, fd int, op *Op, done int) (n int, err error) {
	off := op.Offset + int64(done)
	switch op.Kind {
	case OpRead:
		return osf.ReadAt(op.Buf[done:], off)
	case OpWrite, OpAppend:
		return osf.WriteAt(op.Buf[done:], off)
	}
	call, each := aio.Preadv, osf.ReadAt
	if op.Kind == OpWritev {
		call, each = aio.Pwritev, osf.WriteAt
	}
	for rest := op.size() - done; n < rest; {
		var bufs [][]byte
		for p := range remaining(op.Bufs, done+n) {
			bufs = append(bufs, p)
		}
		m, err := call(fd, bufs, off+int64(n))
		if errors.Is(err, errors.ErrUnsupported) {
			if m, err = each(bufs[0], off+int64(n)); err != nil {
				return n + m, err
			}
		}
		if err == nil && m == 0 {
			if err = io.EOF; op.Kind.writes() {
				err = io.ErrUnexpectedEOF
			}
		}
		n += m
		if err != nil {
			return n, pathError(op.Kind, osf.Name(), err)
		}
	}
	return n, nil
}
