package model

import (
	"github.com/seed-39be8cca/asyncfile"
	"pgregory.net/rapid"
)

// canary is what the library fills its bounce buffers with where it verifies
// itself. No step writes such a byte, so none may be read either.
const canary = 0xdb

// A door is which of its methods a step goes in by, where it has several.
type door int

const (
	methods door = iota // ReadvAt, WritevAt
	files               // File.ReadAt, File.WriteAt
	submits
	queues

	doors // how many there are
)

// manyBuffers is the most that a step has: several times what the kernel takes
// in one call, and whole blocks if they are of one byte each.
const manyBuffers = 6144

// cut draws the memory of a vectored step of about n bytes, and returns how many
// they are: few buffers or thousands, of one byte, of a block or of almost all,
// empty ones among them, one after the other, apart, or each at the start of a
// block.
func (r *run) cut(n int) (bufs [][]byte, total int) {
	t := r.t
	var sizes []int
	same := func(size, n int) {
		for ; n > 0 && len(sizes) < manyBuffers; n -= size {
			sizes = append(sizes, min(size, n))
		}
	}
	switch pick(t, "layout", 8) {
	case 1:
		same(1, n)
	case 2:
		same(1+pick(t, "piece", 40), n)
	case 3:
		same(512, n)
	case 4: // a large one among many small ones
		ends := pick(t, "ends", min(n/2, manyBuffers/2)+1)
		same(1, ends)
		same(max(n-2*ends, 1), n-2*ends)
		same(1, ends)
	case 5: // of every length
		v := rapid.Uint32().Draw(t, "lengths")
		for at := 0; at < n && len(sizes) < manyBuffers; {
			v = v*1664525 + 1013904223
			size := min(int(v>>16)%max(n/1500, 20), n-at)
			sizes = append(sizes, size)
			at += size
		}
	default:
		for at := 0; at < n && len(sizes) < 40; {
			size := pick(t, "cut", n+1)
			if pick(t, "even", 2) == 1 {
				size &^= 511
			}
			size = min(size, n-at)
			sizes = append(sizes, size)
			at += size
		}
		for _, size := range sizes {
			n -= size
		}
		sizes = append(sizes, n)
	}
	if every := pick(t, "empty", 12); every > 2 && len(sizes) < manyBuffers {
		var with []int
		for i, size := range sizes {
			if i%every == 0 {
				with = append(with, 0)
			}
			with = append(with, size)
		}
		sizes = with
	}
	return r.place(sizes)
}

// place draws where in memory buffers of these sizes lie.
func (r *run) place(sizes []int) (bufs [][]byte, total int) {
	for _, size := range sizes {
		total += size
	}
	shift := []int{0, 0, 512, 1, 4, 100}[pick(r.t, "shift", 6)]
	gap := []int{0, 0, 1, 512}[pick(r.t, "gap", 4)]
	arena := asyncfile.AlignedBuffer(total + shift + len(sizes)*gap)
	at := shift
	for _, size := range sizes {
		bufs = append(bufs, arena[at:][:size:size])
		at += size + gap
	}
	return bufs, total
}

// scatter puts what a vectored step writes into its memory.
func (s *step) scatter() {
	rest := s.buf
	for _, p := range s.bufs {
		rest = rest[copy(p, rest):]
	}
}

// ended takes what came of a step; of a read also the bytes.
func (s *step) ended(n int, err error, off int64) {
	s.n, s.err = n, err
	switch s.kind {
	case appends:
		s.off = off
	case readv:
		rest := s.buf
		for _, p := range s.bufs {
			rest = rest[copy(rest, p):]
		}
	}
}
