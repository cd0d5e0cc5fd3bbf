package ring

import (
	"errors"
	"runtime"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// ErrBufferLost is in the error of an operation whose context died while it was in
// flight, and could not be destroyed: the kernel may use its memory at any later time.
var ErrBufferLost = errors.New("asyncfile: the kernel kept the operation: its buffer must not be used again")

// A lostMemory is the buffers that a Ring has left to the kernel for good. They
// outlive the Ring.
type lostMemory struct {
	bufs   [][]byte
	iovecs []aio.Iovec
}

// lose leaves the memory of q to the kernel, from which it cannot be taken back.
// Called with mu held. The slot may then be used again: no event is read any more.
func (r *Ring) lose(q *Request) {
	if r.lost == nil {
		r.lost = new(lostMemory)
		r.lost.stay()
	}
	r.lost.bufs = append(r.lost.bufs, q.Plan.Buf)
	r.lost.iovecs = append(r.lost.iovecs, q.Plan.Iovecs...)
}

// stay keeps l reachable without a goroutine or a variable of the package that
// holds it. What a finalizer's object refers to lives until the finalizer has run;
// this one is set again each time.
func (l *lostMemory) stay() { runtime.SetFinalizer(l, (*lostMemory).stay) }
