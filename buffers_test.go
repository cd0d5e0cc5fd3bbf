package asyncfile

import (
	"bytes"
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

// TestAlignedBuffers writes each buffer full: they are of the size that was asked,
// fit for direct I/O, and have no byte in common.
func TestAlignedBuffers(t *testing.T) {
	for _, n := range []int{0, 1, 2, 9} {
		for _, size := range []int{0, 1, 4095, 4096, 5000, 256 << 10, 1<<20 + 1} {
			bufs := AlignedBuffers(n, size)
			if len(bufs) != n {
				t.Fatalf("AlignedBuffers(%d, %d) has %d", n, size, len(bufs))
			}
			for i, b := range bufs {
				if len(b) != size || cap(b) != size || !aio.IsAligned(b, bufferAlign) {
					t.Errorf("AlignedBuffers(%d, %d)[%d] has %d bytes of %d, aligned %v", n, size, i, len(b), cap(b), aio.IsAligned(b, bufferAlign))
				}
				for j := range b {
					b[j] = byte(i + 1)
				}
			}
			for i, b := range bufs {
				if bytes.Count(b, []byte{byte(i + 1)}) != size {
					t.Errorf("AlignedBuffers(%d, %d)[%d] has bytes of another", n, size, i)
				}
			}
		}
	}
	for _, c := range [][2]int{{-1, 1}, {1, -1}, {3, -5000}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("AlignedBuffers(%d, %d) does not panic", c[0], c[1])
				}
			}()
			AlignedBuffers(c[0], c[1])
		}()
	}
}

// TestBufferPoolGrows takes more buffers than a huge page has: no two are the same,
// nor part of one another, and the pool never has more in store than it may.
func TestBufferPoolGrows(t *testing.T) {
	for _, size := range []int{4096, 5000, 64 << 10, 1 << 20, 3 << 20} {
		for _, idle := range []int{1, 2, 31, 32, 600} {
			p := NewBufferPool(size, idle)
			var bufs [][]byte
			for range 40 {
				b := p.Get()
				clear(b)
				bufs = append(bufs, b)
			}
			for i, b := range bufs {
				if len(b) != size || !aio.IsAligned(b, bufferAlign) || b[0] != 0 || b[size-1] != 0 {
					t.Fatalf("size %d, idle %d: Get gives %d bytes, aligned %v, shared %v", size, idle, len(b), aio.IsAligned(b, bufferAlign), b[0] != 0)
				}
				b[0], b[size-1] = byte(i+1), byte(i+1)
			}
			if len(p.idle) > idle {
				t.Errorf("size %d: %d buffers are idle of %d", size, len(p.idle), idle)
			}
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
