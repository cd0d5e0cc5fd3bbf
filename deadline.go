package asyncfile

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// A deadline is a moment that can be moved while calls wait for it. The zero
// deadline never comes. It is safe for concurrent use.
type deadline struct {
	set atomic.Bool // for who has none to pay no more than this look

	mu    sync.Mutex
	timer *time.Timer
	past  chan struct{} // closed when the deadline has come; another after each move beyond it
}

// move sets the deadline to t; the zero time takes it away.
func (d *deadline) move(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.past // it has fired: let it finish before the channel is replaced
	}
	d.timer = nil
	if d.past == nil || d.isPast() {
		d.past = make(chan struct{})
	}
	d.set.Store(!t.IsZero())
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(d.past)
	default:
		past := d.past
		d.timer = time.AfterFunc(wait, func() { close(past) })
	}
}

func (d *deadline) isPast() bool {
	select {
	case <-d.past:
		return true
	default:
		return false
	}
}

// wait returns a channel that is closed when the deadline comes, and nil where
// there is none. A call that waits on it sees the deadline move, and sees it
// taken away as one that never comes.
func (d *deadline) wait() <-chan struct{} {
	if !d.set.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}

// maxPrivate is the largest part, in bytes, of a call with a deadline that is
// carried out as one operation.
const maxPrivate = 1 << 20

// transferUntil carries out op in parts, each in a buffer of its own, and no
// longer than until past is closed. A part that is given up goes on, but what
// the kernel then writes or reads is that buffer, never the caller's.
func (f *AsyncFile) transferUntil(op Op, past <-chan struct{}) (n int, err error) {
	for {
		if f.late(past) {
			return n, f.pathError(op.Kind, os.ErrDeadlineExceeded)
		}
		part := op
		p := op.Buf[n:]
		p = p[:min(len(p), maxPrivate)]
		part.Buf = AlignedBuffer(len(p))
		part.Offset = op.Offset + int64(n)
		callers, fault := vec.Bytes(p), error(nil)
		if op.Kind.writes() {
			var copied int
			if copied, fault = callers.Gather(part.Buf); fault != nil && copied == 0 {
				return n, f.pathError(op.Kind, fault)
			}
			part.Buf = part.Buf[:copied] // and what is behind a fault the next part finds
		}
		if op.Kind.writes() && !f.view.abandoned.wait(part.Offset, part.Offset+int64(len(part.Buf)), past) {
			return n, f.timeout(op.Kind)
		}
		future := f.startUntil(part, past)
		m, err := f.await(future, op.Kind, past)
		if op.Kind.writes() && errors.Is(err, os.ErrDeadlineExceeded) {
			f.view.abandoned.add(part.Offset, part.Offset+int64(len(part.Buf)), future)
		}
		if !op.Kind.writes() {
			if m, fault = callers.Scatter(part.Buf[:m]); fault != nil {
				err = f.pathError(op.Kind, fault)
			}
		}
		if n += m; err != nil || n == len(op.Buf) {
			return n, err
		}
	}
}

// late reports whether past is closed, so that nothing is to be begun any more.
// On a closed file it is not: fs.ErrClosed comes first, as for os.File.
func (f *AsyncFile) late(past <-chan struct{}) bool {
	select {
	case <-past:
		return f.users.Load() >= 0
	default:
		return false
	}
}

// timeout is the error of a call that was given up before it began.
func (f *AsyncFile) timeout(kind OpKind) error {
	if f.users.Load() < 0 {
		return f.pathError(kind, fs.ErrClosed)
	}
	return f.pathError(kind, os.ErrDeadlineExceeded)
}

// await waits for a future, no longer than until past is closed.
func (f *AsyncFile) await(future *Future, kind OpKind, past <-chan struct{}) (int, error) {
	select {
	case <-future.Done():
	case <-past:
		if _, _, ok := future.Result(); !ok {
			return 0, f.pathError(kind, os.ErrDeadlineExceeded)
		}
	}
	return future.Wait()
}

// startUntil is start for a caller that may not wait for anything beyond past.
func (f *AsyncFile) startUntil(op Op, past <-chan struct{}) *Future {
	future := f.newFuture(op.Kind)
	f.submit(&call{op: op, to: future, past: past})
	return future
}

// abandonedWrites are writes that were given up and may still be on their way. What is
// written later to the same place waits for them, and so is not undone by them.
type abandonedWrites struct {
	some atomic.Bool // for who has none to pay no more than this look

	mu   sync.Mutex
	list []abandonedWrite
}

type abandonedWrite struct {
	from, to int64 // in the file
	op       *Future
}

// add notes a write of the bytes from up to to.
func (l *abandonedWrites) add(from, to int64, op *Future) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, abandonedWrite{from, to, op})
	l.some.Store(true)
}

// wait waits for those that touch the bytes from up to to, and reports false where
// past was closed first.
func (l *abandonedWrites) wait(from, to int64, past <-chan struct{}) bool {
	for l.some.Load() {
		op := l.first(from, to)
		if op == nil {
			return true
		}
		select {
		case <-op.Done():
		case <-past:
			return false
		}
	}
	return true
}

// first forgets the writes that have ended, and returns the first of the others
// that touches the bytes from up to to.
func (l *abandonedWrites) first(from, to int64) (op *Future) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(w abandonedWrite) bool { return w.op.resolved.Load() })
	l.some.Store(len(l.list) > 0)
	for _, w := range l.list {
		if w.from < to && from < w.to {
			return w.op
		}
	}
	return nil
}
