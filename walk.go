package asyncfile

import "fmt"

// A walk is what is kept of a request's way through the drawing in request.go
// where its Ring is observed: verified (verify.go) or watched. Whoever owns the
// request owns it.
type walk struct {
	stage stage
	sent  bool // to io_submit, by this operation
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

// An observer is told of each step of each request: from where it is now at, and
// what else there is to tell. The Ring may have locks then.
type observer func(q *request, from, to stage, detail string)

// check and watch come before the Ring is used.
func (r *Ring) check(fail func(meaning, found string)) {
	r.checker, r.observed = &checker{fail}, true
}

func (r *Ring) watch(w observer) { r.observer, r.observed = w, true }

// goes takes note of an arrow of the drawing. It comes before q is where the next
// owner finds it.
func (q *request) goes(to stage) {
	if q.ring.observed {
		q.ring.observe(q, to, "")
	}
}

// observe is goes on a Ring that is observed, with what else there is to tell.
func (r *Ring) observe(q *request, to stage, detail string) {
	if r.checker != nil {
		r.checker.walks(q, to)
	}
	from := q.walk.stage
	q.walk.stage = to
	q.walk.sent = to == stageEntering || to != stageFree && q.walk.sent
	if r.observer != nil && q.client != nil {
		r.observer(q, from, to, detail)
	}
}

// submission names the last submission of q for its operation: slot and generation,
// or - before the first.
func (q *request) submission() string {
	if !q.walk.sent {
		return fmt.Sprintf("%d.-", q.slot)
	}
	return fmt.Sprintf("%d.%d", q.slot, q.gen)
}
