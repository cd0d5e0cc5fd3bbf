package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/order"

// A walk is what is kept of a request's way through the drawing in request.go
// where its Ring is observed: verified (verify.go) or traced (debug.go). Whoever
// owns the request owns it.
type walk struct {
	stage  stage
	sent   bool   // to io_submit, by this operation
	number uint64 // of the operation, for the tracer
	sum    uint64 // of the caller's buffers, for the verifier
}

// A stage is a place on the walk.
type stage uint8

const (
	stageFree     stage = iota
	stageBegun          // acquired, or held no longer
	stageHeld           // in the sequence of its file
	stagePending        // in its lane
	stageQueued         // for a worker
	stageAtWork         // with a worker
	stageEntering       // given to io_submit
	stageInFlight       // taken by io_submit
	stageReaped         // its event has come
	stageEnded
)

// next returns the stages that the drawing has an arrow to, a bit each. What is
// entering may be reaped before io_submit returns. An operation whose submission
// failed with EINTR is pending again.
func (s stage) next() uint {
	const (
		begun    = 1 << stageBegun
		pending  = 1 << stagePending
		queued   = 1 << stageQueued
		atWork   = 1 << stageAtWork
		entering = 1 << stageEntering
		inFlight = 1 << stageInFlight
		reaped   = 1 << stageReaped
		ended    = 1 << stageEnded
	)
	switch s {
	case stageFree, stageHeld:
		return begun
	case stageBegun:
		return 1<<stageHeld | pending | queued | ended
	case stagePending:
		return queued | entering | ended
	case stageQueued:
		return atWork
	case stageAtWork:
		return pending | queued | entering | ended
	case stageEntering:
		return pending | queued | inFlight | reaped | ended
	case stageInFlight:
		return reaped | ended
	case stageReaped:
		return pending | queued | ended
	}
	return 1 << stageFree
}

func (s stage) String() string {
	return [...]string{
		"free", "begun", "held in sequence", "pending", "queued for a worker", "with a worker",
		"given to io_submit", "in flight", "reaped", "ended",
	}[s]
}

// verify and trace come before the Ring is used.
func (r *Ring) verify(v *verifier) {
	r.verifier, r.observed = v, true
	r.bounces.verifier = v
}

func (r *Ring) trace(t *tracer) { r.tracer, r.observed = t, true }

// goes takes note of an arrow of the drawing. It comes before q is where the next
// owner finds it.
func (q *request) goes(to stage) {
	if q.ring.observed {
		q.ring.observe(q, to, "")
	}
}

// entered is sequence.enter on a Ring that is observed. Called with mu held.
func (s *sequence) entered(e *order.Entry[turn], goes bool) {
	if v := s.ring.verifier; v != nil && goes {
		v.sequence(s.order, e)
	} else if v != nil {
		v.sequence(s.order)
	}
	if q, is := e.Of.(*request); is && !goes {
		q.goes(stageHeld)
	}
}

// observe is goes on a Ring that is observed, with what else there is to tell.
func (r *Ring) observe(q *request, to stage, detail string) {
	if r.verifier != nil {
		r.verifier.walks(q, to)
	}
	from := q.walk.stage
	q.walk.stage = to
	q.walk.sent = to == stageEntering || to != stageFree && q.walk.sent
	if r.tracer != nil {
		r.tracer.walks(q, from, detail)
	}
}
