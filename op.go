package asyncfile

import (
	"iter"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
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

// String returns the name that a *fs.PathError of the operation has as its Op:
// "read", "write", "sync" or "datasync".
func (k OpKind) String() string {
	return name(int(k), "OpKind", "read", "write", "read", "write", "write", "sync", "datasync")
}

func (k OpKind) writes() bool { return k == OpWrite || k == OpWritev || k == OpAppend }

func (k OpKind) vectored() bool { return k == OpReadv || k == OpWritev }

func (k OpKind) syncs() bool { return k == OpSync || k == OpDatasync }

// An Op describes one operation of Submit. The zero Kind is OpRead.
type Op struct {
	Kind   OpKind
	Buf    []byte   // of OpRead, OpWrite and OpAppend
	Bufs   [][]byte // of OpReadv and OpWritev, in order
	Offset int64    // in bytes; no meaning for OpAppend, OpSync and OpDatasync
}

// size returns how many bytes the operation is asked to transfer.
func (op *Op) size() (n int) {
	switch {
	case op.Kind.syncs():
		return 0
	case !op.Kind.vectored():
		return len(op.Buf)
	}
	for _, p := range op.Bufs {
		n += len(p)
	}
	return n
}

// remaining yields what is left of bufs after skip bytes, without empty
// buffers, as far as one vectored operation goes.
func remaining(bufs [][]byte, skip int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		count, room := 0, aio.MaxTransfer
		for _, p := range bufs {
			if skip >= len(p) {
				skip -= len(p)
				continue
			}
			p, skip = p[skip:], 0
			p = p[:min(len(p), room)]
			if !yield(p) {
				return
			}
			count, room = count+1, room-len(p)
			if count == aio.MaxIovecs || room == 0 {
				return
			}
		}
	}
}
