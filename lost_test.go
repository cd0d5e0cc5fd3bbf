package asyncfile

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
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
	f.align = aio.Alignment{Memory: 512, Offset: 512, ReadOffset: 512}
	s.hold()
	futures = f.Submit(ops...)
	return f, futures, s.kernel.Await(len(ops))
}

// die has io_getevents fail, and io_destroy be refused.
func (s *scripted) die() {
	s.lost = true
	s.kernel.OnDestroy(func() error { return syscall.EPERM })
	s.failing(closedChan)
	if s.ring.eventfd != nil {
		s.ring.eventfd.Signal() // have it look
	}
}

// wantLost checks that what was in flight ends with an error that says so.
func (s *scripted) wantLost(futures []*Future, f *AsyncFile, ops []Op) {
	s.Helper()
	for i, future := range futures {
		s.wantError(future, f, ops[i].Kind.errorOp(), 0, ErrBufferLost)
		s.wantError(future, f, ops[i].Kind.errorOp(), 0, syscall.EPERM) // and why
	}
}

// kept returns where each buffer begins that the Ring has lost.
func (s *scripted) kept() (list []*byte) {
	s.ring.mu.Lock()
	defer s.ring.mu.Unlock()
	if s.ring.lost == nil {
		return nil
	}
	for _, p := range s.ring.lost.bufs {
		if len(p) > 0 {
			list = append(list, first(p))
		}
	}
	for _, v := range s.ring.lost.iovecs {
		list = append(list, v.Base)
	}
	return list
}

// eachDeath is eachWait for the kinds whose completer calls io_getevents.
func eachDeath(t *testing.T, depth int, test func(s *scripted)) {
	eachWait(t, depth, func(s *scripted) {
		if s.ring.eventfd != nil && s.kernel.Mapped() {
			s.Skip("does not call io_getevents")
		}
		test(s)
	})
}

// What the kernel has and does not give back is told to be lost, and stays where
// it is: the kernel may still write there.
func TestLostBuffersAreKept(t *testing.T) {
	eachDeath(t, 10, func(s *scripted) {
		s.ring.bounces.verifier = newVerifier()
		ops := lostOps()
		f, futures, held := s.holdAll(ops)
		s.ring.mu.Lock()
		var want []*byte
		for _, q := range s.ring.requests {
			for _, v := range q.plan.iovecs {
				want = append(want, v.Base)
			}
			if len(q.plan.buf) > 0 {
				want = append(want, first(q.plan.buf))
			}
		}
		s.ring.mu.Unlock()
		s.die()
		s.wantLost(futures, f, ops)
		kept := s.kept()
		for i, p := range want {
			if !slices.Contains(kept, p) {
				s.Errorf("buffer %d of %d is not kept", i, len(want))
			}
		}
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
		for class := range bounceClasses {
			for {
				idle, ok := s.ring.bounces.idle[class].Get().(*byte)
				if !ok {
					break
				}
				if b := aio.Bytes(idle, bufferAlign<<class); !bytes.Equal(b, canaries(len(b))) {
					s.Errorf("an idle bounce buffer of %d bytes is one that the kernel has", len(b))
				}
			}
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

// What is lost outlives the Ring. A buffer beside it that is not lost shows when
// the collector has been everywhere.
func TestLostMemoryStays(t *testing.T) {
	newBuffer := func(gone *atomic.Bool) []byte {
		p := AlignedBuffer(4096)
		runtime.AddCleanup(&p[0], func(int) { gone.Store(true) }, 0)
		return p
	}
	var goneBuf, gonePart atomic.Bool
	func() {
		r := new(Ring)
		r.lose(&request{plan: plan{buf: newBuffer(&goneBuf)}})
		r.lose(&request{plan: plan{iovecs: []aio.Iovec{aio.MakeIovec(make([]byte, 1)), aio.MakeIovec(newBuffer(&gonePart))}}})
	}()
	for range 5 { // a finalizer takes a cycle of its own
		var gone atomic.Bool
		newBuffer(&gone)
		for !gone.Load() {
			runtime.GC()
		}
	}
	if goneBuf.Load() || gonePart.Load() {
		t.Errorf("collected: the buffer %v, one of several %v", goneBuf.Load(), gonePart.Load())
	}
}
