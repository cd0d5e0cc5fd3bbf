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
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// lseek(2) of Linux, which os.File.Seek passes on.
const (
	seekData = 3
	seekHole = 4
)

// A span is a range of a file.
type span struct{ off, n int64 }

// seekSpans is DataRanges as an os.File finds them.
func seekSpans(t *testing.T, name string) (spans []span) {
	t.Helper()
	osf, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer osf.Close()
	for at := int64(0); ; {
		from, err := osf.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return spans
		}
		if err != nil {
			t.Skipf("SEEK_DATA: %v", err)
		}
		if at, err = osf.Seek(from, seekHole); err != nil {
			t.Fatal(err)
		}
		spans = append(spans, span{from, at - from})
	}
}

func dataSpans(f *AsyncFile) (spans []span) {
	for off, n := range f.DataRanges() {
		spans = append(spans, span{off, n})
	}
	return spans
}

// A rangesFile is a file, what it is to hold, and the writes that are in flight.
type rangesFile struct {
	*testing.T
	*AsyncFile
	random  *rand.Rand
	model   []byte
	writes  []*Future
	where   []span // of them
	history []string
}

const rangesLimit = 20 * testBlock

// offset returns one that is often at a block, and often near one.
func (r *rangesFile) offset() int64 {
	off := r.random.Int64N(rangesLimit/testBlock) * testBlock
	switch r.random.IntN(3) {
	case 1:
		off += r.random.Int64N(testBlock)
	case 2:
		off = max(0, off+r.random.Int64N(3)-1)
	}
	return off
}

// grow makes the model at least size bytes long.
func (r *rangesFile) grow(size int64) {
	r.model = append(r.model, make([]byte, max(0, size-int64(len(r.model))))...)
}

func (r *rangesFile) settle() {
	if err := WaitAll(r.writes...); err != nil {
		r.Fatalf("%v: %v", r.history, err)
	}
	r.writes, r.where = r.writes[:0], r.where[:0]
}

// step does one thing to the file and to the model. On a direct file what changes
// ranges keeps its place among writes in flight; on others nothing promises that.
func (r *rangesFile) step() {
	from, to := r.offset(), r.offset()
	if from > to {
		from, to = to, from
	}
	to = max(to, from+1)
	n := to - from
	kind := r.random.IntN(8)
	if kind >= 4 && !r.core.Direct {
		r.settle()
	}
	var err error
	switch kind {
	case 0, 1, 2, 3:
		r.history = append(r.history, fmt.Sprintf("write(%d, %d)", from, n))
		if slices.ContainsFunc(r.where, func(s span) bool { return s.off < to && from < s.off+s.n }) {
			r.settle() // two writes of the same bytes land in any order
		}
		p := testPattern(int(n), r.random.Uint64())
		if kind == 3 {
			clear(p) // data, of zeros
		}
		r.writes, r.where = append(r.writes, r.WriteAt(p, from)), append(r.where, span{from, n})
		r.grow(to)
		copy(r.model[from:], p)
		if !r.core.Direct {
			r.settle()
		}
		return
	case 4, 5:
		r.history = append(r.history, fmt.Sprintf("punch(%d, %d)", from, n))
		err = r.PunchHole(from, n)
		if size := int64(len(r.model)); err == nil && from < size {
			clear(r.model[from:min(to, size)])
		}
	case 6:
		r.history = append(r.history, fmt.Sprintf("zero(%d, %d)", from, n))
		if err = r.ZeroRange(from, n); err == nil {
			r.grow(to)
			clear(r.model[from:to])
		}
	case 7:
		r.history = append(r.history, fmt.Sprintf("truncate(%d)", to))
		if err = r.Truncate(to); err == nil {
			r.grow(to)
			r.model = r.model[:to]
		}
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		r.Fatalf("%v: %v", r.history, err)
	}
}

// check compares the file with the model, read in both ways, and its ranges with those
// that an os.File finds.
func (r *rangesFile) check() {
	r.Helper()
	r.settle()
	got := AlignedBuffer(len(r.model) + testBlock)
	if n, err := r.ReadAt(got, 0).Wait(); n != len(r.model) || err != io.EOF || !bytes.Equal(got[:n], r.model) {
		r.Fatalf("%v: read %d bytes, %v; the model has %d, and they differ", r.history, n, err, len(r.model))
	}
	wantContent(r.T, r.Name(), r.model)
	spans := dataSpans(r.AsyncFile)
	if want := seekSpans(r.T, r.Name()); !slices.Equal(spans, want) {
		r.Fatalf("%v: DataRanges %v, want %v", r.history, spans, want)
	}
	holes := slices.Clone(r.model)
	for _, s := range spans {
		clear(holes[s.off : s.off+s.n])
	}
	if i := bytes.IndexFunc(holes, func(c rune) bool { return c != 0 }); i >= 0 {
		r.Fatalf("%v: byte %d is in no range of %v", r.history, i, spans)
	}
}

// TestRangesModel has random writes, holes, zeroed ranges and truncations, many of them
// in flight, against a model, on what the temporary files are on and in memory.
func TestRangesModel(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		for _, dir := range []string{t.TempDir(), "/dev/shm"} {
			for round := range rounds {
				osf, err := os.CreateTemp(dir, "asyncfile-ranges-")
				if err != nil {
					t.Skip(err)
				}
				osf.Close()
				defer os.Remove(osf.Name())
				f := open(osf.Name(), os.O_RDWR)
				r := &rangesFile{T: t, AsyncFile: f, random: rand.New(rand.NewPCG(uint64(round), 7))}
				at, err := f.File().Seek(int64(round), io.SeekStart)
				for range 5 {
					for range 1 + r.random.IntN(6) {
						r.step()
					}
					r.check()
				}
				if now, e := f.File().Seek(0, io.SeekCurrent); now != at || err != nil || e != nil {
					t.Errorf("the cursor was at %d, %v, and is at %d, %v", at, err, now, e)
				}
				f.Close()
			}
		}
	})
}

// TestBadRanges: what is no range of a file answers os.ErrInvalid, and tells the numbers;
// a closed file fs.ErrClosed; one that may not be written what Truncate does.
func TestBadRanges(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		name := putFile(t, testPattern(testBlock, 1))
		f := open(name, os.O_RDWR)
		calls := map[string]func(off, n int64) error{"punch": f.PunchHole, "zero": f.ZeroRange, "prefetch": f.Prefetch}
		for op, call := range calls {
			for _, r := range []span{{-1, 1}, {0, 0}, {0, -1}, {math.MinInt64, 5}, {1, math.MaxInt64}, {math.MaxInt64, math.MaxInt64}} {
				err := call(r.off, r.n)
				var pathError *fs.PathError
				if !errors.Is(err, os.ErrInvalid) || !errors.As(err, &pathError) || pathError.Op != op || pathError.Path != name ||
					!strings.Contains(err.Error(), fmt.Sprintf("%d bytes from offset %d on", r.n, r.off)) {
					t.Errorf("%s of %d bytes at %d: %v", op, r.n, r.off, err)
				}
			}
		}
		wantContent(t, name, testPattern(testBlock, 1))
		readOnly := open(name, os.O_RDONLY)
		for _, call := range []func(off, n int64) error{readOnly.PunchHole, readOnly.ZeroRange} {
			if err := call(0, 1); !errors.Is(err, syscall.EBADF) && !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("of a file that is open for reading: %v", err)
			}
		}
		f.Close()
		for op, call := range calls {
			if err := call(0, 1); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s of a closed file: %v", op, err)
			}
		}
	})
}

// TestDataRangesUntold: where a file does not tell, everything is data, so that who
// reads it meets the error.
func TestDataRangesUntold(t *testing.T) {
	data := testPattern(3*testBlock+5, 1)
	f := openTest(t, putFile(t, data), os.O_RDWR)
	whole := []span{{0, int64(len(data))}}
	f.core.Seeker.Reopen = func(int) (int, error) { return -1, syscall.EMFILE }
	if got := dataSpans(f); !slices.Equal(got, whole) {
		t.Errorf("without a descriptor: %v, want %v", got, whole)
	}

	// A file that is closed on the way. The size is that of the first range.
	for range f.DataRanges() {
		f.Close()
	}
	got := dataSpans(f)
	if !slices.Equal(got, []span{{0, 1}}) {
		t.Errorf("a closed file: %v", got)
	}
	if _, err := f.ReadAt(make([]byte, got[0].n), got[0].off).Wait(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("and to read that: %v", err)
	}

	empty := openTest(t, putFile(t, nil), os.O_RDWR)
	if got := dataSpans(empty); got != nil {
		t.Errorf("an empty file: %v", got)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pipe, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if got := dataSpans(pipe); got != nil {
		t.Errorf("a pipe: %v", got)
	}
	dir := openTest(t, t.TempDir(), os.O_RDONLY)
	if got := dataSpans(dir); len(got) > 1 {
		t.Errorf("a directory: %v", got)
	}
}

// TestDataRangesOneDescriptor: closing any descriptor of a file would give up the record
// locks of the process, so that of DataRanges stays until Close.
func TestDataRangesOneDescriptor(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDWR)
	opened := 0
	reopen := f.core.Seeker.Reopen
	f.core.Seeker.Reopen = func(fd int) (int, error) {
		opened++
		return reopen(fd)
	}
	for range 5 {
		dataSpans(f)
	}
	if opened != 1 {
		t.Errorf("%d descriptors for five loops, want 1", opened)
	}
}

// TestPrefetch has hints of any size, and changes nothing.
func TestPrefetch(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		data := testPattern(100*testBlock+1, 1)
		f := open(putFile(t, data), os.O_RDWR)
		for _, r := range []span{{0, 1}, {0, math.MaxInt64}, {math.MaxInt64 - 1, 1}, {testBlock + 1, 50 * testBlock}} {
			err := f.Prefetch(r.off, r.n)
			if unsupported := errors.Is(err, errors.ErrUnsupported); unsupported != f.Direct() || err != nil && !unsupported {
				t.Errorf("of %d bytes at %d, direct %v: %v", r.n, r.off, f.Direct(), err)
			}
		}
		wantContent(t, f.Name(), data)
	})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	pipe, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := pipe.Prefetch(0, 1); !errors.Is(err, syscall.ESPIPE) {
		t.Errorf("of a pipe: %v", err)
	}
}

// TestPrefetchReads: all of a range comes into the page cache, also where it is more than
// the kernel reads ahead for one call.
func TestPrefetchReads(t *testing.T) {
	const size = 20 << 20
	f := openTest(t, putFile(t, testPattern(size, 1)), os.O_RDWR)
	if _, err := f.Sync().Wait(); err != nil {
		t.Fatal(err)
	}
	aio.Uncache(f.core.Fd(), 0, size)
	p := make([]byte, 1)
	cached := func() (n int) {
		for off := int64(0); off < size; off += testBlock {
			if m, _ := aio.PreadNoWait(f.core.Fd(), p, off); m == 1 {
				n++
			}
		}
		return n
	}
	if n := cached(); n > size/testBlock/2 {
		t.Skipf("%d blocks stay in the page cache", n)
	}
	if err := f.Prefetch(1, math.MaxInt64-1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is in the page cache", func() bool { return cached() == size/testBlock })
}
