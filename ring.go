package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/workers"
)

const (
	// maxBatch is the most requests of one io_submit, and events of one reap.
	// On virtio the cost of a request falls until about 32 in one call.
	maxBatch = 64

	// maxSubmitters is how many goroutines may be inside io_submit at once. The
	// rest leave their requests to those that are, which makes batches of them
	// and keeps io_submit, should it sleep, from taking a thread a request. More
	// than one, so that one that sleeps does not stop the others.
	maxSubmitters = 2

	// maxRounds is how many batches a submitter sends before it leaves what
	// others have added to a worker, so as to return to its caller.
	maxRounds = 8

	// maxHold is how long a request may wait for a batch to be complete, and an
	// event for others to come.
	maxHold = 100 * time.Microsecond

	// busyDepth is from how many requests in flight on a Ring counts as busy: an
	// event is then so much sooner than the device's latency that what waits for
	// one hardly waits.
	busyDepth = 16
)

// A Ring carries out the operations of any number of files: at most its queue
// depth at once, on one kernel AIO context, or on workers where there is none or
// where io_submit would block. It is safe for concurrent use.
//
// A submission waits for a place while the queue is full, first come first
// served. Nothing runs, and no system call is made, while nothing is in flight.
// NewRing makes one.
type Ring struct {
	context   aio.Context   // nil on BackendPool
	eventfd   *aio.EventFD  // of WaitEventFD
	reason    error         // why there is no context though BackendAuto looked for one
	requests  []*request    // every slot, by index
	closing   chan struct{} // closed when Close begins
	workers   *workers.Pool
	bounces   bouncePools
	completer completer
	closed    atomic.Bool // written with mu held

	_     cacheLine // what is above is only read
	stats counters

	// mu guards what follows, and the state of every request. It is never held
	// across a system call that may block, nor while a result is delivered.
	_          cacheLine
	mu         sync.Mutex
	slots      slots
	returned   *sync.Cond   // signalled when no slot is in use
	pending    requestQueue // registered nowhere yet, to be sent by the next io_submit
	inFlight   int          // given to io_submit and not yet reaped
	entering   int          // those of them that io_submit has not answered for yet
	inside     int          // goroutines in io_submit
	outside    *sync.Cond   // signalled when inside becomes 0
	submitters []*submitter // those not at work
	spare      []*submitter // of workers, whose number is bounded elsewhere
	stalled    bool         // io_submit said EAGAIN; wait for a reap
	broken     error        // the context died: what every request gets from now on
	parked     bool         // the completer sleeps until unparked: nobody reaps
	expected   int          // submissions that the batch that gathers in pending waits for
	gathers    time.Time    // since when it does
	watched    bool         // the completer looks at pending within maxHold
}

// A cacheLine keeps what many processors write off the lines of what they read.
type cacheLine [64]byte

// A submitter is the scratch memory of one goroutine inside io_submit.
type submitter struct {
	requests [maxBatch]*request
	gens     [maxBatch]uint32
	iocbs    [maxBatch]*aio.IOCB
	events   [maxBatch]aio.Event
	ended    []outcome
}

// NewRing makes a Ring. With BackendAuto it runs on native AIO where the kernel
// lets the process use it, and otherwise on the pool: Backend and Reason tell.
// With BackendAIO an error says why not: it answers errors.Is for the errno of
// io_setup(2), and where fs.aio-max-nr is used up it gives the numbers.
func NewRing(opts ...Option) (*Ring, error) {
	c, err := newRingConfig(opts)
	if err != nil {
		return nil, err
	}
	return newRing(c)
}

func newRing(c *config) (*Ring, error) {
	r := &Ring{
		closing: make(chan struct{}),
		workers: workers.New(c.workers),
		bounces: newBouncePools(),
	}
	r.outside, r.returned = sync.NewCond(&r.mu), sync.NewCond(&r.mu)
	depth := c.depth
	if c.backend != BackendPool {
		if err := r.start(c, &depth); err != nil {
			if c.backend == BackendAIO {
				return nil, err
			}
			r.reason = err
			depth = c.depth
		}
	}
	r.requests = make([]*request, depth)
	slots := make([]request, depth)
	for i := range slots {
		q := &slots[i]
		q.ring, q.slot = r, uint32(i)
		r.requests[i] = q
		r.slots.put(q)
	}
	if r.context != nil {
		for range maxSubmitters {
			r.submitters = append(r.submitters, new(submitter))
		}
		r.parked = true
		r.completer.start(r, c)
	}
	return r, nil
}

// start makes the kernel context and tries it, and lowers *depth to what the
// kernel had room for.
func (r *Ring) start(c *config, depth *int) error {
	context, err := setupContext(c.setup, depth)
	if err != nil {
		return err
	}
	if err := tryContext(context); err != nil {
		context.Destroy()
		return err
	}
	if c.mode == WaitEventFD {
		if r.eventfd, err = aio.NewEventFD(); err != nil {
			context.Destroy()
			return fmt.Errorf("asyncfile: WaitEventFD: %w", os.NewSyscallError("eventfd", err))
		}
	}
	r.context = context
	return nil
}

// setupContext calls io_setup, with half the depth each time that the machine
// has no room for so many requests.
func setupContext(setup func(int) (aio.Context, error), depth *int) (aio.Context, error) {
	asked, floor := *depth, min(*depth, minQueueDepth)
	for {
		context, err := setup(*depth)
		if err == nil {
			return context, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || *depth == floor {
			return nil, setupError(err, asked, *depth)
		}
		*depth = max(*depth/2, floor)
	}
}

// setupError says what was asked, what the machine has, and what to do.
func setupError(err error, asked, last int) error {
	err = os.NewSyscallError("io_setup", err)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		numbers := "see /proc/sys/fs/aio-nr and aio-max-nr"
		if nr, limit, e := aio.Limits(); e == nil {
			numbers = fmt.Sprintf("fs.aio-nr is %d of fs.aio-max-nr %d", nr, limit)
		}
		return fmt.Errorf("asyncfile: the machine has no room for a queue of %d requests, nor of %d (%s): raise fs.aio-max-nr with sysctl, or ask for less with WithQueueDepth: %w", asked, last, numbers, err)
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("asyncfile: this system has no native AIO: use BackendAuto or BackendPool: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asyncfile: native AIO is forbidden to this process (seccomp?): use BackendAuto or BackendPool: %w", err)
	}
	return fmt.Errorf("asyncfile: queue of %d requests: %w", last, err)
}

// tryContext sends one read through the context and waits for it: a sandbox may
// allow io_setup and refuse the rest.
func tryContext(context aio.Context) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil // nothing to try it on, so nothing said against it
	}
	defer null.Close()
	buf := make([]byte, 1)
	iocb := new(aio.IOCB)
	iocb.PrepareRead(int(null.Fd()), buf, 0)
	if _, err := context.Submit([]*aio.IOCB{iocb}); err != nil {
		return fmt.Errorf("asyncfile: native AIO does not work here: %w", os.NewSyscallError("io_submit", err))
	}
	events := make([]aio.Event, 1)
	for {
		n, err := context.GetEvents(1, events, time.Second)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("asyncfile: native AIO does not work here: %w", os.NewSyscallError("io_getevents", err))
		case n == 0:
			return errors.New("asyncfile: native AIO does not work here: a read of the null device did not complete in a second")
		default:
			return nil
		}
	}
}

// Depth returns the most requests in flight: what WithQueueDepth asked, or what
// the machine had room for.
func (r *Ring) Depth() int { return len(r.requests) }

// Backend returns BackendAIO or BackendPool.
func (r *Ring) Backend() Backend {
	if r.context == nil {
		return BackendPool
	}
	return BackendAIO
}

// Reason returns why the Ring is on the pool although BackendAuto looked for
// native AIO, and nil where it is not so.
func (r *Ring) Reason() error { return r.reason }

// Close refuses new operations with fs.ErrClosed, waits for those in flight,
// and releases the completer and the kernel context, which takes 26 to 40 ms.
// Close the Ring's files first. A second Close returns fs.ErrClosed.
func (r *Ring) Close() error {
	r.mu.Lock()
	if r.closed.Swap(true) {
		r.mu.Unlock()
		return fmt.Errorf("asyncfile: Ring: %w", fs.ErrClosed)
	}
	close(r.closing)
	for len(r.slots.free) < len(r.requests) {
		r.returned.Wait()
	}
	r.mu.Unlock()
	if r.context == nil {
		return nil
	}
	// In this order: with no event to come the completer ends, and with nobody
	// inside io_getevents the context may go.
	r.completer.stop()
	r.mu.Lock()
	r.awaitSubmits() // the events of a call may be reaped before it returns
	r.mu.Unlock()
	var err error
	if r.broken == nil {
		err = r.context.Destroy()
	}
	if r.eventfd != nil {
		err = errors.Join(err, r.eventfd.Close())
	}
	return err
}

// acquire takes a free slot, and waits for one while the queue is full, behind
// those who wait already. It fails when the Ring is closed, and when past is.
func (r *Ring) acquire(past <-chan struct{}) (*request, error) {
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return nil, fs.ErrClosed
	}
	q := r.slots.take()
	if q != nil {
		r.mu.Unlock()
		return q, nil
	}
	w := r.slots.enqueue()
	r.mu.Unlock()
	var err error
	select {
	case q = <-w.given:
	case <-r.closing:
		err = fs.ErrClosed
	case <-past:
		err = os.ErrDeadlineExceeded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.slots.leave(w)
		r.announceReturn()
		return nil, err
	}
	r.slots.retire(w)
	return q, nil
}

// tryAcquire takes a free slot, if there is one and the Ring is not closed.
func (r *Ring) tryAcquire() *request {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed.Load() {
		return nil
	}
	return r.slots.take()
}

// recycle frees the slots of requests that have ended.
func (r *Ring) recycle(list []outcome) {
	r.mu.Lock()
	for i := range list {
		r.slots.put(list[i].q)
	}
	r.announceReturn()
	r.mu.Unlock()
}

// announceReturn tells Close when no slot is in use. Called with mu held.
func (r *Ring) announceReturn() {
	if r.closed.Load() && len(r.slots.free) == len(r.requests) {
		r.returned.Broadcast()
	}
}

// submit sends requests to the kernel, or leaves them to whoever is about to
// call io_submit anyway. It does not wait for the device.
func (r *Ring) submit(list requestQueue) {
	if list.empty() {
		return
	}
	r.mu.Lock()
	r.pending.append(list)
	if !r.gathering(list.n) {
		r.flush()
	}
	r.mu.Unlock()
}

// gather has what is submitted from now on wait in pending until n more requests
// have come: as many goroutines were woken, or completions put on a channel, and
// most will submit again within microseconds. Whoever brings the last sends all,
// in one io_submit. Called with mu held.
func (r *Ring) gather(n int) {
	if r.expected == 0 {
		r.gathers = time.Now()
	}
	r.expected += n
}

// gathering takes n requests that have come into account, and reports whether
// they may wait in pending for others. Called with mu held.
func (r *Ring) gathering(n int) bool {
	last := r.expected > 0 && r.expected <= n
	r.expected = max(r.expected-n, 0)
	if last || r.pending.n >= maxBatch || r.expected == 0 && !r.watched {
		return false
	}
	if now := time.Now(); now.Sub(r.gathers) >= maxHold {
		r.gathers = now // this call takes all along, so others can leave theirs again
		return false
	}
	return true
}

// busy reports whether so much is in flight, or about to be, that an event comes
// much sooner than the device's latency. Called with mu held.
func (r *Ring) busy() bool { return r.inFlight+r.pending.n+r.expected >= busyDepth }

// flush sends what is pending, unless someone inside io_submit will look here
// again, and if it sleeps there the completer. Called with mu held, which it
// releases in between.
func (r *Ring) flush() {
	if r.inside > 0 && r.watched {
		return
	}
	last := len(r.submitters) - 1
	if last < 0 {
		return
	}
	s := r.submitters[last]
	r.submitters = r.submitters[:last]
	for range maxRounds {
		if !r.sendPending(s) {
			break
		}
		r.reapParked(s)
		r.endAll(s)
	}
	r.submitters = append(r.submitters, s)
	if !r.pending.empty() && !r.stalled {
		r.workers.Go((*flusher)(r)) // others keep it coming: let this caller go
	}
}

// A flusher is a job that sends what is pending.
type flusher Ring

func (f *flusher) Run() {
	r := (*Ring)(f)
	r.mu.Lock()
	r.flush()
	r.mu.Unlock()
}

// sendPending hands one batch of pending requests to the kernel, and reports
// whether there was any. Called with mu held, which it releases in between.
func (r *Ring) sendPending(s *submitter) bool {
	if r.stalled || r.pending.empty() {
		return false
	}
	n := 0
	for n < maxBatch && !r.pending.empty() {
		q := r.pending.pop()
		if q.alone {
			r.toWorker(q)
			continue
		}
		s.requests[n] = q
		n++
	}
	r.send(s, n)
	return true
}

// sendAll sends until nothing is pending, or the kernel has no room, and ends
// what was refused. Called with mu held, which it releases in between.
func (r *Ring) sendAll(s *submitter) {
	for r.sendPending(s) {
		r.endAll(s)
	}
}

// send hands s.requests[:n] to the kernel. Those that it refused are in s.ended
// afterwards. Called with mu held, which it releases around io_submit.
func (r *Ring) send(s *submitter, n int) {
	if r.broken != nil {
		for _, q := range s.requests[:n] {
			s.end(q, q.file.pathError(q.op.Kind, r.broken))
		}
		return
	}
	for i, q := range s.requests[:n] {
		r.register(q)
		s.iocbs[i], s.gens[i] = &q.iocb, q.gen
	}
	r.inside++
	r.mu.Unlock()
	taken, err := r.ioSubmit(s, n)
	r.mu.Lock()
	if r.inside--; r.inside == 0 {
		r.outside.Broadcast()
	}
	r.entered(s, taken)
	if taken < n {
		r.inFlight -= n - taken
		r.entering -= n - taken
		for _, q := range s.requests[taken:n] {
			q.state = stateIdle
		}
		r.putBack(s, taken, n, err)
	}
}

// awaitSubmits waits until nobody is inside io_submit, with mu held, which it
// releases in between. It is for who has made sure that nobody goes in.
func (r *Ring) awaitSubmits() {
	for r.inside > 0 {
		r.outside.Wait()
	}
}

// register makes q the owner of its next event. It comes before io_submit,
// since the event may come before io_submit returns.
func (r *Ring) register(q *request) {
	q.gen++
	q.prepare()
	q.iocb.SetData(uint64(q.gen)<<32 | uint64(q.slot))
	if r.eventfd != nil {
		q.iocb.SetEventFD(r.eventfd.FD())
	}
	q.state = stateEntering
	r.inFlight++
	r.entering++
}

// entered marks s.requests[:n] as taken by the kernel, but for those that have
// been reaped already: those are someone else's by now, which is why each is
// known by its generation. Called with mu held.
func (r *Ring) entered(s *submitter, n int) {
	for i, q := range s.requests[:n] {
		if q.state == stateEntering && q.gen == s.gens[i] {
			q.state = stateInFlight
			r.entering--
		}
	}
}

// awaited returns how many events are sure to come: a wait for them ends.
// Called with mu held.
func (r *Ring) awaited() int { return r.inFlight - r.entering }

// ioSubmit hands over s.iocbs[:n], as many as the kernel takes, and returns how
// many those are and the error of the first that it did not take. A request
// that it took may have ended already, and its slot be someone else's.
func (r *Ring) ioSubmit(s *submitter, n int) (taken int, err error) {
	start := time.Now()
	for taken < n && err == nil {
		var k int
		k, err = r.context.Submit(s.iocbs[taken:n])
		r.stats.Submits.Add(1)
		if k == 0 && err == nil {
			err = syscall.EAGAIN // cannot be; not to be repeated at once if it is
		}
		taken += max(k, 0)
	}
	r.stats.SubmitNanos.Add(uint64(time.Since(start)))
	return taken, err
}

// putBack deals with s.requests[from:to], the first of which the kernel refused
// with err. EAGAIN is not about that request: all stay pending, in order. Any
// other error is about it alone: the rest goes out with the next send.
func (r *Ring) putBack(s *submitter, from, to int, err error) {
	if errors.Is(err, syscall.EAGAIN) {
		r.stats.Stalls.Add(1)
		r.stalled = true
		if r.awaited() == 0 {
			r.unpark() // nothing will be reaped: the completer tries again by itself
		}
	} else {
		r.refuse(s, s.requests[from], err)
		from++
	}
	var list requestQueue
	for _, q := range s.requests[from:to] {
		list.push(q)
	}
	list.append(r.pending)
	r.pending = list
}

// refuse deals with a request that io_submit answered with err. EINVAL may mean
// that the file has no such operation in AIO, as /proc has no reads and a kernel
// before 4.18 no fsync: an ordinary system call has the result that is wanted.
func (r *Ring) refuse(s *submitter, q *request, err error) {
	if errors.Is(err, syscall.EINVAL) && r.broken == nil {
		r.offload(q)
		return
	}
	s.end(q, q.file.pathError(q.op.Kind, err))
}

// reapParked looks at the completion ring on behalf of a parked completer, and
// wakes it only if something is still in flight then: a device that answers at
// once costs no hand-over between goroutines. Called with mu held, which, while
// the completer is parked, is what makes the caller the only reaper.
func (r *Ring) reapParked(s *submitter) {
	if !r.parked || r.inFlight == 0 {
		return
	}
	n := r.context.Reap(s.events[:])
	s.ended = r.reaped(s.events[:n], s.ended)
	if r.awaited() > 0 {
		r.unpark()
	}
}

// unpark wakes the completer. Called with mu held.
func (r *Ring) unpark() {
	if r.parked {
		r.parked = false
		r.completer.wake <- struct{}{} // has room: it is sent once for each time parked is set
	}
}

// An outcome is a request that has been taken from the kernel, and what with.
type outcome struct {
	q   *request
	res int64 // of the event, where err is nil
	err error // why the kernel never had it, or how it ended
	ending
}

func (s *submitter) end(q *request, err error) { s.ended = append(s.ended, outcome{q: q, err: err}) }

// reaped takes the requests that events are of out of flight and appends them
// to list. An event that is nobody's, or came twice, is counted and dropped:
// the ring is writable memory, so what it says is checked against the table.
// Called with mu held.
func (r *Ring) reaped(events []aio.Event, list []outcome) []outcome {
	for i := range events {
		slot, gen := uint32(events[i].Data), uint32(events[i].Data>>32)
		if slot >= uint32(len(r.requests)) { // not int(slot): less than 0 in 32 bits
			r.stats.Strays.Add(1)
			continue
		}
		q := r.requests[slot]
		if q.state == stateIdle || q.gen != gen {
			r.stats.Strays.Add(1)
			continue
		}
		if q.state == stateEntering {
			r.entering--
		}
		q.state = stateIdle
		r.inFlight--
		r.stalled = false
		list = append(list, outcome{q: q, res: events[i].Res})
	}
	return list
}

// endAll ends what s has gathered. Called with mu held, which it releases in
// between.
func (r *Ring) endAll(s *submitter) {
	if len(s.ended) == 0 {
		return
	}
	r.mu.Unlock()
	more := r.settle(s.ended, true)
	s.ended = s.ended[:0]
	r.mu.Lock()
	r.pending.append(more)
}

// settle ends requests that came back from the kernel, and returns those that
// go on. It clears list, which then keeps nothing reachable. With hurry it leaves
// to a worker what has much to copy.
func (r *Ring) settle(list []outcome, hurry bool) (more requestQueue) {
	ended := list[:0]
	for _, o := range list {
		if o.err != nil {
			ended = append(ended, o)
			continue
		}
		if hurry && len(o.q.bounce) > copyInline {
			o.q.landing, o.q.res = true, o.res
			r.toWorker(o.q)
			continue
		}
		again, err := o.q.advance(o.res)
		switch {
		case !again:
			ended = append(ended, outcome{q: o.q, err: err})
		case o.q.way == cached:
			r.offload(o.q)
		default:
			o.q.plan()
			more.push(o.q)
		}
	}
	r.finish(ended)
	clear(list)
	return more
}

// sweep ends what is in flight on a context that is gone. Called with mu held.
func (r *Ring) sweep(s *submitter) {
	for _, q := range r.requests {
		if q.state == stateInFlight {
			q.state = stateIdle
			r.inFlight--
			s.end(q, q.file.pathError(q.op.Kind, r.broken))
		}
	}
}

// offload has a worker carry q out with ordinary system calls. It never blocks.
func (r *Ring) offload(q *request) {
	q.alone = false
	r.toWorker(q)
}

func (r *Ring) toWorker(q *request) {
	r.stats.Offloaded.Add(1)
	r.workers.Go(q)
}

// offloadSubmit has a worker hand q to the kernel, in an io_submit of its own
// that may block.
func (r *Ring) offloadSubmit(q *request) {
	q.alone = true
	r.toWorker(q)
}

// submitAlone hands q to the kernel on the calling worker.
func (r *Ring) submitAlone(q *request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s *submitter
	if last := len(r.spare) - 1; last >= 0 {
		s, r.spare = r.spare[last], r.spare[:last]
	} else {
		s = new(submitter)
	}
	s.requests[0] = q
	r.send(s, 1)
	r.reapParked(s)
	r.endAll(s)
	r.spare = append(r.spare, s)
	r.flush() // the reap may have made room, or a short transfer go on
}

// A requestQueue is a first-in first-out list of n requests.
type requestQueue struct {
	head, tail *request
	n          int
}

func (l *requestQueue) empty() bool { return l.n == 0 }

func (l *requestQueue) push(q *request) {
	q.next = nil
	l.append(requestQueue{q, q, 1})
}

func (l *requestQueue) append(more requestQueue) {
	switch {
	case more.empty():
	case l.empty():
		*l = more
	default:
		l.tail.next = more.head
		l.tail = more.tail
		l.n += more.n
	}
}

func (l *requestQueue) pop() *request {
	q := l.head
	if q != nil {
		l.head, q.next = q.next, nil
		if l.n--; l.n == 0 {
			l.tail = nil
		}
	}
	return q
}
