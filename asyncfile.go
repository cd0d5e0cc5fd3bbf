package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// An AsyncFile is an open file whose reads and writes return at once, with a
// Future. Its methods are safe for concurrent use.
//
// From the call until the Future's Done the buffer belongs to the kernel: do
// not write it, nor, for a read, read it. Operations in flight together complete
// in any order.
//
// Results are those of the same call on an os.File: n less than asked means an
// error, which is io.EOF, bare, at the end of the file, and otherwise a
// *fs.PathError with the operation, the path, and a syscall.Errno that answers
// errors.Is. After Close, and after the Close of its Ring, it holds fs.ErrClosed.
//
// A nil AsyncFile, such as Open returns beside an error, answers os.ErrInvalid as
// a nil os.File does, in a Future where the method returns one, and zero values
// where no error is returned.
type AsyncFile struct {
	core *file.Handle // the open file; nil for an AsyncFile that nothing made
	ring *Ring

	reason       error // why it is not on native AIO
	directReason error // why it is not direct, where that was preferred

	gatherings sync.Pool // of *gathering, for the next ReadMany

	unflushed atomic.Int64 // bytes that Writers took and nobody knows to be in the file

	view File // what File returns
}

// opened reports whether f is neither nil nor the zero AsyncFile.
func (f *AsyncFile) opened() bool { return f != nil && f.core != nil }

// Backend returns what the file runs on: BackendAIO or BackendPool.
func (f *AsyncFile) Backend() Backend {
	switch {
	case !f.opened():
		return BackendAuto
	case f.core.OnKernel:
		return BackendAIO
	}
	return BackendPool
}

// Ring returns what carries out the file's operations, for its Stats: the Ring of
// WithRing, the file's own, or the one that files share which name none. Only
// a Ring of NewRing can be closed, or given to other files with WithRing.
func (f *AsyncFile) Ring() *Ring {
	if f == nil {
		return nil
	}
	return f.ring
}

// Reason returns why the file is on the pool, and nil where it is on native AIO. It is
// for people to read: that the file is buffered, and what to pass; what BackendPool was
// asked by; that it is a pipe; or what Ring.Reason says, where BackendAuto looked for
// native AIO and there is none.
func (f *AsyncFile) Reason() error {
	if !f.opened() {
		return os.ErrInvalid
	}
	return f.reason
}

// Direct reports whether the file bypasses the page cache.
func (f *AsyncFile) Direct() bool { return f.opened() && f.core.Direct }

// DirectReason returns why the file is buffered although DirectPrefer asked for
// O_DIRECT, and nil where it is not so.
func (f *AsyncFile) DirectReason() error {
	if !f.opened() {
		return os.ErrInvalid
	}
	return f.directReason
}

// ReadAt reads len(p) bytes into p from offset off, in bytes.
func (f *AsyncFile) ReadAt(p []byte, off int64) *Future {
	return f.start(Op{Kind: OpRead, Buf: p, Offset: off})
}

// WriteAt writes p at offset off, in bytes. On a file opened with O_APPEND it
// is refused as os.File refuses it: use Append.
func (f *AsyncFile) WriteAt(p []byte, off int64) *Future {
	return f.start(Op{Kind: OpWrite, Buf: p, Offset: off})
}

// ReadvAt reads from offset off, in bytes, into bufs, one after the other: one
// operation of any number of buffers. bufs itself may be reused at once.
func (f *AsyncFile) ReadvAt(bufs [][]byte, off int64) *Future {
	return f.start(Op{Kind: OpReadv, Bufs: bufs, Offset: off})
}

// WritevAt writes bufs, one after the other, at offset off, in bytes: one
// operation of any number of buffers. bufs itself may be reused at once.
func (f *AsyncFile) WritevAt(bufs [][]byte, off int64) *Future {
	return f.start(Op{Kind: OpWritev, Bufs: bufs, Offset: off})
}

// Append writes p at the end of the file, behind everything that was appended
// before. Future.Offset tells where. The end is where the file, and the writes
// in flight through this AsyncFile, end at the time of the call; so an Append
// that fails can leave a hole before the next. On a file opened with O_APPEND
// each write goes where the file ends then, other processes' writes included,
// and they take turns.
func (f *AsyncFile) Append(p []byte) *Future {
	return f.start(Op{Kind: OpAppend, Buf: p})
}

// Sync commits the file to stable storage, with fsync(2). It is a barrier: it
// covers every write that was submitted through this AsyncFile before it, which
// it waits for. Whether those writes succeeded, their own Futures tell.
func (f *AsyncFile) Sync() *Future { return f.start(Op{Kind: OpSync}) }

// Datasync is Sync with fdatasync(2): it commits the data, and of the metadata
// only what is needed to read it back. Where there is no such call it is Sync.
func (f *AsyncFile) Datasync() *Future { return f.start(Op{Kind: OpDatasync}) }

// Submit begins many operations, and returns their Futures in the same order. They
// go to the kernel together, up to 64 with one io_submit, as far as the queue has
// room.
func (f *AsyncFile) Submit(ops ...Op) []*Future {
	futures := make([]*Future, len(ops))
	for i := range futures {
		futures[i] = f.newFuture(ops[i].Kind)
	}
	if !f.opened() {
		for _, future := range futures {
			future.resolve(0, os.ErrInvalid, 0)
		}
		return futures
	}
	var batch ring.Requests
	for i := range ops {
		c := ops[i].call(futureSink{futures[i]})
		f.core.Begin(&c, &batch)
	}
	f.core.Lane.Push(batch, ring.Lazily)
	return futures
}

// newFuture returns a Future of an operation of such a kind on f.
func (f *AsyncFile) newFuture(kind OpKind) *Future {
	future := newFuture()
	if f.opened() {
		future.carry(f, kind)
	}
	return future
}

// A futureSink is a Future as what a file tells the outcome of an operation.
type futureSink struct{ f *Future }

// Follow implements file.Sink.
func (s futureSink) Follow(q *ring.Request) { s.f.request.Store(q) }

// Deliver implements file.Sink.
func (s futureSink) Deliver(o file.Outcome) { s.f.resolve(o.N, o.Err, o.Offset) }

// carry makes the Future that of an operation of such a kind on file.
func (f *Future) carry(of *AsyncFile, kind OpKind) {
	if of.core.OnKernel {
		f.lane, f.writes = of.core.Lane, kind != OpRead && kind != OpReadv
	}
}

func (f *AsyncFile) start(op Op) *Future {
	future := f.newFuture(op.Kind)
	if !f.opened() {
		future.resolve(0, os.ErrInvalid, 0)
		return future
	}
	c := op.call(futureSink{future})
	f.core.Submit(&c)
	return future
}

// Close refuses new operations, waits for those in flight, and closes the file.
// Every Future is done when it returns. A second Close returns fs.ErrClosed. An
// Append to a pipe ends when its reader takes it or goes away. Where a Writer has
// taken bytes that were not flushed the file is closed all the same, and the
// error answers errors.Is for ErrUnflushed.
func (f *AsyncFile) Close() error {
	if !f.opened() {
		return os.ErrInvalid
	}
	if !f.core.Shut() {
		return &fs.PathError{Op: "close", Path: f.core.Name(), Err: fs.ErrClosed}
	}
	return file.Joined(f.core.Close(), f.lost())
}

// ErrUnflushed is in the error of AsyncFile.Close where a Writer was not closed
// before: its last blocks were never written, or nobody has looked whether they were.
var ErrUnflushed = errors.New("asyncfile: a Writer was neither flushed nor closed before its file")

// lost returns the error of a file that is closed before its Writers.
func (f *AsyncFile) lost() error {
	n := f.unflushed.Load()
	if n == 0 {
		return nil
	}
	return &fs.PathError{Op: "close", Path: f.core.Name(), Err: fmt.Errorf("%d bytes may not be in the file: %w", n, ErrUnflushed)}
}

// Name returns the name of the file as it was given to Open.
func (f *AsyncFile) Name() string {
	if !f.opened() {
		return ""
	}
	return f.core.Name()
}

// Stat returns what os.File.Stat does.
func (f *AsyncFile) Stat() (os.FileInfo, error) { return f.os().Stat() }

// os returns the os.File beneath, nil for a nil AsyncFile.
func (f *AsyncFile) os() *os.File {
	if !f.opened() {
		return nil
	}
	return f.core.OS()
}

// pathError wraps err as os.File does.
func (f *AsyncFile) pathError(kind OpKind, err error) error {
	return f.core.PathError(file.Kind(kind), err)
}

// Fd returns the file descriptor, as os.File.Fd does.
func (f *AsyncFile) Fd() uintptr { return f.os().Fd() }

// SyscallConn returns a raw file, as os.File.SyscallConn does: its Control keeps
// the descriptor valid for as long as it runs.
func (f *AsyncFile) SyscallConn() (syscall.RawConn, error) { return f.os().SyscallConn() }
