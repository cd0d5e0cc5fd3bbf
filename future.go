package asyncfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// ErrAbandoned is in the error of a wait that ended before its operation did.
// The operation goes on: its buffer belongs to the kernel until Done is closed,
// and Wait or Result still give its outcome.
var ErrAbandoned = errors.New("asyncfile: wait ended before the operation; its buffer is in use until Done is closed")

// A Future is the result of one operation, which is written once, when the
// operation has ended. Any number of goroutines may wait for it in any of the
// ways below, at the same time and afterwards. What the operation did happens
// before its result can be seen.
//
// Futures are made by the methods of AsyncFile. A nil Future, and one that
// nothing made, is done, with os.ErrInvalid.
type Future struct {
	// The result: written before resolved is set, read after it is seen set.
	n      int
	err    error
	offset int64

	resolved atomic.Bool
	begun    bool // by newFuture: somebody is to resolve it
	// pending is released once, by resolve. A WaitGroup lets any number of
	// goroutines park without allocating a channel for them.
	pending sync.WaitGroup

	lane    *ring.Lane                   // of the operation; nil where no kernel context is in use
	request atomic.Pointer[ring.Request] // of the operation, until it has ended
	writes  bool                         // what the operation does
	asked   atomic.Bool                  // it counts with the Ring

	mu       sync.Mutex
	done     chan struct{} // made when Done is first asked for
	watchers *watcher      // of WaitAny
}

// closedChan is what Done answers for a Future that was resolved before.
var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// newFuture returns a Future that waits to be resolved.
func newFuture() *Future {
	f := &Future{begun: true}
	f.pending.Add(1)
	return f
}

// A futurePool has Futures that nobody outside of the library sees.
type futurePool struct{ idle sync.Pool }

func (p *futurePool) get() *Future {
	if f, ok := p.idle.Get().(*Future); ok {
		return f
	}
	return newFuture()
}

// put takes back a Future that has been waited for, for another operation.
func (p *futurePool) put(f *Future) {
	f.pending.Wait() // which ends when resolve has no more use for it
	f.resolved.Store(false)
	f.lane = nil
	f.pending.Add(1)
	p.idle.Put(f)
}

// resolve writes the result and wakes whoever waits. It is called once.
func (f *Future) resolve(n int, err error, offset int64) {
	f.n, f.err, f.offset = n, err, offset
	f.mu.Lock()
	f.resolved.Store(true)
	f.unask()
	if f.done != nil {
		close(f.done)
	}
	for w := f.watchers; w != nil; w = w.next {
		w.signal()
	}
	f.watchers = nil // and unwatch has nothing to do any more
	f.mu.Unlock()
	f.pending.Done()
}

// isDone reports whether there is a result, such as that of a Future which
// nothing made.
func (f *Future) isDone() bool { return f == nil || f.resolved.Load() || !f.begun }

// outcome returns the result of a Future that is done.
func (f *Future) outcome() (n int, err error) {
	if f == nil || !f.begun {
		return 0, errNoFuture
	}
	return f.n, f.err
}

var errNoFuture = invalid("a Future that no operation began: use those that AsyncFile's methods return")

// Done returns a channel that is closed when the operation has ended, for use
// in a select. From then on the buffer is the caller's again and Result has the
// outcome. The channel is made when Done is first called: who only waits does
// not pay for it.
func (f *Future) Done() <-chan struct{} {
	if f == nil {
		return closedChan
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done == nil {
		if f.isDone() {
			f.done = closedChan
		} else {
			f.done = make(chan struct{})
			f.ask()
		}
	}
	return f.done
}

// ask has the operation end without a goroutine that lends itself.
func (f *Future) ask() {
	if f.lane != nil && !f.asked.Load() {
		f.expect()
		f.lane.Ask()
	}
}

// expect counts the Future with its Ring, unless it is counted already.
func (f *Future) expect() {
	if !f.asked.CompareAndSwap(false, true) {
		return
	}
	f.lane.Ring().Count(1)
	if f.resolved.Load() { // in between: nobody else may have seen it counted
		f.unask()
	}
}

func (f *Future) unask() {
	if f.asked.CompareAndSwap(true, false) {
		f.lane.Ring().Count(-1)
	}
}

// awaited is a Future as the goal of a goroutine that lends itself to the Ring.
type awaited struct{ f *Future }

// Reached implements ring.Goal.
func (a awaited) Reached() bool { return a.f.resolved.Load() }

// ByEvent implements ring.Goal. An operation that is with a worker, or that another
// goroutine has reaped and not delivered, ends otherwise: a wait in io_getevents
// would not notice. While Ring.mu is held no request that has ended is used again.
func (a awaited) ByEvent() bool {
	q := a.f.request.Load()
	return q != nil && q.AwaitsEvent()
}

// Expect implements ring.Goal.
func (a awaited) Expect() { a.f.expect() }

// Wait blocks until the operation has ended and returns what the same call on
// an os.File would have returned: the number of bytes transferred, and an error
// if there were fewer than asked.
func (f *Future) Wait() (n int, err error) { return f.wait(1) }

// wait is Wait for a goroutine that is going to wait for so many operations.
func (f *Future) wait(several int) (n int, err error) {
	if !f.isDone() {
		if f.lane != nil {
			may := ring.Reads // all else may sleep longer than f takes
			if f.writes {
				may = ring.All
			}
			f.lane.Lend(awaited{f}, may, several)
		}
		f.pending.Wait()
	}
	return f.outcome()
}

// WaitContext waits like Wait, but no longer than ctx lives. A result that is
// there wins over a context that is dead. Where the wait ends first, the
// operation is abandoned, not undone: n is 0, and err answers errors.Is for
// both ErrAbandoned and ctx.Err().
func (f *Future) WaitContext(ctx context.Context) (n int, err error) {
	if f.isDone() || ctx.Done() == nil {
		return f.Wait()
	}
	select {
	case <-f.Done():
	case <-ctx.Done():
		if !f.isDone() {
			return 0, abandoned(ctx)
		}
	}
	return f.outcome()
}

// Result returns the outcome if the operation has ended, with the errors of Wait; ok
// reports whether it has. It never blocks.
func (f *Future) Result() (n int, err error, ok bool) {
	if !f.isDone() {
		f.ask()
		return 0, nil, false
	}
	n, err = f.outcome()
	return n, err, true
}

// Offset waits like Wait and returns the offset in bytes at which the operation
// began: for Append, where the data went.
func (f *Future) Offset() int64 {
	if f == nil {
		return 0
	}
	f.Wait()
	return f.offset
}

// WaitAll waits until all futures are done and returns the first error, in the
// order of its arguments, that is not io.EOF; or io.EOF, if that is the only one.
// So a file that is shorter than what was read of it hides no failure.
func WaitAll(futures ...*Future) error {
	var first error
	for i, f := range futures {
		if _, err := f.wait(len(futures) - i); err != nil && (first == nil || first == io.EOF) {
			first = err
		}
	}
	return first
}

// WaitAny waits until at least one of futures is done, no longer than ctx
// lives, and returns its index and the error of its operation. Of several that
// are done the one with the lowest index wins, and any wins over a dead context.
// Where ctx ends first the index is -1, and the error answers errors.Is as that of
// WaitContext does; where there is no future it is -1 and os.ErrInvalid.
func WaitAny(ctx context.Context, futures ...*Future) (int, error) {
	if len(futures) == 0 {
		return -1, invalid("WaitAny: pass at least one Future")
	}
	if i := firstDone(futures); i >= 0 {
		_, err := futures[i].Wait()
		return i, err
	}
	any := make(chan struct{}, 1)
	watchers := make([]watcher, len(futures))
	for i, f := range futures {
		watchers[i].c = any
		f.watch(&watchers[i])
	}
	defer func() {
		for i, f := range futures {
			f.unwatch(&watchers[i])
		}
	}()
	select {
	case <-any:
	case <-ctx.Done():
	}
	if i := firstDone(futures); i >= 0 {
		_, err := futures[i].Wait()
		return i, err
	}
	return -1, abandoned(ctx)
}

// firstDone returns the lowest index of a future that is done, or -1.
func firstDone(futures []*Future) int {
	for i, f := range futures {
		if f.isDone() {
			return i
		}
	}
	return -1
}

// A watcher is one WaitAny's interest in one Future. c has room for one signal,
// which stands for any number of them.
type watcher struct {
	c          chan struct{}
	prev, next *watcher
}

func (w *watcher) signal() {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// watch has w signalled when f is resolved, or at once if it is.
func (f *Future) watch(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resolved.Load() {
		w.signal()
		return
	}
	if w.next = f.watchers; w.next != nil {
		w.next.prev = w
	}
	f.watchers = w
	f.ask()
}

// unwatch forgets w, so that a long operation does not collect the watchers of
// every WaitAny that it took part in. It takes the same time however many there
// are.
func (f *Future) unwatch(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resolved.Load() {
		return
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		f.watchers = w.next
	}
}

func abandoned(ctx context.Context) error {
	return fmt.Errorf("%w: %w", ErrAbandoned, ctx.Err())
}
