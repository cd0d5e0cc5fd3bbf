package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/workers"
)

// A Ring carries out the operations of any number of files: at most its queue
// depth at once, on one kernel AIO context, or on workers where there is none or
// where io_submit would block. It is safe for concurrent use.
//
// A submission waits for a place while the queue is full, first come first
// served. Nothing runs, and no system call is made, while nothing is in flight.
// NewRing makes one.
type Ring struct {
	context  aio.Context   // nil on BackendPool
	eventfd  *aio.EventFD  // of WaitEventFD
	reason   error         // why there is no context though BackendAuto looked for one
	requests []*request    // every slot, by index
	closing  chan struct{} // closed when Close begins
	closed   atomic.Bool   // written with mu held
	lent     bool          // made by NewRing: its user closes it, and gives it to files
	workers  *workers.Pool
	bounces  bouncePools

	_         cacheLine // what is above is only read
	completer completer
	_         cacheLine
	stats     counters
	_         cacheLine

	// mu guards what follows, and the state of every request. It is never held
	// across a system call that may block, nor while a result is delivered.
	mu       sync.Mutex
	slots    slots
	returned *sync.Cond // signalled when no slot is in use

	pending    requestQueue // registered nowhere yet, to be sent by the next io_submit
	inFlight   int          // given to io_submit and not yet reaped
	entering   int          // those of them that io_submit has not answered for yet
	inside     int          // goroutines in io_submit
	outside    *sync.Cond   // signalled when inside becomes 0
	submitters []*submitter // those not at work
	began      time.Time    // when the last of those at work went into io_submit
	spare      []*submitter // of workers, whose number is bounded elsewhere
	stalled    bool         // io_submit said EAGAIN; wait for a reap
	broken     error        // the context died: what every request gets from now on
	parked     bool         // the completer sleeps until unparked: nobody reaps

	// How long what is pending may wait for more: see submit.go. While expected
	// is not 0 the completer dispatches or watches. While it watches it is in a
	// wait of maxHold at the most, or about to be; parked, its timer runs.
	expected int       // submissions that are sure to come soon
	watched  bool      // the completer watches; set by it alone
	gathered time.Time // since when the batch gathers
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
		workers: workers.New(c.workers),
		bounces: newBouncePools(),
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
		r.slots.put(q)
	}
	if r.context != nil {
		for range maxSubmitters {
			r.submitters = append(r.submitters, &submitter{shared: true})
		}
		r.parked = true
		r.completer.start(r, c)
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

// setupContext calls io_setup, with half the depth each time that the machine
// has no room for so many requests.
func setupContext(setup func(int) (aio.Context, error), depth *int) (aio.Context, error) {
	asked, floor := *depth, min(*depth, minQueueDepth)
	for {
		context, err := setup(*depth)
		if err == nil {
			return context, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || *depth == floor {
			return nil, setupError(err, asked, *depth)
		}
		*depth = max(*depth/2, floor)
	}
}

// setupError says what was asked, what the machine has, and what to do.
func setupError(err error, asked, last int) error {
	err = os.NewSyscallError("io_setup", err)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		numbers := "see /proc/sys/fs/aio-nr and aio-max-nr"
		if nr, limit, e := aio.Limits(); e == nil {
			numbers = fmt.Sprintf("fs.aio-nr is %d of fs.aio-max-nr %d", nr, limit)
		}
		return fmt.Errorf("asyncfile: the machine has no room for a queue of %d requests, nor of %d (%s): raise fs.aio-max-nr with sysctl, or ask for less with WithQueueDepth: %w", asked, last, numbers, err)
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("asyncfile: this system has no native AIO: use BackendAuto or BackendPool: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asyncfile: native AIO is forbidden to this process (seccomp?): use BackendAuto or BackendPool: %w", err)
	}
	return fmt.Errorf("asyncfile: queue of %d requests: %w", last, err)
}

// tryContext sends one read through the context and waits for it: a sandbox may
// allow io_setup and refuse the rest.
func tryContext(context aio.Context) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil // nothing to try it on, so nothing said against it
	}
	defer null.Close()
	buf := make([]byte, 1)
	iocb := new(aio.IOCB)
	iocb.PrepareRead(int(null.Fd()), buf, 0)
	if _, err := context.Submit([]*aio.IOCB{iocb}); err != nil {
		return fmt.Errorf("asyncfile: native AIO does not work here: %w", os.NewSyscallError("io_submit", err))
	}
	events := make([]aio.Event, 1)
	for {
		n, err := context.GetEvents(1, events, time.Second)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("asyncfile: native AIO does not work here: %w", os.NewSyscallError("io_getevents", err))
		case n == 0:
			return errors.New("asyncfile: native AIO does not work here: a read of the null device did not complete in a second")
		default:
			return nil
		}
	}
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
	for len(r.slots.free) < len(r.requests) {
		r.returned.Wait()
	}
	r.mu.Unlock()
	if r.context == nil {
		return nil
	}
	// In this order: with no event to come the completer ends, and with nobody
	// inside io_getevents the context may go.
	r.completer.stop()
	r.mu.Lock()
	r.awaitSubmits() // the events of a call may be reaped before it returns
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

// acquire takes a free slot, and waits for one while the queue is full, behind
// those who wait already. It fails when the Ring is closed, and when past is.
func (r *Ring) acquire(past <-chan struct{}) (*request, error) {
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return nil, errRingClosed
	}
	q := r.slots.take()
	if q != nil {
		r.mu.Unlock()
		return q, nil
	}
	w := r.slots.enqueue()
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

// tryAcquire takes a free slot, if there is one and the Ring is not closed.
func (r *Ring) tryAcquire() *request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil
	}
	return r.slots.take()
}

// recycle frees the slots of requests that have ended.
func (r *Ring) recycle(list []outcome) {
	r.mu.Lock()
	for i := range list {
		r.slots.put(list[i].q)
	}
	r.announceReturn()
	r.mu.Unlock()
}

// announceReturn tells Close when no slot is in use. Called with mu held.
func (r *Ring) announceReturn() {
	if r.closed.Load() && len(r.slots.free) == len(r.requests) {
		r.returned.Broadcast()
	}
}
