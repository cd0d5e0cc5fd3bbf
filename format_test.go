package asyncfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// namedFile returns an AsyncFile of that name, which is on nothing.
func namedFile(t *testing.T, name string) *AsyncFile {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd, err := aio.Dup(int(null.Fd()))
	if err != nil {
		t.Skip(err)
	}
	osf := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { osf.Close() })
	info, err := osf.Stat()
	if err != nil {
		t.Fatal(err)
	}
	core, err := file.New(osf, info, misaligned)
	if err != nil {
		t.Fatal(err)
	}
	return &AsyncFile{core: core, ring: &Ring{}}
}

func TestStrings(t *testing.T) {
	p := make([]byte, 512)
	bad, short, full := newFuture(), newFuture(), newFuture()
	bad.resolve(0, errors.New("wrong"), 0)
	short.resolve(5, io.EOF, 0)
	full.resolve(512, nil, 0)
	f, direct := namedFile(t, "da\nta"), namedFile(t, "x")
	direct.core.Direct, direct.core.OnKernel = true, true
	for _, test := range []struct {
		of   any
		want string
	}{
		{Op{Buf: p, Offset: 4096}, "read 512 bytes at 4096"},
		{&Op{Kind: OpWrite, Buf: p}, "write 512 bytes at 0"},
		{Op{Kind: OpReadv, Bufs: [][]byte{p, p}, Offset: -1}, "readv 1024 bytes in 2 buffers at -1"},
		{Op{Kind: OpWritev}, "writev 0 bytes in 0 buffers at 0"},
		{Op{Kind: OpAppend, Buf: p, Offset: 7}, "append 512 bytes"},
		{Op{Kind: OpSync}, "sync"},
		{Op{Kind: 99}, "OpKind(99) 0 bytes at 0"},
		{Completion{Op: OpAppend, File: f, Buf: p, Offset: 8192, N: 512}, `append "da\nta" at 8192: 512 bytes`},
		{&Completion{File: f, Buf: p, N: 5, Err: io.EOF}, `read "da\nta" at 0: 5 bytes, EOF`},
		{Completion{Op: OpDatasync, File: f, Err: os.ErrClosed}, `datasync "da\nta": 0 bytes, file already closed`},
		{newFuture(), "Future(not done)"},
		{bad, "Future(0 bytes, wrong)"},
		{short, "Future(5 bytes, EOF)"},
		{full, "Future(512 bytes)"},
		{f, `AsyncFile("da\nta", pool)`},
		{direct, `AsyncFile("x", aio, direct)`},
		{Stats{}, "Stats(nothing yet)"},
		{Stats{Submitted: 3, InFlight: 1, SubmitTime: 1500 * time.Nanosecond}, "Stats(Submitted 3, InFlight 1, SubmitTime 1.5µs)"},
		{NewBufferPool(512, 2), "BufferPool(512 bytes, 0 idle)"},
		{&Reader{file: f, end: 10, rest: p[:3]}, `Reader("da\nta" at 7)`},
		{Range{4096, 512}, "512 bytes at 4096"},
		{&Chunk{Range{4096, 512}, 3, p[:100]}, "Chunk(3, 100 of 512 bytes at 4096)"},
		{&ReaderAt{file: f, taken: 512}, `ReaderAt("da\nta", 512 bytes ahead)`},
		{&ReaderAt{file: f, taken: 512, closed: true}, `ReaderAt("da\nta", closed)`},
		{&Writer{file: f, next: 10, filled: 3, cur: p}, `Writer("da\nta" at 13)`},
	} {
		for _, verb := range []string{"%v", "%+v", "%s"} {
			if got := fmt.Sprintf(verb, test.of); got != test.want {
				t.Errorf("%T: %s, want %s", test.of, got, test.want)
			}
		}
	}
	for name, typ := range exportedTypes {
		for _, none := range []any{reflect.New(typ.of).Interface(), reflect.Zero(reflect.PointerTo(typ.of)).Interface()} {
			if got := fmt.Sprint(none); !typ.useOf && got != name+"(none)" {
				t.Errorf("%s of nothing: %q", name, got)
			}
		}
	}
}

// TestStringsOfClosed has what is closed say so.
func TestStringsOfClosed(t *testing.T) {
	t.Setenv("ASYNCFILE_BACKEND", "")
	ring, err := NewRing(WithBackend(BackendPool), WithQueueDepth(3))
	if err != nil {
		t.Fatal(err)
	}
	f := openTest(t, putFile(t, testPattern(10, 1)), os.O_RDONLY, WithRing(ring))
	q := NewQueue(2)
	q.ReadAt(f, make([]byte, 10), 0, nil)
	eventually(t, "the read has ended", func() bool { return len(q.ready) == 1 })
	check := func(want ...string) {
		t.Helper()
		for i, of := range []any{ring, f, f.File(), q} {
			if got := fmt.Sprint(of); got != want[i] {
				t.Errorf("%T: %s, want %s", of, got, want[i])
			}
		}
	}
	name := fmt.Sprintf("%q", f.Name())
	check("Ring(pool, depth 3, 0 in flight)", "AsyncFile("+name+", pool)", "File("+name+", pool)", "Queue(depth 2, 1 to receive)")
	closeQueue(t, q)
	f.Close()
	ring.Close()
	check("Ring(pool, depth 3, closed)", "AsyncFile("+name+", pool, closed)", "File("+name+", pool, closed)", "Queue(depth 2, 1 to receive, closed)")
}

// TestPrintInFlight prints everything while it is in use: a look is no race,
// and what it prints is short.
func TestPrintInFlight(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, testPattern(64*testBlock, 1)), os.O_RDWR)
		q := NewQueue(4)
		var all sync.WaitGroup
		look := func(what ...any) {
			for _, x := range what {
				if got := fmt.Sprintf("%v", x); len(got) > 200 || len(got) == 0 {
					t.Errorf("%T prints %d characters: %.300s", x, len(got), got)
				}
			}
		}
		for g := range 2 {
			all.Go(func() {
				for i := range 50 {
					op := Op{Kind: OpKind(g), Buf: AlignedBuffer(testBlock), Offset: int64(i) * testBlock}
					future := f.Submit(op)[0]
					other := make(chan struct{})
					go func() {
						defer close(other)
						look(future, f, f.File(), f.Ring(), q)
					}()
					f.File().SetDeadline(time.Now().Add(time.Hour))
					op.Buf = AlignedBuffer(testBlock)
					if err := q.Submit(f, op, nil); err != nil {
						t.Error(err)
						return
					}
					look(<-q.C(), op)
					future.Wait()
					<-other
				}
			})
		}
		all.Wait()
		closeQueue(t, q)
	})
}
