package asyncfile

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/order"
	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// An operation is a file's part of a request: what is to be done, and how far it
// is.
type operation struct {
	file *AsyncFile
	sink sink
	tag  any
	op   Op // Bufs is a copy, without empty buffers

	way    way // how the bytes pass
	want   int // bytes
	done   int // bytes transferred so far
	cursor vec.Cursor
	err    error // how it ended

	entry    order.Entry[turn] // in the sequence of the file,
	ordered  bool              // if it is there,
	heap     int               // and of a write that has a place, in sequence.ends
	extended bool              // an extension went ahead of it
	owed     *epoch            // of a write that has left the sequence, to be settled
}

// set makes the request that of c, of which done bytes have been transferred.
func (q *request) set(f *AsyncFile, c *call, done int) {
	bufs := q.op.Bufs[:0] // the caller may reuse its array at once
	for _, p := range c.op.Bufs {
		if len(p) > 0 {
			bufs = append(bufs, p)
		}
	}
	q.op = c.op
	q.op.Bufs = bufs
	q.client, q.file, q.sink, q.tag = f, f, c.to, c.tag
	q.job = jobNone
	q.seek(0)
	q.want = int(q.cursor.Left())
	q.seek(done)
	q.loan.Lend(!q.op.Kind.writes(), q.op.Buf, bufs)
	if w, ok := q.sink.(follower); ok {
		w.follow(q)
	}
}

// seek goes to where done bytes have been transferred.
func (q *request) seek(done int) {
	q.cursor = q.op.cursor()
	q.done = q.cursor.Skip(done)
}

// end returns the offset in bytes at which the operation is to end. It is less
// than zero, and the kernel has an error for it, where no offset is so large.
func (q *request) end() int64 { return q.op.Offset + int64(q.want) }

// fail sets the error that the operation ends with.
func (q *request) fail(err error) step {
	q.err = q.file.pathError(q.op.Kind, err)
	return ended
}

// makePlan decides what the next submission transfers, and reports false, with
// q.err set, if there is none to be made. Called by the owner of the request, which
// holds no lock: a bounced write is copied here.
func (f *AsyncFile) makePlan(q *request) bool {
	p := &q.plan
	p.fd, p.off = f.fd, q.op.Offset+int64(q.done)
	p.buf, p.skip, p.asked = nil, 0, 0
	switch q.op.Kind {
	case OpSync:
		p.opcode = aio.OpFsync
		return true
	case OpDatasync:
		p.opcode = aio.OpFdsync
		return true
	}
	var err error
	if q.way == bounced {
		err = f.planBounced(q)
	} else {
		f.planStraight(q)
	}
	if err == nil && p.asked <= 0 {
		err = syscall.EIO // cannot be: there is nothing that would end it
	}
	if err != nil {
		q.fail(err)
		return false
	}
	return true
}

// planStraight plans what goes between the caller's memory and the file.
func (f *AsyncFile) planStraight(q *request) {
	p, unit := &q.plan, f.unit(q.op.Kind)
	if head := q.cursor.Head(); int64(len(head)) == q.cursor.Left() {
		p.setBuf(q.op.Kind, head[:min(len(head), aio.MaxTransfer/unit*unit)])
		return
	}
	clear(p.iovecs) // what is left may be fewer, and reset sees only those
	p.iovecs, p.asked = q.cursor.AppendIovecs(p.iovecs[:0], unit)
	p.opcode = aio.OpPreadv
	if q.op.Kind.writes() {
		p.opcode = aio.OpPwritev
	}
}

// setBuf has the plan transfer buf.
func (p *plan) setBuf(kind OpKind, buf []byte) {
	p.opcode, p.buf, p.asked = aio.OpPread, buf, len(buf)
	if kind.writes() {
		p.opcode = aio.OpPwrite
	}
}

// advance implements client.
func (f *AsyncFile) advance(q *request, res int64, err error) step {
	next := f.proceed(q, res, err)
	if next == ended && f.cutsBack(q) {
		return held
	}
	return next
}

// proceed takes the result of a submission. Where the operation goes on it has a
// new plan.
func (f *AsyncFile) proceed(q *request, res int64, err error) step {
	q.loan.Return()
	n := 0
	if err == nil {
		n, err = aio.Result(res)
	}
	p := &q.plan
	if n > p.asked && err == nil {
		err = syscall.EIO // cannot be: the completion ring is not to be trusted
	}
	switch {
	case errors.Is(err, syscall.EINTR): // as os.File, which repeats an interrupted call
	case err != nil:
		return q.fail(err)
	default:
		if err := q.land(n); err != nil {
			return q.fail(err)
		}
		if q.done >= q.want {
			return ended
		}
		if n < p.asked {
			if err := q.short(n); err != nil {
				return q.fail(err)
			}
			f.ring.stats.ShortTransfers.Add(1)
			if f.ring.tracer != nil {
				f.ring.tracer.short(q, n)
			}
		}
	}
	if q.way == straight && !f.fitsRest(q) {
		q.way = bounced
	}
	if !f.makePlan(q) {
		return ended
	}
	return again
}

// land takes note of n bytes, and copies those that a bounced read transferred to
// the caller.
func (q *request) land(n int) error {
	p := &q.plan
	if p.bounce == nil || q.op.Kind.writes() {
		q.done += q.cursor.Skip(n)
		return nil
	}
	got, err := q.cursor.Scatter(p.buf[min(p.skip, n):n])
	q.done += got
	q.ring.stats.BytesCopied.Add(uint64(got))
	return err
}

// short decides whether an operation goes on after a transfer of n bytes, which
// were fewer than asked.
func (q *request) short(n int) error {
	unit := q.file.unit(q.op.Kind)
	over := int((q.plan.off + int64(n)) % int64(unit)) // bytes of a block in which it stopped
	switch {
	case !q.op.Kind.writes():
		if n == 0 || over != 0 {
			// A direct read that stops inside a block stopped at the end of the
			// file, and cannot be continued from there.
			return io.EOF
		}
	case n <= over:
		return io.ErrUnexpectedEOF // as os.File has it where a write does nothing
	case over != 0:
		q.seek(q.done - over) // the device goes on from the start of the block
	}
	return nil
}

// reset lets go of what the operation kept reachable.
func (q *request) reset() {
	clear(q.plan.iovecs)
	clear(q.op.Bufs)
	q.operation = operation{op: Op{Bufs: q.op.Bufs[:0]}} // the arrays serve the next
	q.plan = plan{iovecs: q.plan.iovecs[:0]}
	q.client = nil
	q.job = jobNone
}

// carry implements client: it does the job of q with ordinary system calls.
func (f *AsyncFile) carry(q *request) {
	if q.job == jobCarry {
		f.perform(q)
	}
	if !f.cutsBack(q) {
		q.finish()
	}
}

// release implements client.
func (f *AsyncFile) release(q *request) (e ending, ready requestQueue) {
	e = ending{
		sink:   q.sink,
		result: Completion{Op: q.op.Kind, File: f, Buf: q.op.Buf, Offset: q.op.Offset, N: q.done, Err: q.err, Tag: q.tag},
	}
	if w, ok := q.sink.(follower); ok {
		w.follow(nil)
	}
	q.loan.Return()
	if f.ring.tracer != nil {
		e.title = q.title()
	}
	q.goes(stageEnded)
	ready = f.leaveSequence(q)
	e.owed = q.owed
	q.dropBounce()
	q.reset()
	return e, ready
}

// deliver implements client.
func (f *AsyncFile) deliver(e ending) (ready requestQueue) {
	if f.ring.tracer != nil {
		f.ring.tracer.delivers(e)
	}
	e.sink.deliver(e.result)
	if e.owed != nil {
		ready = f.settle(e.owed)
	}
	f.leave()
	return ready
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
