package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/aio"

// bufferAlign fits the memory and offset alignment of any device whose blocks
// are not larger than a page.
const bufferAlign = aio.BufferAlign

// AlignedBuffer returns a buffer of size bytes that begins at a multiple of
// 4096, fit for any O_DIRECT file. Its length is not rounded. It panics, as make
// does, if size is negative.
//
// From 2 MiB on it asks the kernel for huge pages, with which a large transfer is
// cheaper (docs/performance.md). For many buffers of 64 KiB or more use
// AlignedBuffers or a BufferPool: they have huge pages together.
func AlignedBuffer(size int) []byte { return aio.Buffer(size) }

// AlignedBuffers returns n buffers of size bytes, each as of AlignedBuffer. They are
// parts of one allocation, which asks for huge pages if it is 2 MiB or more, and
// which the collector keeps until none of them is in use. It panics, as make does, if n or
// size is negative.
func AlignedBuffers(n, size int) [][]byte {
	bufs := make([][]byte, n)
	stride := (size + bufferAlign - 1) / bufferAlign * bufferAlign
	all := AlignedBuffer(n * stride)
	for i := range bufs {
		bufs[i] = all[i*stride:][:size:size]
	}
	return bufs
}

// A BufferPool keeps aligned buffers of one size for reuse, at most a given
// number of idle ones. It is safe for concurrent use. NewBufferPool makes one;
// any other has buffers of no bytes.
type BufferPool struct {
	size int
	idle chan []byte
}

// NewBufferPool returns a pool of buffers of size bytes, fit for any O_DIRECT
// file, which keeps up to idle of them that are not in use. Both are at least 1;
// a lesser one counts as 1.
func NewBufferPool(size, idle int) *BufferPool {
	return &BufferPool{size: max(size, 1), idle: make(chan []byte, max(idle, 1))}
}

// Get returns a buffer, whose contents are not defined.
func (p *BufferPool) Get() []byte {
	if p == nil {
		return nil
	}
	select {
	case b := <-p.idle:
		return b
	default:
		return p.grow()
	}
}

// grow returns a new buffer. Where a huge page holds several it has some in store, too.
func (p *BufferPool) grow() []byte {
	n := aio.HugePage / max(p.size, 1)
	if n < 2 || n > cap(p.idle) {
		return AlignedBuffer(p.size)
	}
	bufs := AlignedBuffers(n, p.size)
	for _, b := range bufs[1:] {
		p.Put(b)
	}
	return bufs[0]
}

// Put gives back a buffer that Get returned, for reuse. No operation may be in
// flight on it, and the caller may not use it any more, nor Put it again: the
// pool cannot tell, and gives one buffer to two. What begins where Get's did is taken,
// at its full size, whatever its length is now. Anything whose capacity is not
// the pool's size, or that does not begin at a multiple of 4096, is dropped.
func (p *BufferPool) Put(b []byte) {
	if p == nil || cap(b) != p.size {
		return
	}
	b = b[:p.size]
	if !aio.IsAligned(b, bufferAlign) {
		return
	}
	select {
	case p.idle <- b:
	default:
	}
}
