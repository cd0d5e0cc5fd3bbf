package asyncfile

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

func TestIdleMakesNoCalls(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		idle := func() {
			s.Helper()
			s.settle()
			before := s.kernel.Counts()
			time.Sleep(time.Hour) // of the bubble
			after := s.kernel.Counts()
			if after.GetEvents != before.GetEvents || after.Submits != before.Submits {
				s.Errorf("%d io_getevents and %d io_submit while idle",
					after.GetEvents-before.GetEvents, after.Submits-before.Submits)
			}
			if _, _, _, parked := s.state(); !parked {
				s.Error("not parked while idle")
			}
		}
		idle()
		s.hold()
		ops := readOps(2, 10)
		futures := s.direct.Submit(ops...)
		for _, op := range s.kernel.Await(2) {
			op.Complete()
		}
		s.wantReads(futures, ops)
		idle()
	})
}

func TestTimeoutOfGetEvents(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		s.hold()
		p := make([]byte, 10)
		before := s.kernel.Counts().GetEvents
		future := s.direct.ReadAt(p, 0)
		time.Sleep(time.Second + 5*time.Millisecond) // of the bubble
		if got := s.kernel.Counts().GetEvents - before; got != 101 {
			s.Errorf("%d io_getevents in a second of 10 ms each, want 101", got)
		}
		s.kernel.Held()[0].Complete()
		s.wantRead(future, p, 0)
	}, WithTimeout(10*time.Millisecond))
}

func TestGetEventsIsRepeated(t *testing.T) {
	for _, answer := range []error{syscall.EINTR, nil} { // a signal; nothing there
		eachWait(t, 4, func(s *scripted) {
			base, asked := s.kernel.Counts().GetEvents, 0
			s.kernel.OnGetEvents(func(call int) (int, error) {
				if s.ring.eventfd == nil && call-base < 4 || s.ring.eventfd != nil && call-base == 0 {
					asked++
					return 0, answer
				}
				return -1, nil
			})
			s.hold()
			p := make([]byte, 10)
			future := s.direct.ReadAt(p, 7)
			s.kernel.Await(1)[0].Complete()
			s.wantRead(future, p, 7)
			if s.ring.eventfd == nil && !s.kernel.Mapped() && asked != 4 {
				s.Errorf("asked %d times", asked)
			}
		})
	}
}

// A sinkFunc is a sink that runs on whoever ends the operation.
type sinkFunc func(Completion)

func (f sinkFunc) deliver(c Completion) { f(c) }

// What the goroutines submit that a batch of completions has woken goes out in
// one io_submit, by whoever brings the last.
func TestBatchGathers(t *testing.T) {
	const woken, others = minReap, 2 * busyDepth // which hang
	for _, test := range []struct {
		name  string
		again int // so many of those woken submit once more
		late  bool
		want  []int         // io_submit calls after the first
		took  time.Duration // until the kernel had all
	}{
		{"all", woken, false, []int{woken}, 0},
		{"not all", woken - 3, false, []int{woken - 3}, maxHold},
		{"too late", woken, true, slices.Repeat([]int{1}, woken), woken * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 128, func(s *scripted) {
				s.hold()
				ended := make(chan struct{})
				s.kernel.OnGetEvents(func(int) (int, error) {
					<-ended // so that all are reaped at once
					return -1, nil
				})
				first, second := readOps(woken+others, 10), readOps(woken, 10)
				futures := make([]*Future, test.again)
				var all sync.WaitGroup
				for i, future := range s.direct.Submit(first...)[:woken] {
					all.Go(func() {
						s.wantRead(future, first[i].Buf, first[i].Offset)
						if i >= test.again {
							return
						}
						if test.late {
							time.Sleep(time.Duration(i+1) * time.Second) // of the bubble
						}
						futures[i] = s.direct.Submit(second[i])[0]
					})
				}
				s.settle()
				for _, op := range s.kernel.Await(woken + others)[:woken] {
					op.Complete()
				}
				start := time.Now()
				close(ended)
				all.Wait()
				held := s.kernel.Await(others + test.again)
				if took := time.Since(start); took != test.took {
					s.Errorf("gathered for %v, want %v", took, test.took)
				}
				for _, op := range held {
					op.Complete()
				}
				s.wantReads(futures, second)
				s.wantBatches(append([]int{woken + others}, test.want...)...)
			})
		})
	}
}

// While the completer of a busy Ring watches, even what nobody expects gathers,
// but no longer than maxHold.
func TestStragglersGather(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		s.hold()
		s.direct.Submit(readOps(2*busyDepth, 10)...)
		s.kernel.Await(2 * busyDepth)[0].Complete()
		time.Sleep(maxHold / 2) // of the bubble: nobody goes on, but the completer watches
		ops := readOps(3, 10)
		start := time.Now()
		for i := range ops {
			s.direct.Submit(ops[i])
		}
		held := s.kernel.Await(2*busyDepth - 1 + len(ops))
		if took := time.Since(start); took == 0 || took > maxHold {
			s.Errorf("gathered for %v, want up to %v", took, maxHold)
		}
		s.wantBatches(2*busyDepth, 1, len(ops)-1) // the first is the one that was expected
		for _, op := range held {
			op.Complete()
		}
	})
}

// On a Ring that is not busy a batch gathers while the goroutines that were woken
// have their turn, and no longer.
func TestSmallBatchGathers(t *testing.T) {
	for _, again := range []int{0, 1, 2} { // so many of two submit once more
		t.Run(fmt.Sprint(again), func(t *testing.T) {
			inBubble(t, 8, func(s *scripted) {
				s.hold()
				ended := make(chan struct{})
				s.kernel.OnGetEvents(func(int) (int, error) {
					<-ended
					return -1, nil
				})
				ops, futures := readOps(2, 10), make([]*Future, 2)
				var batch requestQueue
				for i := range 2 {
					s.direct.begin(&call{op: Op{Kind: OpRead, Buf: make([]byte, 4)}, to: sinkFunc(func(Completion) {
						if i < again { // within the completer's turn, whoever runs when
							futures[i] = s.direct.Submit(ops[i])[0]
						}
					})}, &batch)
				}
				s.ring.submit(batch)
				for _, op := range s.kernel.Await(2) {
					op.Complete()
				}
				close(ended)
				for _, op := range s.kernel.Await(again) {
					op.Complete()
				}
				for i := range again {
					s.wantRead(futures[i], ops[i].Buf, ops[i].Offset)
				}
				s.wantBatches([]int{2, again}[:min(again+1, 2)]...)
			})
		})
	}
}

// Events that came while the completer was busy are seen without a call.
func TestRingIsLookedAtBeforeTheCall(t *testing.T) {
	eachWait(t, 4, func(s *scripted) {
		if !s.kernel.Mapped() {
			s.Skip("nothing is seen without io_getevents")
		}
		s.hold()
		p := make([]byte, 10)
		var calls int
		s.direct.submit(&call{op: Op{Kind: OpRead, Buf: make([]byte, 4)}, to: sinkFunc(func(Completion) {
			calls = s.kernel.Counts().GetEvents
			s.kernel.Held()[0].Complete()
		})})
		future := s.direct.ReadAt(p, 3)
		s.kernel.Await(2)[0].Complete()
		s.wantRead(future, p, 3)
		if got := s.kernel.Counts().GetEvents; got != calls {
			s.Errorf("%d io_getevents for an event that was there", got-calls)
		}
	})
}

// A count that is left on the eventfd, of an event that was reaped without it,
// ends one wait early and nothing else.
func TestEventFDCountIsLeftOver(t *testing.T) {
	for _, kind := range waitKinds {
		if kind.mode != WaitEventFD {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			kind.run(t, aiotest.New(4), 4, func(s *scripted) {
				for i := range 10 {
					s.kernel.OnOp(nil)
					p := make([]byte, 10)
					s.wantRead(s.direct.ReadAt(p, int64(i)), p, int64(i))
					s.hold()
					future := s.direct.ReadAt(p, int64(i+20))
					s.kernel.Await(1)[0].Complete()
					s.wantRead(future, p, int64(i+20))
				}
			})
		})
	}
}

// failing has io_getevents answer EPERM from the next call on, once ready is
// closed, and leaves no count on the eventfd that could hide who waits for it.
func (s *scripted) failing(ready <-chan struct{}) {
	s.aborted = true
	s.kernel.Allow(aiotest.Drained) // the real io_destroy waits
	s.kernel.OnGetEvents(func(int) (int, error) {
		<-ready
		if s.ring.eventfd != nil {
			s.ring.eventfd.Signal() // or Wait would wait
			s.ring.eventfd.Wait()
		}
		return 0, syscall.EPERM
	})
}

// An io_getevents that fails for good ends everything with its errno.
func TestContextDies(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		if s.ring.eventfd != nil && s.kernel.Mapped() {
			s.Skip("does not call io_getevents")
		}
		s.hold()
		completed := make(chan struct{})
		s.failing(completed)
		ops := readOps(6, 10)
		last := s.direct.Submit(ops[0])[0]
		futures := s.direct.Submit(ops[1:3]...)
		s.kernel.OnSubmit(func(int, int) (int, error) { return 0, syscall.EAGAIN })
		futures = append(futures, s.direct.Submit(ops[3:5]...)...) // pending
		s.kernel.Await(3)[0].Complete()
		close(completed)
		n, err := last.Wait() // its event may have been seen before
		if err != nil && !errors.Is(err, syscall.EPERM) || err == nil && n != 10 {
			s.Errorf("= %d, %v", n, err)
		}
		for _, future := range futures {
			s.wantError(future, s.direct, "read", 0, syscall.EPERM)
		}
		calls := s.kernel.Counts().Submits
		for name, f := range s.routes() {
			for range 20 { // more than there are places
				s.wantError(f.ReadAt(make([]byte, 4), 0), f, "read", 0, syscall.EPERM)
			}
			s.wantError(f.Sync(), f, "sync", 0, syscall.EPERM)
			if got := s.kernel.Counts().Submits; got != calls {
				s.Errorf("%s: io_submit on a context that is gone", name)
			}
		}
		if !s.kernel.Counts().Destroyed {
			s.Error("not destroyed")
		}
		if err := s.close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	})
}

// The context dies while a goroutine is inside io_submit, which has taken a part
// of its batch. What it comes back with is no reason to try again.
func TestContextDiesBesideSlowSubmitter(t *testing.T) {
	for _, answer := range []submitAnswer{takesAll, saysAgain, refuses(syscall.EINVAL), takes(0)} {
		inBubble(t, 8, func(s *scripted) {
			s.hold()
			ops := readOps(5, 10)
			first := s.direct.Submit(ops[:2]...)
			returned := make(chan struct{})
			s.inside(insideCall{closedChan, takes(1)}, insideCall{returned, answer})
			slow := make(chan []*Future, 1)
			go func() { slow <- s.direct.Submit(ops[2:]...) }()
			s.settle()
			s.failing(closedChan)
			s.kernel.Held()[0].Complete()
			s.wantRead(first[0], ops[0].Buf, 0)
			s.settle()
			if s.kernel.Counts().Destroyed {
				s.Error("destroyed while a goroutine is inside io_submit")
			}
			// Nobody else goes in any more.
			s.wantError(s.direct.ReadAt(make([]byte, 4), 0), s.direct, "read", 0, syscall.EPERM)
			start := time.Now()
			close(returned)
			s.wantError(first[1], s.direct, "read", 0, syscall.EPERM)
			for i, future := range <-slow {
				if n, err := future.Wait(); n != 0 || !errors.Is(err, syscall.EPERM) &&
					!(i == 1 && answer.err != nil && errors.Is(err, answer.err)) {
					s.Errorf("%d = %d, %v; want EPERM", i, n, err)
				}
			}
			if took := time.Since(start); took != 0 { // of the bubble
				s.Errorf("tried again for %v", took)
			}
			if err := s.close(); err != nil {
				s.Errorf("Close: %v", err)
			}
		})
	}
}

// A context that dies under a busy Ring gives what gathers its error at once.
func TestContextDiesWhileABatchGathers(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		s.hold()
		first := s.direct.Submit(readOps(2*busyDepth, 10)...)
		slow := make(chan struct{})
		s.inside(insideCall{slow, takesAll})
		second := make(chan []*Future, 1)
		go func() { second <- s.direct.Submit(readOps(1, 10)...) }()
		s.settle()
		for _, op := range s.kernel.Held()[:busyDepth] { // the Ring is busy, and watched
			op.Complete()
		}
		first[busyDepth-1].Wait()
		s.settle()
		s.ring.mu.Lock()
		s.ring.expect(2 * busyDepth) // so that the next one waits
		s.ring.mu.Unlock()
		gathers := s.direct.ReadAt(make([]byte, 4), 0)
		s.failing(closedChan)
		for _, op := range s.kernel.Held()[:busyDepth/2] { // ends the wait, the next of which fails
			op.Complete()
		}
		s.wantError(gathers, s.direct, "read", 0, syscall.EPERM)
		close(slow)
		for _, future := range append(first[busyDepth+busyDepth/2:], <-second...) {
			s.wantError(future, s.direct, "read", 0, syscall.EPERM)
		}
		s.aborted = true
	})
}

// A soak does what it does everywhere at once, on a kernel that behaves badly in
// every way it may, and checks every byte.
func TestSoak(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		kind := waitKinds[seed%uint64(len(waitKinds))]
		depth := 1 + rnd.IntN(20)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			kind.run(t, aiotest.Random(seed, depth), depth, func(s *scripted) { soak(s, seed) },
				WithWorkers(1+rnd.IntN(4)), WithTimeout(time.Millisecond))
		})
	}
}

func soak(s *scripted, seed uint64) {
	const writers, region = 6, 600
	rounds := 6
	if !s.inBubble {
		rounds = 2 // each EAGAIN with nothing in flight takes the time that it says
	}
	var done sync.WaitGroup
	for w := range writers {
		for _, f := range []*AsyncFile{s.direct, s.worker} { // two halves of one file's contents
			base := int64(w * 2 * region)
			if f == s.worker {
				base += region
			}
			done.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(base)))
				for range rounds {
					soakRegion(s, f, rnd, base, region)
				}
			})
		}
	}
	own := s.open(filepath.Join(s.TempDir(), "log"), true, nil)
	s.kernel.Attach(own.fd, own.osf)
	var mu sync.Mutex
	ends := map[int64]int64{}
	for w := range 3 {
		done.Go(func() {
			for i := range rounds {
				p := patternBytes(10+i*7, byte(w))
				future := own.Append(p)
				n, err := future.Wait()
				if n != len(p) || err != nil {
					s.Errorf("Append = %d, %v", n, err)
					return
				}
				q := make([]byte, n)
				if _, err := own.ReadAt(q, future.Offset()).Wait(); err != nil || string(p) != string(q) {
					s.Errorf("what was appended at %d is not there: %v", future.Offset(), err)
				}
				mu.Lock()
				ends[future.Offset()] = future.Offset() + int64(n)
				mu.Unlock()
			}
		})
	}
	done.Wait()
	for at := int64(0); len(ends) > 0; { // every append is there once, with no hole
		end, ok := ends[at]
		if !ok {
			s.Errorf("nothing was appended at %d", at)
			break
		}
		delete(ends, at)
		at = end
	}
}

// soakRegion writes part of a region that nobody else writes, in several writes
// at once, syncs, and reads it back in other parts.
func soakRegion(s *scripted, f *AsyncFile, rnd *rand.Rand, base int64, size int) {
	want := patternBytes(size, byte(rnd.Uint32()))
	futures := f.Submit(soakOps(rnd, OpWrite, want, base)...)
	var sync *Future
	if rnd.IntN(2) == 0 {
		sync = f.Sync()
	}
	if err := WaitAll(futures...); err != nil {
		s.Errorf("writes at %d: %v", base, err)
	}
	if sync != nil {
		if _, err := sync.Wait(); err != nil {
			s.Errorf("Sync: %v", err)
		}
	}
	got := make([]byte, size)
	if rnd.IntN(2) == 0 {
		futures = f.Submit(soakOps(rnd, OpRead, got, base)...)
	} else {
		futures = nil
		for _, op := range soakOps(rnd, OpRead, got, base) {
			futures = append(futures, f.Submit(op)...)
		}
	}
	if err := WaitAll(futures...); err != nil {
		s.Errorf("reads at %d: %v", base, err)
	}
	if string(got) != string(want) {
		s.Errorf("at %d: read back something else", base)
	}
}

// soakOps cuts a transfer into operations, plain and vectored.
func soakOps(rnd *rand.Rand, kind OpKind, p []byte, off int64) (ops []Op) {
	for len(p) > 0 {
		n := 1 + rnd.IntN(len(p))
		op := Op{Kind: kind, Buf: p[:n], Offset: off}
		if rnd.IntN(2) == 0 {
			op.Kind, op.Buf = OpReadv, nil
			if kind == OpWrite {
				op.Kind = OpWritev
			}
			for q := p[:n]; len(q) > 0; {
				m := 1 + rnd.IntN(len(q))
				op.Bufs = append(op.Bufs, q[:m:m])
				q = q[m:]
			}
		}
		ops = append(ops, op)
		p, off = p[n:], off+int64(n)
	}
	return ops
}
