package model

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
)

// A kind is what a step does.
type kind int

const (
	read kind = iota
	readv
	write
	writev
	appends
	syncs
	datasyncs
	stat
	truncate
	preallocate
)

func (k kind) String() string {
	return [...]string{"read", "readv", "write", "writev", "append", "sync", "datasync", "stat", "truncate", "preallocate"}[k]
}

func (k kind) writes() bool { return k == write || k == writev || k == appends }
func (k kind) reads() bool  { return k == read || k == readv }

// A step is one operation of a round, and, when it has been carried out, what
// came of it.
type step struct {
	kind   kind
	off    int64 // of a truncation or a preallocation: the new size
	buf    []byte
	bufs   [][]byte // of a vectored step: its memory, in which buf comes and goes
	via    door
	handle int
	later  bool // the step after it is begun before this one has ended

	// start is before the step began and end after it was seen to have ended,
	// on one clock: a step that ended before another began is before it.
	start, end int64
	n          int
	err        error
	size       int64 // of a stat
}

func (s *step) String() string {
	what := s.kind.String()
	if s.bufs != nil {
		what += fmt.Sprintf(" of %d buffers,", len(s.bufs))
	}
	return fmt.Sprintf("%s %d at %d via %d/%d later %v [%d, %d] = %d, %v", what, len(s.buf), s.off, s.handle, s.via, s.later, s.start, s.end, s.n, s.err)
}

// last returns where the bytes end that the step sets: for a truncation beyond
// every file.
func (s *step) last() int64 {
	if s.kind == truncate {
		return math.MaxInt64
	}
	return s.off + int64(len(s.buf))
}

// newSize returns the size that the file has at least just after s.
func (s *step) newSize() int64 {
	if s.kind == truncate || s.kind == preallocate {
		return s.off
	}
	return s.off + int64(len(s.buf))
}

func (s *step) before(t *step) bool { return s.end < t.start }

// at returns the byte that s sets at pos.
func (s *step) at(pos int64) byte {
	if s.kind == truncate {
		return 0
	}
	return s.buf[pos-s.off]
}

// A history is one round: what the file held before it, and its steps.
type history struct {
	base  []byte
	steps []*step
}

// check compares the outcome of a step with what it may have been.
func (h *history) check(s *step) error {
	switch {
	case s.kind.writes() || s.kind == truncate || s.kind == preallocate:
		if s.err != nil || s.kind.writes() && s.n != len(s.buf) {
			return fmt.Errorf("%v: failed", s)
		}
		if s.kind == appends && len(s.buf) > 0 {
			return h.checkAppend(s)
		}
	case s.kind == stat:
		least, most := h.size(s)
		if s.err != nil || s.size < least || s.size > most {
			return fmt.Errorf("%v: size %d, want %d to %d", s, s.size, least, most)
		}
	case s.kind.reads():
		return h.checkRead(s)
	case s.err != nil:
		return fmt.Errorf("%v: failed", s)
	}
	return nil
}

// size returns the least and the largest size that s, which looks at it, may
// have seen.
func (h *history) size(s *step) (least, most int64) {
	base := &step{kind: preallocate, off: int64(len(h.base)), start: -2, end: -1}
	for _, w := range append([]*step{base}, h.steps...) {
		if w == s || w.start > s.end || !w.kind.writes() && w.kind != truncate && w.kind != preallocate || w.kind.writes() && len(w.buf) == 0 {
			continue
		}
		lo, hi := w.newSize(), w.newSize()
		for _, t := range h.steps {
			if t.kind != truncate || t == w || t.start > s.end || t.before(w) {
				continue
			}
			lo = min(lo, t.off)
			if w.before(t) && t.before(s) {
				hi = min(hi, t.off)
			}
		}
		if w.before(s) {
			least = max(least, lo)
		}
		most = max(most, hi)
	}
	return least, most
}

// checkAppend: behind what had ended, not behind what had not begun, and over
// no other append.
func (h *history) checkAppend(s *step) error {
	least, most := h.size(s)
	for _, t := range h.steps {
		if t.kind == truncate {
			// What an append that is in flight across it goes by is not said.
			most = math.MaxInt64
		}
		if t.kind == appends && len(t.buf) > 0 && t != s && t.off < s.last() && s.off < t.last() && !h.truncated(s, t) {
			return fmt.Errorf("%v: over %v", s, t)
		}
		if t.kind == appends && len(t.buf) > 0 && t.before(s) && t.off >= s.off && !h.truncated(s, t) {
			return fmt.Errorf("%v: before %v", s, t)
		}
	}
	if s.off < least || s.off > most {
		return fmt.Errorf("%v: want it at %d to %d", s, least, most)
	}
	return nil
}

// truncated reports whether the file may have been cut between two appends.
func (h *history) truncated(s, t *step) bool {
	return slices.ContainsFunc(h.steps, func(u *step) bool { return u.kind == truncate })
}

func (h *history) checkRead(s *step) error {
	least, most := h.size(s)
	want := int64(len(s.buf))
	clip := func(size int64) int64 { return max(min(size-s.off, want), 0) }
	if int64(s.n) < clip(least) || int64(s.n) > clip(most) {
		return fmt.Errorf("%v: want %d to %d bytes", s, clip(least), clip(most))
	}
	if s.err != nil && s.err != io.EOF || (s.err == io.EOF) != (s.n < len(s.buf)) {
		return fmt.Errorf("%v: want io.EOF where there is less than asked, and only there", s)
	}
	if at := bytes.IndexByte(s.buf, canary); at >= 0 {
		return fmt.Errorf("%v: byte %d was never put into the bounce buffer that it came from", s, at)
	}
	return h.checkBytes(s, s.buf[:s.n])
}

// checkBytes checks that each byte that s saw was set by a write that may have
// been the last before it, or was there at the start.
func (h *history) checkBytes(s *step, got []byte) error {
	from, to := s.off, s.off+int64(len(got))
	var over []*step
	edges := []int64{from, to}
	for _, w := range h.steps {
		if (w.kind.writes() && len(w.buf) > 0 || w.kind == truncate) && w.start < s.end && w.off < to && w.last() > from {
			over = append(over, w)
			edges = append(edges, max(w.off, from), min(w.last(), to))
		}
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	for i := range len(edges) - 1 {
		a, b := edges[i], edges[i+1]
		var cover []*step
		old := true
		for _, w := range over {
			if w.off <= a && w.last() >= b {
				cover = append(cover, w)
				old = old && !w.before(s)
			}
		}
		maybe := cover[:0:0]
		for _, w := range cover {
			if !slices.ContainsFunc(cover, func(u *step) bool { return w.before(u) && u.before(s) }) {
				maybe = append(maybe, w)
			}
		}
		if len(maybe) == 1 && !old && maybe[0].kind != truncate {
			if bytes.Equal(got[a-from:b-from], maybe[0].buf[a-maybe[0].off:][:b-a]) {
				continue
			}
		} else if len(maybe) == 0 && b <= int64(len(h.base)) && bytes.Equal(got[a-from:b-from], h.base[a:b]) {
			continue
		}
	next:
		for pos := a; pos < b; pos++ {
			v := got[pos-from]
			if old && v == h.before(pos) {
				continue
			}
			for _, w := range maybe {
				if v == w.at(pos) {
					continue next
				}
			}
			return h.explain(s, pos, v, old, maybe)
		}
	}
	return nil
}

// before returns the byte at pos before the round.
func (h *history) before(pos int64) byte {
	if pos < int64(len(h.base)) {
		return h.base[pos]
	}
	return 0
}

func (h *history) explain(s *step, pos int64, v byte, old bool, maybe []*step) error {
	text := fmt.Sprintf("%v: byte %d is %#x", s, pos, v)
	if old {
		text += fmt.Sprintf("\n\tmay be %#x as before", h.before(pos))
	} else {
		text += fmt.Sprintf("\n\tmay not be %#x as before", h.before(pos))
	}
	for _, w := range maybe {
		text += fmt.Sprintf("\n\tmay be %#x of %v", w.at(pos), w)
	}
	for _, w := range h.steps {
		if !slices.Contains(maybe, w) && w.kind.writes() && w.off <= pos && w.last() > pos {
			text += fmt.Sprintf("\n\tmay not be %#x of %v", w.at(pos), w)
		}
	}
	return fmt.Errorf("%s", text)
}

// String lists the round in the order in which its steps were begun.
func (h *history) String() string {
	steps := slices.SortedFunc(slices.Values(h.steps), func(a, b *step) int { return int(a.start - b.start) })
	text := fmt.Sprintf("the round, on %d bytes:", len(h.base))
	for _, s := range steps {
		text += fmt.Sprintf("\n\t%v", s)
	}
	return text
}
