package asyncfile

import (
	"io/fs"
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// Truncate changes the size of the file, in bytes, as os.File.Truncate does. It
// blocks, and on direct files waits for the operations in flight.
func (f *AsyncFile) Truncate(size int64) (err error) {
	return f.resize("truncate", func() error {
		err := f.truncate(size)
		if err == nil {
			f.sequence.resized(size)
		}
		return err
	})
}

// truncate changes the size of the file, and leaves nothing of that to direct I/O.
func (f *AsyncFile) truncate(size int64) error {
	before := f.size()
	err := f.setSize(size)
	if cut := min(before, size); err == nil && f.direct && cut%bufferAlign != 0 {
		// The kernel has zeroed the rest of the block there in the page cache.
		// If that cannot be written the next Sync says so, as after Truncate of
		// os.File: flushing leaves the failure to it.
		_ = aio.Flush(f.fd, cut, 1)
	}
	return err
}

// Preallocate allocates the blocks of the file's first size bytes, with
// fallocate(2), and makes the file that large if it is smaller: writes there then
// neither extend it nor need new blocks. What has not been written reads as
// zeros. Append goes behind the preallocated part; Truncate cuts off what was not
// used. size is at least 1. It answers errors.ErrUnsupported where the file
// system has no such thing, and blocks as Truncate does.
func (f *AsyncFile) Preallocate(size int64) error {
	return f.resize("allocate", func() error {
		f.sequence.seen(f.size())
		if err := f.allocateRange(0, size); err != nil {
			return &fs.PathError{Op: "allocate", Path: f.name, Err: err}
		}
		f.sequence.grown(size)
		return nil
	})
}

// resize runs change alone on the file where direct I/O in flight would make it
// wait.
func (f *AsyncFile) resize(op string, change func() error) (err error) {
	if !f.opened() {
		return os.ErrInvalid
	}
	if !f.enter() {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	defer f.leave()
	if !f.resizesAlone {
		return change()
	}
	f.alone(func() { err = change() })
	return err
}
