package aiotest

import (
	"math/rand/v2"
	"syscall"
)

// maxRefusals is how often in a row Random answers EAGAIN with nothing in flight:
// when no event can come to end the wait for room, trying again must.
const maxRefusals = 3

// Random makes a Kernel that behaves badly within what the real one may do, by
// chance: it takes a part of a batch or, with EAGAIN, nothing; completes in any
// order, now or later; moves fewer bytes than asked, though always one; answers
// EINTR, too few events or none. Its draws depend only on the seed and the order
// of the calls.
//
// It starts no goroutine. What it holds it ends in later calls of Submit,
// GetEvents and Reap, and in time: a consumer that sleeps in GetEvents, or
// outside until its eventfd is signalled, never sleeps while all there is to wake
// it is held. So everything ends if these are called until it has.
//
// A hook that the test sets takes the place of the draw; an operation that OnOp
// holds is ended like any other.
func Random(seed uint64, depth int) *Kernel {
	k := New(depth)
	k.rnd = rand.New(rand.NewPCG(seed, 0))
	return k
}

// SetUnit has Random cut an operation short only after a multiple of n bytes, as
// a device does with direct I/O. Without it any byte may be the last.
func (k *Kernel) SetUnit(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unit = n
}

// SetFaults has Random fail one operation in n, in its event or, unless by EINTR,
// in Submit: with any of errnos. Without it none fails.
func (k *Kernel) SetFaults(n int, errnos ...syscall.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults, k.errnos = n, errnos
}

// drawFault draws whether to fail, and with what. Called with k.mu held.
func (k *Kernel) drawFault() syscall.Errno {
	if k.faults == 0 || !k.chance(k.faults) {
		return 0
	}
	return k.errnos[k.rnd.IntN(len(k.errnos))]
}

// chance is true once in n times. Called with k.mu held.
func (k *Kernel) chance(n int) bool { return k.rnd.IntN(n) == 0 }

// drawSubmit stands in for OnSubmit.
func (k *Kernel) drawSubmit(_, n int) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rnd == nil {
		return -1, nil
	}
	idle := k.counts.InFlight == 0
	if k.chance(6) && !(idle && k.refusals == maxRefusals) {
		if idle {
			k.refusals++
		}
		return 0, syscall.EAGAIN
	}
	k.refusals = 0
	if errno := k.drawFault(); errno != 0 && errno != syscall.EINTR {
		return 0, errno
	}
	if k.chance(4) {
		return 1 + k.rnd.IntN(n), nil
	}
	return -1, nil
}

// drawVerdict stands in for OnOp.
func (k *Kernel) drawVerdict(op *Op) Verdict {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rnd == nil {
		return Do()
	}
	if k.chance(2) {
		return Hold()
	}
	if errno := k.drawFault(); errno != 0 {
		return Fail(errno)
	}
	return Short(k.drawLen(op))
}

// drawLen draws how much of op is done: never nothing, which would tell a reader
// that the file ends there. Called with k.mu held.
func (k *Kernel) drawLen(op *Op) int {
	unit := max(k.unit, 1)
	if op.Len > unit && k.chance(4) {
		return unit * (1 + k.rnd.IntN((op.Len-1)/unit))
	}
	return op.Len
}

// drawGetEvents stands in for OnGetEvents. It keeps to the truth where the call
// does not wait: there the real one is not interrupted and gives all it has, and
// a consumer may rely on it before it goes to sleep on an eventfd.
func (k *Kernel) drawGetEvents(least, n int) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.rnd == nil || least == 0:
		return -1, nil
	case k.chance(8):
		return 0, syscall.EINTR
	case k.chance(8):
		return 0, nil
	case k.chance(4):
		return 1 + k.rnd.IntN(n), nil
	}
	return -1, nil
}

// stir ends some of what is held: none, some or all.
func (k *Kernel) stir() {
	k.mu.Lock()
	n := 0
	if k.rnd != nil {
		n = k.rnd.IntN(len(k.held) + 1)
	}
	k.mu.Unlock()
	for range n {
		k.finishOne()
	}
}

// finishOne ends one of what is held, any one.
func (k *Kernel) finishOne() { k.finish(func(*Op) bool { return true }) }

// settle is called at the end of every call, so that no consumer sleeps on what
// is held: not in GetEvents, where it looks again, and not on an eventfd, which
// is owed a signal unless an event is there whose signal was given.
func (k *Kernel) settle() {
	k.mu.Lock()
	if k.rnd == nil {
		k.mu.Unlock()
		return
	}
	if len(k.held) > 0 {
		k.wake()
	}
	owed := true
	for _, e := range k.ring {
		owed = owed && (e.op == nil || !e.op.hasEventFD)
	}
	k.mu.Unlock()
	if owed {
		k.finish(func(op *Op) bool { return op.hasEventFD })
	}
}

// finish ends one of those held that ok accepts, any one.
func (k *Kernel) finish(ok func(*Op) bool) {
	k.mu.Lock()
	var among []*Op
	for _, op := range k.held {
		if ok(op) {
			among = append(among, op)
		}
	}
	if len(among) == 0 {
		k.mu.Unlock()
		return
	}
	op := among[k.rnd.IntN(len(among))]
	errno, n := k.drawFault(), k.drawLen(op)
	k.mu.Unlock()
	if errno != 0 {
		op.Fail(errno)
		return
	}
	op.Short(n)
}
