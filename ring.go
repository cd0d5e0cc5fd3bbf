package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Ring carries out the operations of any number of files: at most its queue
// depth at once, on one kernel AIO context, or on workers where there is none or
// where io_submit would block. It is safe for concurrent use.
//
// A submission waits for a place while the queue is full, first come first
// served among the files of a device. A device that does not answer, because its
// file system is frozen, say, holds up no other: each has workers and submissions
// of its own, and may not take the places of all (see lane.go). Nothing runs, and
// no system call is made, while nothing is in flight. NewRing makes one.
type Ring struct {
	context    aio.Context   // nil on BackendPool
	eventfd    *aio.EventFD  // of WaitEventFD
	reason     error         // why there is no context though BackendAuto looked for one
	requests   []*request    // every slot, by index
	closing    chan struct{} // closed when Close begins
	closed     atomic.Bool   // written with mu held
	lent       bool          // made by NewRing: its user closes it, and gives it to files
	timeout    time.Duration // of io_getevents
	workers    int           // the most of a lane
	bounces    bouncePool
	futures    futurePool // of calls that wait
	operations operationPool
	verifier   *verifier // nil, unless ASYNCFILE_VERIFY is set
	tracer     *tracer   // nil, unless ASYNCFILE_DEBUG is set

	observed bool // there is a checker, or an observer: see walk.go
	checker  *checker
	observer observer

	_         cacheLine // what is above is only read
	completer completer
	watchdog  watchdog
	_         cacheLine
	stats     counters
	_         cacheLine
	asks      atomic.Int64 // Futures that somebody waits for otherwise than at the Ring's work
	telling   atomic.Int64 // requests that have given back their slot and whose outcome is not delivered yet

	// mu guards what follows, and the state of every request. It is never held
	// across a system call that may block, nor while a result is delivered.
	mu       sync.Mutex
	slots    slots
	returned *sync.Cond // signalled when no slot is in use

	lanes    []*lane
	inFlight int        // given to io_submit and not yet reaped
	entering int        // those of them that io_submit has not answered for yet
	inside   int        // goroutines in io_submit
	asleep   int        // those of them that the watchdog found asleep there
	outside  *sync.Cond // signalled when inside becomes 0, and when the token of a closed Ring is free
	spare    []*driver
	token    bool        // somebody reaps: see reap.go
	reaper   *driver     // who has the token, for the verifier
	lonely   bool        // the watchdog found events that nobody comes to reap: the next reap is wanted
	prompt   int         // so many submissions more go out without waiting for a Wait: see lane.push
	stalled  bool        // io_submit said EAGAIN; wait for a reap
	broken   error       // the context died: what every request gets from now on
	lost     *lostMemory // what the kernel kept then; nil, unless it refused io_destroy
}

// A cacheLine keeps what many processors write off the lines of what they read.
type cacheLine [64]byte

// NewRing makes a Ring. With BackendAuto it runs on native AIO where the kernel
// lets the process use it, and otherwise on the pool: Backend and Reason tell.
// With BackendAIO an error says why not: it answers errors.Is for the errno of
// io_setup(2), and where fs.aio-max-nr is used up it gives the numbers.
func NewRing(opts ...Option) (*Ring, error) {
	c, err := newRingConfig(opts)
	if err != nil {
		return nil, err
	}
	r, err := newRing(c)
	if err != nil {
		return nil, err
	}
	r.lent = true
	return r, nil
}

func newRing(c *config) (*Ring, error) {
	r := &Ring{
		closing: make(chan struct{}),
		timeout: c.timeout,
		workers: c.workers,
	}
	if os.Getenv(verifyEnv) == "1" {
		r.verify(newVerifier())
	}
	if os.Getenv(debugEnv) == "1" {
		r.trace(newTracer(r, os.Stderr))
	}
	r.outside, r.returned = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	depth := c.depth
	if c.backend != BackendPool {
		if err := r.start(c, &depth); err != nil {
			if c.backend == BackendAIO {
				return nil, err
			}
			r.reason = err
			depth = c.depth
		}
	}
	r.requests = make([]*request, depth)
	slots := make([]request, depth)
	for i := range slots {
		q := &slots[i]
		q.ring, q.slot = r, uint32(i)
		r.requests[i] = q
	}
	r.slots.init(r.requests)
	if r.context != nil {
		r.watchdog.init(r)
		r.completer.start(r)
	}
	return r, nil
}

// start makes the kernel context and tries it, and lowers *depth to what the
// kernel had room for.
func (r *Ring) start(c *config, depth *int) error {
	context, err := setupContext(c.setup, depth)
	if err != nil {
		return err
	}
	if err := tryContext(context); err != nil {
		context.Destroy()
		return err
	}
	if c.mode == WaitEventFD {
		if r.eventfd, err = aio.NewEventFD(); err != nil {
			context.Destroy()
			return fmt.Errorf("asyncfile: WaitEventFD: %w", os.NewSyscallError("eventfd", err))
		}
	}
	r.context = context
	return nil
}

// Depth returns the most requests in flight: what WithQueueDepth asked, or what
// the machine had room for.
func (r *Ring) Depth() int {
	if r == nil {
		return 0
	}
	return len(r.requests)
}

// Backend returns BackendAIO or BackendPool.
func (r *Ring) Backend() Backend {
	if !r.made() {
		return BackendAuto
	}
	if r.context == nil {
		return BackendPool
	}
	return BackendAIO
}

// Reason returns why the Ring is on the pool although BackendAuto looked for
// native AIO, and nil where it is not so.
func (r *Ring) Reason() error {
	if !r.made() {
		return errNoRing
	}
	return r.reason
}

// made reports whether r is more than the zero Ring.
func (r *Ring) made() bool { return r != nil && r.closing != nil }

var errNoRing = invalid("a Ring that nothing made: use one of NewRing")

// errRingClosed is what the operations of a closed Ring's files are answered.
var errRingClosed error = ringClosedError{}

type ringClosedError struct{}

func (ringClosedError) Error() string        { return "asyncfile: the Ring is closed" }
func (ringClosedError) Is(target error) bool { return target == fs.ErrClosed }

// Close refuses new operations, waits for those in flight, and releases the
// completer and the kernel context, which takes 26 to 40 ms. Close the Ring's
// files first: on a file that is still open nothing can be read, written or
// synced afterwards, be it by AsyncFile, Queue or File. The error of such a call says that the
// Ring is closed, and answers errors.Is for fs.ErrClosed, as a second Close does.
//
// A Ring that AsyncFile.Ring returned for a file that was not given one is
// not the caller's to close: Close then does nothing but return an error that answers
// os.ErrInvalid.
func (r *Ring) Close() error {
	switch {
	case !r.made():
		return errNoRing
	case !r.lent:
		return invalid("Ring.Close: this Ring belongs to its files, the last of which closes it")
	}
	return r.close()
}

func (r *Ring) close() error {
	r.mu.Lock()
	if r.closed.Swap(true) {
		r.mu.Unlock()
		return errRingClosed
	}
	close(r.closing)
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
	r.completer.stop()
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

// acquire takes a free slot for a request of l, and waits for one while the
// queue is full, behind those of l that wait already. It fails when the Ring is
// closed, and when past is.
func (r *Ring) acquire(l *lane, past <-chan struct{}) (*request, error) {
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return nil, errRingClosed
	}
	q := r.slots.take(l)
	if q != nil {
		r.mu.Unlock()
		return q, nil
	}
	w := r.slots.enqueue(l)
	r.urge() // with those whose end it waits for
	r.mu.Unlock()
	var err error
	select {
	case q = <-w.given:
	case <-r.closing:
		err = errRingClosed
	case <-past:
		err = os.ErrDeadlineExceeded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.slots.leave(w)
		r.announceReturn()
		return nil, err
	}
	r.slots.accept(w)
	return q, nil
}

// tryAcquire takes a free slot for a request of l, if there is one and the Ring
// is not closed.
func (r *Ring) tryAcquire(l *lane) *request {
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
		list[i].q.goes(stageFree)
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
