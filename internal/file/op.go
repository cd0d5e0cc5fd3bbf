package file

import (
	"fmt"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// A Kind is what an operation does.
type Kind uint8

const (
	Read     Kind = iota // pread(2) into Buf
	Write                // pwrite(2) from Buf
	Readv                // preadv(2) into Bufs
	Writev               // pwritev(2) from Bufs
	Append               // write from Buf at the end of the file
	Sync                 // fsync(2), as a barrier
	Datasync             // fdatasync(2), as a barrier
)

// String names the kind, which is an OpKind to users.
func (k Kind) String() string {
	names := [...]string{"read", "write", "readv", "writev", "append", "sync", "datasync"}
	if int(k) >= len(names) {
		return fmt.Sprintf("OpKind(%d)", k)
	}
	return names[k]
}

// ErrorOp returns what a *fs.PathError of the operation has as its Op, which is
// what os.File's has: of the ways to write there is one name.
func (k Kind) ErrorOp() string {
	switch {
	case k.Writes():
		return Write.String()
	case k == Readv:
		return Read.String()
	}
	return k.String()
}

// Writes reports whether the operation transfers bytes to the file.
func (k Kind) Writes() bool { return k == Write || k == Writev || k == Append }

// Vectored reports whether the operation has any number of buffers.
func (k Kind) Vectored() bool { return k == Readv || k == Writev }

// Syncs reports whether the operation is a barrier.
func (k Kind) Syncs() bool { return k == Sync || k == Datasync }

// An Op is one operation. Of Buf and Bufs it has what Kind uses.
type Op struct {
	Kind   Kind
	Buf    []byte
	Bufs   [][]byte
	Offset int64 // in bytes; no meaning for Append, Sync and Datasync
}

// size returns how many bytes the operation is asked to transfer.
func (op *Op) size() int64 {
	switch {
	case op.Kind.Syncs():
		return 0
	case !op.Kind.Vectored():
		return int64(len(op.Buf))
	}
	n, _ := vec.Total(op.Bufs) // whoever made the Call has looked
	return n
}

// cursor returns a cursor at the start of the operation's memory.
func (op *Op) cursor() vec.Cursor {
	if !op.Kind.Vectored() {
		return vec.Bytes(op.Buf)
	}
	c, _ := vec.Buffers(op.Bufs)
	return c
}

// A Call is an operation as it comes in.
type Call struct {
	Op
	To  Sink
	Tag any // for the Outcome

	// Invalid, if not nil, says why the operation cannot have been meant. It is what
	// the operation ends with, unless the file is closed.
	Invalid error

	Haste ring.Haste
	// Past, if not nil, bounds every wait: the call gives up when it is closed,
	// and makes no system call that could hang.
	Past <-chan struct{}
	// Until, if not nil, bounds the wait for a slot, and nothing else.
	Until <-chan struct{}
	// Here has the calling goroutine carry the operation out, if nothing is in
	// its way, since it would only wait for it.
	Here bool
}

// An Outcome is how an operation ended.
type Outcome struct {
	Kind   Kind
	File   *Handle
	Buf    []byte // as it came
	Offset int64  // in bytes, where the operation began
	N      int    // bytes transferred
	Err    error  // as of os.File: not nil where N is less than was asked
	Tag    any    // as it came
}

// A Sink is who wants to know of an operation: the one way up from a file.
type Sink interface {
	// Follow tells which request the operation has, and nil when it has ended, while
	// the request is not yet used again.
	Follow(q *ring.Request)
	// Deliver takes the outcome. It never blocks and never runs code of the user's.
	Deliver(o Outcome)
}
