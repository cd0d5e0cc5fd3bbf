package asyncfile

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A request is one operation in flight. It is also the slot that the operation
// takes on its Ring: a Ring has as many requests as its queue depth, and no more.
//
// Who owns a request, that is, who may read and write it:
//
//	free      ──acquire──▶ the submitter                   (Ring.mu)
//	acquired  ──route────▶ held    by its file             barrier, overlap, gate, appender (AsyncFile.mu)
//	                     ▶ pending in Ring.pending         (Ring.mu)
//	                     ▶ queued  for a worker            (workers.Pool)
//	held      ──release──▶ pending or queued               by whoever ended what it waited for
//	pending   ──flush────▶ in flight: the kernel           until its event is reaped
//	pending   ──refused──▶ ended, by the one in io_submit  (its error is the result)
//	in flight ──reap─────▶ the reaper, which continues a short transfer (▶ pending) or ends it,
//	                     ▶ queued  for a worker, where there is much to copy first
//	queued    ──run──────▶ a worker, which ends it, or submits it (▶ in flight)
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
	slot uint32   // index in Ring.requests
	gen  uint32   // of the last submission
	next *request // in the list that holds it

	way   way  // how the bytes pass
	state int8 // for telling a true event from a stray one; guarded by Ring.mu
	alone bool // io_submit would block: a worker makes the call
	gated bool // it counts among those that have passed its file's gate

	file *AsyncFile
	sink sink
	tag  any
	op   Op

	want int // bytes
	done int // bytes transferred so far

	// What plan has the next submission transfer.
	at     int64       // from this offset in the file
	asked  int         // so many bytes
	part   []byte      // to or from here, when it is not vectored
	bounce []byte      // the aligned buffer that part is, if it is one
	iovecs []aio.Iovec // what iocb names when it is vectored; kept for reuse

	epoch *epoch // of a write: what a Sync after it waits for

	// What few need is last: a line of the cache that a request does not touch
	// is one that does not move between processors.
	landing    bool // reaped with result res, which a worker is to take
	spanned    bool // it is in its file's overlap, at place, with span
	res        int64
	writePlace int // in its file's appender, of a write
	place      int
	span       span
}

// States of a request as Ring.mu guards them.
const (
	stateIdle     = iota // no event is to come
	stateEntering        // given to io_submit, which has not answered: an event may come
	stateInFlight        // taken by io_submit: an event will come
)

// A sink takes the outcome of an operation. deliver never blocks and never runs
// code of the user's.
type sink interface{ deliver(Completion) }

// A Completion is the outcome of one operation of a Queue.
type Completion struct {
	Op     OpKind     // what was done
	File   *AsyncFile // to which file
	Buf    []byte     // as submitted; the caller's again
	Offset int64      // in bytes, where the operation began
	N      int        // bytes transferred
	Err    error      // as of os.File: not nil where N is less than was asked
	Tag    any        // as submitted
}

// set makes the request that of c, of which done bytes have been transferred.
func (q *request) set(f *AsyncFile, c *call, want, done int) {
	bufs := append(q.op.Bufs, c.op.Bufs...) // the caller may reuse its array at once
	q.op = c.op
	q.op.Bufs = bufs
	q.file, q.sink, q.tag = f, c.to, c.tag
	q.want, q.done = want, done
	q.alone = c.past != nil && f.aio
	q.loan.Lend(!q.op.Kind.writes(), q.op.Buf, bufs)
}

// end returns the offset in bytes at which the operation is to end. It is less
// than zero, and the kernel has an error for it, where no offset is so large.
func (q *request) end() int64 { return q.op.Offset + int64(q.want) }

// plan decides what the next submission transfers. Called by the owner of the
// request, which holds no lock: a bounced write is copied here.
func (q *request) plan() {
	q.at = q.op.Offset + int64(q.done)
	switch {
	case q.op.Kind.syncs():
	case q.way == bounced:
		q.planBounced()
	case !q.op.Kind.vectored():
		p := q.op.Buf[q.done:]
		q.part = p[:min(len(p), q.maxPart())]
		q.asked = len(q.part)
	default:
		clear(q.iovecs) // what is left may be fewer, and recycle sees only those
		q.part, q.iovecs, q.asked = nil, q.iovecs[:0], 0
		for p := range remaining(q.op.Bufs, q.done) {
			q.iovecs = append(q.iovecs, aio.MakeIovec(p))
			q.asked += len(p)
		}
	}
}

// maxPart returns the most bytes of one submission: whole blocks.
func (q *request) maxPart() int {
	unit := q.file.unit(q.op.Kind)
	return aio.MaxTransfer / unit * unit
}

// prepare fills the iocb with what was planned.
func (q *request) prepare() {
	fd, write := q.file.fd, q.op.Kind.writes()
	switch {
	case q.op.Kind == OpSync:
		q.iocb.PrepareFsync(fd)
	case q.op.Kind == OpDatasync:
		q.iocb.PrepareFdatasync(fd)
	case q.part != nil && write:
		q.iocb.PrepareWrite(fd, q.part, q.at)
	case q.part != nil:
		q.iocb.PrepareRead(fd, q.part, q.at)
	case write:
		q.iocb.PrepareWritev(fd, q.iovecs, q.at)
	default:
		q.iocb.PrepareReadv(fd, q.iovecs, q.at)
	}
}

// advance takes the result of one submission. It reports whether the operation
// goes on, which then needs a plan, and otherwise how it ended.
func (q *request) advance(res int64) (more bool, err error) {
	q.loan.Return()
	n, err := aio.Result(res)
	switch {
	case errors.Is(err, syscall.EINTR):
		return true, nil // as os.File, which repeats an interrupted call
	case n > q.asked && err == nil:
		err = syscall.EIO // cannot be: the completion ring is not to be trusted
		fallthrough
	case err != nil:
		return false, q.file.pathError(q.op.Kind, err)
	}
	if q.bounce != nil {
		q.done += q.land(n)
	} else {
		q.done += n
	}
	switch {
	case q.done >= q.want:
		return false, nil
	case n == q.asked:
		return true, nil // one of several parts
	case q.op.Kind.writes() && n == 0:
		return false, q.file.pathError(q.op.Kind, io.ErrUnexpectedEOF)
	case q.op.Kind.writes():
		if q.stopped(n) {
			q.way = cached // where the device stopped inside a block, it cannot go on
		}
	case n == 0, q.stopped(n):
		// A direct read that stops inside a block stopped at the end of the
		// file, and cannot be continued from there.
		return false, io.EOF
	}
	q.ring.stats.ShortTransfers.Add(1)
	return true, nil
}

// stopped reports whether a transfer of n bytes ended inside a block.
func (q *request) stopped(n int) bool {
	return (q.at+int64(n))%int64(q.file.unit(q.op.Kind)) != 0
}

// reset lets go of what the operation kept reachable.
func (q *request) reset() {
	clear(q.iovecs)
	clear(q.op.Bufs)
	q.op = Op{Bufs: q.op.Bufs[:0]} // the array serves the next vectored request
	q.file, q.sink, q.tag, q.epoch, q.part = nil, nil, nil, nil, nil
	q.done, q.want, q.way, q.alone, q.gated = 0, 0, straight, false, false
}

// Run does on a worker what would block elsewhere, for workers.Job.
func (q *request) Run() {
	q.loan.Return()
	switch {
	case q.landing:
		q.landing = false
		more, released := q.ring.settle([]outcome{{q: q, res: q.res}}, false)
		more.append(released)
		q.ring.submit(more)
	case q.way == cached:
		n, err := q.file.performCached(&q.op, q.want, q.done)
		q.done += n
		q.finish(err)
	case q.alone:
		q.ring.submitAlone(q)
	case q.way == bounced:
		q.finish(q.performBounced())
	default:
		n, err := q.file.perform(&q.op, q.done)
		q.done += n
		q.finish(err)
	}
}

// pathError wraps err as os.File does: io.EOF bare, everything else with the
// operation and the path.
func pathError(kind OpKind, path string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: kind.errorOp(), Path: path, Err: err}
}

func (f *AsyncFile) pathError(kind OpKind, err error) error { return pathError(kind, f.name, err) }
