package asyncfile

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

func newReaderAt(t testing.TB, f *AsyncFile, opts ...StreamOption) *ReaderAt {
	t.Helper()
	r, err := NewReaderAt(f, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("ReaderAt.Close: %v", err)
		}
	})
	return r
}

// wantReadAt compares a ReadAt with that of a bytes.Reader.
func wantReadAt(t *testing.T, r io.ReaderAt, content []byte, off int64, n int) {
	t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	m, err := r.ReadAt(got, off)
	wantM, wantErr := bytes.NewReader(content).ReadAt(want, off)
	if n == 0 {
		wantErr = nil
	}
	if m != wantM || err != wantErr || !bytes.Equal(got, want) {
		t.Errorf("ReadAt of %d at %d = %d, %v; want %d, %v, or the bytes are others", n, off, m, err, wantM, wantErr)
	}
}

// A walker reads a file along a pattern, in steps.
type walker func() (off int64, n int)

// drawWalker draws a pattern, or none.
func drawWalker(rng *rand.Rand, size int) walker {
	at, n := rng.Int64N(int64(size)), 1+rng.IntN(1<<rng.IntN(17))
	step := int64(n)
	random := false
	switch rng.IntN(6) {
	case 0:
		step = -step
	case 1:
		step += rng.Int64N(nearBy)
	case 2:
		step = rng.Int64N(200_000) - 100_000
	case 3:
		random = true
	}
	return func() (int64, int) {
		off := at
		if at += step; random || at < 0 || at > int64(size) {
			at = rng.Int64N(int64(size) + 10)
		}
		if rng.IntN(50) == 0 { // out of step
			off = max(off-rng.Int64N(10_000), 0)
		}
		return off, n
	}
}

// Whatever is read, by however many at once, the results are those of a bytes.Reader.
func TestReaderAt(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		rng := rand.New(rand.NewPCG(seed, 1))
		content := testPattern(1<<20+rng.IntN(10_000), seed)
		f := open(putFile(t, content), os.O_RDONLY+rng.IntN(2)*os.O_RDWR)
		for range 4 {
			r := newReaderAt(t, f, WithBlockSize(4096<<rng.IntN(6)), WithStreamDepth(1+rng.IntN(20)))
			var wg sync.WaitGroup
			for i := range uint64(1 + rng.IntN(6)) {
				rng := rand.New(rand.NewPCG(rng.Uint64(), i))
				wg.Go(func() {
					for range 6 {
						walk := drawWalker(rng, len(content))
						for range 40 {
							off, n := walk()
							wantReadAt(t, r, content, off, n)
						}
					}
				})
			}
			wg.Wait()
			if r.taken > r.memory || r.taken < 0 {
				t.Errorf("%d bytes are taken, of %d", r.taken, r.memory)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		wantIdle(t, f.Ring())
	})
}

// A patternTest reads along a pattern from a file of patternSize bytes.
type patternTest struct {
	name string
	read func(i int) (off int64, n int) // n is 0 at the end
	most int                            // of the reads that are not served from memory
	ops  int                            // operations at most, those included
}

const patternSize = 4 << 20

var patternTests = []patternTest{
	{"a row", func(i int) (int64, int) { return int64(i) * 4096, rowOf(i, 4096) }, 1, 70},
	{"a row of bytes that fit no block", func(i int) (int64, int) { return int64(i) * 1000, rowOf(i, 1000) }, 1, 70},
	{"a row of large reads", func(i int) (int64, int) { return int64(i) << 19, rowOf(i, 1<<19) }, 2, 36},
	{"a row downwards", func(i int) (int64, int) { return patternSize - int64(i+1)*4096, rowOf(i, 4096) }, 2, 70},
	{"a row with gaps", func(i int) (int64, int) { return int64(i) * 10_000, rowOf(i, 10_000) / 10 }, 2, 70},
	{"equal distances", func(i int) (int64, int) { return int64(i) * 100_000, rowOf(i, 100_000) / 100 }, 4, 70},
	{"equal distances, downwards", func(i int) (int64, int) { return patternSize - int64(i+1)*100_000, rowOf(i, 100_000) / 100 }, 4, 70},
	{"four rows in turn", func(i int) (int64, int) {
		return int64(i%4)<<20 + int64(i/4)*4096, rowOf(i, 4096)
	}, 12, 80},
	{"at random", func(i int) (int64, int) {
		return rand.New(rand.NewPCG(1, uint64(i))).Int64N(patternSize/4096) * 4096, rowOf(i, 4096)
	}, 1024, 1100},
	{"no pattern", func(i int) (int64, int) { return int64(i) * int64(i) * 7777 % patternSize, rowOf(i, 4096) }, 1024, 1024},
}

// rowOf returns n as long as the i-th n bytes are within the file.
func rowOf(i, n int) int {
	if (i+1)*n > patternSize {
		return 0
	}
	return n
}

// Where there is a pattern few operations read much, ahead of their use; and where
// there is none nothing is read but what is asked for.
func TestReaderAtPatterns(t *testing.T) {
	content := testPattern(patternSize, 1)
	name := putFile(t, content)
	for _, test := range patternTests {
		t.Run(test.name, func(t *testing.T) {
			ring := newTestRing(t)
			needDirect(t)
			f := openTest(t, name, os.O_RDONLY, WithRing(ring), WithDirect(DirectRequire))
			r := newReaderAt(t, f)
			served := 0
			i := 0
			for ; ; i++ {
				off, n := test.read(i)
				if n == 0 {
					break
				}
				before := r.served(off)
				wantReadAt(t, r, content, off, n)
				if before || r.served(off) {
					served++
				}
			}
			missed := i - served
			ops, bytes := int(ring.Stats().Submitted), int(ring.Stats().BytesRead)
			t.Logf("%d reads, %d not from memory, %d operations of %d bytes", i, missed, ops, bytes)
			if missed > test.most || ops > test.ops || i < 8 {
				t.Errorf("%d of %d reads not from memory, want %d at most; %d operations, want %d", missed, i, test.most, ops, test.ops)
			}
			if bytes > patternSize*2 { // at random, chance makes some rows in a small file
				t.Errorf("%d bytes were read of %d", bytes, patternSize)
			}
		})
	}
}

// served reports whether off is in memory, or on its way.
func (r *ReaderAt) served(off int64) bool {
	s := r.pin(off)
	if s != nil {
		s.pins.Add(-1)
	}
	return s != nil
}

// What is read ahead goes out by itself, while its reader is busy.
func TestReaderAtGoesAhead(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		content := patternBytes(1<<20, 1)
		f := s.openOwn(aiotest.NewMem(content))
		if err := os.WriteFile(f.Name(), content, 0o666); err != nil { // for what goes round the kernel
			s.Fatal(err)
		}
		r := newReaderAt(s.T, f, WithBlockSize(4096))
		log := s.script()
		for i := range 100 {
			wantReadAt(s.T, r, content, int64(i)*1000, 1000)
			s.inNoTime("what is read ahead", func() {
				s.settle()
				if got := s.state(); got.Pending > 0 || got.InFlight > 0 {
					s.Errorf("after read %d: %+v", i, got)
				}
			})
		}
		if n := len(log.lens()); n < 20 || n > 60 {
			s.Errorf("%d operations", n)
		}
	})
}

// Who follows a pattern that ends leaves its memory to others.
func TestReaderAtMemory(t *testing.T) {
	content := testPattern(patternSize, 1)
	f := openTest(t, putFile(t, content), os.O_RDONLY)
	r := newReaderAt(t, f, WithBlockSize(16<<10), WithStreamDepth(8))
	for row := range 40 {
		start := int64(row) * 100_000
		for i := range int64(20) {
			wantReadAt(t, r, content, start+i*4096, 4096)
			if r.taken > r.memory {
				t.Fatalf("%d bytes are taken, of %d", r.taken, r.memory)
			}
		}
	}
	for range patternLife {
		wantReadAt(t, r, content, 7, 10)
	}
	start := int64(3_999_000)
	for i := range int64(10) {
		wantReadAt(t, r, content, start+i*1000, 1000)
	}
	if !r.served(start + 10_000) {
		t.Error("after rows that have ended a new one has no memory")
	}
}

// An error of what is read ahead is told to who reads just there, unless the file itself
// answers when it is asked again.
func TestReaderAtErrors(t *testing.T) {
	eachWait(t, 32, func(s *scripted) {
		content := patternBytes(40_000, 5)
		f := s.openOwn(badFile{bytes.NewReader(content), 20_000, 20_010})
		if err := os.WriteFile(f.Name(), content, 0o666); err != nil { // for what goes round the kernel
			s.Fatal(err)
		}
		r := newReaderAt(s.T, f, WithBlockSize(4096))
		for off := int64(0); off < int64(len(content)); off += 100 {
			if off != 20_000 {
				wantReadAt(s.T, r, content, off, 100)
				continue
			}
			p := make([]byte, 100)
			n, err := r.ReadAt(p, off)
			if failed := n == 0 && errors.Is(err, syscall.EIO); !failed && (err != nil || !bytes.Equal(p, content[off:][:100])) {
				s.Errorf("at the bad bytes: %d, %v", n, err)
			}
		}
		if s.ring.Stats().Errors == 0 {
			s.Error("nothing failed: this test shows nothing")
		}
	})
}

// A file that becomes larger, or smaller, is what a read finds.
func TestReaderAtSizes(t *testing.T) {
	content := testPattern(100_000, 1)
	f := openTest(t, putFile(t, content), os.O_RDWR)
	r := newReaderAt(t, f, WithBlockSize(4096))
	if r.Size() != 100_000 {
		t.Errorf("Size() = %d", r.Size())
	}
	content = append(content, testPattern(50_000, 2)...)
	wantResult(t, f.WriteAt(content[100_000:], 100_000), 50_000, nil)
	for off := int64(0); off < 160_000; off += 1000 {
		wantReadAt(t, r, content, off, 1000)
	}
	if err := os.Truncate(f.Name(), 30_000); err != nil {
		t.Fatal(err)
	}
	r = newReaderAt(t, f, WithBlockSize(4096))
	r.size = 150_000 // as if it had become smaller since
	for off := int64(0); off < 160_000; off += 1000 {
		wantReadAt(t, r, content[:30_000], off, 1000)
	}
}

// Close may come at any time.
func TestReaderAtClose(t *testing.T) {
	content := testPattern(1<<20, 1)
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		f := open(putFile(t, content), os.O_RDONLY)
		for range 20 {
			r := newReaderAt(t, f, WithBlockSize(4096))
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					p, want := make([]byte, 1000), content
					for off := int64(0); off < 1<<19; off += 1000 {
						n, err := r.ReadAt(p, off)
						if errors.Is(err, fs.ErrClosed) {
							return
						}
						if n != 1000 || err != nil || !bytes.Equal(p, want[off:off+1000]) {
							t.Errorf("at %d: %d, %v", off, n, err)
						}
					}
				})
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err := r.Close(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("a second Close = %v", err)
			}
			wg.Wait()
			if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("ReadAt after Close = %v", err)
			}
		}
		wantIdle(t, f.Ring())
		r := newReaderAt(t, f)
		f.Close()
		if n, err := r.ReadAt(make([]byte, 10), 0); n != 0 || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("on a closed file ReadAt = %d, %v", n, err)
		}
	})
}

func TestReaderAtRefuses(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(100, 1)), os.O_RDONLY)
	for want, opts := range map[string][]StreamOption{
		"WithBlockSize(1)":      {WithBlockSize(1)},
		"WithStreamDepth(0)":    {WithStreamDepth(0)},
		"WithStreamDepth(1025)": {nil, WithStreamDepth(1025)},
	} {
		if r, err := NewReaderAt(f, opts...); r != nil || !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, none := range []*AsyncFile{nil, {}} {
		if r, err := NewReaderAt(none); r != nil || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("of no file: %v", err)
		}
	}
	for _, none := range []*ReaderAt{nil, {}} {
		_, err := none.ReadAt(make([]byte, 1), 0)
		if e := none.Close(); !errors.Is(err, os.ErrInvalid) || !errors.Is(e, os.ErrInvalid) || none.Size() != 0 {
			t.Errorf("of none: %v, %v", err, e)
		}
	}
	r := newReaderAt(t, f)
	for _, off := range []int64{-1, math.MinInt64, math.MaxInt64, math.MaxInt64 - 5, 100, 200} {
		for range 5 {
			p := make([]byte, 10)
			n, err := r.ReadAt(p, off)
			wantN, wantErr := f.os().ReadAt(p, off)
			if n != wantN || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("at %d: %d, %v; os.File %d, %v", off, n, err, wantN, wantErr)
			}
		}
	}
}

// Who reads in small pieces: archives, and what iotest knows.
func TestReaderAtReaders(t *testing.T) {
	content := testPattern(300_000, 1)
	eachMode(t, func(t *testing.T, mode DirectMode) {
		f := openStream(t, mode, content)
		r := newReaderAt(t, f, WithBlockSize(8192))
		if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), content); err != nil {
			t.Error(err)
		}

		var tape, box bytes.Buffer
		tw, zw := tar.NewWriter(&tape), zip.NewWriter(&box)
		for i := range 20 {
			name, data := fmt.Sprint(i), content[i*1000:][:i*10_000]
			if err := tw.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o600}); err != nil {
				t.Fatal(err)
			}
			tw.Write(data)
			w, err := zw.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
			if err != nil {
				t.Fatal(err)
			}
			w.Write(data)
		}
		tw.Close()
		zw.Close()

		r = newReaderAt(t, openStream(t, mode, tape.Bytes()), WithBlockSize(8192))
		tr := tar.NewReader(io.NewSectionReader(r, 0, r.Size()))
		for i := range 20 {
			if _, err := tr.Next(); err != nil {
				t.Fatal(err)
			}
			if data, err := io.ReadAll(tr); err != nil || !bytes.Equal(data, content[i*1000:][:i*10_000]) {
				t.Errorf("tar: file %d has %d bytes, or others: %v", i, len(data), err)
			}
		}
		r = newReaderAt(t, openStream(t, mode, box.Bytes()), WithBlockSize(8192))
		zr, err := zip.NewReader(r, r.Size())
		if err != nil {
			t.Fatal(err)
		}
		for i, file := range zr.File {
			if data, err := fs.ReadFile(zr, file.Name); err != nil || !bytes.Equal(data, content[i*1000:][:i*10_000]) {
				t.Errorf("zip: file %d has %d bytes, or others: %v", i, len(data), err)
			}
		}
	})
}

// A read that fits no pattern, and one that is served from memory, allocate nothing.
func TestReaderAtAllocations(t *testing.T) {
	if raceEnabled() || os.Getenv(file.VerifyEnv) == "1" {
		t.Skip("the race detector allocates, and so does the verifier")
	}
	f := openTest(t, putFile(t, testPattern(patternSize, 1)), os.O_RDONLY)
	r := newReaderAt(t, f)
	p, i := make([]byte, 1000), int64(0)
	for what, off := range map[string]func() int64{
		"no pattern": func() int64 { return i * i * 7777 % (patternSize - 1000) },
		"a row":      func() int64 { return i % 4000 * 1000 },
	} {
		got := testing.AllocsPerRun(2000, func() {
			if i++; i%4000 == 0 {
				i++
			}
			if _, err := r.ReadAt(p, off()); err != nil {
				t.Fatal(err)
			}
		})
		if got > 0 {
			t.Errorf("%s: allocates %v times", what, got)
		}
	}
}
