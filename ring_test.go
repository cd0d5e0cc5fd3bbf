package asyncfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// starting returns a kernel for a Ring whose start is what is tested.
func starting(depth int) *aiotest.Kernel {
	k := aiotest.New(depth)
	k.AttachAny(aiotest.NewMem(nil))
	return k
}

func TestStartHalvesTheDepth(t *testing.T) {
	for _, test := range []struct {
		asked, room int
		tried       []int // the last is what it came to, if there is room
	}{
		{100, 100, []int{100}},
		{100, 30, []int{100, 50, 25}},
		{100, 8, []int{100, 50, 25, 12, 8}},
		{100, 7, []int{100, 50, 25, 12, 8}},
		{8, 0, []int{8}},
		{5, 5, []int{5}},
		{5, 4, []int{5}}, // below the floor there is nothing to halve
	} {
		var tried []int
		setup := func(depth int) (aio.Context, error) {
			tried = append(tried, depth)
			if depth > test.room {
				return nil, syscall.EAGAIN
			}
			return starting(depth), nil
		}
		r, err := NewRing(withSetup(setup), WithBackend(BackendAIO), WithQueueDepth(test.asked))
		if !slices.Equal(tried, test.tried) {
			t.Errorf("asked %d, room for %d: tried %v, want %v", test.asked, test.room, tried, test.tried)
		}
		last := test.tried[len(test.tried)-1]
		if last > test.room {
			if !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("asked %d, room for %d: %v, want EAGAIN", test.asked, test.room, err)
			}
			for _, text := range []string{
				fmt.Sprintf("of %d requests", test.asked), fmt.Sprintf("nor of %d ", last),
				"aio-nr", "aio-max-nr", "WithQueueDepth", "io_setup",
			} {
				if err != nil && !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			if nr, limit, e := aio.Limits(); e == nil && nr >= 0 && !strings.Contains(err.Error(), fmt.Sprint(limit)) {
				t.Errorf("%q does not say what fs.aio-max-nr is", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.Depth() != last || r.Backend() != BackendAIO || r.Reason() != nil {
			t.Errorf("Depth %d, Backend %v, Reason %v", r.Depth(), r.Backend(), r.Reason())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Why there is no native AIO: an error of BackendAIO, the Reason of BackendAuto.
func TestStartWithoutAIO(t *testing.T) {
	t.Setenv("ASYNCFILE_BACKEND", "")
	fails := func(errno syscall.Errno) func(int) (aio.Context, error) {
		return func(int) (aio.Context, error) { return nil, errno }
	}
	// tried is a context that is made, and found not to work.
	tried := func(script func(k *aiotest.Kernel)) func(int) (aio.Context, error) {
		return func(depth int) (aio.Context, error) {
			k := starting(depth)
			script(k)
			t.Cleanup(func() {
				if c := k.Counts(); !c.Destroyed || len(k.Violations()) > 0 {
					t.Errorf("destroyed %v, violations %q", c.Destroyed, k.Violations())
				}
			})
			return k, nil
		}
	}
	for _, test := range []struct {
		name  string
		setup func(int) (aio.Context, error)
		is    []error
		text  []string
	}{
		{"no room", fails(syscall.EAGAIN), []error{syscall.EAGAIN}, []string{"aio-max-nr", "io_setup"}},
		{"no such call", fails(syscall.ENOSYS), []error{syscall.ENOSYS, errors.ErrUnsupported}, []string{"no native AIO", "io_setup"}},
		{"forbidden", fails(syscall.EPERM), []error{syscall.EPERM, fs.ErrPermission}, []string{"forbidden", "io_setup"}},
		{"no memory", fails(syscall.ENOMEM), []error{syscall.ENOMEM}, []string{"queue of 40 requests", "io_setup"}},
		{"io_submit forbidden", tried(func(k *aiotest.Kernel) {
			k.OnSubmit(func(int, int) (int, error) { return 0, syscall.EPERM })
		}), []error{syscall.EPERM, fs.ErrPermission}, []string{"does not work here", "io_submit"}},
		{"io_getevents forbidden", tried(func(k *aiotest.Kernel) {
			k.OnGetEvents(func(int) (int, error) { return 0, syscall.EPERM })
			k.Allow(aiotest.Drained)
		}), []error{syscall.EPERM, fs.ErrPermission}, []string{"does not work here", "io_getevents"}},
		{"never completes", tried(func(k *aiotest.Kernel) {
			k.OnOp(func(*aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
			k.Allow(aiotest.Drained)
		}), nil, []string{"did not complete"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := []Option{withSetup(test.setup), WithQueueDepth(40)}
				check := func(err error) {
					t.Helper()
					if err == nil {
						t.Fatal("no error")
					}
					for _, target := range test.is {
						if !errors.Is(err, target) {
							t.Errorf("%v is not %v", err, target)
						}
					}
					for _, text := range test.text {
						if !strings.Contains(err.Error(), text) {
							t.Errorf("%q does not say %q", err, text)
						}
					}
				}
				r, err := NewRing(append(opts, WithBackend(BackendAIO))...)
				check(err)
				if r != nil {
					t.Error("a Ring beside the error")
				}
				r, err = NewRing(opts...)
				if err != nil {
					t.Fatalf("BackendAuto: %v", err)
				}
				check(r.Reason())
				if r.Backend() != BackendPool || r.Depth() != 40 {
					t.Errorf("Backend %v, Depth %d", r.Backend(), r.Depth())
				}
				f, err := Create(filepath.Join(t.TempDir(), "file"), WithRing(r))
				if err != nil {
					t.Fatal(err)
				}
				if n, err := f.WriteAt([]byte("on the pool"), 0).Wait(); n != 11 || err != nil {
					t.Errorf("WriteAt = %d, %v", n, err)
				}
				if f.Backend() != BackendPool || f.Close() != nil || r.Close() != nil {
					t.Error("the pool does not work")
				}
				if err := r.Close(); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("second Close: %v", err)
				}
			})
		})
	}
}

func TestStartRepeatsWhatWasInterrupted(t *testing.T) {
	k := starting(4)
	k.OnGetEvents(func(call int) (int, error) {
		if call < 3 {
			return 0, syscall.EINTR
		}
		return -1, nil
	})
	r, err := NewRing(onKernel(k), WithBackend(BackendAIO))
	if err != nil {
		t.Fatal(err)
	}
	if c := k.Counts(); c.GetEvents != 4 || c.InFlight != 0 {
		t.Errorf("%+v", c)
	}
	if err := r.Close(); err != nil || len(k.Violations()) > 0 {
		t.Errorf("Close = %v, violations %q", err, k.Violations())
	}
}

func TestStartRefusesOptions(t *testing.T) {
	if r, err := NewRing(WithQueueDepth(0)); r != nil || !errors.Is(err, os.ErrInvalid) {
		t.Errorf("= %v, %v", r, err)
	}
}

// Where no descriptor is left the context cannot be tried, which says nothing
// against it; an eventfd cannot be made, which does.
func TestStartWithoutDescriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		k := starting(4)
		r, err := NewRing(onKernel(k), WithBackend(BackendAIO), WithWaitMode(WaitEventFD))
		if r != nil || !errors.Is(err, errors.ErrUnsupported) || !k.Counts().Destroyed {
			t.Errorf("= %v, %v, destroyed %v", r, err, k.Counts().Destroyed)
		}
		return
	}
	t.Setenv("ASYNCFILE_BACKEND", "")
	inChild(t, func(t *testing.T) {
		var open []*os.File
		defer func() {
			for _, f := range open {
				f.Close()
			}
		}()
		for {
			f, err := os.Open(os.DevNull)
			if errors.Is(err, syscall.EMFILE) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			open = append(open, f)
		}
		k := starting(4)
		r, err := NewRing(onKernel(k), WithBackend(BackendAIO))
		if err != nil || k.Counts().Submits != 0 {
			t.Fatalf("= %v after %d io_submit", err, k.Counts().Submits)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		k = starting(4)
		r, err = NewRing(onKernel(k), WithBackend(BackendAIO), WithWaitMode(WaitEventFD))
		if r != nil || !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "WaitEventFD") {
			t.Errorf("= %v, %v", r, err)
		}
		if !k.Counts().Destroyed || len(k.Violations()) > 0 {
			t.Errorf("destroyed %v, violations %q", k.Counts().Destroyed, k.Violations())
		}
		r, err = NewRing(onKernel(starting(4)), WithWaitMode(WaitEventFD))
		if err != nil || r.Backend() != BackendPool || !errors.Is(r.Reason(), syscall.EMFILE) {
			t.Fatalf("BackendAuto: %v", err)
		}
		r.Close()
	}, "sh", "-c", `ulimit -n 40 && exec "$0" "$@"`)
}

func TestCompletionInAnyOrder(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		for _, order := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7}, {7, 6, 5, 4, 3, 2, 1, 0}, {3, 0, 7, 1, 6, 2, 5, 4}} {
			for _, f := range s.routes() {
				s.hold()
				ops := readOps(8, 50)
				futures := f.Submit(ops...)
				byOffset := map[int64]*aiotest.Op{} // workers submit in any order
				for _, op := range s.kernel.Await(8) {
					byOffset[op.Offset] = op
				}
				for _, i := range order {
					if _, _, ok := futures[i].Result(); ok {
						s.Errorf("%d is done before its event", i)
					}
					byOffset[ops[i].Offset].Complete()
					s.wantRead(futures[i], ops[i].Buf, ops[i].Offset)
				}
			}
		}
	})
}

func TestSubmitIsOneCall(t *testing.T) {
	eachWait(t, 200, func(s *scripted) {
		ops := readOps(40, 20)
		s.wantReads(s.direct.Submit(ops...), ops)
		s.wantBatches(40)
		ops = readOps(ring.MaxBatch+30, 20)
		s.wantReads(s.direct.Submit(ops...), ops)
		s.wantBatches(40, ring.MaxBatch, 30)
		if futures := s.direct.Submit(); len(futures) != 0 {
			s.Errorf("%d futures of nothing", len(futures))
		}
		s.wantBatches(40, ring.MaxBatch, 30)
		if got := s.ring.Stats().Submits; got != 3 {
			s.Errorf("%d io_submit calls counted", got)
		}
	})
}

// The kernel takes what is before a bad iocb and drops the error of that; it is
// for the Ring to find it, to fail that request alone, and to go on.
func TestRefusedRequestFailsAlone(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		bad := s.openOwn(nil)
		files := []*AsyncFile{s.direct, bad, s.direct, bad, bad, s.direct}
		ops := readOps(6, 10)
		log := s.script()
		for i, future := range s.together(files, ops) {
			if files[i] == bad {
				s.wantError(future, bad, "read", 0, syscall.EBADF)
			} else {
				s.wantRead(future, ops[i].Buf, ops[i].Offset)
			}
		}
		s.wantBatches(6, 5, 4, 3, 2, 1)
		if want := []int64{0, 20, 50}; !slices.Equal(log.offsets(), want) {
			s.Errorf("accepted at %v, want %v", log.offsets(), want)
		}
		// All of them, and one by way of a worker.
		for _, future := range bad.Submit(readOps(8, 10)...) {
			s.wantError(future, bad, "read", 0, syscall.EBADF)
		}
		s.answers(refuses(syscall.EPERM))
		s.wantError(s.worker.WriteAt([]byte("x"), 0), s.worker, "write", 0, syscall.EPERM)
	})
}

// EINVAL says that AIO has no such operation on the file, as on /proc; an
// ordinary system call may have.
func TestRefusedAsInvalidIsTriedOtherwise(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		if _, err := s.direct.core.OS().WriteAt([]byte("not in the kernel's script"), 0); err != nil {
			s.Fatal(err)
		}
		p := make([]byte, 3)
		s.answers(refuses(syscall.EINVAL))
		if n, err := s.direct.ReadAt(p, 0).Wait(); n != 3 || err != nil || string(p) != "not" {
			s.Errorf("= %d, %v, %q", n, err, p)
		}
		if got := s.ring.Stats().Offloaded; got != 1 {
			s.Errorf("%d offloaded, want 1", got)
		}
	})
}

func TestPartialSubmit(t *testing.T) {
	eachWait(t, 16, func(s *scripted) {
		log := s.script()
		ops := readOps(10, 10)
		// 3 are taken, then 2, then the 6th is bad, then 1, then the rest.
		s.answers(takes(3), takes(2), refuses(syscall.EPERM), takes(1))
		futures := s.direct.Submit(ops...)
		s.wantError(futures[5], s.direct, "read", 0, syscall.EPERM)
		s.wantReads(futures[:5], ops[:5])
		s.wantReads(futures[6:], ops[6:])
		s.wantBatches(10, 7, 5, 4, 3)
		if want := []int64{0, 10, 20, 30, 40, 60, 70, 80, 90}; !slices.Equal(log.offsets(), want) {
			s.Errorf("accepted at %v, want %v", log.offsets(), want)
		}
		if got := s.ring.Stats().Stalls; got != 0 {
			s.Errorf("%d stalls counted", got)
		}
	})
}

// EAGAIN, and the answer 0 that cannot be, are about none of the requests: all
// wait, in order, until an event was reaped.
func TestNoRoomIsWaitedFor(t *testing.T) {
	for _, answer := range []submitAnswer{saysAgain, takes(0)} {
		eachWait(t, 8, func(s *scripted) {
			log := s.record(func(int, *aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
			ops := readOps(6, 10)
			futures := s.submit(s.direct, ops[0])
			s.kernel.Await(1)
			s.answers(takes(1), answer)
			futures = append(futures, s.submit(s.direct, ops[1:4]...)...) // 1 is taken, 2 and 3 stay
			s.until("the Ring is stalled", func() bool { return s.state().Stalled })
			futures = append(futures, s.submit(s.direct, ops[4:]...)...) // not even tried
			s.wantBatches(1, 3, 2)
			if got := s.state(); !got.Stalled || got.Completer == ring.Parked || got.Pending != 4 {
				s.Errorf("%+v", got)
			}
			s.kernel.Await(2)[0].Complete()
			for _, op := range s.kernel.Await(5) { // 1, and what waited
				op.Complete()
			}
			s.wantReads(futures, ops)
			s.wantBatches(1, 3, 2, 4)
			if want := []int64{0, 10, 20, 30, 40, 50}; !slices.Equal(log.offsets(), want) {
				s.Errorf("accepted at %v, want %v", log.offsets(), want)
			}
			if got := s.ring.Stats().Stalls; got != 1 {
				s.Errorf("%d stalls counted, want 1", got)
			}
		})
	}
}

// The same by way of workers, which find no room one by one.
func TestNoRoomForWorkers(t *testing.T) {
	eachWait(t, 4, func(s *scripted) {
		s.hold()
		ops := readOps(4, 10)
		first := s.worker.ReadAt(ops[0].Buf, 0)
		s.kernel.Await(1)
		refused := make(chan struct{}, 1)
		s.kernel.OnSubmit(func(call, _ int) (int, error) {
			if call == 2 { // after tryContext's and the first
				refused <- struct{}{}
				return 0, syscall.EAGAIN
			}
			return -1, nil
		})
		futures := append([]*Future{first}, s.worker.Submit(ops[1])...)
		<-refused
		futures = append(futures, s.worker.Submit(ops[2:]...)...)
		s.kernel.Held()[0].Complete()
		s.wantRead(first, ops[0].Buf, 0)
		for _, op := range s.kernel.Await(3) {
			op.Complete()
		}
		s.wantReads(futures, ops)
		if got := s.ring.Stats().Stalls; got != 1 {
			s.Errorf("%d stalls counted, want 1", got)
		}
	})
}

func TestNoRoomThoughNothingIsInFlight(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		ops := readOps(3, 10)
		s.answers(saysAgain, saysAgain, saysAgain)
		start := time.Now()
		futures := s.direct.Submit(ops[:2]...)
		s.wantReads(futures, ops[:2])
		if took := time.Since(start); s.inBubble && took != 3*retryDelay {
			s.Errorf("took %v, want three times %v", took, retryDelay)
		}
		s.wantBatches(2, 2, 2, 2)
		// From a worker, and what came meanwhile goes along.
		s.answers(saysAgain, saysAgain)
		s.wantRead(s.worker.ReadAt(ops[2].Buf, 20), ops[2].Buf, 20)
		if got := s.ring.Stats().Stalls; got != 5 {
			s.Errorf("%d stalls counted, want 5", got)
		}
	})
}

// An operation that hangs does not keep what had no room from being tried again.
func TestNoRoomBesideAHungOperation(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.script(aiotest.Hold())
		ops := readOps(2, 10)
		hung := s.direct.Submit(ops[0])
		s.settle()
		s.answers(saysAgain)
		s.wantRead(s.direct.Submit(ops[1])[0], ops[1].Buf, ops[1].Offset)
		s.kernel.Held()[0].Complete()
		s.wantReads(hung, ops[:1])
	})
}

// On a busy Ring, where the completer is the sender, io_submit calls that sleep hold
// up neither what others submit nor their results.
func TestBusyRingAndSlowSubmitters(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		const others = 2 * busyDepth
		s.hold()
		hung := s.submit(s.direct, readOps(others, 10)...)
		s.settle()
		first, second := make(chan struct{}), make(chan struct{})
		s.inside(insideCall{first, takesAll}, insideCall{second, takesAll})
		ops := readOps(3, 10)
		var futures []*Future
		for i := range ops {
			futures = append(futures, s.submit(s.direct, ops[i])...)
			time.Sleep(3 * ring.WatchPeriod) // of the bubble
		}
		if got := s.state(); got.Asleep != 2 {
			s.Errorf("%d are asleep, want 2", got.Asleep)
		}
		held := s.kernel.Held()
		if last := held[len(held)-1]; len(held) != others+1 || last.Offset != ops[2].Offset {
			s.Fatalf("%d are held, the last at %d; want %d, at %d", len(held), last.Offset, others+1, ops[2].Offset)
		}
		held[others].Complete()
		s.settle()
		if _, _, ok := futures[2].Result(); !ok {
			s.Error("its event was not reaped")
		}
		s.wantRead(futures[2], ops[2].Buf, ops[2].Offset)
		close(first)
		close(second)
		for _, op := range s.kernel.Await(others + 2) {
			op.Complete()
		}
		s.wantReads(futures, ops)
		WaitAll(hung...)
	})
}

func TestStrayEventsAreDropped(t *testing.T) {
	eachWait(t, 4, func(s *scripted) {
		p, q := make([]byte, 10), make([]byte, 10)
		s.wantRead(s.direct.ReadAt(q, 0), q, 0) // a generation passes
		s.hold()
		future := s.direct.ReadAt(p, 30)
		op := s.kernel.Await(1)[0]
		slot, gen := uint64(uint32(op.Data)), op.Data>>32
		strays := []uint64{
			gen<<32 | 4,            // no such slot
			gen<<32 | 1<<31,        // nor this, in whatever an int is
			gen<<32 | 0xffffffff,   // nor this
			gen<<32 | (slot+1)%4,   // an idle one
			(gen+1)<<32 | slot,     // not yet
			(gen-1)<<32 | slot,     // not any more
			(gen^1<<31)<<32 | slot, // never
			^uint64(0),
		}
		for _, data := range strays {
			s.kernel.InjectEvent(aio.Event{Data: data, Res: 3})
		}
		op.Complete()
		s.kernel.InjectEvent(aio.Event{Data: op.Data, Res: 5}) // twice
		s.wantRead(future, p, 30)
		s.kernel.OnOp(nil)
		s.wantRead(s.direct.ReadAt(q, 60), q, 60) // behind the last stray in the ring
		if got, want := s.ring.Stats().Strays, uint64(len(strays)+1); got != want {
			s.Errorf("%d strays counted, want %d", got, want)
		}
	})
}

func TestFullQueueServesInOrder(t *testing.T) {
	inBubble(t, 2, func(s *scripted) {
		log := s.record(func(int, *aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
		const n = 9
		ops, futures := readOps(n, 10), make([]*Future, n)
		var done sync.WaitGroup
		for i := range ops {
			done.Go(func() { futures[i] = s.submit(s.direct, ops[i])[0] })
			s.settle() // so that the order of the calls is known
		}
		for i := range ops {
			if got := len(log.offsets()); got != min(i+2, n) {
				s.Errorf("%d ended and %d submitted, of a depth of 2", i, got)
			}
			if got := s.ring.Stats().InFlight; got != min(2, n-i) {
				s.Errorf("%d in flight with %d to go", got, n-i)
			}
			s.kernel.Held()[0].Complete()
			s.settle()
		}
		done.Wait()
		s.wantReads(futures, ops)
		for i, off := range log.offsets() {
			if off != ops[i].Offset {
				s.Fatalf("submitted at %v, not in the order of the calls", log.offsets())
			}
		}
	})
}

// A submitter with a deadline does not wait for a place beyond it.
func TestFullQueueIsLeftAtTheDeadline(t *testing.T) {
	eachWait(t, 1, func(s *scripted) {
		s.hold()
		p := make([]byte, 10)
		holder := s.direct.ReadAt(p, 0)
		past := make(chan struct{})
		go close(past)
		future := s.direct.startUntil(Op{Kind: OpRead, Buf: make([]byte, 10)}, past)
		s.wantError(future, s.direct, "read", 0, os.ErrDeadlineExceeded)
		s.kernel.Await(1)[0].Complete()
		s.wantRead(holder, p, 0)
		if got := s.kernel.Counts().SubmittedOps; got != 2 { // with tryContext's
			s.Errorf("%d operations submitted, want 2", got)
		}
	})
}

// Of more operations than there are places, the first are submitted before
// their submitter waits for the rest.
func TestSubmitOfMoreThanTheDepth(t *testing.T) {
	eachWait(t, 3, func(s *scripted) {
		ops := readOps(20, 10)
		s.wantReads(s.direct.Submit(ops...), ops)
		s.wantReads(s.worker.Submit(ops...), ops)
		if got := s.kernel.Counts().MaxInFlight; got > 3 {
			s.Errorf("%d in flight", got)
		}
	})
}

func TestInstantCompletionWakesNobody(t *testing.T) {
	eachWait(t, 4, func(s *scripted) {
		if !s.kernel.Mapped() {
			s.Skip("nothing is seen without io_getevents")
		}
		for i := range 20 {
			for _, f := range s.routes() {
				p := make([]byte, 10)
				s.wantRead(f.ReadAt(p, int64(i)), p, int64(i))
			}
		}
		if c := s.kernel.Counts(); c.GetEvents != 1 || c.Reaps != 40 { // tryContext's
			s.Errorf("%d io_getevents and %d reaps, want 1 and 40", c.GetEvents, c.Reaps)
		}
		if s.state().Completer != ring.Parked {
			s.Error("the completer was woken")
		}
	})
}

// inside has the io_submit calls that it is given, counted from the last that
// was made, wait inside until their channel is closed, and then answer.
func (s *scripted) inside(calls ...insideCall) {
	base := s.kernel.Counts().Submits
	s.kernel.OnSubmit(func(call, _ int) (int, error) {
		if i := call - base; i < len(calls) && calls[i].until != nil {
			<-calls[i].until
			return calls[i].take, calls[i].err
		}
		return -1, nil
	})
}

// sleepers waits until the watchdog has found n senders asleep in io_submit.
func (s *scripted) sleepers(n int) {
	s.Helper()
	time.Sleep(2*ring.WatchPeriod + ring.WatchPeriod/2) // of the bubble
	s.settle()
	if got := s.state().Asleep; got != n {
		s.Fatalf("%d senders are asleep, want %d", got, n)
	}
}

type insideCall struct {
	until chan struct{}
	submitAnswer
}

// One awake sender a lane is in io_submit; what others bring meanwhile it sends, in
// one call, and nobody waits.
func TestSubmittersLeaveTheirRequestsToOthers(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		first, second := make(chan struct{}), make(chan struct{})
		s.inside(insideCall{first, takesAll}, insideCall{second, takesAll})
		ops := readOps(5, 10)
		futures := s.submit(s.direct, ops[0])
		s.sleepers(1)
		futures = append(futures, s.submit(s.direct, ops[1])...)
		s.settle()
		for i := 2; i < 5; i++ {
			futures = append(futures, s.submit(s.direct, ops[i])...)
		}
		s.settle()
		s.wantBatches(1, 1)
		close(second)
		s.settle()
		s.wantBatches(1, 1, 3)
		s.wantReads(futures[2:], ops[2:])
		close(first)
		s.wantReads(futures, ops)
	})
}

// What comes back from io_submit goes before what others have brought since.
func TestPutBackComesFirst(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		first, second := make(chan struct{}), make(chan struct{})
		s.inside(insideCall{first, saysAgain}, insideCall{second, takesAll})
		log := s.script()
		ops := readOps(5, 10)
		futures := s.submit(s.direct, ops[:2]...)
		s.sleepers(1)
		futures = append(futures, s.submit(s.direct, ops[2])...)
		s.settle()
		futures = append(futures, s.direct.Submit(ops[3:]...)...)
		close(first)
		time.Sleep(2 * defaultTimeout) // of the bubble: whoever reaps finds nothing for so long
		s.settle()
		if want := []int64{0, 10, 30, 40}; !slices.Equal(log.offsets(), want) {
			s.Errorf("accepted at %v, want %v", log.offsets(), want)
		}
		close(second)
		s.wantReads(futures, ops)
	})
}

// The event of a request may be reaped, and its slot serve another, before its
// io_submit has returned: which must not touch the slot then.
func TestSlotIsReusedBeforeIoSubmitReturns(t *testing.T) {
	for _, answer := range []submitAnswer{takesAll, refuses(syscall.EBADF), saysAgain} {
		inBubble(t, 2, func(s *scripted) {
			ops := readOps(3, 10)
			returned, entered := make(chan struct{}), make(chan struct{})
			s.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
				if op.Offset == ops[1].Offset {
					op.Complete()
					<-returned
				}
				return aiotest.Hold()
			})
			reaping := s.submit(s.direct, ops[0])[0]
			s.settle()
			early := s.submit(s.direct, ops[1])[0]
			s.sleepers(1)
			if got := s.ring.Stats(); got.Completed != 1 || got.InFlight != 1 {
				s.Fatalf("completed %d, in flight %d", got.Completed, got.InFlight)
			}
			s.inside(insideCall{entered, answer})
			second := s.submit(s.direct, ops[2])[0]
			s.settle()
			close(returned)
			s.settle()
			s.wantRead(early, ops[1].Buf, ops[1].Offset)
			if got := s.state(); got.InFlight != 2 || got.Entering != 1 {
				s.Errorf("in flight %d, of them entering %d; want 2 and 1", got.InFlight, got.Entering)
			}
			close(entered)
			s.settle()
			got := s.state()
			if refused := answer.take == 0; refused && got.InFlight != 1 || !refused && got.InFlight != 2 || got.Entering != 0 {
				s.Errorf("in flight %d, of them entering %d", got.InFlight, got.Entering)
			}
			s.kernel.Held()[0].Complete()
			s.wantRead(reaping, ops[0].Buf, ops[0].Offset)
			if answer.err == syscall.EBADF {
				s.wantError(second, s.direct, "read", 0, syscall.EBADF)
				return
			}
			s.kernel.Await(1)[0].Complete()
			s.wantRead(second, ops[2].Buf, ops[2].Offset)
		})
	}
}

// What is inside an io_submit that has not returned is not waited for: it may yet
// be refused. While the call sleeps it is, since it may have been taken.
func TestParkedCompleterAndSlowSubmitter(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		ops := readOps(3, 10)
		returned := make(chan struct{})
		s.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
			switch op.Offset {
			case ops[0].Offset:
				op.Complete()
				<-returned
			case ops[2].Offset:
				return aiotest.Hold()
			}
			return aiotest.Do()
		})
		calls := s.kernel.Counts().GetEvents
		slow := s.submit(s.direct, ops[0])[0]
		s.settle()
		if got := s.state(); got.Entering != 1 || got.Token || s.kernel.Counts().GetEvents != calls {
			s.Errorf("%+v, %d io_getevents", got, s.kernel.Counts().GetEvents-calls)
		}
		s.sleepers(1)
		if _, _, ok := slow.Result(); !ok {
			s.Error("an event is not reaped while its io_submit sleeps")
		}
		quick := s.submit(s.direct, ops[1])[0]
		s.settle()
		if _, _, ok := quick.Result(); !ok {
			s.Error("a request waits for another's io_submit")
		}
		if got := s.ring.Stats().Completed; got != 2 {
			s.Errorf("%d completed, want 2: also the one whose io_submit has not returned", got)
		}
		held := s.submit(s.direct, ops[2])[0]
		s.settle()
		close(returned)
		s.wantRead(slow, ops[0].Buf, ops[0].Offset)
		s.wantRead(quick, ops[1].Buf, ops[1].Offset)
		s.kernel.Held()[0].Complete()
		s.wantRead(held, ops[2].Buf, ops[2].Offset)
	})
}

// EAGAIN while all that is in flight is inside another io_submit: no event is
// sure to come, so time has to do.
func TestNoRoomBesideSlowSubmitter(t *testing.T) {
	for _, slowAnswer := range []submitAnswer{takesAll, refuses(syscall.EBADF), saysAgain} {
		inBubble(t, 4, func(s *scripted) {
			ops := readOps(2, 10)
			returned := make(chan struct{})
			s.inside(insideCall{returned, slowAnswer}, insideCall{closedChan, saysAgain}, insideCall{closedChan, saysAgain})
			slow := s.submit(s.direct, ops[0])[0]
			s.sleepers(1)
			start := time.Now()
			s.wantRead(s.direct.Submit(ops[1])[0], ops[1].Buf, ops[1].Offset)
			if took := time.Since(start); took > 2*defaultTimeout {
				s.Errorf("took %v, want %v at the most", took, 2*defaultTimeout)
			}
			close(returned)
			if slowAnswer.err == syscall.EBADF {
				s.wantError(slow, s.direct, "read", 0, syscall.EBADF)
			} else {
				s.wantRead(slow, ops[0].Buf, ops[0].Offset)
			}
		})
	}
}

func TestSyncGoesToAWorkerWhereTheKernelHasNone(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		f := s.openOwn(struct { // without Sync
			io.ReaderAt
			io.WriterAt
		}{s.mem, s.mem})
		ops := readOps(4, 10)
		ops[1], ops[2] = Op{Kind: OpSync}, Op{Kind: OpDatasync}
		futures := f.Submit(ops...)
		for _, i := range []int{0, 3} {
			s.wantRead(futures[i], ops[i].Buf, ops[i].Offset)
		}
		for _, i := range []int{1, 2} {
			if n, err := futures[i].Wait(); n != 0 || err != nil {
				s.Errorf("%v = %d, %v", ops[i].Kind, n, err)
			}
		}
		s.wantBatches(2, 2, 1) // who waits for a read sends reads
		if got := s.ring.Stats().Offloaded; got != 2 {
			s.Errorf("%d offloaded, want 2", got)
		}
		s.answers(refuses(syscall.EBADF)) // that is not what it says where there is none
		s.wantError(f.Sync(), f, "sync", 0, syscall.EBADF)
		// The way of one with a deadline, which is submitted by a worker.
		future := f.startUntil(Op{Kind: OpSync}, make(chan struct{}))
		if n, err := future.Wait(); n != 0 || err != nil {
			s.Errorf("Sync by way of a worker = %d, %v", n, err)
		}
	})
}

func TestRingCloseDrains(t *testing.T) {
	inBubble(t, 2, func(s *scripted) {
		s.hold()
		ops := readOps(4, 10)
		futures := s.direct.Submit(ops[:2]...)
		waiting := make(chan *Future, 1)
		go func() { waiting <- s.direct.Submit(ops[2])[0] }()
		s.settle()
		closed := make(chan error, 1)
		go func() { closed <- s.close() }()
		s.settle()
		s.wantError(<-waiting, s.direct, "read", 0, fs.ErrClosed)
		s.wantError(s.direct.Submit(ops[3])[0], s.direct, "read", 0, fs.ErrClosed)
		s.wantError(s.worker.Sync(), s.worker, "sync", 0, fs.ErrClosed)
		if err := s.ring.Close(); !errors.Is(err, fs.ErrClosed) {
			s.Errorf("second Close: %v", err)
		}
		for i, op := range s.kernel.Held() {
			if len(closed) != 0 || s.kernel.Counts().Destroyed {
				s.Errorf("closed with %d in flight", 2-i)
			}
			op.Complete()
			s.wantRead(futures[i], ops[i].Buf, ops[i].Offset)
			s.settle()
		}
		if err := <-closed; err != nil {
			s.Errorf("Close: %v", err)
		}
		s.wantError(s.direct.Submit(ops[3])[0], s.direct, "read", 0, fs.ErrClosed)
		if _, err := Open(s.direct.Name(), WithRing(s.ring)); !errors.Is(err, fs.ErrClosed) {
			s.Errorf("Open on a closed Ring: %v", err)
		}
		if c := s.kernel.Counts(); c.SubmittedOps != 3 { // with tryContext's
			s.Errorf("%d operations submitted, want 3", c.SubmittedOps)
		}
	})
}

// What waits for room, or for a retry, is drained as well.
func TestRingCloseDrainsWhatIsPending(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		s.answers(saysAgain, saysAgain)
		ops := readOps(4, 10)
		futures := s.direct.Submit(ops...)
		if err := s.close(); err != nil {
			s.Errorf("Close: %v", err)
		}
		for i, future := range futures {
			if _, _, ok := future.Result(); !ok {
				s.Errorf("%d is not done", i)
			}
		}
		s.wantReads(futures, ops)
	})
}

// io_destroy comes when everyone has left the other calls.
func TestRingCloseWaitsForIoSubmit(t *testing.T) {
	inBubble(t, 2, func(s *scripted) {
		ops := readOps(2, 10)
		returned := make(chan struct{})
		s.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
			if op.Offset == ops[1].Offset {
				op.Complete()
				<-returned
			}
			return aiotest.Hold()
		})
		reaping := s.submit(s.direct, ops[0])[0]
		s.settle()
		slow := s.submit(s.direct, ops[1])[0]
		s.settle()
		s.kernel.Held()[0].Complete()
		s.wantRead(reaping, ops[0].Buf, ops[0].Offset)
		closed := make(chan error, 1)
		go func() { closed <- s.close() }()
		s.settle()
		if len(closed) != 0 || s.kernel.Counts().Destroyed {
			s.Error("closed while a goroutine is inside io_submit")
		}
		close(returned)
		s.wantRead(slow, ops[1].Buf, ops[1].Offset)
		if err := <-closed; err != nil {
			s.Errorf("Close: %v", err)
		}
	})
}
