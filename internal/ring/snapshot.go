package ring

import (
	"sync/atomic"
	"time"
)

// counters counts what a Ring has done.
type counters struct {
	Submits, SubmitNanos atomic.Uint64
	Stalls, Strays       atomic.Uint64
	Offloaded            atomic.Uint64

	Ended, Failed           atomic.Uint64
	BytesRead, BytesWritten atomic.Uint64
}

// count adds what n operations have done, those of a batch with one addition
// each: every addition may fetch the counter from another processor's cache.
func (s *counters) count(n int, done Tally) {
	add := func(counter *atomic.Uint64, n uint64) {
		if n > 0 {
			counter.Add(n)
		}
	}
	add(&s.BytesRead, done.Read)
	add(&s.BytesWritten, done.Written)
	add(&s.Failed, done.Failed)
	add(&s.Ended, uint64(n))
}

// A Snapshot is what a Ring has done since it was made, and what it is at. The counts
// are read one after the other while work goes on, so sums over several need not be
// exact; what begins with InUse is of one moment.
type Snapshot struct {
	Taken, Ended uint64        // slots that were taken; operations that have ended
	Done         Tally         // by those that have ended
	Submits      uint64        // io_submit calls
	SubmitTime   time.Duration // spent in them
	Stalls       uint64        // of them, found no room (EAGAIN)
	Strays       uint64        // events of nothing in flight
	Offloaded    uint64        // jobs that a worker was given

	InUse     int // slots
	Pending   int // requests to be sent
	InFlight  int // given to io_submit, and their event not reaped
	Entering  int // those of them that io_submit has not answered for
	Senders   int // goroutines that send, or were started for it
	Asleep    int // those of them that the watchdog found asleep in io_submit
	Completer CompleterState
	Running   int   // goroutines that are the completer, or were and are not back
	Asks      int64 // goals that somebody waits for otherwise than at the Ring's work
	Token     bool  // somebody reaps
	Stalled   bool  // the kernel has no room
	Lonely    bool  // the watchdog found events that nobody comes to reap
	Watched   bool  // it is to look again
	Broken    error // why the context is of no more use
}

// Snapshot returns what the Ring has done and is at.
func (r *Ring) Snapshot() Snapshot {
	c := &r.stats
	s := Snapshot{Ended: c.Ended.Load()} // first: it is never ahead of what began
	s.Done = Tally{c.BytesRead.Load(), c.BytesWritten.Load(), c.Failed.Load()}
	s.Submits, s.SubmitTime = c.Submits.Load(), time.Duration(c.SubmitNanos.Load())
	s.Stalls, s.Strays, s.Offloaded = c.Stalls.Load(), c.Strays.Load(), c.Offloaded.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Taken, s.InUse = r.slots.taken, len(r.requests)-len(r.slots.free)
	for _, l := range r.lanes {
		s.Pending += l.pending()
		s.Senders += len(l.senders) + l.starting
	}
	s.InFlight, s.Entering, s.Asleep = r.inFlight, r.entering, r.asleep
	s.Completer, s.Running, s.Asks = r.seat.state, r.seat.running, r.asks.Load()
	s.Token, s.Stalled, s.Lonely, s.Watched, s.Broken = r.token, r.stalled, r.lonely, r.watchdog.on, r.broken
	return s
}

// Client returns what the request of a slot is for, or nil. It is for who owns the
// request, or looks at a Ring that is at rest.
func (r *Ring) Client(slot uint32) Client { return r.requests[slot].Client }

// Unfinished returns what is pending, in the order in which each device's is sent,
// and what is in flight, by slot.
func (r *Ring) Unfinished() (pending, inFlight []Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lanes {
		for _, list := range []Requests{l.reads, l.writes} {
			for q := list.head; q != nil; q = q.next {
				pending = append(pending, q.Client)
			}
		}
	}
	for _, q := range r.requests {
		if q.state != stateIdle {
			inFlight = append(inFlight, q.Client)
		}
	}
	return pending, inFlight
}
