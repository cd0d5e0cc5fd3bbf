package asyncfile

import (
	"cmp"
	"errors"
	"io/fs"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A call is an operation as it comes in.
type call struct {
	op  Op
	to  sink
	tag any

	haste ring.Haste
	// past, if not nil, bounds every wait: the call gives up when it is closed,
	// and makes no system call that could hang.
	past <-chan struct{}
	// until, if not nil, bounds the wait for a slot, and nothing else.
	until <-chan struct{}
	// here has the calling goroutine carry the operation out, if nothing is in
	// its way, since it would only wait for it.
	here bool
}

func (f *AsyncFile) submit(c *call) {
	var batch ring.Requests
	f.begin(c, &batch)
	f.lane.Push(batch, c.haste)
}

// begin takes an operation in: it answers it on the spot, sees it on its way, or
// adds it to batch, which the caller submits. It waits while the queue is full,
// with batch submitted first.
func (f *AsyncFile) begin(c *call, batch *ring.Requests) {
	result := Completion{Op: c.op.Kind, File: f, Buf: c.op.Buf, Offset: c.op.Offset, Tag: c.tag}
	if err := f.admit(); err != nil {
		result.Err = f.pathError(c.op.Kind, err)
		f.reply(c, &result)
		return
	}
	slot := (*ring.Request)(nil)
	want, err := c.op.size()
	if err == nil && !f.answer(c, want, &result) {
		if slot = f.ring.core.TryAcquire(f.lane); slot == nil {
			f.lane.Push(*batch, ring.Promptly)
			*batch = ring.Requests{}
			slot, err = f.ring.core.Acquire(f.lane, cmp.Or(c.past, c.until))
		}
	}
	if slot == nil {
		if err != nil {
			result.Err = f.pathError(c.op.Kind, err)
		}
		f.reply(c, &result)
		f.leave()
		return
	}
	o := f.ring.operations.get()
	o.set(f, c, slot, result.N)
	slot.Begin(o)
	f.route(o, c.here, batch)
}

// reply delivers the outcome of an operation that needs no request.
func (f *AsyncFile) reply(c *call, result *Completion) {
	f.ring.stats.countAnswer(result)
	if f.ring.tracer != nil {
		f.ring.tracer.answered(c, result)
	}
	c.to.deliver(*result)
}

// admit counts an operation in, or says which is closed: the file or its Ring.
// An operation that could do without the Ring is refused all the same, so that
// it makes no difference what the page cache holds.
func (f *AsyncFile) admit() error {
	if !f.enter() {
		return fs.ErrClosed
	}
	err := f.closed()
	if err != nil {
		f.leave()
	}
	return err
}

// closed returns the error of who comes too late, nil where file and Ring are
// open.
func (f *AsyncFile) closed() error {
	switch {
	case f.users.Load() < 0:
		return fs.ErrClosed
	case f.ring.core.Closed():
		return ring.ErrClosed
	}
	return nil
}

// answer carries out what needs no request: what os.File answers without a
// system call, and reads of what the page cache holds. result is the outcome, or,
// in N, how much of a read was there.
func (f *AsyncFile) answer(c *call, want int64, result *Completion) bool {
	op := &c.op
	if err := op.check(); err != nil {
		result.Err = f.pathError(op.Kind, err)
		return true
	}
	switch {
	case op.Kind.syncs():
		return false
	case op.Kind == OpAppend:
		if f.seekless && f.view.deadlineable { // a block device
			result.Err = f.pathError(op.Kind, invalid("Append to a block device, whose end is where it is: use WriteAt"))
		}
		if want == 0 && result.Err == nil {
			_, result.Err = f.osf.Write(nil)
		}
		return want == 0 || result.Err != nil
	case op.Kind.writes() && (f.refuse != nil || op.Offset < 0 || want == 0):
		_, result.Err = f.osf.WriteAt(nil, op.Offset)
		return true
	case op.Offset < 0 || want == 0:
		_, result.Err = f.osf.ReadAt(nil, op.Offset)
		return true
	}
	if f.direct || f.aio || c.past != nil || want > maxInline {
		return false
	}
	return (op.Kind == OpRead || f.inMemory) && f.answerCached(op, result)
}

// maxInline is the largest operation, in bytes, that is carried out on its
// caller. Beyond it the copying alone takes longer than a hand-over to a worker.
const maxInline = 64 << 10

// answerCached tries to carry out op without waiting for a device.
func (f *AsyncFile) answerCached(op *Op, c *Completion) bool {
	if f.inMemory {
		f.ring.stats.Inline.Add(1)
		c.N, c.Err = f.performInline(op)
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
	f.ring.stats.Inline.Add(1)
	return true
}
