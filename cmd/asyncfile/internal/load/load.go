// Package load puts a load on a target, in the ways that there are in Go, and measures what
// comes of it.
package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/latency"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/target"
)

// A Job is what is to be done: random reads or writes of blocks, so many in flight.
type Job struct {
	Target  *target.Target
	Block   int // bytes
	Depth   int
	Write   bool
	Cached  bool // through the page cache, and not with O_DIRECT
	Backend asyncfile.Backend
	For     time.Duration
	Each    time.Duration              // of the windows of Result.Windows; 0 for none
	Steady  func(windows []int64) bool // ends the job before For, where there are windows
}

// A Result is what came of it. Times of operations are without those of the first tenth of
// Job.For, which pay for what is not in memory yet.
type Result struct {
	Ops     int64
	Elapsed time.Duration
	CPU     time.Duration      // user and system time of the process
	Submit  time.Duration      // inside io_submit(2)
	Took    *latency.Histogram // nil of fio, which has a Summary
	Summary *latency.Summary
	Windows []int64 // operations in each
}

// Latency sums up how long operations took.
func (r *Result) Latency() latency.Summary {
	if r.Summary != nil {
		return *r.Summary
	}
	return r.Took.Summary()
}

// SubmitPerOp returns the time inside io_submit(2) for each operation.
func (r *Result) SubmitPerOp() time.Duration {
	if r.Ops == 0 {
		return 0
	}
	return r.Submit / time.Duration(r.Ops)
}

// IOPS returns operations a second.
func (r *Result) IOPS() float64 { return float64(r.Ops) / r.Elapsed.Seconds() }

// CPUPerOp returns processor time an operation.
func (r *Result) CPUPerOp() time.Duration {
	if r.Ops == 0 {
		return 0
	}
	return r.CPU / time.Duration(r.Ops)
}

// A Contender is one way to do a job.
type Contender struct {
	Name string
	Run  func(ctx context.Context, j Job) (*Result, error)
}

// Contenders returns the ways of this process.
func Contenders() []Contender {
	return []Contender{
		{"os.File", runOS},
		{"future", runFutures},
		{"queue", Queue},
	}
}

// A meter measures while a job runs.
type meter struct {
	job     Job
	begun   time.Time
	cpu     time.Duration
	ops     atomic.Int64
	warm    time.Time // what ends before does not count
	until   context.Context
	stop    context.CancelFunc
	windows chan []int64
}

func (j Job) start(ctx context.Context) *meter {
	m := &meter{job: j, begun: time.Now(), cpu: cpuTime(), windows: make(chan []int64, 1)}
	m.warm = m.begun.Add(j.For / 10)
	m.until, m.stop = context.WithTimeout(ctx, j.For)
	if j.Each > 0 {
		go m.watch()
	}
	return m
}

// watch counts the operations of each window, and ends the job when they are steady.
func (m *meter) watch() {
	tick := time.NewTicker(m.job.Each)
	defer tick.Stop()
	var list []int64
	last := int64(0)
	for {
		select {
		case <-m.until.Done():
			m.windows <- list
			return
		case <-tick.C:
			now := m.ops.Load()
			list = append(list, now-last)
			last = now
			if m.job.Steady != nil && m.job.Steady(list) {
				m.stop()
			}
		}
	}
}

// result ends the measurement.
func (m *meter) result(took *latency.Histogram) *Result {
	r := &Result{Ops: m.ops.Load(), Elapsed: time.Since(m.begun), CPU: cpuTime() - m.cpu, Took: took}
	m.stop()
	if m.job.Each > 0 {
		r.Windows = <-m.windows
	}
	return r
}

// count counts one operation.
func (m *meter) count(took *latency.Histogram, begun time.Time) {
	m.ops.Add(1)
	if now := time.Now(); now.After(m.warm) {
		took.Add(now.Sub(begun))
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runGoroutines has Depth goroutines do one operation after the other.
func (j Job) runGoroutines(ctx context.Context, do func(buf []byte, off int64) error) (*Result, error) {
	blocks, err := j.Target.Blocks(j.Block)
	if err != nil {
		return nil, err
	}
	m := j.start(ctx)
	all := latency.New()
	var mu sync.Mutex
	var failed error
	var workers sync.WaitGroup
	for range j.Depth {
		workers.Go(func() {
			took, buf := latency.New(), asyncfile.AlignedBuffer(j.Block)
			for m.until.Err() == nil {
				begun := time.Now()
				if err := do(buf, rand.Int64N(blocks)*int64(j.Block)); err != nil {
					m.stop()
					mu.Lock()
					failed = err
					mu.Unlock()
					return
				}
				m.count(took, begun)
			}
			mu.Lock()
			all.Merge(took)
			mu.Unlock()
		})
	}
	workers.Wait()
	return m.result(all), failed
}

// runOS is a goroutine for each operation in flight, on os.File.
func runOS(ctx context.Context, j Job) (*Result, error) {
	f, err := j.Target.Again()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !j.Cached {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		if err == nil {
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags|unix.O_DIRECT)
		}
		if err != nil {
			return nil, fmt.Errorf("O_DIRECT: %w", err)
		}
	}
	do := f.ReadAt
	if j.Write {
		do = f.WriteAt
	}
	return j.runGoroutines(ctx, func(buf []byte, off int64) error { _, err := do(buf, off); return err })
}

// open opens the target with the library.
func (j Job) open() (*asyncfile.AsyncFile, error) {
	options := []asyncfile.Option{asyncfile.WithBackend(j.Backend), asyncfile.WithQueueDepth(j.Depth)}
	if !j.Cached {
		options = append(options, asyncfile.WithDirect(asyncfile.DirectPrefer))
	}
	return j.Target.Async(options...)
}

// runFutures is a goroutine for each operation in flight, that waits for a Future.
func runFutures(ctx context.Context, j Job) (*Result, error) {
	f, err := j.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	do := f.ReadAt
	if j.Write {
		do = f.WriteAt
	}
	r, err := j.runGoroutines(ctx, func(buf []byte, off int64) error { _, err := do(buf, off).Wait(); return err })
	if r != nil {
		r.Submit = f.Ring().Stats().SubmitTime
	}
	return r, err
}

// A slot is one place of a Queue.
type slot struct {
	buf   []byte
	begun time.Time
}

// A puller is one goroutine that submits to a Queue and receives from it.
type puller struct {
	*meter
	file   *asyncfile.AsyncFile
	queue  *asyncfile.Queue
	kind   asyncfile.OpKind
	blocks int64
	flying int
	took   *latency.Histogram
	failed error
}

// Queue is one goroutine that submits to a Queue and receives from it.
func Queue(ctx context.Context, j Job) (*Result, error) {
	blocks, err := j.Target.Blocks(j.Block)
	if err != nil {
		return nil, err
	}
	f, err := j.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p := &puller{meter: j.start(ctx), file: f, queue: asyncfile.NewQueue(j.Depth), blocks: blocks, took: latency.New()}
	defer p.queue.Close()
	if j.Write {
		p.kind = asyncfile.OpWrite
	}
	for range j.Depth {
		p.send(&slot{buf: asyncfile.AlignedBuffer(j.Block)})
	}
	done := make([]asyncfile.Completion, j.Depth)
	for p.flying > 0 {
		p.receive(done)
	}
	r := p.result(p.took)
	r.Submit = f.Ring().Stats().SubmitTime
	return r, p.failed
}

// send begins the next operation of a slot, unless all is over.
func (p *puller) send(s *slot) {
	if p.failed != nil || p.until.Err() != nil {
		return
	}
	s.begun = time.Now()
	off := rand.Int64N(p.blocks) * int64(p.job.Block)
	if p.failed = p.queue.Submit(p.file, asyncfile.Op{Kind: p.kind, Buf: s.buf, Offset: off}, s); p.failed == nil {
		p.flying++
	}
}

// receive waits for operations that have ended, and begins as many.
func (p *puller) receive(done []asyncfile.Completion) {
	n, err := p.queue.Receive(context.Background(), done)
	if err != nil { // the Queue is open, and a context that never ends was passed
		p.failed, p.flying = err, 0
		return
	}
	p.flying -= n
	for _, c := range done[:n] {
		if c.Err != nil {
			p.failed = c.Err
			continue
		}
		s := c.Tag.(*slot)
		p.count(p.took, s.begun)
		p.send(s)
	}
}

// name returns a name by which another program opens the target.
func name(t *target.Target) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), t.File.Fd()) }
