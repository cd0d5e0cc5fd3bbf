package asyncfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A testBlock is a multiple of what any direct file asks of offset and length.
const testBlock = 4096

// eachBackend runs test once for each way that a file can be carried out. A file
// that open returns is closed at the end if test did not.
func eachBackend(t *testing.T, test func(t *testing.T, open func(name string, flag int) *AsyncFile)) {
	cells := []struct {
		name    string
		backend Backend
		direct  DirectMode
	}{
		{"aio/direct", BackendAIO, DirectPrefer},
		{"aio/buffered", BackendAIO, DirectOff},
		{"pool/buffered", BackendPool, DirectOff},
		{"pool/direct", BackendPool, DirectPrefer},
		{"auto/buffered", BackendAuto, DirectOff},
	}
	for _, c := range cells {
		for _, mode := range []WaitMode{WaitGetEvents, WaitEventFD} {
			t.Run(c.name+"/"+mode.String(), func(t *testing.T) {
				t.Parallel() // io_destroy takes tens of milliseconds for each
				if c.direct != DirectOff {
					needDirect(t)
				}
				ring := newTestRing(t, WithBackend(c.backend), WithWaitMode(mode))
				test(t, func(name string, flag int) *AsyncFile {
					t.Helper()
					return openTest(t, name, flag, WithRing(ring), WithBackend(c.backend), WithDirect(c.direct))
				})
			})
		}
	}
}

// newTestRing makes a Ring that is closed at the end, and skips the test where
// the system has no native AIO.
func newTestRing(t *testing.T, opts ...Option) *Ring {
	t.Helper()
	ring, err := NewRing(opts...)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EAGAIN) {
		t.Skipf("no native AIO: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ring.Close(); err != nil {
			t.Errorf("Ring.Close: %v", err)
		}
		if s := ring.Stats(); s.Strays != 0 || s.InFlight != 0 && s.InFlight != ring.Depth() {
			t.Errorf("at the end the Ring has %d strays, %d in flight", s.Strays, s.InFlight)
		}
	})
	return ring
}

// openTest opens a file that is closed at the end, if the test does not.
func openTest(t testing.TB, name string, flag int, opts ...Option) *AsyncFile {
	t.Helper()
	f, err := OpenFile(name, flag, 0o666, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return f
}

// needDirect skips the test where files of t.TempDir have no direct I/O.
func needDirect(t *testing.T) {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "direct"), WithBackend(BackendPool), WithDirect(DirectRequire))
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no O_DIRECT: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// openDirect opens a direct file on native AIO, or skips the test.
func openDirect(t *testing.T, name string, flag int, opts ...Option) *AsyncFile {
	t.Helper()
	needDirect(t)
	ring := newTestRing(t, append(opts, WithBackend(BackendAIO))...)
	return openTest(t, name, flag, WithRing(ring), WithBackend(BackendAIO), WithDirect(DirectRequire))
}

// testPattern returns size bytes that only seed decides, fit for a direct file.
func testPattern(size int, seed uint64) []byte {
	p := AlignedBuffer(size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	r.Read(p)
	return p
}

// putFile makes a file in a directory of its own.
func putFile(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantContent compares a whole file.
func wantContent(t *testing.T, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Fatalf("the file has %d bytes, want %d; they differ from byte %d on", len(got), len(want), i)
	}
}

// wantResult waits for a Future.
func wantResult(t *testing.T, f *Future, n int, err error) {
	t.Helper()
	if gotN, gotErr := f.Wait(); gotN != n || gotErr != err {
		t.Fatalf("Wait() = %d, %v; want %d, %v", gotN, gotErr, n, err)
	}
}

// eventually yields until cond holds, for what no channel announces. That it
// never does is what fails, however slow the machine.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("never: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}

// raceEnabled reports whether the race detector watches, which allows no more
// than 8128 goroutines.
func raceEnabled() bool { return aio.RaceEnabled }

const (
	childEnv  = "ASYNCFILE_TEST_CHILD"
	childDone = "child: done" // what it says at the end, unless it was skipped
)

// inChild runs body in a process of its own, started through the command prefix,
// where the test must have the process, or its limits, to itself. It returns
// what the process wrote.
func inChild(t *testing.T, body func(t *testing.T), prefix ...string) string {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		body(t)
		fmt.Println(childDone)
		t.SkipNow() // the rest of the test is the parent's
	}
	cmd := childCommand(t, prefix...)
	out, err := cmd.CombinedOutput()
	checkChild(t, string(out), err)
	return string(out)
}

func childCommand(t *testing.T, prefix ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skipf("cannot start the test again: %v", err)
	}
	args := append(prefix, exe, "-test.run=^"+t.Name()+"$", "-test.v")
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	return cmd
}

func checkChild(t *testing.T, out string, err error) {
	t.Helper()
	switch {
	case strings.Contains(out, "--- FAIL") || strings.Contains(out, "DATA RACE"):
		t.Fatalf("in the child process:\n%s", out)
	case err != nil:
		t.Fatalf("the child process: %v\n%s", err, out)
	case !strings.Contains(out, childDone):
		t.Skipf("in the child process:\n%s", out)
	}
}

// A caller is what an os.File and an AsyncFile are compared by.
type caller interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	ReadvAt(bufs [][]byte, off int64) (int, error)
	WritevAt(bufs [][]byte, off int64) (int, error)
	Append(p []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

type osCaller struct{ *os.File }

func (f osCaller) Append(p []byte) (int, error) {
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	return f.Write(p)
}

func (f osCaller) ReadvAt(bufs [][]byte, off int64) (int, error) {
	return eachBuffer(bufs, off, f.ReadAt)
}

func (f osCaller) WritevAt(bufs [][]byte, off int64) (int, error) {
	return eachBuffer(bufs, off, f.WriteAt)
}

func eachBuffer(bufs [][]byte, off int64, call func([]byte, int64) (int, error)) (n int, err error) {
	if _, err := call(nil, off); err != nil {
		return 0, err
	}
	for _, p := range bufs {
		m, err := call(p, off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

type asyncCaller struct{ *AsyncFile }

func (f asyncCaller) ReadAt(p []byte, off int64) (int, error) {
	return f.AsyncFile.ReadAt(p, off).Wait()
}
func (f asyncCaller) WriteAt(p []byte, off int64) (int, error) {
	return f.AsyncFile.WriteAt(p, off).Wait()
}
func (f asyncCaller) ReadvAt(b [][]byte, off int64) (int, error) {
	return f.AsyncFile.ReadvAt(b, off).Wait()
}
func (f asyncCaller) WritevAt(b [][]byte, off int64) (int, error) {
	return f.AsyncFile.WritevAt(b, off).Wait()
}
func (f asyncCaller) Append(p []byte) (int, error) { return f.AsyncFile.Append(p).Wait() }
func (f asyncCaller) Sync() error {
	_, err := f.AsyncFile.Sync().Wait()
	return err
}

// cut divides p into buffers of the given sizes, the last of them repeated.
func cut(p []byte, sizes ...int) (bufs [][]byte) {
	for i := 0; len(p) > 0; i++ {
		n := min(sizes[min(i, len(sizes)-1)], len(p))
		bufs = append(bufs, p[:n])
		p = p[n:]
	}
	return bufs
}

// osCalls are what must turn out as it does on an os.File. p has 64 KiB.
var osCalls = []struct {
	name     string
	file     string // "odd" has 10000 bytes, "even" 20480, "empty" none, "dir" is a directory
	flag     int
	buffered bool // not aligned: no direct file takes it
	call     func(f caller, p []byte) (int, error)
}{
	{"read inside", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 4096) }},
	{"read to the end", "even", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:20480], 0) }},
	{"read across the end", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:8192], 4096) }},
	{"read across an even end", "even", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:8192], 16384) }},
	{"read all and more", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p, 0) }},
	{"read at the end", "even", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 20480) }},
	{"read behind the end", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 1<<20) }},
	{"read an empty file", "empty", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 0) }},
	{"read nothing", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(nil, 0) }},
	{"read nothing behind the end", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:0], 1<<20) }},
	{"read odd bytes", "odd", os.O_RDONLY, true, func(f caller, p []byte) (int, error) { return f.ReadAt(p[1:778], 4095) }},
	{"read the last byte", "odd", os.O_RDONLY, true, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:1], 9999) }},
	{"read at the odd end", "odd", os.O_RDONLY, true, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:1], 10000) }},
	{"read before the file", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], -4096) }},
	{"read nothing before the file", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(nil, -1) }},
	{"read very far", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 1<<62) }},
	{"read at the last offset", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 1<<63-4096) }},
	{"read what is write-only", "odd", os.O_WRONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 0) }},
	{"read nothing of what is write-only", "odd", os.O_WRONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(nil, 0) }},
	{"read a directory", "dir", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p[:4096], 0) }},
	{"read nothing of a directory", "dir", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadAt(nil, 0) }},

	{"write inside", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 4096) }},
	{"write over the end", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:8192], 8192) }},
	{"write at the end", "even", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:8192], 20480) }},
	{"write behind the end", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 1<<20) }},
	{"write into an empty file", "empty", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p, 0) }},
	{"write nothing", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(nil, 0) }},
	{"write nothing behind the end", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:0], 1<<20) }},
	{"write odd bytes", "odd", os.O_RDWR, true, func(f caller, p []byte) (int, error) { return f.WriteAt(p[1:778], 9876) }},
	{"write before the file", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], -4096) }},
	{"write nothing before the file", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(nil, -1) }},
	{"write beyond any file", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 1<<62) }},
	{"write over the last offset", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:8192], 1<<63-4096) }},
	{"write to what is read-only", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 0) }},
	{"write behind what is read-only", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 1<<20) }},
	{"write nothing to what is read-only", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.WriteAt(nil, 0) }},
	{"write to a directory", "dir", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 0) }},
	{"write in append mode", "even", os.O_RDWR | os.O_APPEND, false, func(f caller, p []byte) (int, error) { return f.WriteAt(p[:4096], 0) }},
	{"write nothing in append mode", "even", os.O_RDWR | os.O_APPEND, false, func(f caller, p []byte) (int, error) { return f.WriteAt(nil, 0) }},
	{"write before the file in append mode", "even", os.O_RDWR | os.O_APPEND, false, func(f caller, p []byte) (int, error) { return f.WriteAt(nil, -1) }},
	{"vectored write in append mode", "even", os.O_RDWR | os.O_APPEND, false, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p, 4096), 0) }},
	{"read in append mode", "even", os.O_RDWR | os.O_APPEND, false, func(f caller, p []byte) (int, error) { return f.ReadAt(p, 0) }},

	{"vectored read", "even", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p[:20480], 4096, 8192), 0) }},
	{"vectored read with empty buffers", "even", os.O_RDONLY, false, func(f caller, p []byte) (int, error) {
		return f.ReadvAt([][]byte{nil, p[:4096], {}, {}, p[4096:12288], nil}, 4096)
	}},
	{"vectored read of uneven buffers", "odd", os.O_RDONLY, true, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p[:9000], 1, 77, 5, 1000, 3), 13) }},
	{"vectored read across the end", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p, 4096), 4096) }},
	{"vectored read behind the end", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p, 4096), 1<<20) }},
	{"vectored read into nothing", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt([][]byte{nil, {}}, 0) }},
	{"vectored read of no buffer", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(nil, 0) }},
	{"vectored read of many buffers", "odd", os.O_RDONLY, true, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p[:10000], 3), 0) }},
	{"vectored read before the file", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p, 4096), -1) }},
	{"vectored read of what is write-only", "odd", os.O_WRONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p, 4096), 0) }},
	{"vectored read of a directory", "dir", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.ReadvAt(cut(p, 4096), 0) }},
	{"vectored write", "even", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p[:20480], 8192, 4096), 4096) }},
	{"vectored write with empty buffers", "even", os.O_RDWR, false, func(f caller, p []byte) (int, error) {
		return f.WritevAt([][]byte{nil, p[:4096], {}, {}, p[4096:12288], nil}, 4096)
	}},
	{"vectored write of uneven buffers", "odd", os.O_RDWR, true, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p[:9000], 1, 77, 5, 1000, 3), 13) }},
	{"vectored write of many buffers", "odd", os.O_RDWR, true, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p[:10000], 3), 9999) }},
	{"vectored write of nothing", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WritevAt([][]byte{nil, {}}, 1<<20) }},
	{"vectored write before the file", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p, 4096), -1) }},
	{"vectored write beyond any file", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p, 4096), 1<<62) }},
	{"vectored write to what is read-only", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.WritevAt(cut(p, 4096), 0) }},

	{"append", "even", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.Append(p) }},
	{"append odd bytes", "odd", os.O_RDWR, true, func(f caller, p []byte) (int, error) { return f.Append(p[3:1000]) }},
	{"append nothing", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return f.Append(nil) }},
	{"append in append mode", "even", os.O_RDWR | os.O_APPEND, false, func(f caller, p []byte) (int, error) { return f.Append(p) }},
	{"append to what is read-only", "even", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return f.Append(p) }},

	{"sync", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return 0, f.Sync() }},
	{"sync what is read-only", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return 0, f.Sync() }},
	{"sync a directory", "dir", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return 0, f.Sync() }},
	{"truncate", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return 0, f.Truncate(5000) }},
	{"truncate to more", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return 0, f.Truncate(50000) }},
	{"truncate to less than nothing", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { return 0, f.Truncate(-1) }},
	{"truncate what is read-only", "odd", os.O_RDONLY, false, func(f caller, p []byte) (int, error) { return 0, f.Truncate(0) }},
	{"truncate, then write", "even", os.O_RDWR, false, func(f caller, p []byte) (int, error) {
		if err := f.Truncate(8192); err != nil {
			return 0, err
		}
		return f.WriteAt(p[:4096], 12288)
	}},
	{"truncate, then append", "even", os.O_RDWR, false, func(f caller, p []byte) (int, error) {
		if err := f.Truncate(8192); err != nil {
			return 0, err
		}
		return f.Append(p[:4096])
	}},

	{"close twice", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return 0, f.Close() }},
	{"read, closed", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return f.ReadAt(p[:4096], 0) }},
	{"write, closed", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return f.WriteAt(p[:4096], 0) }},
	{"vectored read, closed", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return f.ReadvAt(cut(p, 4096), 0) }},
	{"vectored write, closed", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return f.WritevAt(cut(p, 4096), 0) }},
	{"sync, closed", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return 0, f.Sync() }},
	{"truncate, closed", "odd", os.O_RDWR, false, func(f caller, p []byte) (int, error) { f.Close(); return 0, f.Truncate(0) }},
}

// TestResultsOfOSFile makes each call on an os.File and on an AsyncFile, of
// files that are alike, and compares everything that can be seen of it.
func TestResultsOfOSFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		dir := t.TempDir()
		for i, c := range osCalls {
			t.Run(c.name, func(t *testing.T) {
				name := filepath.Join(dir, fmt.Sprint(i))
				run := func(open func() caller) (n int, err error, buf, content []byte) {
					makeFile(t, name, c.file)
					buf = testPattern(1<<16, 99)
					f := open()
					n, err = c.call(f, buf)
					f.Close()
					return n, err, buf, readBack(t, name)
				}
				direct := 0
				f := func() caller {
					f := open(name, c.flag)
					if f.Direct() {
						direct = aio.ODirect
						if c.buffered {
							t.Skip("not for direct files")
						}
					}
					return asyncCaller{f}
				}
				n, err, buf, content := run(f)
				wantN, wantErr, wantBuf, want := run(func() caller {
					f, err := os.OpenFile(name, c.flag|direct, 0)
					if err != nil {
						t.Fatal(err)
					}
					return osCaller{f}
				})
				if n != wantN {
					t.Errorf("n = %d (%v), os.File has %d (%v)", n, err, wantN, wantErr)
				}
				sameError(t, err, wantErr)
				if direct != 0 && n < len(buf) {
					// A direct read may leave anything behind the end of the file.
					buf, wantBuf = buf[:n], wantBuf[:n]
				}
				if !bytes.Equal(buf, wantBuf) {
					t.Error("the buffer is not what os.File leaves in it")
				}
				if !bytes.Equal(content, want) {
					t.Errorf("the file is not what os.File leaves: %d bytes, want %d", len(content), len(want))
				}
			})
		}
	})
}

// makeFile makes one of the files of osCalls.
func makeFile(t *testing.T, name, kind string) {
	t.Helper()
	os.RemoveAll(name)
	size := map[string]int{"odd": 10000, "even": 20480}[kind]
	err := os.WriteFile(name, testPattern(size, 7), 0o666)
	if kind == "dir" {
		os.Remove(name)
		err = os.Mkdir(name, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// readBack returns what a file holds, nil for a directory.
func readBack(t *testing.T, name string) []byte {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sameError compares two errors by everything that a caller may look at.
func sameError(t *testing.T, got, want error) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("error %q, os.File has %q", fmt.Sprint(got), fmt.Sprint(want))
	}
	if (got == nil) != (want == nil) || (got == io.EOF) != (want == io.EOF) {
		t.Errorf("error %#v, os.File has %#v", got, want)
	}
	var gotPath, wantPath *fs.PathError
	if errors.As(got, &gotPath) != errors.As(want, &wantPath) {
		t.Errorf("error %#v, os.File has %#v", got, want)
	} else if gotPath != nil && (gotPath.Op != wantPath.Op || gotPath.Path != wantPath.Path) {
		t.Errorf("error of %s %s, os.File has %s %s", gotPath.Op, gotPath.Path, wantPath.Op, wantPath.Path)
	}
	for _, target := range []error{
		fs.ErrClosed, fs.ErrInvalid, fs.ErrPermission, fs.ErrNotExist, io.EOF, io.ErrUnexpectedEOF, errors.ErrUnsupported,
		syscall.EBADF, syscall.EINVAL, syscall.EISDIR, syscall.EFBIG, syscall.ENOSPC, syscall.EIO, syscall.ESPIPE, syscall.EOVERFLOW,
	} {
		if errors.Is(got, target) != errors.Is(want, target) {
			t.Errorf("errors.Is(err, %v) = %v, not so for os.File (%v, %v)", target, errors.Is(got, target), got, want)
		}
	}
}

// limited makes writes that meet a limit on the size of files, or the end of the
// device, on an os.File and on an AsyncFile, and compares them. dir is where.
func limited(t *testing.T, dir string, target error) {
	data := testPattern(4<<20, 3)
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		for _, direct := range []DirectMode{DirectOff, DirectPrefer} {
			name := filepath.Join(dir, "full")
			f, err := Create(name, WithBackend(backend), WithDirect(direct))
			if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EAGAIN) {
				t.Logf("%v: %v", backend, err)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			n, err := f.WriteAt(data, 0).Wait()
			m, again := f.WriteAt(data, 8<<20).Wait()
			if !errors.Is(err, target) || !errors.Is(again, target) || n == len(data) || m == len(data) {
				t.Errorf("%v, direct %v: WriteAt = %d, %v, then %d, %v; want %v", backend, f.Direct(), n, err, m, again, target)
			}
			var pe *fs.PathError
			if !errors.As(err, &pe) || pe.Op != "write" || pe.Path != name {
				t.Errorf("%v, direct %v: WriteAt: error %#v", backend, f.Direct(), err)
			}
			got := testPattern(n, 4)
			if k, err := f.ReadAt(got, 0).Wait(); k != n || err != nil || !bytes.Equal(got, data[:n]) {
				t.Errorf("%v, direct %v: the %d bytes that were written are not there: %d, %v", backend, f.Direct(), n, k, err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			os.Remove(name)

			osf, wantErr := os.Create(name)
			if wantErr != nil {
				t.Fatal(wantErr)
			}
			// Its count is not compared: os.File says 0 after a part was written.
			_, wantErr = osf.WriteAt(data, 0)
			sameError(t, err, wantErr)
			osf.Close()
			os.Remove(name)
		}
	}
}

// TestFileSizeLimit meets RLIMIT_FSIZE.
func TestFileSizeLimit(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil || runtime.GOOS == "windows" {
		t.Skip("no shell to set a limit with")
	}
	inChild(t, func(t *testing.T) { limited(t, t.TempDir(), syscall.EFBIG) },
		"sh", "-c", `ulimit -f 2048 || { echo "no limit on the size of files"; exit; }; exec "$0" "$@"`)
}

// TestNoSpace meets the end of a small file system, which is mounted where no
// other process sees it, and is gone with the child process.
func TestNoSpace(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("needs Linux and root, to mount")
	}
	for name, mount := range map[string]string{
		"tmpfs": `mount -t tmpfs -o size=1m none "$D"`,
		"ext4":  `truncate -s 3M "$D.image" && mkfs.ext4 -q -O ^has_journal "$D.image" && mount -o loop "$D.image" "$D"`,
	} {
		t.Run(name, func(t *testing.T) {
			const dirEnv = "ASYNCFILE_TEST_DIR"
			dir := os.Getenv(dirEnv)
			if dir == "" {
				dir = filepath.Join(t.TempDir(), "mnt")
				if err := os.Mkdir(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				t.Setenv(dirEnv, dir)
			}
			inChild(t, func(t *testing.T) { limited(t, dir, syscall.ENOSPC) },
				"unshare", "-m", "sh", "-c",
				`D=$`+dirEnv+`; { `+mount+`; } >/dev/null 2>&1 || { echo "cannot mount"; exit; }; exec "$0" "$@"`)
		})
	}
}

// TestVectored has bufs overwritten as soon as the call is back, while the
// operation is still in flight.
func TestVectored(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const count = 1500 // more than one io_submit takes
		data := testPattern(count*testBlock, 1)
		name := putFile(t, nil)
		f := open(name, os.O_RDWR)
		bufs := cut(data, testBlock)
		bufs = slices.Insert(bufs, 700, nil, []byte{})
		written := f.WritevAt(bufs, testBlock)
		clear(bufs)
		wantResult(t, written, len(data), nil)

		got := AlignedBuffer(len(data) + 2*testBlock)
		bufs = cut(got, testBlock, 3*testBlock, testBlock)
		read := f.ReadvAt(bufs, 0)
		clear(bufs)
		wantResult(t, read, len(data)+testBlock, io.EOF)
		want := slices.Concat(make([]byte, testBlock), data, make([]byte, testBlock))
		if !bytes.Equal(got, want) {
			t.Error("what was read is not what was written")
		}
		wantContent(t, name, want[:len(want)-testBlock])
	})
}

// TestManyAtOnce writes and reads more than any queue has room for.
func TestManyAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const count = 1000
		data := testPattern(count*testBlock, 2)
		name := putFile(t, nil)
		f := open(name, os.O_RDWR)
		futures := make([]*Future, count)
		for _, i := range rand.Perm(count) {
			futures[i] = f.WriteAt(data[i*testBlock:][:testBlock], int64(i)*testBlock)
		}
		if err := WaitAll(futures...); err != nil {
			t.Fatal(err)
		}
		wantContent(t, name, data)

		got := AlignedBuffer(len(data))
		ops := make([]Op, count)
		for i := range ops {
			ops[i] = Op{Buf: got[i*testBlock:][:testBlock], Offset: int64(i) * testBlock}
		}
		for i, future := range f.Submit(ops...) {
			if n, err := future.Wait(); n != testBlock || err != nil || future.Offset() != int64(i)*testBlock {
				t.Fatalf("read %d: %d, %v at %d", i, n, err, future.Offset())
			}
		}
		if !bytes.Equal(got, data) {
			t.Error("what was read is not what was written")
		}
	})
}

// TestSubmitMixed has every kind of operation in one Submit.
func TestSubmitMixed(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		data := testPattern(8*testBlock, 3)
		name := putFile(t, data[:4*testBlock])
		f := open(name, os.O_RDWR)
		one, two := AlignedBuffer(testBlock), AlignedBuffer(2*testBlock)
		futures := f.Submit(
			Op{Buf: one, Offset: testBlock},
			Op{Kind: OpWrite, Buf: data[4*testBlock:][:testBlock], Offset: 4 * testBlock},
			Op{Kind: OpWritev, Bufs: cut(data[5*testBlock:7*testBlock], testBlock), Offset: 5 * testBlock},
			Op{Kind: OpAppend, Buf: data[7*testBlock:]},
			Op{Kind: OpReadv, Bufs: cut(two, testBlock), Offset: 2 * testBlock},
			Op{Kind: OpSync},
			Op{Kind: OpDatasync},
			Op{Kind: OpKind(77)},
			Op{Buf: one, Offset: -1},
		)
		for i, n := range []int{testBlock, testBlock, 2 * testBlock, testBlock, 2 * testBlock, 0, 0} {
			wantResult(t, futures[i], n, nil)
		}
		if _, err := futures[7].Wait(); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("an unknown kind: %v", err)
		}
		if _, err := futures[8].Wait(); err == nil || err == io.EOF {
			t.Errorf("a negative offset: %v", err)
		}
		if off := futures[3].Offset(); off != 7*testBlock {
			t.Errorf("appended at %d", off)
		}
		if !bytes.Equal(one, data[testBlock:2*testBlock]) || !bytes.Equal(two, data[2*testBlock:4*testBlock]) {
			t.Error("what was read is not what the file holds")
		}
		wantContent(t, name, data)
	})
}

// TestCloseDrains closes a file with hundreds of operations in flight.
func TestCloseDrains(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const count = 400
		data := testPattern(count*testBlock, 4)
		name := putFile(t, nil)
		f := open(name, os.O_RDWR)
		futures := make([]*Future, count)
		for i := range futures {
			futures[i] = f.WriteAt(data[i*testBlock:][:testBlock], int64(i)*testBlock)
		}
		futures = append(futures, f.Sync())
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for i, future := range futures {
			if n, err, ok := future.Result(); !ok || err != nil || n != testBlock && i < count {
				t.Fatalf("operation %d after Close: %d, %v, done %v", i, n, err, ok)
			}
		}
		wantContent(t, name, data)
		if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	})
}

// TestCloseRace has operations of every kind race with Close. Each ends, in
// success or with fs.ErrClosed. The descriptor's number goes to other files
// meanwhile, which must never see a byte of it.
func TestCloseRace(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		data := testPattern(4*testBlock, 5)
		name := putFile(t, data)
		victim := filepath.Join(t.TempDir(), "victim")
		rounds := 6
		if testing.Short() {
			rounds = 2
		}
		for range rounds {
			f := open(name, os.O_RDWR)
			var begun, all sync.WaitGroup
			begun.Add(8)
			for g := range 8 {
				p := testPattern(testBlock, uint64(g))
				all.Go(func() {
					for i := 0; ; i++ {
						if i == 1 {
							begun.Done()
						}
						runtime.Gosched() // what the page cache has never waits
						var future *Future
						switch g {
						case 0:
							future = f.Sync()
						case 1:
							future = f.Append(p)
						case 2:
							future = f.WritevAt([][]byte{p}, 0)
						case 3, 4:
							future = f.WriteAt(p, int64(g)*testBlock)
						default:
							future = f.ReadAt(p, 0)
						}
						if _, err := future.Wait(); errors.Is(err, fs.ErrClosed) && i > 0 {
							return
						} else if err != nil {
							t.Errorf("an operation that races with Close: %v", err)
							if i == 0 {
								begun.Done()
							}
							return
						}
					}
				})
			}
			all.Go(func() { // takes the number when it is free
				for {
					osf, err := os.Create(victim)
					if err != nil {
						t.Error(err)
						return
					}
					info, err := osf.Stat()
					if err != nil || info.Size() != 0 {
						t.Errorf("another file was written to: %v, %v", info, err)
					}
					osf.Close()
					if _, err := f.ReadAt(nil, 0).Wait(); err != nil {
						return
					}
				}
			})
			begun.Wait()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			all.Wait()
			if err := os.WriteFile(name, data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A census counts what must not outlive Close.
type census struct{ goroutines, descriptors, contexts int }

// takeCensus counts; where there is no /proc, goroutines alone.
func takeCensus() (c census) {
	c.goroutines = runtime.NumGoroutine()
	if entries, err := os.ReadDir("/proc/self/fd"); err == nil {
		c.descriptors = len(entries)
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err == nil {
		c.contexts = strings.Count(string(maps), "/[aio]")
	}
	return c
}

func (c census) within(limit census) bool {
	return c.goroutines <= limit.goroutines && c.descriptors <= limit.descriptors && c.contexts <= limit.contexts
}

// settled returns the census once the shared Rings of other tests are gone.
func settled(t *testing.T) census {
	t.Helper()
	eventually(t, "the shared Rings are released", func() bool {
		for _, s := range []*sharedRing{&sharedAIO, &sharedPool} {
			s.mu.Lock()
			gone := s.ring == nil
			s.mu.Unlock()
			if !gone {
				return false
			}
		}
		return takeCensus().contexts == 0
	})
	openPoller(t)
	return takeCensus()
}

// openPoller has the runtime open the descriptors of its network poller, which
// it keeps.
func openPoller(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
}

// TestNothingOutlivesClose looks for goroutines, descriptors and kernel contexts
// after everything was closed.
func TestNothingOutlivesClose(t *testing.T) {
	inChild(t, func(t *testing.T) {
		debug.SetGCPercent(-1) // the collector would close what Close forgets
		name := putFile(t, testPattern(64*testBlock, 6))
		before := settled(t)
		use := func(opts ...Option) {
			f, err := OpenFile(name, os.O_RDWR, 0, opts...)
			if err != nil {
				t.Logf("not here: %v", err)
				return
			}
			q := NewQueue(4)
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					p := AlignedBuffer(testBlock)
					f.ReadAt(p, 0).Wait()
					f.WriteAt(p, 64*testBlock).Wait()
					f.Append(p).Wait()
					f.Sync().Wait()
					q.ReadAt(f, p, 0, nil)
				})
			}
			for range 8 {
				<-q.C()
			}
			all.Wait()
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		for _, backend := range []Backend{BackendAuto, BackendAIO, BackendPool} {
			for _, direct := range []DirectMode{DirectOff, DirectPrefer} {
				use(WithBackend(backend), WithDirect(direct)) // the shared Ring
				for _, mode := range []WaitMode{WaitGetEvents, WaitEventFD} {
					use(WithBackend(backend), WithDirect(direct), WithWaitMode(mode)) // one of its own
				}
			}
		}
		ring, err := NewRing()
		if err != nil {
			t.Fatal(err)
		}
		use(WithRing(ring))
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, fmt.Sprintf("all is gone that was made since %+v", before), func() bool {
			return takeCensus().within(before)
		})
	})
}

// TestDroppedFile drops files without Close. The collector gives back what they
// held.
func TestDroppedFile(t *testing.T) {
	inChild(t, func(t *testing.T) {
		name := putFile(t, testPattern(testBlock, 6))
		before := settled(t)
		drop := func(opts ...Option) {
			f, err := Open(name, opts...)
			if err != nil {
				t.Logf("not here: %v", err)
				return
			}
			f.ReadAt(AlignedBuffer(testBlock), 0) // not even waited for
			if c := takeCensus(); c.within(before) {
				t.Errorf("an open file leaves no trace: %+v", c)
			}
		}
		for _, backend := range []Backend{BackendAuto, BackendAIO, BackendPool} {
			drop(WithBackend(backend))
			drop(WithBackend(backend), WithDirect(DirectPrefer))
			drop(WithBackend(backend), WithDirect(DirectPrefer), WithWaitMode(WaitEventFD))
		}
		eventually(t, fmt.Sprintf("all is gone that was made since %+v", before), func() bool {
			runtime.GC()
			return takeCensus().within(before)
		})
	})
}

// TestCollector writes from buffers that are dropped at once, into files whose
// Futures are dropped, while the collector runs without a break. Were a buffer
// known to the kernel alone, other objects would take its place: the file would
// get their bytes, and they those of a read.
func TestCollector(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const writers, rounds = 8, 32
		f := open(putFile(t, make([]byte, writers*rounds*testBlock)), os.O_RDWR)
		stop := make(chan struct{})
		var collector, all sync.WaitGroup
		collector.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		})
		canary := func(g, i int) []byte { return bytes.Repeat([]byte{byte(g), byte(i), 0xa5, 0x5a}, testBlock/4) }
		for g := range writers {
			all.Go(func() {
				var canaries [][]byte
				for i := range rounds {
					off := int64(g*rounds+i) * testBlock
					f.WriteAt(testPattern(testBlock, uint64(off)), off)
					f.ReadAt(AlignedBuffer(testBlock), off) // into what nobody has
					canaries = append(canaries, canary(g, i))
				}
				f.Sync().Wait() // the writes have ended
				for i, c := range canaries {
					if !bytes.Equal(c, canary(g, i)) {
						t.Error("an object was overwritten")
					}
				}
			})
		}
		all.Wait()
		close(stop)
		collector.Wait()
		name := f.Name()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		var want []byte
		for i := range writers * rounds {
			want = append(want, testPattern(testBlock, uint64(i)*testBlock)...)
		}
		wantContent(t, name, want)
	})
}

// TestThreads has far more goroutines wait for one file than the process may
// have threads.
func TestThreads(t *testing.T) {
	if _, err := os.ReadDir("/proc/self/task"); err != nil {
		t.Skipf("cannot count threads: %v", err)
	}
	inChild(t, func(t *testing.T) {
		goroutines := 10000
		if raceEnabled() {
			goroutines = 6000
		}
		const blocks = 256
		data := testPattern(blocks*testBlock, 8)
		f := openDirect(t, putFile(t, data), os.O_RDONLY)
		start := make(chan struct{})
		done := make(chan struct{})
		var ready, all sync.WaitGroup
		ready.Add(goroutines)
		for g := range goroutines {
			all.Go(func() {
				p := AlignedBuffer(testBlock)
				i := g % blocks
				ready.Done()
				<-start
				n, err := f.ReadAt(p, int64(i)*testBlock).Wait()
				if n != testBlock || err != nil || !bytes.Equal(p, data[i*testBlock:][:testBlock]) {
					t.Errorf("read %d: %d, %v, or other bytes", g, n, err)
				}
			})
		}
		ready.Wait()
		go func() { all.Wait(); close(done) }()
		close(start)
		most := 0
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
				runtime.Gosched()
			}
			if tasks, err := os.ReadDir("/proc/self/task"); err == nil {
				most = max(most, len(tasks))
			}
		}
		if limit := runtime.GOMAXPROCS(0) + 24; most > limit {
			t.Errorf("%d goroutines took %d threads, more than %d", goroutines, most, limit)
		}
	})
}

// TestIdleMakesNoCall holds files open with nothing in flight, and looks at what
// the Rings count.
func TestIdleMakesNoCall(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, testPattern(testBlock, 9)), os.O_RDONLY)
		wantResult(t, f.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil)
		r := f.ring
		if r.Backend() == BackendPool {
			return
		}
		eventually(t, "the completer is parked", func() bool { return r.core.Snapshot().Completer == ring.Parked })
		if s := r.Stats(); s.InFlight != 0 || s.Submitted != s.Completed {
			t.Errorf("idle, but %+v", s)
		}
	})
}

// TestIdleTrace has strace look at a process that holds files open.
func TestIdleTrace(t *testing.T) {
	const begin, end = "/asyncfile-idle-begin", "/asyncfile-idle-end"
	if os.Getenv(childEnv) == t.Name() {
		name := putFile(t, testPattern(testBlock, 9))
		for _, backend := range []Backend{BackendAuto, BackendAIO, BackendPool} {
			for _, mode := range []WaitMode{WaitGetEvents, WaitEventFD} {
				f, err := OpenFile(name, os.O_RDWR, 0, WithBackend(backend), WithDirect(DirectPrefer), WithWaitMode(mode))
				if err != nil {
					t.Skip(err)
				}
				defer f.Close()
				p := AlignedBuffer(testBlock)
				f.ReadAt(p, 0).Wait()
				f.WriteAt(p, testBlock).Wait()
				f.Sync().Wait()
			}
		}
		runtime.GC()
		os.Stat(begin)
		os.Stdin.Read(make([]byte, 1)) // what ends it
		os.Stat(end)
		fmt.Println(childDone)
		return
	}
	if testing.Short() {
		t.Skip("takes seconds")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := childCommand(t, "strace", "-f", "-ttt", "-o", trace)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	marked := func() bool {
		data, _ := os.ReadFile(trace)
		return strings.Contains(string(data), begin)
	}
	ended := false
	eventually(t, "the child is idle", func() bool {
		select {
		case err = <-exited:
			ended = true
		default:
		}
		return ended || marked()
	})
	if ended {
		if strings.Contains(out.String(), "ptrace") {
			t.Skipf("strace may not trace here: %s", out.String())
		}
		checkChild(t, out.String(), err)
		t.Fatalf("the child did not wait:\n%s", out.String())
	}
	<-time.After(2500 * time.Millisecond) // the time that is looked at
	stdin.Close()
	err = <-exited
	checkChild(t, out.String(), err)

	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	// The Go runtime's own threads take up to half a second to come to rest.
	const settle = 500 * time.Millisecond
	var from, until float64
	var lines []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			continue
		}
		switch {
		case strings.Contains(line, begin):
			from = at + settle.Seconds()
		case from > 0 && until == 0 && at >= from:
			if strings.Contains(line, "read resumed") || strings.Contains(line, "epoll") || strings.Contains(line, "futex") && len(lines) == 0 {
				until = at // woken by the end of its input
				break
			}
			lines = append(lines, line)
		}
	}
	if until-from < 1.5 {
		t.Errorf("it slept for %.1f s, not for 2", until-from)
	}
	if len(lines) > 0 {
		t.Errorf("idle, but it made these calls:\n%s", strings.Join(lines, ""))
	}
}

// TestOneProcessor runs everything on one processor, where nothing may depend
// on another to make progress.
func TestOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	t.Run("", func(t *testing.T) { // ends after its parallel parts
		eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
			data := testPattern(200*testBlock, 10)
			name := putFile(t, nil)
			f := open(name, os.O_RDWR)
			var all sync.WaitGroup
			for g := range 10 {
				all.Go(func() {
					for i := g; i < 200; i += 10 {
						p := data[i*testBlock:][:testBlock]
						if n, err := f.WriteAt(p, int64(i)*testBlock).Wait(); n != len(p) || err != nil {
							t.Errorf("WriteAt: %d, %v", n, err)
						}
					}
				})
			}
			all.Wait()
			if _, err := f.Sync().Wait(); err != nil {
				t.Error(err)
			}
			wantContent(t, name, data)
		})
	})
}

// TestNewKeepsFile has New fail: the file stays its caller's, as it was.
func TestNewKeepsFile(t *testing.T) {
	data := testPattern(testBlock, 11)
	osf, err := os.Open(putFile(t, data))
	if err != nil {
		t.Fatal(err)
	}
	defer osf.Close()
	ring, err := NewRing(WithBackend(BackendPool))
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	for what, opts := range map[string][]Option{
		"a bad option":  {WithQueueDepth(0)},
		"a closed Ring": {WithRing(ring), WithDirect(DirectPrefer)},
	} {
		if f, err := New(osf, opts...); err == nil {
			f.Close()
			t.Fatalf("New with %s succeeds", what)
		}
		got := make([]byte, testBlock-1) // not aligned: a direct file would refuse
		if _, err := osf.ReadAt(got, 1); err != nil || !bytes.Equal(got, data[1:]) {
			t.Fatalf("after New with %s the file reads: %v", what, err)
		}
	}
	if _, err := New(nil); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("New(nil): %v", err)
	}
	f, err := New(osf, WithBackend(BackendPool))
	if err != nil {
		t.Fatal(err)
	}
	if f.Name() != osf.Name() || f.Backend() != BackendPool || f.Direct() || f.Reason() == nil {
		t.Errorf("%s on %v, direct %v, %v", f.Name(), f.Backend(), f.Direct(), f.Reason())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := osf.Stat(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the os.File after Close: %v", err)
	}
}

// TestOpenErrors compares what cannot be opened with os.
func TestOpenErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := Open(missing)
	_, want := os.Open(missing)
	sameError(t, err, want)
	if _, err := Create(t.TempDir()); err == nil {
		t.Error("Create of a directory succeeds")
	}
	if _, err := OpenFile(missing, os.O_RDWR|os.O_CREATE, 0o666, WithQueueDepth(-1)); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a bad option: %v", err)
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a bad option, and the file was touched: %v", err)
	}
}

// TestPipe reads and writes what has no offsets.
func TestPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := New(w)
	if err != nil {
		w.Close()
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 6)
	first, second := f.Append([]byte("one")), f.Append([]byte("two"))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "onetwo" {
		t.Errorf("the pipe has %q, %v", got, err)
	}
	wantResult(t, first, 3, nil)
	wantResult(t, second, 3, nil)
	if _, err := f.WriteAt([]byte("x"), 0).Wait(); !errors.Is(err, syscall.ESPIPE) && runtime.GOOS != "windows" {
		t.Errorf("WriteAt on a pipe: %v", err)
	}
}

// TestWaitersOfOneFile waits for the same operations in every way at once.
func TestWaitersOfOneFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, testPattern(16*testBlock, 12)), os.O_RDONLY)
		var futures []*Future
		for i := range 16 {
			futures = append(futures, f.ReadAt(AlignedBuffer(testBlock), int64(i)*testBlock))
		}
		var wrong atomic.Int32
		check := func(n int, err error) {
			if n != testBlock || err != nil {
				wrong.Add(1)
			}
		}
		var all sync.WaitGroup
		for _, future := range futures {
			all.Go(func() { check(future.Wait()) })
			all.Go(func() { check(future.WaitContext(t.Context())) })
			all.Go(func() { <-future.Done(); n, err, ok := future.Result(); check(n, err); _ = ok })
		}
		all.Go(func() {
			if i, err := WaitAny(context.Background(), futures...); i < 0 || err != nil {
				wrong.Add(1)
			}
		})
		all.Go(func() {
			if WaitAll(futures...) != nil {
				wrong.Add(1)
			}
		})
		all.Wait()
		if n := wrong.Load(); n > 0 {
			t.Errorf("%d waits went wrong", n)
		}
	})
}
