package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/aio"

// A request is one operation in flight. It is also the slot that the operation
// takes on its Ring: a Ring has as many requests as its queue depth, and no more.
//
// Who owns a request, that is, who may read and write it:
//
//	free      ──acquire──▶ the submitter                   (Ring.mu)
//	acquired  ──order────▶ held    in its file's sequence  (sequence.mu)
//	                     ▶ pending in its lane             (Ring.mu)
//	                     ▶ queued  for a worker            (workers.Pool)
//	held      ──granted──▶ pending or queued               by the one that ended what it waited for
//	pending   ──send─────▶ in flight: the kernel           until its event is reaped
//	pending   ──refused──▶ ended, by the one in io_submit  (its error is the result)
//	                     ▶ queued, where an ordinary system call may do (EINVAL)
//	in flight ──reap─────▶ the reaper, which continues a short transfer (▶ pending) or ends it,
//	                     ▶ queued  for a worker, where there is much to copy first
//	in flight ──abort────▶ ended, when the context has died; what the kernel keeps then is in Ring.lost
//	queued    ──run──────▶ a worker, which ends it, or submits it (▶ in flight)
//	ended     ──cut back─▶ held, then queued: it failed behind an extension of the file
//	ended     ──recycle──▶ free, and only then its result is delivered
//
// Every arrow passes through a lock or a channel, which orders memory between
// the two owners. In flight, nobody but the kernel touches the buffer; what makes
// the request the reaper's is the event whose data names its slot and its
// generation, which comes again only after 2³² others. Nothing takes a request back from
// the kernel: a wait may be abandoned, an operation is not. So buffer and file
// stay reachable, through Ring.requests, until the kernel is done with them.
type request struct {
	iocb aio.IOCB // valid while pending and inside io_submit
	loan aio.Loan // of the caller's memory, for the race detector; returned before any of it is touched here

	ring *Ring
	lane *lane
	slot uint32   // index in Ring.requests
	gen  uint32   // of the last submission
	next *request // in the list that holds it

	walk    walk         // where the Ring is observed
	state   requestState // guarded by Ring.mu
	job     job          // what a worker does with it
	plan    plan         // of its next or last submission
	landing bool         // what a worker does first is to take its result,
	res     int64        // which is this: there is much to copy

	client client
}

// A requestState tells a true event from a stray one.
type requestState uint8

const (
	stateIdle     requestState = iota // no event is to come
	stateEntering                     // given to io_submit, which has not answered: an event may come
	stateInFlight                     // taken by io_submit: an event will come
)

// A job is what a worker is to do with a request.
type job uint8

const (
	jobNone   job = iota
	jobSubmit     // hand it to the kernel, in an io_submit that may block
	jobCarry      // carry it out without the kernel context
)

// A plan is what one submission transfers. It is made anew for each, and does not
// change until its result is there.
type plan struct {
	opcode aio.Opcode
	fd     int
	off    int64       // from this offset in the file
	asked  int         // so many bytes
	buf    []byte      // to or from here, if it is not vectored
	iovecs []aio.Iovec // or here; kept for reuse
	copies int         // so many bytes, at the most, are copied when its result is there
}

// A client is what a request is for: an operation of a file. This is the one way
// up from a Ring. It is called with no lock held, by the goroutine that owns the
// request, and outlives that: the slot is free before the result is told.
type client interface {
	// Advance takes the result of the last submission: that of its event, or err.
	Advance(res int64, err error) step
	// Carry carries the operation out on a worker, without the kernel context.
	Carry()
	// Release comes when the operation has ended. It parts from the request, which
	// is not to be used any more, and returns what was done, and what may go to the
	// kernel now.
	Release() (done tally, ready requestQueue)
	// Deliver delivers the outcome, and returns what waited for that. It comes last.
	Deliver() (ready requestQueue)
	// String names the operation, where the Ring is observed, and its last submission.
	String() string
}

// A tally is what operations have done.
type tally struct{ read, written, failed uint64 } // bytes, bytes, operations

func (t *tally) add(more tally) {
	t.read += more.read
	t.written += more.written
	t.failed += more.failed
}

// A step is what follows the result of a submission.
type step uint8

const (
	ended step = iota // the operation has ended
	again             // it goes on, with the plan that it has now
	held              // it goes on by itself
)

// begin makes q the request of c.
func (q *request) begin(c client) {
	q.client = c
	q.goes(stageBegun)
}

// reset lets go of what the request kept reachable.
func (q *request) reset() {
	clear(q.plan.iovecs)
	q.plan = plan{iovecs: q.plan.iovecs[:0]} // the array serves the next
	q.client, q.job = nil, jobNone
}

// prepare fills the iocb with what was planned.
func (q *request) prepare() {
	p := &q.plan
	switch p.opcode {
	case aio.OpFsync:
		q.iocb.PrepareFsync(p.fd)
	case aio.OpFdsync:
		q.iocb.PrepareFdatasync(p.fd)
	case aio.OpPwrite:
		q.iocb.PrepareWrite(p.fd, p.buf, p.off)
	case aio.OpPread:
		q.iocb.PrepareRead(p.fd, p.buf, p.off)
	case aio.OpPwritev:
		q.iocb.PrepareWritev(p.fd, p.iovecs, p.off)
	case aio.OpPreadv:
		q.iocb.PrepareReadv(p.fd, p.iovecs, p.off)
	}
}

// Run does on a worker what would block elsewhere, for workers.Job.
func (q *request) Run() {
	q.loan.Return()
	q.goes(stageAtWork)
	switch {
	case q.landing:
		q.landing = false
		q.ring.submit(q.ring.settle([]outcome{{q: q, res: q.res}}, false))
	case q.job == jobSubmit:
		q.ring.submitAlone(q)
	default:
		q.client.Carry()
	}
}

// finish ends the operation of a request that is no batch's.
func (q *request) finish() {
	r := q.ring
	r.submit(r.finish([]outcome{{q: q}}))
}
