package ring

// completers are the goroutine that is the completer, and those that were it and
// are not back from io_submit. What it waits for, and how long, is not decided here:
// it is a function of whoever made the Ring, which does its work through a Seat.
// Ring.mu guards them.
type completers struct {
	ring    *Ring
	run     func(*Seat)
	wake    chan struct{} // ends a park; has room for one
	quit    chan struct{}
	gone    chan struct{} // closed when none is left
	state   CompleterState
	current *driver // of the goroutine that is the completer
	running int     // how many there are
	next    int     // the lane to look at first
}

// A CompleterState says when the completer looks at what is pending, and takes
// the token, by itself.
type CompleterState uint8

const (
	Parked   CompleterState = iota // not before it is unparked
	Working                        // before it waits or parks
	Watching                       // when its wait is over, which is short: a batch gathers
	Waiting                        // when its wait is over
)

// attends reports whether the completer is about to look at what is pending.
// Called with Ring.mu held.
func (c *completers) attends() bool { return c.state == Working || c.state == Watching }

// start starts the completer of r, parked.
func (c *completers) start(r *Ring, run func(*Seat)) {
	c.ring, c.run = r, run
	c.wake = make(chan struct{}, 1)
	c.quit = make(chan struct{})
	c.gone = make(chan struct{})
	c.replace()
}

// replace makes a new goroutine the completer. Called with Ring.mu held, or before
// the Ring is used.
func (c *completers) replace() {
	c.current = new(driver)
	c.running++
	c.state = Parked
	go c.run(&Seat{c, c.current})
}

// stop ends the completer and waits until it has. Nothing may be in flight.
func (c *completers) stop() {
	close(c.quit)
	<-c.gone
}

// unpark wakes the completer. Called with Ring.mu held.
func (c *completers) unpark() {
	c.state = Working
	select {
	case c.wake <- struct{}{}:
	default: // it was told before
	}
}

// A Seat is the completer's place at a Ring. The goroutine that is given it calls
// Begin first and End last. What it calls in between has the Ring's lock, which is
// held all the time but where it says so.
type Seat struct {
	all    *completers
	driver *driver
}

// Begin takes the Ring's lock.
func (s *Seat) Begin() { s.all.ring.mu.Lock() }

// End gives the place up, and releases the lock.
func (s *Seat) End() {
	r := s.all.ring
	if s.all.running--; s.all.running == 0 {
		close(s.all.gone)
	}
	r.rouse() // where it was replaced: for what it leaves behind
	r.mu.Unlock()
}

// Replaced reports whether another goroutine has become the completer, since this
// one slept in io_submit.
func (s *Seat) Replaced() bool { return s.all.current != s.driver }

// Unlocked calls f without the lock.
func (s *Seat) Unlocked(f func()) {
	s.all.ring.mu.Unlock()
	f()
	s.all.ring.mu.Lock()
}

// Send sends what is pending for one device, without the lock, and reports whether
// there was any.
func (s *Seat) Send() bool {
	r := s.all.ring
	for i := range r.lanes {
		l := r.lanes[(s.all.next+i)%len(r.lanes)]
		if l.sendable(All) != Nothing {
			s.all.next += i + 1 // others may bring this one more for ever
			l.send(s.driver, All)
			return true
		}
	}
	return false
}

// Pending returns how many requests are to be sent.
func (s *Seat) Pending() int { return s.all.ring.pendingCount() }

// Awaited returns how many events are to come.
func (s *Seat) Awaited() int { return s.all.ring.awaited() }

// Wanted reports whether somebody asks for events, and nobody waits for them.
func (s *Seat) Wanted() bool { return s.all.ring.wanted() }

// NoRoom reports whether the kernel had no memory for a request, and nothing is in
// flight whose end could make room.
func (s *Seat) NoRoom() bool {
	r := s.all.ring
	return r.stalled && r.inFlight == r.entering
}

// Retry has what the kernel had no memory for sent again.
func (s *Seat) Retry() { s.all.ring.stalled = false }

// Reap waits for events, without the lock, and returns how many came. They are taken,
// and wait for Finish.
func (s *Seat) Reap(p Patience) int {
	s.all.state = Waiting
	if p.Watch {
		s.all.state = Watching
	}
	s.all.ring.reap(s.driver, p)
	s.all.state = Working
	return len(s.driver.ended)
}

// Finish ends, without the lock, what Reap and Send have taken.
func (s *Seat) Finish() { s.all.ring.endAll(s.driver) }

// Park sleeps, without the lock, until there is something to do. It reports false
// when the Ring closes.
func (s *Seat) Park() bool {
	c, r := s.all, s.all.ring
	c.state = Parked
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

func (r *Ring) pendingCount() (n int) {
	for _, l := range r.lanes {
		n += l.pending()
	}
	return n
}
