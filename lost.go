package asyncfile

import (
	"errors"
	"runtime"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// ErrBufferLost is in the error of an operation whose kernel context died while
// it was in flight, and could not be destroyed either: io_getevents(2) and
// io_destroy(2) are both refused, as by a system call filter that was installed
// after the Ring was made. What becomes of the operation cannot be known, and the
// kernel may read or write its buffer at any later time: do not use that again.
// The library does not, and keeps it from the collector until the process ends.
var ErrBufferLost = errors.New("asyncfile: the kernel kept the operation: its buffer must not be used again")

// A lostMemory is the buffers that a Ring has left to the kernel for good. They
// outlive the Ring.
type lostMemory struct {
	bufs   [][]byte
	iovecs []aio.Iovec
}

// lose leaves the memory of q to the kernel, from which it cannot be taken back.
// Called with mu held. The slot may then be used again: no event is read any more.
func (r *Ring) lose(q *request) {
	if r.lost == nil {
		r.lost = new(lostMemory)
		r.lost.stay()
	}
	r.lost.bufs = append(r.lost.bufs, q.plan.buf)
	r.lost.iovecs = append(r.lost.iovecs, q.plan.iovecs...)
}

// stay keeps l reachable without a goroutine or a variable of the package that
// holds it. What a finalizer's object refers to lives until the finalizer has run;
// this one is set again each time.
func (l *lostMemory) stay() { runtime.SetFinalizer(l, (*lostMemory).stay) }
