package asyncfile

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// lostOps are operations each of which leaves other memory with the kernel: the
// caller's, one buffer or many, or a bounce buffer.
func lostOps() []Op {
	odd := func(n int) []byte { return AlignedBuffer(n + 1)[1:] }
	return []Op{
		{Kind: OpRead, Buf: AlignedBuffer(512), Offset: 512},
		{Kind: OpReadv, Bufs: [][]byte{AlignedBuffer(512), AlignedBuffer(512)}, Offset: 1024},
		{Kind: OpRead, Buf: odd(100), Offset: 1500},
		{Kind: OpRead, Buf: odd(70_000), Offset: 0}, // of another pool
		{Kind: OpWrite, Buf: odd(512), Offset: 2048},
		{Kind: OpReadv, Bufs: [][]byte{odd(5), odd(300)}, Offset: 2560},
	}
}

// holdAll has every operation of ops in flight on a direct file, and returns the
// file, their Futures, and what the kernel holds.
func (s *scripted) holdAll(ops []Op) (f *AsyncFile, futures []*Future, held []*aiotest.Op) {
	s.Helper()
	f = s.openOwn(s.mem)
	f.core.Align = aio.Alignment{Memory: 512, Offset: 512, ReadOffset: 512}
	s.hold()
	futures = f.Submit(ops...)
	return f, futures, s.kernel.Await(len(ops))
}

// die has io_getevents fail, and io_destroy be refused.
func (s *scripted) die() {
	s.lost = true
	s.kernel.OnDestroy(func() error { return syscall.EPERM })
	s.failing(closedChan)
	if s.eventfd != nil {
		s.eventfd.Signal() // have it look
	}
}

// wantLost checks that what was in flight ends with an error that says so.
func (s *scripted) wantLost(futures []*Future, f *AsyncFile, ops []Op) {
	s.Helper()
	for i, future := range futures {
		s.wantError(future, f, file.Kind(ops[i].Kind).ErrorOp(), 0, ErrBufferLost)
		s.wantError(future, f, file.Kind(ops[i].Kind).ErrorOp(), 0, syscall.EPERM) // and why
	}
}

// eachDeath is eachWait for the kinds whose completer calls io_getevents.
func eachDeath(t *testing.T, depth int, test func(s *scripted)) {
	eachWait(t, depth, func(s *scripted) {
		if s.eventfd != nil && s.kernel.Mapped() {
			s.Skip("does not call io_getevents")
		}
		test(s)
	})
}

// What the kernel has and does not give back is told to be lost, and goes to no pool:
// the kernel may still write there.
func TestLostBuffersAreNotUsedAgain(t *testing.T) {
	eachDeath(t, 10, func(s *scripted) {
		s.ring.files.Verify(func(message string) { panic(message) })
		ops := lostOps()
		f, futures, held := s.holdAll(ops)
		s.die()
		s.wantLost(futures, f, ops)
		// Others fail, but they lose nothing: the kernel has never had them.
		for range 30 {
			_, err := f.ReadAt(make([]byte, 100), 7).Wait()
			if !errors.Is(err, syscall.EPERM) || errors.Is(err, ErrBufferLost) {
				s.Fatalf("an operation that comes later = %v", err)
			}
		}
		// The kernel writes now, and none of that may be where a pool is.
		for _, op := range held {
			op.Complete()
		}
		for _, op := range ops { // who takes a buffer of a pool looks at it
			f.Submit(op)[0].Wait()
		}
		if !bytes.Equal(ops[0].Buf, patternBytes(4096, 1)[512:1024]) {
			s.Error("the kernel did not write after all: this test shows nothing")
		}
	})
}

// Where every slot is lost, who waits for one does not wait for ever, nor who
// comes then.
func TestLostSlotsDoNotHang(t *testing.T) {
	ops := lostOps()
	eachDeath(t, len(ops), func(s *scripted) {
		more := make(chan *Future, 1)
		f, futures, _ := s.holdAll(ops)
		go func() { more <- f.ReadAt(make([]byte, 512), 0) }()
		s.die()
		s.wantLost(futures, f, ops)
		s.wantError(<-more, f, "read", 0, syscall.EPERM)
		for range 3 {
			s.wantError(f.ReadAt(make([]byte, 512), 0), f, "read", 0, syscall.EPERM)
			s.wantError(f.WriteAt(AlignedBuffer(512), 0), f, "write", 0, syscall.EPERM)
			s.wantError(f.Sync(), f, "sync", 0, syscall.EPERM)
		}
		if err := f.Close(); err != nil {
			s.Errorf("Close of the file: %v", err)
		}
		if err := s.close(); err != nil && !errors.Is(err, syscall.EPERM) {
			s.Errorf("Close of the Ring: %v", err)
		}
	})
}
