package order

import (
	"cmp"
	"slices"
)

// A Wait is an entry that waits.
type Wait[T any] struct {
	Of    T
	Ahead []T // what it conflicts with, in the order in which it came
}

// Waiting returns what waits, in the order in which it came, and for what, by the
// table at the top. It looks at everything that is there, and allocates. A Sync may
// wait for more than is named: for writes that are released and not settled.
func (s *Sequence[T]) Waiting() []Wait[T] {
	var there []*Entry[T]
	for e := s.first; e != nil; e = e.next {
		there = append(there, e)
	}
	for e := s.oldest; e != s.newest; e = e.next {
		there = append(there, e.sync)
	}
	slices.SortFunc(there, func(a, b *Entry[T]) int { return cmp.Compare(a.number, b.number) })
	var list []Wait[T]
	for i, e := range there {
		if e.state != waiting {
			continue
		}
		w := Wait[T]{Of: e.Of}
		for _, a := range there[:i] {
			switch {
			case a.kind == Sync:
			case e.kind == Sync && a.kind.writes(), e.kind != Sync && s.conflict(a, e):
				w.Ahead = append(w.Ahead, a.Of)
			}
		}
		list = append(list, w)
	}
	return list
}
