package asyncfile

import (
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/seed-39be8cca/asyncfile/internal/order"
)

// verifyEnv is the environment variable that, set to 1 when a Ring is made, has
// the Ring check itself, and its callers, at work: what no result would show. It
// panics where it finds something.
const verifyEnv = "ASYNCFILE_VERIFY"

// A verifier checks the invariants of one Ring. It costs two passes over each
// buffer that is written, two over each bounce buffer, and a look at the file's
// sequence whenever that changes.
type verifier struct {
	fail    func(message string) // does not return
	seed    maphash.Seed
	scratch sync.Pool // of *[sumStep]byte
}

func newVerifier() *verifier { return &verifier{fail: crash, seed: maphash.MakeSeed()} }

// crash panics, in a goroutine of its own. On this one deferred calls of the
// user's would come first: one that recovers, or a Close that waits for an
// operation which never ends. The caller may hold any lock.
func crash(message string) {
	stack := debug.Stack()
	go func() { panic(message + "\n\nfound by " + string(stack)) }()
	select {}
}

const (
	// theirFault is what to do where a caller has broken its contract.
	theirFault = "To find who: go test -race reports it, and where the operation began."
	// ourFault is what to do where the library must have.
	ourFault = "This is a fault of asyncfile, or something wrote over its memory (unsafe, cgo). Please report it, with all of this " +
		"output, the Go version and the kernel's, at https://github.com/seed-39be8cca/asyncfile/issues. " + debugEnv + "=1 shows what led there."
)

// broken says what was found, what that means, and what to do.
func (v *verifier) broken(remedy, meaning, found string, args ...any) {
	v.fail("asyncfile: " + verifyEnv + ": " + fmt.Sprintf(found, args...) + ".\n" + meaning + "\n" + remedy)
}

// walks checks that the drawing in request.go has an arrow from where q is.
// While the kernel or the library may use the caller's memory a write's is to
// stay what it is.
func (v *verifier) walks(q *request, to stage) {
	from := q.walk.stage
	switch {
	case from.next()&(1<<to) == 0:
		v.broken(ourFault, "A request is in two places, such as twice in flight: its buffer or its result is someone else's.",
			"%s, which is %v, is to be %v", q.title(), from, to)
	case !q.op.Kind.writes():
	case from == stageFree:
		q.walk.sum = v.sum(q)
	case to == stageEnded && q.walk.sum != v.sum(q):
		v.broken("From the call until Done the buffer is the library's, to read at any time. "+theirFault,
			"The file may hold old bytes, new ones, or some of each.",
			"the buffer of %s of %s changed while it was being written", q.title(), q.file.name)
	}
}

// sumStep is how many bytes are summed at a time.
const sumStep = 64 << 10

// sum returns a checksum of the caller's memory, as far as it can be read: an
// address that faults is the operation's affair.
func (v *verifier) sum(q *request) uint64 {
	scratch, _ := v.scratch.Get().(*[sumStep]byte)
	if scratch == nil {
		scratch = new([sumStep]byte)
	}
	defer v.scratch.Put(scratch)
	var h maphash.Hash
	h.SetSeed(v.seed)
	for c := q.op.cursor(); c.Left() > 0; {
		n, err := c.Gather(scratch[:])
		h.Write(scratch[:n])
		if err != nil {
			break
		}
	}
	return h.Sum64()
}

// sequence checks the order of a file, and that those which may go are behind
// none that they conflict with. Called with sequence.mu held.
func (v *verifier) sequence(s *order.Sequence[turn], going ...*order.Entry[turn]) {
	const meaning = "Requests that conflict may be in flight together, or some may wait for ever."
	if err := s.Check(); err != nil {
		v.broken(ourFault, meaning, "the order of a file contradicts itself: %v", err)
	}
	for _, e := range going {
		if ahead, writes := s.Behind(e); len(ahead)+writes > 0 {
			v.broken(ourFault, meaning, "%s may go, but is behind %s", turnName(e.Of), aheadNames(ahead, writes))
		}
	}
}

// slots compares counts. A sender may still sleep for a lane that is gone, whose
// operations have ended. Called with Ring.mu held.
func (v *verifier) slots(r *Ring) {
	held, asleep := 0, 0
	for _, l := range r.lanes {
		held += l.line.held
		asleep += l.asleep
	}
	if free, all := len(r.slots.free), len(r.requests); free+held != all || r.inFlight < r.entering || r.inFlight > held {
		v.broken(ourFault, "A slot is lost or serves two operations.",
			"of %d slots %d are free and %d in use; %d requests are in flight, of which io_submit has not answered for %d", all, free, held, r.inFlight, r.entering)
	}
	if asleep > r.asleep || r.asleep > r.inside {
		v.broken(ourFault, "The Ring may wait for events that never come.",
			"%d senders sleep in io_submit, %d of lanes that are there; %d are in it", r.asleep, asleep, r.inside)
	}
}

// table counts the slots one by one. Called with Ring.mu held, each time that the
// watchdog looks, and when the Ring closes.
func (v *verifier) table(r *Ring) {
	v.slots(r)
	const meaning = "A slot is lost or serves two operations."
	free := make([]bool, len(r.requests))
	for _, q := range r.slots.free {
		if free[q.slot] || q.lane != nil || q.state != stateIdle {
			v.broken(ourFault, meaning, "slot %d is free twice, or is free and in use", q.slot)
		}
		free[q.slot] = true
	}
	inFlight, entering := 0, 0
	for i, q := range r.requests {
		if q.slot != uint32(i) || q.lane == nil && !free[i] {
			v.broken(ourFault, meaning, "slot %d, of request %d, is neither free nor in use", i, q.slot)
		}
		if q.state != stateIdle {
			inFlight++
		}
		if q.state == stateEntering {
			entering++
		}
	}
	if inFlight != r.inFlight || entering != r.entering {
		v.broken(ourFault, "The Ring may wait for events that never come, or leave some in the kernel.",
			"%d requests are in flight, %d counted; io_submit has not answered for %d of them, %d counted", inFlight, r.inFlight, entering, r.entering)
	}
}

const tokenMeaning = "Two that reap at once take the same events, and one that sleeps in io_submit has nobody reap."

// reapsReady checks that d may reap. Called with Ring.mu held.
func (v *verifier) reapsReady(r *Ring, d *driver) {
	if r.token || r.reaper != nil || d.call != 0 {
		v.broken(ourFault, tokenMeaning, "a goroutine is about to reap: that the token is taken is %v, that another reaps %v, that it is in io_submit itself %v",
			r.token, r.reaper != nil, d.call != 0)
	}
}

// takesToken is reapsReady for who is to wait, and takes the token.
func (v *verifier) takesToken(r *Ring, d *driver) {
	v.reapsReady(r, d)
	r.reaper = d
}

// givesToken checks that d is who reaped. Called with Ring.mu held.
func (v *verifier) givesToken(r *Ring, d *driver) {
	if r.reaper != d || !r.token {
		v.broken(ourFault, tokenMeaning, "a goroutine has reaped: that the token is taken is %v, that it took it %v", r.token, r.reaper == d)
	}
	r.reaper = nil
}

// entersKernel checks that d goes into io_submit without the token. Called with
// Ring.mu held.
func (v *verifier) entersKernel(r *Ring, d *driver) {
	if r.reaper == d {
		v.broken(ourFault, tokenMeaning, "a goroutine with the right to reap is about to call io_submit")
	}
}

// canaryByte fills the bounce buffers of a Ring that verifies wherever nothing
// was put. In a file or in what was read it is a byte that was never asked for.
const canaryByte = 0xdb

// fill is called when a buffer is new, and when it is given back.
func (v *verifier) fill(b []byte) {
	if v == nil {
		return
	}
	for n := copy(b, []byte{canaryByte}); n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// check looks for a byte of b that has changed and that nobody had the right to
// write: behind the end of a transfer, or in a buffer that had been given back.
func (v *verifier) check(b []byte) {
	if v == nil {
		return
	}
	if at := slices.IndexFunc(b, func(c byte) bool { return c != canaryByte }); at >= 0 {
		v.broken(ourFault, "Bytes that nobody asked for may be in a file, or in what was read.",
			"byte %d of %d in a bounce buffer was written by someone who did not have it", at, len(b))
	}
}
