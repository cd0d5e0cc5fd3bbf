package asyncfile

import (
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// An OpKind is what an operation does.
type OpKind uint8

const (
	OpRead     OpKind = iota // pread(2) into Buf
	OpWrite                  // pwrite(2) from Buf
	OpReadv                  // preadv(2) into Bufs
	OpWritev                 // pwritev(2) from Bufs
	OpAppend                 // write from Buf at the end of the file
	OpSync                   // fsync(2), as a barrier
	OpDatasync               // fdatasync(2), as a barrier
)

// String returns "read", "write", "readv", "writev", "append", "sync" or
// "datasync".
func (k OpKind) String() string { return file.Kind(k).String() }

func (k OpKind) writes() bool { return file.Kind(k).Writes() }

func (k OpKind) vectored() bool { return file.Kind(k).Vectored() }

func (k OpKind) syncs() bool { return file.Kind(k).Syncs() }

// An Op describes one operation of Submit. The zero Kind is OpRead. A Kind that
// is none of the above, and a buffer in the field that Kind does not use, are
// refused with an error that answers errors.Is(err, os.ErrInvalid): nothing is
// transferred.
type Op struct {
	Kind   OpKind
	Buf    []byte   // of OpRead, OpWrite and OpAppend
	Bufs   [][]byte // of OpReadv and OpWritev, in order; their sum fits an int
	Offset int64    // in bytes; no meaning for OpAppend, OpSync and OpDatasync
}

// check returns an error where the operation is not what its caller can have meant:
// bytes that would go nowhere are no success.
func (op *Op) check() error {
	if _, err := op.size(); err != nil {
		return err
	}
	switch {
	case op.Kind > OpDatasync:
		return invalid("Op.Kind %d: use OpRead to OpDatasync", op.Kind)
	case op.Kind.syncs() && len(op.Buf)+len(op.Bufs) > 0:
		return invalid("Op.Buf and Op.Bufs are not for %v: leave them nil", op.Kind)
	case op.Kind.vectored() && len(op.Buf) > 0:
		return invalid("Op.Buf is not for %v: use Op.Bufs", op.Kind)
	case !op.Kind.vectored() && len(op.Bufs) > 0:
		return invalid("Op.Bufs is not for %v: use Op.Buf, or OpReadv or OpWritev", op.Kind)
	}
	return nil
}

// size returns how many bytes the operation is asked to transfer. There is an error
// where an int cannot hold the number.
func (op *Op) size() (int64, error) {
	switch {
	case op.Kind.syncs():
		return 0, nil
	case !op.Kind.vectored():
		return int64(len(op.Buf)), nil
	}
	n, err := vec.Total(op.Bufs)
	if err != nil {
		err = invalid("Op.Bufs has more bytes than an int counts: use several operations")
	}
	return n, err
}

// plain returns the operation as internal/file has it, whose Kinds have the same
// numbers.
func (op *Op) plain() file.Op {
	return file.Op{Kind: file.Kind(op.Kind), Buf: op.Buf, Bufs: op.Bufs, Offset: op.Offset}
}

// call returns the Call of the operation, for a file's machinery, of which to wants to
// know.
func (op *Op) call(to file.Sink) file.Call {
	return file.Call{Op: op.plain(), To: to, Invalid: op.check()}
}
