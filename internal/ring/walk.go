package ring

import (
	"fmt"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A walk is what is kept of a request's way through the drawing in doc.go
// where its Ring is observed: verified (check.go) or watched. Whoever owns the
// request owns it.
type walk struct {
	stage Stage
	sent  bool // to io_submit, by this operation
}

// A Stage is a place on the walk.
type Stage uint8

const (
	StageFree     Stage = iota // for whoever comes
	StageBegun                 // acquired, or held no longer
	StageHeld                  // in the sequence of its file
	StagePending               // in its lane
	StageQueued                // for a worker
	StageAtWork                // with a worker
	StageEntering              // given to io_submit
	StageInFlight              // taken by io_submit
	StageReaped                // its event has come
	StageEnded                 // and its result not told
)

// next returns the stages that the drawing has an arrow to, a bit each. What is
// entering may be reaped before io_submit returns. An operation whose submission
// failed with EINTR is pending again.
func (s Stage) next() uint {
	const (
		begun    = 1 << StageBegun
		pending  = 1 << StagePending
		queued   = 1 << StageQueued
		atWork   = 1 << StageAtWork
		entering = 1 << StageEntering
		inFlight = 1 << StageInFlight
		reaped   = 1 << StageReaped
		ended    = 1 << StageEnded
	)
	switch s {
	case StageFree, StageHeld:
		return begun
	case StageBegun:
		return 1<<StageHeld | pending | queued | ended
	case StagePending:
		return queued | entering | ended
	case StageQueued:
		return atWork
	case StageAtWork:
		return pending | queued | entering | ended
	case StageEntering:
		return pending | queued | inFlight | reaped | ended
	case StageInFlight:
		return reaped | ended
	case StageReaped:
		return pending | queued | ended
	}
	return 1 << StageFree
}

// String names the stage, as in "in flight".
func (s Stage) String() string {
	return [...]string{
		"free", "begun", "held in sequence", "pending", "queued for a worker", "with a worker",
		"given to io_submit", "in flight", "reaped", "ended",
	}[s]
}

// An Observer is told of each step of each request, which is at the second stage by
// then, and of what there is to tell: to a worker, to do what; what the event says; what is
// in the iocb, or why it is back. The Ring may have locks then.
type Observer func(q *Request, from, to Stage, detail string)

// Check has the Ring check itself at each step. fail is told what was found, and what
// that means. It comes before the Ring is used.
func (r *Ring) Check(fail func(meaning, found string)) {
	r.checker, r.observed = &checker{fail}, true
}

// Watch has w told of each step. It comes before the Ring is used.
func (r *Ring) Watch(w Observer) { r.observer, r.observed = w, true }

// Goes takes note of an arrow of the drawing. It comes before q is where the next
// owner finds it.
func (q *Request) Goes(to Stage) {
	if q.ring.observed {
		q.ring.observe(q, to, "")
	}
}

// observe is goes on a Ring that is observed, with what else there is to tell.
func (r *Ring) observe(q *Request, to Stage, detail string) {
	if r.checker != nil {
		r.checker.walks(q, to)
	}
	from := q.walk.stage
	q.walk.stage = to
	q.walk.sent = to == StageEntering || to != StageFree && q.walk.sent
	if r.observer != nil && q.Client != nil {
		r.observer(q, from, to, detail)
	}
}

// task names what a worker is to do with q.
func (q *Request) task() string {
	switch {
	case q.landing:
		return "take its result"
	case q.job == JobSubmit:
		return "call io_submit"
	}
	return "carry it out"
}

// eventName names what the res of an event says.
func eventName(res int64) string {
	n, err := aio.Result(res)
	if err != nil {
		return fmt.Sprintf("%d, %v", n, err)
	}
	return fmt.Sprint(n)
}

// Submission names the last submission of q for its operation: slot and generation,
// or - before the first.
func (q *Request) Submission() string {
	if !q.walk.sent {
		return fmt.Sprintf("%d.-", q.slot)
	}
	return fmt.Sprintf("%d.%d", q.slot, q.gen)
}
