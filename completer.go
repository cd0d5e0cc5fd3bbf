package asyncfile

import (
	"runtime"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
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
// for an operation (see internal/ring/reap.go).
//
// Its loop: send what is pending; wait for events; have the outcomes delivered;
// let the goroutines that this woke run, whose submissions are then the next to
// be sent. It runs no code of the user's and sends on no channel that could block
// it. Where its io_submit sleeps another goroutine takes its place. How each of these
// is done is internal/ring/seat.go's affair; when, for how many and how long is told
// here. The Ring's lock, which a Seat has, guards it.
type completer struct {
	timeout time.Duration // of io_getevents
	eventfd bool          // it waits for one event at a time, on an eventfd
	hurry   int           // for so many turns more events are taken as they come
	vain    int           // length of the last hurry; 0 after a wait for several that paid
}

// run is the completer, until another goroutine takes its place or the Ring closes.
func (c *completer) run(s *ring.Seat) {
	s.Begin()
	for c.turn(s) {
	}
	s.End()
}

// turn does what there is to do once, or parks until there is something. It
// reports false at the end.
func (c *completer) turn(s *ring.Seat) bool {
	switch {
	case s.Send():
	case s.Wanted():
		c.reap(s)
	case s.NoRoom():
		s.Unlocked(pause)
		s.Retry()
	default:
		return s.Park()
	}
	return !s.Replaced()
}

func pause() { time.Sleep(retryDelay) }

// reap waits for events, ends what they are of, and lets those run that this
// woke. To go back into the kernel at once would take this processor along, and
// leave them to wait for another thread. An idle processor may take this goroutine
// up at once, so it yields again while they keep submitting.
func (c *completer) reap(s *ring.Seat) {
	p := c.patience(s.Awaited())
	n := s.Reap(p)
	c.learn(p, n)
	s.Finish()
	for i := 0; i < maxYields && n > 0; i++ {
		had := s.Pending()
		s.Unlocked(runtime.Gosched)
		if s.Pending() == had {
			return
		}
	}
}

// patience says how to wait while so many events are to come. On a busy Ring
// it is worth to let some events come together, since each wake-up costs the same
// for one as for many, and so does each io_submit of what follows.
func (c *completer) patience(awaited int) ring.Patience {
	// Half of what is in flight at a time: what follows is sent while the device
	// still has the other half to do.
	p := ring.Patience{Min: 1, Max: min(max(minReap, awaited/2), ring.MaxBatch), Timeout: c.timeout}
	if awaited >= busyDepth && !c.eventfd {
		p.Watch = true
		p.Timeout = min(maxHold, c.timeout)
		if c.hurry == 0 {
			p.Min = min(p.Max, max(1, awaited/batchShare))
		}
	}
	return p
}

// learn takes note of whether n events were worth the wait that p was.
func (c *completer) learn(p ring.Patience, n int) {
	switch {
	case c.hurry > 0:
		c.hurry--
	case p.Min > 1 && n < p.Min:
		c.vain = min(2*c.vain+1, maxHurry)
		c.hurry = c.vain
	case p.Min > 1:
		c.vain = 0
	}
}
