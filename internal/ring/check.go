package ring

import "fmt"

// A checker checks the invariants of one Ring: that each request goes where the
// drawing in doc.go has an arrow, that slots are counted, and that the token has
// one owner. fail is told what was found, and what that means.
type checker struct{ fail func(meaning, found string) }

func (c *checker) broken(meaning, found string, args ...any) {
	c.fail(meaning, fmt.Sprintf(found, args...))
}

// walks checks that the drawing in doc.go has an arrow from where q is.
func (c *checker) walks(q *Request, to Stage) {
	if from := q.walk.stage; from.next()&(1<<to) == 0 {
		c.broken("A request is in two places, such as twice in flight: its buffer or its result is someone else's.",
			"%s, which is %v, is to be %v", q.name(), from, to)
	}
}

// name names q by what it is for, or, where that is nothing, by its slot.
func (q *Request) name() string {
	if q.Client != nil {
		return q.Client.String()
	}
	return fmt.Sprintf("slot %d", q.slot)
}

// slots compares counts. A sender may still sleep for a lane that is gone, whose
// operations have ended. Called with Ring.mu held.
func (c *checker) slots(r *Ring) {
	held, asleep := 0, 0
	for _, l := range r.lanes {
		held += l.line.held
		asleep += l.asleep
	}
	if free, all := len(r.slots.free), len(r.requests); free+held != all || r.inFlight < r.entering || r.inFlight > held {
		c.broken("A slot is lost or serves two operations.",
			"of %d slots %d are free and %d in use; %d requests are in flight, of which io_submit has not answered for %d", all, free, held, r.inFlight, r.entering)
	}
	if asleep > r.asleep || r.asleep > r.inside {
		c.broken("The Ring may wait for events that never come.",
			"%d senders sleep in io_submit, %d of lanes that are there; %d are in it", r.asleep, asleep, r.inside)
	}
}

// table counts the slots one by one. Called with Ring.mu held, each time that the
// watchdog looks, and when the Ring closes.
func (c *checker) table(r *Ring) {
	c.slots(r)
	const meaning = "A slot is lost or serves two operations."
	free := make([]bool, len(r.requests))
	for _, q := range r.slots.free {
		if free[q.slot] || q.lane != nil || q.state != stateIdle {
			c.broken(meaning, "slot %d is free twice, or is free and in use", q.slot)
		}
		free[q.slot] = true
	}
	inFlight, entering := 0, 0
	for i, q := range r.requests {
		if q.slot != uint32(i) || q.lane == nil && !free[i] {
			c.broken(meaning, "slot %d, of request %d, is neither free nor in use", i, q.slot)
		}
		if q.state != stateIdle {
			inFlight++
		}
		if q.state == stateEntering {
			entering++
		}
	}
	if inFlight != r.inFlight || entering != r.entering {
		c.broken("The Ring may wait for events that never come, or leave some in the kernel.",
			"%d requests are in flight, %d counted; io_submit has not answered for %d of them, %d counted", inFlight, r.inFlight, entering, r.entering)
	}
}

const tokenMeaning = "Two that reap at once take the same events, and one that sleeps in io_submit has nobody reap."

// reapsReady checks that d may reap. Called with Ring.mu held.
func (c *checker) reapsReady(r *Ring, d *driver) {
	if r.token || r.reaper != nil || d.call != 0 {
		c.broken(tokenMeaning, "a goroutine is about to reap: that the token is taken is %v, that another reaps %v, that it is in io_submit itself %v",
			r.token, r.reaper != nil, d.call != 0)
	}
}

// takesToken is reapsReady for who is to wait, and takes the token.
func (c *checker) takesToken(r *Ring, d *driver) {
	c.reapsReady(r, d)
	r.reaper = d
}

// givesToken checks that d is who reaped. Called with Ring.mu held.
func (c *checker) givesToken(r *Ring, d *driver) {
	if r.reaper != d || !r.token {
		c.broken(tokenMeaning, "a goroutine has reaped: that the token is taken is %v, that it took it %v", r.token, r.reaper == d)
	}
	r.reaper = nil
}

// entersKernel checks that d goes into io_submit without the token. Called with
// Ring.mu held.
func (c *checker) entersKernel(r *Ring, d *driver) {
	if r.reaper == d {
		c.broken(tokenMeaning, "a goroutine with the right to reap is about to call io_submit")
	}
}
