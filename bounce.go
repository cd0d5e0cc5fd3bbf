package asyncfile

import (
	"iter"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

const (
	// copyInline is the most bytes that the completer copies out of a bounce
	// buffer. More would hold up those who wait for other requests.
	copyInline = 64 << 10

	// straightMin is how much of a bounced request, in bytes, has to fit O_DIRECT
	// by itself to be worth a submission of its own instead of copying.
	straightMin = 256 << 10
)

// planBounced plans a part of a request that O_DIRECT does not take as it is:
// the blocks that hold it, by way of an aligned buffer; or, where what is left
// begins on a block boundary in memory that fits, whole blocks of it straight.
func (q *request) planBounced() {
	q.dropBounce()
	unit := q.file.unit(q.op.Kind)
	rest := q.want - q.done
	before := int(q.at % int64(unit)) // bytes of the first block that are not asked for
	toBoundary := (unit - before) % unit
	if long := rest - toBoundary; !q.op.Kind.vectored() && long >= straightMin &&
		aio.IsAligned(q.op.Buf[q.done+toBoundary:], q.file.align.Memory) {
		if before == 0 {
			q.part = q.op.Buf[q.done:][:min(long-long%unit, q.maxPart())]
			q.asked = len(q.part)
			return
		}
		rest = toBoundary // up to where it can go straight
	}
	span := min(before+rest+unit-1, maxBounce) / unit * unit
	q.bounce = q.ring.bounces.get(span)
	q.part, q.asked = q.bounce, span
	q.at -= int64(before)
	if q.op.Kind.writes() {
		n := 0
		for p := range q.rest() {
			n += copy(q.bounce[n:], p)
		}
		q.ring.stats.BytesCopied.Add(uint64(n))
	}
}

// land copies what a bounced read transferred to the caller, and returns how
// many of the n bytes were of the caller's, in either direction.
func (q *request) land(n int) int {
	if q.op.Kind.writes() {
		return n
	}
	before := int(q.op.Offset + int64(q.done) - q.at)
	from := q.bounce[min(before, n):n]
	got := 0
	for p := range q.rest() {
		got += copy(p, from[got:])
	}
	q.ring.stats.BytesCopied.Add(uint64(got))
	return got
}

// rest yields what is left of the caller's memory.
func (q *request) rest() iter.Seq[[]byte] {
	if q.op.Kind.vectored() {
		return remaining(q.op.Bufs, q.done)
	}
	return func(yield func([]byte) bool) { yield(q.op.Buf[q.done:]) }
}

func (q *request) dropBounce() {
	if q.bounce != nil {
		q.ring.bounces.put(q.bounce)
		q.bounce, q.part = nil, nil
	}
}

// performBounced carries the request out with ordinary system calls on the
// calling worker.
func (q *request) performBounced() error {
	call := aio.Pread
	if q.op.Kind.writes() {
		call = aio.Pwrite
	}
	for {
		q.plan()
		res, err := call(q.file.fd, q.part, q.at)
		if err != nil {
			return q.file.pathError(q.op.Kind, err)
		}
		if more, err := q.advance(int64(res)); !more {
			return err
		}
		if q.way == cached {
			n, err := q.file.performCached(&q.op, q.want, q.done)
			q.done += n
			return err
		}
	}
}
