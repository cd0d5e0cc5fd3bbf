package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// wantRefusal checks that an error is one about options, and has the texts.
func wantRefusal(t *testing.T, err error, texts ...string) {
	t.Helper()
	if !errors.Is(err, os.ErrInvalid) {
		t.Fatalf("error %v, want one of os.ErrInvalid", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	name := putFile(t, nil)
	shared := openTest(t, name, os.O_RDONLY)
	for _, c := range []struct {
		opt   Option
		texts []string // the option, the value, the range
	}{
		{WithQueueDepth(0), []string{"WithQueueDepth(0)", "1 to 4194304", "128"}},
		{WithQueueDepth(-3), []string{"WithQueueDepth(-3)", "1 to 4194304"}},
		{WithQueueDepth(aio.MaxEvents + 1), []string{"WithQueueDepth(4194305)", "1 to 4194304"}},
		{WithTimeout(0), []string{"WithTimeout(0s)", "1µs or more", "100ms"}},
		{WithTimeout(-time.Second), []string{"WithTimeout(-1s)", "1µs or more"}},
		{WithTimeout(time.Microsecond - 1), []string{"WithTimeout(999ns)", "1µs or more"}},
		{WithWaitMode(-1), []string{"WithWaitMode(-1)", "WaitGetEvents or WaitEventFD"}},
		{WithWaitMode(2), []string{"WithWaitMode(2)", "WaitGetEvents or WaitEventFD"}},
		{WithWorkers(0), []string{"WithWorkers(0)", "1 to 4096", "16"}},
		{WithWorkers(4097), []string{"WithWorkers(4097)", "1 to 4096"}},
		{WithDirect(-1), []string{"WithDirect(-1)", "DirectOff, DirectPrefer or DirectRequire"}},
		{WithDirect(3), []string{"WithDirect(3)", "DirectOff, DirectPrefer or DirectRequire"}},
		{WithBackend(-1), []string{"WithBackend(-1)", "BackendAuto, BackendAIO or BackendPool"}},
		{WithBackend(3), []string{"WithBackend(3)", "BackendAuto, BackendAIO or BackendPool"}},
		{WithRing(nil), []string{"WithRing", "pass a Ring of NewRing"}},
		{WithRing(&Ring{}), []string{"WithRing", "pass a Ring of NewRing"}},
		{WithRing(shared.Ring()), []string{"WithRing", "pass a Ring of NewRing"}},
	} {
		t.Run(c.texts[0], func(t *testing.T) {
			if f, err := Open(name, c.opt); err == nil {
				f.Close()
				t.Error("Open takes it")
			} else {
				wantRefusal(t, err, c.texts...)
			}
			r, err := NewRing(c.opt)
			if err == nil {
				r.Close()
				t.Error("NewRing takes it")
			}
			if err != nil && strings.HasPrefix(c.texts[0], "WithDirect") || c.texts[0] == "WithRing" {
				wantRefusal(t, err)
			} else if err != nil {
				wantRefusal(t, err, c.texts...)
			}
		})
	}
	// The error names all of them, not only the first.
	_, err := Open(name, WithQueueDepth(0), WithTimeout(0), WithWorkers(-1))
	wantRefusal(t, err, "WithQueueDepth(0)", "WithTimeout(0s)", "WithWorkers(-1)")
}

// TestOptionsAtTheEdge has the smallest and largest values that are legal.
func TestOptionsAtTheEdge(t *testing.T) {
	name := putFile(t, testPattern(testBlock, 1))
	for what, opt := range map[string]Option{
		"depth 1":       WithQueueDepth(1),
		"timeout 1µs":   WithTimeout(time.Microsecond),
		"long timeout":  WithTimeout(1<<63 - 1),
		"one worker":    WithWorkers(1),
		"most workers":  WithWorkers(4096),
		"getevents":     WithWaitMode(WaitGetEvents),
		"eventfd":       WithWaitMode(WaitEventFD),
		"direct off":    WithDirect(DirectOff),
		"direct prefer": WithDirect(DirectPrefer),
		"auto":          WithBackend(BackendAuto),
		"pool":          WithBackend(BackendPool),
	} {
		t.Run(what, func(t *testing.T) {
			for range 10 {
				f := openTest(t, name, os.O_RDWR, opt)
				futures := []*Future{f.ReadAt(AlignedBuffer(testBlock), 0), f.WriteAt(testPattern(testBlock, 1), 0), f.Sync()}
				if err := WaitAll(futures...); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(what, "depth") { // one round is enough for the others
					break
				}
			}
		})
	}
}

func TestOptionsThatExclude(t *testing.T) {
	name := putFile(t, nil)
	ring := newTestRing(t, WithBackend(BackendPool))
	for option, opt := range map[string]Option{
		"WithQueueDepth": WithQueueDepth(4),
		"WithTimeout":    WithTimeout(time.Second),
		"WithWaitMode":   WithWaitMode(WaitEventFD),
		"WithWorkers":    WithWorkers(4),
	} {
		for _, opts := range [][]Option{{WithRing(ring), opt}, {opt, WithRing(ring)}} {
			_, err := Open(name, opts...)
			wantRefusal(t, err, "WithRing and "+option, "NewRing")
		}
	}
	_, err := NewRing(WithRing(ring))
	wantRefusal(t, err, "WithRing")
	_, err = NewRing(WithDirect(DirectOff))
	wantRefusal(t, err, "WithDirect")
	_, err = Open(name, WithRing(ring), WithBackend(BackendAIO))
	wantRefusal(t, err, "WithRing and BackendAIO", "on the pool")

	closed, err := NewRing(WithBackend(BackendPool))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, err := Open(name, WithRing(closed)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("WithRing of a closed Ring: %v", err)
	}
}

// TestRingOfFile has a file that is given an option of a Ring get its own, and
// one that is given a Ring use that.
func TestRingOfFile(t *testing.T) {
	name := putFile(t, nil)
	ring := newTestRing(t, WithBackend(BackendPool), WithQueueDepth(5))
	given := openTest(t, name, os.O_RDONLY, WithRing(ring), WithBackend(BackendPool))
	own := openTest(t, name, os.O_RDONLY, WithQueueDepth(5))
	if given.ring != ring || own.ring == ring || own.ring.Depth() != 5 {
		t.Error("a file has another Ring than its options say")
	}
	if err := own.Close(); err != nil {
		t.Fatal(err)
	}
	if !own.ring.core.Closed() {
		t.Error("a file's own Ring is open after its Close")
	}
	if err := given.Close(); err != nil {
		t.Fatal(err)
	}
	if ring.core.Closed() {
		t.Error("a given Ring is closed with the file")
	}
}

// TestBackendOfEnvironment has the environment choose where the program does
// not.
func TestBackendOfEnvironment(t *testing.T) {
	name := putFile(t, nil)
	open := func(t *testing.T, opts ...Option) *AsyncFile {
		f, err := Open(name, opts...)
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
			t.Skipf("no native AIO: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, c := range []struct {
		env  string
		opts []Option
		want Backend
	}{
		{"", nil, BackendPool}, // a buffered file
		{"auto", nil, BackendPool},
		{"pool", nil, BackendPool},
		{"aio", nil, BackendAIO},
		{"aio", []Option{WithBackend(BackendPool)}, BackendPool},
		{"pool", []Option{WithBackend(BackendAIO)}, BackendAIO},
		{"pool", []Option{WithDirect(DirectPrefer)}, BackendPool},
		{"aio", []Option{WithQueueDepth(4)}, BackendAIO},
		{"nonsense", []Option{WithBackend(BackendPool)}, BackendPool}, // not looked at
	} {
		t.Run(fmt.Sprintf("%s with %d options", c.env, len(c.opts)), func(t *testing.T) {
			t.Setenv("ASYNCFILE_BACKEND", c.env)
			if got := open(t, c.opts...).Backend(); got != c.want {
				t.Errorf("ASYNCFILE_BACKEND=%s: on %v, want %v", c.env, got, c.want)
			}
		})
	}
	t.Setenv("ASYNCFILE_BACKEND", "uring")
	_, err := Open(name)
	wantRefusal(t, err, "ASYNCFILE_BACKEND", `"uring"`, "aio or pool")
	_, err = NewRing()
	wantRefusal(t, err, "ASYNCFILE_BACKEND", `"uring"`)
}

// TestDirectOfEnvironment has an operator choose.
func TestDirectOfEnvironment(t *testing.T) {
	needDirect(t)
	name := putFile(t, nil)
	prefer, require, off := WithDirect(DirectPrefer), WithDirect(DirectRequire), WithDirect(DirectOff)
	for _, c := range []struct {
		env     string
		flag    int
		opts    []Option
		direct  bool
		refused bool // where the file need not be direct, DirectReason tells
	}{
		{"", 0, nil, false, false},
		{"prefer", 0, nil, true, false},
		{"prefer", 0, []Option{off}, false, false}, // the program says
		{"prefer", 0, []Option{require}, true, false},
		{"prefer", aio.ODirect, nil, true, false},
		{"never", 0, nil, false, false},
		{"never", 0, []Option{off}, false, false},
		{"never", 0, []Option{prefer}, false, true},
		{"never", 0, []Option{require}, true, true},
		{"never", aio.ODirect, nil, true, true},
	} {
		t.Setenv("ASYNCFILE_DIRECT", c.env)
		f, err := OpenFile(name, os.O_RDWR|c.flag, 0, c.opts...)
		what := fmt.Sprintf("ASYNCFILE_DIRECT=%s, flag %#x, %d options", c.env, c.flag, len(c.opts))
		if c.refused && !c.direct {
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			f.Close()
			err = f.DirectReason()
		}
		if c.refused {
			if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "ASYNCFILE_DIRECT=never forbids O_DIRECT: unset it") {
				t.Errorf("%s: refused with %v", what, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if f.Direct() != c.direct || f.DirectReason() != nil {
			t.Errorf("%s: direct %v, %v", what, f.Direct(), f.DirectReason())
		}
		f.Close()
	}
	osf, err := os.OpenFile(name, os.O_RDWR|aio.ODirect, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(osf)
	if err != nil || !f.Direct() {
		t.Errorf("ASYNCFILE_DIRECT=never, a direct file for New: %v, %v", f, err)
	}
	f.Close()
	t.Setenv("ASYNCFILE_DIRECT", "always")
	_, err = Open(name)
	wantRefusal(t, err, "ASYNCFILE_DIRECT", `"always"`, "never or prefer")
	_, err = NewRing()
	wantRefusal(t, err, "ASYNCFILE_DIRECT", `"always"`)
}

// TestReasons: whatever is on the pool tells why.
func TestReasons(t *testing.T) {
	t.Setenv("ASYNCFILE_BACKEND", "")
	needDirect(t)
	name := putFile(t, nil)
	pool := newTestRing(t, WithBackend(BackendPool))
	for what, c := range map[string]struct {
		name string
		opts []Option
		want string
	}{
		"buffered":            {name, nil, "it is buffered: pass WithDirect(DirectPrefer)"},
		"buffered, own Ring":  {name, []Option{WithQueueDepth(2)}, "it is buffered: pass WithDirect(DirectPrefer)"},
		"buffered, pool Ring": {name, []Option{WithRing(pool)}, "it is buffered: pass WithDirect(DirectPrefer)"},
		"pool":                {name, []Option{WithBackend(BackendPool)}, "WithBackend, or ASYNCFILE_BACKEND, asks for the pool"},
		"refused":             {"/proc/self/stat", []Option{WithDirect(DirectPrefer)}, "it is buffered: open /proc/self/stat: asyncfile: file system proc refuses O_DIRECT"},
		"direct, pool Ring":   {name, []Option{WithRing(pool), WithDirect(DirectPrefer)}, "its Ring was made with BackendPool"},
		"folder":              {t.TempDir(), nil, "it is no regular file nor block device (d---------)"},
	} {
		f, err := Open(c.name, c.opts...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if reason := f.Reason(); f.Backend() != BackendPool || reason == nil || !strings.Contains(reason.Error(), c.want) {
			t.Errorf("%s: on %v: %v, want %q", what, f.Backend(), reason, c.want)
		}
		f.Close()
	}
}

// TestBackendAuto has direct files on native AIO, where there is any, and says
// why where there is none.
func TestBackendAuto(t *testing.T) {
	t.Setenv("ASYNCFILE_BACKEND", "")
	needDirect(t)
	f := openTest(t, putFile(t, nil), os.O_RDWR, WithDirect(DirectPrefer))
	if (f.Backend() == BackendAIO) != (f.Reason() == nil) {
		t.Errorf("on %v because of %v", f.Backend(), f.Reason())
	}
	none := openTest(t, putFile(t, nil), os.O_RDWR, WithDirect(DirectPrefer),
		withSetup(func(int) (aio.Context, error) { return nil, errors.ErrUnsupported }))
	if none.Backend() != BackendPool || !errors.Is(none.Reason(), errors.ErrUnsupported) {
		t.Errorf("without native AIO: on %v because of %v", none.Backend(), none.Reason())
	}
}

// TestDirectRefused requires direct I/O where there is none.
func TestDirectRefused(t *testing.T) {
	refused := func(t *testing.T, f *AsyncFile, err error, texts ...string) {
		t.Helper()
		if err == nil {
			f.Close()
			t.Fatal("DirectRequire succeeds")
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v, want one of errors.ErrUnsupported", err)
		}
		for _, text := range append(texts, "O_DIRECT", "DirectPrefer") {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("error %q does not say %q", err, text)
			}
		}
	}
	t.Run("proc", func(t *testing.T) {
		const name = "/proc/self/stat"
		if _, err := os.Stat(name); err != nil {
			t.Skip(err)
		}
		f, err := Open(name, WithDirect(DirectRequire))
		refused(t, f, err, name, "proc")
		f, err = OpenFile(name, os.O_RDONLY|aio.ODirect, 0)
		refused(t, f, err, name, "proc")
		f = openTest(t, name, os.O_RDONLY, WithDirect(DirectPrefer), WithBackend(BackendPool))
		if n, err := f.ReadAt(make([]byte, 3), 0).Wait(); f.Direct() || n != 3 || err != nil {
			t.Errorf("preferred: direct %v, reads %d, %v", f.Direct(), n, err)
		}
	})
	t.Run("pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		f, err := New(w, WithDirect(DirectRequire))
		refused(t, f, err)
		if _, err := w.Write([]byte("x")); err != nil {
			t.Errorf("the pipe is not its caller's any more: %v", err)
		}
		f, err = New(w, WithDirect(DirectPrefer))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// O_DIRECT would make packets of what is a stream of bytes.
		if err := WaitAll(f.Append([]byte("yz"))); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 3)
		for n := 0; n < 3; n++ { // of a packet the rest would be dropped
			if _, err := r.Read(got[n : n+1]); err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != "xyz" || f.Direct() {
			t.Errorf("the pipe has %q, direct %v", got, f.Direct())
		}
	})
	t.Run("directory", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("opens no directory")
		}
		f, err := Open(t.TempDir(), WithDirect(DirectRequire))
		refused(t, f, err)
	})
}

// TestDirectFlag has O_DIRECT in the flags, or on the file that New is given.
func TestDirectFlag(t *testing.T) {
	needDirect(t)
	name := putFile(t, testPattern(testBlock, 1))
	f := openTest(t, name, os.O_RDWR|aio.ODirect)
	if !f.Direct() {
		t.Error("O_DIRECT in the flags, and the file is not direct")
	}
	osf, err := os.OpenFile(name, os.O_RDWR|aio.ODirect, 0)
	if err != nil {
		t.Fatal(err)
	}
	given, err := New(osf)
	if err != nil {
		osf.Close()
		t.Fatal(err)
	}
	defer given.Close()
	if !given.Direct() {
		t.Error("New does not see that the file is direct")
	}
	wantResult(t, given.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil)
}

// TestNames has the names of all values, and of none.
func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		fmt.Sprint(BackendAuto, BackendAIO, BackendPool, Backend(9)):      "auto aio pool Backend(9)",
		fmt.Sprint(WaitGetEvents, WaitEventFD, WaitMode(-1)):              "getevents eventfd WaitMode(-1)",
		fmt.Sprint(DirectOff, DirectPrefer, DirectRequire, DirectMode(3)): "off prefer require DirectMode(3)",
		fmt.Sprint(OpRead, OpWrite, OpReadv, OpWritev, OpAppend):          "read write readv writev append",
		fmt.Sprint(OpSync, OpDatasync, OpKind(200)):                       "sync datasync OpKind(200)",
	} {
		if got != want {
			t.Errorf("names %q, want %q", got, want)
		}
	}
}
