package asyncfile

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// These benchmarks measure the library's own cost: on a kernel that answers at
// once, and on data in the page cache. Each family has os.File, or the bare
// kernel, as its base line. Comparisons on devices are in bench/.

const benchBlock = 4096

// An instantKernel is an aio.Context that has done everything before Submit
// returns, and allocates nothing. What it measures is all the library's.
type instantKernel struct {
	mu     sync.Mutex
	events []aio.Event // a ring
	head   int
	count  int
}

func newInstantKernel(depth int) (aio.Context, error) {
	return &instantKernel{events: make([]aio.Event, depth)}, nil
}

func (k *instantKernel) Submit(iocbs []*aio.IOCB) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, cb := range iocbs {
		k.events[(k.head+k.count)%len(k.events)] = aio.Event{Data: cb.Data(), Res: benchBlock}
		k.count++
	}
	return len(iocbs), nil
}

func (k *instantKernel) Reap(events []aio.Event) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for n < len(events) && k.count > 0 {
		events[n] = k.events[k.head]
		k.head, k.count, n = (k.head+1)%len(k.events), k.count-1, n+1
	}
	return n
}

func (k *instantKernel) GetEvents(_ int, events []aio.Event, _ time.Duration) (int, error) {
	return k.Reap(events), nil
}

func (k *instantKernel) Mapped() bool   { return true }
func (k *instantKernel) Destroy() error { return nil }

// newScriptedKernel is the kernel of the other tests, at its quickest.
func newScriptedKernel(file aiotest.File) func(int) (aio.Context, error) {
	return func(depth int) (aio.Context, error) {
		k := aiotest.New(depth)
		for fd := range 1024 {
			k.Attach(fd, file)
		}
		return k, nil
	}
}

// zeros is a file that has all the data one can ask for.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (zeros) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

// benchFile returns the name of a file of 64 blocks.
func benchFile(b *testing.B) string {
	name := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 64*benchBlock), 0o666); err != nil {
		b.Fatal(err)
	}
	return name
}

// openBench opens a benchmark's file, on the kernel of setup as if it was
// direct.
func openBench(b *testing.B, setup func(int) (aio.Context, error)) *AsyncFile {
	ring, err := NewRing(WithBackend(BackendAIO), withSetup(setup))
	if err != nil {
		b.Fatal(err)
	}
	f, err := Open(benchFile(b), WithRing(ring))
	if err != nil {
		b.Fatal(err)
	}
	f.core.OnKernel, f.core.Direct = true, true
	b.Cleanup(func() {
		if err := f.Close(); err != nil {
			b.Error(err)
		}
		if err := ring.Close(); err != nil {
			b.Error(err)
		}
	})
	return f
}

func openBuffered(b *testing.B, opts ...Option) *AsyncFile {
	f, err := Open(benchFile(b), opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.Close(); err != nil {
			b.Error(err)
		}
	})
	return f
}

// measure runs read, of one block, for each operation of b.
func measure(b *testing.B, read func(p []byte, off int64) (int, error)) {
	p := AlignedBuffer(benchBlock)
	b.SetBytes(benchBlock)
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		if n, err := read(p, off); n != benchBlock || err != nil {
			b.Fatal(n, err)
		}
		off = (off + benchBlock) % (64 * benchBlock)
	}
}

// The whole way of a request, from ReadAt to Wait.
func BenchmarkFuture(b *testing.B) {
	b.Run("kernel=instant", func(b *testing.B) {
		f := openBench(b, newInstantKernel)
		measure(b, func(p []byte, off int64) (int, error) { return f.ReadAt(p, off).Wait() })
	})
	b.Run("kernel=scripted", func(b *testing.B) {
		f := openBench(b, newScriptedKernel(zeros{}))
		measure(b, func(p []byte, off int64) (int, error) { return f.ReadAt(p, off).Wait() })
	})
	b.Run("parallel", func(b *testing.B) {
		f := openBench(b, newScriptedKernel(zeros{}))
		b.SetBytes(benchBlock)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			p := AlignedBuffer(benchBlock)
			for pb.Next() {
				if _, err := f.ReadAt(p, 0).Wait(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// The base line of the scripted kernel: what it costs without the library.
func BenchmarkScriptedKernel(b *testing.B) {
	k, err := newScriptedKernel(zeros{})(8)
	if err != nil {
		b.Fatal(err)
	}
	iocbs, events := []*aio.IOCB{new(aio.IOCB)}, make([]aio.Event, 1)
	measure(b, func(p []byte, off int64) (int, error) {
		iocbs[0].PrepareRead(0, p, off)
		if _, err := k.Submit(iocbs); err != nil {
			return 0, err
		}
		k.Reap(events)
		return int(events[0].Res), nil
	})
}

// Batches: the time is that of a whole batch.
func BenchmarkSubmit(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run("batch="+strconv.Itoa(size), func(b *testing.B) {
			f := openBench(b, newInstantKernel)
			ops := make([]Op, size)
			for i := range ops {
				ops[i] = Op{Buf: AlignedBuffer(benchBlock), Offset: int64(i) * benchBlock}
			}
			b.SetBytes(int64(size) * benchBlock)
			b.ReportAllocs()
			for b.Loop() {
				if err := WaitAll(f.Submit(ops...)...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkQueue(b *testing.B) {
	for _, bm := range []struct {
		name string
		open func(b *testing.B) *AsyncFile
	}{
		{"kernel=instant", func(b *testing.B) *AsyncFile { return openBench(b, newInstantKernel) }},
		{"cached", func(b *testing.B) *AsyncFile { return openBuffered(b) }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			f, q := bm.open(b), NewQueue(8)
			measure(b, func(p []byte, off int64) (int, error) {
				if err := q.ReadAt(f, p, off, nil); err != nil {
					return 0, err
				}
				c := <-q.C()
				return c.N, c.Err
			})
			if err := q.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// Reads of a file that is in the page cache.
func BenchmarkCached(b *testing.B) {
	b.Run("os.File", func(b *testing.B) {
		f, err := os.Open(benchFile(b))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		measure(b, f.ReadAt)
	})
	b.Run("File", func(b *testing.B) {
		measure(b, openBuffered(b).File().ReadAt)
	})
	b.Run("Future", func(b *testing.B) {
		f := openBuffered(b)
		measure(b, func(p []byte, off int64) (int, error) { return f.ReadAt(p, off).Wait() })
	})
	b.Run("Future,aio", func(b *testing.B) {
		f, err := Open(benchFile(b), WithBackend(BackendAIO))
		if err != nil {
			b.Skip("no native AIO:", err)
		}
		defer f.Close()
		measure(b, func(p []byte, off int64) (int, error) { return f.ReadAt(p, off).Wait() })
	})
}

// Writes of blocks that the file has, which on the pool go to a worker.
func BenchmarkPool(b *testing.B) {
	b.Run("os.File", func(b *testing.B) {
		f, err := os.OpenFile(benchFile(b), os.O_RDWR, 0)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		measure(b, f.WriteAt)
	})
	b.Run("Future", func(b *testing.B) {
		f, err := OpenFile(benchFile(b), os.O_RDWR, 0, WithBackend(BackendPool))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		measure(b, func(p []byte, off int64) (int, error) { return f.WriteAt(p, off).Wait() })
	})
}
