package file

import (
	"math/bits"
	"sync"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A BouncePool has the aligned buffers that the library reads and writes by way of,
// on one Ring: of 4 KiB, and of twice the size before up to 64 MiB. So a buffer is
// less than twice as large as what goes through it. How many are idle follows what was
// in flight; the collector takes those that are not used between two of its cycles.
type BouncePool struct {
	idle     [bounceClasses]sync.Pool // of *byte, the first: a slice would be allocated each time
	verifier *verifier                // nil where the Ring does not verify
}

const (
	bounceClasses = 15
	maxPooled     = aio.BufferAlign << (bounceClasses - 1)

	// MaxBounce is the most bytes that a bounced request transfers at a time, unless
	// one block is more.
	MaxBounce = 1 << 20
)

// bounceClass returns which buffers hold n bytes.
func bounceClass(n int) int { return bits.Len(uint(max(n-1, 0)) / aio.BufferAlign) }

// BounceSize returns how many bytes a buffer of n bytes takes.
func BounceSize(n int) int {
	if class := bounceClass(n); class < bounceClasses {
		return aio.BufferAlign << class
	}
	return n
}

// Get returns a buffer of n bytes.
func (p *BouncePool) Get(n int) []byte {
	class, size := bounceClass(n), BounceSize(n)
	if class < bounceClasses {
		if first, ok := p.idle[class].Get().(*byte); ok {
			b := aio.Bytes(first, size)
			p.verifier.check(b)
			return b[:n]
		}
	}
	b := aio.Buffer(size)
	p.verifier.fill(b)
	return b[:n]
}

// Put takes back a buffer of Get, of which b is as much as was asked.
func (p *BouncePool) Put(b []byte) {
	class := bounceClass(len(b))
	if class >= bounceClasses {
		return
	}
	b, rest := b[:aio.BufferAlign<<class], b[len(b):aio.BufferAlign<<class]
	p.verifier.check(rest)
	p.verifier.fill(b)
	p.idle[class].Put(&b[0])
}
