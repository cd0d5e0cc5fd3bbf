package failures

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

// A trial is one write, on a file that has size bytes, and another for the rest
// when it can succeed.
type trial struct {
	route    string
	ring     string
	direct   bool
	deadline bool
	size     int64 // of the file before
	off      int64 // at which the write begins; of routes that append, the size
	n        int   // bytes
}

func (tr *trial) String() string {
	return fmt.Sprintf("%s on %s, direct %v, deadline %v, of %d bytes at %d to a file of %d", tr.route, tr.ring, tr.direct, tr.deadline, tr.n, tr.off, tr.size)
}

// aligned reports whether the trial is one that O_DIRECT takes.
func (tr *trial) aligned() bool { return (tr.off|int64(tr.n)|tr.size)%4096 == 0 }

func (tr *trial) appends() bool { return strings.Contains(tr.route, "ppend") }

func (tr *trial) flag() int {
	if strings.Contains(tr.route, "O_APPEND") {
		return os.O_RDWR | os.O_APPEND
	}
	return os.O_RDWR
}

// An outcome is what a write came to.
type outcome struct {
	n      int
	errno  error // syscall.Errno, or nil
	cursor int64
	size   int64
	near   []byte // the bytes of the file around where the write was to go
	head   []byte // and its first
}

func (o *outcome) String() string {
	return fmt.Sprintf("n %d, error %v, cursor %d, size %d", o.n, o.errno, o.cursor, o.size)
}

// errnoOf returns what of err the caller is to see.
func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// old and fresh are the byte at off before and after a write.
func old(off int64) byte   { return byte(off>>9)%100 + 1 }
func fresh(off int64) byte { return byte(off>>9)%100 + 101 }

func stretch(off int64, n int, of func(int64) byte) []byte {
	p := asyncfile.AlignedBuffer(n)
	for i := range p {
		p[i] = of(off + int64(i))
	}
	return p
}

// A subject is a file under trial. put writes p, of which the trial says where.
type subject struct {
	name   string
	put    func(p []byte, off int64) (int, error)
	cursor func() (int64, error)
	close  func() error
}

// plain is the subject that says what is right: an os.File, with O_DIRECT where
// it takes the trial.
func plain(t *testing.T, name string, tr *trial) *subject {
	t.Helper()
	flag := tr.flag()
	if tr.direct && tr.aligned() {
		flag |= syscall.O_DIRECT
	}
	f, err := os.OpenFile(name, flag, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &subject{name: name, close: f.Close}
	s.cursor = func() (int64, error) { return f.Seek(0, io.SeekCurrent) }
	s.put = func(p []byte, off int64) (int, error) { return pwrite(f, p, off) }
	if tr.atCursor() {
		if _, err := f.Seek(tr.off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		s.put = func(p []byte, _ int64) (int, error) { return f.Write(p) }
		if tr.route == "File.ReadFrom" {
			s.put = func(p []byte, _ int64) (int, error) {
				n, err := f.ReadFrom(bytes.NewReader(p))
				return int(n), err
			}
		}
	} else if tr.flag()&os.O_APPEND != 0 {
		s.put = func(p []byte, _ int64) (int, error) { return f.Write(p) }
	}
	return s
}

// pwrite is what os.File.WriteAt would be if it did not answer n = 0 beside every
// error, however many bytes it has written before.
func pwrite(f *os.File, p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = syscall.Pwrite(int(f.Fd()), p[n:], off+int64(n))
		n += max(m, 0)
	}
	return n, err
}

// routes are the ways into an AsyncFile that a trial may take.
var routes = []string{
	"WriteAt", "WritevAt", "Submit", "Queue", "Append", "Append with O_APPEND", "Writer",
	"File.WriteAt", "File.Write", "File.WriteString", "File.Write with O_APPEND, which appends", "File.ReadFrom",
}

// open opens the subject that the trial is about.
func open(t *testing.T, name string, tr *trial, ring *asyncfile.Ring) *subject {
	t.Helper()
	opts := []asyncfile.Option{asyncfile.WithRing(ring), asyncfile.WithBackend(ring.Backend())}
	if tr.direct {
		opts = append(opts, asyncfile.WithDirect(asyncfile.DirectRequire))
	}
	f, err := asyncfile.OpenFile(name, tr.flag(), 0, opts...)
	if err != nil {
		t.Fatal(err)
	}
	view := f.File()
	if tr.deadline {
		if err := view.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if tr.atCursor() {
		if _, err := view.Seek(tr.off, io.SeekStart); err != nil {
			t.Fatal(err)
		}
	}
	s := &subject{name: name, close: f.Close}
	s.cursor = func() (int64, error) { return view.Seek(0, io.SeekCurrent) }
	s.put = func(p []byte, off int64) (int, error) {
		switch strings.TrimSuffix(strings.TrimSuffix(tr.route, " with O_APPEND"), " with O_APPEND, which appends") {
		case "WriteAt":
			return f.WriteAt(p, off).Wait()
		case "WritevAt":
			var bufs [][]byte
			for rest := p; len(rest) > 0; {
				part := min(len(rest), max(len(p)/3/4096*4096, 4096))
				bufs, rest = append(bufs, rest[:part]), rest[part:]
			}
			return f.WritevAt(bufs, off).Wait()
		case "Submit":
			return f.Submit(asyncfile.Op{Kind: asyncfile.OpWrite, Buf: p, Offset: off})[0].Wait()
		case "Queue":
			q := asyncfile.NewQueue(1)
			defer q.Close()
			if err := q.WriteAt(f, p, off, nil); err != nil {
				return 0, err
			}
			c := <-q.C()
			return c.N, c.Err
		case "Append":
			future := f.Append(p)
			n, err := future.Wait()
			if n > 0 && future.Offset() != off {
				err = fmt.Errorf("appended at %d instead of %d: %w", future.Offset(), off, err)
			}
			return n, err
		case "Writer":
			w, err := asyncfile.NewWriter(f, off, asyncfile.WithBlockSize(64<<10))
			if err != nil {
				return 0, err
			}
			_, err = w.Write(p)
			if e := w.Close(); err == nil {
				err = e
			}
			var at *asyncfile.StreamError
			if errors.As(err, &at) {
				return int(at.Offset - off), err
			}
			return len(p), err
		case "File.WriteAt":
			return view.WriteAt(p, off)
		case "File.Write":
			return view.Write(p)
		case "File.WriteString":
			return view.WriteString(string(p))
		case "File.ReadFrom":
			n, err := view.ReadFrom(bytes.NewReader(p))
			return int(n), err
		}
		panic(tr.route)
	}
	return s
}

// write has s write what the trial says, from skip bytes on, and looks at what
// came of it.
func (s *subject) write(t *testing.T, tr *trial, skip int) *outcome {
	t.Helper()
	n, err := s.put(stretch(tr.off+int64(skip), tr.n-skip, fresh), tr.off+int64(skip))
	o := &outcome{n: n, errno: errnoOf(err)}
	if o.cursor, err = s.cursor(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	o.size = info.Size()
	read := func(off int64, n int) []byte {
		p := make([]byte, n)
		n, err := f.ReadAt(p, off)
		if err != nil && err != io.EOF {
			t.Errorf("%v: what it left cannot be read: %v", tr, err)
		}
		return p[:n]
	}
	o.head = read(0, 1<<16)
	o.near = read(tr.off, tr.n+1<<16)
	return o
}

// inParts reports whether the library may choose how the bytes pass: in parts of
// its own, or, at the end that the kernel keeps, through the page cache. It may
// come further, then, than one system call with O_DIRECT does.
func (tr *trial) inParts() bool {
	return tr.deadline || tr.route == "File.ReadFrom" || tr.route == "Writer" || tr.direct && tr.flag()&os.O_APPEND != 0
}

// atCursor reports whether the trial moves the cursor.
func (tr *trial) atCursor() bool {
	return strings.HasPrefix(tr.route, "File.") && tr.route != "File.WriteAt"
}

// drops reports whether o has no count as os.File.WriteAt has none beside an
// error, whatever it has written.
func (tr *trial) drops(o *outcome) bool {
	return tr.route == "File.WriteAt" && !tr.direct && !tr.deadline && o.errno != nil && o.n == 0
}

// check compares what a write that fails came to with what is right.
func (tr *trial) check(t *testing.T, got, want *outcome) {
	t.Helper()
	report := func(complaint string) {
		t.Helper()
		t.Errorf("%v: %s:\n\tgot:  %v\n\twant: %v", tr, complaint, got, want)
	}
	switch {
	case got.errno != want.errno:
		report("another error")
	case tr.route == "Writer": // has several blocks in flight, and tells how far the file is right
	case tr.drops(got) && got.size == want.size:
		return
	case !tr.inParts() && got.n != want.n:
		report("another count")
	case !tr.inParts() && got.size != want.size:
		report("another size")
	}
	tr.true(t, got, got.n)
}

// true checks that an outcome is true of the file, of which done bytes have been
// written in all.
func (tr *trial) true(t *testing.T, o *outcome, done int) {
	t.Helper()
	report := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%v: %v, but %s", tr, o, fmt.Sprintf(format, args...))
	}
	size := tr.size
	if done > 0 {
		size = max(size, tr.off+int64(done))
	}
	if (o.n == tr.n) != (o.errno == nil) && done == o.n {
		report("of %d bytes", tr.n)
	}
	if o.size != size && !tr.drops(o) && (tr.route != "Writer" || done == tr.n) {
		report("the size should be %d", size)
	}
	if tr.atCursor() && o.cursor != tr.off+int64(done) {
		report("the cursor should be at %d", tr.off+int64(done))
	}
	if done < 0 || done > len(o.near) {
		report("the file has fewer bytes than were written")
		return
	}
	if !bytes.Equal(o.near[:done], stretch(tr.off, done, fresh)) {
		report("what was written is not there")
	}
	for i, b := range o.near[done:] {
		off := tr.off + int64(done+i)
		meant := done+i < tr.n // to be written: it was, or not, or its blocks are new
		if !(b == old(off) && off < tr.size || meant && b == fresh(off) || b == 0 && (meant || off >= tr.size)) {
			report("byte %d is %d, which nobody wrote", off, b)
			break
		}
	}
	before := min(tr.off, tr.size, int64(len(o.head)))
	if !bytes.Equal(o.head[:before], stretch(0, int(before), old)) {
		report("what was there before is not there any more")
	}
}

// draw draws sizes for a trial. There is room for about room bytes, and none of
// the trials is a near miss: how many blocks go for the file system's own use is
// no concern of these.
func (tr *trial) draw(r *rand.Rand, room int64) {
	pick := func(from ...int64) int64 { return from[r.IntN(len(from))] }
	const near = 64 << 10
	for {
		tr.size = pick(0, 4096, 4096, 10000, 65536)
		tr.n = int(pick(4096, room/2, room, room+near, 2*room, 4<<20, r.Int64N(2*room)+1))
		tr.off = pick(0, tr.size, tr.size, tr.size+4096, tr.size/2, 1<<30, r.Int64N(room))
		if r.IntN(3) > 0 {
			tr.n, tr.off, tr.size = (tr.n+4095)&^4095, tr.off&^4095, tr.size&^4095
		}
		if tr.appends() {
			tr.off = tr.size
		}
		if needs := tr.off + int64(tr.n) - max(tr.off, tr.size); needs <= room-near || needs >= room+near {
			return
		}
	}
}
