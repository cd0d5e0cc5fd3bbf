package ring

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// What is in flight when io_getevents fails ends with that error; and where
// io_destroy is refused, too, the memory of its plan is kept.
func TestContextDies(t *testing.T) {
	for _, refused := range []error{nil, syscall.EPERM} {
		inRig(t, 4, func(r *rig) {
			r.aborted, r.closed = true, true
			plain, vectored, pending := r.newReading(10), r.newReading(20), r.newReading(30)
			bufs := [][]byte{make([]byte, 5), make([]byte, 15)}
			p := &vectored.request.Load().Plan
			p.Opcode, p.Buf = aio.OpPreadv, nil
			for _, b := range bufs {
				p.Iovecs = append(p.Iovecs, aio.MakeIovec(b))
			}
			var list Requests
			list.Push(plain.request.Load())
			list.Push(vectored.request.Load())
			r.lane.Push(list, Promptly)
			synctest.Wait()
			r.kernel.Allow(aiotest.Drained) // the real io_destroy waits
			r.kernel.OnGetEvents(func(int) (int, error) { return 0, syscall.ENOSYS })
			if refused != nil {
				r.kernel.OnDestroy(func() error { return refused })
			}
			plain.ask()
			for _, c := range []*reading{plain, vectored} {
				<-c.told
				if !errors.Is(c.err, syscall.ENOSYS) || errors.Is(c.err, ErrBufferLost) != (refused != nil) {
					r.Errorf("ended with %v", c.err)
				}
			}
			pending.push(Promptly)
			<-pending.told
			if !errors.Is(pending.err, syscall.ENOSYS) || errors.Is(pending.err, ErrBufferLost) {
				r.Errorf("what the kernel has never had ended with %v", pending.err)
			}
			var kept, want []*byte
			if refused != nil {
				want = []*byte{&plain.buf[0], &bufs[0][0], &bufs[1][0]}
			}
			for _, b := range r.keptMemory().bufs {
				if len(b) > 0 {
					kept = append(kept, &b[0])
				}
			}
			for _, v := range r.keptMemory().iovecs {
				kept = append(kept, v.Base)
			}
			if !slices.Equal(kept, want) {
				r.Errorf("kept %p, want %p", kept, want)
			}
			if err := r.Close(); err != nil {
				r.Errorf("Close = %v", err)
			}
			if r.kernel.Counts().Destroyed == (refused != nil) {
				r.Errorf("destroyed: %v", refused == nil)
			}
		})
	}
}

// keptMemory returns what the Ring has lost.
func (r *rig) keptMemory() (l lostMemory) {
	r.locked(func() {
		if r.lost != nil {
			l = *r.lost
		}
	})
	return l
}

// What is lost outlives the Ring. A buffer beside it that is not lost shows when
// the collector has been everywhere.
func TestLostMemoryStays(t *testing.T) {
	newBuffer := func(gone *atomic.Bool) []byte {
		p := make([]byte, 4096)
		runtime.AddCleanup(&p[0], func(int) { gone.Store(true) }, 0)
		return p
	}
	var goneBuf, gonePart atomic.Bool
	func() {
		r := new(Ring)
		r.lose(&Request{Plan: Plan{Buf: newBuffer(&goneBuf)}})
		r.lose(&Request{Plan: Plan{Iovecs: []aio.Iovec{aio.MakeIovec(make([]byte, 1)), aio.MakeIovec(newBuffer(&gonePart))}}})
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
