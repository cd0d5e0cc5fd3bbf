package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
)

// openStream creates a file that holds contents: direct, where that goes, or
// buffered.
func openStream(t *testing.T, mode DirectMode, contents []byte) *AsyncFile {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(name, contents, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(name, os.O_RDWR, 0, WithDirect(mode))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func eachMode(t *testing.T, test func(t *testing.T, mode DirectMode)) {
	for _, mode := range []DirectMode{DirectOff, DirectPrefer} {
		t.Run(mode.String(), func(t *testing.T) { test(t, mode) })
	}
}

func wantContents(t *testing.T, f *AsyncFile, want []byte) {
	t.Helper()
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("the file holds %d bytes, want %d, or others: %v", len(got), len(want), err)
	}
}

func newReader(t *testing.T, f *AsyncFile, off int64, opts ...StreamOption) *Reader {
	t.Helper()
	r, err := NewReader(f, off, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newWriter(t *testing.T, f *AsyncFile, off int64, opts ...StreamOption) *Writer {
	t.Helper()
	w, err := NewWriter(f, off, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestStreamOptions(t *testing.T) {
	f := openStream(t, DirectOff, nil)
	for _, test := range []struct {
		off  int64
		opts []StreamOption
		want string // in the error; none where it is empty
	}{
		{0, nil, ""},
		{math.MaxInt64, nil, ""},
		{5, []StreamOption{WithBlockSize(4096), WithStreamDepth(1)}, ""},
		{5, []StreamOption{WithBlockSize(1 << 30), WithStreamDepth(1024)}, ""},
		{-1, nil, "offset -1"},
		{0, []StreamOption{WithBlockSize(0)}, "WithBlockSize(0)"},
		{0, []StreamOption{WithBlockSize(4097)}, "WithBlockSize(4097)"},
		{0, []StreamOption{WithBlockSize(1<<30 + 4096)}, "WithBlockSize(1073745920)"},
		{0, []StreamOption{WithStreamDepth(0)}, "WithStreamDepth(0)"},
		{0, []StreamOption{WithStreamDepth(1025)}, "WithStreamDepth(1025)"},
	} {
		r, rErr := NewReader(f, test.off, test.opts...)
		w, wErr := NewWriter(f, test.off, test.opts...)
		for _, err := range []error{rErr, wErr} {
			if test.want == "" {
				if err != nil {
					t.Errorf("%+v: %v", test, err)
				}
			} else if err == nil || !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v: %v", test, err)
			}
		}
		if failed := test.want != ""; failed != (r == nil) || failed != (w == nil) {
			t.Errorf("%+v: a stream and an error, or neither", test)
		}
	}
	_, err := NewReader(f, -1, WithBlockSize(1), WithStreamDepth(0))
	if text := fmt.Sprint(err); !strings.Contains(text, "offset -1") || !strings.Contains(text, "WithBlockSize(1)") || !strings.Contains(text, "WithStreamDepth(0)") {
		t.Errorf("the error names not all: %v", err)
	}
}

func TestReaderIotest(t *testing.T) {
	eachMode(t, func(t *testing.T, mode DirectMode) {
		for _, size := range []int{0, 1, 4096, 10_000, 50_001} {
			data := deviceBytes(size)
			f := openStream(t, mode, data)
			for _, off := range []int{0, 1, 4095, 4096, size} {
				off = min(off, size)
				r := newReader(t, f, int64(off), WithBlockSize(4096), WithStreamDepth(3))
				// The struct hides WriteTo, which is tested by itself.
				if err := iotest.TestReader(struct{ io.Reader }{r}, data[off:]); err != nil {
					t.Errorf("%d from %d: %v", size, off, err)
				}
				if err := r.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
		}
	})
}

// TestFileIotest has a File read by all means that iotest knows.
func TestFileIotest(t *testing.T) {
	eachMode(t, func(t *testing.T, mode DirectMode) {
		for _, size := range []int{0, 1, 4096, 10_000} {
			data := deviceBytes(size)
			f := openStream(t, mode, data)
			if err := iotest.TestReader(f.File(), data); err != nil {
				t.Errorf("%d: %v", size, err)
			}
		}
	})
}

// TestStreamRandom writes and reads random sizes at random offsets.
func TestStreamRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachMode(t, func(t *testing.T, mode DirectMode) {
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 20 {
			want := deviceBytes(rng.IntN(30_000))
			f := openStream(t, mode, want)
			off, n := rng.IntN(len(want)+5000), rng.IntN(60_000)
			data := deviceBytes(n + 3)[3:]
			opts := []StreamOption{WithBlockSize(4096 << rng.IntN(3)), WithStreamDepth(1 + rng.IntN(4))}
			w := newWriter(t, f, int64(off), opts...)
			for rest := data; len(rest) > 0; {
				m := min(rng.IntN(9000), len(rest))
				if got, err := w.Write(rest[:m]); got != m || err != nil {
					t.Fatalf("Write of %d = %d, %v", m, got, err)
				}
				rest = rest[m:]
				at := off + n - len(rest)
				if w.Offset() != int64(at) {
					t.Fatalf("Offset = %d, want %d", w.Offset(), at)
				}
				if rng.IntN(4) == 0 {
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
					got, err := os.ReadFile(f.Name())
					if err != nil || len(got) < at || !bytes.Equal(got[off:at], data[:at-off]) {
						t.Fatalf("after Flush not all is in the file: %v", err)
					}
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				want = append(want, make([]byte, max(off+n-len(want), 0))...)
				copy(want[off:], data)
			}
			wantContents(t, f, want)

			from := rng.IntN(len(want) + 1)
			r := newReader(t, f, int64(from), opts...)
			var got []byte
			for {
				p := make([]byte, rng.IntN(9000))
				m, err := r.Read(p)
				got = append(got, p[:m]...)
				if err == io.EOF {
					break
				}
				if err != nil || m == 0 && len(p) > 0 {
					t.Fatalf("Read = %d, %v", m, err)
				}
			}
			if !bytes.Equal(got, want[from:]) {
				t.Fatalf("read %d bytes from %d, want %d, or others", len(got), from, len(want)-from)
			}
			if m, err := r.Read(make([]byte, 1)); m != 0 || err != io.EOF {
				t.Fatalf("Read at the end = %d, %v", m, err)
			}
			r.Close()
		}
	})
}

// TestStreamSources: whatever a source does, what it gave is in the file.
func TestStreamSources(t *testing.T) {
	data := deviceBytes(20_000)
	broken := errors.New("broken")
	for name, source := range map[string]struct {
		r    io.Reader
		n    int
		want error
	}{
		"all at once":     {bytes.NewReader(data), len(data), nil},
		"byte by byte":    {iotest.OneByteReader(bytes.NewReader(data)), len(data), nil},
		"half of it":      {iotest.HalfReader(bytes.NewReader(data)), len(data), nil},
		"data and EOF":    {iotest.DataErrReader(bytes.NewReader(data)), len(data), nil},
		"an error":        {io.MultiReader(bytes.NewReader(data[:5000]), iotest.ErrReader(broken)), 5000, broken},
		"data and error":  {iotest.DataErrReader(io.MultiReader(bytes.NewReader(data[:5000]), iotest.ErrReader(broken))), 5000, broken},
		"no progress":     {io.MultiReader(bytes.NewReader(data[:5000]), idleReader{}), 5000, io.ErrNoProgress},
		"nothing":         {bytes.NewReader(nil), 0, nil},
		"more than asked": {lyingReader{1 << 30}, 0, errAny},
		"less than none":  {lyingReader{-1}, 0, errAny},
	} {
		f := openStream(t, DirectPrefer, nil)
		w := newWriter(t, f, 0, WithBlockSize(4096), WithStreamDepth(2))
		n, err := w.ReadFrom(source.r)
		if n != int64(source.n) || !errors.Is(err, source.want) && !(source.want == errAny && err != nil) {
			t.Errorf("%s: ReadFrom = %d, %v; want %d, %v", name, n, err, source.n, source.want)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		wantContents(t, f, data[:source.n])
	}
}

var errAny = errors.New("any error")

type idleReader struct{}

func (idleReader) Read([]byte) (int, error) { return 0, nil }

type lyingReader struct{ n int }

func (l lyingReader) Read([]byte) (int, error) { return l.n, nil }

// A limitedSink takes up to room bytes and then answers with err.
type limitedSink struct {
	got  []byte
	room int
	err  error
}

func (s *limitedSink) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.room -= n
	s.got = append(s.got, p[:n]...)
	if n < len(p) {
		return n, s.err
	}
	return n, nil
}

type lyingWriter struct{ n int }

func (l lyingWriter) Write([]byte) (int, error) { return l.n, nil }

// TestStreamSinks: whatever a sink does, the Reader goes on where it stopped.
func TestStreamSinks(t *testing.T) {
	data := deviceBytes(20_000)
	broken := errors.New("broken")
	f := openStream(t, DirectPrefer, data)
	for _, test := range []struct{ sink, want error }{{broken, broken}, {nil, io.ErrShortWrite}} {
		r := newReader(t, f, 7, WithBlockSize(4096), WithStreamDepth(3))
		sink := &limitedSink{room: 10_000, err: test.sink}
		if n, err := r.WriteTo(sink); n != 10_000 || !errors.Is(err, test.want) {
			t.Errorf("WriteTo = %d, %v; want 10000, %v", n, err, test.want)
		}
		sink.room = len(data)
		if n, err := r.WriteTo(sink); n != 9993 || err != nil {
			t.Errorf("the rest: WriteTo = %d, %v", n, err)
		}
		if !bytes.Equal(sink.got, data[7:]) {
			t.Error("the sink got other bytes")
		}
		if n, err := r.WriteTo(sink); n != 0 || err != nil {
			t.Errorf("at the end: WriteTo = %d, %v", n, err)
		}
		r.Close()
	}
	for _, n := range []int{-1, 1 << 30} {
		r := newReader(t, f, 0)
		if n, err := r.WriteTo(lyingWriter{n}); n != 0 || err == nil {
			t.Errorf("WriteTo of a sink that lies = %d, %v", n, err)
		}
		r.Close()
	}
}

// TestStreamErrors: an error says where, and comes after what was before it.
func TestStreamErrors(t *testing.T) {
	data := deviceBytes(20_000)
	f := openStream(t, DirectPrefer, data)
	r := newReader(t, f, 100, WithBlockSize(4096), WithStreamDepth(1))
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got, err := io.ReadAll(struct{ io.Reader }{r})
	var at *StreamError
	if len(got) != 3995 || !errors.As(err, &at) || at.Offset != 4096 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read %d, then %v", len(got), err)
	}
	if _, again := r.Read(make([]byte, 1)); again != err {
		t.Errorf("the second error is %v, not %v", again, err)
	}

	name := filepath.Join(t.TempDir(), "read-only")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = Open(name, WithDirect(DirectPrefer))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := newWriter(t, f, 100, WithBlockSize(4096), WithStreamDepth(2))
	_, err = w.Write(data)
	if err == nil {
		_, err = w.Write(data)
	}
	if !errors.As(err, &at) || at.Offset != 100 {
		t.Errorf("Write: %v, want an error at 100", err)
	}
	var path *fs.PathError
	if !errors.As(err, &path) || path.Op != "write" || path.Path != name {
		t.Errorf("Write: %v is no PathError of the file", err)
	}
	if n, again := w.Write(data); n != 0 || again != err {
		t.Errorf("the next Write = %d, %v; want the first error", n, again)
	}
	if n, again := w.ReadFrom(bytes.NewReader(data)); n != 0 || again != err {
		t.Errorf("ReadFrom = %d, %v; want the first error", n, again)
	}
	if again := w.Flush(); again != err {
		t.Errorf("Flush: %v; want the first error", again)
	}
	if again := w.Close(); again != err {
		t.Errorf("Close: %v; want the first error", again)
	}
}

// TestWriterFirstError: of several writes that fail the error of the lowest
// offset is kept, and Close has it where no Write was there to have it.
func TestWriterFirstError(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	f, err := OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	w := newWriter(t, f, 12_345, WithBlockSize(4096), WithStreamDepth(8))
	if n, err := w.Write(make([]byte, 20_000)); n != 20_000 || err != nil {
		t.Fatalf("Write = %d, %v", n, err)
	}
	err = w.Close()
	var at *StreamError
	if !errors.As(err, &at) || at.Offset != 12_345 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close: %v, want ENOSPC at 12345", err)
	}
}

// TestUnflushed leaves a Writer in every state and closes its file, which
// tells what the Writer has kept to itself: what it took, less what it has seen
// in the file or told an error of.
func TestUnflushed(t *testing.T) {
	const block = 4096
	for _, mode := range []DirectMode{DirectOff, DirectPrefer} {
		for name, test := range map[string]struct {
			use  func(w *Writer)
			want int64
		}{
			"nothing taken":            {func(w *Writer) {}, 0},
			"a byte":                   {func(w *Writer) { w.Write(make([]byte, 1)) }, 1},
			"byte by byte":             {func(w *Writer) { io.Copy(w, iotest.OneByteReader(bytes.NewReader(make([]byte, 100)))) }, 100},
			"a block in flight":        {func(w *Writer) { w.Write(make([]byte, block)) }, block},
			"one block seen of two":    {func(w *Writer) { w.Write(make([]byte, 2*block+9)) }, block + 9},
			"blocks that it saw":       {func(w *Writer) { w.Write(make([]byte, 7*block)) }, 2 * block},
			"flushed":                  {func(w *Writer) { w.Write(make([]byte, 7*block+1)); w.Flush() }, 0},
			"flushed, and more":        {func(w *Writer) { w.Write(make([]byte, 10)); w.Flush(); w.Write(make([]byte, 5)) }, 5},
			"closed":                   {func(w *Writer) { w.Write(make([]byte, 7*block+1)); w.Close() }, 0},
			"closed, and more refused": {func(w *Writer) { w.Write(make([]byte, 10)); w.Close(); w.Write(make([]byte, 5)) }, 0},
		} {
			f := openStream(t, mode, nil)
			test.use(newWriter(t, f, 0, WithBlockSize(block), WithStreamDepth(2)))
			wantUnflushed(t, mode.String()+", "+name, f, test.want)
		}
	}
}

// wantUnflushed closes f, with n bytes that Writers have kept.
func wantUnflushed(t *testing.T, name string, f *AsyncFile, n int64) {
	t.Helper()
	err := f.File().Close()
	var pe *fs.PathError
	switch {
	case n == 0 && err != nil:
		t.Errorf("%s: Close = %v", name, err)
	case n > 0 && (!errors.Is(err, ErrUnflushed) || !errors.As(err, &pe) || pe.Op != "close" || pe.Path != f.Name() ||
		!strings.Contains(err.Error(), fmt.Sprintf(" %d bytes ", n))):
		t.Errorf("%s: Close = %v, want %d bytes", name, err, n)
	}
	if _, err := f.Stat(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%s: the file is open: %v", name, err)
	}
}

// TestWriterOnClosedFile has a Writer take nothing that it could not say was
// lost: the file's Close has been and gone.
func TestWriterOnClosedFile(t *testing.T) {
	f := openStream(t, DirectOff, nil)
	fresh, begun := newWriter(t, f, 0), newWriter(t, f, 100)
	begun.Write(make([]byte, 10))
	begun.Flush()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []*Writer{fresh, begun} {
		var at *StreamError
		off := w.Offset()
		if n, err := w.Write(make([]byte, 1)); n != 0 || !errors.Is(err, fs.ErrClosed) || !errors.As(err, &at) || at.Offset != off {
			t.Errorf("Write = %d, %v", n, err)
		}
		if n, err := w.ReadFrom(strings.NewReader("x")); n != 0 || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("ReadFrom = %d, %v", n, err)
		}
		if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Close = %v", err)
		}
	}
}

// TestUnflushedErrors has writes fail: the Writer's Close tells, and the file's
// then need not.
func TestUnflushedErrors(t *testing.T) {
	name := putFile(t, nil)
	for _, closed := range []bool{false, true} {
		f := openTest(t, name, os.O_RDONLY)
		w := newWriter(t, f, 0, WithBlockSize(4096), WithStreamDepth(1))
		w.Write(make([]byte, 3*4096))
		want := int64(4096) // the first, which failed; the others it refused
		if closed {
			if err := w.Close(); !errors.Is(err, syscall.EBADF) {
				t.Errorf("Close = %v", err)
			}
			want = 0
		}
		wantUnflushed(t, "read-only", f, want)
	}
	// Several Writers, used at once.
	f := openStream(t, DirectOff, nil)
	var all sync.WaitGroup
	for i := range 4 {
		w := newWriter(t, f, int64(i)<<20)
		all.Go(func() {
			for range 1000 {
				w.Write(make([]byte, 3))
			}
			if i%2 == 0 {
				w.Close()
			}
		})
	}
	all.Wait()
	wantUnflushed(t, "two of four closed", f, 6000)
}

func TestStreamClosed(t *testing.T) {
	f := openStream(t, DirectPrefer, deviceBytes(10_000))
	r := newReader(t, f, 0)
	if err := r.Close(); err != nil {
		t.Errorf("Close of a Reader that read nothing: %v", err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Read = %d, %v", n, err)
	}
	if n, err := r.WriteTo(io.Discard); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	if err := r.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	w := newWriter(t, f, 0)
	if err := w.Close(); err != nil {
		t.Errorf("Close of a Writer that wrote nothing: %v", err)
	}
	if n, err := w.Write(make([]byte, 1)); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write = %d, %v", n, err)
	}
	if n, err := w.ReadFrom(bytes.NewReader(make([]byte, 1))); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
	if err := w.Flush(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Flush: %v", err)
	}
	if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	wantContents(t, f, deviceBytes(10_000))
}

// TestFileCopies copies between files of every mode, at cursors in the middle
// of blocks, and looks where the cursors are afterwards.
func TestFileCopies(t *testing.T) {
	const from, to = 1234, 777
	src, old := deviceBytes(700_001), deviceBytes(5000)
	want := append(append([]byte(nil), old[:to]...), src[from:]...)
	for _, srcMode := range []DirectMode{DirectOff, DirectPrefer} {
		for _, dstMode := range []DirectMode{DirectOff, DirectPrefer} {
			for name, copies := range map[string]func(dst, src *File) (int64, error){
				"io.Copy":  func(dst, src *File) (int64, error) { return io.Copy(dst, src) },
				"ReadFrom": func(dst, src *File) (int64, error) { return dst.ReadFrom(src) },
				"WriteTo":  func(dst, src *File) (int64, error) { return src.WriteTo(dst) },
				"CopyN":    func(dst, src *File) (int64, error) { return io.CopyN(dst, src, 700_001-from) },
				"plain": func(dst, src *File) (int64, error) {
					return io.Copy(struct{ io.Writer }{dst}, struct{ io.Reader }{src})
				},
			} {
				t.Run(fmt.Sprintf("%v to %v/%s", srcMode, dstMode, name), func(t *testing.T) {
					s, d := openStream(t, srcMode, src).File(), openStream(t, dstMode, old).File()
					s.Seek(from, io.SeekStart)
					d.Seek(to, io.SeekStart)
					n, err := copies(d, s)
					if n != int64(len(src)-from) || err != nil {
						t.Errorf("copied %d, %v", n, err)
					}
					wantContents(t, d.Async(), want)
					if at, _ := s.Seek(0, io.SeekCurrent); at != int64(len(src)) {
						t.Errorf("the cursor of the source is at %d", at)
					}
					if at, _ := d.Seek(0, io.SeekCurrent); at != int64(len(want)) {
						t.Errorf("the cursor of the destination is at %d", at)
					}
				})
			}
		}
	}
}

// TestFileReadFromAppend: in append mode everything goes to the end.
func TestFileReadFromAppend(t *testing.T) {
	eachMode(t, func(t *testing.T, mode DirectMode) {
		name := filepath.Join(t.TempDir(), "append")
		old, more := deviceBytes(1000), deviceBytes(70_001)
		if err := os.WriteFile(name, old, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile(name, os.O_RDWR|os.O_APPEND, 0, WithDirect(mode))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, r := range []io.Reader{
			struct{ io.Reader }{bytes.NewReader(more)},
			&io.LimitedReader{R: bytes.NewReader(append(more, 1, 2, 3)), N: int64(len(more))},
			openStream(t, mode, more).File(),
		} {
			n, err := f.File().ReadFrom(r)
			if n != int64(len(more)) || err != nil {
				t.Errorf("ReadFrom = %d, %v", n, err)
			}
			old = append(old, more...)
			wantContents(t, f, old)
		}
	})
}

// TestFileCopyErrors: of a source that fails what it gave is in the file, and
// the cursor behind it.
func TestFileCopyErrors(t *testing.T) {
	broken := errors.New("broken")
	data := deviceBytes(9000)
	eachMode(t, func(t *testing.T, mode DirectMode) {
		f := openStream(t, mode, nil)
		n, err := f.File().ReadFrom(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)))
		if n != 9000 || !errors.Is(err, broken) {
			t.Errorf("ReadFrom = %d, %v", n, err)
		}
		wantContents(t, f, data)
		if at, _ := f.File().Seek(0, io.SeekCurrent); at != 9000 {
			t.Errorf("the cursor is at %d", at)
		}
		f.File().Seek(5, io.SeekStart)
		sink := &limitedSink{room: 5000, err: broken}
		if n, err := f.File().WriteTo(sink); n != 5000 || !errors.Is(err, broken) {
			t.Errorf("WriteTo = %d, %v", n, err)
		}
		if !bytes.Equal(sink.got, data[5:5005]) {
			t.Error("WriteTo wrote other bytes")
		}
	})
}
