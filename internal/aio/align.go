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

// Bytes returns the n bytes that begin at first, which is the first of at least so
// many of one allocation. A pointer can be kept where a slice would have to be
// allocated.
func Bytes(first *byte, n int) []byte { return unsafe.Slice(first, n) }
