package file

import (
	"io/fs"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// Truncate changes the size of the file, in bytes, alone on it.
func (f *Handle) Truncate(size int64) (err error) {
	return f.resize("truncate", func() error {
		err := f.truncate(size)
		if err == nil {
			f.sequence.resized(size)
		}
		return err
	})
}

// truncate changes the size of the file, and leaves nothing of that to direct I/O.
func (f *Handle) truncate(size int64) error {
	before := f.Size()
	err := f.SetSize(size)
	if cut := min(before, size); err == nil && f.Direct && cut%aio.BufferAlign != 0 {
		// The kernel has zeroed the rest of the block there in the page cache.
		// If that cannot be written the next Sync says so, as after Truncate of
		// os.File: flushing leaves the failure to it.
		_ = aio.Flush(f.fd, cut, 1)
	}
	return err
}

// Preallocate allocates the blocks of the file's first size bytes, alone on it, and
// makes it that large if it is smaller.
func (f *Handle) Preallocate(size int64) error {
	return f.resize("allocate", func() error {
		f.sequence.seen(f.Size())
		if err := f.allocateRange(0, size); err != nil {
			return &fs.PathError{Op: "allocate", Path: f.name, Err: err}
		}
		f.sequence.grown(size)
		return nil
	})
}

// resize runs change alone on the file where direct I/O in flight would make it
// wait.
func (f *Handle) resize(op string, change func() error) (err error) {
	if _, open := f.Enter(); !open {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	defer f.Leave()
	if !f.ResizesAlone {
		return change()
	}
	f.alone(func() { err = change() })
	return err
}
