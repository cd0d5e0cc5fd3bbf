package isolation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

// A call begins an operation on a file of its own, and returns how to wait for
// it. The operation writes want at off.
type call struct {
	name string
	flag int
	opts []asyncfile.Option
	off  int64
	want []byte
	do   func(f *asyncfile.AsyncFile, p []byte, off int64) (wait func() error)
}

func wait(future *asyncfile.Future) func() error {
	return func() error { _, err := future.Wait(); return err }
}

func callWriteAt(f *asyncfile.AsyncFile, p []byte, off int64) func() error {
	return wait(f.WriteAt(p, off))
}

func callAppend(f *asyncfile.AsyncFile, p []byte, _ int64) func() error { return wait(f.Append(p)) }

var (
	pool    = asyncfile.WithBackend(asyncfile.BackendPool)
	aio     = asyncfile.WithBackend(asyncfile.BackendAIO)
	eventfd = asyncfile.WithWaitMode(asyncfile.WaitEventFD)
)

var block = filled(blockSize, 'x')

var calls = []call{
	{"WriteAt", 0, direct, 0, block, callWriteAt},
	{"WriteAt with an eventfd", 0, with(direct, eventfd), 0, block, callWriteAt},
	{"WriteAt on the pool", 0, with(direct, pool), 0, block, callWriteAt},
	{"WriteAt, not aligned", 0, direct, 100, block[:1000], callWriteAt},
	{"WriteAt beyond the end", 0, direct, fileSize + blockSize, block, callWriteAt},
	{"WriteAt, buffered", 0, buffered, 0, block, callWriteAt},
	{"WriteAt, buffered, on AIO", 0, with(buffered, aio), 0, block, callWriteAt},
	{"Append", 0, direct, fileSize, block, callAppend},
	{"Append, buffered", 0, buffered, fileSize, block, callAppend},
	{"Append with O_APPEND", os.O_APPEND, direct, fileSize, block[:1000], callAppend},
	{"WritevAt", 0, direct, 0, block, func(f *asyncfile.AsyncFile, p []byte, off int64) func() error {
		return wait(f.WritevAt([][]byte{p[:512], p[512:]}, off))
	}},
	{"Submit", 0, direct, 0, block, func(f *asyncfile.AsyncFile, p []byte, off int64) func() error {
		return wait(f.Submit(asyncfile.Op{Kind: asyncfile.OpWrite, Buf: p, Offset: off})[0])
	}},
	{"Queue", 0, direct, 0, block, func(f *asyncfile.AsyncFile, p []byte, off int64) func() error {
		q := asyncfile.NewQueue(1)
		err := q.WriteAt(f, p, off, nil)
		return func() error { return errors.Join(err, (<-q.C()).Err, q.Close()) }
	}},
	{"Sync behind a WriteAt", 0, direct, 0, block, func(f *asyncfile.AsyncFile, p []byte, off int64) func() error {
		write, sync := f.WriteAt(p, off), f.Sync()
		return func() error { return asyncfile.WaitAll(write, sync) }
	}},
	{"Writer", 0, direct, 0, block, func(f *asyncfile.AsyncFile, p []byte, off int64) func() error {
		w, err := asyncfile.NewWriter(f, off, asyncfile.WithBlockSize(blockSize))
		if err == nil {
			_, err = w.Write(p)
		}
		return func() error { return errors.Join(err, w.Close()) }
	}},
}

// TestCalls expects calls that write to A to return while it is frozen, and the
// data to be there afterwards: the first call, which sleeps in the kernel, as well
// as those that come when others sleep there.
func TestCalls(t *testing.T) {
	const times = 3
	each(t, func(t *testing.T, w *world) {
		for _, c := range calls {
			t.Run(c.name, func(t *testing.T) {
				var files [times]*asyncfile.AsyncFile
				for i := range files {
					files[i] = newFile(t, w.a, c.flag, c.opts...)
				}
				cold := w.freeze(t)
				var waits []func() error
				for i, f := range files {
					if !cold.must(fmt.Sprintf("call %d", i), func() { waits = append(waits, c.do(f, c.want, c.off)) }) {
						break
					}
					cold.hasSleeper()
				}
				cold.thaw()
				for i, wait := range waits {
					if err := wait(); err != nil {
						t.Error(err)
					}
					holds(t, files[i], c.off, c.want)
				}
			})
		}
	})
}

// TestReadsBeforeWrite submits reads of A and a write to it. They come back
// while the write sleeps, and so does Submit.
func TestReadsBeforeWrite(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, opts := range [][]asyncfile.Option{direct, with(direct, eventfd), with(direct, pool), buffered} {
			f := newFile(t, w.a, 0, opts...)
			for at := range 2 { // the write comes last, and in the middle
				var ops []asyncfile.Op
				for i := range 30 {
					ops = append(ops, asyncfile.Op{Buf: asyncfile.AlignedBuffer(blockSize), Offset: int64(1+i) * blockSize})
				}
				write := len(ops) >> at
				ops = append(ops[:write:write], append([]asyncfile.Op{{Kind: asyncfile.OpWrite, Buf: block}}, ops[write:]...)...)
				cold := w.freeze(t)
				var futures []*asyncfile.Future
				if cold.must("Submit", func() { futures = f.Submit(ops...) }) {
					for i, future := range futures {
						if i == write {
							continue
						}
						if !cold.must(fmt.Sprintf("read %d of a batch with a write", i), func() { future.Wait() }) {
							break
						}
					}
					if _, _, ok := futures[write].Result(); ok {
						t.Error("the write ended while its file system was frozen")
					}
				}
				cold.thaw()
				if err := asyncfile.WaitAll(futures...); err != nil {
					t.Error(err)
				}
				holds(t, f, 0, append(block[:blockSize:blockSize], pattern(2 * blockSize)[blockSize:]...))
			}
		}
	})
}

// TestWaitsEnd ends waits for writes that sleep.
func TestWaitsEnd(t *testing.T) {
	soon := func() time.Time { return time.Now().Add(50 * time.Millisecond) }
	waits := []struct {
		name string
		do   func(t *testing.T, f *asyncfile.AsyncFile, asleep func())
	}{
		{"WaitContext, cancelled", func(t *testing.T, f *asyncfile.AsyncFile, asleep func()) {
			ctx, cancel := context.WithCancel(context.Background())
			write := f.WriteAt(block, 0)
			asleep()
			cancel()
			if n, err := write.WaitContext(ctx); n != 0 || !errors.Is(err, asyncfile.ErrAbandoned) || !errors.Is(err, context.Canceled) {
				t.Errorf("WaitContext = %d, %v", n, err)
			}
		}},
		{"WaitContext with a deadline", func(t *testing.T, f *asyncfile.AsyncFile, asleep func()) {
			ctx, cancel := context.WithDeadline(context.Background(), soon())
			defer cancel()
			if n, err := f.WriteAt(block, 0).WaitContext(ctx); n != 0 || !errors.Is(err, asyncfile.ErrAbandoned) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("WaitContext = %d, %v", n, err)
			}
		}},
		{"WaitAny", func(t *testing.T, f *asyncfile.AsyncFile, asleep func()) {
			ctx, cancel := context.WithDeadline(context.Background(), soon())
			defer cancel()
			if i, err := asyncfile.WaitAny(ctx, f.WriteAt(block, 0), f.WriteAt(block, blockSize)); i != -1 || !errors.Is(err, asyncfile.ErrAbandoned) {
				t.Errorf("WaitAny = %d, %v", i, err)
			}
		}},
		{"Write", func(t *testing.T, f *asyncfile.AsyncFile, asleep func()) {
			f.File().SetWriteDeadline(soon())
			if n, err := f.File().Write(block); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write = %d, %v", n, err)
			}
		}},
		{"WriteAt with a deadline that is moved", func(t *testing.T, f *asyncfile.AsyncFile, asleep func()) {
			f.File().SetWriteDeadline(time.Now().Add(time.Hour))
			go func() {
				asleep()
				f.File().SetWriteDeadline(time.Now())
			}()
			if n, err := f.File().WriteAt(block, 0); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("WriteAt = %d, %v", n, err)
			}
		}},
		{"Sync", func(t *testing.T, f *asyncfile.AsyncFile, asleep func()) {
			f.WriteAt(block, 0)
			f.File().SetWriteDeadline(soon())
			if err := f.File().Sync(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Sync = %v", err)
			}
		}},
	}
	modes := []struct {
		name string
		opts []asyncfile.Option
	}{
		{"direct", direct},
		{"direct on the pool", with(direct, pool)},
		{"buffered", buffered},
		{"buffered on AIO", with(buffered, aio)},
	}
	w := &world{a: kinds[0].Mount(t)}
	for _, mode := range modes {
		for _, c := range waits {
			t.Run(mode.name+"/"+c.name, func(t *testing.T) {
				f := newFile(t, w.a, 0, mode.opts...)
				cold := w.freeze(t)
				cold.must(c.name, func() { c.do(t, f, cold.hasSleeper) })
				cold.thaw()
				if err := f.Close(); err != nil { // after all that was given up
					t.Error(err)
				}
				// What was given up is there or not, but not in part.
				got, err := os.ReadFile(f.Name())
				if err != nil {
					t.Fatal(err)
				}
				if got := string(got[:blockSize]); got != string(block) && got != string(pattern(blockSize)) {
					t.Error("a write that was given up went through in part")
				}
			})
		}
	}
}

// TestFullQueue has A take every place of a Ring, and reports what B has of that:
// a caller waits for a place, which is all that a submission waits for.
func TestFullQueue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ring, err := asyncfile.NewRing(asyncfile.WithQueueDepth(8))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ring.Close() })
		fa, fb := newFile(t, w.a, 0, with(direct, asyncfile.WithRing(ring))...), newFile(t, w.b, 0, with(direct, asyncfile.WithRing(ring))...)
		cold := w.freeze(t)
		began := make(chan *asyncfile.Future, ring.Depth())
		go func() {
			for i := range ring.Depth() {
				began <- fa.WriteAt(block, int64(i)*blockSize)
			}
		}()
		var writes []*asyncfile.Future
		if cold.must("what fills the queue", func() {
			for range ring.Depth() {
				writes = append(writes, <-began)
			}
		}) {
			read := make(chan error, 1)
			go func() {
				_, err := fb.ReadAt(asyncfile.AlignedBuffer(blockSize), 0).Wait()
				read <- err
			}()
			select {
			case err := <-read:
				t.Logf("REPORT: A holds all %d places of the Ring; a read of B came back all the same: %v", ring.Depth(), err)
			case <-time.After(time.Second):
				t.Logf("REPORT: A holds all %d places of the Ring; a read of B waits for one", ring.Depth())
				defer func() {
					if err := <-read; err != nil {
						t.Error(err)
					}
				}()
			}
		}
		cold.thaw()
		if err := asyncfile.WaitAll(writes...); err != nil {
			t.Error(err)
		}
	})
}

// TestOthersEnd closes what uses B while writes to A sleep, and counts what those
// cost.
func TestOthersEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var ours []*asyncfile.AsyncFile
		for _, opts := range [][]asyncfile.Option{direct, buffered, with(direct, pool), with(buffered, aio)} {
			ours = append(ours, newFile(t, w.a, 0, opts...))
		}
		alone, err := asyncfile.NewRing(asyncfile.WithQueueDepth(16))
		if err != nil {
			t.Fatal(err)
		}
		var others []*asyncfile.AsyncFile
		for _, opts := range [][]asyncfile.Option{direct, buffered, with(direct, pool), with(buffered, aio), with(direct, eventfd), with(direct, asyncfile.WithRing(alone))} {
			others = append(others, newFile(t, w.b, 0, opts...))
		}
		goroutines, threads := runtime.NumGoroutine(), threadsNow()
		cold := w.freeze(t)
		const each = 16
		writes := make(chan *asyncfile.Future, each*len(ours))
		var callers []chan struct{}
		for _, f := range ours {
			ended := make(chan struct{})
			callers = append(callers, ended)
			go func() {
				defer close(ended)
				for i := range each {
					writes <- f.WriteAt(block, int64(i)*blockSize)
				}
			}()
		}
		cold.hasSleeper()
		ok := cold.must("calls of WriteAt", func() {
			for _, ended := range callers {
				<-ended
			}
		})
		if ok {
			g, th := runtime.NumGoroutine()-goroutines, threadsNow()-threads
			t.Logf("%d writes that sleep: %d goroutines and %d threads more than without", each*len(ours), g, th)
			if g > 64 || th > 64 {
				t.Error("these are too many")
			}
			for i, f := range others {
				cold.must(fmt.Sprintf("Close of file %d on B", i), func() {
					for j := range 6 {
						if err := operate(f, j); err != nil {
							t.Error(err)
						}
					}
					if err := f.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			cold.must("opening files", func() {
				for _, name := range []string{ours[0].Name(), others[0].Name()} {
					for _, opts := range [][]asyncfile.Option{direct, buffered} {
						f, err := asyncfile.Open(name, opts...)
						if err != nil {
							t.Error(err)
							continue
						}
						if _, err := f.ReadAt(asyncfile.AlignedBuffer(blockSize), fileSize/2).Wait(); err != nil {
							t.Error(err)
						}
						f.Close()
					}
				}
			})
			cold.must("Close of the Ring of B", func() {
				alone.Stats()
				if err := alone.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		cold.thaw()
		for range each * len(ours) {
			if _, err := (<-writes).Wait(); err != nil {
				t.Error(err)
			}
		}
		if !ok {
			for _, f := range others {
				f.Close()
			}
			alone.Close()
		}
	})
}

// threadsNow returns how many threads the process has.
func threadsNow() int {
	tasks, _ := filepath.Glob("/proc/self/task/*")
	return len(tasks)
}
