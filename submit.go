package asyncfile

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
//   - What a goroutine submits before it waits for it goes out when it waits.
//
// A goroutine that submits and does not wait, but computes, leaves its requests to
// the watchdog; so that this does not happen again, the next promptFor submissions
// go out at once, from a goroutine that is started for them.

// promptFor is for how many submissions a Ring sends at once after it found one
// that nobody had come to wait for.
const promptFor = 1000

// A haste says how soon a submission is to go out, and be reaped.
type haste uint8

const (
	lazily   haste = iota // when its caller comes to wait for it
	together              // with what the caller is about to submit
	promptly              // at once
)

// push takes in what an operation's caller submits. It does not wait for the
// device.
func (l *lane) push(list requestQueue, h haste) {
	if list.empty() {
		return
	}
	r := l.ring
	r.mu.Lock()
	for q := list.pop(); q != nil; q = list.pop() {
		l.add(q)
	}
	r.watchdog.watch()
	switch {
	case h != lazily:
	case r.slots.waiting > 0 || r.closed.Load(): // its slot is waited for, and what was pending has been urged
		h = promptly
	case r.prompt > 0:
		r.prompt--
		h = promptly
	}
	// More than a batch: who has reaped one, and submits as many, is about to come.
	if h == promptly || l.pending() > maxBatch {
		l.urgent = true
		r.rouse()
	}
	r.mu.Unlock()
}

// submit sends requests that no caller waits to send: what goes on, or was
// released by the end of others.
func (r *Ring) submit(list requestQueue) {
	if list.empty() {
		return
	}
	r.mu.Lock()
	r.queue(list)
	r.rouse()
	r.mu.Unlock()
}

// queue makes requests of any lane pending. Called with mu held.
func (r *Ring) queue(list requestQueue) {
	if list.empty() {
		return
	}
	for q := list.pop(); q != nil; q = list.pop() {
		q.lane.add(q)
		q.lane.urgent = true
	}
	r.watchdog.watch()
}

// add makes q pending. Called with mu held.
func (l *lane) add(q *request) {
	q.goes(stagePending)
	l.listOf(q).push(q)
}

func (l *lane) listOf(q *request) *requestQueue {
	if q.plan.opcode.Reads() {
		return &l.reads
	}
	return &l.writes
}

// pending returns how many requests are to be sent. Called with mu held.
func (l *lane) pending() int { return l.reads.n + l.writes.n }

// sendable returns what of the pending requests is for a goroutine that has the
// time to send them, and may send so much. Called with mu held.
func (l *lane) sendable(may load) load {
	at := len(l.senders) + l.starting
	if at == maxSenders-1 {
		may = min(may, reads)
	}
	if l.ring.stalled || at > l.asleep || at >= maxSenders || l.reads.empty() && (may == reads || l.writes.empty()) {
		return nothing
	}
	return may
}

// spawn sends what is pending from a goroutine of its own. Called with mu held.
func (l *lane) spawn() {
	l.starting++
	go l.apart()
}

func (l *lane) sendApart() {
	r := l.ring
	r.mu.Lock()
	l.starting--
	d := r.takeDriver()
	l.send(d, all)
	r.putDriver(d)
	r.rouse()
	r.mu.Unlock()
}

// send hands what is pending to the kernel, and what others add meanwhile, but
// not for ever; of the writes, only if it may. Called with mu held, which it releases
// in between.
func (l *lane) send(d *driver, may load) {
	r := l.ring
	for range maxRounds {
		if may = l.sendable(may); may == nothing {
			break
		}
		l.senders = append(l.senders, d)
		l.sendBatch(d, may)
		l.senders = slices.DeleteFunc(l.senders, func(other *driver) bool { return other == d })
		l.retire()
		r.reapReady(d)
		r.endAll(d)
	}
	if l.sendable(all) != nothing {
		l.urgent = true // others keep it coming: let this goroutine go
	}
}

// sendBatch hands one batch of pending requests to the kernel. Called with mu held,
// which it releases in between.
func (l *lane) sendBatch(d *driver, may load) {
	n := 0
	take := func(list *requestQueue) {
		for n < maxBatch && !list.empty() {
			q := list.pop()
			if q.job == jobSubmit {
				l.ring.toWorker(q, jobSubmit)
				continue
			}
			d.requests[n] = q
			n++
		}
	}
	take(&l.reads)
	if may == all {
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
func (l *lane) enter(d *driver, n int) {
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
			r.observe(q, stageEntering, fmt.Sprintf("%d of %d: %v", i+1, n, &q.plan))
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

// entered marks d.requests[:n] as taken by the kernel, but for those that have
// been reaped already: those are someone else's by now, which is why each is
// known by its generation. Called with mu held.
func (r *Ring) entered(d *driver, n int) {
	for i, q := range d.requests[:n] {
		if q.state == stateEntering && q.gen == d.gens[i] {
			q.state = stateInFlight
			r.entering--
			q.goes(stageInFlight)
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
func (l *lane) putBack(d *driver, from, to int, err error) {
	r, taken := l.ring, from
	if errors.Is(err, syscall.EAGAIN) {
		r.stats.Stalls.Add(1)
		r.stalled = true
	} else {
		r.refuse(d, d.requests[from], err)
		from++
	}
	var back [2]requestQueue
	for _, q := range d.requests[from:to] {
		if r.observed {
			r.observe(q, stagePending, fmt.Sprintf(", since io_submit took %d of %d: %v", taken, to, err))
		}
		if l.listOf(q) == &l.reads {
			back[0].push(q)
		} else {
			back[1].push(q)
		}
	}
	back[0].append(l.reads)
	back[1].append(l.writes)
	l.reads, l.writes = back[0], back[1]
	l.urgent = l.pending() > 0
}

// refuse deals with a request that io_submit answered with err. EINVAL may mean
// that the file has no such operation in AIO, as /proc has no reads and a kernel
// before 4.18 no fsync: an ordinary system call has the result that is wanted.
func (r *Ring) refuse(d *driver, q *request, err error) {
	if errors.Is(err, syscall.EINVAL) && r.broken == nil {
		r.toWorker(q, jobCarry)
		return
	}
	d.end(q, err)
}

// toWorker has a worker do job with q. It never blocks.
func (r *Ring) toWorker(q *request, job job) {
	q.job = job
	q.goes(stageQueued)
	r.stats.Offloaded.Add(1)
	q.lane.workers.Go(q)
}

// submitAlone hands q to the kernel on the calling worker.
func (r *Ring) submitAlone(q *request) {
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
