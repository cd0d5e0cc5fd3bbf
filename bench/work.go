package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/seed-39be8cca/asyncfile"
)

// A job is what a child process is told to do.
type job struct {
	Contender string
	Task      string // "" for the cell; see tasks
	Cell      cell
	Shape     shape // of the task "scale"
	File      string
	Size      int64 // bytes of File to work on
	Procs     int   // GOMAXPROCS; 0: as it is
	Warm      time.Duration
	Time      time.Duration
}

const (
	warming int32 = iota
	measuring
	measured // all are still at work
	over
)

// A work is a cell while a contender does it.
type work struct {
	job
	phase  atomic.Int32
	cursor atomic.Int64 // next block of a sequential pattern
	lanes  []*lane
	shares []*latencies // one or another of which each lane has
	usage  usage        // of the measured window
	meter  sync.WaitGroup
	notes  []string

	// Called before and after the measured window, while all are at work, or at
	// rest: if rest is not nil, what comes after the window waits for its end.
	before, after func()
	rest          chan struct{}
}

// A lane is one operation after the other: a goroutine, or a slot of a loop.
// Only its user touches it.
type lane struct {
	w         *work
	rnd       *rand.PCG
	buf       []byte
	start     time.Time
	ops       int64
	latencies *latencies
}

// latencies are recorded by several lanes: a histogram for each lane would
// burden every operation with cache misses that are none of the contender's.
type latencies struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // in units of latencyUnit
	next      *latencies              // the shares are a circle
}

const latencyUnit = 100 * time.Nanosecond

func newLatencies() *latencies {
	return &latencies{histogram: hdrhistogram.New(1, int64(20*time.Second/latencyUnit), 2)}
}

// record moves on to a share that is free instead of waiting: behind thousands
// of runnable goroutines a mutex that has waiters is handed from one to the next
// no faster than they get their turns.
func (l *lane) record(d time.Duration) {
	for !l.latencies.mu.TryLock() {
		l.latencies = l.latencies.next
	}
	l.latencies.histogram.RecordValue(max(1, int64(d/latencyUnit)))
	l.latencies.mu.Unlock()
}

func newWork(j job) *work {
	w := &work{job: j, before: func() {}, after: func() {}}
	slab := asyncfile.AlignedBuffer(j.Cell.Depth * j.Cell.Block)
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(slab[:min(len(slab), mib1)])
	for range 2 * runtime.GOMAXPROCS(0) {
		w.shares = append(w.shares, newLatencies())
	}
	for i, s := range w.shares {
		s.next = w.shares[(i+1)%len(w.shares)]
	}
	for i := range j.Cell.Depth {
		w.lanes = append(w.lanes, &lane{
			w: w, rnd: rand.NewPCG(uint64(i), 2), latencies: w.shares[i%len(w.shares)],
			buf: slab[i*j.Cell.Block:][:j.Cell.Block:j.Cell.Block],
		})
	}
	return w
}

// more reports whether there is more to do.
func (w *work) more() bool {
	phase := w.phase.Load()
	if phase == measured && w.rest != nil {
		<-w.rest
		return false
	}
	return phase != over
}

// next returns the next operation of a lane, and starts its clock.
func (l *lane) next() (off int64, write bool) {
	c := &l.w.Cell
	blocks := l.w.Size / int64(c.Block)
	switch {
	case c.Pattern == oddRead:
		off = int64(l.rnd.Uint64()%uint64(l.w.Size-int64(c.Block))) | 1
	case c.Pattern.random():
		r := l.rnd.Uint64()
		off = int64(r>>8%uint64(blocks)) * int64(c.Block)
		write = c.Pattern == randWrite || c.Pattern == randMixed && r&0xff >= readShare*256/100
	default:
		off = (l.w.cursor.Add(1) - 1) % blocks * int64(c.Block)
		write = c.Pattern == seqWrite
	}
	l.start = time.Now()
	return off, write
}

// done counts the operation of a lane, which moved n bytes.
func (l *lane) done(n int) error {
	if l.w.phase.Load() == measuring {
		l.ops++
		l.record(time.Since(l.start))
	}
	if n != l.w.Cell.Block {
		return fmt.Errorf("an operation moved %d bytes of %d", n, l.w.Cell.Block)
	}
	return nil
}

// begin ends the set-up of a contender: from here on a meter runs beside it,
// which warms up, measures, and declares the work over.
func (w *work) begin() {
	m := newMeter()
	w.meter.Go(func() {
		time.Sleep(w.Warm)
		w.before()
		m.start()
		w.phase.Store(measuring)
		time.Sleep(w.Time)
		w.usage = m.stop()
		w.phase.Store(measured)
		w.after()
		w.phase.Store(over)
		w.usage.Threads = m.threads()
	})
}

// each runs do for every one of n lanes on a goroutine of its own. They set out
// together: those that are there already would hardly let others be made.
func (w *work) each(n int, do func(l *lane) error) error {
	var mu sync.Mutex
	var errs error
	var all sync.WaitGroup
	start := make(chan struct{})
	for _, l := range w.lanes[:n] {
		all.Go(func() {
			<-start
			if err := do(l); err != nil {
				w.phase.Store(over)
				mu.Lock()
				if errs == nil {
					errs = err
				}
				mu.Unlock()
			}
		})
	}
	close(start)
	all.Wait()
	return errs
}

// goroutines does the work with a goroutine per operation in flight, each of
// which waits for its own.
func (w *work) goroutines(read, write func(p []byte, off int64) (int, error)) error {
	w.begin()
	return w.each(len(w.lanes), func(l *lane) error {
		for w.more() {
			off, wr := l.next()
			do := read
			if wr {
				do = write
			}
			n, err := do(l.buf, off)
			if err != nil {
				return err
			}
			if err := l.done(n); err != nil {
				return err
			}
		}
		return nil
	})
}

// An engine carries out operations for one goroutine.
type engine interface {
	submit(slot int, p []byte, off int64, write bool) error
	// reap waits for one operation at least and calls ended for each that has
	// ended. left is how many there still are.
	reap(left int, ended func(slot, n int) error) error
}

// leastReap is how many operations a hand-written loop reaps in any case. Beyond
// that it takes no more than half of what is in flight, so that the device has the
// other half to work on meanwhile.
const leastReap = 16

// loop does the work from a single goroutine: fill the queue, reap, refill.
func (w *work) loop(e engine) error {
	for _, l := range w.lanes {
		l.latencies = w.shares[0]
	}
	w.begin()
	free := make([]int, len(w.lanes))
	for i := range free {
		free[i] = i
	}
	ended := func(slot, n int) error {
		free = append(free, slot)
		return w.lanes[slot].done(n)
	}
	for w.more() || len(free) < len(w.lanes) {
		for w.more() && len(free) > 0 {
			slot := free[len(free)-1]
			free = free[:len(free)-1]
			l := w.lanes[slot]
			off, write := l.next()
			if err := e.submit(slot, l.buf, off, write); err != nil {
				w.phase.Store(over)
				return err
			}
		}
		if err := e.reap(len(w.lanes)-len(free), ended); err != nil {
			w.phase.Store(over)
			return err
		}
	}
	return nil
}

// flags are those to open the file with, for os.OpenFile.
func (w *work) flags() int {
	flag := os.O_RDONLY
	if w.Cell.Pattern.writes() {
		flag = os.O_RDWR
	}
	if !w.Cell.Cached {
		flag |= syscall.O_DIRECT
	}
	return flag
}

// warmCache reads what a cached cell works on.
func warmCache(name string, size int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, mib1)
	for off := int64(0); off < size; off += int64(len(buf)) {
		if _, err := f.ReadAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

// do runs a contender on a cell and returns what it took.
func (j job) do() (result, error) {
	w := newWork(j)
	if j.Cell.Cached {
		if err := warmCache(j.File, j.Size); err != nil {
			return result{}, err
		}
	}
	c, ok := contenderNamed(j.Contender)
	if !ok || c.run == nil {
		return result{}, fmt.Errorf("no contender %q in this binary", j.Contender)
	}
	err := c.run(w)
	w.meter.Wait()
	if err != nil {
		return result{}, err
	}
	return w.result()
}

// result adds up the lanes.
func (w *work) result() (result, error) {
	r := result{
		Seconds: w.usage.Elapsed.Seconds(), CPU: w.usage.CPU.Seconds(),
		Switches: w.usage.Switches, Allocs: w.usage.Allocs, AllocBytes: w.usage.AllocBytes, Threads: w.usage.Threads,
		Notes: w.notes,
	}
	for _, l := range w.lanes {
		r.Ops += l.ops
	}
	if r.Ops == 0 {
		return r, errors.New("no operation ended within the measured time")
	}
	if w.usage.Elapsed > 2*w.Time { // a meter that got no turn, or a machine that stood still
		r.Notes = append(r.Notes, fmt.Sprintf("measured for %.1f s, not %v", r.Seconds, w.Time))
	}
	r.Bytes = r.Ops * int64(w.Cell.Block)
	sum := w.shares[0].histogram
	for _, l := range w.shares[1:] {
		sum.Merge(l.histogram)
	}
	at := func(q float64) time.Duration { return time.Duration(sum.ValueAtQuantile(q)) * latencyUnit }
	r.P50, r.P99, r.P999 = at(50), at(99), at(99.9)
	r.Max = time.Duration(sum.Max()) * latencyUnit
	return r, nil
}
