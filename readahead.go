package asyncfile

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seed-39be8cca/asyncfile/internal/file"
)

const (
	// recentReads is among how many reads that fit no pattern a new one is looked for.
	recentReads = 8

	// maxPatterns is how many patterns a ReaderAt follows.
	maxPatterns = 32

	// maxFresh is how many segments one ReadAt begins.
	maxFresh = 16

	// nearBy is how many bytes may be left out between two reads of a row that has gone
	// on for some time: on a disk they are read as quickly as passed over.
	nearBy = 32 << 10

	// patternLife is after how many reads that fit others a pattern loses its memory
	// to who needs some.
	patternLife = 256
)

// A segment is a part of the file that is read ahead.
type segment struct {
	from, to int64
	once     sync.Once // who comes first begins it
	buf      []byte    // from a pool; set before op
	op       atomic.Pointer[Future]
	pins     atomic.Int32 // calls that copy from it; taken with ReaderAt.mu held
}

// takes returns how many bytes of memory the segment takes.
func (s *segment) takes() int64 { return int64(file.BounceSize(int(s.to - s.from))) }

// begin begins to read the segment, unless somebody has.
func (s *segment) begin(f *AsyncFile) {
	s.once.Do(func() {
		s.buf = f.ring.files.Bounces.Get(int(s.to - s.from))
		s.op.Store(f.ReadAt(s.buf, s.from))
	})
}

// urge has the segment read, and what was begun before it, without the caller.
func (s *segment) urge() {
	if op := s.op.Load(); op != nil {
		op.Result()
	}
}

// copy copies to p what the segment has from off on, once it is there, and reports
// how many bytes that is and whether it had to wait.
func (s *segment) copy(p []byte, off int64) (n int, waited bool) {
	s.once.Do(func() {}) // waits for who begins it
	op := s.op.Load()
	if op == nil {
		return 0, false // the ReaderAt was closed before
	}
	waited = !op.isDone()
	have, err := op.Wait()
	if at := int(off - s.from); at < have && !errors.Is(err, ErrBufferLost) {
		n = copy(p, s.buf[at:have])
	}
	return n, waited
}

// done reports whether the segment has been read, and nobody copies from it.
func (s *segment) done() bool {
	op := s.op.Load()
	if op == nil || s.pins.Load() > 0 {
		return false
	}
	_, _, ok := op.Result()
	return ok
}

// free gives the memory back of a segment that has been read.
func (s *segment) free(f *AsyncFile) {
	if _, err := s.op.Load().Wait(); s.pins.Load() == 0 && !errors.Is(err, ErrBufferLost) {
		f.ring.files.Bounces.Put(s.buf)
	}
}

// A pattern is reads that follow each other, and what is read ahead of them: a row
// of segments that touch, or, where the reads are apart, one for each read to come.
type pattern struct {
	up   bool  // to higher offsets
	step int64 // from one read to the next, less than 0 downwards; 0 where segments touch
	at   int64 // where the next read is expected: to begin, or, of a row downwards, to end
	used uint64
	run  int   // how well reads have followed it of late; 0 is not at all
	gap  int64 // what the next read of a row may leave out

	ahead  []*segment // in the order in which they are expected to be used
	next   int64      // where the next one begins, or, of a row downwards, ends
	size   int        // of it, in bytes
	window int        // how many there are to be
}

// find returns the segment that holds off, or nil.
func (p *pattern) find(off int64) *segment {
	for _, s := range p.ahead {
		if s.from <= off && off < s.to {
			return s
		}
	}
	return nil
}

// first returns the offset in s that p comes to first.
func (s *segment) first(p *pattern) int64 {
	if p.up || p.step != 0 {
		return s.from
	}
	return s.to - 1
}

// expects reports whether a read is the next of the pattern.
func (p *pattern) expects(off int64, n int) bool {
	switch {
	case p.step != 0:
		return off == p.at
	case p.up:
		return off >= p.at && off-p.at <= p.gap
	}
	return off+int64(n) <= p.at && p.at-off-int64(n) <= p.gap
}

// take takes note of a read that the pattern expects, or has in memory, and drops what
// lies behind it. Only while most are in turn it is read ahead of, and further each time:
// chance hits, of random reads of a small file, are to cause nothing.
func (p *pattern) take(r *ReaderAt, off int64, n int, inTurn bool) {
	if r.clock-p.used > patternLife {
		p.run, p.gap, p.window, p.size = 0, 0, 2, min(p.size, max(2*n, int(r.align)))
	}
	p.used, p.gap = r.clock, min(max(2*p.gap, int64(n)), nearBy)
	if inTurn {
		p.run = min(p.run+2, 8)
	} else if p.run /= 2; p.step != 0 {
		return
	}
	switch {
	case p.step > 0:
		p.at = max(p.at, off+p.step)
		p.next = max(p.next, p.at)
	case p.step < 0:
		p.at = min(p.at, off+p.step)
		p.next = min(p.next, p.at)
	case p.up:
		p.at = max(p.at, off+int64(n))
		p.next = max(p.next, off-off%r.align)
	default:
		p.at = min(p.at, off)
		p.next = min(p.next, off+int64(n))
	}
	for len(p.ahead) > 0 {
		s := p.ahead[0]
		behind := s.to <= off
		if !p.up {
			behind = s.from >= off+int64(n)
		}
		if !behind || !s.done() {
			break
		}
		r.drop(p)
		if p.run > 0 {
			p.window *= 2
		}
		if p.run > 0 && p.step == 0 {
			p.size = min(2*p.size, r.block)
		}
	}
}

// drop forgets the first segment of p, which is done.
func (r *ReaderAt) drop(p *pattern) {
	s := p.ahead[0]
	r.taken -= s.takes()
	s.free(r.file)
	p.ahead = slices.Delete(p.ahead, 0, 1)
}

// plan returns the next segment of p, or nil where there is none.
func (p *pattern) plan(r *ReaderAt) *segment {
	from, to := p.next, p.next+int64(p.size)
	if !p.up && p.step == 0 {
		from, to = max(p.next-int64(p.size), 0), p.next
	}
	if from < 0 || from >= r.size || to <= from {
		return nil
	}
	from, to = from-from%r.align, min(to, r.size)
	return &segment{from: from, to: to + (r.align-to%r.align)%r.align}
}

// skip goes past s.
func (p *pattern) skip(s *segment) {
	switch {
	case p.step != 0:
		p.next += p.step
	case p.up:
		p.next = s.to
	default:
		p.next = s.from
	}
}

// extend plans what is to be read ahead, and appends it to fresh. What another pattern
// has is left out.
func (p *pattern) extend(r *ReaderAt, fresh []*segment) []*segment {
	live := 0
	for _, other := range r.patterns {
		if len(other.ahead) > 0 || other == p {
			live++
		}
	}
	p.window = min(p.window, max(2, int(r.memory/int64(r.block))/live))
	for p.run > 0 && len(p.ahead) < p.window && len(fresh) < cap(fresh) {
		s := p.plan(r)
		if s == nil {
			break
		}
		if other := r.find(s.first(p)); other != nil {
			p.skip(other)
			continue
		}
		if !r.reserve(s.takes()) {
			break
		}
		p.skip(s)
		p.ahead = append(p.ahead, s)
		fresh = append(fresh, s)
	}
	return fresh
}

// reserve takes n bytes of the memory, if need be from patterns that are not used
// any more.
func (r *ReaderAt) reserve(n int64) bool {
	for i := len(r.patterns) - 1; i >= 0 && r.taken+n > r.memory; i-- {
		r.retire(r.patterns[i])
	}
	if r.taken+n > r.memory {
		return false
	}
	r.taken += n
	return true
}

// find returns the segment of any pattern that holds off, or nil. Called with mu held.
func (r *ReaderAt) find(off int64) *segment {
	for _, p := range r.patterns {
		if s := p.find(off); s != nil {
			return s
		}
	}
	return nil
}

// retire takes the memory of a pattern that is not used any more.
func (r *ReaderAt) retire(p *pattern) {
	for r.clock-p.used > patternLife && len(p.ahead) > 0 && p.ahead[0].done() {
		r.drop(p)
	}
}

// A recentRead is one that fitted no pattern.
type recentRead struct {
	off int64
	n   int // 0 where there was none
}

// expect takes note of a read. It returns the segment that holds its beginning, to be
// copied from, or nil; and the segments that are to be begun.
func (r *ReaderAt) expect(off int64, n int, fresh []*segment) (*segment, []*segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, errReaderAtClosed
	}
	r.clock++
	p, inTurn := r.patternOf(off, n)
	if p == nil {
		return nil, nil, nil
	}
	p.take(r, off, n, inTurn)
	fresh = p.extend(r, fresh)
	s := r.find(off)
	if s != nil {
		s.pins.Add(1)
	}
	return s, fresh, nil
}

// patternOf returns the pattern that a read belongs to, the first in the list from then
// on, or nil; and whether the read is its next, not one that it has in memory.
func (r *ReaderAt) patternOf(off int64, n int) (p *pattern, inTurn bool) {
	i := slices.IndexFunc(r.patterns, func(p *pattern) bool { return p.expects(off, n) })
	if inTurn = i >= 0; !inTurn {
		i = slices.IndexFunc(r.patterns, func(p *pattern) bool { return p.find(off) != nil })
	}
	if i >= 0 {
		p := r.patterns[i]
		copy(r.patterns[1:i+1], r.patterns[:i])
		r.patterns[0] = p
		return p, inTurn
	}
	if p = r.discover(off, n); p == nil {
		r.recent[r.clock%recentReads] = recentRead{off, n}
		return nil, false
	}
	if len(r.patterns) == maxPatterns {
		last := r.patterns[maxPatterns-1]
		if r.retire(last); len(last.ahead) > 0 {
			return nil, false
		}
		r.patterns = r.patterns[:maxPatterns-1]
	}
	r.patterns = slices.Insert(r.patterns, 0, p)
	p.used = r.clock
	if p.step != 0 {
		return nil, false // not before it has come true
	}
	return p, true
}

// discover returns the pattern that a read makes together with recent ones, or nil:
// two in a row, or three at equal distances.
func (r *ReaderAt) discover(off int64, n int) *pattern {
	for _, last := range r.recent {
		if last.n == 0 || last.off == off {
			continue
		}
		if last.off+int64(last.n) == off {
			return r.newRow(true, off, n)
		}
		step := off - last.off
		for _, first := range r.recent {
			if first.n == 0 || last.off-first.off != step {
				continue
			}
			if max(step, -step) <= int64(n)+nearBy {
				p := r.newRow(step > 0, off, n)
				p.gap = max(step, -step)
				return p
			}
			return &pattern{up: step > 0, step: step, at: off + step, next: off + 2*step, size: n, window: 2}
		}
	}
	return nil
}

// newRow returns a row from a read on, which is to be served by it unless it is large.
func (r *ReaderAt) newRow(up bool, off int64, n int) *pattern {
	p := &pattern{up: up, at: off, next: off - off%r.align, size: min(max(2*n, int(r.align)), r.block), window: 2}
	if !up {
		p.at, p.next = off+int64(n), min(off+int64(n), r.size)
	}
	if n > r.block {
		p.window = 2 * (n/r.block + 1)
		if p.next = off + int64(n); !up {
			p.next = off
		}
	}
	return p
}
