package asyncfile

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// recheckPeriod is how often a submitter that waits for a place looks whether a
// completion was received (see Queue.reclaim).
const recheckPeriod = time.Millisecond

// A Queue carries out many operations, on any number of files, and delivers
// their completions on one channel, for a select. It allocates nothing per
// operation. Its methods are safe for concurrent use.
//
// An operation takes one of the Queue's places, until its completion has been
// received. While all are taken submitters wait, first come first served; a
// goroutine that both submits and receives must therefore not submit more than
// depth operations ahead of what it has received. NewQueue makes one.
type Queue struct {
	depth   int
	ready   chan Completion     // has room for every place: sending never blocks
	places  *semaphore.Weighted // those free, but for the ones still to be reclaimed
	closing context.Context     // ends when Close begins
	close   context.CancelFunc

	waiting atomic.Int32 // submitters that wait for a place

	mu      sync.Mutex
	taken   int         // places taken and not reclaimed
	unended int         // operations that have not ended
	idle    *sync.Cond  // signalled when unended becomes 0
	closed  bool        // ready is closed
	recheck *time.Timer // runs while a submitter waits
}

// NewQueue returns a Queue with depth places; depth is at least 1. A lesser one
// counts as 1. How many of the operations are in flight at once is up to the
// files' Rings.
func NewQueue(depth int) *Queue {
	depth = max(depth, 1)
	q := &Queue{
		depth:  depth,
		ready:  make(chan Completion, depth),
		places: semaphore.NewWeighted(int64(depth)),
	}
	q.closing, q.close = context.WithCancel(context.Background())
	q.idle = sync.NewCond(&q.mu)
	return q
}

// ReadAt begins to read len(p) bytes of f into p, from offset off in bytes. The
// buffer is the kernel's until the completion has been received, which carries
// tag. The error is about the submission alone, and answers errors.Is for
// fs.ErrClosed after Close and os.ErrInvalid where f is nil: what becomes of the read, its completion tells.
func (q *Queue) ReadAt(f *AsyncFile, p []byte, off int64, tag any) error {
	return q.Submit(f, Op{Kind: OpRead, Buf: p, Offset: off}, tag)
}

// WriteAt begins to write p to f at offset off, in bytes, as ReadAt begins to
// read.
func (q *Queue) WriteAt(f *AsyncFile, p []byte, off int64, tag any) error {
	return q.Submit(f, Op{Kind: OpWrite, Buf: p, Offset: off}, tag)
}

// Submit begins any operation, as ReadAt begins to read.
func (q *Queue) Submit(f *AsyncFile, op Op, tag any) error {
	if f == nil {
		return invalid("Queue: the file is nil: pass an open AsyncFile")
	}
	if err := q.take(); err != nil {
		return err
	}
	f.submit(&call{op: op, to: q, tag: tag})
	return nil
}

// C returns the channel on which completions arrive. It is closed, and what was
// not received is still there to be, once Close has returned.
func (q *Queue) C() <-chan Completion {
	if q.waiting.Load() > 0 {
		q.reclaim()
	}
	return q.ready
}

// Close refuses new operations and waits until those that were begun have
// ended. Submitters that wait for a place give up. A second Close returns
// fs.ErrClosed.
func (q *Queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Err() != nil {
		return errQueueClosed
	}
	q.close()
	for q.unended > 0 {
		q.idle.Wait()
	}
	if q.recheck != nil {
		q.recheck.Stop()
	}
	q.closed = true
	close(q.ready)
	return nil
}

var errQueueClosed = fmt.Errorf("asyncfile: Queue: %w", fs.ErrClosed)

// take takes a place, and waits for one while there is none.
func (q *Queue) take() error {
	if !q.places.TryAcquire(1) {
		q.reclaim()
		if err := q.wait(); err != nil {
			return errQueueClosed
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Err() != nil {
		q.places.Release(1)
		return errQueueClosed
	}
	q.taken++
	q.unended++
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
// does not tell its sender of that, so it is derived: a place that is taken and
// neither in use by an operation nor in the channel is free. It is looked for
// when a submitter finds no place, when an operation ends, and when C is called;
// and, for a receiver that does none of that, periodically while one waits.
func (q *Queue) reclaim() {
	q.mu.Lock()
	q.reclaimLocked()
	q.mu.Unlock()
}

func (q *Queue) reclaimLocked() {
	if n := q.taken - q.unended - len(q.ready); n > 0 {
		q.taken -= n
		q.places.Release(int64(n))
	}
}

// deliver sends a completion. There is room: its place is still taken.
func (q *Queue) deliver(c Completion) {
	q.mu.Lock()
	q.ready <- c
	q.unended--
	if q.unended == 0 {
		q.idle.Broadcast()
	}
	if q.waiting.Load() > 0 {
		q.reclaimLocked()
	}
	q.mu.Unlock()
}
