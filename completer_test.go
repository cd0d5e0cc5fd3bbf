package asyncfile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

func TestIdleMakesNoCalls(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		idle := func() {
			s.Helper()
			s.settle()
			before := s.kernel.Counts()
			time.Sleep(time.Minute) // of the bubble
			after := s.kernel.Counts()
			if after.GetEvents != before.GetEvents || after.Submits != before.Submits {
				s.Errorf("%d io_getevents and %d io_submit while idle",
					after.GetEvents-before.GetEvents, after.Submits-before.Submits)
			}
			if s.state().Completer != ring.Parked {
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
				if s.eventfd == nil && call-base < 4 || s.eventfd != nil && call-base == 0 {
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
			if s.eventfd == nil && !s.kernel.Mapped() && asked != 4 {
				s.Errorf("asked %d times", asked)
			}
		})
	}
}

// A sinkFunc is a sink that runs on whoever ends the operation.
type sinkFunc func(file.Outcome)

// Follow implements file.Sink.
func (f sinkFunc) Follow(*ring.Request) {}

// Deliver implements file.Sink.
func (f sinkFunc) Deliver(o file.Outcome) { f(o) }

// submitTo begins op on f and submits it.
func submitTo(f *AsyncFile, op Op, to file.Sink) {
	c := op.call(to)
	f.core.Submit(&c)
}

// beginTo begins op on f as one of batch.
func beginTo(f *AsyncFile, op Op, to file.Sink, batch *ring.Requests) {
	c := op.call(to)
	f.core.Begin(&c, batch)
}

// What the goroutines submit that a batch of completions has woken goes out in one
// io_submit, when the completer of a busy Ring has watched for maxHold.
func TestBatchGathers(t *testing.T) {
	const woken, others = minReap, 2 * busyDepth // which hang
	for _, test := range []struct {
		name  string
		again int           // so many of those woken submit once more
		each  time.Duration // one after the other
		want  []int         // io_submit calls after the first
	}{
		{"all", woken, 0, []int{woken}},
		{"not all", woken - 3, 0, []int{woken - 3}},
		{"too late", woken, time.Second, slices.Repeat([]int{1}, woken)},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 128, func(s *scripted) {
				s.hold()
				first, second := readOps(woken+others, 10), readOps(woken, 10)
				futures := make([]*Future, test.again)
				watched := make(chan struct{})
				var all sync.WaitGroup
				for i, future := range s.submit(s.direct, first...)[:woken] {
					all.Go(func() {
						s.wantRead(future, first[i].Buf, first[i].Offset)
						if <-watched; i < test.again {
							time.Sleep(time.Duration(i) * test.each) // of the bubble
							futures[i] = s.submit(s.direct, second[i])[0]
						}
					})
				}
				for _, op := range s.kernel.Await(woken + others)[:woken] {
					op.Complete()
				}
				s.wantCompleter(ring.Watching)
				start := time.Now()
				close(watched)
				all.Wait()
				held := s.kernel.Await(others + test.again)
				if took := time.Since(start); took > time.Duration(test.again-1)*test.each+maxHold {
					s.Errorf("gathered for %v", took)
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

// While the completer of a busy Ring watches, what comes gathers, but no longer
// than maxHold.
func TestStragglersGather(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		s.hold()
		s.submit(s.direct, readOps(2*busyDepth, 10)...)
		s.kernel.Await(2 * busyDepth)
		time.Sleep(maxHold / 2) // of the bubble
		ops := readOps(3, 10)
		start := time.Now()
		for i := range ops {
			s.submit(s.direct, ops[i])
		}
		s.settle()
		if got := len(s.kernel.Held()); got != 2*busyDepth {
			s.Errorf("%d sent before the wait was over", got-2*busyDepth)
		}
		held := s.kernel.Await(2*busyDepth + len(ops))
		if took := time.Since(start); took == 0 || took > maxHold {
			s.Errorf("gathered for %v, want up to %v", took, maxHold)
		}
		s.wantBatches(2*busyDepth, len(ops))
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
				var batch ring.Requests
				for i := range 2 {
					beginTo(s.direct, Op{Kind: OpRead, Buf: make([]byte, 4)}, sinkFunc(func(file.Outcome) {
						if i < again { // within the completer's turn, whoever runs when
							futures[i] = s.direct.Submit(ops[i])[0]
						}
					}), &batch)
				}
				s.ring.core.Submit(batch)
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
		submitTo(s.direct, Op{Kind: OpRead, Buf: make([]byte, 4)}, sinkFunc(func(file.Outcome) {
			calls = s.kernel.Counts().GetEvents
			s.kernel.Held()[0].Complete()
		}))
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
		if s.eventfd != nil {
			s.eventfd.Signal() // or Wait would wait
			s.eventfd.Wait()
		}
		return 0, syscall.EPERM
	})
}

// An io_getevents that fails for good ends everything with its errno.
func TestContextDies(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		if s.eventfd != nil && s.kernel.Mapped() {
			s.Skip("does not call io_getevents")
		}
		s.hold()
		completed := make(chan struct{})
		s.failing(completed)
		ops := readOps(5, 10)
		futures := s.submit(s.direct, ops[:3]...)
		s.kernel.Await(3)
		s.kernel.OnSubmit(func(int, int) (int, error) { return 0, syscall.EAGAIN })
		futures = append(futures, s.submit(s.direct, ops[3:]...)...) // pending
		s.until("the Ring is stalled", func() bool { return s.state().Stalled })
		s.kernel.Held()[0].Complete()
		close(completed)
		n, err := futures[0].Wait() // its event may have been seen before
		if err != nil && !errors.Is(err, syscall.EPERM) || err == nil && n != 10 {
			s.Errorf("= %d, %v", n, err)
		}
		for _, future := range futures[1:] {
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

// A context that dies under a waiter that reaps ends everyone's operations, and what
// is pending on other lanes.
func TestContextDiesUnderAWaiter(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		s.failing(closedChan)
		other := s.otherLane(s.mem)
		left := s.direct.ReadAt(make([]byte, 4), 0)
		asked := s.submit(s.worker, readOps(1, 4)...)[0]
		s.settle()
		pending := other.ReadAt(make([]byte, 4), 0)
		s.wantError(s.direct.ReadAt(make([]byte, 4), 0), s.direct, "read", 0, syscall.EPERM)
		s.wantError(left, s.direct, "read", 0, syscall.EPERM)
		s.wantError(asked, s.worker, "read", 0, syscall.EPERM)
		s.wantError(pending, other, "read", 0, syscall.EPERM)
	})
}

// A context that dies under a busy Ring gives what gathers its error at once.
func TestContextDiesWhileABatchGathers(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		s.hold()
		futures := s.submit(s.direct, readOps(2*busyDepth, 10)...)
		s.settle()
		if got := s.state(); got.Completer != ring.Watching {
			s.Fatalf("the completer is in state %d, want watching", got.Completer)
		}
		futures = append(futures, s.submit(s.direct, readOps(1, 10)...)...)
		start := time.Now()
		s.failing(closedChan)
		for _, op := range s.kernel.Held()[:busyDepth/2] { // ends the wait, the next of which fails
			op.Complete()
		}
		for _, future := range futures[busyDepth/2:] {
			s.wantError(future, s.direct, "read", 0, syscall.EPERM)
		}
		if took := time.Since(start); took > maxHold {
			s.Errorf("took %v", took)
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
			first := s.submit(s.direct, ops[:2]...)
			s.settle()
			returned := make(chan struct{})
			s.inside(insideCall{closedChan, takes(1)}, insideCall{returned, answer})
			slow := s.submit(s.direct, ops[2:]...)
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
			for i, future := range slow {
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
			kind.run(t, aiotest.Random(seed, depth), depth, func(s *scripted) { soak(s, seed, s.direct, s.worker) },
				WithWorkers(1+rnd.IntN(4)), WithTimeout(time.Millisecond))
		})
	}
}

// A sleepyKernel is a kernel whose io_submit may sleep, before it takes anything and
// after it has, for some devices more than for others.
type sleepyKernel struct {
	*aiotest.Kernel
	mu  sync.Mutex
	rnd *rand.Rand
}

func (k *sleepyKernel) sleep() {
	k.mu.Lock()
	d := time.Duration(0)
	if k.rnd.IntN(4) == 0 {
		d = time.Duration(k.rnd.IntN(int(6 * ring.WatchPeriod)))
	}
	k.mu.Unlock()
	time.Sleep(d) // of the bubble
}

func (k *sleepyKernel) Submit(iocbs []*aio.IOCB) (int, error) {
	k.sleep()
	n, err := k.Kernel.Submit(iocbs)
	k.sleep()
	return n, err
}

// The same with files of several devices, and an io_submit that sleeps.
func TestSoakWithSleepingSenders(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		kind := waitKinds[seed%2] // in a bubble
		depth := 1 + rnd.IntN(30)
		kernel := aiotest.Random(seed, depth)
		kernel.Allow(aiotest.NoIdleCall)
		sleepy := &sleepyKernel{Kernel: kernel, rnd: rnd}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			kind.run(t, kernel, depth, func(s *scripted) {
				soak(s, seed, s.direct, s.worker, s.otherLane(s.mem), s.otherLane(s.mem))
				time.Sleep(20 * ring.WatchPeriod) // of the bubble: who sleeps wakes up
				s.wantSenders(0)
				if got := s.state(); got.Running != 1 || got.Asleep != 0 {
					s.Errorf("%d goroutines are or were the completer, %d senders are asleep", got.Running, got.Asleep)
				}
			}, WithWorkers(1+rnd.IntN(4)), WithTimeout(time.Millisecond), onKernel(sleepy))
		})
	}
}

func soak(s *scripted, seed uint64, files ...*AsyncFile) {
	const writers, region = 6, 600
	rounds := 6
	if !s.inBubble {
		rounds = 2 // each EAGAIN with nothing in flight takes the time that it says
	}
	var done sync.WaitGroup
	for w := range writers {
		for i, f := range files { // each has its parts of one file's contents
			base := int64((w*len(files) + i) * region)
			done.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, uint64(base)))
				for range rounds {
					soakRegion(s, f, rnd, base, region)
				}
			})
		}
	}
	own := s.open(filepath.Join(s.TempDir(), "log"), true, nil)
	s.kernel.Attach(own.core.Fd(), own.core.OS())
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
	if err := soakWait(rnd, futures); err != nil {
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
	if err := soakWait(rnd, futures); err != nil {
		s.Errorf("reads at %d: %v", base, err)
	}
	if string(got) != string(want) {
		s.Errorf("at %d: read back something else", base)
	}
}

// soakWait is WaitAll in one of many ways.
func soakWait(rnd *rand.Rand, futures []*Future) error {
	switch rnd.IntN(5) {
	case 0:
		ask(futures...)
	case 1:
		var all sync.WaitGroup
		for _, future := range futures {
			all.Go(func() { future.Wait() })
		}
		all.Wait()
	case 2:
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for left := slices.Clone(futures); len(left) > 0; {
			i, _ := WaitAny(ctx, left...)
			left = slices.Delete(left, i, i+1)
		}
	case 3: // abandoned, and found again
		ctx, cancel := deadContext()
		defer cancel()
		for _, future := range futures {
			future.WaitContext(ctx)
		}
	}
	return WaitAll(futures...)
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
