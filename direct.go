package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// setDirect sets O_DIRECT as c says.
func (f *AsyncFile) setDirect(c *config, info os.FileInfo) error {
	mode := c.direct
	was, err := f.core.SetDirect(mode != DirectOff && !c.neverDirect)
	switch {
	case err != nil && was:
		return f.directError(err, info) // who set it aligns, and relies on it
	case err != nil:
		return f.refuseDirect(mode, f.directError(err, info))
	case mode != DirectOff && c.neverDirect && !was:
		return f.refuseDirect(mode, &fs.PathError{Op: "open", Path: f.core.Name(), Err: fmt.Errorf(
			"asyncfile: ASYNCFILE_DIRECT=never forbids O_DIRECT: unset it, or use DirectPrefer or DirectOff: %w", errors.ErrUnsupported)})
	}
	return nil
}

// refuseDirect returns why the file cannot be direct, where it has to be, and keeps it
// where it need not.
func (f *AsyncFile) refuseDirect(mode DirectMode, why error) error {
	if mode == DirectRequire {
		return why
	}
	f.directReason = why
	return nil
}

// directError says which file system refuses O_DIRECT.
func (f *AsyncFile) directError(err error, info os.FileInfo) error {
	on := "this system"
	if system, e := aio.FileSystem(f.core.Fd()); e == nil {
		on = "file system " + system.String()
	}
	if mode := info.Mode(); !f.core.OnDisk {
		on = "what is no regular file nor block device (" + mode.Type().String() + ")"
	}
	return &fs.PathError{Op: "open", Path: f.core.Name(), Err: fmt.Errorf(
		"asyncfile: %s refuses O_DIRECT (%w): use DirectPrefer or DirectOff: %w", on, err, errors.ErrUnsupported)}
}

// An AlignmentError says what of a write O_DIRECT does not allow, where it
// could not be gone round. It answers errors.Is for syscall.EINVAL, which is what
// the kernel would say, and for Err.
type AlignmentError struct {
	What string // "offset" or "length"
	Have int64  // it, in bytes
	Need int    // what it has to be a multiple of, in bytes
	Err  error  // why the page cache could not take the write
}

// Error says what would have to be aligned, and to how many bytes.
func (e *AlignmentError) Error() string {
	return fmt.Sprintf("asyncfile: O_DIRECT needs %s %d to be a multiple of %d, and the page cache could not be used instead: %v",
		e.What, e.Have, e.Need, e.Err)
}

// Unwrap returns the reasons.
func (e *AlignmentError) Unwrap() []error { return []error{syscall.EINVAL, e.Err} }

// misaligned is the file.Misaligned of every file.
func misaligned(what string, have int64, need int, why error) error {
	return &AlignmentError{What: what, Have: have, Need: need, Err: why}
}
