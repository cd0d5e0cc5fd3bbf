package asyncfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// A plainWriter hides every method but Write.
type plainWriter struct{ w io.Writer }

func (w plainWriter) Write(p []byte) (int, error) { return w.w.Write(p) }

// copies are ways to copy src to dst. extra is what else was learned.
var copies = []struct {
	name    string
	dstAsks bool // dst.ReadFrom(src), rather than src.WriteTo(dst)
	copy    func(dst, src osMethods) (n int64, err error, extra any)
}{
	{"Copy", false, func(dst, src osMethods) (int64, error, any) { n, err := io.Copy(dst, src); return n, err, nil }},
	{"ReadFrom", true, func(dst, src osMethods) (int64, error, any) { n, err := dst.ReadFrom(src); return n, err, nil }},
	{"WriteTo", false, func(dst, src osMethods) (int64, error, any) { n, err := src.WriteTo(dst); return n, err, nil }},
	{"CopyN", true, func(dst, src osMethods) (int64, error, any) {
		n, err := io.CopyN(dst, src, 100_000)
		return n, err, nil
	}},
	{"LimitedReader", true, func(dst, src osMethods) (int64, error, any) {
		r := &io.LimitedReader{R: src, N: 300_000}
		n, err := io.Copy(dst, r)
		return n, err, r.N
	}},
	{"LimitedReader of nothing", false, func(dst, src osMethods) (int64, error, any) {
		r := &io.LimitedReader{R: src, N: 0}
		n, err := dst.ReadFrom(r)
		return n, err, r.N
	}},
	{"LimitedReader less than nothing", false, func(dst, src osMethods) (int64, error, any) {
		r := &io.LimitedReader{R: src, N: -5}
		n, err := dst.ReadFrom(r)
		return n, err, r.N
	}},
	{"LimitedReader of a buffer", false, func(dst, src osMethods) (int64, error, any) {
		r := &io.LimitedReader{R: strings.NewReader(strings.Repeat("buffer", 100)), N: 77}
		n, err := dst.ReadFrom(r)
		return n, err, r.N
	}},
	{"from a buffer", false, func(dst, src osMethods) (int64, error, any) {
		n, err := dst.ReadFrom(bytes.NewReader(testPattern(400_000, 3)))
		return n, err, nil
	}},
	{"from a reader that fails", false, func(dst, src osMethods) (int64, error, any) {
		n, err := dst.ReadFrom(io.MultiReader(strings.NewReader("then"), iotest.ErrReader(errors.New("it fails"))))
		return n, err, nil
	}},
	{"from a pipe", false, func(dst, src osMethods) (int64, error, any) {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err, nil
		}
		defer r.Close()
		go func() {
			w.Write(testPattern(200_000, 4))
			w.Close()
		}()
		n, err := dst.ReadFrom(r)
		return n, err, nil
	}},
	{"to a buffer", false, func(dst, src osMethods) (int64, error, any) {
		var b bytes.Buffer
		n, err := io.Copy(&b, src)
		return n, err, b.String()
	}},
	{"to a hash", false, func(dst, src osMethods) (int64, error, any) {
		h := sha256.New()
		n, err := io.Copy(h, src)
		return n, err, h.Sum(nil)
	}},
	{"to a plain writer", false, func(dst, src osMethods) (int64, error, any) {
		var b strings.Builder
		n, err := src.WriteTo(plainWriter{&b})
		return n, err, b.String()
	}},
	{"to itself", false, func(dst, src osMethods) (int64, error, any) { n, err := io.CopyN(src, src, 5000); return n, err, nil }},
	{"twice", false, func(dst, src osMethods) (int64, error, any) {
		n, err := io.Copy(dst, src)
		m, err2 := io.Copy(dst, src)
		return n, err, fmt.Sprint(m, err2)
	}},
	{"from a closed file", false, func(dst, src osMethods) (int64, error, any) {
		src.Close()
		n, err := io.Copy(dst, src)
		return n, err, nil
	}},
	{"to a closed file", false, func(dst, src osMethods) (int64, error, any) {
		dst.Close()
		n, err := io.Copy(dst, src)
		return n, err, nil
	}},
	{"ReadFrom of a closed file", true, func(dst, src osMethods) (int64, error, any) {
		src.Close()
		n, err := dst.ReadFrom(src)
		return n, err, nil
	}},
}

// TestCopy copies with os.Files and with Files, of every sort at either end, and
// compares everything: counts, errors, cursors and contents.
func TestCopy(t *testing.T) {
	dir := t.TempDir()
	for _, backend := range []Backend{BackendPool, BackendAIO} {
		ring := newTestRing(t, WithBackend(backend))
		file := func(f *os.File) osMethods {
			a, err := New(f, WithRing(ring), WithBackend(backend))
			if err != nil {
				t.Fatal(err)
			}
			return a.File()
		}
		plain := func(f *os.File) osMethods { return f }
		sorts := []struct {
			name     string
			dst, src func(*os.File) osMethods
		}{
			{"File to File", file, file}, {"os.File to File", file, plain}, {"File to os.File", plain, file},
		}
		// Where in the source the copy starts, and how the files are opened.
		type shape struct {
			start            int64
			srcFlag, dstFlag int
		}
		sizes := []int{0, 5000, defaultBlockSize + 1, 1<<20 + 7}
		if backend == BackendAIO {
			sizes = []int{5000, defaultBlockSize + 1}
		}
		for _, size := range sizes {
			content := testPattern(size, uint64(size))
			shapes := []shape{{0, os.O_RDWR, os.O_RDWR}}
			if size == defaultBlockSize+1 && backend == BackendPool {
				shapes = append(shapes, shape{777, os.O_RDWR, os.O_RDWR},
					shape{int64(size), os.O_RDWR, os.O_RDWR}, shape{int64(size) + 10, os.O_RDWR, os.O_RDWR},
					shape{0, os.O_RDONLY, os.O_WRONLY | os.O_APPEND}, shape{0, os.O_WRONLY, os.O_RDWR}, shape{0, os.O_RDWR, os.O_RDONLY})
			}
			for _, shape := range shapes {
				for _, c := range copies {
					run := func(dst, src func(*os.File) osMethods) []any {
						srcName, dstName := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
						os.WriteFile(srcName, content, 0o666)
						os.WriteFile(dstName, []byte("what was there before"), 0o666)
						sf, err := os.OpenFile(srcName, shape.srcFlag, 0)
						if err != nil {
							t.Fatal(err)
						}
						df, err := os.OpenFile(dstName, shape.dstFlag, 0)
						if err != nil {
							t.Fatal(err)
						}
						s, d := src(sf), dst(df)
						defer s.Close()
						defer d.Close()
						s.Seek(shape.start, io.SeekStart)
						d.Seek(7, io.SeekStart)
						n, err, extra := c.copy(d, s)
						sPos, sErr := s.Seek(0, io.SeekCurrent)
						dPos, dErr := d.Seek(0, io.SeekCurrent)
						sData, _ := os.ReadFile(srcName)
						dData, _ := os.ReadFile(dstName)
						return list(n, err, extra, sPos, sErr, dPos, dErr, sha256.Sum256(sData), len(dData), sha256.Sum256(dData))
					}
					want := run(plain, plain)
					for _, sort := range sorts {
						t.Run(fmt.Sprintf("%v/%s/%d from %d %#x %#x/%s", backend, sort.name, size, shape.start, shape.srcFlag, shape.dstFlag, c.name), func(t *testing.T) {
							got := run(sort.dst, sort.src)
							if sort.name == "File to os.File" && c.dstAsks && want[1] != nil {
								// An os.File does not know a File, so it copies from
								// it by other calls, which fail at another point.
								if got[1] == nil {
									t.Errorf("%v, os.File has %v", got, want)
								}
								return
							}
							sameResults(t, got, want)
						})
					}
				}
			}
		}
	}
}

// TestWriteTo has every backend give a file to a writer.
func TestWriteTo(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(5<<20+testBlock, 1)
		v := open(putFile(t, content), os.O_RDONLY).File()
		for _, start := range []int64{0, testBlock, 3 << 20} {
			v.Seek(start, io.SeekStart)
			var b bytes.Buffer
			n, err := v.WriteTo(plainWriter{&b})
			if n != int64(len(content))-start || err != nil || !bytes.Equal(b.Bytes(), content[start:]) {
				t.Errorf("from %d: %d, %v, or something else was written", start, n, err)
			}
			if pos, err := v.Seek(0, io.SeekCurrent); pos != int64(len(content)) || err != nil {
				t.Errorf("the cursor is at %d, %v", pos, err)
			}
			if n, err := v.WriteTo(plainWriter{&b}); n != 0 || err != nil {
				t.Errorf("at the end: %d, %v", n, err)
			}
		}
	})
}

// A writerFunc is a Write.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// oddWriters are writers that do what they must not, or stop, after three that are
// right.
var oddWriters = []struct {
	name string
	last func(p []byte) (int, error)
}{
	{"error", func([]byte) (int, error) { return 0, errBroken }},
	{"short write", func([]byte) (int, error) { return 10, nil }},
	{"short write with an error", func([]byte) (int, error) { return 10, errBroken }},
	{"all and an error", func(p []byte) (int, error) { return len(p), errBroken }},
	{"more than there was", func(p []byte) (int, error) { return len(p) + 1, nil }},
	{"more than there was with an error", func(p []byte) (int, error) { return len(p) + 1, errBroken }},
	{"less than nothing", func([]byte) (int, error) { return -1, nil }},
	{"less than nothing with an error", func([]byte) (int, error) { return -1, errBroken }},
	{"panic", func([]byte) (int, error) { panic("it panics") }},
}

// oddReaders returns readers likewise. One of them counts: they are for one goroutine
// at a time.
func oddReaders() []oddReader {
	return []oddReader{
		{"error", func([]byte) (int, error) { return 0, errBroken }},
		{"some and an error", func([]byte) (int, error) { return 10, errBroken }},
		{"some and the end", func([]byte) (int, error) { return 10, io.EOF }},
		{"nothing at all, for long", nothingFor(1000)},
		{"more than there is room for", func(p []byte) (int, error) { return len(p) + 1, nil }},
		{"less than nothing", func([]byte) (int, error) { return -1, io.EOF }},
		{"less than nothing with an error", func([]byte) (int, error) { return -1, errBroken }},
		{"panic", func([]byte) (int, error) { panic("it panics") }},
	}
}

type oddReader struct {
	name string
	last func(p []byte) (int, error)
}

var errBroken = errors.New("broken")

// nothingFor returns a Read that has nothing to say n times, and then the end.
func nothingFor(n int) func([]byte) (int, error) {
	return func([]byte) (int, error) {
		if n--; n%1000 != 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
}

// after returns what is right so many times, and then calls last.
func after(good int, last func(p []byte) (int, error)) func(p []byte) (int, error) {
	return func(p []byte) (int, error) {
		if good--; good >= 0 {
			return len(p), nil
		}
		return last(p)
	}
}

// A readerFunc is a Read.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// copyResults makes a copy, which may panic, and returns everything that is to be
// compared.
func copyResults(f osMethods, copy func() (int64, error)) (all []any) {
	defer func() {
		if p := recover(); p != nil {
			all = list(fmt.Sprint("panic: ", p))
		}
		pos, err := f.Seek(0, io.SeekCurrent)
		data, err2 := os.ReadFile(f.Name())
		more, err3 := io.ReadAll(f) // it serves on
		all = append(all, pos, err, sha256.Sum256(data), len(data), err2, len(more), err3)
	}()
	n, err := copy()
	return list(n, err)
}

// TestCopyOddEnds has readers and writers that do what they must not, stop in the
// middle, or look at the cursor there. Count, error, cursor and data are those of an
// os.File, and no operation is left behind.
func TestCopyOddEnds(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(1<<20+100, 1)
		same := func(what string, start int64, copy func(f osMethods) (int64, error)) {
			t.Helper()
			name := putFile(t, content)
			osf, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer osf.Close()
			osf.Seek(start, io.SeekStart)
			want := copyResults(osf, func() (int64, error) { return copy(osf) })
			for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
				if err := os.WriteFile(name, content, 0); err != nil {
					t.Fatal(err)
				}
				f := open(name, os.O_RDWR)
				f.File().SetDeadline(until)
				f.File().Seek(start, io.SeekStart)
				t.Run(what, func(t *testing.T) {
					sameResults(t, copyResults(f.File(), func() (int64, error) { return copy(f.File()) }), want)
				})
				eventually(t, what+": no operation is left behind", func() bool { return f.core.Users() == 0 })
				f.Close()
			}
		}
		for _, good := range []int{0, 3} {
			for _, w := range oddWriters {
				same(fmt.Sprint("to ", w.name, good), 7, func(f osMethods) (int64, error) {
					return f.WriteTo(writerFunc(after(good, w.last)))
				})
			}
			for _, r := range oddReaders() {
				same(fmt.Sprint("from ", r.name, good), 4096, func(f osMethods) (int64, error) {
					return f.ReadFrom(readerFunc(after(good, r.last)))
				})
				same(fmt.Sprint("from, limited, ", r.name, good), 7, func(f osMethods) (int64, error) {
					l := &io.LimitedReader{R: readerFunc(after(good, r.last)), N: 1 << 30}
					n, err := f.ReadFrom(l)
					return n + 1000*l.N, err
				})
			}
		}
		same("looking at the cursor", 7, func(f osMethods) (int64, error) {
			var at int64
			n, err := f.WriteTo(writerFunc(func(p []byte) (int, error) {
				pos, err := f.Seek(0, io.SeekCurrent)
				at = at*31 + pos
				return len(p), err
			}))
			return n + at, err
		})
		same("moving the cursor", 7, func(f osMethods) (int64, error) {
			return f.WriteTo(writerFunc(func(p []byte) (int, error) {
				_, err := f.Seek(4096, io.SeekCurrent)
				return len(p), err
			}))
		})
		same("looking at the file", 0, func(f osMethods) (int64, error) {
			k, seen := 0, int64(0)
			n, err := f.ReadFrom(readerFunc(func(p []byte) (int, error) {
				pos, err := f.Seek(0, io.SeekCurrent)
				data, err2 := os.ReadFile(f.Name())
				for _, b := range data[:pos] { // what the Reads before brought is there
					seen = seen*31 + int64(b)
				}
				if k++; k == 5 {
					return 0, io.EOF
				}
				p[0], p[1] = byte(k), byte(k)
				return 2, errors.Join(err, err2)
			}))
			return n + seen, err
		})
	})
}

// TestReaderReadError has a read fail in the middle, with others in flight
// behind it that succeed, and before it.
func TestReaderReadError(t *testing.T) {
	const blocks = 20
	kernel, f := openScripted(t, 32)
	content := testPattern(blocks*defaultBlockSize, 2)
	if err := os.Truncate(f.Name(), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	kernel.Attach(f.core.Fd(), aiotest.NewMem(content))
	for _, bad := range []int64{0, 1, 7, 8, 13, blocks - 1} {
		kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
			if op.Offset == bad*defaultBlockSize {
				return aiotest.Fail(syscall.EIO)
			}
			if op.Offset%(3*defaultBlockSize) == 0 {
				return aiotest.Short(5 * testBlock)
			}
			return aiotest.Do()
		})
		r, err := NewReader(f, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		n, err := r.WriteTo(plainWriter{&b})
		if n != bad*defaultBlockSize || !errors.Is(err, syscall.EIO) || !bytes.Equal(b.Bytes(), content[:n]) {
			t.Errorf("block %d fails: %d, %v, or something else was written", bad, n, err)
		}
		if pos := r.Offset(); pos != n {
			t.Errorf("block %d fails: the Reader is at %d, want %d", bad, pos, n)
		}
		r.Close()
		eventually(t, "no read is left behind", func() bool { return f.core.Users() == 0 })
	}
}

// TestWriteToMemory copies a file that is far larger than what it may take.
func TestWriteToMemory(t *testing.T) {
	size := int64(1) << 28
	if testing.Short() || raceEnabled() {
		size = 64 << 20
	}
	f := openTest(t, putFile(t, nil), os.O_RDWR)
	if err := f.Truncate(size); err != nil {
		t.Skipf("no sparse files: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var got int64
	n, err := f.File().WriteTo(writerFunc(func(p []byte) (int, error) {
		got += int64(len(p))
		return len(p), nil
	}))
	runtime.ReadMemStats(&after)
	if n != size || got != size || err != nil {
		t.Errorf("%d, %v; %d bytes were written", n, err, got)
	}
	const limit = 16 << 20 // of all that was ever allocated meanwhile
	if took := after.TotalAlloc - before.TotalAlloc; took > limit {
		t.Errorf("it took %d bytes of memory", took)
	}
}

// TestCopySocket sends a file through a TCP connection into another file.
func TestCopySocket(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Skipf("no network: %v", err)
	} else {
		l.Close()
	}
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(3<<20, 9)
		src := open(putFile(t, content), os.O_RDONLY).File()
		dst := open(putFile(t, nil), os.O_RDWR)
		for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
			src.SetDeadline(until)
			dst.File().SetDeadline(until)
			src.Seek(0, io.SeekStart)
			dst.File().Seek(0, io.SeekStart)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			sent := goCall(func() (int64, error) {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return 0, err
				}
				defer c.Close()
				return io.Copy(c, src)
			})
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(dst.File(), c)
			if n != int64(len(content)) || err != nil {
				t.Errorf("received %d, %v", n, err)
			}
			if r := <-sent; r.n != int64(len(content)) || r.err != nil {
				t.Errorf("sent %d, %v", r.n, r.err)
			}
			c.Close()
			l.Close()
			for _, v := range []*File{src, dst.File()} {
				if pos, err := v.Seek(0, io.SeekCurrent); pos != int64(len(content)) || err != nil {
					t.Errorf("a cursor is at %d, %v", pos, err)
				}
			}
			wantContent(t, dst.Name(), content)
		}
	})
}

// TestCopyUnderDeadline copies between Files of which either has a deadline, and
// ends a copy in the middle.
func TestCopyUnderDeadline(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(2<<20, 5)
		later := time.Now().Add(time.Hour)
		for i := range 4 {
			src := open(putFile(t, content), os.O_RDONLY).File()
			dst := open(putFile(t, nil), os.O_RDWR).File()
			if i&1 != 0 {
				src.SetDeadline(later)
			}
			if i&2 != 0 {
				dst.SetDeadline(later)
			}
			if n, err := io.Copy(dst, src); n != int64(len(content)) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			wantContent(t, dst.Name(), content)

			src.Seek(0, io.SeekStart)
			src.SetReadDeadline(longAgo)
			_, err := io.Copy(dst, src)
			wantTimeout(t, err, "read", src.Name())
			src.SetReadDeadline(time.Time{})
			dst.SetWriteDeadline(longAgo)
			_, err = io.Copy(dst, src)
			wantTimeout(t, err, "write", dst.Name())
		}
	})
}
