package asyncfile

import (
	"io/fs"
	"iter"
	"math"
	"os"
)

// PunchHole gives back the blocks of the n bytes from offset off on, which read as
// zeros from then on; the size of the file stays. Blocks that the range covers only
// in part keep their other bytes, whatever the alignment, also on a direct file. off is
// at least 0, n at least 1, in bytes: anything else answers os.ErrInvalid. It answers
// errors.ErrUnsupported where the file system has no such thing, fs.ErrClosed after
// Close, and blocks as Truncate does. It is durable after a Sync.
//
// On a direct file it runs when what was submitted before has ended, and before what is
// submitted after it. On a buffered file a write in flight to the same range may
// land before it or after it.
func (f *AsyncFile) PunchHole(off, n int64) error {
	if err := f.checkRange("punch", off, n); err != nil {
		return err
	}
	return f.core.PunchHole(off, n)
}

// ZeroRange has the n bytes from offset off on read as zeros, as if zeros had been
// written there, and makes the file larger if it ends before. No data is
// transferred: blocks stay allocated, or become so, so that later writes there need no
// new ones. Ranges, errors, order and durability are those of AsyncFile.PunchHole.
func (f *AsyncFile) ZeroRange(off, n int64) error {
	if err := f.checkRange("zero", off, n); err != nil {
		return err
	}
	return f.core.ZeroRange(off, n)
}

// checkRange returns an error where n bytes from off on are not a range of a file.
func (f *AsyncFile) checkRange(op string, off, n int64) error {
	if !f.opened() {
		return os.ErrInvalid
	}
	if off < 0 || n < 1 || n > math.MaxInt64-off {
		return &fs.PathError{Op: op, Path: f.core.Name(), Err: invalid(
			"%d bytes from offset %d on: use an offset of 0 or more and a length of 1 or more, whose sum an int64 holds", n, off)}
	}
	return nil
}

// DataRanges returns the ranges of the file that hold data, each as offset and length in
// bytes, in order, up to the end of the file. What is between them are holes, which
// read as zeros (SEEK_DATA and SEEK_HOLE of lseek(2)). A range may hold zeros: the
// file system tells of what it has allocated and written, in its own units.
//
// The ranges are what the file system has when the loop comes to them. Writes in flight
// count when they have ended. The body may change, and close, the file. The cursor of
// File stays where it is.
//
// There is no error to forget: what cannot be told counts as data, up to the end of the
// file, so that whoever reads the ranges misses nothing, and meets the error that
// there is. So on a file system without holes the file is one range. After Close it is
// one byte, whose ReadAt answers fs.ErrClosed.
func (f *AsyncFile) DataRanges() iter.Seq2[int64, int64] {
	return func(yield func(offset, length int64) bool) {
		if !f.opened() {
			return
		}
		for at := int64(0); ; {
			from, to, err := f.core.NextData(at)
			if err != nil {
				if from, to = at, f.core.EndOfData(at, err); from < to {
					yield(from, to-from)
				}
				return
			}
			if from < to && !yield(from, to-from) { // equal where it was punched in between
				return
			}
			at = to
		}
	}
}

// Prefetch begins to read the n bytes from offset off on into the page cache, as far as
// the file goes, for reads to come, and does not wait for them (posix_fadvise(2),
// POSIX_FADV_WILLNEED). It is a hint: what cannot be read, or does not fit into
// memory, it tells nobody of. It blocks only where the queue of the device is full, or
// where the file system has to look up first where the bytes are.
//
// off is at least 0, n at least 1, in bytes: anything else answers os.ErrInvalid. On a
// direct file, whose reads pass the page cache by, and where there is no such call it
// answers errors.ErrUnsupported; after Close fs.ErrClosed. It is safe for concurrent use.
func (f *AsyncFile) Prefetch(off, n int64) error {
	if err := f.checkRange("prefetch", off, n); err != nil {
		return err
	}
	return f.core.Prefetch(off, n)
}
