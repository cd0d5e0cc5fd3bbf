package asyncfile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// openScripted opens a file whose operations go to a scripted kernel, by the
// route of a direct file, and are all held there.
func openScripted(t *testing.T, depth int) (*aiotest.Kernel, *AsyncFile) {
	t.Helper()
	mem := aiotest.NewMem(testPattern(64*testBlock, 1))
	kernel := aiotest.New(depth)
	// Whatever the descriptor is: also that of the null device, which the Ring
	// is tried on.
	for fd := range 1 << 12 {
		kernel.Attach(fd, mem)
	}
	name := putFile(t, nil)
	f, err := OpenFile(name, os.O_RDWR, 0, WithBackend(BackendAIO), WithQueueDepth(depth),
		withSetup(func(int) (aio.Context, error) { return kernel, nil }))
	if err != nil {
		t.Fatal(err)
	}
	kernel.OnOp(func(*aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
	kernel.Attach(f.core.Fd(), mem)
	f.core.Direct, f.core.Blocks, f.core.Mixed, f.core.ResizesAlone = true, file.Blocking{}, false, false
	t.Cleanup(func() {
		for _, op := range kernel.Held() {
			op.Complete()
		}
		if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
		for _, v := range kernel.Violations() {
			t.Errorf("the scripted kernel: %s", v)
		}
	})
	return kernel, f
}

func TestFutureResult(t *testing.T) {
	wrong := errors.New("wrong")
	f := newFuture()
	if n, err, ok := f.Result(); n != 0 || err != nil || ok {
		t.Errorf("Result of what is not done: %d, %v, %v", n, err, ok)
	}
	f.resolve(7, wrong, 99)
	for range 2 {
		if n, err, ok := f.Result(); n != 7 || err != wrong || !ok {
			t.Errorf("Result: %d, %v, %v", n, err, ok)
		}
		if n, err := f.Wait(); n != 7 || err != wrong {
			t.Errorf("Wait: %d, %v", n, err)
		}
	}
	if off := f.Offset(); off != 99 {
		t.Errorf("Offset: %d", off)
	}
}

// TestFutureDone has the channel made only for who asks for it, and only once.
func TestFutureDone(t *testing.T) {
	f := newFuture()
	go f.resolve(1, nil, 0)
	f.Wait()
	if f.done != nil {
		t.Error("Wait made a channel")
	}
	if c := f.Done(); c != closedChan {
		t.Error("Done of what is done makes a channel")
	}

	f = newFuture()
	c := f.Done()
	select {
	case <-c:
		t.Error("closed too early")
	default:
	}
	if f.Done() != c {
		t.Error("Done has another channel the second time")
	}
	f.resolve(1, nil, 0)
	<-c
	if f.Done() != c {
		t.Error("Done has another channel afterwards")
	}
	if _, _, ok := f.Result(); !ok {
		t.Error("Done is closed and there is no result")
	}
}

// A lateContext is a dead context that resolves f when it is looked at.
type lateContext struct {
	context.Context
	f *Future
}

func (c lateContext) Done() <-chan struct{} {
	if _, _, ok := c.f.Result(); !ok {
		c.f.resolve(5, nil, 0)
	}
	return c.Context.Done()
}

func TestFutureWaitContext(t *testing.T) {
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFuture()
	n, err := f.WaitContext(dead)
	if n != 0 || !errors.Is(err, ErrAbandoned) || !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %d, %v", n, err)
	}
	late, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	if _, err := f.WaitContext(late); !errors.Is(err, ErrAbandoned) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
	f.resolve(5, nil, 0)
	for range 100 { // a select would take either
		if n, err := f.WaitContext(dead); n != 5 || err != nil {
			t.Fatalf("the result does not beat the dead context: %d, %v", n, err)
		}
	}
	// The result comes just before the select, which takes either then.
	for range 100 {
		f := newFuture()
		if n, err := f.WaitContext(lateContext{dead, f}); n != 5 || err != nil {
			t.Fatalf("the result was first: %d, %v", n, err)
		}
	}
	f = newFuture()
	go f.resolve(6, nil, 0)
	if n, err := f.WaitContext(context.Background()); n != 6 || err != nil || f.done != nil {
		t.Errorf("with a context that cannot end: %d, %v, channel %v", n, err, f.done)
	}
}

// TestAbandon has a wait end before its operation, which keeps buffer and place.
func TestAbandon(t *testing.T) {
	kernel, f := openScripted(t, 1)
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	p := make([]byte, testBlock)
	future := f.ReadAt(p, 0)
	if _, err := future.WaitContext(dead); !errors.Is(err, ErrAbandoned) {
		t.Fatal(err)
	}
	if n := f.ring.Stats().InFlight; n != 1 {
		t.Errorf("%d in flight, want the one that was abandoned", n)
	}
	if f.ring.core.TryAcquire(f.core.Lane) != nil {
		t.Error("its place was given away")
	}
	kernel.Await(1)[0].Complete()
	<-future.Done()
	wantResult(t, future, testBlock, nil)
	if want := testPattern(64*testBlock, 1)[:testBlock]; string(p) != string(want) {
		t.Error("the abandoned read did not arrive in its buffer")
	}
	eventually(t, "the place is free", func() bool { return f.ring.Stats().InFlight == 0 })
}

// TestWaitAll tries every order of results: the first that is neither nil nor
// io.EOF wins, and io.EOF over nil.
func TestWaitAll(t *testing.T) {
	if err := WaitAll(); err != nil {
		t.Errorf("of none: %v", err)
	}
	results := []error{nil, io.EOF, errors.New("first"), errors.New("second"), errNoFuture}
	const count = 3
	for test := range len(results) * len(results) * len(results) {
		var want error
		rest := test
		futures := make([]*Future, count)
		var done sync.WaitGroup
		for k := range futures {
			err := results[rest%len(results)]
			rest /= len(results)
			if err != nil && err != io.EOF && (want == nil || want == io.EOF) || want == nil {
				want = err
			}
			if err == errNoFuture {
				continue // leaves a nil Future
			}
			futures[k] = newFuture()
			done.Go(func() { futures[k].resolve(0, err, 0) })
		}
		if err := WaitAll(futures...); err != want {
			t.Errorf("%d: WaitAll = %v, want %v", test, err, want)
		}
		for k, f := range futures {
			if _, _, ok := f.Result(); !ok {
				t.Errorf("%d: future %d is not done", test, k)
			}
		}
		done.Wait()
	}
}

// TestWaitAllOfShortFile reads a file that is shorter than what is asked, as who
// reads a whole file in blocks does, with a read that fails behind its end.
func TestWaitAllOfShortFile(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(100, 1)), os.O_RDONLY)
	short, bad := Op{Buf: make([]byte, 200)}, Op{Buf: make([]byte, 1), Offset: -1}
	if err := WaitAll(f.Submit(short)...); err != io.EOF {
		t.Errorf("of a short read: %v", err)
	}
	var pe *fs.PathError
	if err := WaitAll(f.Submit(short, bad)...); !errors.As(err, &pe) {
		t.Errorf("of a short read and one that failed: %v", err)
	}
}

// TestWaitAllWaitsForAll has an error early: it must not end the wait.
func TestWaitAllWaitsForAll(t *testing.T) {
	kernel, f := openScripted(t, 4)
	bad, slow := f.ReadAt(make([]byte, testBlock), 0), f.ReadAt(make([]byte, testBlock), testBlock)
	ops := kernel.Await(2)
	ops[0].Fail(5)
	<-bad.Done()
	returned := make(chan error, 1)
	go func() { returned <- WaitAll(bad, slow) }()
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case err := <-returned:
		t.Fatalf("WaitAll is back with %v while one is in flight", err)
	default:
	}
	ops[1].Complete()
	if err := <-returned; err == nil {
		t.Error("WaitAll has no error")
	}
	if _, _, ok := slow.Result(); !ok {
		t.Error("WaitAll was back too early")
	}
}

func TestWaitAny(t *testing.T) {
	ctx := t.Context()
	dead, cancel := context.WithCancel(ctx)
	cancel()
	wrong := errors.New("wrong")
	if i, err := WaitAny(ctx); i != -1 || err == nil {
		t.Errorf("of none: %d, %v", i, err)
	}
	a, b, c := newFuture(), newFuture(), newFuture()
	i, err := WaitAny(dead, a, b, c)
	if i != -1 || !errors.Is(err, ErrAbandoned) || !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %d, %v", i, err)
	}
	go b.resolve(0, wrong, 0)
	if i, err := WaitAny(ctx, a, b, c); i != 1 || err != wrong {
		t.Errorf("WaitAny = %d, %v", i, err)
	}
	if i, err := WaitAny(dead, a, b, c); i != 1 || err != wrong {
		t.Errorf("the result does not beat the dead context: %d, %v", i, err)
	}
	a.resolve(3, nil, 0)
	if i, err := WaitAny(ctx, c, a, b); i != 1 || err != nil {
		t.Errorf("WaitAny = %d, %v; want the lowest index that is done", i, err)
	}
	if i, err := WaitAny(ctx, c, b, b); i != 1 || err != wrong {
		t.Errorf("with one twice: %d, %v", i, err)
	}
	if c.watchers != nil {
		t.Error("WaitAny leaves watchers behind")
	}
}

// TestWaitAnyTwice has the same Future twice in the list, not done yet.
func TestWaitAnyTwice(t *testing.T) {
	f, slow := newFuture(), newFuture()
	go f.resolve(0, nil, 0)
	if i, err := WaitAny(t.Context(), slow, f, f); i != 1 || err != nil {
		t.Errorf("WaitAny = %d, %v", i, err)
	}
	if f.watchers != nil || slow.watchers != nil {
		t.Error("WaitAny leaves watchers behind")
	}
}

// TestWaitAnyLoop takes part in many WaitAnys with an operation that is long in
// flight.
func TestWaitAnyLoop(t *testing.T) {
	slow := newFuture()
	dead, cancel := context.WithCancel(t.Context())
	cancel()
	for range 1000 {
		f := newFuture()
		go f.resolve(0, nil, 0)
		if i, err := WaitAny(t.Context(), slow, f); i != 1 || err != nil {
			t.Fatalf("WaitAny = %d, %v", i, err)
		}
		if _, err := WaitAny(dead, slow); err == nil {
			t.Fatal("WaitAny of what is not done has no error")
		}
		if slow.watchers != nil {
			t.Fatal("the list of watchers grows")
		}
	}
}

// TestUnwatch takes watchers off in every order. The Future does not say where
// its list begins: who leaves looks at its neighbours alone, so that many
// WaitAnys that are abandoned cost no time that grows with the square of their number.
func TestUnwatch(t *testing.T) {
	const count = 4
	for order := range permutations(count) {
		f, head := newFuture(), new(watcher)
		f.watch(head)
		watchers := make([]watcher, count)
		for i := range watchers {
			f.watch(&watchers[i])
		}
		first := f.watchers
		f.watch(new(watcher)) // so that none of the four is the first
		f.watchers = nil
		if first != &watchers[count-1] {
			t.Fatal("the last to come is not the first in the list")
		}
		for left, i := range order {
			f.unwatch(&watchers[i])
			n := 0
			for w := head; w.prev != nil; w = w.prev {
				if w.prev.next != w {
					t.Fatalf("%v: the list is torn", order)
				}
				n++
			}
			if want := count - left; n != want { // one is the first, which stays
				t.Fatalf("%v: %d before the last after %d have left, want %d", order, n, left+1, want)
			}
		}
	}
}

// permutations yields every order of 0 to n-1.
func permutations(n int) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		var from func(k int) bool
		from = func(k int) bool {
			if k == n {
				return yield(order)
			}
			for i := k; i < n; i++ {
				order[k], order[i] = order[i], order[k]
				if !from(k + 1) {
					return false
				}
				order[k], order[i] = order[i], order[k]
			}
			return true
		}
		from(0)
	}
}

// TestWaitAnyAtOnce has several WaitAnys share their Futures.
func TestWaitAnyAtOnce(t *testing.T) {
	futures := make([]*Future, 20)
	for i := range futures {
		futures[i] = newFuture()
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			rest := append([]*Future(nil), futures...)
			for len(rest) > 0 {
				i, err := WaitAny(t.Context(), rest...)
				if err != nil {
					t.Error(err)
					return
				}
				rest = append(rest[:i], rest[i+1:]...)
			}
		})
	}
	for _, f := range futures {
		all.Go(func() { f.resolve(1, nil, 0) })
	}
	all.Wait()
	for _, f := range futures {
		if f.watchers != nil {
			t.Error("watchers are left")
		}
	}
}

// TestManyWaiters has a hundred goroutines wait for one Future, in all ways.
func TestManyWaiters(t *testing.T) {
	f := newFuture()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var parked, all sync.WaitGroup
	for i := range 100 {
		parked.Add(1)
		all.Go(func() {
			parked.Done()
			var n int
			switch i % 4 {
			case 0:
				n, _ = f.Wait()
			case 1:
				n, _ = f.WaitContext(ctx)
			case 2:
				<-f.Done()
				n, _, _ = f.Result()
			case 3:
				WaitAny(ctx, f)
				n = int(f.Offset())
			}
			if n != 42 {
				t.Errorf("waiter %d got %d", i, n)
			}
		})
	}
	parked.Wait()
	f.resolve(42, nil, 42)
	all.Wait()
}

// TestHappensBefore has the race detector see that what an operation did comes
// before its result.
func TestHappensBefore(t *testing.T) {
	for range 100 {
		f, n := newFuture(), 0
		go func() { n = 1; f.resolve(0, nil, 0) }()
		for {
			if _, _, ok := f.Result(); ok {
				break
			}
			runtime.Gosched()
		}
		if n != 1 {
			t.Fatal("the result can be seen before what the operation did")
		}
	}
}

// TestFutureAllocations counts what an operation with a Future allocates.
func TestFutureAllocations(t *testing.T) {
	if raceEnabled() || os.Getenv(file.VerifyEnv) == "1" {
		t.Skip("the race detector allocates, and so does the verifier")
	}
	name := putFile(t, testPattern(testBlock, 1))
	p := AlignedBuffer(testBlock)
	for what, open := range map[string]func(t *testing.T) *AsyncFile{
		"aio direct": func(t *testing.T) *AsyncFile { return openDirect(t, name, os.O_RDWR) },
		"aio direct eventfd": func(t *testing.T) *AsyncFile {
			return openDirect(t, name, os.O_RDWR, WithWaitMode(WaitEventFD))
		},
		"cached": func(t *testing.T) *AsyncFile { return openTest(t, name, os.O_RDWR) },
		"pool":   func(t *testing.T) *AsyncFile { return openTest(t, name, os.O_RDWR, WithBackend(BackendPool)) },
		"pool direct": func(t *testing.T) *AsyncFile {
			return openTest(t, name, os.O_RDWR, WithBackend(BackendPool), WithDirect(DirectPrefer))
		},
		"tmpfs": func(t *testing.T) *AsyncFile {
			dir, err := os.MkdirTemp("/dev/shm", "asyncfile")
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			name := filepath.Join(dir, "file")
			if err := os.WriteFile(name, p, 0o666); err != nil {
				t.Skip(err)
			}
			return openTest(t, name, os.O_RDWR)
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := open(t)
			for kind, op := range map[string]func() *Future{
				"ReadAt":  func() *Future { return f.ReadAt(p, 0) },
				"WriteAt": func() *Future { return f.WriteAt(p, 0) },
			} {
				got := testing.AllocsPerRun(200, func() {
					if n, err := op().Wait(); n != len(p) || err != nil {
						t.Fatalf("%d, %v", n, err)
					}
				})
				if got > 1 {
					t.Errorf("%s allocates %v times, want once, for the Future", kind, got)
				}
			}
		})
	}
}
