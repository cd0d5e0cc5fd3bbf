package asyncfile

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// TestAppendOrder appends from one goroutine without waiting: the data is there
// in the order of the calls, without a gap.
func TestAppendOrder(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		for _, flag := range []int{os.O_RDWR, os.O_RDWR | os.O_APPEND} {
			data := testPattern(100*testBlock, 1)
			name := putFile(t, data[:3*testBlock])
			f := open(name, flag)
			var futures []*Future
			size := 3 * testBlock
			for i := 0; size < len(data); i++ {
				n := min((i%3+1)*testBlock, len(data)-size)
				futures = append(futures, f.Append(data[size:][:n]))
				size += n
			}
			off := int64(3 * testBlock)
			for i, future := range futures {
				n, err := future.Wait()
				if err != nil || future.Offset() != off {
					t.Fatalf("append %d: %d, %v at %d, want at %d", i, n, err, future.Offset(), off)
				}
				off += int64(n)
			}
			wantContent(t, name, data)
		}
	})
}

// TestAppendAtOnce appends from many goroutines: each block is where its Future
// says, and those of one goroutine are in its order.
func TestAppendAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		for _, flag := range []int{os.O_RDWR, os.O_RDWR | os.O_APPEND} {
			const writers, each = 8, 20
			name := putFile(t, nil)
			f := open(name, flag)
			offsets := make([][]int64, writers)
			var all sync.WaitGroup
			for g := range writers {
				all.Go(func() {
					var futures []*Future
					for i := range each {
						futures = append(futures, f.Append(testPattern(testBlock, uint64(g*each+i))))
					}
					for _, future := range futures {
						if n, err := future.Wait(); n != testBlock || err != nil {
							t.Errorf("Append: %d, %v", n, err)
						}
						offsets[g] = append(offsets[g], future.Offset())
					}
				})
			}
			all.Wait()
			want := make([]byte, writers*each*testBlock)
			for g, list := range offsets {
				if !slices.IsSorted(list) {
					t.Errorf("the appends of one goroutine are out of order: %v", list)
				}
				for i, off := range list {
					copy(want[off:], testPattern(testBlock, uint64(g*each+i)))
				}
			}
			wantContent(t, name, want) // no gap, nothing twice
		}
	})
}

// TestAppendTwoHandles appends through two files that are open on one name in
// append mode, where only the kernel knows the end.
func TestAppendTwoHandles(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const each = 40
		name := putFile(t, nil)
		var all sync.WaitGroup
		var mu sync.Mutex
		at := map[int64]uint64{}
		for h := range 2 {
			f := open(name, os.O_WRONLY|os.O_APPEND)
			var futures []*Future
			all.Go(func() {
				for i := range each {
					p := testPattern(testBlock, 0)
					binary.LittleEndian.PutUint64(p, uint64(h*each+i))
					futures = append(futures, f.Append(p))
				}
				for i, future := range futures {
					if n, err := future.Wait(); n != testBlock || err != nil {
						t.Errorf("Append: %d, %v", n, err)
					}
					mu.Lock()
					at[future.Offset()] = uint64(h*each + i)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) != 2*each*testBlock || len(at) != 2*each {
			t.Fatalf("%d bytes at %d offsets, want %d at %d", len(data), len(at), 2*each*testBlock, 2*each)
		}
		for off, want := range at {
			if got := binary.LittleEndian.Uint64(data[off:]); got != want {
				t.Errorf("at %d is block %d, its Future says %d", off, got, want)
			}
		}
	})
}

// TestAppendBehindWrites appends while writes beyond the end are in flight: it
// goes behind them.
func TestAppendBehindWrites(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		data := testPattern(12*testBlock, 2)
		name := putFile(t, data[:testBlock])
		f := open(name, os.O_RDWR)
		block := func(i int) []byte { return data[i*testBlock:][:testBlock] }
		var futures []*Future
		for i := 1; i < 10; i += 3 {
			futures = append(futures,
				f.WriteAt(block(i+1), int64(i+1)*testBlock),
				f.WritevAt([][]byte{block(i)}, int64(i)*testBlock),
				f.Append(block(i+2)))
		}
		for i, future := range futures {
			if n, err := future.Wait(); n != testBlock || err != nil {
				t.Fatalf("write %d: %d, %v", i, n, err)
			}
		}
		last := f.Append(data[10*testBlock:])
		wantResult(t, last, 2*testBlock, nil)
		if last.Offset() != 10*testBlock {
			t.Errorf("appended at %d", last.Offset())
		}
		wantContent(t, name, data)
	})
}

// TestAppendWithOthers appends behind what another handle wrote meanwhile.
func TestAppendWithOthers(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		data := testPattern(6*testBlock, 3)
		name := putFile(t, nil)
		f := open(name, os.O_RDWR)
		other, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		for i := 0; i < 6; i += 2 {
			wantResult(t, f.Append(data[i*testBlock:][:testBlock]), testBlock, nil)
			if _, err := other.Write(data[(i+1)*testBlock:][:testBlock]); err != nil {
				t.Fatal(err)
			}
		}
		wantContent(t, name, data)
	})
}

// TestAppendWhileReading has a reader follow the end.
func TestAppendWhileReading(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, nil), os.O_RDWR)
		const count = 50
		appended := make(chan *Future, count)
		go func() {
			defer close(appended)
			for i := range count {
				appended <- f.Append(testPattern(testBlock, uint64(i)))
			}
		}()
		i := uint64(0)
		for future := range appended {
			if n, err := future.Wait(); n != testBlock || err != nil {
				t.Fatalf("Append: %d, %v", n, err)
			}
			p := AlignedBuffer(testBlock)
			wantResult(t, f.ReadAt(p, future.Offset()), testBlock, nil)
			if !bytes.Equal(p, testPattern(testBlock, i)) {
				t.Fatalf("append %d is not at its offset %d", i, future.Offset())
			}
			i++
		}
	})
}

// TestAppendToFullPipes has more pipes wait for their readers than there are
// workers, while the readers need one to go on.
func TestAppendToFullPipes(t *testing.T) {
	log, err := Create(filepath.Join(t.TempDir(), "log"), WithBackend(BackendPool))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	const size = 1 << 20 // more than a pipe holds
	var wg sync.WaitGroup
	for i := range defaultWorkers + 4 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		f, err := New(w)
		if err != nil {
			t.Fatal(err)
		}
		appended := f.Append(make([]byte, size))
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer r.Close()
			p := make([]byte, size)
			if _, err := io.ReadFull(r, p[:4096]); err != nil {
				t.Error(err)
			}
			if _, err := log.WriteAt(p[:4096], int64(i)*4096).Wait(); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(r, p[4096:]); err != nil {
				t.Error(err)
			}
			if n, err := appended.Wait(); n != size || err != nil {
				t.Errorf("Append = %d, %v", n, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
}
