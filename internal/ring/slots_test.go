package ring

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// newSlots returns so many slots, and lanes that share them.
func newSlots(depth, lanes int) (*slots, []*Lane) {
	s := new(slots)
	requests := make([]*Request, depth)
	for i := range requests {
		requests[i] = &Request{slot: uint32(i)}
	}
	s.init(requests)
	for range lanes {
		s.lanes = append(s.lanes, new(Lane))
	}
	return s, s.lanes
}

// takeAll takes slots for l until there is none that it may have.
func (s *slots) takeAll(l *Lane) (taken []*Request) {
	for q := s.take(l); q != nil; q = s.take(l) {
		taken = append(taken, q)
	}
	return taken
}

// What a lane gets when it asks for all, and the others after it.
func TestSlotsAreShared(t *testing.T) {
	for _, test := range []struct {
		depth int
		want  []int // of the lanes, in the order in which they ask
	}{
		{1, []int{1}},
		{16, []int{16}},
		{16, []int{12, 4}},
		{16, []int{12, 4, 0}},
		{17, []int{13, 4}},
		{4, []int{3, 1}},
		{3, []int{3, 0}},
		{2, []int{2, 0}},
		{1, []int{1, 0}},
		{4, []int{3, 1, 0, 0, 0}}, // more lanes than slots: one is a share
		{8, []int{6, 1, 1, 0, 0, 0, 0, 0, 0, 0}},
	} {
		s, lanes := newSlots(test.depth, len(test.want))
		var got []int
		for _, l := range lanes {
			got = append(got, len(s.takeAll(l)))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%d slots are shared as %v, want %v", test.depth, got, test.want)
		}
	}
}

// The lines of the lanes are served in the order of arrival, as far as each may
// have a slot; within a lane always.
func TestSlotLines(t *testing.T) {
	s, lanes := newSlots(8, 2)
	a, b := lanes[0], lanes[1]
	held := s.takeAll(a)
	if len(held) != 6 {
		t.Fatalf("%d taken, want 6", len(held))
	}
	a1, a2 := s.enqueue(a), s.enqueue(a)
	if q := s.take(a); q != nil {
		t.Error("a slot before those who wait")
	}
	b1 := s.take(b) // b has its share: of the last quarter
	b2 := s.take(b)
	b3, b4 := s.enqueue(b), s.enqueue(b)
	if b1 == nil || b2 == nil || s.waiting != 4 {
		t.Fatalf("%v, %v, %d waiting", b1, b2, s.waiting)
	}
	wantGiven := func(want ...*slotWaiter) {
		t.Helper()
		for i, w := range []*slotWaiter{a1, a2, b3, b4} {
			if got := len(w.given) == 1; got != slices.Contains(want, w) {
				t.Errorf("%d has a slot: %v", i, got)
			}
		}
	}
	s.put(held[0]) // a has more than its share, and what is free is less than a quarter
	wantGiven(b3)
	s.put(held[1])
	wantGiven(b3, b4)
	s.put(held[2])
	s.put(held[3]) // now a has 2 of its share of 4
	wantGiven(a1, a2, b3, b4)
	if s.waiting != 0 || a.line.held != 4 || b.line.held != 4 {
		t.Errorf("%d waiting, %d and %d held", s.waiting, a.line.held, b.line.held)
	}
}

func TestSlotLineIsLeft(t *testing.T) {
	for leaves := range 3 { // the first, the middle, the last
		s, lanes := newSlots(1, 1)
		held := s.take(lanes[0])
		line := []*slotWaiter{s.enqueue(lanes[0]), s.enqueue(lanes[0]), s.enqueue(lanes[0])}
		s.leave(line[leaves])
		for i, w := range line {
			if i == leaves {
				continue
			}
			s.put(held)
			if len(w.given) != 1 {
				t.Fatalf("%d left, %d was not served next", leaves, i)
			}
			held = <-w.given
			s.retire(w)
		}
		if lanes[0].line.first != nil || lanes[0].line.last != nil || s.waiting != 0 {
			t.Errorf("%d left, and the line is not empty", leaves)
		}
		// A slot that was given to one who leaves goes to the next.
		w, next := s.enqueue(lanes[0]), s.enqueue(lanes[0])
		s.put(held)
		s.leave(w)
		if len(w.given) != 0 || len(next.given) != 1 {
			t.Error("what was given is not passed on")
		}
	}
}

// Whatever happens, slots are neither lost nor doubled, and who may have one that is
// free does not wait.
func TestSlotsAtRandom(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		depth, n := 1+rnd.IntN(12), 1+rnd.IntN(5)
		s, lanes := newSlots(depth, n)
		var held []*Request
		var waits []*slotWaiter
		for step := range 500 {
			l := lanes[rnd.IntN(n)]
			switch rnd.IntN(4) {
			case 0, 1:
				if q := s.take(l); q != nil {
					held = append(held, q)
				} else {
					waits = append(waits, s.enqueue(l))
				}
			case 2:
				if len(held) > 0 {
					i := rnd.IntN(len(held))
					s.put(held[i])
					held = slices.Delete(held, i, i+1)
				}
			case 3:
				if len(waits) > 0 {
					i := rnd.IntN(len(waits))
					s.leave(waits[i])
					waits = slices.Delete(waits, i, i+1)
				}
			}
			waits = slices.DeleteFunc(waits, func(w *slotWaiter) bool {
				select {
				case q := <-w.given:
					held = append(held, q)
					s.retire(w)
					return true
				default:
					return false
				}
			})
			seen := map[*Request]bool{}
			for _, q := range append(slices.Clone(held), s.free...) {
				seen[q] = true
			}
			if len(seen) != depth || len(held)+len(s.free) != depth || s.waiting != len(waits) {
				t.Fatalf("seed %d, step %d: %d held, %d free of %d, %d waiting, not %d", seed, step, len(held), len(s.free), depth, s.waiting, len(waits))
			}
			if rnd.IntN(100) == 0 { // all waits end, with nothing; some are left at the same time
				s.dismiss()
				for i, w := range waits {
					if i%2 == 0 {
						s.leave(w)
					} else if q := <-w.given; q != nil {
						t.Fatalf("seed %d, step %d: a wait that was ended has a slot", seed, step)
					}
				}
				waits = waits[:0]
			}
			for i, l := range lanes {
				if l.line.first != nil && s.fair(l) {
					t.Fatalf("seed %d, step %d: lane %d waits for what it may have", seed, step, i)
				}
			}
		}
		for _, q := range held {
			s.put(q)
		}
		if n > 1 && len(waits) > 0 && len(s.free) == depth {
			t.Fatalf("seed %d: all is free, and %d wait", seed, len(waits))
		}
	}
}
