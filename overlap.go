package asyncfile

import "math"

// An overlap keeps requests that go through the page cache and requests that do
// not off each other's blocks. Two of one kind may share a block: the kernel
// serialises writes to a page, and the device those to a block. One of each may
// not: the page would be written back over what the device was just given
// (open(2), NOTES, warns of the mixture), or io_submit would wait for the
// write-back.
//
// A request waits for those of the other kind that it shares a block with, and
// behind those of them that already wait. Who shares none is not held up.
// AsyncFile.mu guards it. A nil overlap admits everything.
type overlap struct {
	unit    int64      // bytes that make a block for this purpose: a page, or the file system's block if larger
	active  []*request // admitted, in no order
	cached  int        // how many of active go through the page cache
	waiting []*request // in the order in which they came
}

// A span is the blocks that a request touches, from first up to last.
type span struct{ first, last int64 }

func (s span) meets(t span) bool { return s.first <= t.last && t.first <= s.last }

// admit lets q go, or makes it wait and reports false.
func (o *overlap) admit(q *request) bool {
	if o == nil || q.op.Kind.syncs() {
		return true
	}
	q.span = o.spanOf(q)
	q.spanned = true
	if o.blocked(q, o.waiting) {
		o.waiting = append(o.waiting, q)
		return false
	}
	o.enter(q)
	return true
}

// leave is called when q has ended, and returns those that need not wait for it
// any more, in the order in which they came.
func (o *overlap) leave(q *request) (ready []*request) {
	if o == nil || !q.spanned {
		return nil
	}
	q.spanned = false
	last := len(o.active) - 1
	o.active[q.place] = o.active[last]
	o.active[q.place].place = q.place
	o.active[last] = nil
	o.active = o.active[:last]
	if q.way == cached {
		o.cached--
	}
	still := o.waiting[:0]
	for _, w := range o.waiting {
		if o.blocked(w, still) {
			still = append(still, w)
		} else {
			o.enter(w)
			ready = append(ready, w)
		}
	}
	clear(o.waiting[len(still):])
	o.waiting = still
	return ready
}

func (o *overlap) enter(q *request) {
	q.place = len(o.active)
	o.active = append(o.active, q)
	if q.way == cached {
		o.cached++
	}
}

// blocked reports whether q shares a block with a request of the other kind
// that is active or in ahead.
func (o *overlap) blocked(q *request, ahead []*request) bool {
	others := o.cached
	if q.way == cached {
		others = len(o.active) - o.cached
	}
	return others > 0 && q.conflicts(o.active) || q.conflicts(ahead)
}

// conflicts reports whether q shares a block with one of list that is of the
// other kind.
func (q *request) conflicts(list []*request) bool {
	for _, r := range list {
		if (r.way == cached) != (q.way == cached) && r.span.meets(q.span) {
			return true
		}
	}
	return false
}

// spanOf returns the blocks that q touches. An append that the kernel finds the
// place for touches everything from the end of the file on.
func (o *overlap) spanOf(q *request) span {
	if q.op.Kind == OpAppend && q.file.appender.serial() {
		return span{q.file.size() / o.unit, math.MaxInt64}
	}
	end := q.end()
	if end < 0 {
		end = math.MaxInt64
	}
	return span{q.op.Offset / o.unit, (end - 1) / o.unit}
}
