package asyncfile

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// readManyRanges are 4096 blocks of a file of 32 MiB, all different and in no order:
// none touches the one before it.
func readManyRanges() (ranges []Range) {
	const blocks = 8192
	for i := range blocks / 2 {
		ranges = append(ranges, Range{int64(i) * 2 * 1237 % blocks * benchBlock, benchBlock})
	}
	return ranges
}

// readManyFile returns the name of their file, written to the device.
func readManyFile(b *testing.B) string {
	name := filepath.Join(b.TempDir(), "file")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(testPattern(32<<20, 1)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return name
}

const readManyDepth = 32

// Many random reads, 32 at a time: the time is that of 4096 of them.
func BenchmarkReadMany(b *testing.B) {
	ranges := readManyRanges()
	for _, mode := range []DirectMode{DirectOff, DirectPrefer} {
		for _, way := range []struct {
			name string
			run  func(f *AsyncFile) error
		}{
			{"ReadMany", func(f *AsyncFile) error { return runReadMany(b, f, ranges) }},
			{"ReadMany,any order", func(f *AsyncFile) error { return runReadMany(b, f, ranges, WithAnyOrder()) }},
			{"Queue", func(f *AsyncFile) error { return runQueue(b, f, ranges) }},
			{"futures", func(f *AsyncFile) error { return runFutures(f, ranges) }},
			{"os.File,goroutines", func(f *AsyncFile) error { return runGoroutines(f.core.OS(), ranges) }},
			{"os.File,one by one", func(f *AsyncFile) error { return runOneByOne(f.core.OS(), ranges) }},
		} {
			b.Run("direct="+mode.String()+"/"+way.name, func(b *testing.B) {
				f, err := Open(readManyFile(b), WithDirect(mode))
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				if mode == DirectPrefer && !f.Direct() {
					b.Skip("no O_DIRECT:", f.DirectReason())
				}
				b.SetBytes(int64(len(ranges)) * benchBlock)
				b.ReportAllocs()
				for b.Loop() {
					if err := way.run(f); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func runReadMany(b *testing.B, f *AsyncFile, ranges []Range, opts ...ReadManyOption) error {
	for _, err := range f.ReadMany(b.Context(), slices.Values(ranges), append(opts, WithReadDepth(readManyDepth))...) {
		if err != nil {
			return err
		}
	}
	return nil
}

// What ReadMany does, written out for this case.
func runQueue(b *testing.B, f *AsyncFile, ranges []Range) error {
	q := NewQueue(readManyDepth)
	defer q.Close()
	list := make([]Completion, readManyDepth)
	for next, left := 0, len(ranges); left > 0; {
		for ; next < readManyDepth; next++ {
			if err := q.ReadAt(f, AlignedBuffer(benchBlock), ranges[next].Offset, nil); err != nil {
				return err
			}
		}
		n, err := q.Receive(b.Context(), list)
		if err != nil {
			return err
		}
		left -= n
		for _, c := range list[:n] {
			if c.Err != nil {
				return c.Err
			}
			if next < len(ranges) {
				if err := q.ReadAt(f, c.Buf, ranges[next].Offset, nil); err != nil {
					return err
				}
				next++
			}
		}
	}
	return nil
}

// A ring of Futures, waited for in order.
func runFutures(f *AsyncFile, ranges []Range) error {
	var ring [readManyDepth]*Future
	var bufs [readManyDepth][]byte
	for i := range len(ranges) + readManyDepth {
		slot := i % readManyDepth
		if ring[slot] != nil {
			if _, err := ring[slot].Wait(); err != nil {
				return err
			}
		} else {
			bufs[slot] = AlignedBuffer(benchBlock)
		}
		if i < len(ranges) {
			ring[slot] = f.ReadAt(bufs[slot], ranges[i].Offset)
		}
	}
	return nil
}

func runGoroutines(f *os.File, ranges []Range) (failed error) {
	next := make(chan Range, readManyDepth)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range readManyDepth {
		wg.Go(func() {
			p := AlignedBuffer(benchBlock)
			for r := range next {
				if _, err := f.ReadAt(p, r.Offset); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for _, r := range ranges {
		next <- r
	}
	close(next)
	wg.Wait()
	return failed
}

func runOneByOne(f *os.File, ranges []Range) error {
	p := AlignedBuffer(benchBlock)
	for _, r := range ranges {
		if _, err := f.ReadAt(p, r.Offset); err != nil {
			return err
		}
	}
	return nil
}
