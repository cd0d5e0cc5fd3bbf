package asyncfile

import (
	"errors"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// retryDelay is how long the completer waits before it repeats an io_submit
// that the kernel had no memory for while nothing was in flight whose end could
// make room.
const retryDelay = time.Millisecond

// maxHurry is for how many turns, at the most, the completer takes events as they
// come after it has waited for several in vain.
const maxHurry = 63

// batchShare is the share of what is in flight that the completer of a busy Ring
// waits for at once: an eighth.
const batchShare = 8

// minReap is how many events the completer takes at a time, if they are there,
// however little is in flight.
const minReap = 8

// maxYields is how often the completer yields to the goroutines that it woke.
const maxYields = 2

// A completer is the goroutine that waits in the kernel, reaps events, and
// resolves what they are of. While it runs it is the only one that consumes
// events; parked, with nothing in flight, it leaves that to whoever submits.
//
// Its loop: wait for events; have a batch of outcomes delivered; let the
// goroutines that this woke run; see to it that what they submit is sent (see
// submit.go); wait again. It runs no code of the user's and sends on no channel
// that could block it.
type completer struct {
	ring    *Ring
	timeout time.Duration
	wake    chan struct{} // ends a park; has room for one
	late    *time.Timer   // ends a park while a batch gathers
	quit    chan struct{}
	exited  chan struct{}
	scratch submitter
	hurry   int // for so many turns more events are taken as they come
	vain    int // length of the last hurry; 0 after a wait for several that paid
}

// start runs the completer of r, parked.
func (c *completer) start(r *Ring, conf *config) {
	c.ring = r
	c.timeout = conf.timeout
	c.wake = make(chan struct{}, 1)
	c.quit = make(chan struct{})
	c.exited = make(chan struct{})
	c.late = time.NewTimer(0)
	c.late.Stop()
	go c.run()
}

// stop ends the completer and waits until it has. Nothing may be in flight.
func (c *completer) stop() {
	close(c.quit)
	<-c.exited
}

func (c *completer) run() {
	defer close(c.exited)
	for c.park() {
		for c.turn() {
		}
	}
}

// park sleeps until there is something to do. It reports false at the end.
// The Ring starts out parked.
func (c *completer) park() bool {
	defer c.late.Stop()
	select {
	case <-c.wake:
		return true
	case <-c.late.C:
		c.overdue()
		return true
	case <-c.quit:
		return false
	}
}

// overdue sends what has come of a batch, the rest of which is late.
func (c *completer) overdue() {
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.parked {
		<-c.wake // just now
	}
	r.parked = false
	c.watch(true)
}

// turn waits for events once and deals with them. It reports false, and leaves
// the Ring parked, where there is nothing to wait for.
func (c *completer) turn() bool {
	r := c.ring
	r.mu.Lock()
	switch {
	case r.awaited() > 0:
		p := c.patience()
		r.mu.Unlock()
		n := c.await(p)
		c.learn(p, n)
		c.dispatch(n)
	case !r.stalled || r.pending.empty():
		if r.watched {
			c.late.Reset(maxHold)
		}
		r.parked = true
		r.mu.Unlock()
		return false
	default:
		r.mu.Unlock()
		c.retry()
	}
	return true
}

// A patience is for how many events to wait, how long, and how many to take.
type patience struct {
	min, max int
	timeout  time.Duration
}

// patience says how to wait. On a busy Ring it is worth to let some events come
// together, since each wake-up costs the same for one as for many, and so does
// each io_submit of what follows. Called with Ring.mu held.
func (c *completer) patience() patience {
	r := c.ring
	awaited := r.awaited()
	// Half of what is in flight at a time: what follows is sent while the device
	// still has the other half to do.
	p := patience{min: 1, max: min(max(minReap, awaited/2), maxBatch), timeout: c.timeout}
	if r.watched {
		p.timeout = min(maxHold, c.timeout)
		if c.hurry == 0 {
			p.min = min(p.max, awaited, max(1, (awaited+r.expected)/batchShare))
		}
	}
	return p
}

// learn takes note of whether n events were worth the wait that p was.
func (c *completer) learn(p patience, n int) {
	switch {
	case c.hurry > 0:
		c.hurry--
	case p.min > 1 && n < p.min:
		c.vain = min(2*c.vain+1, maxHurry)
		c.hurry = c.vain
	case p.min > 1:
		c.vain = 0
	}
}

// await waits until there are events and returns how many are in the scratch
// memory: none, sometimes, when a timeout or a signal ended the wait.
func (c *completer) await(p patience) int {
	r, events := c.ring, c.scratch.events[:p.max]
	if p.min == 1 {
		if n := r.context.Reap(events); n > 0 {
			return n
		}
	}
	if r.eventfd == nil {
		return c.getEvents(p.min, events, p.timeout)
	}
	// The kernel adds to the count after the event is in the ring, so an event
	// that is missed here leaves a count behind that ends the wait.
	if !r.context.Mapped() {
		if n := c.getEvents(0, events, 0); n > 0 {
			return n
		}
		if r.broken != nil { // by that call: there is nothing to come
			return 0
		}
	}
	if err := r.eventfd.Wait(); err != nil {
		c.abort(err)
	}
	return 0 // the next turn reaps
}

func (c *completer) getEvents(min int, events []aio.Event, timeout time.Duration) int {
	n, err := c.ring.context.GetEvents(min, events, timeout)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		c.abort(err)
	}
	return n
}

// dispatch ends or continues the requests of the n events that were reaped, and
// sends what has gathered, unless more is sure to come soon.
func (c *completer) dispatch(n int) {
	r, s := c.ring, &c.scratch
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = false
	if n == 0 {
		r.stalled = false // no event has made room for so long: try
		c.watch(true)
		return
	}
	s.ended = r.reaped(s.events[:n], s.ended)
	r.expect(successors(s.ended))
	busy := r.busy()
	r.endAll(s)
	c.yield()
	if !busy {
		r.expected = 0
	}
	c.watch(time.Since(r.gathered) >= maxHold)
	r.watched = busy && r.eventfd == nil
}

// watch decides what becomes of a batch that gathers: it is sent if it is late,
// or complete, or nobody is going to watch it. As long as requests come, even if
// slowly, as from one receiver who has many completions to go through, more are
// expected; when none has come for so long, none is. Called with Ring.mu held,
// which it releases in between.
func (c *completer) watch(late bool) {
	r := c.ring
	if late && r.pending.empty() || r.eventfd != nil {
		r.expected = 0
	}
	if late || r.expected == 0 {
		c.send()
	}
	r.watched = r.expected > 0
}

// successors returns how many submissions the end of list will bring about. What
// a worker has to submit brings about none that goes this way.
func successors(list []outcome) (n int) {
	for i := range list {
		if !list[i].q.alone {
			n++
		}
	}
	return n
}

// send sends what is pending. Where io_submit sleeps it leaves that to a worker:
// nobody reaps while the completer sleeps there. Called with Ring.mu held, which
// it releases in between.
func (c *completer) send() {
	r := c.ring
	if since, ok := r.atWork(); ok && since >= maxHold && !r.pending.empty() {
		r.workers.Go((*flusher)(r))
		return
	}
	r.sendAll(&c.scratch)
}

// yield lets the goroutines that were just woken run. To go back into the kernel
// at once would take this processor along, and leave them to wait for another
// thread. An idle processor may take this goroutine up at once, so it yields
// again while they keep submitting. Called with Ring.mu held.
func (c *completer) yield() {
	r := c.ring
	for range maxYields {
		if had := r.pending.n; r.expected > 0 {
			r.mu.Unlock()
			runtime.Gosched()
			r.mu.Lock()
			if r.pending.n == had {
				return
			}
		}
	}
}

// retry sends again what the kernel had no room for though nothing is in
// flight: its memory was short, and only time can tell.
func (c *completer) retry() {
	r, s := c.ring, &c.scratch
	time.Sleep(retryDelay)
	r.mu.Lock()
	r.stalled = false
	r.sendAll(s)
	r.mu.Unlock()
}

// abort gives up the context: io_getevents answers with an error for which
// there is no remedy, such as a system call filter that was installed since.
// io_destroy waits for what is in flight, whose buffers are free from then on,
// and every request gets err from now on.
func (c *completer) abort(err error) {
	r, s := c.ring, &c.scratch
	r.mu.Lock()
	r.broken = err // from here on nobody goes into io_submit,
	r.watched, r.expected = false, 0
	r.sendAll(s)     // nor waits to be sent,
	r.awaitSubmits() // and now nobody is there
	r.mu.Unlock()
	r.context.Destroy()
	r.mu.Lock()
	r.stalled = false
	r.sweep(s)
	r.endAll(s)
	r.sendAll(s)
	r.mu.Unlock()
}
