package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// The environment variables of TestDifferential: how many steps it makes in all,
// and the seed to repeat a run with.
const (
	stepsEnv = "ASYNCFILE_STEPS"
	seedEnv  = "ASYNCFILE_SEED"
)

// differentialSteps is how many steps the differential tests make.
func differentialSteps(t *testing.T) int {
	t.Helper()
	n := 8_000
	if testing.Short() {
		n = 4_000
	}
	if text := os.Getenv(stepsEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			t.Fatalf("%s=%q: use a number of steps", stepsEnv, text)
		}
	}
	return n
}

// differentialSeed is the seed of a test, logged so that it can be repeated.
func differentialSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s=%q: use the number of a failed run", seedEnv, text)
		}
	}
	t.Logf("%s=%d", seedEnv, seed)
	return seed
}

// A pair is an os.File and a File of files that are alike, to which the same is
// done.
type pair struct {
	t        *testing.T
	r        *rand.Rand
	unit     int // of offsets and lengths, in bytes
	direct   bool
	opts     []Option
	names    [2]string // of the os.File and of the File
	osf      *os.File
	file     *File
	deadline bool // the File has one, far away
	busy     bool // the File is made to believe that many use it
	trace    []string
}

// maxSize is how large the files may grow, in bytes: several blocks of a copy.
const maxSize = 5 * defaultBlockSize / 2

func (p *pair) length() int {
	switch p.r.IntN(10) {
	case 0:
		return 0
	case 1:
		return p.r.IntN(300_000/p.unit) * p.unit
	}
	return p.r.IntN(20_000/p.unit+1) * p.unit
}

func (p *pair) offset() int64 {
	if p.r.IntN(30) == 0 {
		return -1 - p.r.Int64N(5000)
	}
	return p.r.Int64N(maxSize/int64(p.unit)) * int64(p.unit)
}

func (p *pair) data() []byte {
	data := AlignedBuffer(p.length())
	for i := range min(len(data), 64) {
		data[i] = byte(p.r.Uint32())
	}
	for n := 64; n < len(data); n *= 2 { // enough of chance
		copy(data[n:], data[:n])
	}
	return data
}

// open opens both files anew.
func (p *pair) open(flag int) {
	p.t.Helper()
	if p.osf != nil {
		p.close()
	}
	direct := 0
	if p.direct {
		direct = aio.ODirect
	}
	var err error
	// Not direct: what a direct os.File refuses, since it is not aligned, ours takes.
	if p.osf, err = os.OpenFile(p.names[0], flag, 0o666); err != nil {
		p.t.Fatal(err)
	}
	f, err := OpenFile(p.names[1], flag|direct, 0o666, p.opts...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.file = f.File()
	p.deadline, p.busy = false, false
}

// close closes both files and compares what closed files answer, and contents.
func (p *pair) close() {
	p.t.Helper()
	p.setBusy(false)
	p.same("Close", func(f osMethods) []any { return list(f.Close()) })
	buf := AlignedBuffer(p.unit)
	p.same("use after Close", func(f osMethods) []any {
		var all []any
		n, err := f.ReadAt(buf, 0)
		all = append(all, n, err)
		n, err = f.Read(buf)
		all = append(all, n, err)
		n, err = f.WriteAt(buf, 0)
		all = append(all, n, err)
		n, err = f.Write(buf)
		all = append(all, n, err)
		n, err = f.WriteString("closed")
		all = append(all, n, err)
		pos, err := f.Seek(0, io.SeekStart)
		all = append(all, pos, err)
		_, err = f.Stat()
		return append(all, err, f.Sync(), f.Truncate(0), f.Close())
	})
	p.compareFiles()
}

func (p *pair) compareFiles() {
	p.t.Helper()
	want, err := os.ReadFile(p.names[0])
	got, err2 := os.ReadFile(p.names[1])
	if err != nil || err2 != nil {
		p.t.Fatal(err, err2)
	}
	if !bytes.Equal(got, want) {
		p.fail("the files differ: %d bytes, want %d", len(got), len(want))
	}
}

// setBusy has a direct file take its calls through the Ring, as it does while
// many use it.
func (p *pair) setBusy(on bool) {
	switch {
	case on && !p.busy:
		for range fewCalls {
			p.file.async.core.Enter()
		}
	case !on && p.busy:
		for range fewCalls {
			p.file.async.core.Leave()
		}
	}
	p.busy = on
}

func (p *pair) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(p.trace[max(0, len(p.trace)-30):], "\n"))
}

// same makes a call on both files and compares what it returns.
func (p *pair) same(what string, call func(f osMethods) []any) {
	p.t.Helper()
	p.trace = append(p.trace, what)
	want, got := call(p.osf), call(p.file)
	for i := range want {
		if g, w := p.describe(got[i], 1), p.describe(want[i], 0); g != w {
			p.fail("%s: result %d is %.300s, os.File has %.300s", what, i, g, w)
		}
	}
	if len(p.trace) > 1000 {
		p.trace = p.trace[500:]
	}
}

// describe says everything that is to be compared of a result. The name of the
// file is not.
func (p *pair) describe(result any, which int) string {
	if b, ok := result.([]byte); ok {
		return string(b)
	}
	err, ok := result.(error)
	if !ok {
		return fmt.Sprint(result)
	}
	text := fmt.Sprintf("%T", err)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		text += fmt.Sprintf(" Op %s Path %s of %T %v", pe.Op, pe.Path, pe.Err, pe.Err)
	}
	for _, target := range []error{io.EOF, fs.ErrClosed, fs.ErrInvalid, fs.ErrPermission, errors.ErrUnsupported, os.ErrDeadlineExceeded} {
		text += fmt.Sprint(" ", errors.Is(err, target))
	}
	return strings.ReplaceAll(text+err.Error(), p.names[which], "FILE")
}

// whole returns those bytes of a buffer that two reads have to agree on. A direct
// read may leave anything behind the end of the file.
func (p *pair) whole(buf []byte, n int) []byte {
	if p.direct {
		return buf[:max(n, 0)]
	}
	return buf
}

// step does one thing to both.
func (p *pair) step() {
	p.t.Helper()
	r := p.r
	switch k := r.IntN(100); {
	case k < 18:
		n, off := p.length(), p.offset()
		p.same(fmt.Sprintf("ReadAt(%d, %d)", n, off), func(f osMethods) []any {
			buf := AlignedBuffer(n)
			n, err := f.ReadAt(buf, off)
			return list(n, err, p.whole(buf, n))
		})
	case k < 24:
		n, off := p.length(), p.offset()
		p.same(fmt.Sprintf("ReadAt(%d, %d), AsyncFile's", n, off), func(f osMethods) []any {
			buf := AlignedBuffer(n)
			var err error
			n := 0
			if ours, ok := f.(*File); ok {
				n, err = ours.Async().ReadAt(buf, off).Wait()
			} else {
				n, err = f.ReadAt(buf, off)
			}
			return list(n, err, p.whole(buf, n))
		})
	case k < 36:
		data, off := p.data(), p.offset()
		p.same(fmt.Sprintf("WriteAt(%d, %d)", len(data), off), func(f osMethods) []any {
			n, err := f.WriteAt(data, off)
			return list(n, err)
		})
	case k < 40:
		data, off := p.data(), p.offset()
		p.same(fmt.Sprintf("WriteAt(%d, %d), AsyncFile's", len(data), off), func(f osMethods) []any {
			if ours, ok := f.(*File); ok {
				n, err := ours.Async().WriteAt(data, off).Wait()
				return list(n, err)
			}
			n, err := f.WriteAt(data, off)
			return list(n, err)
		})
	case k < 50:
		n := p.length()
		p.same(fmt.Sprintf("Read(%d)", n), func(f osMethods) []any {
			buf := AlignedBuffer(n)
			n, err := f.Read(buf)
			return list(n, err, p.whole(buf, n))
		})
	case k < 57:
		data := p.data()
		p.same(fmt.Sprintf("Write(%d)", len(data)), func(f osMethods) []any {
			n, err := f.Write(data)
			return list(n, err)
		})
	case k < 60 && p.unit == 1:
		s := string(p.data())
		p.same(fmt.Sprintf("WriteString(%d)", len(s)), func(f osMethods) []any {
			n, err := f.WriteString(s)
			return list(n, err)
		})
	case k < 72:
		off, whence := p.offset(), r.IntN(3)
		if whence != io.SeekStart {
			off = (off - maxSize/2) / 4 / int64(p.unit) * int64(p.unit)
		} else if r.IntN(50) == 0 {
			whence = 5 + r.IntN(9) // there is no such thing
		}
		p.same(fmt.Sprintf("Seek(%d, %d)", off, whence), func(f osMethods) []any {
			pos, err := f.Seek(off, whence)
			return list(pos, err)
		})
	case k < 76:
		size := p.offset()
		p.same(fmt.Sprintf("Truncate(%d)", size), func(f osMethods) []any { return list(f.Truncate(size)) })
	case k < 78:
		if r.IntN(20) != 0 {
			return // it takes its time
		}
		p.same("Sync", func(f osMethods) []any { return list(f.Sync()) })
	case k < 82:
		p.same("Stat", func(f osMethods) []any {
			info, err := f.Stat()
			if err != nil {
				return list(err)
			}
			return list(info.Size(), info.Mode())
		})
	case k < 86 && p.unit == 1:
		data, limit := p.data(), r.Int64N(40_000)-100
		limited, fails := r.IntN(2) == 0, r.IntN(4) == 0
		p.same(fmt.Sprintf("ReadFrom(%d, limit %d %v, fails %v)", len(data), limit, limited, fails), func(f osMethods) []any {
			var src io.Reader = bytes.NewReader(data)
			if fails {
				src = io.MultiReader(src, failingReader{})
			}
			l := &io.LimitedReader{R: src, N: limit}
			if limited {
				src = l
			}
			n, err := f.ReadFrom(src)
			return list(n, err, l.N)
		})
	case k < 89 && p.unit == 1:
		p.same("WriteTo(buffer)", func(f osMethods) []any {
			var b bytes.Buffer
			n, err := f.WriteTo(&b)
			return list(n, err, b.Bytes())
		})
	case k < 91 && p.unit == 1 && !p.deadline: // under one it is other calls that fail
		name := filepath.Join(filepath.Dir(p.names[0]), "other")
		p.same("WriteTo(a file)", func(f osMethods) []any {
			other, err := os.Create(name)
			if err != nil {
				p.t.Fatal(err)
			}
			defer other.Close()
			n, err := f.WriteTo(other)
			data, _ := os.ReadFile(name)
			if p.direct { // no copy_file_range(2) there, which os.File's error names
				return list(n, err == nil, errors.Is(err, syscall.EBADF), data)
			}
			return list(n, err, data)
		})
	case k < 94:
		p.deadline = !p.deadline
		var when time.Time
		if p.deadline {
			when = time.Now().Add(time.Hour)
		}
		p.trace = append(p.trace, fmt.Sprintf("deadline %v", p.deadline))
		if err := p.file.SetDeadline(when); err != nil {
			p.fail("SetDeadline: %v", err)
		}
	case k < 97:
		p.setBusy(!p.busy)
		p.trace = append(p.trace, fmt.Sprintf("busy %v", p.busy))
	case r.IntN(4) == 0:
		flag := []int{os.O_RDWR, os.O_RDWR, os.O_RDWR, os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_TRUNC}[r.IntN(7)]
		p.open(flag)
		p.trace = append(p.trace, fmt.Sprintf("open, flag %#x", flag))
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the source fails") }

// differentialCells are the ways a File is carried out.
var differentialCells = []struct {
	name    string
	backend Backend
	direct  bool
}{
	{"pool/buffered", BackendPool, false},
	{"aio/buffered", BackendAIO, false},
	{"pool/direct", BackendPool, true},
	{"aio/direct", BackendAIO, true},
}

// TestDifferential does the same random things to an os.File and to a File and
// compares everything that can be seen of it. ASYNCFILE_STEPS sets how many in
// all, ASYNCFILE_SEED repeats a run.
func TestDifferential(t *testing.T) {
	steps, seed := differentialSteps(t), differentialSeed(t)
	made := 0
	for i, c := range differentialCells {
		t.Run(c.name, func(t *testing.T) {
			p := &pair{t: t, r: rand.New(rand.NewPCG(seed, uint64(i))), unit: 1, direct: c.direct}
			if c.direct {
				needDirect(t)
			}
			ring := newTestRing(t, WithBackend(c.backend), WithQueueDepth(16))
			p.opts = []Option{WithRing(ring), WithBackend(c.backend)}
			dir := t.TempDir()
			p.names = [2]string{filepath.Join(dir, "theirs"), filepath.Join(dir, "ours")}
			p.open(os.O_RDWR | os.O_CREATE)
			defer func() { // after a failure
				p.setBusy(false)
				p.osf.Close()
				p.file.Close()
			}()
			n := steps / len(differentialCells)
			for i := range n {
				p.step()
				if i%512 == 511 {
					p.compareFiles()
				}
			}
			p.close()
			made += n
			t.Logf("%d steps without a difference", n)
		})
	}
	t.Logf("%d steps without a difference, of %d", made, steps)
}

// TestDifferentialAtOnce has many goroutines do random things to one File, each
// within its own range, and keeps an os.File's file beside it.
func TestDifferentialAtOnce(t *testing.T) {
	steps, seed := differentialSteps(t), differentialSeed(t)
	const goroutines, span = 12, 16 * testBlock
	for i, c := range differentialCells {
		t.Run(c.name, func(t *testing.T) {
			unit := 1
			if c.direct {
				needDirect(t)
			}
			direct := DirectOff
			if c.direct {
				direct = DirectRequire
			}
			ring := newTestRing(t, WithBackend(c.backend), WithQueueDepth(16))
			v := openTest(t, putFile(t, nil), os.O_RDWR, WithRing(ring), WithBackend(c.backend), WithDirect(direct)).File()
			osf, err := os.OpenFile(putFile(t, nil), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer osf.Close()
			each := steps / len(differentialCells) / goroutines
			var all sync.WaitGroup
			for g := range goroutines {
				all.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(i*goroutines+g)))
					start := int64(g * span)
					got, want := AlignedBuffer(span), make([]byte, span)
					for k := range each {
						off := r.IntN(span/unit) * unit
						n := r.IntN((span-off)/unit+1) * unit
						at := start + int64(off)
						if r.IntN(2) == 0 {
							for j := range got[:n] {
								got[j] = byte(g<<4) | byte(j+k)&15
							}
							if m, err := v.WriteAt(got[:n], at); m != n || err != nil {
								t.Errorf("WriteAt(%d, %d) = %d, %v", n, at, m, err)
								return
							}
							if m, err := osf.WriteAt(got[:n], at); m != n || err != nil {
								t.Errorf("os.File: WriteAt = %d, %v", m, err)
								return
							}
							continue
						}
						// Where the file ends depends on the others, so only what
						// both have is compared; but what this goroutine wrote
						// both have.
						m, err := v.ReadAt(got[:n], at)
						l, err2 := osf.ReadAt(want[:n], at)
						if err != nil && err != io.EOF || err2 != nil && err2 != io.EOF {
							t.Errorf("ReadAt(%d, %d) = %d, %v; os.File: %d, %v", n, at, m, err, l, err2)
							return
						}
						both := min(m, l)
						if !bytes.Equal(got[:both], want[:both]) {
							t.Errorf("goroutine %d, step %d: ReadAt(%d, %d) is not what was written", g, k, n, at)
							return
						}
						for _, rest := range [][]byte{got[both:m], want[both:l]} {
							if bytes.IndexFunc(rest, func(r rune) bool { return r != 0 }) >= 0 {
								t.Errorf("goroutine %d, step %d: data that only one of the files has", g, k)
								return
							}
						}
					}
				})
			}
			all.Wait()
			want, err := os.ReadFile(osf.Name())
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, v.Name(), want)
			t.Logf("%d steps of %d goroutines without a difference", each*goroutines, goroutines)
		})
	}
}
