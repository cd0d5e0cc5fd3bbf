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
	operation
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
	jobCarry      // carry it out with ordinary system calls
	jobFail       // end it with its error
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
	bounce []byte      // the library's buffer that buf is a part of, if it is one
	skip   int         // bytes at the beginning of buf that nobody asked for
}

// A client is whom a Ring carries requests out for: a file. This is the one way
// up from a Ring. It is called with no lock held, by the goroutine that owns the
// request.
type client interface {
	// advance takes the result of q's last submission: that of its event, or err.
	advance(q *request, res int64, err error) step
	// carry does the job of q on a worker.
	carry(q *request)
	// release takes q, which has ended, out of everything that knows it by its
	// slot, and returns what may go to the kernel now.
	release(q *request) (e ending, ready requestQueue)
	// deliver delivers the outcome, and returns what waited for that.
	deliver(e ending) (ready requestQueue)
}

// A step is what follows the result of a submission.
type step uint8

const (
	ended step = iota // the operation has ended
	again             // it goes on, with the plan that it has now
	held              // it goes on by itself
)

// An ending is what a request that has ended leaves to be done.
type ending struct {
	sink   sink
	result Completion
	owed   *epoch // of a write: Syncs wait until its outcome is delivered
	title  string // for the tracer
}

// A follower is a sink that looks at its request meanwhile; nil is its end.
type follower interface{ follow(q *request) }

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
		q.client.carry(q)
	}
}

// finish ends the operation of a request that is no batch's.
func (q *request) finish() {
	r := q.ring
	r.submit(r.finish([]outcome{{q: q}}))
}
