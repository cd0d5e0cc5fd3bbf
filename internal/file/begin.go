package file

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// Submit takes an operation in and sends it, as soon as c.Haste says.
func (f *Handle) Submit(c *Call) {
	var batch ring.Requests
	f.Begin(c, &batch)
	f.Lane.Push(batch, c.Haste)
}

// Begin takes an operation in: it answers it on the spot, sees it on its way, or
// adds it to batch, which the caller submits. It waits while the queue is full,
// with batch submitted first.
func (f *Handle) Begin(c *Call, batch *ring.Requests) {
	result := Outcome{Kind: c.Op.Kind, File: f, Buf: c.Op.Buf, Offset: c.Op.Offset, Tag: c.Tag}
	if err := f.admit(); err != nil {
		result.Err = f.PathError(c.Op.Kind, err)
		f.reply(c, &result)
		return
	}
	slot := (*ring.Request)(nil)
	if !f.answer(c, &result) {
		if slot = f.group.ring.TryAcquire(f.Lane); slot == nil {
			f.Lane.Push(*batch, ring.Promptly)
			*batch = ring.Requests{}
			var err error
			if slot, err = f.group.ring.Acquire(f.Lane, cmp.Or(c.Past, c.Until)); err != nil {
				result.Err = f.PathError(c.Op.Kind, err)
			}
		}
	}
	if slot == nil {
		f.reply(c, &result)
		f.Leave()
		return
	}
	o := f.group.operations.get()
	o.set(f, c, slot, result.N)
	slot.Begin(o)
	f.route(o, c.Here, batch)
}

// reply delivers the outcome of an operation that needs no request.
func (f *Handle) reply(c *Call, result *Outcome) {
	f.group.Counts.countAnswer(result)
	if f.group.tracer != nil {
		f.group.tracer.answered(c, result)
	}
	c.To.Deliver(*result)
}

// admit counts an operation in, or says which is closed: the file or its Ring.
// An operation that could do without the Ring is refused all the same, so that
// it makes no difference what the page cache holds.
func (f *Handle) admit() error {
	if _, open := f.Enter(); !open {
		return fs.ErrClosed
	}
	err := f.Refusal()
	if err != nil {
		f.Leave()
	}
	return err
}

// Refusal returns the error of who comes too late, nil where file and Ring are
// open.
func (f *Handle) Refusal() error {
	switch {
	case f.users.Load() < 0:
		return fs.ErrClosed
	case f.group.ring.Closed():
		return ring.ErrClosed
	}
	return nil
}

// answer carries out what needs no request: what os.File answers without a
// system call, and reads of what the page cache holds. result is the outcome, or,
// in N, how much of a read was there.
func (f *Handle) answer(c *Call, result *Outcome) bool {
	op := &c.Op
	if c.Invalid != nil {
		result.Err = f.PathError(op.Kind, c.Invalid)
		return true
	}
	want := op.size()
	switch {
	case op.Kind.Syncs():
		return false
	case op.Kind == Append:
		if f.Seekless && f.OnDisk { // a block device
			result.Err = f.PathError(op.Kind, errNoEnd)
		}
		if want == 0 && result.Err == nil {
			_, result.Err = f.osf.Write(nil)
		}
		return want == 0 || result.Err != nil
	case op.Kind.Writes() && (f.refuse != nil || op.Offset < 0 || want == 0):
		_, result.Err = f.osf.WriteAt(nil, op.Offset)
		return true
	case op.Offset < 0 || want == 0:
		_, result.Err = f.osf.ReadAt(nil, op.Offset)
		return true
	}
	if f.Direct || f.OnKernel || c.Past != nil || want > maxInline || f.kernel != nil {
		return false
	}
	return (op.Kind == Read || f.InMemory) && f.answerCached(op, result)
}

var errNoEnd = fmt.Errorf("asyncfile: Append to a block device, whose end is where it is: use WriteAt: %w", os.ErrInvalid)

// maxInline is the largest operation, in bytes, that is carried out on its
// caller. Beyond it the copying alone takes longer than a hand-over to a worker.
const maxInline = 64 << 10

// answerCached tries to carry out op without waiting for a device.
func (f *Handle) answerCached(op *Op, c *Outcome) bool {
	if f.InMemory {
		f.group.Counts.Inline.Add(1)
		c.N, c.Err = f.CarryOut(op)
		return true
	}
	if !f.cached.Load() {
		return false
	}
	n, err := aio.PreadNoWait(f.fd, op.Buf, op.Offset)
	switch beyond := op.Offset+int64(len(op.Buf)) < 0; { // EINVAL, too
	case errors.Is(err, errors.ErrUnsupported), // the file system has no RWF_NOWAIT,
		errors.Is(err, syscall.EPERM),             // or a sandbox,
		errors.Is(err, syscall.EINVAL) && !beyond: // or a kernel before 4.14
		f.cached.Store(false)
	}
	aio.Written(op.Buf[:n])
	c.N = n
	if n < len(op.Buf) {
		return false // the rest is not cached, or is not there
	}
	f.group.Counts.Inline.Add(1)
	return true
}
