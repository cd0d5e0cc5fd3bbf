package ring

import (
	"errors"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// The right to reap is one token: two goroutines that take events off the
// completion ring at once would read the same head (fs/aio.c keeps other kernel
// callers off it, and nobody off the mapped ring). Ring.token says whether it is
// taken. Ring.mu guards it; what the holder does in the kernel it does without mu.
//
//	free ──reapReady──▶ free    look at the mapped ring, mu held: no wait, no system call
//	free ──reap───────▶ taken   by a goroutine that waits in io_getevents:
//	                            the completer, or one that waits for an operation (Lend)
//	taken ──its events─▶ free   before it ends or sends anything
//
// A goroutine that comes to wait for an operation takes the token if it is free,
// and so resolves its own operation, and those of others, without a hand-over.
// While it is taken, or where the wait has to end for other reasons too (a
// channel, a context), the goroutine is counted in asks; then the completer takes
// the token as soon as it is free. Without asks nobody has to reap: the watchdog
// looks after what nobody waits for.

// minPull is how many events a goroutine that receives from a Queue takes at a
// time, if they are there, however little is in flight.
const minPull = 16

// A Patience is for how many events to wait, how long, and how many to take.
type Patience struct {
	Min, Max int
	Timeout  time.Duration
	Watch    bool // it is short, and who comes meanwhile leaves all to its end: a batch gathers
}

// awaited returns how many events are to come: a wait for them ends. While
// senders sleep in io_submit, what those have handed over may have been taken.
// Called with mu held.
func (r *Ring) awaited() int {
	if r.asleep > 0 {
		return r.inFlight
	}
	return r.inFlight - r.entering
}

// wanted reports whether a reap is wanted and nobody is at it. Called with mu
// held.
func (r *Ring) wanted() bool {
	return !r.token && r.awaited() > 0 && // not on a broken context: its token is gone
		(r.lonely || r.stalled || r.asks.Load() > 0 || r.slots.waiting > 0 || r.closed.Load())
}

// rouse sees to it that what is urgent is sent, and what is wanted is reaped,
// without the caller. Called with mu held.
func (r *Ring) rouse() {
	c := &r.seat
	switch c.state {
	case Parked:
		if r.due() {
			c.unpark()
		} else if !r.token && r.inFlight > 0 {
			r.watchdog.watch() // nobody asks, and nobody reaps any more
		}
	case Waiting:
		for _, l := range r.lanes {
			if l.urgent && l.sendable(All) != Nothing {
				l.spawn()
			}
		}
	}
}

// due reports whether there is work for the completer. Called with mu held.
func (r *Ring) due() bool {
	if r.context == nil {
		return false
	}
	for _, l := range r.lanes {
		if l.urgent && (l.sendable(All) != Nothing || r.stalled && r.inFlight == r.entering && l.pending() > 0) {
			return true
		}
	}
	return r.wanted()
}

// urge has everything that is pending sent without the caller's help. Called with
// mu held.
func (r *Ring) urge() {
	for _, l := range r.lanes {
		l.urgent = l.pending() > 0
	}
	r.rouse()
}

// Ask has what is pending sent, and what is in flight reaped, without the caller's
// help, if that is counted.
func (l *Lane) Ask() {
	r := l.ring
	r.mu.Lock()
	l.urgent = l.pending() > 0
	r.rouse()
	r.mu.Unlock()
}

// Count says that so many more goals are waited for without help.
func (r *Ring) Count(more int64) { r.asks.Add(more) }

// Lend does the work of the lane's Ring as long as that brings the calling goroutine
// nearer to its goal, which is the first of several. It may sleep in io_submit, but only for
// the lane's device: for reads, unless it may send all, since what is no read may sleep
// longer than those take.
func (l *Lane) Lend(until Goal, may Load, several int) {
	l.ring.Lend(&Lending{Until: until, Lanes: l.alone[:], May: may, Several: several, Yield: true})
}

// A Lending is how a goroutine that is going to wait lends itself to a Ring.
type Lending struct {
	Until   Goal
	Lanes   []*Lane       // whose pending requests it sends
	May     Load          // of these; if it pulls, others send the rest
	Several int           // for so many events it waits at a time, if nobody else waits
	Yield   bool          // it leaves all to the completer where that is about to look anyway
	Pull    bool          // it takes a share of the events at a time
	Stay    time.Duration // for no longer than this, if it pulls
	Poll    bool          // it does not wait, now or afterwards
}

// A Goal is what a goroutine waits for.
type Goal interface {
	// Reached is called with Ring.mu held.
	Reached() bool
	// ByEvent reports whether an event may bring it about. It is called with Ring.mu
	// held.
	ByEvent() bool
	// Expect counts it among what is waited for otherwise than at a Ring's work. It
	// is called with Ring.mu held.
	Expect()
}

// Lend does the work of r as long as that brings the calling goroutine nearer to its
// goal. It reports whether that is reached; otherwise it is expected from then on.
func (r *Ring) Lend(how *Lending) (reached bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var d *driver
	sent := false // since the last reap: others may bring more for ever
	late := false // nothing came for so long that the completer may as well wait
	if how.Yield && r.seat.state == Waiting {
		r.yield() // to those that woke with it: who is back first sends what all have submitted
	}
	for !how.Until.Reached() && !(how.Yield && r.seat.attends()) {
		if d == nil {
			d = r.takeDriver()
		}
		if !sent && r.sendOf(d, how) {
			sent = true
			continue
		}
		if late || !how.Until.ByEvent() || r.token || r.awaited() == 0 || r.eventfd != nil {
			break
		}
		p := r.patienceFor(how)
		r.reap(d, p)
		if len(d.ended) < p.Min {
			how.Several = 1
		}
		late = len(d.ended) == 0 || how.Poll
		r.endAll(d)
		sent = false
	}
	if d != nil {
		r.putDriver(d)
	}
	reached = how.Until.Reached()
	if !reached && !how.Poll {
		how.Until.Expect()
	}
	r.rouse()
	return reached
}

// yield lets other goroutines run. Called with mu held, which it releases in between.
func (r *Ring) yield() {
	r.mu.Unlock()
	runtime.Gosched()
	r.mu.Lock()
}

// sendOf has sent what is pending on its lanes, as far as it is to be, and reports
// whether there was any. Called with mu held, which it releases in between.
func (r *Ring) sendOf(d *driver, how *Lending) (sent bool) {
	spawned := false
	for _, l := range how.Lanes {
		if l.sendable(how.May) != Nothing {
			l.send(d, how.May)
			sent = true
		}
		if how.Pull && l.sendable(All) != Nothing {
			l.spawn()
			spawned = true
		}
	}
	if spawned {
		r.yield() // to it: it runs next on this processor, and hands it back at once, unless it sleeps
	}
	return sent || spawned
}

// patienceFor is the patience of a goroutine that lends itself. It waits for several
// events if nobody else waits, and never for long: a goroutine that comes to wait
// meanwhile cannot end it, nor can a worker that ends what it waits for.
func (r *Ring) patienceFor(how *Lending) Patience {
	awaited := r.awaited()
	p := Patience{Min: 1, Max: MaxBatch, Timeout: min(WatchPeriod, r.timeout)}
	if r.asks.Load() == 0 && r.slots.waiting == 0 {
		p.Min = max(1, min(how.Several, awaited, MaxBatch))
	}
	if how.Pull {
		// Half of what is in flight at a time, as the completer.
		p.Max = min(max(minPull, awaited/2), MaxBatch)
		p.Timeout = min(how.Stay, r.timeout)
	}
	if how.Poll {
		p.Min, p.Timeout = 0, 0
	}
	return p
}

// reap waits for events and takes what they are of out of flight, into d.ended.
// The token is free. Called with mu held, which it releases in between.
func (r *Ring) reap(d *driver, p Patience) {
	if r.checker != nil {
		r.checker.takesToken(r, d)
	}
	r.token = true
	r.watchdog.reaps++
	r.rouse() // for what this goroutine does not send
	r.mu.Unlock()
	n, err := r.await(d.events[:p.Max], p)
	r.mu.Lock()
	if r.checker != nil {
		r.checker.givesToken(r, d)
	}
	r.token = false
	if r.closed.Load() {
		r.outside.Broadcast()
	}
	if n == 0 {
		r.stalled = false // no event has made room for so long: try
	} else {
		r.lonely = false
	}
	d.ended = r.reaped(d.events[:n], d.ended)
	if err != nil {
		r.abort(d, err)
	}
}

// awaitToken waits until nobody reaps, with mu held, which it releases in between.
// It is for who has made sure that nothing is in flight.
func (r *Ring) awaitToken() {
	for r.token && r.broken == nil {
		r.outside.Wait()
	}
}

// await waits until there are events and returns how many it has taken: none,
// sometimes, when a timeout or a signal ended the wait. The error says that the
// context is of no more use.
func (r *Ring) await(events []aio.Event, p Patience) (int, error) {
	if p.Min == 1 {
		if n := r.context.Reap(events); n > 0 {
			return n, nil
		}
	}
	if r.eventfd == nil {
		return r.getEvents(p.Min, events, p.Timeout)
	}
	// The kernel adds to the count after the event is in the ring, so an event
	// that is missed here leaves a count behind that ends the wait.
	if !r.context.Mapped() {
		if n, err := r.getEvents(0, events, 0); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, r.eventfd.Wait() // the next reap takes them
}

func (r *Ring) getEvents(min int, events []aio.Event, timeout time.Duration) (int, error) {
	n, err := r.context.GetEvents(min, events, timeout)
	if errors.Is(err, syscall.EINTR) {
		err = nil
	}
	return n, err
}

// reapReady looks at the completion ring if nobody else does: a device that
// answers at once costs no hand-over between goroutines. Called with mu held,
// which is what makes the caller the only reaper while the token is free.
func (r *Ring) reapReady(d *driver) {
	if r.token || r.inFlight == 0 || r.broken != nil {
		return
	}
	if r.checker != nil {
		r.checker.reapsReady(r, d)
	}
	n := r.context.Reap(d.events[:])
	if n > 0 {
		r.watchdog.reaps++
	}
	d.ended = r.reaped(d.events[:n], d.ended)
}

// reaped takes the requests that events are of out of flight and appends them
// to list. An event that is nobody's, or came twice, is counted and dropped:
// the ring is writable memory, so what it says is checked against the table.
// Called with mu held.
func (r *Ring) reaped(events []aio.Event, list []outcome) []outcome {
	for i := range events {
		slot, gen := uint32(events[i].Data), uint32(events[i].Data>>32)
		if slot >= uint32(len(r.requests)) { // not int(slot): less than 0 in 32 bits
			r.stats.Strays.Add(1)
			continue
		}
		q := r.requests[slot]
		if q.state != stateEntering && q.state != stateInFlight || q.gen != gen {
			r.stats.Strays.Add(1)
			continue
		}
		if q.state == stateEntering {
			r.entering--
		}
		q.state = stateIdle
		q.res = events[i].Res
		if r.observed {
			r.observe(q, StageReaped, eventName(q.res))
		}
		r.inFlight--
		r.stalled = false
		list = append(list, outcome{q: q, res: q.res})
	}
	return list
}
