package asyncfile

import (
	"sync"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

func TestAlignedBuffer(t *testing.T) {
	for _, n := range []int{0, 1, 511, 4096, 5000, 1<<20 + 1} {
		p := AlignedBuffer(n)
		if len(p) != n || cap(p) != n || !aio.IsAligned(p, bufferAlign) {
			t.Errorf("AlignedBuffer(%d) has %d bytes of %d, aligned %v", n, len(p), cap(p), aio.IsAligned(p, bufferAlign))
		}
	}
}

// first is the address of a buffer, to tell one from another.
func first(p []byte) *byte { return &p[:1][0] }

func TestBufferPool(t *testing.T) {
	p := NewBufferPool(5000, 2)
	bufs := [][]byte{p.Get(), p.Get(), p.Get()}
	for _, b := range bufs {
		if len(b) != 5000 || !aio.IsAligned(b, bufferAlign) {
			t.Errorf("Get gives %d bytes, aligned %v", len(b), aio.IsAligned(b, bufferAlign))
		}
	}
	p.Put(bufs[0][:0]) // taken at its full size
	p.Put(bufs[1])
	p.Put(bufs[2]) // one too many
	for i := range 2 {
		if got := p.Get(); len(got) != 5000 || first(got) != first(bufs[i]) {
			t.Errorf("Get gives %d bytes, or another buffer than the %dth", len(got), i)
		}
	}
	if got := p.Get(); first(got) == first(bufs[2]) {
		t.Error("the pool kept more than it may")
	}
	p.Put(bufs[0][1:])
	p.Put(bufs[1][:10:10])
	p.Put(AlignedBuffer(4096))
	p.Put(nil)
	if n := len(p.idle); n != 0 {
		t.Errorf("the pool took %d buffers that are not its own", n)
	}
}

// TestBufferPoolPut offers every piece of a buffer: the pool takes what has its
// size and begins at an aligned address, at its full size, and nothing else.
func TestBufferPoolPut(t *testing.T) {
	const size = 2 * bufferAlign
	buf := AlignedBuffer(2 * size)
	for _, from := range []int{0, 1, 512, bufferAlign - 1, bufferAlign, size} {
		for _, length := range []int{0, 1, size - 1, size} {
			for _, end := range []int{from + length, from + size - 1, from + size, from + size + 1, 2 * size} {
				if end < from+length || end > 2*size {
					continue
				}
				p := NewBufferPool(size, 1)
				p.Put(buf[from : from+length : end])
				if took, fits := len(p.idle) == 1, end-from == size && from%bufferAlign == 0; took != fits {
					t.Errorf("[%d:%d:%d]: taken %v", from, from+length, end, took)
				}
				if got := p.Get(); len(got) != size || cap(got) != size || !aio.IsAligned(got, bufferAlign) {
					t.Errorf("[%d:%d:%d]: Get then has %d bytes of %d", from, from+length, end, len(got), cap(got))
				}
			}
		}
	}
}

func TestBufferPoolLeast(t *testing.T) {
	p := NewBufferPool(0, -1)
	b := p.Get()
	p.Put(b)
	if got := p.Get(); len(got) != 1 || first(got) != first(b) {
		t.Errorf("the least pool gives %d bytes, or does not keep one", len(got))
	}
}

func TestBufferPoolConcurrent(t *testing.T) {
	p := NewBufferPool(64, 3)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 200 {
				b := p.Get()
				for i := range b {
					b[i] = byte(g)
				}
				for i := range b {
					if b[i] != byte(g) {
						t.Error("two have the same buffer")
						return
					}
				}
				p.Put(b)
			}
		}()
	}
	wg.Wait()
	if n := len(p.idle); n > 3 {
		t.Errorf("%d idle buffers, want 3 at most", n)
	}
}
