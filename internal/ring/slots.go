package ring

import "sync"

// slots are the requests of a Ring that no operation uses, and who waits for
// one. Ring.mu guards them.
//
// The slot freed last is taken first: it is the one that is still in a
// processor's cache, and a queue that is rarely full touches few of them.
//
// Slots are for those who come first, but for one rule: while a Ring has files on
// several devices, a lane that has its share takes none of the last quarter. So a
// device that answers nothing never holds all of them.
type slots struct {
	free  []*Request
	all   int    // free or taken
	taken uint64 // so many times was a slot taken

	lanes   []*Lane   // the Ring's
	waiting int       // in the lines of all lanes
	tickets uint64    // numbers those who wait
	spare   sync.Pool // of *slotWaiter, whose wait is over
}

// A slotLine is the slots of one lane, and who waits there for one.
type slotLine struct {
	held        int
	first, last *slotWaiter
}

// A slotWaiter is a place in a line.
type slotWaiter struct {
	lane       *Lane
	ticket     uint64
	given      chan *Request // has room for one, so that giving never blocks
	prev, next *slotWaiter
}

func (s *slots) init(requests []*Request) {
	s.all = len(requests)
	s.free = append(s.free, requests...)
}

// fair reports whether there is a slot that l may have.
func (s *slots) fair(l *Lane) bool {
	free, lanes := len(s.free), len(s.lanes)
	return free > 0 && (lanes < 2 || l.line.held < max(1, s.all/lanes) || free > s.all/4)
}

// take takes a free slot for l, or returns nil.
func (s *slots) take(l *Lane) *Request {
	if l.line.first != nil || !s.fair(l) {
		return nil
	}
	s.taken++
	return s.pop(l)
}

func (s *slots) pop(l *Lane) *Request {
	last := len(s.free) - 1
	q := s.free[last]
	s.free = s.free[:last]
	q.lane = l
	l.line.held++
	return q
}

// put frees a slot.
func (s *slots) put(q *Request) {
	q.lane.line.held--
	q.lane = nil
	s.free = append(s.free, q)
	s.serve()
}

// serve gives free slots to those who wait, first come first served as far as
// their lanes may have one.
func (s *slots) serve() {
	for s.waiting > 0 {
		var w *slotWaiter
		for _, l := range s.lanes {
			if first := l.line.first; first != nil && s.fair(l) && (w == nil || first.ticket < w.ticket) {
				w = first
			}
		}
		if w == nil {
			return
		}
		s.remove(w)
		s.taken++
		w.given <- s.pop(w.lane)
	}
}

// enqueue gets in the line of l.
func (s *slots) enqueue(l *Lane) *slotWaiter {
	w, ok := s.spare.Get().(*slotWaiter)
	if !ok {
		w = &slotWaiter{given: make(chan *Request, 1)}
	}
	s.tickets++
	w.lane, w.ticket = l, s.tickets
	w.prev, w.next = l.line.last, nil
	if w.prev != nil {
		w.prev.next = w
	} else {
		l.line.first = w
	}
	l.line.last = w
	s.waiting++
	return w
}

// leave ends a wait early. A slot that was given before goes to who is next.
func (s *slots) leave(w *slotWaiter) {
	select {
	case q := <-w.given:
		if q != nil {
			s.put(q)
		}
	default:
		s.remove(w)
	}
	s.retire(w)
}

// dismiss ends all waits, with no slot.
func (s *slots) dismiss() {
	for _, l := range s.lanes {
		for l.line.first != nil {
			w := l.line.first
			s.remove(w)
			w.given <- nil
		}
	}
}

func (s *slots) remove(w *slotWaiter) {
	line := &w.lane.line
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		line.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		line.last = w.prev
	}
	s.waiting--
}

// retire keeps w, whose wait is over, for another. It needs no lock.
func (s *slots) retire(w *slotWaiter) {
	w.lane, w.prev, w.next = nil, nil, nil
	s.spare.Put(w)
}
