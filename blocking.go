package asyncfile

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// How a call of a File that blocks its caller is carried out where os.File's own does
// not do: on a direct file, or under a deadline.

// fewCalls is up to how many operations in flight on a direct file a blocking
// call makes its system call itself. Measured on a virtio disk and two
// processors, goroutines on one file: up to 4 a thread each is the faster, from 8
// on the Ring is, and it takes half the processor time from 4 on.
const fewCalls = 4

// transferShared carries out an operation on a direct file: on the calling
// goroutine where few others use the file, and through the Ring where many do. On
// a file that can be written it is known to the file in either case, since it may
// share a block with others, or make the file larger.
func (f *AsyncFile) transferShared(op Op) (int, error) {
	users, open := f.core.Enter()
	if !open {
		return 0, f.pathError(op.Kind, fs.ErrClosed)
	}
	defer f.core.Leave()
	few := users <= fewCalls || !f.core.Queues()
	if plain := op.plain(); few && f.core.Simple(&plain) {
		return f.core.CarryOut(&plain)
	}
	future := f.ring.futures.get()
	future.carry(f, op.Kind)
	c := op.call(futureSink{future})
	c.Here = few
	f.core.Submit(&c)
	n, err := future.Wait()
	f.ring.futures.put(future)
	return n, err
}

// maxPrivate is the largest part, in bytes, of a call with a deadline that is
// carried out as one operation.
const maxPrivate = 1 << 20

// transferUntil carries out op in parts, each in a buffer of its own, and no
// longer than until past is closed. A part that is given up goes on, but what
// the kernel then writes or reads is that buffer, never the caller's.
func (f *AsyncFile) transferUntil(op Op, past <-chan struct{}, abandoned *abandonedWrites) (n int, err error) {
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
		if op.Kind.writes() && !abandoned.wait(part.Offset, part.Offset+int64(len(part.Buf)), past) {
			return n, f.givenUp(op.Kind)
		}
		future := f.startUntil(part, past)
		m, err := f.await(future, op.Kind, past)
		if op.Kind.writes() && errors.Is(err, os.ErrDeadlineExceeded) {
			abandoned.add(part.Offset, part.Offset+int64(len(part.Buf)), future)
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
		return !f.core.Closed()
	default:
		return false
	}
}

// givenUp is the error of a call that was given up before it began.
func (f *AsyncFile) givenUp(kind OpKind) error {
	if f.core.Closed() {
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
	c := op.call(futureSink{future})
	c.Past = past
	f.core.Submit(&c)
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
