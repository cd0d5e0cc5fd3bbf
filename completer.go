package asyncfile

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

// retryDelay is how long the completer waits before it repeats an io_submit
// that the kernel had no memory for while nothing was in flight whose end could
// make room.
const retryDelay = time.Millisecond

// A completer is the goroutine that waits in the kernel, reaps events, and
// resolves what they are of. While it runs it is the only one that consumes
// events; parked, with nothing in flight, it leaves that to whoever submits.
//
// Its loop: wait for events; resolve a batch; let the goroutines that this woke
// run; send what they submitted meanwhile in one io_submit; wait again. It runs
// no code of the user's and sends on no channel that could block it.
type completer struct {
	ring    *Ring
	timeout time.Duration
	wake    chan struct{} // ends a park; has room for one
	quit    chan struct{}
	exited  chan struct{}
	scratch submitter
}

// start runs the completer of r, parked.
func (c *completer) start(r *Ring, conf *config) {
	c.ring = r
	c.timeout = conf.timeout
	c.wake = make(chan struct{}, 1)
	c.quit = make(chan struct{})
	c.exited = make(chan struct{})
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
	select {
	case <-c.wake:
		return true
	case <-c.quit:
		return false
	}
}

// turn waits for events once and deals with them. It reports false, and leaves
// the Ring parked, where there is nothing to wait for.
func (c *completer) turn() bool {
	r := c.ring
	r.mu.Lock()
	switch {
	case r.awaited() > 0:
		r.mu.Unlock()
		c.dispatch(c.await())
	case r.pending.empty() || !r.stalled:
		r.parked = true
		r.mu.Unlock()
		return false
	default:
		r.mu.Unlock()
		c.retry()
	}
	return true
}

// await waits until there are events and returns how many are in the scratch
// memory: none, sometimes, when a timeout or a signal ended the wait.
func (c *completer) await() int {
	r, events := c.ring, c.scratch.events[:]
	if n := r.context.Reap(events); n > 0 {
		return n
	}
	if r.eventfd == nil {
		return c.getEvents(1, c.timeout)
	}
	// The kernel adds to the count after the event is in the ring, so an event
	// that is missed here leaves a count behind that ends the wait.
	if !r.context.Mapped() {
		if n := c.getEvents(0, 0); n > 0 {
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

func (c *completer) getEvents(min int, timeout time.Duration) int {
	n, err := c.ring.context.GetEvents(min, c.scratch.events[:], timeout)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		c.abort(err)
	}
	return n
}

// dispatch ends or continues the requests of the n events that were reaped, and
// sends what is submitted meanwhile.
func (c *completer) dispatch(n int) {
	r, s := c.ring, &c.scratch
	if n == 0 {
		return
	}
	r.mu.Lock()
	s.ended = r.reaped(s.events[:n], s.ended)
	woken := len(s.ended)
	r.dispatch = time.Now()
	r.endAll(s)

	// The goroutines that were just woken run first. To go back into the kernel
	// at once would take this processor along, and leave them to wait for
	// another thread. What they submit until then is sent by the loop below: an
	// idle processor may have taken this goroutine up at once, so it yields again
	// while they keep submitting.
	for had := -1; had < r.pending.n && r.pending.n < woken && time.Since(r.dispatch) < maxHold; {
		had = r.pending.n
		r.mu.Unlock()
		runtime.Gosched()
		r.mu.Lock()
	}
	r.sendAll(s)
	r.dispatch = time.Time{}
	r.mu.Unlock()
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
	r.broken = err   // from here on nobody goes into io_submit,
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
