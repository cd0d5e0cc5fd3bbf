package file

import (
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/seed-39be8cca/asyncfile/internal/order"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// VerifyEnv is the environment variable that, set to 1 when a Ring is made, has
// the Ring check itself, and its callers, at work: what no result would show. It
// panics where it finds something.
const VerifyEnv = "ASYNCFILE_VERIFY"

// A verifier checks the invariants of one Ring. It costs two passes over each
// buffer that is written, two over each bounce buffer, and a look at the file's
// sequence whenever that changes.
type verifier struct {
	fail    func(message string) // does not return, but in tests
	seed    maphash.Seed
	scratch sync.Pool // of *[sumStep]byte
}

func newVerifier(fail func(message string)) *verifier {
	return &verifier{fail: fail, seed: maphash.MakeSeed()}
}

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
		"output, the Go version and the kernel's, at https://github.com/seed-39be8cca/asyncfile/issues. " + DebugEnv + "=1 shows what led there."
)

// broken says what was found, what that means, and what to do.
func (v *verifier) broken(remedy, meaning, found string, args ...any) {
	v.fail("asyncfile: " + VerifyEnv + ": " + fmt.Sprintf(found, args...) + ".\n" + meaning + "\n" + remedy)
}

// A sight is what is kept of an operation while its Ring is observed.
type sight struct {
	number uint64 // of the operation, for the tracer
	last   string // what it is called when it has no request any more, likewise
	sum    uint64 // of the caller's buffers, for the verifier
}

// walks checks that a write's memory stays what it is while the kernel or the
// library may use it.
func (v *verifier) walks(o *operation, from, to ring.Stage) {
	switch {
	case !o.op.Kind.Writes():
	case from == ring.StageFree:
		o.seen.sum = v.sum(o)
	case to == ring.StageEnded && o.seen.sum != v.sum(o):
		v.broken("From the call until Done the buffer is the library's, to read at any time. "+theirFault,
			"The file may hold old bytes, new ones, or some of each.",
			"the buffer of %v of %s changed while it was being written", o, o.file.name)
	}
}

// sumStep is how many bytes are summed at a time.
const sumStep = 64 << 10

// sum returns a checksum of the caller's memory, as far as it can be read: an
// address that faults is the operation's affair.
func (v *verifier) sum(o *operation) uint64 {
	scratch, _ := v.scratch.Get().(*[sumStep]byte)
	if scratch == nil {
		scratch = new([sumStep]byte)
	}
	defer v.scratch.Put(scratch)
	var h maphash.Hash
	h.SetSeed(v.seed)
	for c := o.op.cursor(); c.Left() > 0; {
		n, err := c.Gather(scratch[:])
		h.Write(scratch[:n])
		if err != nil {
			break
		}
	}
	return h.Sum64()
}

// watch is sequence.enter on a Ring that is observed. Called with mu held.
func (s *sequence) watch(e *order.Entry[turn], goes bool) {
	if v := s.group.verifier; v != nil && goes {
		v.sequence(s.order, e)
	} else if v != nil {
		v.sequence(s.order)
	}
	if o, is := e.Of.(*operation); is && !goes {
		o.slot.Goes(ring.StageHeld)
	}
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

// Canary fills the bounce buffers of a Ring that verifies wherever nothing
// was put. In a file or in what was read it is a byte that was never asked for.
const Canary = 0xdb

// fill is called when a buffer is new, and when it is given back.
func (v *verifier) fill(b []byte) {
	if v == nil {
		return
	}
	for n := copy(b, []byte{Canary}); n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// check looks for a byte of b that has changed and that nobody had the right to
// write: behind the end of a transfer, or in a buffer that had been given back.
func (v *verifier) check(b []byte) {
	if v == nil {
		return
	}
	if at := slices.IndexFunc(b, func(c byte) bool { return c != Canary }); at >= 0 {
		v.broken(ourFault, "Bytes that nobody asked for may be in a file, or in what was read.",
			"byte %d of %d in a bounce buffer was written by someone who did not have it", at, len(b))
	}
}
