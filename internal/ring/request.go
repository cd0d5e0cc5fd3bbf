package ring

import (
	"fmt"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Request is one operation in flight. It is also the slot that the operation
// takes on its Ring: a Ring has as many requests as its queue depth, and no more.
// The package comment says who owns it when.
type Request struct {
	iocb aio.IOCB // valid while pending and inside io_submit
	Loan aio.Loan // of the caller's memory, for the race detector; returned before any of it is touched here

	ring *Ring
	lane *Lane
	slot uint32   // index in Ring.requests
	gen  uint32   // of the last submission
	next *Request // in the list that holds it

	walk    walk         // where the Ring is observed
	state   requestState // guarded by Ring.mu
	job     Job          // what a worker does with it
	Plan    Plan         // of its next or last submission
	landing bool         // what a worker does first is to take its result,
	res     int64        // which is this: there is much to copy

	Client Client
}

// A requestState tells a true event from a stray one.
type requestState uint8

const (
	stateIdle     requestState = iota // no event is to come
	stateEntering                     // given to io_submit, which has not answered: an event may come
	stateInFlight                     // taken by io_submit: an event will come
)

// A Job is what a worker is to do with a request.
type Job uint8

const (
	JobNone   Job = iota // nothing: it is for the kernel
	JobSubmit            // hand it to the kernel, in an io_submit that may block
	JobCarry             // carry it out without the kernel context
)

// A Plan is what one submission transfers. It is made anew for each, and does not
// change until its result is there.
type Plan struct {
	Opcode aio.Opcode
	FD     int
	Off    int64       // from this offset in the file
	Asked  int         // so many bytes
	Buf    []byte      // to or from here, if it is not vectored
	Iovecs []aio.Iovec // or here; kept for reuse
	Copies int         // so many bytes, at the most, are copied when its result is there
}

// String names what the submission transfers.
func (p *Plan) String() string {
	switch {
	case p.Opcode == aio.OpFsync || p.Opcode == aio.OpFdsync:
		return p.Opcode.String()
	case p.Copies > 0:
		return fmt.Sprintf("%v %d+%d by way of a buffer", p.Opcode, p.Off, p.Asked)
	}
	return fmt.Sprintf("%v %d+%d", p.Opcode, p.Off, p.Asked)
}

// A Client is what a request is for: an operation of a file. This is the one way
// up from a Ring. It is called with no lock held, by the goroutine that owns the
// request, and outlives that: the slot is free before the result is told.
type Client interface {
	// Advance takes the result of the last submission: that of its event, or err.
	Advance(res int64, err error) Step
	// Carry carries the operation out on a worker, without the kernel context.
	Carry()
	// Release comes when the operation has ended. It parts from the request, which
	// is not to be used any more, and returns what was done, and what may go to the
	// kernel now.
	Release() (done Tally, ready Requests)
	// Deliver delivers the outcome, and returns what waited for that. It comes last.
	Deliver() (ready Requests)
	// String names the operation, where the Ring is observed, and its last submission.
	String() string
}

// A Tally is what operations have done.
type Tally struct{ Read, Written, Failed uint64 } // bytes, bytes, operations

func (t *Tally) add(more Tally) {
	t.Read += more.Read
	t.Written += more.Written
	t.Failed += more.Failed
}

// A Step is what follows the result of a submission.
type Step uint8

const (
	Ended Step = iota // the operation has ended
	Again             // it goes on, with the plan that it has now
	Held              // it goes on by itself
)

// Begin makes q the request of c.
func (q *Request) Begin(c Client) {
	q.Client = c
	q.Goes(StageBegun)
}

// reset lets go of what the request kept reachable.
func (q *Request) reset() {
	clear(q.Plan.Iovecs)
	q.Plan = Plan{Iovecs: q.Plan.Iovecs[:0]} // the array serves the next
	q.Client, q.job = nil, JobNone
}

// AwaitsEvent reports whether an event of q is to come. Called with Ring.mu held, as
// by a goal.
func (q *Request) AwaitsEvent() bool { return q.state != stateIdle }

// prepare fills the iocb with what was planned.
func (q *Request) prepare() {
	p := &q.Plan
	switch p.Opcode {
	case aio.OpFsync:
		q.iocb.PrepareFsync(p.FD)
	case aio.OpFdsync:
		q.iocb.PrepareFdatasync(p.FD)
	case aio.OpPwrite:
		q.iocb.PrepareWrite(p.FD, p.Buf, p.Off)
	case aio.OpPread:
		q.iocb.PrepareRead(p.FD, p.Buf, p.Off)
	case aio.OpPwritev:
		q.iocb.PrepareWritev(p.FD, p.Iovecs, p.Off)
	case aio.OpPreadv:
		q.iocb.PrepareReadv(p.FD, p.Iovecs, p.Off)
	}
}

// Run does on a worker what would block elsewhere, for workers.Job.
func (q *Request) Run() {
	q.Loan.Return()
	q.Goes(StageAtWork)
	switch {
	case q.landing:
		q.landing = false
		q.ring.Submit(q.ring.settle([]outcome{{q: q, res: q.res}}, false))
	case q.job == JobSubmit:
		q.ring.submitAlone(q)
	default:
		q.Client.Carry()
	}
}

// Finish ends the operation of a request that is no batch's.
func (q *Request) Finish() {
	r := q.ring
	r.Submit(r.finish([]outcome{{q: q}}))
}
