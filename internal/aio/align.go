package aio

import "unsafe"

// An Alignment is what a file asks of direct I/O, in bytes.
type Alignment struct {
	Memory     int // of the address of a buffer
	Offset     int // of the file offset and length of a write
	ReadOffset int // of those of a read; Offset unless the kernel reports another
}

// IsAligned reports whether p starts at a multiple of align, a power of two.
// An empty slice is aligned.
func IsAligned(p []byte, align int) bool {
	if len(p) == 0 {
		return true
	}
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))&uintptr(align-1) == 0
}

// AlignedSlice allocates size bytes that start at a multiple of align, a power
// of two. Go promises no alignment beyond that of the type, so it allocates
// more and cuts. The capacity is size: an append reallocates, to anywhere.
//
// The collector does not move heap memory, so the alignment stays. It must not
// be inlined, or the compiler might find a buffer that does not escape from its
// caller and put it on the stack, which does move.
//
//go:noinline
func AlignedSlice(size, align int) []byte {
	align = max(align, 1)
	p := make([]byte, size+align-1)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(p))) & uintptr(align-1))
	return p[skip : skip+size : skip+size]
}

// BufferAlign fits the memory and offset alignment of any device whose blocks
// are not larger than a page.
const BufferAlign = 4096

// Buffer allocates size bytes that start at a multiple of BufferAlign, with huge pages
// if they are so many.
func Buffer(size int) []byte {
	if size >= HugePage {
		return HugeSlice(size)
	}
	return AlignedSlice(size, BufferAlign)
}

// HugePage is the size of a huge page where a page is 4 KiB. With pages of another
// size the memory is aligned for nothing.
const HugePage = 2 << 20

// HugeSlice allocates size bytes that start at a multiple of HugePage, and asks for
// huge pages beneath them. io_submit looks up each page of a buffer, and a device
// is told of each run of them that is contiguous: of a MiB, one in place of 256.
//
// The kernel gives huge pages to memory that is touched for the first time. So it
// matters that the allocator takes as much memory from the system, and does not clear it.
func HugeSlice(size int) []byte {
	whole := (size + HugePage - 1) / HugePage * HugePage
	p := AlignedSlice(whole, HugePage)
	adviseHuge(p)
	return p[:size:size]
}

// Bytes returns the n bytes that begin at first, which is the first of at least so
// many of one allocation. A pointer can be kept where a slice would have to be
// allocated.
func Bytes(first *byte, n int) []byte { return unsafe.Slice(first, n) }
