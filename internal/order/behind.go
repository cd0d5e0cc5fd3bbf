package order

// Behind returns what e, which is in the sequence, is behind: the entries ahead of
// it that conflict with it, by the table and by nothing else. So it tells why an
// entry waits, and checks those that go, which are behind none. A Sync is behind
// writes, whose entries may serve other requests by now: unsettled is how many. It
// looks at all that is ahead, and allocates.
func (s *Sequence[T]) Behind(e *Entry[T]) (ahead []*Entry[T], unsettled int) {
	if e.kind == Sync {
		for x := s.oldest; x != nil && e.state == waiting; x = x.next {
			unsettled += x.writes
			if x.sync == e {
				break
			}
		}
		return nil, unsettled
	}
	for x := s.first; x != nil && x != e; x = x.next {
		if s.conflict(x, e) {
			ahead = append(ahead, x)
		}
	}
	return ahead, 0
}

// conflict reports whether the table has an entry for a and b, which are no Syncs.
func (s *Sequence[T]) conflict(a, b *Entry[T]) bool {
	switch {
	case a.kind == Exclusive || b.kind == Exclusive, a.kind == Append && b.kind == Append:
		return true
	case a.kind.side() == b.kind.side():
		return false
	}
	unit := s.lines.unit
	return a.from/unit <= (b.to-1)/unit && b.from/unit <= (a.to-1)/unit
}
