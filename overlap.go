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

// A span is the blocks that a request touches, from first up to last, and of
// which kind it is: its way may change while it is active.
type span struct {
	first, last int64
	cached      bool
	grows       bool // a cached write beyond the end of the file
	serial      bool // an append that the kernel finds the place for
}

// conflicts reports whether s and t are of different kinds and share a block.
//
// A cached write that makes the file larger shares everything behind it: XFS
// reserves space there (speculative preallocation), which it allocates when the
// pages are written back. A direct read that comes across what is not allocated
// fails with EIO (iomap_dio_iter, fs/iomap/direct-io.c), and a direct write in
// the middle would leave the part behind it so for good.
func (s span) conflicts(t span) bool {
	if s.cached == t.cached {
		return false
	}
	if t.cached {
		s, t = t, s
	}
	return s.first <= t.last && (t.first <= s.last || s.grows)
}

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
	if q.span.cached {
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
	if q.span.cached {
		o.cached++
	}
}

// blocked reports whether q shares a block with a request of the other kind
// that is active or in ahead.
func (o *overlap) blocked(q *request, ahead []*request) bool {
	others := o.cached
	if q.span.cached {
		others = len(o.active) - o.cached
	}
	if others > 0 && q.conflicts(o.active) || q.conflicts(ahead) {
		return true
	}
	for _, r := range ahead { // appends that take turns keep their order
		if q.span.serial && r.span.serial {
			return true
		}
	}
	return false
}

// conflicts reports whether q shares a block with one of list that is of the
// other kind.
func (q *request) conflicts(list []*request) bool {
	for _, r := range list {
		if r.span.conflicts(q.span) {
			return true
		}
	}
	return false
}

// spanOf returns the blocks that q touches. An append that the kernel finds the
// place for touches everything from the end of the file on.
func (o *overlap) spanOf(q *request) span {
	s := span{cached: q.way == cached}
	if q.op.Kind == OpAppend && q.file.appender.serial() {
		s.first, s.last, s.serial = q.file.size()/o.unit, math.MaxInt64, true
		if !q.file.companion.ready() {
			s.first = 0 // alone, as below
		}
		return s
	}
	end := q.end()
	if end < 0 {
		end = math.MaxInt64
	}
	s.first, s.last = q.op.Offset/o.unit, (end-1)/o.unit
	if s.cached && !q.file.companion.ready() {
		s.first, s.last = 0, math.MaxInt64 // alone: it may have to turn O_DIRECT off
	}
	if s.cached {
		// The kernel zeroes what is behind the end of the file in its last block,
		// through the page cache too (ext4_zero_partial_blocks, xfs_zero_range).
		if size := q.file.size(); end > size {
			s.grows = true
			s.first = min(s.first, size/o.unit)
		}
	}
	return s
}
