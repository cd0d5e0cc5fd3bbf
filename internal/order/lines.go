package order

import "iter"

// A line is a queue in which each entry conflicts with all of the other side.
// Those of one side hold it together. Behind them waits the first of the other
// side, and behind that, in order, everyone who came later. An entry may go when it
// waits in no line. To join a line costs the same however many stand there, and to
// leave it costs as much for each entry that this lets through.
//
// A line for each block would do, but a range may have any number of blocks, or no
// end. So 2^fanoutBits blocks make a node, as many of those a larger one, and so on,
// as in a segment tree. The largest nodes that make up a range are whole in it; a
// node that contains one of them is partial in it. Two ranges share a block just
// where some node is whole in one of them, and whole or partial in the other. To say
// that with queues takes two lines a node:
//
//	             stand in it the direct entries  and the cached entries
//	first line   in whose range it is whole      in whose range it is whole or partial
//	second line  in whose range it is partial    in whose range it is whole
//
// On each level a range has less than 2^(fanoutBits+1) whole nodes, half as many if
// it has no end, and at most two partial ones. There are as many levels as the
// largest offset asks for: five for 4 GiB, seven for 1 TiB.
//
// Measured with 3, 4 and 6: 3 and 4 cost the same; 6 makes single blocks cheaper by
// a quarter, and ranges without end three times as dear.
const fanoutBits = 4

// A key names a line.
type key struct {
	node   uint64 // number on its level
	level  uint8  // 0: the node is a block
	second bool   // of its two lines
}

// A line is empty, or has holders. Where some wait, the first is of the other side.
type line[T any] struct {
	key         key
	next        *line[T] // of the same bucket, or the next spare
	side        side     // of the holders
	holders     int
	first, last *place[T] // of those that wait
}

// A place is where an entry waits in a line.
type place[T any] struct {
	entry *Entry[T]
	side  side
	next  *place[T] // behind it, or the next spare
}

// lines is the lines in which somebody stands, by key. It is a hash table of its
// own: Go's map takes three times as long as keys come and go, and allocates.
type lines[T any] struct {
	unit   int64 // bytes of a block
	bits   uint  // fanoutBits, or fewer in tests
	height uint  // levels: enough for every block that has been seen

	buckets     []*line[T] // a power of two
	n           int
	spareLines  *line[T]
	sparePlaces *place[T]
}

func newLines[T any](unit int64) lines[T] {
	return lines[T]{unit: unit, bits: fanoutBits, height: 1}
}

// lineUp has e join the lines of its blocks. Before it those do that are just ahead
// and came while there was one side only. Each does so once, but for when a range
// farther out than any before it makes more levels: then all line up anew.
func (s *Sequence[T]) lineUp(e *Entry[T]) {
	x, height := e, s.lines.heightFor(e)
	for x.prev != nil && !x.prev.inLines {
		x = x.prev
		height = max(height, s.lines.heightFor(x))
	}
	if height > s.lines.height {
		s.lines.reset(height)
		x = s.first
	}
	for ; ; x = x.next {
		x.inLines = true
		for k := range s.lines.of(x) {
			s.join(s.lines.get(k), x, x.kind.side())
		}
		if x == e {
			return
		}
	}
}

// leaveLines takes e, which goes, out of the lines of its blocks.
func (s *Sequence[T]) leaveLines(e *Entry[T]) {
	for k := range s.lines.of(e) {
		l := s.lines.find(k)
		s.leave(*l)
		if (*l).holders == 0 {
			s.lines.drop(l)
		}
	}
}

// join puts e, which is of side own, at the end of l.
func (s *Sequence[T]) join(l *line[T], e *Entry[T], own side) {
	if l.holders == 0 || l.first == nil && l.side == own {
		l.side = own
		l.holders++
		return
	}
	p := s.lines.sparePlaces
	if p == nil {
		p = new(place[T])
	} else {
		s.lines.sparePlaces = p.next
	}
	*p = place[T]{entry: e, side: own}
	if l.first == nil {
		l.first = p
	} else {
		l.last.next = p
	}
	l.last = p
	e.missing++
}

// leave takes a holder out of l. After the last one those of the other side at
// the head of l hold it.
func (s *Sequence[T]) leave(l *line[T]) {
	if l.holders--; l.holders > 0 || l.first == nil {
		return
	}
	l.side = l.first.side
	for l.first != nil && l.first.side == l.side {
		l.holders++
		if e := s.lines.pop(l); e.missing == 0 {
			s.start(e)
		}
	}
}

// pop takes the first that waits out of l.
func (ls *lines[T]) pop(l *line[T]) *Entry[T] {
	p := l.first
	l.first = p.next
	e := p.entry
	e.missing--
	*p = place[T]{next: ls.sparePlaces}
	ls.sparePlaces = p
	return e
}

// of yields the keys of the lines in which e stands, one after the other.
func (ls *lines[T]) of(e *Entry[T]) iter.Seq[key] {
	return func(yield func(key) bool) {
		first, last := ls.blocks(e)
		own := e.kind.side()
		lo, hi, more := first, last, true // the nodes of this level that are in the range, but for whole ones below
		for level := range ls.height {
			shift := level * ls.bits
			if level > 0 { // no block is partial
				// A partial node holds the first or the last block.
				a, b := first>>shift, last>>shift
				startsA, endsB := a<<shift == first, (b+1)<<shift-1 == last
				if !startsA || a == b && !endsB {
					yield(key{a, uint8(level), own == direct})
				}
				if a != b && !endsB {
					yield(key{b, uint8(level), own == direct})
				}
			}
			// Those that do not make up a node of the next level are whole.
			top, mask := level == ls.height-1, uint64(1)<<ls.bits-1
			for ; more && (top || lo&mask != 0); lo++ {
				yieldWhole(lo, level, own, yield)
				more = lo < hi
			}
			for ; more && hi&mask != mask; hi-- {
				yieldWhole(hi, level, own, yield)
				more = lo < hi
			}
			lo, hi = lo>>ls.bits, hi>>ls.bits
		}
	}
}

func yieldWhole(node uint64, level uint, own side, yield func(key) bool) {
	yield(key{node, uint8(level), false})
	if own == cached && level > 0 {
		yield(key{node, uint8(level), true})
	}
}

// blocks returns the first and the last block of e. A range without end has all
// that there are nodes for.
func (ls *lines[T]) blocks(e *Entry[T]) (first, last uint64) {
	first = uint64(e.from / ls.unit)
	if e.to == End {
		return first, 1<<(ls.height*ls.bits) - 1
	}
	return first, uint64((e.to - 1) / ls.unit)
}

// heightFor returns how many levels it takes to have the blocks of e.
func (ls *lines[T]) heightFor(e *Entry[T]) uint {
	first, last := ls.blocks(e)
	if e.to == End {
		last = first
	}
	height := ls.height
	for last>>(height*ls.bits) != 0 {
		height++
	}
	return height
}

// find returns where the line of k is, or is to be.
func (ls *lines[T]) find(k key) **line[T] {
	l := &ls.buckets[k.hash()&uint64(len(ls.buckets)-1)]
	for *l != nil && (*l).key != k {
		l = &(*l).next
	}
	return l
}

func (k key) hash() uint64 {
	h := k.node<<5 ^ uint64(k.level)<<1
	if k.second {
		h ^= 1
	}
	return h * 0x9e3779b97f4a7c15 >> 32 // 2^64 by the golden ratio: Knuth, 6.4
}

// get returns the line of k, an empty one if there is none.
func (ls *lines[T]) get(k key) *line[T] {
	if ls.n >= len(ls.buckets) {
		ls.grow()
	}
	at := ls.find(k)
	if *at != nil {
		return *at
	}
	l := ls.spareLines
	if l == nil {
		l = new(line[T])
	} else {
		ls.spareLines = l.next
	}
	*l = line[T]{key: k}
	*at = l
	ls.n++
	return l
}

// drop takes the line at at, which is empty, out of the table.
func (ls *lines[T]) drop(at **line[T]) {
	l := *at
	*at = l.next
	l.next, ls.spareLines = ls.spareLines, l
	ls.n--
}

func (ls *lines[T]) grow() {
	old := ls.buckets
	ls.buckets = make([]*line[T], max(64, 2*len(old)))
	for _, l := range old {
		for l != nil {
			next := l.next
			at := ls.find(l.key)
			l.next, *at = nil, l
			l = next
		}
	}
}

// reset empties all lines, for a new height.
func (ls *lines[T]) reset(height uint) {
	for i := range ls.buckets {
		for at := &ls.buckets[i]; *at != nil; ls.drop(at) {
			for l := *at; l.first != nil; ls.pop(l) {
			}
		}
	}
	ls.height = height
}
