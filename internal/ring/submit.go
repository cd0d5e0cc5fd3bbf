package ring

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// How many requests go out in one io_submit decides what they cost: on a virtual
// disk the doorbell alone costs as much as ten of them (docs/performance.md). But
// nobody is to wait for a batch to fill. Batches form where nobody waits:
//
//   - While a sender is inside io_submit, what comes is its next batch.
//   - While the completer ends what it has reaped, and lets the goroutines that it
//     woke run, what they submit is the completer's next batch.
//   - What a goroutine submits before it waits for it goes out when it waits; and
//     while the completer is in the kernel, a turn later, with what those submit
//     that were woken with it.
//
// A goroutine that submits and does not wait, but computes, leaves its requests to
// the watchdog; so that this does not happen again, the next promptFor submissions
// go out at once, from a goroutine that is started for them.

// promptFor is for how many submissions a Ring sends at once after it found one
// that nobody had come to wait for.
const promptFor = 1000

// A Haste says how soon a submission is to go out, and be reaped.
type Haste uint8

const (
	Lazily   Haste = iota // when its caller comes to wait for it
	Together              // with what the caller is about to submit
	Promptly              // at once
)

// Push takes in what an operation's caller submits. It does not wait for the
// device.
func (l *Lane) Push(list Requests, h Haste) {
	if list.Empty() {
		return
	}
	r := l.ring
	r.mu.Lock()
	for q := list.Pop(); q != nil; q = list.Pop() {
		l.add(q)
	}
	r.watchdog.watch()
	switch {
	case h != Lazily:
	case r.slots.waiting > 0 || r.closed.Load(): // its slot is waited for, and what was pending has been urged
		h = Promptly
	case r.prompt > 0:
		r.prompt--
		h = Promptly
	}
	// More than a batch: who has reaped one, and submits as many, is about to come.
	if h == Promptly || l.pending() > MaxBatch {
		l.urgent = true
		r.rouse()
	}
	r.mu.Unlock()
}

// Submit sends requests that no caller waits to send: what goes on, or was
// released by the end of others.
func (r *Ring) Submit(list Requests) {
	if list.Empty() {
		return
	}
	r.mu.Lock()
	r.queue(list)
	r.rouse()
	r.mu.Unlock()
}

// queue makes requests of any lane pending. Called with mu held.
func (r *Ring) queue(list Requests) {
	if list.Empty() {
		return
	}
	for q := list.Pop(); q != nil; q = list.Pop() {
		q.lane.add(q)
		q.lane.urgent = true
	}
	r.watchdog.watch()
}

// add makes q pending. Called with mu held.
func (l *Lane) add(q *Request) {
	q.Goes(StagePending)
	l.listOf(q).Push(q)
}

func (l *Lane) listOf(q *Request) *Requests {
	if q.Plan.Opcode.Reads() {
		return &l.reads
	}
	return &l.writes
}

// pending returns how many requests are to be sent. Called with mu held.
func (l *Lane) pending() int { return l.reads.n + l.writes.n }

// sendable returns what of the pending requests is for a goroutine that has the
// time to send them, and may send so much. Called with mu held.
func (l *Lane) sendable(may Load) Load {
	at := len(l.senders) + l.starting
	if at == maxSenders-1 {
		may = min(may, Reads)
	}
	if l.ring.stalled || at > l.asleep || at >= maxSenders || l.reads.Empty() && (may == Reads || l.writes.Empty()) {
		return Nothing
	}
	return may
}

// spawn sends what is pending from a goroutine of its own. Called with mu held.
func (l *Lane) spawn() {
	l.starting++
	go l.apart()
}

func (l *Lane) sendApart() {
	r := l.ring
	r.mu.Lock()
	l.starting--
	d := r.takeDriver()
	l.send(d, All)
	r.putDriver(d)
	r.rouse()
	r.mu.Unlock()
}

// send hands what is pending to the kernel, and what others add meanwhile, but
// not for ever; of the writes, only if it may. Called with mu held, which it releases
// in between.
func (l *Lane) send(d *driver, may Load) {
	r := l.ring
	for range maxRounds {
		if may = l.sendable(may); may == Nothing {
			break
		}
		l.senders = append(l.senders, d)
		l.sendBatch(d, may)
		l.senders = slices.DeleteFunc(l.senders, func(other *driver) bool { return other == d })
		l.retire()
		r.reapReady(d)
		r.endAll(d)
	}
	if l.sendable(All) != Nothing {
		l.urgent = true // others keep it coming: let this goroutine go
	}
}

// sendBatch hands one batch of pending requests to the kernel. Called with mu held,
// which it releases in between.
func (l *Lane) sendBatch(d *driver, may Load) {
	n := 0
	take := func(list *Requests) {
		for n < MaxBatch && !list.Empty() {
			q := list.Pop()
			if q.job == JobSubmit {
				l.ring.ToWorker(q, JobSubmit)
				continue
			}
			d.requests[n] = q
			n++
		}
	}
	take(&l.reads)
	if may == All {
		take(&l.writes)
	}
	if l.pending() == 0 {
		l.urgent, l.seen = false, false
	}
	if n > 0 {
		l.enter(d, n)
	}
}

// enter hands d.requests[:n] to the kernel. Those that it refused are in d.ended
// afterwards. Called with mu held, which it releases around io_submit.
func (l *Lane) enter(d *driver, n int) {
	r := l.ring
	if r.broken != nil {
		for _, q := range d.requests[:n] {
			d.end(q, r.broken)
		}
		return
	}
	if r.checker != nil {
		r.checker.entersKernel(r, d)
	}
	for i, q := range d.requests[:n] {
		r.register(q)
		d.iocbs[i], d.gens[i] = &q.iocb, q.gen
		if r.observed {
			r.observe(q, StageEntering, fmt.Sprintf("%d of %d: %v", i+1, n, &q.Plan))
		}
	}
	r.inside++
	r.watchdog.calls++
	d.call = r.watchdog.calls
	r.watchdog.watch()
	r.mu.Unlock()
	taken, err := r.ioSubmit(d, n)
	r.mu.Lock()
	d.call = 0
	if d.asleep {
		d.asleep = false
		l.asleep--
		r.asleep--
	}
	if r.inside--; r.inside == 0 {
		r.outside.Broadcast()
	}
	r.entered(d, taken)
	if taken < n {
		r.inFlight -= n - taken
		r.entering -= n - taken
		for _, q := range d.requests[taken:n] {
			q.state = stateIdle
		}
		l.putBack(d, taken, n, err)
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
func (r *Ring) register(q *Request) {
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

// entered marks d.requests[:n] as taken by the kernel, but for those that have
// been reaped already: those are someone else's by now, which is why each is
// known by its generation. Called with mu held.
func (r *Ring) entered(d *driver, n int) {
	for i, q := range d.requests[:n] {
		if q.state == stateEntering && q.gen == d.gens[i] {
			q.state = stateInFlight
			r.entering--
			q.Goes(StageInFlight)
		}
	}
}

// ioSubmit hands over d.iocbs[:n], as many as the kernel takes, and returns how
// many those are and the error of the first that it did not take. A request
// that it took may have ended already, and its slot be someone else's.
func (r *Ring) ioSubmit(d *driver, n int) (taken int, err error) {
	start := time.Now()
	for taken < n && err == nil {
		var k int
		k, err = r.context.Submit(d.iocbs[taken:n])
		r.stats.Submits.Add(1)
		if k == 0 && err == nil {
			err = syscall.EAGAIN // cannot be; not to be repeated at once if it is
		}
		taken += max(k, 0)
	}
	r.stats.SubmitNanos.Add(uint64(time.Since(start)))
	return taken, err
}

// putBack deals with d.requests[from:to], the first of which the kernel refused
// with err. EAGAIN is not about that request: all stay pending, in order. Any
// other error is about it alone: the rest goes out with the next batch.
func (l *Lane) putBack(d *driver, from, to int, err error) {
	r, taken := l.ring, from
	if errors.Is(err, syscall.EAGAIN) {
		r.stats.Stalls.Add(1)
		r.stalled = true
	} else {
		r.refuse(d, d.requests[from], err)
		from++
	}
	var back [2]Requests
	for _, q := range d.requests[from:to] {
		if r.observed {
			r.observe(q, StagePending, fmt.Sprintf(", since io_submit took %d of %d: %v", taken, to, err))
		}
		if l.listOf(q) == &l.reads {
			back[0].Push(q)
		} else {
			back[1].Push(q)
		}
	}
	back[0].Append(l.reads)
	back[1].Append(l.writes)
	l.reads, l.writes = back[0], back[1]
	l.urgent = l.pending() > 0
}

// refuse deals with a request that io_submit answered with err. EINVAL may mean
// that the file has no such operation in AIO, as /proc has no reads and a kernel
// before 4.18 no fsync: an ordinary system call has the result that is wanted.
func (r *Ring) refuse(d *driver, q *Request, err error) {
	if errors.Is(err, syscall.EINVAL) && r.broken == nil {
		r.ToWorker(q, JobCarry)
		return
	}
	d.end(q, err)
}

// ToWorker has a worker do job with q. It never blocks.
func (r *Ring) ToWorker(q *Request, job Job) {
	q.job = job
	if r.observed {
		r.observe(q, StageQueued, q.task())
	}
	r.stats.Offloaded.Add(1)
	q.lane.workers.Go(q)
}

// submitAlone hands q to the kernel on the calling worker.
func (r *Ring) submitAlone(q *Request) {
	r.mu.Lock()
	d := r.takeDriver()
	d.requests[0] = q
	q.lane.enter(d, 1)
	r.reapReady(d)
	r.endAll(d)
	r.putDriver(d)
	r.rouse()
	r.mu.Unlock()
}

// A Requests is a first-in first-out list of n requests.
type Requests struct {
	head, tail *Request
	n          int
}

// Empty reports whether there is none.
func (l *Requests) Empty() bool { return l.n == 0 }

// Push adds q at the end. q is in no other list.
func (l *Requests) Push(q *Request) {
	q.next = nil
	l.Append(Requests{q, q, 1})
}

// Append adds the requests of more at the end, which is not to be used any more.
func (l *Requests) Append(more Requests) {
	switch {
	case more.Empty():
	case l.Empty():
		*l = more
	default:
		l.tail.next = more.head
		l.tail = more.tail
		l.n += more.n
	}
}

// Pop takes the first request out, and returns nil where there is none.
func (l *Requests) Pop() *Request {
	q := l.head
	if q != nil {
		l.head, q.next = q.next, nil
		if l.n--; l.n == 0 {
			l.tail = nil
		}
	}
	return q
}
