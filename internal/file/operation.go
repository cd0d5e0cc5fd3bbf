package file

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/order"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// An operation is what a request is for, and a client of the Ring: what is to be
// done to a file, and how far it is.
type operation struct {
	slot *ring.Request // from set to Release
	file *Handle
	sink Sink
	tag  any
	op   Op // Bufs is a copy, without empty buffers

	way    way // how the bytes pass
	want   int // bytes
	done   int // bytes transferred so far
	cursor vec.Cursor
	err    error // how it ended

	bounce []byte // the library's buffer that the plan's is a part of, if it is one
	skip   int    // bytes at the beginning of the plan's buffer that nobody asked for

	entry    order.Entry[turn] // in the sequence of the file,
	ordered  bool              // if it is there,
	heap     int               // and of a write that has a place, in sequence.ends
	extended bool              // an extension went ahead of it
	owed     *epoch            // of a write that has left the sequence, to be settled

	seen sight // where the Ring is observed
}

// An operationPool has the operations of a Ring that nobody uses.
type operationPool struct{ idle sync.Pool }

func (p *operationPool) get() *operation {
	if o, ok := p.idle.Get().(*operation); ok {
		return o
	}
	return new(operation)
}

// put takes back an operation whose outcome is delivered.
func (p *operationPool) put(o *operation) {
	clear(o.op.Bufs)
	*o = operation{op: Op{Bufs: o.op.Bufs[:0]}} // the array serves the next
	p.idle.Put(o)
}

// set makes o that of c, of which done bytes have been transferred, with slot as
// its request.
func (o *operation) set(f *Handle, c *Call, slot *ring.Request, done int) {
	bufs := o.op.Bufs[:0] // the caller may reuse its array at once
	for _, p := range c.Op.Bufs {
		if len(p) > 0 {
			bufs = append(bufs, p)
		}
	}
	o.op = c.Op
	o.op.Bufs = bufs
	o.slot, o.file, o.sink, o.tag = slot, f, c.To, c.Tag
	o.seek(0)
	o.want = int(o.cursor.Left())
	o.seek(done)
	slot.Loan.Lend(!o.op.Kind.Writes(), o.op.Buf, bufs)
	o.sink.Follow(slot)
}

// seek goes to where done bytes have been transferred.
func (o *operation) seek(done int) {
	o.cursor = o.op.cursor()
	o.done = o.cursor.Skip(done)
}

// end returns the offset in bytes at which the operation is to end. It is less
// than zero, and the kernel has an error for it, where no offset is so large.
func (o *operation) end() int64 { return o.op.Offset + int64(o.want) }

// fail sets the error that the operation ends with.
func (o *operation) fail(err error) ring.Step {
	o.err = o.file.PathError(o.op.Kind, err)
	return ring.Ended
}

// makePlan decides what the next submission transfers, and reports false, with
// o.err set, if there is none to be made. Called by the owner of the request, which
// holds no lock: a bounced write is copied here.
func (f *Handle) makePlan(o *operation) bool {
	p := &o.slot.Plan
	p.FD, p.Off = f.fd, o.op.Offset+int64(o.done)
	p.Buf, p.Asked, p.Copies, o.skip = nil, 0, 0, 0
	switch o.op.Kind {
	case Sync:
		p.Opcode = aio.OpFsync
		return true
	case Datasync:
		p.Opcode = aio.OpFdsync
		return true
	}
	var err error
	if o.way == bounced {
		err = f.planBounced(o)
	} else {
		f.planStraight(o)
	}
	if err == nil && p.Asked <= 0 {
		err = syscall.EIO // cannot be: there is nothing that would end it
	}
	if err != nil {
		o.fail(err)
		return false
	}
	return true
}

// planStraight plans what goes between the caller's memory and the file.
func (f *Handle) planStraight(o *operation) {
	p, unit := &o.slot.Plan, f.unit(o.op.Kind)
	if head := o.cursor.Head(); int64(len(head)) == o.cursor.Left() {
		o.planBuf(head[:min(len(head), aio.MaxTransfer/unit*unit)])
		return
	}
	clear(p.Iovecs) // what is left may be fewer, and reset sees only those
	p.Iovecs, p.Asked = o.cursor.AppendIovecs(p.Iovecs[:0], unit)
	p.Opcode = aio.OpPreadv
	if o.op.Kind.Writes() {
		p.Opcode = aio.OpPwritev
	}
}

// planBuf plans to transfer buf.
func (o *operation) planBuf(buf []byte) {
	p := &o.slot.Plan
	p.Opcode, p.Buf, p.Asked = aio.OpPread, buf, len(buf)
	if o.op.Kind.Writes() {
		p.Opcode = aio.OpPwrite
	}
}

// Advance implements ring.Client.
func (o *operation) Advance(res int64, err error) ring.Step {
	next := o.file.proceed(o, res, err)
	if next == ring.Ended && o.file.cutsBack(o) {
		return ring.Held
	}
	return next
}

// proceed takes the result of a submission. Where the operation goes on it has a
// new plan.
func (f *Handle) proceed(o *operation, res int64, err error) ring.Step {
	o.slot.Loan.Return()
	n := 0
	if err == nil {
		n, err = aio.Result(res)
	}
	p := &o.slot.Plan
	if n > p.Asked && err == nil {
		err = syscall.EIO // cannot be: the completion ring is not to be trusted
	}
	if errors.Is(err, ring.ErrBufferLost) {
		o.bounce = nil // not to be given back to its pool
	}
	switch {
	case errors.Is(err, syscall.EINTR): // as os.File, which repeats an interrupted call
	case err != nil:
		return o.fail(err)
	default:
		if err := o.land(n); err != nil {
			return o.fail(err)
		}
		if o.done >= o.want {
			return ring.Ended
		}
		if n < p.Asked {
			if err := o.short(n); err != nil {
				return o.fail(err)
			}
			f.group.Counts.ShortTransfers.Add(1)
			if f.group.tracer != nil {
				f.group.tracer.short(o, n)
			}
		}
	}
	if o.way == straight && !f.fitsRest(o) {
		o.way = bounced
	}
	if !f.makePlan(o) {
		return ring.Ended
	}
	return ring.Again
}

// land takes note of n bytes, and copies those that a bounced read transferred to
// the caller.
func (o *operation) land(n int) error {
	if o.bounce == nil || o.op.Kind.Writes() {
		o.done += o.cursor.Skip(n)
		return nil
	}
	got, err := o.cursor.Scatter(o.slot.Plan.Buf[min(o.skip, n):n])
	o.done += got
	o.file.group.Counts.BytesCopied.Add(uint64(got))
	return err
}

// short decides whether an operation goes on after a transfer of n bytes, which
// were fewer than asked.
func (o *operation) short(n int) error {
	unit := o.file.unit(o.op.Kind)
	over := int((o.slot.Plan.Off + int64(n)) % int64(unit)) // bytes of a block in which it stopped
	switch {
	case !o.op.Kind.Writes():
		if n == 0 || over != 0 {
			// A direct read that stops inside a block stopped at the end of the
			// file, and cannot be continued from there.
			return io.EOF
		}
	case n <= over:
		return io.ErrUnexpectedEOF // as os.File has it where a write does nothing
	case over != 0:
		o.seek(o.done - over) // the device goes on from the start of the block
	}
	return nil
}

// Carry implements ring.Client: it does with ordinary system calls what is left to do.
func (o *operation) Carry() {
	if o.err == nil { // or there was no plan to be made
		o.file.perform(o)
	}
	if !o.file.cutsBack(o) {
		o.slot.Finish()
	}
}

// Release implements ring.Client.
func (o *operation) Release() (done ring.Tally, ready ring.Requests) {
	f := o.file
	o.sink.Follow(nil)
	if f.group.tracer != nil {
		o.seen.last = o.String()
	}
	ready = f.leaveSequence(o)
	o.dropBounce()
	o.slot = nil
	if o.op.Kind.Writes() {
		done.Written = uint64(o.done)
	} else {
		done.Read = uint64(o.done)
	}
	if o.err != nil && o.err != io.EOF {
		done.Failed = 1
	}
	return done, ready
}

// Deliver implements ring.Client.
func (o *operation) Deliver() (ready ring.Requests) {
	f := o.file
	if f.group.tracer != nil {
		f.group.tracer.delivers(o)
	}
	o.sink.Deliver(Outcome{Kind: o.op.Kind, File: f, Buf: o.op.Buf, Offset: o.op.Offset, N: o.done, Err: o.err, Tag: o.tag})
	if o.owed != nil {
		ready = f.settle(o.owed)
	}
	f.group.operations.put(o)
	f.Leave()
	return ready
}
