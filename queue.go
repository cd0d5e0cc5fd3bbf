package asyncfile

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// recheckPeriod is how often a submitter that waits for a place looks whether a
// completion was received (see Queue.reclaim).
const recheckPeriod = time.Millisecond

// A Queue carries out many operations, on any number of files, and delivers
// their completions: to Receive and All, or on the channel C, for a select. Receive
// costs least, since the goroutine that waits then does the Ring's work itself;
// all three may be used at the same time, and each completion is received once. A
// Queue allocates nothing per operation. Its methods are safe for concurrent use.
//
// While completions are taken by Receive or All, what is submitted may gather until
// Receive has nothing more to give, and then goes out in one io_submit(2), or when 64
// have gathered. Where Receive is not called again within 1 to 2 ms, it goes out by
// itself.
//
// An operation takes one of the Queue's places, until its completion has been
// received. While all are taken submitters wait, first come first served; a
// goroutine that both submits and receives must therefore not submit more than
// depth operations ahead of what it has received. NewQueue makes one.
type Queue struct {
	ready  chan Completion     // has room for every place: sending never blocks
	places *semaphore.Weighted // those free, but for the ones still to be reclaimed

	closing context.Context // ends when Close begins
	close   context.CancelFunc
	drained chan struct{} // signalled when ended may have caught up after Close; has room for one
	closed  atomic.Bool   // ready is

	reach    atomic.Pointer[reach] // what its operations are on; nil before the first on AIO
	asking   atomic.Bool           // it is counted in Ring.asks; written with mu held
	parked   atomic.Int32          // goroutines in Receive that leave the work to the completers; likewise
	pulledAt atomic.Int64          // what ended was when Receive was last called; see pulled

	_       cacheLine    // submitters write what follows,
	begun   atomic.Int64 // operations; those not ended are in progress, or about to be refused
	waiting atomic.Int32 // submitters that wait for a place
	pulling atomic.Int32 // goroutines in Receive that wait
	_       cacheLine    // and the completer this
	ended   atomic.Int64
	_       cacheLine

	mu        sync.Mutex
	reclaimed int64        // places of received completions that were freed again
	recheck   *time.Timer  // runs while a submitter waits
	asked     []*ring.Ring // that it is counted with
}

// A cacheLine keeps what many processors write off the lines of others.
type cacheLine [64]byte

// NewQueue returns a Queue with depth places; depth is at least 1. A lesser one
// counts as 1. How many of the operations are in flight at once is up to the
// files' Rings. A place takes some 90 bytes, and NewQueue panics, as make does,
// where there is no memory for so many.
func NewQueue(depth int) *Queue {
	depth = max(depth, 1)
	q := &Queue{
		ready:   make(chan Completion, depth),
		places:  semaphore.NewWeighted(int64(depth)),
		drained: make(chan struct{}, 1),
	}
	q.closing, q.close = context.WithCancel(context.Background())
	return q
}

// ReadAt begins to read len(p) bytes of f into p, from offset off in bytes. The
// buffer is the kernel's until the completion has been received, which carries
// tag. The error is about the submission alone, and answers errors.Is for
// fs.ErrClosed after Close and os.ErrInvalid where f is nil: what becomes of the
// read, its completion tells.
func (q *Queue) ReadAt(f *AsyncFile, p []byte, off int64, tag any) error {
	return q.Submit(f, Op{Kind: OpRead, Buf: p, Offset: off}, tag)
}

// WriteAt begins to write p to f at offset off, in bytes, as ReadAt begins to
// read.
func (q *Queue) WriteAt(f *AsyncFile, p []byte, off int64, tag any) error {
	return q.Submit(f, Op{Kind: OpWrite, Buf: p, Offset: off}, tag)
}

// Submit begins any operation, as ReadAt begins to read.
func (q *Queue) Submit(f *AsyncFile, op Op, tag any) error { return q.submit(f, op, tag, nil) }

// submit is Submit for a caller that waits for a slot of the Ring only until a channel
// is closed. What becomes of that, the completion tells.
func (q *Queue) submit(f *AsyncFile, op Op, tag any, until <-chan struct{}) error {
	switch {
	case !q.made():
		return errNoQueue
	case !f.opened():
		return invalid("Queue: no file: pass an open AsyncFile")
	}
	if err := q.take(); err != nil {
		return err
	}
	c := op.call(queueSink{q})
	c.Tag, c.Until = tag, until
	if !f.core.OnKernel {
		f.core.Submit(&c)
		return nil
	}
	q.extend(f.core.Lane)
	h := q.haste()
	if !q.asking.Load() && (q.parked.Load() > 0 || !q.pulled()) {
		q.ask()
	}
	c.Haste = h
	f.core.Submit(&c)
	if h == ring.Lazily && q.pulling.Load() > 0 { // one came, and may have found nothing to send
		q.urge()
	}
	return nil
}

// haste says how soon a submission has to go out. While completions wait in the
// channel their receiver is at work, and is going to submit more.
func (q *Queue) haste() ring.Haste {
	switch {
	case q.pulling.Load() > 0:
		return ring.Promptly
	case q.pulled():
		return ring.Lazily
	case len(q.ready) > 0:
		return ring.Together
	}
	return ring.Promptly
}

// made reports whether NewQueue made q.
func (q *Queue) made() bool { return q != nil && q.ready != nil }

var errNoQueue = invalid("a Queue that nothing made: use one of NewQueue")

// C returns the channel on which completions arrive. It is closed, and what was
// not received is still there to be, once Close has returned. A nil Queue's is
// closed.
func (q *Queue) C() <-chan Completion {
	if !q.made() {
		return closedQueue
	}
	if q.pulled() {
		q.pulledAt.Store(neverPulled)
		q.urge()
	}
	if q.waiting.Load() > 0 {
		q.reclaim()
	}
	return q.ready
}

// Close refuses new operations and waits until those that were begun have
// ended. Submitters that wait for a place give up. A second Close returns
// fs.ErrClosed.
func (q *Queue) Close() error {
	if !q.made() {
		return errNoQueue
	}
	q.mu.Lock()
	if q.closing.Err() != nil {
		q.mu.Unlock()
		return errQueueClosed
	}
	q.close()
	if q.recheck != nil {
		q.recheck.Stop()
	}
	q.mu.Unlock()
	q.pulledAt.Store(neverPulled)
	q.urge()
	for q.ended.Load() < q.begun.Load() {
		<-q.drained
	}
	close(q.ready)
	q.closed.Store(true)
	return nil
}

// closedQueue is what a Queue that nothing made has for C.
var closedQueue = func() chan Completion {
	c := make(chan Completion)
	close(c)
	return c
}()

var errQueueClosed = fmt.Errorf("asyncfile: Queue: %w", fs.ErrClosed)

// take takes a place, and waits for one while there is none. It counts the
// operation first: a Close that comes later waits for its end.
func (q *Queue) take() error {
	if q.closing.Err() != nil {
		return errQueueClosed
	}
	q.begun.Add(1)
	if !q.places.TryAcquire(1) {
		q.reclaim()
		if !q.places.TryAcquire(1) && q.wait() != nil {
			q.begun.Add(-1)
			q.settle()
			return errQueueClosed
		}
	}
	if q.closing.Err() != nil {
		q.places.Release(1)
		q.begun.Add(-1)
		q.settle()
		return errQueueClosed
	}
	return nil
}

// wait waits for a place, and meanwhile looks for places to reclaim.
func (q *Queue) wait() error {
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	q.mu.Lock()
	if q.recheck == nil {
		q.recheck = time.AfterFunc(recheckPeriod, q.lookAgain)
	}
	q.mu.Unlock()
	q.reclaim() // what was received before this wait could be seen
	return q.places.Acquire(q.closing, 1)
}

func (q *Queue) lookAgain() {
	q.reclaim()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Load() == 0 || q.closing.Err() != nil {
		q.recheck = nil
		return
	}
	q.recheck.Reset(recheckPeriod)
}

// reclaim frees the places of completions that have been received. A channel
// does not tell its sender of that, so it is derived: what has ended and is not
// in the channel was received. It is looked for when a submitter finds no place,
// when an operation ends, and when C is called; and, for a receiver that does none
// of that, periodically while one waits.
func (q *Queue) reclaim() {
	q.mu.Lock()
	defer q.mu.Unlock()
	// In this order: one that ends in between is missed, and found another time.
	ended := q.ended.Load()
	if n := ended - int64(len(q.ready)) - q.reclaimed; n > 0 {
		q.reclaimed += n
		q.places.Release(n)
	}
}

// A queueSink is a Queue as what files tell the outcomes of operations.
type queueSink struct{ q *Queue }

// Follow implements file.Sink.
func (s queueSink) Follow(*ring.Request) {}

// Deliver implements file.Sink.
func (s queueSink) Deliver(o file.Outcome) {
	f, _ := o.File.Owner.(*AsyncFile)
	s.q.deliver(Completion{Op: OpKind(o.Kind), File: f, Buf: o.Buf, Offset: o.Offset, N: o.N, Err: o.Err, Tag: o.Tag})
}

// deliver sends a completion. There is room: its place is still taken.
func (q *Queue) deliver(c Completion) {
	q.ready <- c
	q.ended.Add(1)
	if q.waiting.Load() > 0 {
		q.reclaim()
	}
	q.settle()
}

// settle draws the conclusions where nothing may be in progress any more: a Close
// that waits looks again whether all has ended.
func (q *Queue) settle() {
	q.rest()
	if q.closing.Err() != nil {
		select {
		case q.drained <- struct{}{}:
		default:
		}
	}
}
