package ring

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Ring carries out requests: at most its queue depth at once, on one kernel
// context, or on workers where there is none or where io_submit would block. It is
// safe for concurrent use. New makes one.
type Ring struct {
	context  aio.Context   // nil where there is none
	eventfd  *aio.EventFD  // nil, unless the completer waits there
	requests []*Request    // every slot, by index
	closed   atomic.Bool   // written with mu held
	timeout  time.Duration // of io_getevents
	workers  int           // the most of a lane
	observed bool          // there is a checker, or an observer: see walk.go
	checker  *checker
	observer Observer

	_        cacheLine // what is above is only read
	seat     completers
	watchdog watchdog
	_        cacheLine
	stats    counters
	_        cacheLine
	asks     atomic.Int64 // goals that somebody waits for otherwise than at the Ring's work
	telling  atomic.Int64 // requests that have given back their slot and whose outcome is not delivered yet

	// mu guards what follows, and the state of every request. It is never held
	// across a system call that may block, nor while a result is delivered.
	mu       sync.Mutex
	slots    slots
	returned *sync.Cond // signalled when no slot is in use

	lanes    []*Lane
	inFlight int        // given to io_submit and not yet reaped
	entering int        // those of them that io_submit has not answered for yet
	inside   int        // goroutines in io_submit
	asleep   int        // those of them that the watchdog found asleep there
	outside  *sync.Cond // signalled when inside becomes 0, and when the token of a closed Ring is free
	spare    []*driver
	token    bool        // somebody reaps: see reap.go
	reaper   *driver     // who has the token, for the checker
	lonely   bool        // the watchdog found events that nobody comes to reap: the next reap is wanted
	prompt   int         // so many submissions more go out without waiting for a Wait: see Lane.Push
	stalled  bool        // io_submit said EAGAIN; wait for a reap
	broken   error       // the context died: what every request gets from now on
	lost     *lostMemory // what the kernel kept then; nil, unless it refused io_destroy
}

// A cacheLine keeps what many processors write off the lines of what they read.
type cacheLine [64]byte

// A Config is what a Ring is made of.
type Config struct {
	Context  aio.Context   // nil: requests are carried out on workers
	EventFD  *aio.EventFD  // nil: the completer waits in io_getevents
	Depth    int           // requests at once: 1 at least, and what Context has room for
	Timeout  time.Duration // of io_getevents
	Workers  int           // goroutines of a lane that block, at the most
	Complete func(*Seat)   // is the completer, on a goroutine of its own
}

// New makes a Ring. Close releases what it was given.
func New(c Config) *Ring {
	r := &Ring{
		context: c.Context,
		eventfd: c.EventFD,
		timeout: c.Timeout,
		workers: c.Workers,
	}
	r.outside, r.returned = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	r.requests = make([]*Request, c.Depth)
	slots := make([]Request, c.Depth)
	for i := range slots {
		q := &slots[i]
		q.ring, q.slot = r, uint32(i)
		r.requests[i] = q
	}
	r.slots.init(r.requests)
	if r.context != nil {
		r.watchdog.init(r)
		r.seat.start(r, c.Complete)
	}
	return r
}

// Depth returns the most requests at once.
func (r *Ring) Depth() int { return len(r.requests) }

// OnKernel reports whether there is a kernel context.
func (r *Ring) OnKernel() bool { return r.context != nil }

// EventFD returns what the completer waits on, or nil where that is io_getevents.
func (r *Ring) EventFD() *aio.EventFD { return r.eventfd }

// Closed reports whether Close has begun.
func (r *Ring) Closed() bool { return r.closed.Load() }

// ErrClosed is what a closed Ring answers.
var ErrClosed error = closedError{}

type closedError struct{}

func (closedError) Error() string        { return "asyncfile: the Ring is closed" }
func (closedError) Is(target error) bool { return target == fs.ErrClosed }

// Close refuses new requests, waits for those in flight, and releases the completer,
// the kernel context and the eventfd. A second Close returns ErrClosed.
func (r *Ring) Close() error {
	r.mu.Lock()
	if r.closed.Swap(true) {
		r.mu.Unlock()
		return ErrClosed
	}
	r.slots.dismiss()
	r.urge()
	for len(r.slots.free) < len(r.requests) || r.telling.Load() > 0 {
		r.returned.Wait()
	}
	if r.checker != nil {
		r.checker.table(r)
	}
	r.mu.Unlock()
	if r.context == nil {
		return nil
	}
	// In this order: with no event to come the completer ends, and with nobody
	// inside io_getevents the context may go.
	r.watchdog.stop()
	r.seat.stop()
	r.mu.Lock()
	r.awaitSubmits() // the events of a call may be reaped before it returns
	r.awaitToken()   // and a waiter's operation end otherwise
	r.mu.Unlock()
	var err error
	if r.broken == nil {
		err = r.context.Destroy()
	}
	if r.eventfd != nil {
		err = errors.Join(err, r.eventfd.Close())
	}
	return err
}

// Acquire takes a free slot for a request of l, and waits for one while the
// queue is full, behind those of l that wait already. It fails when the Ring is
// closed, and when past is.
func (r *Ring) Acquire(l *Lane, past <-chan struct{}) (*Request, error) {
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	q := r.slots.take(l)
	if q != nil {
		r.mu.Unlock()
		return q, nil
	}
	w := r.slots.enqueue(l)
	r.urge() // with those whose end it waits for
	r.mu.Unlock()
	if past == nil { // without a select, which takes as much time again
		q = <-w.given
	} else {
		select {
		case q = <-w.given:
		case <-past:
			r.leave(w)
			return nil, os.ErrDeadlineExceeded
		}
	}
	r.slots.retire(w)
	if q == nil {
		return nil, ErrClosed
	}
	return q, nil
}

// leave ends the wait of w, which has not looked whether it is over.
func (r *Ring) leave(w *slotWaiter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots.leave(w)
	r.announceReturn()
}

// TryAcquire takes a free slot for a request of l, if there is one and the Ring
// is not closed.
func (r *Ring) TryAcquire(l *Lane) *Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil
	}
	return r.slots.take(l)
}

// recycle frees the slots of requests that have ended.
func (r *Ring) recycle(list []outcome) {
	r.telling.Add(int64(len(list)))
	r.mu.Lock()
	for i := range list {
		list[i].q.Goes(StageFree)
		r.slots.put(list[i].q)
	}
	if r.checker != nil {
		r.checker.slots(r)
	}
	r.mu.Unlock()
}

// told counts n outcomes as delivered.
func (r *Ring) told(n int) {
	if r.telling.Add(int64(-n)) == 0 && r.closed.Load() {
		r.mu.Lock()
		r.announceReturn()
		r.mu.Unlock()
	}
}

// announceReturn tells Close when no slot is in use and every outcome is
// delivered. Called with mu held.
func (r *Ring) announceReturn() {
	if r.closed.Load() && len(r.slots.free) == len(r.requests) && r.telling.Load() == 0 {
		r.returned.Broadcast()
	}
}
