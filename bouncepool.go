package asyncfile

import (
	"math/bits"
	"sync"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A bouncePool has the aligned buffers that the library reads and writes by way of,
// on one Ring: of 4 KiB, and of twice the size before up to 64 MiB. So a buffer is
// less than twice as large as what goes through it. How many are idle follows what was
// in flight; the collector takes those that are not used between two of its cycles.
type bouncePool struct {
	idle     [bounceClasses]sync.Pool // of *byte, the first: a slice would be allocated each time
	verifier *verifier                // nil where the Ring does not verify
}

const (
	bounceClasses = 15
	maxPooled     = bufferAlign << (bounceClasses - 1)

	// maxBounce is the most bytes that a bounced request transfers at a time, unless
	// one block is more.
	maxBounce = 1 << 20
)

// bounceClass returns which buffers hold n bytes.
func bounceClass(n int) int { return bits.Len(uint(max(n-1, 0)) / bufferAlign) }

// bounceSize returns how many bytes a buffer of n bytes takes.
func bounceSize(n int) int {
	if class := bounceClass(n); class < bounceClasses {
		return bufferAlign << class
	}
	return n
}

// get returns a buffer of n bytes.
func (p *bouncePool) get(n int) []byte {
	class, size := bounceClass(n), bounceSize(n)
	if class < bounceClasses {
		if first, ok := p.idle[class].Get().(*byte); ok {
			b := aio.Bytes(first, size)
			p.verifier.check(b)
			return b[:n]
		}
	}
	b := AlignedBuffer(size)
	p.verifier.fill(b)
	return b[:n]
}

// put takes back a buffer of get, of which b is as much as was asked.
func (p *bouncePool) put(b []byte) {
	class := bounceClass(len(b))
	if class >= bounceClasses {
		return
	}
	b, rest := b[:bufferAlign<<class], b[len(b):bufferAlign<<class]
	p.verifier.check(rest)
	p.verifier.fill(b)
	p.idle[class].Put(&b[0])
}
