package asyncfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// wantChunk checks a chunk against what a bytes.Reader of the same content answers.
func wantChunk(t *testing.T, content []byte, r Range, c Chunk, err error) {
	t.Helper()
	want := make([]byte, r.Length)
	n, wantErr := 0, error(nil)
	if r.Length > 0 {
		n, wantErr = bytes.NewReader(content).ReadAt(want, r.Offset)
	}
	if c.Range != r || err != wantErr || !bytes.Equal(c.Data, want[:n]) {
		t.Fatalf("%+v is chunk %+v with %d bytes, %v; want %d, %v, or the bytes are others", r, c.Range, len(c.Data), err, n, wantErr)
	}
	if cap(c.Data) != len(c.Data) {
		t.Fatalf("%+v: appending to the chunk would overwrite others", r)
	}
}

// drawRanges draws ranges of a file of size bytes: neighbours that touch, overlap,
// leave gaps or go back, and some that are empty, repeated, or beyond the end.
func drawRanges(rng *rand.Rand, size, n int) (list []Range) {
	at := 0
	longest := 1 + rng.IntN(3*testBlock)
	for len(list) < n {
		r := Range{Length: rng.IntN(longest)}
		switch rng.IntN(8) {
		case 0:
			at = rng.IntN(size + 2*testBlock)
		case 1:
			at -= rng.IntN(2 * longest)
		case 2:
			at += rng.IntN(100)
		case 3:
			r.Length = 0
		case 4:
			at = at / testBlock * testBlock
			r.Length = testBlock
		}
		if at = max(at, 0); at > size+testBlock {
			at = 0
		}
		r.Offset = int64(at)
		at += r.Length
		for range 1 + rng.IntN(8)/7*rng.IntN(4) {
			list = append(list, r)
		}
	}
	return list
}

// drawOptions draws options that leave room for what drawRanges draws.
func drawOptions(rng *rand.Rand) (opts []ReadManyOption, ordered bool) {
	ordered = rng.IntN(2) == 0
	if !ordered {
		opts = append(opts, WithAnyOrder())
	}
	if rng.IntN(2) == 0 {
		opts = append(opts, WithReadDepth(1+rng.IntN(10)))
	}
	if rng.IntN(2) == 0 {
		opts = append(opts, WithReadMemory(4*testBlock+rng.IntN(20*testBlock)))
	}
	if rng.IntN(2) == 0 {
		opts = append(opts, WithMergeGap(rng.IntN(2*testBlock)))
	}
	if rng.IntN(2) == 0 {
		opts = append(opts, WithMaxMerge(rng.IntN(10*testBlock)))
	}
	return opts, ordered
}

// wantIdle checks that a Ring has nothing in flight.
func wantIdle(t *testing.T, r *Ring) {
	t.Helper()
	if n := r.Stats().InFlight; n != 0 {
		t.Errorf("%d operations in flight after the loop", n)
	}
}

func TestReadMany(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		rng := rand.New(rand.NewPCG(seed, 1))
		content := testPattern(40*testBlock+rng.IntN(testBlock), seed)
		f := open(putFile(t, content), os.O_RDONLY+rng.IntN(2)*os.O_RDWR)
		for range 20 {
			ranges := drawRanges(rng, len(content), rng.IntN(300))
			opts, ordered := drawOptions(rng)
			seen := make([]bool, len(ranges))
			next := 0
			for c, err := range f.ReadMany(t.Context(), slices.Values(ranges), opts...) {
				if c.Index < 0 || seen[c.Index] || ordered && c.Index != next {
					t.Fatalf("chunk %d comes after %d others, %v", c.Index, next, err)
				}
				seen[c.Index] = true
				next++
				wantChunk(t, content, ranges[c.Index], c, err)
			}
			if next != len(ranges) {
				t.Fatalf("%d chunks of %d ranges", next, len(ranges))
			}
			wantIdle(t, f.Ring())
		}
		if n := f.Ring().Stats().BouncedReads; n != 0 {
			t.Errorf("%d reads were copied", n)
		}
	})
}

// A loop may be left at any chunk; its ranges' own iterator ends too.
func TestReadManyBreak(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		rng := rand.New(rand.NewPCG(7, 7))
		content := testPattern(20*testBlock, 7)
		f := open(putFile(t, content), os.O_RDONLY)
		ranges := drawRanges(rng, len(content), 60)
		for stop := range len(ranges) + 1 {
			opts, _ := drawOptions(rng)
			stopped := false
			source := func(yield func(Range) bool) {
				defer func() { stopped = true }()
				slices.Values(ranges)(yield)
			}
			n := 0
			for c, err := range f.ReadMany(t.Context(), source, opts...) {
				if n == stop {
					break
				}
				n++
				wantChunk(t, content, ranges[c.Index], c, err)
			}
			if n != min(stop, len(ranges)) || !stopped {
				t.Errorf("%d chunks, to be left at %d; the ranges have ended: %v", n, stop, stopped)
			}
			wantIdle(t, f.Ring())
		}
	})
}

// A panic of the loop's body leaves nothing behind either.
func TestReadManyPanic(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(20*testBlock, 1)), os.O_RDONLY, WithDirect(DirectPrefer))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic got lost")
			}
		}()
		for c := range f.ReadMany(t.Context(), blocksOf(20)) {
			if c.Index == 3 {
				panic("of the body")
			}
		}
	}()
	eventually(t, "the operations end", func() bool { return f.Ring().Stats().InFlight == 0 || f.Backend() == BackendPool })
}

// blocksOf returns n blocks of the first 128, of which no neighbours touch.
func blocksOf(n int) iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for i := range n {
			if !yield(Range{int64(i) * 3 % 128 * testBlock, testBlock}) {
				return
			}
		}
	}
}

// The end of a context ends the loop, after any chunk and at any other moment, with
// one error; what is in flight ends later.
func TestReadManyContext(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		rng := rand.New(rand.NewPCG(3, 3))
		content := testPattern(20*testBlock, 3)
		f := open(putFile(t, content), os.O_RDONLY)
		ranges := drawRanges(rng, len(content), 60)
		for stop := range len(ranges) + 1 {
			ctx, cancel := context.WithCancel(t.Context())
			beside := rng.IntN(2) == 0
			if stop == 0 {
				cancel()
			} else if beside {
				go cancel()
			}
			opts, _ := drawOptions(rng)
			var last error
			n := 0
			for c, err := range f.ReadMany(ctx, slices.Values(ranges), opts...) {
				if last != nil {
					t.Fatalf("chunk %+v, %v comes after the end", c, err)
				}
				if c.Index < 0 {
					if last = err; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrAbandoned) || c.Data != nil {
						t.Errorf("the end of the context is %+v, %v", c, err)
					}
					continue
				}
				if n++; n == stop {
					cancel()
				}
				wantChunk(t, content, ranges[c.Index], c, err)
			}
			if last == nil && n < len(ranges) || stop == 0 && n > 0 || !beside && stop > 0 && n != stop {
				t.Errorf("cancelled at %d: %d chunks, %v", stop, n, last)
			}
			cancel()
		}
		eventually(t, "the operations end", func() bool { return f.Ring().Stats().InFlight == 0 })
	})
}

// A device that answers nothing does not hold up the end of a context, whatever the
// loop waits for: a read, or a slot of the Ring. Its memory is the kernel's until then.
func TestReadManyHungDevice(t *testing.T) {
	for _, full := range []bool{false, true} {
		t.Run(fmt.Sprintf("full=%v", full), func(t *testing.T) {
			inBubble(t, 8, func(s *scripted) {
				s.hold()
				var others []*Future
				if full {
					others = s.submit(s.direct, readOps(8, 10)...)
					s.kernel.Await(8)
				}
				for _, opts := range [][]ReadManyOption{nil, {WithAnyOrder()}} {
					const patience = 20 * time.Millisecond
					ctx, cancel := context.WithTimeout(s.Context(), patience)
					start, n := time.Now(), 0
					for c, err := range s.direct.ReadMany(ctx, slices.Values([]Range{{0, 100}, {1000, 100}}), opts...) {
						if n++; c.Index != -1 || !errors.Is(err, context.DeadlineExceeded) {
							s.Errorf("chunk %+v, %v", c, err)
						}
					}
					if took := time.Since(start); n != 1 || took > patience+maxStay {
						s.Errorf("%d errors, and it took %v", n, took)
					}
					cancel()
				}
				for _, op := range s.kernel.Held() {
					op.Complete()
				}
				s.pass()
				for _, op := range s.kernel.Held() { // what waited for a slot
					op.Complete()
				}
				s.pass()
				if got := s.state(); got.InFlight != 0 || got.Pending != 0 || got.Asks != 0 {
					s.Errorf("at the end %+v, %d asks", got, got.Asks)
				}
				for _, future := range others {
					future.Wait()
				}
			})
		})
	}
}

// What is in flight, and what waits to be passed on, stays within the bounds, and
// is as much as they allow.
func TestReadManyBounds(t *testing.T) {
	const block, depth = 64, 8
	for _, bound := range []struct {
		opt  ReadManyOption
		most int // operations
	}{
		{WithReadDepth(5), 5},
		{WithReadMemory(4*testBlock + 4*partCharge), 4},
		{WithReadMemory(4*testBlock + 4*partCharge - 1), 3},
		{WithReadDepth(1000), depth}, // of the Ring
	} {
		for _, order := range []ReadManyOption{nil, WithAnyOrder()} {
			inBubble(t, depth, func(s *scripted) {
				s.hold()
				rng := rand.New(rand.NewPCG(1, uint64(bound.most)))
				done, most := make(chan int), 0
				go func() {
					n := 0
					for _, err := range s.direct.ReadMany(s.Context(), slices.Values([]Range{
						{0, block}, {200, block}, {400, block}, {600, block}, {800, block}, {1000, block},
						{1200, block}, {1400, block}, {1600, block}, {1800, block}, {2000, block}, {2200, block},
					}), bound.opt, order) {
						if err != nil {
							s.Error(err)
						}
						n++
					}
					done <- n
				}()
				for n := -1; n < 0; {
					s.settle()
					held := s.kernel.Held()
					most = max(most, len(held))
					if len(held) > 0 {
						held[rng.IntN(len(held))].Complete()
					}
					select {
					case n = <-done:
						if n != 12 {
							s.Errorf("%d chunks", n)
						}
					case <-time.After(ring.WatchPeriod):
					}
				}
				if most != bound.most {
					s.Errorf("%d in flight, want %d", most, bound.most)
				}
			})
		}
	}
}

// badFile has bytes that cannot be read.
type badFile struct {
	*bytes.Reader
	from, to int64
}

func (b badFile) ReadAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); off < b.to && end > b.from {
		if off >= b.from {
			return 0, syscall.EIO
		}
		p = p[:b.from-off]
	}
	return b.Reader.ReadAt(p, off)
}

func (badFile) WriteAt([]byte, int64) (int, error) { return 0, syscall.EROFS }

// An error is that of the ranges that have it, however they were merged.
func TestReadManyErrors(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		content := patternBytes(4096, 5)
		f := s.openOwn(badFile{bytes.NewReader(content), 1000, 1010})
		rng := rand.New(rand.NewPCG(5, 5))
		for range 50 {
			var ranges []Range
			for at := int64(0); at < 4200; {
				n := rng.IntN(300)
				ranges = append(ranges, Range{at, n})
				at += int64(n - rng.IntN(20))
				at = max(at, 0)
			}
			if rng.IntN(2) == 0 {
				slices.Reverse(ranges)
			}
			opts, ordered := drawOptions(rng)
			next, failed := 0, 0
			for c, err := range f.ReadMany(s.Context(), slices.Values(ranges), opts...) {
				r := ranges[c.Index]
				if ordered && c.Index != next {
					s.Fatalf("chunk %d comes as number %d", c.Index, next)
				}
				next++
				if r.Length > 0 && r.Offset < 1010 && r.Offset+int64(r.Length) > 1000 {
					n := max(1000-r.Offset, 0)
					if failed++; !errors.Is(err, syscall.EIO) || !bytes.Equal(c.Data, content[r.Offset:][:n]) {
						s.Errorf("%+v: %d bytes, %v; want %d, EIO", r, len(c.Data), err, n)
					}
					continue
				}
				wantChunk(s.T, content, r, c, err)
			}
			if next != len(ranges) || failed == 0 {
				s.Errorf("%d chunks of %d, %d failed", next, len(ranges), failed)
			}
		}
	})
}

// On a kernel that does everything badly the results are the same.
func TestReadManyRandomKernel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range uint64(20) {
		waitKinds[i%4].run(t, aiotest.Random(seed+i, 8), 8, func(s *scripted) {
			s.kernel.SetFaults(int(i)*5, syscall.EIO, syscall.EINTR)
			content := patternBytes(4096, 1)
			rng := rand.New(rand.NewPCG(seed, i))
			ranges := drawRanges(rng, len(content), 200)
			opts, _ := drawOptions(rng)
			n := 0
			for c, err := range s.direct.ReadMany(s.Context(), slices.Values(ranges), opts...) {
				n++
				if errors.Is(err, syscall.EIO) && i > 0 {
					r := ranges[c.Index]
					if len(c.Data) > 0 && !bytes.Equal(c.Data, content[r.Offset:][:len(c.Data)]) {
						s.Errorf("%+v: other bytes before an error", r)
					}
					continue
				}
				wantChunk(s.T, content, ranges[c.Index], c, err)
			}
			if n != len(ranges) {
				s.Errorf("%d chunks of %d", n, len(ranges))
			}
		})
	}
}

// A closed file answers for each Range.
func TestReadManyClosed(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(128*testBlock, 1)), os.O_RDONLY)
	failed := 0
	for c, err := range f.ReadMany(t.Context(), blocksOf(20), WithReadDepth(2)) {
		if c.Index == 5 {
			f.Close()
		}
		if err != nil {
			failed++
			if !errors.Is(err, os.ErrClosed) || c.Index <= 5 {
				t.Errorf("chunk %d: %v", c.Index, err)
			}
		}
	}
	if failed < 10 {
		t.Errorf("%d of 20 ranges failed, closed after 6", failed)
	}
}

// Data does not change before the next step, whatever ends meanwhile; and what is
// read later may then be where it was.
func TestReadManyDataStays(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		content := patternBytes(4096, 1)
		var ranges []Range
		for i := range 40 {
			ranges = append(ranges, Range{int64(i) * 100, 50 + i%3*50})
		}
		complete := func() {
			for _, op := range s.kernel.Held() {
				op.Complete()
			}
		}
		s.kernel.OnGetEvents(func(int) (int, error) { complete(); return -1, nil })
		addresses := map[*byte]bool{}
		for c, err := range s.direct.ReadMany(s.Context(), slices.Values(ranges), WithReadDepth(4), WithMaxMerge(0)) {
			wantChunk(s.T, content, ranges[c.Index], c, err)
			for range 3 {
				complete()
				s.pass()
			}
			wantChunk(s.T, content, ranges[c.Index], c, err)
			addresses[first(c.Data)] = true
		}
		if n := len(addresses); n > 10 && !raceEnabled() {
			s.Errorf("40 ranges were read into %d buffers", n)
		}
	})
}

// While the loop's body is at work the device has most of what it may have.
func TestReadManyKeepsTheDeviceBusy(t *testing.T) {
	const depth = 8
	inBubble(t, depth, func(s *scripted) {
		for c := range s.direct.ReadMany(s.Context(), slices.Values(slices.Repeat([]Range{{0, 10}}, 100)), WithMaxMerge(0)) {
			if c.Index > 0 && c.Index < 90 {
				if n := s.state().Pending; n >= depth/4 {
					s.Errorf("at chunk %d %d reads have not been sent", c.Index, n)
				}
			}
		}
		if batches := s.kernel.Counts().BatchSizes[1:]; len(batches) > 1+100/(depth/4) {
			s.Errorf("io_submit calls of %v", batches)
		}
	})
}

func TestReadManyMerges(t *testing.T) {
	for _, test := range []struct {
		name   string
		ranges []Range
		opts   []ReadManyOption
		align  int
		want   []int // lengths of the reads
	}{
		{"touching", []Range{{0, 10}, {10, 10}, {20, 5}}, nil, 1, []int{25}},
		{"backwards", []Range{{20, 5}, {10, 10}, {0, 10}}, nil, 1, []int{25}},
		{"overlapping", []Range{{0, 10}, {5, 10}, {0, 3}}, nil, 1, []int{15}},
		{"apart", []Range{{0, 10}, {11, 10}}, nil, 1, []int{10, 10}},
		{"no neighbours", []Range{{0, 10}, {50, 10}, {10, 10}}, nil, 1, []int{10, 10, 10}},
		{"within the gap", []Range{{0, 10}, {15, 10}, {31, 1}}, []ReadManyOption{WithMergeGap(5)}, 1, []int{25, 1}},
		{"up to the largest", []Range{{0, 10}, {10, 10}, {20, 10}}, []ReadManyOption{WithMaxMerge(20)}, 1, []int{20, 10}},
		{"larger than the largest", []Range{{0, 30}, {30, 1}}, []ReadManyOption{WithMaxMerge(20)}, 1, []int{30, 1}},
		{"not at all", []Range{{0, 10}, {10, 10}}, []ReadManyOption{WithMaxMerge(0)}, 1, []int{10, 10}},
		{"blocks", []Range{{0, 10}, {500, 10}, {513, 1}, {2000, 100}}, nil, 512, []int{1024, 1024}},
		{"a refused one between", []Range{{0, 10}, {-1, 1}, {10, 10}}, nil, 1, []int{10, 10}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 8, func(s *scripted) {
				s.direct.core.Align.ReadOffset = test.align
				log := s.script()
				content := patternBytes(4096, 1)
				n := 0
				for c, err := range s.direct.ReadMany(s.Context(), slices.Values(test.ranges), test.opts...) {
					if r := test.ranges[c.Index]; r.Offset >= 0 {
						wantChunk(s.T, content, r, c, err)
					}
					n++
				}
				if got := log.lens(); !slices.Equal(got, test.want) || n != len(test.ranges) {
					s.Errorf("reads of %v, want %v; %d chunks", got, test.want, n)
				}
			})
		})
	}
}

func TestReadManyRefuses(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
	none := slices.Values([]Range{})
	var noContext context.Context
	for name, seq := range map[string]iter.Seq2[Chunk, error]{
		"ReadMany of no file":       (*AsyncFile)(nil).ReadMany(t.Context(), none),
		"ReadMany of no file: use":  new(AsyncFile).ReadMany(t.Context(), none),
		"no context":                f.ReadMany(noContext, none),
		"no ranges":                 f.ReadMany(t.Context(), nil),
		"WithReadDepth(0)":          f.ReadMany(t.Context(), none, WithReadDepth(0)),
		"WithReadDepth(1025)":       f.ReadMany(t.Context(), none, WithReadDepth(1025)),
		"WithReadMemory(4095)":      f.ReadMany(t.Context(), none, WithReadMemory(4095)),
		"WithMergeGap(-1)":          f.ReadMany(t.Context(), none, WithMergeGap(-1)),
		"WithMaxMerge(-1)":          f.ReadMany(t.Context(), none, nil, WithMaxMerge(-1)),
		"WithMaxMerge(1073741825)":  f.ReadMany(t.Context(), none, WithMaxMerge(1<<30+1)),
		"use 1 to 1024 operations ": f.ReadMany(t.Context(), none, WithReadDepth(-1), WithMergeGap(-1)),
	} {
		n := 0
		for c, err := range seq {
			if n++; c.Index != -1 || !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d pairs", name, n)
		}
	}

	ranges := []Range{
		{-1, 1}, {0, -1}, {math.MinInt64, math.MinInt}, {math.MaxInt64, 1}, {math.MaxInt64 - testBlock, testBlock + 1},
		{0, 2*testBlock + 1}, {0, math.MaxInt}, {math.MaxInt64, math.MaxInt},
	}
	for _, order := range []ReadManyOption{nil, WithAnyOrder()} {
		n := 0
		for c, err := range f.ReadMany(t.Context(), slices.Values(ranges), WithReadMemory(2*testBlock), order) {
			if c.Range != ranges[c.Index] || c.Index != n || c.Data != nil || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("%+v: %v", c, err)
			}
			n++
		}
		if n != len(ranges) {
			t.Errorf("%d of %d were answered", n, len(ranges))
		}
	}
	for c, err := range f.ReadMany(t.Context(), slices.Values([]Range{{math.MaxInt64 - 1, 1}, {math.MaxInt64, 0}})) {
		if want := []error{io.EOF, nil}[c.Index]; err != want || len(c.Data) > 0 {
			t.Errorf("at the largest offset: %+v, %v", c, err)
		}
	}
}

// A sequence without end is read as far as the loop goes, in bounded memory.
func TestReadManyEndless(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
	for _, r := range []Range{{0, 10}, {0, 0}, {-1, 0}} {
		for _, order := range []ReadManyOption{nil, WithAnyOrder()} {
			asked := 0
			endless := func(yield func(Range) bool) {
				for yield(r) {
					asked++
				}
			}
			n := 0
			for range f.ReadMany(t.Context(), endless, WithReadMemory(1<<20), order) {
				if n++; n == 100_000 {
					break
				}
			}
			if ahead := asked - n; n != 100_000 || ahead > 1<<20/partCharge+maxParts {
				t.Errorf("%+v: %d chunks, and %d ranges ahead", r, n, ahead)
			}
		}
	}
}

// A Range more costs no allocation.
func TestReadManyAllocations(t *testing.T) {
	if raceEnabled() || os.Getenv(file.VerifyEnv) == "1" {
		t.Skip("the race detector allocates, and so does the verifier")
	}
	for _, mode := range []DirectMode{DirectOff, DirectPrefer} {
		f := openTest(t, putFile(t, testPattern(1<<20, 1)), os.O_RDONLY, WithDirect(mode))
		for i, opts := range [][]ReadManyOption{nil, {WithAnyOrder()}, {WithMaxMerge(0)}, {WithReadMemory(20 * testBlock)}} {
			allocations := func(blocks int) float64 {
				return testing.AllocsPerRun(20, func() {
					for _, err := range f.ReadMany(t.Context(), blocksOf(blocks), opts...) {
						if err != nil {
							t.Fatal(err)
						}
					}
				})
			}
			few, many := allocations(300), allocations(1300)
			if more := (many - few) / 1000; more > 0.01 { // a collection takes what the pool has
				t.Errorf("%v, options %d: %v allocations a range; %v in 300 and %v in 1300", mode, i, more, few, many)
			}
		}
	}
}
