// Package vec has one cursor over a caller's buffers. Whatever goes through them
// in order uses it: copying to and from bounce buffers, and the iovecs of
// preadv(2), pwritev(2) and io_submit(2). So no two of them can differ in where
// they are, or in how far they go.
package vec

import (
	"math"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Cursor is a position in buffers that it reads and writes as one run of
// bytes. It is a value: a copy is a cursor of its own at the same position. The
// zero Cursor is at the end of nothing.
//
// A Cursor goes on from where it is, never from the start: all steps together
// take time in proportion to the number of buffers. It keeps the buffers
// reachable, and also the slice of them, which must not change meanwhile.
type Cursor struct {
	head []byte   // what is left of the buffer that it is in
	tail [][]byte // the buffers after that one
	left int64    // bytes in head and tail
}

// Bytes returns a Cursor at the start of buf.
func Bytes(buf []byte) Cursor {
	return Cursor{head: buf, left: int64(len(buf))}
}

// Buffers returns a Cursor at the start of bufs. The error is that of [Total].
func Buffers(bufs [][]byte) (Cursor, error) {
	left, err := Total(bufs)
	if err != nil {
		return Cursor{}, err
	}
	return Cursor{tail: bufs, left: left}, nil
}

// Total returns how many bytes bufs hold. The error is EINVAL where an int
// cannot hold the number, which is readv(2)'s answer where ssize_t cannot.
func Total(bufs [][]byte) (int64, error) {
	total := int64(0)
	for _, p := range bufs {
		if int64(len(p)) > math.MaxInt-total {
			return 0, syscall.EINVAL
		}
		total += int64(len(p))
	}
	return total, nil
}

// Left returns how many bytes are left: no more than an int holds. It is an
// int64, as offsets are, so that rounding it up to blocks does not overflow
// where an int has 32 bits.
func (c *Cursor) Left() int64 { return c.left }

// Skip moves the cursor n bytes on, or to the end where fewer are left, and
// returns how many bytes that was.
func (c *Cursor) Skip(n int) int {
	n = int(min(int64(n), c.left))
	for rest := n; rest > 0; {
		rest -= len(c.next(rest))
	}
	return n
}

// Head returns the bytes up to the end of the buffer that the cursor is in. It
// is empty only where none are left.
func (c *Cursor) Head() []byte { return c.peek(math.MaxInt) }

// Aligned reports whether direct I/O takes the rest as it is: each buffer starts
// at a multiple of memory, a power of two, and its length is a multiple of unit,
// both in bytes. It looks at every buffer.
func (c *Cursor) Aligned(memory, unit int) bool {
	if !aligned(c.head, memory, unit) {
		return false
	}
	for _, p := range c.tail {
		if !aligned(p, memory, unit) {
			return false
		}
	}
	return true
}

func aligned(p []byte, memory, unit int) bool {
	return aio.IsAligned(p, memory) && len(p)%unit == 0
}

// AppendIovecs appends to v what one vectored operation takes of the rest, and
// returns v with the number of bytes in what it appended. These are at most
// [aio.MaxIovecs] buffers, none of them empty, and [aio.MaxTransfer] bytes, a
// multiple of unit. They are none, although some are left, where so many buffers
// hold less than a unit: these bytes have to be copied.
//
// The cursor stays where it is, since the operation may do less. [Cursor.Skip]
// takes what it did.
func (c Cursor) AppendIovecs(v []aio.Iovec, unit int) ([]aio.Iovec, int) {
	n := c.fit(unit)
	for rest := n; rest > 0; {
		p := c.next(rest)
		v, rest = append(v, aio.MakeIovec(p)), rest-len(p)
	}
	return v, n
}

// AppendBuffers is AppendIovecs for those who want slices.
func (c Cursor) AppendBuffers(v [][]byte, unit int) ([][]byte, int) {
	n := c.fit(unit)
	for rest := n; rest > 0; {
		p := c.next(rest)
		v, rest = append(v, p), rest-len(p)
	}
	return v, n
}

// fit returns how many bytes, a multiple of unit, one vectored operation takes.
func (c Cursor) fit(unit int) (n int) {
	for range aio.MaxIovecs {
		p := c.next(aio.MaxTransfer - n)
		if len(p) == 0 {
			break
		}
		n += len(p)
	}
	return n - n%unit
}

// next returns what peek does and moves the cursor past it.
func (c *Cursor) next(limit int) []byte {
	p := c.peek(limit)
	c.pass(len(p))
	return p
}

// peek returns at most limit bytes of one buffer: none only where limit is zero
// or none are left. It goes past empty buffers, which is no step. It panics where
// buffers are missing since the slice of them has changed, rather than pretend.
func (c *Cursor) peek(limit int) []byte {
	limit = int(min(int64(limit), c.left))
	for len(c.head) == 0 && limit > 0 {
		c.head, c.tail = c.tail[0], c.tail[1:]
	}
	return c.head[:min(len(c.head), limit)]
}

// pass moves the cursor n bytes on, which are in one buffer.
func (c *Cursor) pass(n int) {
	c.head = c.head[n:]
	c.left -= int64(n)
}
