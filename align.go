package asyncfile

import (
	"fmt"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// bufferAlign fits the memory and offset alignment of any device whose blocks
// are not larger than a page.
const bufferAlign = 4096

// AlignedBuffer returns a buffer of size bytes that begins at a multiple of
// 4096, fit for any O_DIRECT file. Its length is not rounded: a direct request
// wants a length that is a multiple of the block, too.
func AlignedBuffer(size int) []byte { return aio.AlignedSlice(size, bufferAlign) }

// An AlignmentError says what of a request O_DIRECT does not allow. It answers
// errors.Is for syscall.EINVAL, which is what the kernel would say.
type AlignmentError struct {
	What string // "buffer address", "offset" or "length"
	Need int    // what it has to be a multiple of, in bytes
	Have int64  // the offset or length, in bytes
}

func (e *AlignmentError) Error() string {
	if e.What == "buffer address" {
		return fmt.Sprintf("asyncfile: O_DIRECT needs a buffer address that is a multiple of %d: use AlignedBuffer", e.Need)
	}
	return fmt.Sprintf("asyncfile: O_DIRECT needs %s %d to be a multiple of %d", e.What, e.Have, e.Need)
}

// Is reports whether target is syscall.EINVAL.
func (e *AlignmentError) Is(target error) bool { return target == syscall.EINVAL }

// checkAlignment returns an *AlignmentError, in a *fs.PathError, for a request
// that direct I/O does not allow.
func (f *AsyncFile) checkAlignment(op *Op) error {
	err := f.checkBuffer(op.Buf)
	for i := 0; i < len(op.Bufs) && err == nil; i++ {
		err = f.checkBuffer(op.Bufs[i])
	}
	if err == nil && op.Kind != OpAppend { // whose offset is not known yet
		err = f.checkOffset(op)
	}
	return f.pathError(op.Kind, err)
}

func (f *AsyncFile) checkBuffer(p []byte) error {
	switch {
	case !aio.IsAligned(p, f.align.Memory):
		return &AlignmentError{What: "buffer address", Need: f.align.Memory}
	case len(p)%f.align.Offset != 0:
		return &AlignmentError{What: "length", Need: f.align.Offset, Have: int64(len(p))}
	}
	return nil
}

func (f *AsyncFile) checkOffset(op *Op) error {
	if f.direct && op.Offset%int64(f.align.Offset) != 0 {
		return &AlignmentError{What: "offset", Need: f.align.Offset, Have: op.Offset}
	}
	return nil
}
