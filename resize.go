package asyncfile

import "os"

// Truncate changes the size of the file, in bytes, as os.File.Truncate does. It
// blocks, and on direct files waits for the operations in flight.
func (f *AsyncFile) Truncate(size int64) error {
	if !f.opened() {
		return os.ErrInvalid
	}
	return f.core.Truncate(size)
}

// Preallocate allocates the blocks of the file's first size bytes, with
// fallocate(2), and makes the file that large if it is smaller: writes there then
// neither extend it nor need new blocks. What has not been written reads as
// zeros. Append goes behind the preallocated part; Truncate cuts off what was not
// used. size is at least 1. It answers errors.ErrUnsupported where the file
// system has no such thing, and blocks as Truncate does.
func (f *AsyncFile) Preallocate(size int64) error {
	if !f.opened() {
		return os.ErrInvalid
	}
	return f.core.Preallocate(size)
}
