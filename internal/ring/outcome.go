package ring

import (
	"fmt"
)

// copyInline is the most bytes that are copied out of a bounce buffer where others
// wait meanwhile.
const copyInline = 64 << 10

// An outcome is a request that has been taken from the kernel, and what with.
type outcome struct {
	q   *Request
	res int64 // of the event, where err is nil
	err error // why the kernel never had it, or will never tell of it

	client Client // once it has parted from its request
}

func (d *driver) end(q *Request, err error) { d.ended = append(d.ended, outcome{q: q, err: err}) }

// endAll ends what d has gathered. Called with mu held, which it releases in
// between.
func (r *Ring) endAll(d *driver) {
	if len(d.ended) == 0 {
		return
	}
	r.mu.Unlock()
	ready := r.settle(d.ended, true)
	d.ended = d.ended[:0]
	r.mu.Lock()
	r.queue(ready)
}

// settle ends requests that came back from the kernel, and returns those that go
// on, and those that waited for others to end. It clears list, which then keeps
// nothing reachable. With hurry it leaves to a worker what has much to copy.
func (r *Ring) settle(list []outcome, hurry bool) (ready Requests) {
	over := list[:0]
	for i := range list {
		o := list[i]
		if o.err == nil && hurry && o.q.Plan.Copies > copyInline {
			o.q.landing, o.q.res = true, o.res
			r.ToWorker(o.q, o.q.job)
			continue
		}
		switch o.q.Client.Advance(o.res, o.err) {
		case Again:
			ready.Push(o.q)
		case Ended:
			over = append(over, o)
		case Held:
		}
	}
	ready.Append(r.finish(over))
	clear(list)
	return ready
}

// finish delivers the outcomes of operations that have ended, and returns the
// requests that waited for them and are to be submitted. Their slots are freed
// first, all at once, so that whoever is woken finds one.
func (r *Ring) finish(list []outcome) (ready Requests) {
	if len(list) == 0 {
		return ready
	}
	var sum Tally
	for i := range list {
		o := &list[i]
		o.q.Loan.Return()
		o.q.Goes(StageEnded)
		o.client = o.q.Client
		done, more := o.client.Release()
		sum.add(done)
		ready.Append(more)
		o.q.reset()
	}
	r.recycle(list)
	r.stats.count(len(list), sum)
	for i := range list {
		ready.Append(list[i].client.Deliver())
	}
	r.told(len(list))
	return ready
}

// abort gives up the context: io_getevents answers with an error for which there
// is no remedy, such as a system call filter that was installed since. io_destroy
// waits for what is in flight, whose buffers are free from then on, and every
// request gets err from now on. Where io_destroy is refused, too, the kernel keeps
// these buffers. The token is never given back. Called with mu held, which it
// releases in between.
func (r *Ring) abort(d *driver, err error) {
	if r.broken != nil {
		return
	}
	r.token, r.broken = true, err // from here on nobody goes into io_submit,
	r.awaitSubmits()              // and now nobody is there
	r.mu.Unlock()
	refused := r.context.Destroy()
	r.mu.Lock()
	r.stalled = false
	r.sweep(d, refused != nil)
	for _, l := range r.lanes {
		l.urgent = true
	}
}

// sweep ends what is in flight on a context that is gone; or is not, and has kept
// their buffers. Called with mu held.
func (r *Ring) sweep(d *driver, kept bool) {
	err := r.broken
	if kept {
		err = fmt.Errorf("%w: %w", ErrBufferLost, r.broken)
	}
	for _, q := range r.requests {
		if q.state == stateInFlight {
			q.state = stateIdle
			r.inFlight--
			if kept {
				r.lose(q)
			}
			d.end(q, err)
		}
	}
}
