package order

import (
	"errors"
	"fmt"
)

// Check returns an error if the Sequence contradicts itself. It looks at
// everything that is there, and allocates.
func (s *Sequence[T]) Check() error {
	waits := map[*Entry[T]]waits{}
	holders, err := s.checkLines(waits)
	return errors.Join(err, s.checkEntries(waits, holders), s.checkEpochs())
}

// A waits is in how many lines an entry waits.
type waits struct{ turns, blocks int }

// checkLines counts in which lines the entries wait, and returns how many holders
// the lines of blocks have.
func (s *Sequence[T]) checkLines(all map[*Entry[T]]waits) (holders int, err error) {
	count := func(l *line[T], one waits) {
		if l.first != nil && (l.holders == 0 || l.first.side == l.side) {
			err = fmt.Errorf("order: the first in line %+v need not wait", l.key)
		}
		for p := l.first; p != nil; p = p.next {
			w := all[p.entry]
			all[p.entry] = waits{w.turns + one.turns, w.blocks + one.blocks}
		}
	}
	if count(&s.turns, waits{turns: 1}); s.turns.holders > 1 {
		err = fmt.Errorf("order: %d Appends go", s.turns.holders)
	}
	n := 0
	for _, l := range s.lines.buckets {
		for ; l != nil; l = l.next {
			if l.holders <= 0 {
				err = fmt.Errorf("order: line %+v has %d holders", l.key, l.holders)
			}
			count(l, waits{blocks: 1})
			holders += l.holders
			n++
		}
	}
	if n != s.lines.n {
		err = fmt.Errorf("order: %d lines, %d counted", n, s.lines.n)
	}
	return holders, err
}

// checkEntries compares the entries with the lines in which they wait, and with
// how many hold those of blocks.
func (s *Sequence[T]) checkEntries(all map[*Entry[T]]waits, holders int) error {
	var present [2]int
	var prev, wall *Entry[T]
	for e := s.first; e != nil; prev, e = e, e.next {
		if e.prev != prev || prev != nil && prev.number >= e.number {
			return fmt.Errorf("order: entry %d is not in its place", e.number)
		}
		if e.kind == Exclusive && wall == nil {
			wall = e
		}
		w := all[e]
		goes := e.missing == 0 && (wall == nil || wall == e && prev == nil)
		if int(e.missing) != w.turns+w.blocks || e.state == absent || (e.state == going) != goes {
			return fmt.Errorf("order: %v %d is in state %d, misses %d, waits in %+v", e.kind, e.number, e.state, e.missing, w)
		}
		if wall != nil {
			if e.inLines || e.missing > 0 {
				return fmt.Errorf("order: %v %d stands in lines behind the wall", e.kind, e.number)
			}
			continue
		}
		present[e.kind.side()]++
		switch {
		case e.inLines && prev != nil && !prev.inLines:
			return fmt.Errorf("order: %v %d stands in lines, the one ahead does not", e.kind, e.number)
		case e.inLines:
			for range s.lines.of(e) {
				holders--
			}
			holders += w.blocks
		case present[direct] > 0 && present[cached] > 0:
			return fmt.Errorf("order: %v %d does not stand in lines", e.kind, e.number)
		}
	}
	if prev != s.last || wall != s.wall || present != s.present || holders != 0 {
		return fmt.Errorf("order: %v are present, %v counted; %d too many hold lines", present, s.present, holders)
	}
	return nil
}

func (s *Sequence[T]) checkEpochs() error {
	for e := s.oldest; e != s.newest; e = e.next {
		if e.writes < 0 || e == s.oldest && e.writes == 0 {
			return fmt.Errorf("order: a Sync waits for %d writes", e.writes)
		}
		if x := e.sync; x == nil || x.kind != Sync || x.state != waiting {
			return errors.New("order: no Sync waits for an epoch that one has closed")
		}
	}
	if s.newest.writes < 0 || s.newest.sync != nil {
		return fmt.Errorf("order: the open epoch has %d writes", s.newest.writes)
	}
	return nil
}
