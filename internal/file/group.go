package file

import (
	"io"
	"os"
	"sync/atomic"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A Group is the files of one Ring: what their operations use again, what is counted,
// and who looks at them.
type Group struct {
	ring *ring.Ring

	// Counts is what was done, but for what internal/ring counts.
	Counts Counters

	// Bounces is the aligned memory that the library reads and writes by way of.
	Bounces    BouncePool
	operations operationPool

	observed bool      // there is one of the following
	verifier *verifier // nil, unless ASYNCFILE_VERIFY is set
	tracer   *tracer   // nil, unless ASYNCFILE_DEBUG is set
}

// NewGroup returns the Group of r, before that is used. It has the Ring checked, and
// operations traced, if the environment asks for that.
func NewGroup(r *ring.Ring) *Group {
	g := &Group{ring: r}
	if os.Getenv(VerifyEnv) == "1" {
		g.Verify(crash)
	}
	if os.Getenv(DebugEnv) == "1" {
		g.Trace(os.Stderr)
	}
	return g
}

// Verify has the Ring and its files checked. fail is told what was found. It comes
// before the Ring is used, as Trace does.
func (g *Group) Verify(fail func(message string)) {
	v := newVerifier(fail)
	g.verifier, g.Bounces.verifier, g.observed = v, v, true
	g.ring.Check(func(meaning, found string) { v.broken(ourFault, meaning, "%s", found) })
	g.ring.Watch(g.observes)
}

// Trace has the walk of each operation printed to out.
func (g *Group) Trace(out io.Writer) {
	g.tracer, g.observed = newTracer(g.ring, out), true
	g.ring.Watch(g.observes)
}

// observes is told of each step of a request.
func (g *Group) observes(q *ring.Request, from, to ring.Stage, detail string) {
	o := q.Client.(*operation)
	if g.verifier != nil {
		g.verifier.walks(o, from, to)
	}
	if g.tracer != nil {
		g.tracer.walks(o, from, to, detail)
	}
}

// Counters is what the files of a Ring have done.
type Counters struct {
	Answered                atomic.Uint64 // operations that needed no request, and of these:
	Errors                  atomic.Uint64
	BytesRead, BytesWritten atomic.Uint64

	ShortTransfers, Inline atomic.Uint64

	BouncedReads, BouncedWrites   atomic.Uint64
	ReadModifyWrites, BytesCopied atomic.Uint64
	Extensions, Fallbacks         atomic.Uint64
}

// countAnswer adds the outcome of an operation that needed no slot.
func (s *Counters) countAnswer(o *Outcome) {
	moved := &s.BytesRead
	if o.Kind.Writes() {
		moved = &s.BytesWritten
	}
	moved.Add(uint64(o.N))
	if o.Err != nil && o.Err != io.EOF {
		s.Errors.Add(1)
	}
	s.Answered.Add(1)
}
