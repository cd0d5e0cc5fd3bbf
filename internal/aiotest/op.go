package aiotest

import (
	"errors"
	"io"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Verdict is what is to become of an operation: Do, Hold, Short or Fail. The
// zero Verdict is Do.
type Verdict struct {
	kind  verdictKind
	limit int
	errno syscall.Errno
}

type verdictKind int

const (
	verdictDo verdictKind = iota
	verdictHold
	verdictShort
	verdictFail
)

// Do performs the operation before Submit returns.
func Do() Verdict { return Verdict{} }

// Hold keeps the operation until the test ends it: see Await and Held.
func Hold() Verdict { return Verdict{kind: verdictHold} }

// Short performs the operation before Submit returns, but moves at most n bytes.
// With 0 it is what a read at the end of the file does.
func Short(n int) Verdict { return Verdict{kind: verdictShort, limit: n} }

// Fail moves nothing and answers errno, in the event.
func Fail(errno syscall.Errno) Verdict { return Verdict{kind: verdictFail, errno: errno} }

// An Op is an operation that the Kernel has accepted. Complete, Short, Tear
// and Fail end it: the first of them that is called posts its event, the others do
// nothing. Until then the Kernel touches neither buffer nor file. An Op that is
// never ended stays in flight.
type Op struct {
	Opcode aio.Opcode
	FD     int
	Offset int64
	Len    int // bytes asked for, over all buffers, at most aio.MaxTransfer
	Data   uint64
	Index  int // how many were accepted before

	k          *Kernel
	file       File
	bufs       [][]byte
	obj        uint64
	eventFD    int
	hasEventFD bool
	claimed    bool // guarded by k.mu
}

// newOp reads an iocb. It is called with k.mu held.
func newOp(k *Kernel, cb *aio.IOCB) (*Op, error) {
	op := &Op{
		Opcode: cb.Opcode(), FD: cb.FD(), Offset: cb.Offset(), Data: cb.Data(),
		k: k, obj: address(cb),
	}
	op.eventFD, op.hasEventFD = cb.EventFD()
	var known bool
	if op.file, known = k.files[op.FD]; !known {
		op.file = k.others
	}
	if op.file == nil {
		return nil, syscall.EBADF
	}
	switch op.Opcode {
	case aio.OpFsync, aio.OpFdsync:
		if _, ok := op.file.(syncer); !ok {
			return nil, syscall.EINVAL
		}
	case aio.OpPread, aio.OpPwrite, aio.OpPreadv, aio.OpPwritev:
		bufs := cb.Buffers()
		if op.Offset < 0 || len(bufs) > aio.MaxIovecs {
			return nil, syscall.EINVAL
		}
		op.bufs, op.Len = clip(bufs, aio.MaxTransfer)
	default:
		return nil, syscall.EINVAL
	}
	return op, nil
}

type syncer interface{ Sync() error }

func (op *Op) isSync() bool { return op.Opcode == aio.OpFsync || op.Opcode == aio.OpFdsync }

// Complete performs the operation in full now and posts its event. As in the
// real kernel it may still come out short, where the file ends or fails.
func (op *Op) Complete() { op.Short(op.Len) }

// Short performs the operation now, moves at most n bytes and posts its event.
func (op *Op) Short(n int) {
	if op.k.claim(op) {
		op.k.post(op, op.perform(n))
	}
}

// Tear performs the operation now on at most n bytes, and posts an event that carries
// errno all the same: it is what a device does that fails on its way.
func (op *Op) Tear(n int, errno syscall.Errno) {
	if op.k.claim(op) {
		op.perform(n)
		op.k.post(op, -int64(errno))
	}
}

// Fail posts an event that carries errno. Nothing is moved.
func (op *Op) Fail(errno syscall.Errno) {
	if op.k.claim(op) {
		op.k.post(op, -int64(errno))
	}
}

// perform does the operation on at most limit bytes and returns the res of its
// event.
func (op *Op) perform(limit int) int64 {
	var move func(p []byte, off int64) (int, error)
	switch op.Opcode {
	case aio.OpFsync, aio.OpFdsync:
		return result(0, op.file.(syncer).Sync())
	case aio.OpPread, aio.OpPreadv:
		move = unseen(op.file).ReadAt
	default:
		move = unseen(op.file).WriteAt
	}
	bufs, _ := clip(op.bufs, limit)
	done := 0
	for _, p := range bufs {
		n, err := move(p, op.Offset+int64(done))
		done += n
		if err != nil || n < len(p) {
			return result(done, err)
		}
	}
	return result(done, nil)
}

// unseen has f read or written with memory of the test's instead of p where
// the race detector watches: it sees what a goroutine copies, and a device is
// none. That the kernel has p it is told by aio.Loan.
func unseen(f File) File {
	if aio.RaceEnabled {
		return unseenFile{f}
	}
	return f
}

type unseenFile struct{ File }

func (f unseenFile) ReadAt(p []byte, off int64) (int, error) {
	own := make([]byte, len(p))
	n, err := f.File.ReadAt(own, off)
	copyUnseen(p, own[:n])
	return n, err
}

func (f unseenFile) WriteAt(p []byte, off int64) (int, error) {
	own := make([]byte, len(p))
	copyUnseen(own, p)
	return f.File.WriteAt(own, off)
}

// copyUnseen copies byte by byte, since the runtime tells the race detector of
// the copies that it makes.
//
//go:norace
func copyUnseen(dst, src []byte) {
	//lint:ignore S1001 a copy would be seen
	for i := range src {
		dst[i] = src[i]
	}
}

// result is the res of an event for what a File answered. Bytes moved count more
// than the error that ended them, which meets the next operation again: so do
// file systems with ENOSPC. (io.EOF with nothing moved is the 0 of a read
// there.)
func result(done int, err error) int64 {
	if done > 0 || err == nil || errors.Is(err, io.EOF) {
		return int64(done)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != 0 {
		return -int64(errno)
	}
	return -int64(syscall.EIO)
}

// clip cuts a vector down to at most limit bytes and says how many are left.
func clip(bufs [][]byte, limit int) (cut [][]byte, total int) {
	for _, p := range bufs {
		p = p[:max(0, min(len(p), limit-total))]
		if len(p) > 0 {
			cut = append(cut, p)
			total += len(p)
		}
	}
	return cut, total
}
