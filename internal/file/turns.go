package file

import (
	"math/bits"
	"sync/atomic"
)

// turns is a set of mutexes, each a bit, of which several can be locked at once, and
// for which a deadline ends the wait. As with poll.fdMutex, who comes while they are
// free gets them before those that are being woken.
type turns struct {
	taken   atomic.Uint32
	waiting atomic.Int32     // how many
	given   [3]chan struct{} // for each bit: has one of those that wait for it look again; has room for one
}

func (t *turns) init() {
	for i := range t.given {
		t.given[i] = make(chan struct{}, 1)
	}
}

// take waits until it has all of what, and reports false where past was closed first.
func (t *turns) take(what uint32, past <-chan struct{}) bool {
	taken := t.taken.Load()
	return taken&what == 0 && t.taken.CompareAndSwap(taken, taken|what) || t.wait(what, past)
}

func (t *turns) wait(what uint32, past <-chan struct{}) bool {
	// The count comes before the look, and give's look at the count after it has
	// given: one of the two sees the other.
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	for {
		taken := t.taken.Load()
		missing := taken & what
		if missing == 0 {
			if t.taken.CompareAndSwap(taken, taken|what) {
				return true
			}
			continue
		}
		// This one was perhaps woken for what it cannot use yet, and others can.
		t.wake(what &^ missing)
		select {
		case <-t.given[bits.TrailingZeros32(missing)]:
		case <-past: // what may be in given now wakes the next
			return false
		}
	}
}

// give gives back what was taken.
func (t *turns) give(what uint32) {
	t.taken.And(^what)
	if t.waiting.Load() > 0 {
		t.wake(what)
	}
}

// wake has one of those that wait for each bit of what look again.
func (t *turns) wake(what uint32) {
	for ; what != 0; what &= what - 1 {
		select {
		case t.given[bits.TrailingZeros32(what)] <- struct{}{}:
		default:
		}
	}
}
