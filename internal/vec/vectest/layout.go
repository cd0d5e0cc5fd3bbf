// Package vectest has buffers for tests: in every layout that a caller may choose,
// and in memory that faults.
package vectest

import (
	"iter"
	"os"
	"slices"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// Layouts yields buffers that hold size bytes in all, all zero, with the name of
// how they lie in memory. Each has its own memory. Direct I/O takes only those
// that begin with "aligned", and only where size is a multiple of a page.
func Layouts(size int) iter.Seq2[string, [][]byte] {
	page := os.Getpagesize()
	aligned := func() []byte { return aio.AlignedSlice(size, page) }
	odd := func() []byte { return aio.AlignedSlice(size+1, page)[1:] }
	return func(yield func(string, [][]byte) bool) {
		_ = yield("aligned: one", [][]byte{aligned()}) &&
			yield("aligned: pages", cut(aligned(), page)) &&
			yield("aligned: pages, with empty ones between", spread(cut(aligned(), page), 1)) &&
			yield("one at an odd address", [][]byte{odd()}) &&
			yield("pages at odd addresses", cut(odd(), page)) &&
			yield("one-byte buffers", cut(aligned(), 1)) &&
			yield("one-byte buffers, with empty ones between", spread(cut(odd(), 1), 2)) &&
			yield("growing lengths", cut(aligned(), growing(size)...)) &&
			yield("a byte, then all the others", cut(odd(), 1, size)) &&
			yield("all but a byte, then that", cut(aligned(), max(size-1, 1), 1)) &&
			yield("a page, thousands of empty ones, and the rest", slices.Concat(
				cut(aligned()[:min(page, size)], page), make([][]byte, 5_000), cut(odd()[min(page, size):], size)))
	}
}

// cut cuts p into buffers of these lengths, the last length again and again.
func cut(p []byte, lengths ...int) (bufs [][]byte) {
	for i := 0; len(p) > 0; i++ {
		n := min(lengths[min(i, len(lengths)-1)], len(p))
		bufs = append(bufs, p[:n:n])
		p = p[n:]
	}
	return bufs
}

// growing returns 1, 2, 3 and so on, to a sum of at least size.
func growing(size int) (lengths []int) {
	lengths = []int{1}
	for sum := 1; sum < size; sum += len(lengths) {
		lengths = append(lengths, len(lengths)+1)
	}
	return lengths
}

// spread puts n empty buffers before and after every one.
func spread(bufs [][]byte, n int) (wide [][]byte) {
	empty := make([][]byte, n)
	for i := range empty {
		empty[i] = []byte{}
	}
	for _, p := range bufs {
		wide = append(append(wide, empty...), p)
	}
	return append(wide, make([][]byte, n)...)
}
