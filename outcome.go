package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/aio"

// An outcome is a request that has been taken from the kernel, and what with.
type outcome struct {
	q   *request
	res int64 // of the event, where err is nil
	err error // why the kernel never had it, or how it ended
	ending
}

// An ending is what a request that has ended leaves to be done.
type ending struct {
	sink   sink
	result Completion
	epoch  *epoch
	gated  bool
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

// endAll ends what s has gathered. Called with mu held, which it releases in
// between.
func (r *Ring) endAll(s *submitter) {
	if len(s.ended) == 0 {
		return
	}
	r.mu.Unlock()
	more, released := r.settle(s.ended, true)
	s.ended = s.ended[:0]
	r.mu.Lock()
	r.expected = max(r.expected-more.n, 0) // they go on, and wake nobody
	r.pending.append(more)
	r.pending.append(released)
}

// settle ends requests that came back from the kernel, and returns those that
// go on, and those that waited for others to end. It clears list, which then keeps
// nothing reachable. With hurry it leaves to a worker what has much to copy.
func (r *Ring) settle(list []outcome, hurry bool) (more, released requestQueue) {
	ended := list[:0]
	for i := range list {
		q, res, err := list[i].q, list[i].res, list[i].err
		if err == nil && hurry && len(q.bounce) > copyInline {
			q.landing, q.res = true, res
			r.toWorker(q)
			continue
		}
		again := false
		if err == nil {
			again, err = q.advance(res)
		}
		switch {
		case !again:
			ended = append(ended, outcome{q: q, err: err})
		case q.way == cached:
			r.offload(q)
		default:
			q.plan()
			more.push(q)
		}
	}
	released = r.finish(ended)
	clear(list)
	return more, released
}

// finish ends the operation of a request that is no batch's, with err.
func (q *request) finish(err error) {
	r := q.ring
	r.submit(r.finish([]outcome{{q: q, err: err}}))
}

// finish delivers the outcomes of operations that have ended, and returns the
// requests that waited for them and are to be submitted. Their slots are freed
// first, all at once, so that whoever is woken finds one.
func (r *Ring) finish(list []outcome) (released requestQueue) {
	if len(list) == 0 {
		return released
	}
	for i := range list {
		list[i].detach(&released)
	}
	r.recycle(list)
	r.stats.count(list)
	for i := range list {
		list[i].deliver(&released)
	}
	return released
}

// detach takes the request out of what knows it by its slot, and keeps what is
// to be done when the slot is someone else's.
func (o *outcome) detach(released *requestQueue) {
	q, f := o.q, o.q.file
	q.loan.Return()
	q.dropBounce()
	o.ending = ending{
		sink:   q.sink,
		result: Completion{Op: q.op.Kind, File: f, Buf: q.op.Buf, Offset: q.op.Offset, N: q.done, Err: o.err, Tag: q.tag},
		epoch:  q.epoch,
		gated:  q.gated,
	}
	f.dispatchAll(f.leaveBlocks(q), released)
	q.reset()
}

// deliver delivers the outcome, and then releases what waited for that.
func (e *ending) deliver(released *requestQueue) {
	f := e.result.File
	e.sink.deliver(e.result)
	f.dispatchAll(f.leaveOrder(e.epoch, e.gated), released)
	f.leave()
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
