package ring

import (
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// A rig is a Ring on a scripted kernel, in a bubble of testing/synctest, with one
// lane. Its end is checked: nothing is left over, and no rule of the kernel was broken.
type rig struct {
	*testing.T
	*Ring
	kernel  *aiotest.Kernel
	lane    *Lane
	aborted bool // the test lets the context die
	closed  bool // the test closes the Ring
}

// timeout is that of io_getevents, and retryDelay how long the completer waits for
// room while nothing is in flight.
const timeout, retryDelay = 100 * time.Millisecond, time.Millisecond

// complete is a completer that takes events as they come.
func complete(s *Seat) {
	s.Begin()
	for goesOn := true; goesOn; goesOn = goesOn && !s.Replaced() {
		switch {
		case s.Send():
		case s.Wanted():
			s.Reap(Patience{Min: 1, Max: MaxBatch, Timeout: timeout})
			s.Finish()
		case s.NoRoom():
			s.Unlocked(func() { time.Sleep(retryDelay) }) // of the bubble
			s.Retry()
		default:
			goesOn = s.Park()
		}
	}
	s.End()
}

// inRig runs test on a Ring with so many slots. The kernel keeps what it is given.
func inRig(t *testing.T, depth int, test func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		bound := time.AfterFunc(time.Hour, func() { panic(t.Name() + " hangs") }) // of the bubble
		defer bound.Stop()
		r := &rig{T: t, kernel: aiotest.New(depth)}
		r.kernel.AttachAny(aiotest.NewMem(make([]byte, 4096)))
		r.kernel.OnOp(func(*aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
		r.Ring = New(Config{Context: r.kernel, Depth: depth, Timeout: timeout, Workers: 2, Complete: complete})
		r.lane = r.LaneOf(1, true)
		synctest.Wait()
		test(r)
		r.end()
	})
}

func (r *rig) end() {
	for range 100 {
		r.completeAll()
		time.Sleep(WatchPeriod) // of the bubble
	}
	if got := r.Snapshot(); got.InUse+got.Pending+got.InFlight+got.Entering+got.Senders != 0 || got.Asks != 0 || got.Stalled {
		r.Errorf("at the end %+v", got)
	}
	if !r.closed {
		if err := r.Close(); err != nil {
			r.Errorf("Close = %v", err)
		}
	}
	for _, v := range r.kernel.Violations() {
		r.Errorf("kernel: %s", v)
	}
	if c := r.kernel.Counts(); !r.aborted && (!c.Destroyed || c.InFlight != 0) {
		r.Errorf("at the end destroyed %v, %d in flight", c.Destroyed, c.InFlight)
	}
}

// completeAll ends what the kernel has, and waits until everyone waits.
func (r *rig) completeAll() {
	for _, op := range r.kernel.Held() {
		op.Complete()
	}
	synctest.Wait()
}

// locked calls f with the Ring's lock.
func (r *rig) locked(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// A reading is a client: a read of a few bytes, and a goal: its end.
type reading struct {
	rig     *rig
	lane    *Lane
	request atomic.Pointer[Request] // until it has ended
	buf     []byte
	done    int
	err     error
	held    bool // its end is that of the test to tell, by Finish
	next    Requests
	asked   atomic.Bool
	over    atomic.Bool
	told    chan struct{} // closed when its outcome is delivered
	deliver func()        // what else is done then
}

// newReading returns a read of n bytes at offset 0, with a slot, or nil.
func (r *rig) newReading(n int) *reading { return r.newReadingOn(r.lane, n) }

func (r *rig) newReadingOn(l *Lane, n int) *reading {
	q := r.TryAcquire(l)
	if q == nil {
		return nil
	}
	c := &reading{rig: r, lane: l, buf: make([]byte, n), told: make(chan struct{})}
	c.request.Store(q)
	q.Begin(c)
	c.plan()
	return c
}

func (c *reading) plan() {
	rest := c.buf[c.done:]
	p := &c.request.Load().Plan
	p.Opcode, p.FD, p.Off, p.Buf, p.Asked = aio.OpPread, 1, int64(c.done), rest, len(rest)
}

// start makes a reading of n bytes pending, which goes out as soon as h says.
func (r *rig) start(n int, h Haste) *reading { return r.startOn(r.lane, n, h) }

func (r *rig) startOn(l *Lane, n int, h Haste) *reading {
	r.Helper()
	c := r.newReadingOn(l, n)
	if c == nil {
		r.Fatal("no slot")
	}
	c.push(h)
	return c
}

func (c *reading) push(h Haste) {
	var list Requests
	list.Push(c.request.Load())
	c.lane.Push(list, h)
}

func (c *reading) Advance(res int64, err error) Step {
	n := 0
	if err == nil {
		n, err = aio.Result(res)
	}
	c.done += n
	switch c.err = err; {
	case c.held:
		return Held
	case err != nil || c.done == len(c.buf) || n == 0:
		return Ended
	}
	c.plan()
	return Again
}

func (c *reading) Carry() {
	c.done = len(c.buf)
	c.request.Load().Finish()
}

func (c *reading) Release() (Tally, Requests) {
	c.request.Store(nil)
	failed := uint64(0)
	if c.err != nil {
		failed = 1
	}
	return Tally{Read: uint64(c.done), Failed: failed}, c.next
}

func (c *reading) Deliver() (ready Requests) {
	if c.deliver != nil {
		c.deliver()
	}
	c.over.Store(true)
	c.unask()
	close(c.told)
	return ready
}

func (c *reading) String() string { return "a reading" }

func (c *reading) Reached() bool { return c.over.Load() }

func (c *reading) ByEvent() bool {
	q := c.request.Load()
	return q != nil && q.AwaitsEvent()
}

func (c *reading) Expect() {
	if c.asked.CompareAndSwap(false, true) {
		c.rig.Count(1)
		if c.over.Load() {
			c.unask()
		}
	}
}

func (c *reading) unask() {
	if c.asked.CompareAndSwap(true, false) {
		c.rig.Count(-1)
	}
}

// ask has the Ring send and reap it without the test.
func (c *reading) ask() *reading {
	c.Expect()
	c.lane.Ask()
	return c
}

// wait lends the calling goroutine to the Ring until the end.
func (c *reading) wait() {
	c.lane.Lend(c, Reads, 1)
	<-c.told
}

// want checks the outcome of a reading that has ended.
func (c *reading) want(n int, err error) {
	c.rig.Helper()
	synctest.Wait()
	select {
	case <-c.told:
		if c.done != n || c.err != err {
			c.rig.Errorf("read %d, %v; want %d, %v", c.done, c.err, n, err)
		}
	default:
		c.rig.Errorf("has not ended")
	}
}

// answerOnce has the next io_submit answer errno, when returned is closed.
func (r *rig) answerOnce(errno syscall.Errno, returned <-chan struct{}) {
	var asked atomic.Bool
	r.kernel.OnSubmit(func(int, int) (int, error) {
		if asked.Swap(true) {
			return -1, nil
		}
		<-returned
		return 0, errno
	})
}
