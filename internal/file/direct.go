package file

import "github.com/seed-39be8cca/asyncfile/internal/aio"

// A way is how the bytes of a request pass between the caller and a file. On a
// file that is not direct all go straight.
type way uint8

const (
	// straight: between the caller's memory and the device.
	straight way = iota
	// bounced: through an aligned buffer; what O_DIRECT does not allow is only
	// the memory, or it is a read.
	bounced
	// cached: through the page cache. It is for writes that begin or end inside a
	// block: the kernel keeps the rest of the block, and the size of the file exact
	// to the byte, at every moment. Flushing the pages before the request ends keeps
	// direct reads from having to.
	cached
)

// wayOf tells which way o has to go.
func (f *Handle) wayOf(o *operation) way {
	switch {
	case !f.Direct || o.op.Kind.Syncs():
		return straight
	case o.op.Kind == Append && f.serial():
		return cached // at an offset that only the kernel knows
	case o.op.Kind.Writes() && !ofWholeBlocks(o.op.Offset, o.want, f.Align.Offset):
		return cached
	case !f.fitsRest(o):
		return bounced
	}
	return straight
}

// fitsRest reports whether O_DIRECT takes what is left of o as it is.
func (f *Handle) fitsRest(o *operation) bool {
	if !f.Direct {
		return true
	}
	unit := f.unit(o.op.Kind)
	return ofWholeBlocks(o.op.Offset+int64(o.done), o.want-o.done, unit) &&
		o.cursor.Aligned(f.Align.Memory, unit)
}

// fits reports whether O_DIRECT takes a read of p at off as it is.
func (f *Handle) fits(p []byte, off int64) bool {
	return ofWholeBlocks(off, len(p), f.Align.ReadOffset) && aio.IsAligned(p, f.Align.Memory)
}

// ofWholeBlocks reports whether n bytes at off begin and end at multiples of
// unit, which is no power of two where XFS has a realtime device of such extents.
func ofWholeBlocks(off int64, n, unit int) bool {
	return off%int64(unit) == 0 && n%unit == 0
}

// unit returns what offset and length have to be multiples of, in bytes.
func (f *Handle) unit(kind Kind) int {
	if kind.Writes() {
		return f.Align.Offset
	}
	return f.Align.ReadOffset
}
