package asyncfile

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// goRing makes a Ring for functions alone, of so many workers.
func goRing(t *testing.T, workers int) *Ring {
	t.Helper()
	r, err := NewRing(WithBackend(BackendPool), WithWorkers(workers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestGo(t *testing.T) {
	r := goRing(t, 2)
	own := errors.New("its own")
	for _, want := range []struct {
		n   int
		err error
	}{{0, nil}, {7, nil}, {-1, own}} {
		f := r.Go(func() (int, error) { return want.n, want.err })
		if n, err := f.Wait(); n != want.n || err != want.err {
			t.Errorf("%d, %v; want %d, %v", n, err, want.n, want.err)
		}
		if f.Offset() != 0 {
			t.Errorf("Offset %d", f.Offset())
		}
	}
	if s := r.Stats(); s.Calls != 3 || s.Submitted != 0 || s.Completed != 0 || s.Errors != 0 {
		t.Errorf("Stats %+v", s)
	}
	first := r.Go(func() (int, error) { return 1, nil })
	if i, err := WaitAny(t.Context(), first, newFuture()); i != 0 || err != nil {
		t.Errorf("WaitAny = %d, %v", i, err)
	}
	r.Close()
	never := func() (int, error) { t.Error("fn ran"); return 0, nil }
	for name, test := range map[string]struct {
		f    *Future
		want error
	}{
		"closed":      {r.Go(never), fs.ErrClosed},
		"closed, nil": {r.Go(nil), os.ErrInvalid},
		"zero Ring":   {new(Ring).Go(never), os.ErrInvalid},
		"nil Ring":    {(*Ring)(nil).Go(never), os.ErrInvalid},
	} {
		if n, err := test.f.Wait(); n != 0 || !errors.Is(err, test.want) {
			t.Errorf("%s: %d, %v; want 0, %v", name, n, err, test.want)
		}
	}
	if _, err := Call[int](t.Context(), r, nil, nil); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("Call of nil: %v", err)
	}
	if _, err := Call(t.Context(), r, never, nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Call on a closed Ring: %v", err)
	}
}

// TestGoIsBounded: no more functions run than there are workers, the others wait in
// order, and Close waits for all of them.
func TestGoIsBounded(t *testing.T) {
	for _, workers := range []int{1, 3, 16} {
		synctest.Test(t, func(t *testing.T) {
			r := goRing(t, workers)
			gate := make(chan struct{})
			var running, ran atomic.Int32
			for range 4 * workers {
				r.Go(func() (int, error) {
					running.Add(1)
					<-gate
					running.Add(-1)
					ran.Add(1)
					return 0, nil
				})
			}
			synctest.Wait()
			if n := running.Load(); int(n) != workers {
				t.Errorf("%d run at once, want %d", n, workers)
			}
			closed := make(chan error, 1)
			go func() { closed <- r.Close() }()
			synctest.Wait()
			if len(closed) > 0 {
				t.Error("Close did not wait")
			}
			close(gate)
			if err := <-closed; err != nil || int(ran.Load()) != 4*workers {
				t.Errorf("Close = %v after %d of %d", err, ran.Load(), 4*workers)
			}
		})
	}
}

// TestGoStarvesNoFile: with every worker of Go blocked a file of the same Ring
// answers, on each backend.
func TestGoStarvesNoFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		shared := open(putFile(t, testPattern(testBlock, 1)), os.O_RDWR)
		r, err := NewRing(WithBackend(shared.Backend()), WithWorkers(1))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		gate := make(chan struct{})
		defer close(gate)
		for range 3 {
			r.Go(func() (int, error) { <-gate; return 0, nil })
		}
		f, err := OpenFile(shared.Name(), os.O_RDWR, 0, WithRing(r), WithBackend(shared.Backend()))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := WaitAll(f.WriteAt([]byte("x"), 3), f.Sync(), f.ReadAt(make([]byte, 8), 0)); err != nil {
			t.Error(err)
		}
	})
}

// TestGoexit: a function that ends its goroutine resolves its Future, and costs the
// Ring no worker.
func TestGoexit(t *testing.T) {
	r := goRing(t, 1)
	for range 10 {
		if _, err := r.Go(func() (int, error) { runtime.Goexit(); return 0, nil }).Wait(); err != ErrGoexit {
			t.Errorf("%v, want ErrGoexit", err)
		}
	}
	if n, err := r.Go(func() (int, error) { return 5, nil }).Wait(); n != 5 || err != nil {
		t.Errorf("after Goexit: %d, %v", n, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestGoPanics: a panic ends the process and says where it came from.
func TestGoPanics(t *testing.T) {
	const env = "ASYNCFILE_TEST_PANIC"
	if os.Getenv(env) != "" {
		goRing(t, 1).Go(panicsForTest).Wait()
		select {} // the process ends, and not by this test
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGoPanics$")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: of the user's function") || !strings.Contains(string(out), "panicsForTest") {
		t.Errorf("%v\n%s", err, out)
	}
}

func panicsForTest() (int, error) { panic("of the user's function") }

// TestCallDropsWhatNobodyTakes: of a storm of calls whose contexts end at any moment
// each result goes to its caller or to drop, and never to both.
func TestCallDropsWhatNobodyTakes(t *testing.T) {
	const calls = 5000
	r := goRing(t, 4)
	var made, dropped, taken atomic.Int64
	done := make(chan struct{})
	for range calls {
		go func() {
			defer func() { done <- struct{}{} }()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if yields := rand.IntN(8); yields < 7 {
				go func() {
					for range yields {
						runtime.Gosched()
					}
					cancel()
				}()
			}
			v, err := Call(ctx, r, func() (*int64, error) {
				runtime.Gosched()
				n := made.Add(1)
				return &n, nil
			}, func(*int64) { dropped.Add(1) })
			switch {
			case err == nil && v != nil:
				taken.Add(1)
			case !errors.Is(err, ErrAbandoned) || !errors.Is(err, context.Canceled) || v != nil:
				t.Errorf("Call = %v, %v", v, err)
			}
		}()
	}
	for range calls {
		<-done
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if made.Load() != dropped.Load()+taken.Load() || taken.Load() == 0 {
		t.Errorf("%d made, %d dropped, %d taken", made.Load(), dropped.Load(), taken.Load())
	}
}

// TestCallAbandoned: in each state of the function, what becomes of a call that is
// given up.
func TestCallAbandoned(t *testing.T) {
	for _, queued := range []bool{false, true} {
		for _, own := range []error{nil, os.ErrNotExist} {
			synctest.Test(t, func(t *testing.T) {
				r := goRing(t, 1)
				gate := make(chan struct{})
				if queued {
					r.Go(func() (int, error) { <-gate; return 0, nil })
				}
				ran, dropped := 0, 0
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				v, err := Call(ctx, r, func() (int, error) {
					ran++
					<-gate
					return 7, own
				}, func(v int) { dropped += v })
				if v != 0 || !errors.Is(err, ErrAbandoned) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Call = %d, %v", v, err)
				}
				close(gate)
				r.Close()
				wantRan, wantDropped := 1, 7
				if queued {
					wantRan, wantDropped = 0, 0
				} else if own != nil {
					wantDropped = 0
				}
				if ran != wantRan || dropped != wantDropped {
					t.Errorf("queued %v, error %v: ran %d, dropped %d; want %d, %d", queued, own, ran, dropped, wantRan, wantDropped)
				}
			})
		}
	}
}
