package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

// A shape is how many of everything a child of -scale has, but for goroutines:
// these are the cell's depth.
type shape struct {
	Files int // open files: the test file, opened so many times
	Rings int // Rings that the files are spread over; 0: the shared one
	Slots int // queue depth of each of these Rings; 0: the default
	Procs int // GOMAXPROCS; 0: as it is
}

// costs are what a child of -scale measures beside the work.
type costs struct {
	PerSlot         float64 // bytes in use by Go, as the following
	PerFile         float64
	PerGoroutine    float64
	RSSPerGoroutine float64
	RSS             float64       // with the files open and nothing in flight
	Goroutines      int           // the same
	Open, Close     time.Duration // of one file
	InSubmit        float64       // goroutines inside io_submit, on average
	Served          float64       // share of the goroutines for which a read ended while measured
}

// scale is the task of a child.
func (j job) scale() (result, error) {
	if j.Shape.Procs > 0 {
		runtime.GOMAXPROCS(j.Shape.Procs)
	}
	if err := allowFiles(j.Shape.Files); err != nil {
		return result{}, err
	}
	s := &scaling{work: newWork(j)}
	for _, l := range s.lanes {
		l.buf[0] = 1 // so that the RSS has the buffers from the start
	}
	for range 3 {
		cleanFootprint() // stacks shrink by half at each, and the first leaves things behind
	}
	if j.Contender == osFile {
		open := func(int) (*os.File, error) { return os.OpenFile(j.File, s.flags(), 0) }
		return measureScale(s, open, (*os.File).ReadAt)
	}
	if err := s.makeRings(); err != nil {
		return result{}, err
	}
	defer s.closeRings()
	read := func(f *asyncfile.AsyncFile, p []byte, off int64) (int, error) { return f.ReadAt(p, off).Wait() }
	return measureScale(s, s.openFile, read)
}

// A scaling is a work on many files and Rings.
type scaling struct {
	*work
	rings []*asyncfile.Ring
	costs costs
}

// makeRings makes the Rings of the shape.
func (s *scaling) makeRings() error {
	if s.Shape.Rings == 0 {
		return nil
	}
	opts := []asyncfile.Option{asyncfile.WithBackend(asyncfile.BackendAIO)}
	if s.Shape.Slots > 0 {
		opts = append(opts, asyncfile.WithQueueDepth(s.Shape.Slots))
	}
	before, slots := cleanFootprint(), 0
	for range s.Shape.Rings {
		r, err := asyncfile.NewRing(opts...)
		if err != nil {
			s.closeRings()
			return err
		}
		s.rings = append(s.rings, r)
		slots += r.Depth()
		if r.Depth() < s.Shape.Slots {
			s.notes = append(s.notes, fmt.Sprintf("queue depth %d: fs.aio-max-nr allows no more", r.Depth()))
		}
	}
	s.costs.PerSlot = cleanFootprint().since(before, slots).inUse
	return nil
}

func (s *scaling) closeRings() {
	for _, r := range s.rings {
		r.Close()
	}
}

// openFile opens the i-th file.
func (s *scaling) openFile(i int) (*asyncfile.AsyncFile, error) {
	var opts []asyncfile.Option
	if len(s.rings) > 0 {
		opts = append(opts, asyncfile.WithRing(s.rings[i%len(s.rings)]))
	}
	f, err := asyncfile.OpenFile(s.File, s.flags(), 0, opts...)
	if err == nil && i == 0 && f.Reason() != nil {
		s.notes = append(s.notes, "on the pool: "+f.Reason().Error())
	}
	return f, err
}

// measureScale opens the files, reads from all of them with a goroutine per
// operation in flight, and closes them.
func measureScale[F io.Closer](s *scaling, open func(i int) (F, error), read func(f F, p []byte, off int64) (int, error)) (result, error) {
	files, err := openMany(s, open)
	if err != nil {
		return result{}, errors.Join(err, closeMany(s, files))
	}
	s.watchLoad()
	err = s.goroutines(func(p []byte, off int64) (int, error) {
		return read(files[off/int64(len(p))%int64(len(files))], p, off) // at random, since off is
	}, nil)
	s.meter.Wait()
	if err = errors.Join(err, closeMany(s, files)); err != nil {
		return result{}, err
	}
	s.costs.Served = s.served()
	res, err := s.result()
	res.Costs = s.costs
	return res, err
}

func (s *scaling) served() float64 {
	n := 0
	for _, l := range s.lanes {
		if l.ops > 0 {
			n++
		}
	}
	return float64(n) / float64(len(s.lanes))
}

func openMany[F io.Closer](s *scaling, open func(i int) (F, error)) ([]F, error) {
	n := s.Shape.Files
	files := make([]F, 0, n)
	before := cleanFootprint()
	start := time.Now()
	for i := range n {
		f, err := open(i)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	s.costs.Open = time.Since(start) / time.Duration(n)
	s.costs.Goroutines = runtime.NumGoroutine()
	after := cleanFootprint()
	s.costs.PerFile, s.costs.RSS = after.since(before, n).inUse, after.rss
	return files, nil
}

func closeMany[F io.Closer](s *scaling, files []F) (err error) {
	start := time.Now()
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	s.costs.Close = time.Since(start) / time.Duration(max(1, len(files)))
	return err
}

// watchLoad has measured what there is only while the goroutines are at work.
// Those in os.File rest meanwhile, with the same stacks and threads: behind
// thousands that are runnable the measuring itself would hardly get a turn.
func (s *scaling) watchLoad() {
	if s.Contender == osFile {
		s.rest = make(chan struct{})
	}
	idle := cleanFootprint()
	var spent time.Duration
	s.before = func() { spent = s.submitTime() }
	s.after = func() {
		s.costs.InSubmit = (s.submitTime() - spent).Seconds() / s.usage.Elapsed.Seconds()
		each := cleanFootprint().since(idle, len(s.lanes))
		s.costs.PerGoroutine, s.costs.RSSPerGoroutine = each.inUse, each.rss
		if s.rest != nil {
			close(s.rest)
		}
	}
}

func (s *scaling) submitTime() (sum time.Duration) {
	for _, r := range s.rings {
		sum += r.Stats().SubmitTime
	}
	return sum
}

// allowFiles raises the limit of open files to what n need, which beyond the
// hard limit takes privileges.
func allowFiles(n int) error {
	const others = 64
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	need := uint64(n + others)
	if limit.Cur >= need {
		return nil
	}
	limit.Cur, limit.Max = need, max(need, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("RLIMIT_NOFILE of %d: %w", need, err)
	}
	return nil
}
