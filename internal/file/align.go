package file

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// SetDirect sets O_DIRECT, if wanted says so and it is not set, and finds out what it
// asks. was reports whether it was set before; if not, and if it is not wanted, the file
// is left as it is. Whoever made the file may share the open file, and with it the
// flag, with others: what is set here takes UnsetDirect back.
func (f *Handle) SetDirect(wanted bool) (was bool, err error) {
	flags, err := aio.StatusFlags(f.fd)
	was = err == nil && aio.ODirect != 0 && flags&aio.ODirect != 0 && f.OnDisk
	if !wanted && !was {
		return false, nil
	}
	switch {
	case !f.OnDisk:
		err = syscall.EINVAL // on a pipe the flag would mean packets
	case !was:
		err = aio.SetDirect(f.fd, true)
		f.directSet = err == nil
	}
	var align aio.Alignment
	if err == nil {
		align, err = f.findAlignment(flags)
	}
	if err == nil {
		err = usable(align)
	}
	if err != nil {
		f.UnsetDirect()
		return was, err
	}
	f.Direct, f.Align = true, align
	return was, nil
}

// UnsetDirect leaves the flags of the open file as they were found.
func (f *Handle) UnsetDirect() {
	if f.directSet {
		f.directSet = false
		aio.SetDirect(f.fd, false)
	}
}

// usable refuses what AlignedBuffer would not be fit for.
func usable(align aio.Alignment) error {
	if align.Memory > aio.BufferAlign {
		return fmt.Errorf("it asks for memory aligned to %d bytes, and AlignedBuffer has %d", align.Memory, aio.BufferAlign)
	}
	return nil
}

// findAlignment asks the kernel what it wants of direct I/O on the file, and
// where it does not say (before 6.1, and btrfs, tmpfs and others still) finds
// out by reading. A file that is empty or not open for reading tells nothing: a
// page is then what every device takes. The error is that of a file system that
// takes the flag and refuses the read.
func (f *Handle) findAlignment(flags int) (aio.Alignment, error) {
	if align, ok := aio.DirectAlignment(f.fd); ok {
		return align, nil
	}
	align := aio.Alignment{Memory: aio.BufferAlign, Offset: aio.BufferAlign, ReadOffset: aio.BufferAlign}
	size, err := aio.Size(f.fd)
	if err != nil || size == 0 || flags&(os.O_WRONLY|os.O_RDWR) == os.O_WRONLY {
		return align, nil
	}
	aio.KeepAccessTime(f.fd, func() { err = f.probeAlignment(&align, size) })
	return align, err
}

// probeAlignment finds out by reading what a file of size bytes asks for, and
// leaves align as it is where that tells nothing.
func (f *Handle) probeAlignment(align *aio.Alignment, size int64) error {
	buf := aio.Buffer(3 * aio.BufferAlign)
	_, err := aio.Pread(f.fd, buf[:aio.BufferAlign], 0)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err != nil {
		return nil // a bad block, say: for who reads it to find
	}
	for _, unit := range []int{1, 512, 1024, 2048} {
		if size <= int64(unit) {
			break // at its end a file lets anything pass
		}
		if _, err := aio.Pread(f.fd, buf[:unit], int64(unit)); err == nil {
			align.Offset, align.ReadOffset = unit, unit
			break
		}
	}
	for _, shift := range []int{1, 4, 512, 1024, 2048} {
		if _, err := aio.Pread(f.fd, buf[shift:][:aio.BufferAlign], 0); err == nil {
			align.Memory = shift
			break
		}
	}
	return nil
}
