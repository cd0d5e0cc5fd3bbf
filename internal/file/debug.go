package file

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/order"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// DebugEnv is the environment variable that, set to 1 when a Ring is made, has the
// Ring print the walk of each request, a line a step, to standard error.
const DebugEnv = "ASYNCFILE_DEBUG"

// A tracer prints the walks of one Ring:
//
//	asyncfile 0.000153 0xc00018c000 #2 write 4096+512 5.17: io_submit 1 of 1: pwrite 4096+512
//
// which is the time in seconds since the Ring was made, the Ring, the operation,
// counted from 1, what it is, with offset and length in bytes, and its slot and the
// generation of its last submission, or - before the first: the iocb's aio_data is
// slot + generation<<32. The offset of an append is 0 until it is known.
//
// A line is written at once, by the goroutine that makes the step and under the
// locks that it has. So what a program printed before it crashed is complete and
// in order. Standard error that blocks, such as a pipe that is full, stops the Ring
// until somebody reads it: that may be no goroutine that waits for this Ring.
type tracer struct {
	start time.Time
	ring  string

	mu         sync.Mutex // the last lock to be taken, and held across the write
	out        io.Writer
	line       []byte
	operations uint64
}

func newTracer(r *ring.Ring, out io.Writer) *tracer {
	return &tracer{start: time.Now(), ring: fmt.Sprintf("%p", r), out: out}
}

// print writes one line. What cannot be written is lost.
func (t *tracer) print(who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line = fmt.Appendf(t.line[:0], "asyncfile %.6f %s %s: ", time.Since(t.start).Seconds(), t.ring, who)
	t.line = append(fmt.Appendf(t.line, format, args...), '\n')
	t.out.Write(t.line)
}

// number returns the number of the next operation.
func (t *tracer) number() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.operations++
	return t.operations
}

// walks prints the step of o from a stage to the next.
func (t *tracer) walks(o *operation, from, to ring.Stage, detail string) {
	switch to {
	case ring.StageBegun:
		if from == ring.StageHeld {
			t.print(o.String(), "may go")
			return
		}
		o.seen.number = t.number()
		t.print(o.String(), "begun, on %s", o.file.name)
	case ring.StageHeld:
		ahead, writes := o.file.sequence.order.Behind(&o.entry)
		t.print(o.String(), "waits in sequence behind %s", aheadNames(ahead, writes))
	case ring.StageQueued:
		t.print(o.String(), "to a worker, to %s", detail)
	case ring.StageReaped:
		t.print(o.String(), "event %s", detail)
	case ring.StageEnded:
		t.print(o.String(), "ended %s", outcomeName(o.done, o.err))
	case ring.StageFree: // and may be someone else's when the outcome is delivered
	case ring.StageEntering:
		t.print(o.String(), "io_submit %s", detail)
	default:
		t.print(o.String(), "%v%s", to, detail)
	}
}

// short prints that a transfer moved n bytes, and goes on.
func (t *tracer) short(o *operation, n int) {
	t.print(o.String(), "short, %d of %d, and continued", n, o.slot.Plan.Asked)
}

// delivers prints that the outcome is about to be delivered, by a request whose
// slot may serve another by now.
func (t *tracer) delivers(o *operation) { t.print(o.seen.last, "delivered") }

// answered prints an operation that was answered on the spot.
func (t *tracer) answered(c *Call, result *Outcome) {
	t.print(operationName(t.number(), c.Op.Kind, c.Op.Offset, c.Op.size()), "answered %s", outcomeName(result.N, result.Err))
}

// String implements ring.Client.
func (o *operation) String() string {
	return operationName(o.seen.number, o.op.Kind, o.op.Offset, int64(o.want)) + " " + o.slot.Submission()
}

func operationName(number uint64, kind Kind, off, want int64) string {
	if kind.Syncs() {
		return fmt.Sprintf("#%d %v", number, kind)
	}
	return fmt.Sprintf("#%d %v %d+%d", number, kind, off, want)
}

// outcomeName names a number of bytes, with why they are fewer than asked.
func outcomeName(n int, err error) string {
	if err != nil {
		return fmt.Sprintf("%d, %v", n, err)
	}
	return fmt.Sprint(n)
}

// aheadNames names what an entry is behind. Called with sequence.mu held, as turnName.
func aheadNames(ahead []*order.Entry[turn], writes int) string {
	switch n := len(ahead); n {
	case 0:
		return fmt.Sprintf("writes: %d are not delivered", writes)
	case 1:
		return turnName(ahead[0].Of)
	default:
		return fmt.Sprintf("%s and %d more", turnName(ahead[0].Of), n-1)
	}
}

// turnName names what is in a sequence. Of a request it reads only what does not
// change while that is there.
func turnName(t turn) string {
	switch t := t.(type) {
	case *operation:
		return fmt.Sprintf("#%d %v", t.seen.number, t.op.Kind)
	case *extension:
		return "an extension of the file"
	case *cutBack:
		return fmt.Sprintf("the undoing of the extension for #%d %v", t.o.seen.number, t.o.op.Kind)
	}
	return "a change of the file's size"
}
