package asyncfile

import (
	"errors"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// How many requests go out in one io_submit decides what they cost: on a virtual
// disk the doorbell alone costs as much as ten of them (docs/performance.md). But
// nobody is to wait for a batch to fill. So requests gather in Ring.pending only
// as long as more are sure to come soon, and someone looks there if they do not:
//
//   - After a reap as many submissions are expected as operations have ended,
//     since most goroutines that wait for one go on to the next. Whoever brings the
//     last sends all. The completer yields to those that it woke and then, on a
//     Ring with little in flight, sends what there is.
//   - On a busy Ring it does not: an event is so near there that it can send
//     along what has come until then. It watches: its wait, in io_getevents or on a
//     timer if nothing is in flight, ends after maxHold at the latest. While it
//     watches, what is submitted without being expected gathers, too.
//   - While others are inside io_submit they send what has come when they are
//     back. Should one sleep there, the completer that watches does.
//   - A submitter that finds the batch older than maxHold sends it: the completer
//     may not get a processor.
//
// Without any of that a request goes out at once, by itself.

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

	// maxHold is how long a batch may gather before it is sent, and an event may
	// wait for others to come. A request may wait for both, one after the other,
	// and for what timers and the scheduler add.
	maxHold = 100 * time.Microsecond

	// busyDepth is from how many requests in flight on a Ring counts as busy: an
	// event is then so much sooner than the device's latency that what waits for
	// one hardly waits. Where requests hang that is not so, and it waits for maxHold.
	busyDepth = 24
)

// A submitter is the scratch memory of one goroutine inside io_submit.
type submitter struct {
	requests [maxBatch]*request
	gens     [maxBatch]uint32
	iocbs    [maxBatch]*aio.IOCB
	events   [maxBatch]aio.Event
	ended    []outcome
	shared   bool // it is one of Ring.submitters
}

// submit sends requests to the kernel, or leaves them to whoever is about to
// call io_submit anyway. It does not wait for the device.
func (r *Ring) submit(list requestQueue) {
	if list.empty() {
		return
	}
	r.mu.Lock()
	r.pending.append(list)
	if !r.hold(list.n) {
		r.flush()
	}
	r.mu.Unlock()
}

// expect has what is submitted from now on gather until n more requests have
// come. Called with mu held.
func (r *Ring) expect(n int) {
	if r.expected == 0 && r.pending.empty() {
		r.gathered = time.Now()
	}
	r.expected += n
}

// hold counts n requests that have come, and reports whether they may wait in
// pending for others. Called with mu held.
func (r *Ring) hold(n int) bool {
	first := r.expected == 0 && r.pending.n == n
	last := 0 < r.expected && r.expected <= n
	r.expected = max(r.expected-n, 0)
	if last || r.pending.n >= maxBatch || r.expected == 0 && !r.watched {
		return false
	}
	now := time.Now()
	if first {
		r.gathered = now
	}
	return now.Sub(r.gathered) < maxHold
}

// busy reports whether so much is in flight, or about to be, that an event is
// expected much sooner than the device's latency. It is a guess: some of that may
// hang. Called with mu held.
func (r *Ring) busy() bool { return r.inFlight+r.pending.n+r.expected >= busyDepth }

// atWork reports whether a submitter is inside io_submit, and since when the
// last is. Called with mu held.
func (r *Ring) atWork() (since time.Duration, ok bool) {
	if len(r.submitters) == maxSubmitters {
		return 0, false
	}
	return time.Since(r.began), true
}

// flush sends what is pending, unless others are at it: those that have just
// gone into io_submit look here again when they are back, and if they sleep there
// the completer that watches does. Called with mu held, which it releases in
// between.
func (r *Ring) flush() {
	if since, ok := r.atWork(); ok && r.watched && since < maxHold {
		return
	}
	last := len(r.submitters) - 1
	if last < 0 {
		return // all are at work, and look here again
	}
	s := r.submitters[last]
	r.submitters = r.submitters[:last]
	r.sendRounds(s)
	r.submitters = append(r.submitters, s)
}

// sendRounds sends what is pending and what others add meanwhile, but not for
// ever. Called with mu held, which it releases in between.
func (r *Ring) sendRounds(s *submitter) {
	for range maxRounds {
		if !r.sendPending(s) {
			break
		}
		r.reapParked(s)
		r.endAll(s)
	}
	if !r.pending.empty() && !r.stalled {
		r.workers.Go((*flusher)(r)) // others keep it coming: let this caller go
	}
}

// A flusher is a job that sends what is pending, whoever sleeps in io_submit.
type flusher Ring

func (f *flusher) Run() {
	r := (*Ring)(f)
	r.mu.Lock()
	s := r.takeSpare()
	r.sendRounds(s)
	r.spare = append(r.spare, s)
	r.mu.Unlock()
}

// takeSpare returns the scratch memory for a worker. Called with mu held.
func (r *Ring) takeSpare() *submitter {
	last := len(r.spare) - 1
	if last < 0 {
		return new(submitter)
	}
	s := r.spare[last]
	r.spare = r.spare[:last]
	return s
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
	if r.expected > 0 {
		r.gathered = time.Now() // the rest is a batch of its own
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
	start := time.Now()
	if s.shared {
		r.began = start
	}
	r.mu.Unlock()
	taken, err := r.ioSubmit(s, n, start)
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
func (r *Ring) ioSubmit(s *submitter, n int, start time.Time) (taken int, err error) {
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
	s := r.takeSpare()
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
