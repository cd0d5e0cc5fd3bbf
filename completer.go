package asyncfile

import (
	"runtime"
	"time"
)

const (
	// retryDelay is how long the completer waits before it repeats an io_submit
	// that the kernel had no memory for while nothing was in flight whose end
	// could make room.
	retryDelay = time.Millisecond

	// maxYields is how often the completer yields to the goroutines that it woke.
	maxYields = 2

	// busyDepth is from how many requests in flight on a Ring counts as busy: an
	// event is then so much sooner than the device's latency that what waits for
	// one hardly waits. Where requests hang that is not so, and it waits for
	// maxHold.
	busyDepth = 24

	// batchShare is the share of what is in flight that the completer of a busy
	// Ring waits for at once: an eighth.
	batchShare = 8

	// maxHold is how long an event, and what is submitted meanwhile, may wait for
	// others to come on a busy Ring.
	maxHold = 100 * time.Microsecond

	// minReap is how many events the completer takes at a time, if they are
	// there, however little is in flight.
	minReap = 8

	// maxHurry is for how many turns, at the most, the completer takes events as
	// they come after it has waited for several in vain.
	maxHurry = 63
)

// A completer is the goroutine that waits in the kernel, in io_getevents with a
// timeout, reaps events and resolves what they are of, for all who wait on a
// channel and for what nobody waits for. Parked, it leaves that to those who wait
// for an operation (see reap.go).
//
// Its loop: send what is pending; wait for events; have the outcomes delivered;
// let the goroutines that this woke run, whose submissions are then the next to
// be sent. It runs no code of the user's and sends on no channel that could block
// it. Where its io_submit sleeps the watchdog has another goroutine take its place.
type completer struct {
	ring    *Ring
	wake    chan struct{} // ends a park; has room for one
	quit    chan struct{}
	state   completerState // guarded by Ring.mu
	current *driver        // of the goroutine that is the completer; likewise
	running int            // goroutines that are it, or were and are not back; likewise
	gone    chan struct{}  // closed when none is left
	next    int            // the lane to look at first
	hurry   int            // for so many turns more events are taken as they come
	vain    int            // length of the last hurry; 0 after a wait for several that paid
}

// A completerState says when the completer looks at what is pending, and takes
// the token, by itself.
type completerState uint8

const (
	parked   completerState = iota // not before it is unparked
	working                        // before it waits or parks
	watching                       // when its wait of maxHold is over
	waiting                        // when its wait is over
)

// attends reports whether the completer is about to look at what is pending.
// Called with Ring.mu held.
func (c *completer) attends() bool { return c.state == working || c.state == watching }

// start runs the completer of r, parked.
func (c *completer) start(r *Ring) {
	c.ring = r
	c.wake = make(chan struct{}, 1)
	c.quit = make(chan struct{})
	c.gone = make(chan struct{})
	c.replace()
}

// replace makes a new goroutine the completer. Called with Ring.mu held, or before
// the Ring is used.
func (c *completer) replace() {
	c.current = new(driver)
	c.running++
	c.state = parked
	go c.run(c.current)
}

// stop ends the completer and waits until it has. Nothing may be in flight.
func (c *completer) stop() {
	close(c.quit)
	<-c.gone
}

// unpark wakes the completer. Called with Ring.mu held.
func (c *completer) unpark() {
	c.state = working
	select {
	case c.wake <- struct{}{}:
	default: // it was told before
	}
}

// run is the completer for as long as d is the current one.
func (c *completer) run(d *driver) {
	r := c.ring
	r.mu.Lock()
	for c.turn(d) {
	}
	if c.running--; c.running == 0 {
		close(c.gone)
	}
	r.rouse() // where it was replaced: for what it leaves behind
	r.mu.Unlock()
}

// turn does what there is to do once, or parks until there is something. It
// reports false at the end. Called with Ring.mu held, which it releases in between.
func (c *completer) turn(d *driver) bool {
	r := c.ring
	for i := range r.lanes {
		l := r.lanes[(c.next+i)%len(r.lanes)]
		if l.sendable(all) != nothing {
			c.next += i + 1 // others may bring this one more for ever
			l.send(d, all)
			return c.current == d
		}
	}
	switch {
	case r.wanted():
		c.reap(d)
	case r.stalled && r.inFlight == r.entering: // no event makes room
		r.mu.Unlock()
		time.Sleep(retryDelay)
		r.mu.Lock()
		r.stalled = false
	default:
		return c.park()
	}
	return c.current == d
}

// park sleeps until there is something to do. It reports false at the end.
func (c *completer) park() bool {
	r := c.ring
	c.state = parked
	if r.inFlight > 0 {
		r.watchdog.watch() // nobody asks for these
	}
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-c.wake:
		return true
	case <-c.quit:
		return false
	}
}

// reap waits for events, ends what they are of, and lets those run that this
// woke. To go back into the kernel at once would take this processor along, and
// leave them to wait for another thread. An idle processor may take this goroutine
// up at once, so it yields again while they keep submitting. Called with Ring.mu
// held, which it releases in between.
func (c *completer) reap(d *driver) {
	r := c.ring
	p := c.patience()
	r.reap(d, p)
	c.state = working
	n := len(d.ended)
	c.learn(p, n)
	r.endAll(d)
	for i := 0; i < maxYields && n > 0; i++ {
		had := r.pendingCount()
		r.mu.Unlock()
		runtime.Gosched()
		r.mu.Lock()
		if r.pendingCount() == had {
			return
		}
	}
}

func (r *Ring) pendingCount() (n int) {
	for _, l := range r.lanes {
		n += l.pending()
	}
	return n
}

// patience says how to wait, and sets the state to what that means. On a busy Ring
// it is worth to let some events come together, since each wake-up costs the same
// for one as for many, and so does each io_submit of what follows. Called with
// Ring.mu held.
func (c *completer) patience() patience {
	r := c.ring
	awaited := r.awaited()
	// Half of what is in flight at a time: what follows is sent while the device
	// still has the other half to do.
	p := patience{min: 1, max: min(max(minReap, awaited/2), maxBatch), timeout: r.timeout}
	c.state = waiting
	if awaited >= busyDepth && r.eventfd == nil {
		c.state = watching
		p.timeout = min(maxHold, r.timeout)
		if c.hurry == 0 {
			p.min = min(p.max, max(1, awaited/batchShare))
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
