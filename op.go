package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/vec"

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
func (k OpKind) String() string {
	return name(int(k), "OpKind", "read", "write", "readv", "writev", "append", "sync", "datasync")
}

// errorOp returns what a *fs.PathError of the operation has as its Op, which is
// what os.File's has: of the ways to write there is one name.
func (k OpKind) errorOp() string {
	switch {
	case k.writes():
		return OpWrite.String()
	case k == OpReadv:
		return OpRead.String()
	}
	return k.String()
}

func (k OpKind) writes() bool { return k == OpWrite || k == OpWritev || k == OpAppend }

func (k OpKind) vectored() bool { return k == OpReadv || k == OpWritev }

func (k OpKind) syncs() bool { return k == OpSync || k == OpDatasync }

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

// cursor returns a cursor at the start of the operation's memory. size has no
// error.
func (op *Op) cursor() vec.Cursor {
	if !op.Kind.vectored() {
		return vec.Bytes(op.Buf)
	}
	c, _ := vec.Buffers(op.Bufs)
	return c
}
