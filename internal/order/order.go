// Package order decides what of a file may be in flight together.
//
// The requests of a file come in a sequence, and there is one rule: a request
// may go when none ahead of it that is still there conflicts with it. So it passes
// none that it conflicts with, whether that one goes or waits, and waits for no
// other. What conflicts is a table. The row is the request, the column is one
// ahead of it:
//
//	           Read   Write   Cached  Append  Sync  Exclusive
//	Read       -      -       block   block   -     alone
//	Write      -      -       block   block   -     alone
//	Cached     block  block   -       -       -     alone
//	Append     block  block   -       turn    -     alone
//	Sync       -      result  result  result  -     -
//	Exclusive  alone  alone   alone   alone   -     alone
//
// Nothing: direct requests may share a block, since the device serialises writes
// to it. So may writes through the page cache, since the kernel serialises writes
// to a page.
//
// block: a direct request and a write through the page cache conflict if they
// share a block. The page would be written back over what the device was just given
// (open(2), NOTES, warns of the mixture), or io_submit would wait for the
// write-back. Some writes touch more than their data, and enter with that range:
//   - A Cached write that makes the file larger has everything behind it. XFS
//     reserves space there (speculative preallocation), which it allocates when the
//     pages are written back. A direct read that comes across what is not allocated
//     fails with EIO (iomap_dio_iter, fs/iomap/direct-io.c), and a direct write in
//     the middle would leave the part behind it so for good.
//   - It also has the block in which the file ended before: the kernel zeroes the
//     rest of that through the page cache (ext4_zero_partial_blocks, xfs_zero_range).
//   - An Append lands where the kernel says: it has everything from the end of the
//     file on.
//
// turn: Appends go one at a time. The kernel would take them in any order, and
// they are to land in the order of the calls.
//
// alone: an Exclusive changes the size of the file, or what is allocated to it.
// Truncate and fallocate, to punch a hole as well, hold the inode lock while they wait
// for the direct I/O in flight, and io_submit waits for that lock. In the sequence they wait where
// nobody blocks. One kind of Exclusive is ahead of direct writes beyond the end of
// a file on ext4, and extends it. Such a write would block its io_submit until
// the data is on disk, and with it every other io_submit on the file
// (ext4_dio_write_checks, fs/ext4/file.c); a write inside the file does not.
// Extensions gather: as long as one waits, and is the last Exclusive that entered,
// more writes may enter behind it that rely on it, for a larger size. XFS does not
// block, but Truncate is alone there, too: to make the file larger under a direct
// write beyond its end zeroes what that writes.
//
// result: a Sync waits until the results of the writes ahead of it have been
// delivered, since neither fsync(2) nor IOCB_CMD_FSYNC waits for a direct write in
// flight, and a Sync ends after the writes that it covers. Nothing waits for a Sync.
package order

import (
	"cmp"
	"math"
	"slices"
)

// A Kind says what a request conflicts with.
type Kind uint8

const (
	Read      Kind = iota // direct: past the page cache
	Write                 // direct
	Cached                // a write through the page cache
	Append                // a write through the page cache that the kernel finds the place for
	Sync                  // a barrier for the writes ahead of it
	Exclusive             // alone among reads and writes: a change of the file's size
)

// End is the end of a range that has none: everything behind its start.
const End = math.MaxInt64

// writes reports whether a Sync waits for requests of kind k.
func (k Kind) writes() bool { return k == Write || k == Cached || k == Append }

// A side is a way into the file. Requests of one side may share blocks.
type side uint8

const (
	direct side = iota
	cached
)

// side returns the side of k, which is one that has blocks.
func (k Kind) side() side {
	if k == Cached || k == Append {
		return cached
	}
	return direct
}

// String returns the name of the kind.
func (k Kind) String() string {
	return [...]string{"Read", "Write", "Cached", "Append", "Sync", "Exclusive"}[k]
}

// An Entry is the place of one request in a Sequence. It is a part of the
// request, and serves one after the other. Its Sequence owns it from Enter to
// Release.
type Entry[T any] struct {
	Of T // the request

	kind       Kind
	state      state
	inLines    bool   // it stands in the lines of its blocks
	missing    int32  // the lines in which it waits
	number     uint64 // in the order in which entries came
	from, to   int64  // bytes
	prev, next *Entry[T]
	epoch      *Epoch[T] // of a write
}

type state uint8

const (
	absent state = iota
	waiting
	going
)

// A Sequence is the requests of a file, in the order in which they came. The
// caller holds a lock around every call. It allocates only when more requests
// are there, or wait, than ever before.
//
// An Exclusive is a wall: what is behind it is looked at when it has ended. In
// front of the wall, entries stand in lines for their blocks (lines.go), but only
// once both sides are there: until then no block can be in dispute.
type Sequence[T any] struct {
	first, last *Entry[T] // of all but the Syncs
	wall        *Entry[T] // the first Exclusive
	present     [2]int    // in front of the wall, on each side
	entered     uint64

	oldest, newest, spare *Epoch[T]

	turns   line[T] // of the Appends
	turn    side    // of the last one that joined it
	lines   lines[T]
	started []*Entry[T] // what the last Release or Settle returned
}

// An Epoch is the writes between two Syncs. The later one waits for it, and for
// all before it.
type Epoch[T any] struct {
	writes int       // not settled
	sync   *Entry[T] // which closed it and waits, but in the newest
	next   *Epoch[T] // the later one, or the next spare
}

// New returns an empty Sequence. unit is how many bytes make a block, at least 1:
// a page, or the file system's block if that is larger.
func New[T any](unit int64) *Sequence[T] {
	e := new(Epoch[T])
	return &Sequence[T]{oldest: e, newest: e, lines: newLines[T](unit)}
}

// Enter puts e at the end of the sequence and reports whether it may go now. If
// not, a later Release or Settle returns it. A read or write has a range of bytes,
// 0 <= from < to; the other kinds ignore it.
func (s *Sequence[T]) Enter(e *Entry[T], kind Kind, from, to int64) (goes bool) {
	if e.state != absent {
		panic("order: Enter of an entry that is in a sequence")
	}
	s.entered++
	e.kind, e.state, e.number = kind, waiting, s.entered
	if kind == Sync {
		return s.enterSync(e)
	}
	e.from, e.to, e.inLines, e.missing = from, to, false, 0
	if kind.writes() {
		e.epoch = s.newest
		s.newest.writes++
	}
	e.prev, e.next = s.last, nil
	if s.last != nil {
		s.last.next = e
	} else {
		s.first = e
	}
	s.last = e
	return s.wall == nil && s.admit(e)
}

// Release takes out e, whose request has ended, and returns the entries that may
// go now, in the order in which they came; the next call reuses the slice. A write
// still counts for Syncs: the caller settles its Epoch, which Release returns, when
// the result has been delivered. By then e may serve another request.
func (s *Sequence[T]) Release(e *Entry[T]) (ready []*Entry[T], owed *Epoch[T]) {
	if e.state != going {
		panic("order: Release of an entry that does not go")
	}
	s.started = s.started[:0]
	e.state = absent
	owed, e.epoch = e.epoch, nil
	if e.kind == Sync {
		return nil, nil
	}
	s.unlink(e)
	if e.kind == Exclusive {
		s.wall = nil
		for x := s.first; x != nil && s.wall == nil; x = x.next {
			if s.admit(x) {
				s.started = append(s.started, x)
			}
		}
		return s.started, nil
	}
	s.present[e.kind.side()]--
	if e.inLines {
		s.leaveLines(e)
	}
	if e.kind == Append {
		s.leave(&s.turns)
	}
	if len(s.started) > 1 {
		slices.SortFunc(s.started, func(a, b *Entry[T]) int { return cmp.Compare(a.number, b.number) })
	}
	if s.wall != nil && s.frontEmpty() {
		s.start(s.wall)
	}
	return s.started, owed
}

// Settle counts out a write, by the Epoch that Release returned, and returns the
// Syncs that may go now, in the order in which they came; the next call reuses
// the slice. One fsync does for all of them. A nil Epoch, that of other kinds, owes
// nothing.
func (s *Sequence[T]) Settle(owed *Epoch[T]) (ready []*Entry[T]) {
	if owed == nil {
		return nil
	}
	s.started = s.started[:0]
	owed.writes--
	for s.oldest.writes == 0 && s.oldest != s.newest {
		e := s.oldest
		s.start(e.sync)
		s.oldest = e.next
		*e = Epoch[T]{next: s.spare}
		s.spare = e
	}
	return s.started
}

// enterSync closes the epoch with e, unless there is nothing to wait for.
func (s *Sequence[T]) enterSync(e *Entry[T]) (goes bool) {
	n := s.newest
	if s.oldest == n && n.writes == 0 {
		e.state = going
		return true
	}
	n.sync = e
	if n.next = s.spare; n.next != nil {
		s.spare = s.spare.next
	} else {
		n.next = new(Epoch[T])
	}
	s.newest = n.next
	return false
}

// admit takes e, which is next, in front of the wall, or makes it the wall. It
// reports whether e may go.
func (s *Sequence[T]) admit(e *Entry[T]) (goes bool) {
	if e.kind == Exclusive {
		s.wall = e
		if !s.frontEmpty() {
			return false
		}
		e.state = going
		return true
	}
	own := e.kind.side()
	s.present[own]++
	if e.kind == Append {
		s.turn = 1 - s.turn // so that no two that follow one another hold the line together
		s.join(&s.turns, e, s.turn)
	}
	if s.present[1-own] > 0 {
		s.lineUp(e)
	}
	if e.missing > 0 {
		return false
	}
	e.state = going
	return true
}

// frontEmpty reports whether nothing is in front of the wall.
func (s *Sequence[T]) frontEmpty() bool { return s.present[direct]+s.present[cached] == 0 }

// start lets e go, which waited.
func (s *Sequence[T]) start(e *Entry[T]) {
	e.state = going
	s.started = append(s.started, e)
}

func (s *Sequence[T]) unlink(e *Entry[T]) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		s.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		s.last = e.prev
	}
	e.prev, e.next = nil, nil
}
