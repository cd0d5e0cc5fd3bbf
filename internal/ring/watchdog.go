package ring

import "time"

// WatchPeriod is how often the watchdog looks while there is something to watch.
// Whatever sleeps, or is left alone, is noticed within two periods.
const WatchPeriod = time.Millisecond

// A watchdog looks after what nobody does by itself: requests that nobody has come
// to send, events that nobody has come to reap, and senders that sleep in
// io_submit. It looks every WatchPeriod while the Ring is used, and not at all while
// it is not. Ring.mu guards it.
type watchdog struct {
	ring  *Ring
	timer *time.Timer
	on    bool
	ended bool

	calls  uint64 // numbers the io_submit calls of the Ring
	looked uint64 // how many there had been at the last look
	reaps  uint64 // numbers the reaps of the Ring
	reaped uint64 // how many there had been at the last look
	left   bool   // events were to come at the last look, and nobody was there to reap them
}

func (w *watchdog) init(r *Ring) {
	w.ring = r
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
}

// watch has the watchdog look from now on. Called with Ring.mu held.
func (w *watchdog) watch() {
	if !w.on && !w.ended {
		w.on = true
		w.timer.Reset(WatchPeriod)
	}
}

// stop ends it. Nothing may be in flight.
func (w *watchdog) stop() {
	w.ring.mu.Lock()
	defer w.ring.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}

// look is one look around.
func (w *watchdog) look() {
	r := w.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	w.on = false
	if w.ended {
		return
	}
	if r.checker != nil {
		r.checker.table(r)
	}
	busy := w.calls != w.looked
	w.looked = w.calls
	for _, l := range r.lanes {
		if w.lookAt(l) {
			busy = true
		}
	}
	left := !r.token && r.awaited() > 0
	if left && w.left && w.reaps == w.reaped {
		r.lonely = true
	}
	w.left, w.reaped = left, w.reaps
	r.rouse()
	if busy || left {
		w.watch()
	}
}

// lookAt looks at one lane, and reports whether to look again.
func (w *watchdog) lookAt(l *Lane) (again bool) {
	r := w.ring
	for _, d := range l.senders {
		if d.call == 0 || d.asleep {
			continue
		}
		again = true
		if d.seen == d.call {
			d.asleep = true
			l.asleep++
			r.asleep++
			l.urgent = true
			if d == r.seat.current {
				r.seat.replace()
			}
		}
		d.seen = d.call
	}
	if l.pending() == 0 {
		return again
	}
	if l.seen && l.sendable(All) != Nothing && !l.urgent {
		l.urgent = true
		r.prompt = promptFor
	}
	l.seen = true
	return again || l.sendable(All) != Nothing
}
