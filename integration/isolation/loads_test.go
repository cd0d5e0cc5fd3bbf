package isolation

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
)

// A writer writes one block after the other of a region of its own. It notes
// what is to be where.
type writer struct {
	f    *asyncfile.AsyncFile
	base int64
	skew int // of offset and length
	next int
	want map[int64][]byte // by offset
}

const (
	blockSize   = 4096
	blocks      = 32 // of a region
	regionSize  = blocks * blockSize
	most        = fileSize / regionSize
	batchSize   = 8
	outstanding = 16
)

// block returns what is to be written next, and where. It comes back to the same
// block after all others.
func (w *writer) block() (p []byte, off int64) {
	off = w.base + int64(w.next%blocks*blockSize+w.skew)
	w.next++
	p = filled(blockSize-2*w.skew, byte(w.next)|1)
	w.want[off] = p
	return p, off
}

// A load keeps writers busy. step is one step of one of them, and returns when it
// has ended.
type load struct {
	name    string
	writers int
	skew    int
	winters int // in how many more A is frozen, since what that catches, and whom, differs
	step    func(w *writer) error
}

var loads = []load{
	{name: "closed loop of 1", writers: 1, winters: 2, step: writeAt},
	{name: "closed loop of 2", writers: 2, winters: 2, step: writeAt},
	{name: "closed loop of 8", writers: 8, winters: 2, step: writeAt},
	{name: "more writers than workers", writers: most - 4, step: writeAt},
	{name: "unaligned", writers: most - 4, skew: 100, step: writeAt},
	{name: "open loop", writers: 2, step: openLoop},
	{name: "Submit", writers: 3, step: submit},
	{name: "Queue", writers: 2, step: queue},
	{name: "Sync", writers: 3, step: writeAndSync},
	{name: "Append", writers: 3, step: appendAt},
	{name: "File.WriteAt", writers: most - 4, step: fileWriteAt},
	{name: "Preallocate", writers: 3, step: preallocate},
}

func writeAt(w *writer) error {
	_, err := w.f.WriteAt(w.block()).Wait()
	return err
}

func fileWriteAt(w *writer) error {
	_, err := w.f.File().WriteAt(w.block())
	return err
}

func writeAndSync(w *writer) error {
	write := w.f.WriteAt(w.block())
	return asyncfile.WaitAll(write, w.f.Sync())
}

func preallocate(w *writer) error {
	write := w.f.WriteAt(w.block())
	if err := w.f.Preallocate(fileSize); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	_, err := write.Wait()
	return err
}

// openLoop has writes begun whatever becomes of those before, as far as there
// are blocks.
func openLoop(w *writer) error {
	var futures []*asyncfile.Future
	for i := range 4 * outstanding {
		if i >= outstanding {
			if _, err := futures[i-outstanding].Wait(); err != nil {
				return err
			}
		}
		futures = append(futures, w.f.WriteAt(w.block()))
	}
	return asyncfile.WaitAll(futures...)
}

func submit(w *writer) error {
	var ops []asyncfile.Op
	for range batchSize {
		p, off := w.block()
		ops = append(ops, asyncfile.Op{Kind: asyncfile.OpWrite, Buf: p, Offset: off})
	}
	return asyncfile.WaitAll(w.f.Submit(ops...)...)
}

func queue(w *writer) error {
	q := asyncfile.NewQueue(batchSize)
	for range batchSize {
		p, off := w.block()
		if err := q.WriteAt(w.f, p, off, nil); err != nil {
			return err
		}
	}
	err := q.Close()
	for c := range q.C() {
		err = errors.Join(err, c.Err)
	}
	return err
}

func appendAt(w *writer) error {
	if w.next > 1000 { // the disk is not large
		return writeAt(w)
	}
	p := filled(blockSize, byte(w.next)|1)
	w.next++
	future := w.f.Append(p)
	_, err := future.Wait()
	w.want[future.Offset()] = p
	return err
}

// A running load writes to a file until it is stopped.
type running struct {
	writers []*writer
	steps   atomic.Int64
	quit    chan struct{}
	ended   sync.WaitGroup
	errs    []error
}

// start starts the load on f.
func (l *load) start(f *asyncfile.AsyncFile) *running {
	r := &running{quit: make(chan struct{}), errs: make([]error, l.writers)}
	for i := range l.writers {
		w := &writer{f: f, base: int64(i) * regionSize, skew: l.skew, want: make(map[int64][]byte)}
		r.writers = append(r.writers, w)
		r.ended.Go(func() {
			for r.errs[i] == nil {
				select {
				case <-r.quit:
					return
				default:
				}
				r.errs[i] = l.step(w)
				r.steps.Add(1)
			}
		})
	}
	return r
}

// progress waits until n more steps were made.
func (r *running) progress(n int64) bool {
	until := r.steps.Load() + n
	return await(func() bool { return r.steps.Load() >= until })
}

// stop ends the load, waits for it, and checks what it has written.
func (r *running) stop(t *testing.T) {
	t.Helper()
	close(r.quit)
	r.ended.Wait()
	if err := errors.Join(r.errs...); err != nil {
		t.Error(err)
	}
	for _, w := range r.writers {
		for off, p := range w.want {
			holds(t, w.f, off, p)
		}
		if len(w.want) == 0 {
			t.Error(fmt.Errorf("a writer has written nothing"))
		}
	}
}
