package asyncfile

// slots are the requests of a Ring that no operation uses, and who waits for
// one. Ring.mu guards them.
//
// The slot freed last is taken first: it is the one that is still in a
// processor's cache, and a queue that is rarely full touches few of them.
type slots struct {
	free        []*request
	taken       uint64      // so many times was a slot taken
	first, last *slotWaiter // first come, first served
	spare       *slotWaiter // used before, for who waits next
}

// A slotWaiter is a place in the line for a slot.
type slotWaiter struct {
	given      chan *request // has room for one, so that giving never blocks
	prev, next *slotWaiter
}

// take takes a free slot, or returns nil. While someone waits none is free.
func (s *slots) take() *request {
	last := len(s.free) - 1
	if last < 0 {
		return nil
	}
	q := s.free[last]
	s.free = s.free[:last]
	s.taken++
	return q
}

// put frees a slot, or gives it to who waits for one.
func (s *slots) put(q *request) {
	if w := s.first; w != nil {
		s.remove(w)
		w.given <- q
		return
	}
	s.free = append(s.free, q)
}

// enqueue gets in line.
func (s *slots) enqueue() *slotWaiter {
	w := s.spare
	if w == nil {
		w = &slotWaiter{given: make(chan *request, 1)}
	} else {
		s.spare = w.next
	}
	w.prev, w.next = s.last, nil
	if s.last != nil {
		s.last.next = w
	} else {
		s.first = w
	}
	s.last = w
	return w
}

// leave ends a wait. A slot that was given before goes to who is next.
func (s *slots) leave(w *slotWaiter) {
	select {
	case q := <-w.given:
		s.put(q)
	default:
		s.remove(w)
	}
	s.retire(w)
}

// accept ends a wait for a slot that was given.
func (s *slots) accept(w *slotWaiter) {
	s.taken++
	s.retire(w)
}

func (s *slots) remove(w *slotWaiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		s.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		s.last = w.prev
	}
}

// retire keeps w, whose wait is over, for another.
func (s *slots) retire(w *slotWaiter) {
	w.prev, w.next = nil, s.spare
	s.spare = w
}
