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
//	free      ──acquire──▶ the submitter                   Ring.free, a channel
//	acquired  ──route────▶ held    by its file             barrier, gate, appender (AsyncFile.mu)
//	                     ▶ pending in Ring.pending         (Ring.mu)
//	                     ▶ queued  for a worker            (workers.Pool)
//	held      ──release──▶ pending or queued               by whoever ended what it waited for
//	pending   ──flush────▶ in flight: the kernel           until its event is reaped
//	pending   ──refused──▶ ended, by the one in io_submit  (its error is the result)
//	in flight ──reap─────▶ the reaper, which continues a short transfer (▶ pending) or ends it
//	queued    ──run──────▶ a worker, which ends it, or submits it (▶ in flight)
//	ended     ──recycle──▶ free, and only then its result is delivered
//
// Every arrow passes through a lock or a channel, which orders memory between
// the two owners. In flight, nobody but the kernel touches the buffer; what makes
// the request the reaper's is the event whose data names its slot and its
// generation, and a generation is used once. Nothing takes a request back from
// the kernel: a wait may be abandoned, an operation is not. So buffer and file
// stay reachable, through Ring.requests, until the kernel is done with them.
type request struct {
	iocb   aio.IOCB    // valid while pending and inside io_submit
	iovecs []aio.Iovec // what iocb names when vectored: likewise; kept for reuse

	ring *Ring
	slot uint32 // index in Ring.requests
	gen  uint32 // of the last submission

	op   Op
	file *AsyncFile
	sink sink
	tag  any

	want  int  // bytes
	done  int  // bytes transferred so far
	asked int  // bytes, by the submission in flight
	state int8 // a state, for telling a true event from a stray one
	alone bool // io_submit would block: a worker makes the call
	gated bool // it counts among those that have passed its file's gate

	epoch *epoch   // of a write: what a Sync after it waits for
	next  *request // in the list that holds it
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
	Op     OpKind
	File   *AsyncFile
	Buf    []byte // as submitted; the caller's again
	Offset int64  // in bytes, where the operation began
	N      int    // bytes transferred
	Err    error  // as of os.File: not nil where N is less than was asked
	Tag    any    // as submitted
}

// end returns the offset in bytes at which the operation is to end. It is less
// than zero, and the kernel has an error for it, where no offset is so large.
func (q *request) end() int64 { return q.op.Offset + int64(q.want) }

// prepare fills the iocb with what is left to transfer.
func (q *request) prepare() {
	fd, off := q.file.fd, q.op.Offset+int64(q.done)
	switch q.op.Kind {
	case OpRead:
		q.iocb.PrepareRead(fd, q.rest(), off)
	case OpWrite, OpAppend:
		q.iocb.PrepareWrite(fd, q.rest(), off)
	case OpReadv:
		q.gather()
		q.iocb.PrepareReadv(fd, q.iovecs, off)
	case OpWritev:
		q.gather()
		q.iocb.PrepareWritev(fd, q.iovecs, off)
	case OpSync:
		q.iocb.PrepareFsync(fd)
	case OpDatasync:
		q.iocb.PrepareFdatasync(fd)
	}
}

// rest returns what is left of the buffer, as far as one operation goes.
func (q *request) rest() []byte {
	p := q.op.Buf[q.done:]
	q.asked = min(len(p), aio.MaxTransfer)
	return p[:q.asked]
}

// gather lists what is left of the buffers, as far as one operation goes.
func (q *request) gather() {
	clear(q.iovecs) // what is left may be fewer, and recycle sees only those
	q.iovecs, q.asked = q.iovecs[:0], 0
	for p := range remaining(q.op.Bufs, q.done) {
		q.iovecs = append(q.iovecs, aio.MakeIovec(p))
		q.asked += len(p)
	}
}

// advance takes the result of one submission. It reports whether the operation
// goes on, and otherwise how it ended.
func (q *request) advance(res int64) (more bool, err error) {
	n, err := aio.Result(res)
	switch {
	case errors.Is(err, syscall.EINTR):
		return true, nil // as os.File, which repeats an interrupted call
	case err != nil:
		return false, q.file.pathError(q.op.Kind, err)
	}
	q.done += n
	switch {
	case q.done >= q.want:
		return false, nil
	case n == q.asked:
		return true, nil // one of several parts
	case q.op.Kind.writes() && n == 0:
		return false, q.file.pathError(q.op.Kind, io.ErrUnexpectedEOF)
	case q.op.Kind.writes():
	case n == 0, q.done%q.file.align.ReadOffset != 0:
		// A direct read that stops off a block boundary stopped at the end of
		// the file, and cannot be continued from there.
		return false, io.EOF
	}
	q.ring.stats.ShortTransfers.Add(1)
	return true, nil
}

// finish delivers the outcome of the operation and frees its slot. The slot is
// freed first, so that whoever is woken by the outcome finds it.
func (q *request) finish(err error) {
	r, f, s := q.ring, q.file, q.sink
	c := Completion{Op: q.op.Kind, File: f, Buf: q.op.Buf, Offset: q.op.Offset, N: q.done, Err: err, Tag: q.tag}
	ready := f.ended(q)
	r.recycle(q)
	r.stats.count(&c)
	s.deliver(c)
	f.dispatchAll(ready) // after c can be seen, so that a Sync ends after the writes that it covers
	f.leave()
}

// Run carries the request out on the calling worker, for workers.Job.
func (q *request) Run() {
	if q.alone {
		q.ring.submitAlone(q)
		return
	}
	n, err := q.file.perform(&q.op, q.done)
	q.done += n
	q.finish(err)
}

// pathError wraps err as os.File does: io.EOF bare, everything else with the
// operation and the path.
func (f *AsyncFile) pathError(kind OpKind, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: kind.String(), Path: f.name, Err: err}
}
