package asyncfiletest_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/asyncfiletest"
)

// A fakeT is a testing.TB of the tests' own, of an example or of what is to fail.
type fakeT struct {
	testing.TB // nil: what is not below is not called
	cleanups   []func()
	failed     []string
}

func newT() *fakeT { return new(fakeT) }

func (t *fakeT) Helper()          {}
func (t *fakeT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *fakeT) Errorf(format string, args ...any) {
	t.failed = append(t.failed, fmt.Sprintf(format, args...))
}
func (t *fakeT) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

func (t *fakeT) TempDir() string {
	dir, err := os.MkdirTemp("", "asyncfiletest")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (t *fakeT) finish() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	for _, text := range t.failed {
		fmt.Println(text)
	}
}

// failure returns what test fails with.
func failure(test func(t testing.TB)) string {
	t := newT()
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(t)
	}()
	<-done
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	return strings.Join(t.failed, "\n")
}

// TestBadInput: what makes no sense ends the test, and says what to do.
func TestBadInput(t *testing.T) {
	for _, test := range []struct {
		fault asyncfiletest.Fault
		want  string
	}{
		{asyncfiletest.Fault{}, "nothing happens"},
		{asyncfiletest.Fault{File: "*.wal", Op: asyncfiletest.Write, After: 3, Times: 1}, "nothing happens"},
		{asyncfiletest.Fault{File: "[", Err: syscall.EIO}, "syntax error in pattern"},
		{asyncfiletest.Fault{Op: 1 << 6, Err: syscall.EIO}, "Op(0x40)"},
		{asyncfiletest.Fault{From: -1, Err: syscall.EIO}, "From -1"},
		{asyncfiletest.Fault{From: 5, To: 5, Err: syscall.EIO}, "at least one byte"},
		{asyncfiletest.Fault{After: -1, Err: syscall.EIO}, "After -1"},
		{asyncfiletest.Fault{Times: -1, Err: syscall.EIO}, "Times -1"},
		{asyncfiletest.Fault{Chance: 1.5, Err: syscall.EIO}, "Chance 1.5"},
		{asyncfiletest.Fault{Chance: math.NaN(), Err: syscall.EIO}, "Chance NaN"},
		{asyncfiletest.Fault{Delay: -1}, "Delay -1ns"},
		{asyncfiletest.Fault{Short: -1}, "Short -1"},
		{asyncfiletest.Fault{Short: 5, Op: asyncfiletest.Sync}, "only a Read or a Write"},
	} {
		got := failure(func(t testing.TB) { asyncfiletest.NewRing(t).Inject(test.fault) })
		if !strings.Contains(got, "asyncfiletest.Inject: ") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.fault, got, test.want)
		}
	}
	for want, test := range map[string]func(t testing.TB){
		"WithWorkers(0)": func(t testing.TB) { asyncfiletest.NewRing(t, asyncfile.WithWorkers(0)) },
		"Crash.Keep 2":   func(t testing.TB) { asyncfiletest.NewRing(t).CrashClone(".", asyncfiletest.Crash{Keep: 2}) },
		"no such file":   func(t testing.TB) { asyncfiletest.NewRing(t).CrashClone("absent", asyncfiletest.Crash{}) },
	} {
		if got := failure(test); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// create makes a file on a Ring.
func create(t *testing.T, ring *asyncfiletest.Ring, name string) *asyncfile.AsyncFile {
	t.Helper()
	f, err := asyncfile.Create(name, asyncfile.WithRing(ring.Ring))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestWhichCalls: of ten writes, those that each Fault happens to.
func TestWhichCalls(t *testing.T) {
	failing := func(fault asyncfiletest.Fault) (failed []int) {
		ring := asyncfiletest.NewRing(t)
		f := create(t, ring, filepath.Join(t.TempDir(), "a.wal"))
		fault.Err = syscall.EIO
		i := ring.Inject(fault)
		for n := range 10 {
			if _, err := f.WriteAt(make([]byte, 100), int64(100*n)).Wait(); errors.Is(err, syscall.EIO) {
				failed = append(failed, n)
			} else if err != nil {
				t.Error(err)
			}
		}
		if i.Hits() != len(failed) {
			t.Errorf("%d hits for %v", i.Hits(), failed)
		}
		return failed
	}
	for _, test := range []struct {
		fault asyncfiletest.Fault
		want  []int
	}{
		{asyncfiletest.Fault{File: "*.wal", Op: asyncfiletest.Write, After: 2, Times: 1}, []int{2}},
		{asyncfiletest.Fault{After: 7}, []int{7, 8, 9}},
		{asyncfiletest.Fault{Times: 2}, []int{0, 1}},
		{asyncfiletest.Fault{Op: asyncfiletest.Read | asyncfiletest.Sync}, nil},
		{asyncfiletest.Fault{File: "*.sst"}, nil},
		{asyncfiletest.Fault{File: "/*/*.wal"}, nil},
		{asyncfiletest.Fault{From: 250, To: 401}, []int{2, 3, 4}},
		{asyncfiletest.Fault{From: 300, To: 400}, []int{3}},
		{asyncfiletest.Fault{From: 850}, []int{8, 9}},
		{asyncfiletest.Fault{From: 300, After: 1, Times: 2}, []int{4, 5}},
		{asyncfiletest.Fault{Chance: 1}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
	} {
		if got := failing(test.fault); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.fault, got, test.want)
		}
	}
	differ := false
	for seed := range uint64(4) {
		fault := asyncfiletest.Fault{Chance: 0.5, Seed: seed}
		first := failing(fault)
		if again := failing(fault); !slices.Equal(first, again) {
			t.Errorf("seed %d: %v, then %v", seed, first, again)
		}
		differ = differ || !slices.Equal(first, failing(asyncfiletest.Fault{Chance: 0.5, Seed: seed + 1}))
	}
	if !differ {
		t.Error("the seed makes no difference")
	}
}

// TestFaultsTogether: a short call, and the next one fails: the operation tells both.
func TestFaultsTogether(t *testing.T) {
	ring := asyncfiletest.NewRing(t)
	f := create(t, ring, filepath.Join(t.TempDir(), "a.wal"))
	ring.Inject(asyncfiletest.Fault{Op: asyncfiletest.Write, Short: 512, Times: 1})
	ring.Inject(asyncfiletest.Fault{Op: asyncfiletest.Write, After: 1, Times: 1, Err: syscall.ENOSPC})
	if n, err := f.WriteAt(make([]byte, 4000), 0).Wait(); n != 512 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%d, %v; want 512, ENOSPC", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 4000), 0).Wait(); n != 4000 || err != nil {
		t.Errorf("then %d, %v", n, err)
	}
}

// TestDelayByFakeClock: in a bubble an hour passes at once, and to the second.
func TestDelayByFakeClock(t *testing.T) {
	for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
		synctest.Test(t, func(t *testing.T) {
			tb := newT()
			defer tb.finish()
			ring := asyncfiletest.NewRing(tb, asyncfile.WithBackend(backend))
			f, err := asyncfile.Create(filepath.Join(tb.TempDir(), "a"), asyncfile.WithRing(ring.Ring), asyncfile.WithBackend(backend))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			ring.Inject(asyncfiletest.Fault{Op: asyncfiletest.Write, Delay: time.Hour})
			start := time.Now()
			if _, err := f.WriteAt([]byte("x"), 0).Wait(); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took < time.Hour || took > time.Hour+time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestEndReleases: a test that ends with calls held does not hang.
func TestEndReleases(t *testing.T) {
	var held *asyncfile.Future
	got := failure(func(tb testing.TB) {
		ring := asyncfiletest.NewRing(tb)
		f := create(t, ring, filepath.Join(t.TempDir(), "a"))
		i := ring.Inject(asyncfiletest.Fault{Hold: true, Delay: time.Hour})
		held = f.WriteAt([]byte("x"), 0)
		held.Result() // has it sent
		i.AwaitHeld(1)
	})
	if n, err := held.Wait(); n != 1 || err != nil || got != "" {
		t.Errorf("%d, %v; %s", n, err, got)
	}
}
