package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A way is how the bytes of a request pass between the caller and a file. On a
// file that is not direct all go straight.
type way uint8

const (
	// straight: between the caller's memory and the device.
	straight way = iota
	// bounced: through an aligned buffer; what O_DIRECT does not allow is only
	// the memory, or it is a read.
	bounced
	// cached: through the page cache, by a second descriptor without O_DIRECT.
	// It is for writes that begin or end inside a block: the kernel keeps the
	// rest of the block, and the size of the file exact to the byte, at every
	// moment. Writing back the pages before the request ends keeps direct reads
	// from having to.
	cached
)

// wayOf tells which way op has to go.
func (f *AsyncFile) wayOf(op *Op, want int) way {
	switch {
	case !f.direct || op.Kind.syncs():
		return straight
	case op.Kind == OpAppend && f.appender.serial():
		return cached // at an offset that only the kernel knows
	case op.Kind.writes() && (op.Offset|int64(want))%int64(f.align.Offset) != 0:
		return cached
	case !f.fits(op, want):
		return bounced
	}
	return straight
}

// fits reports whether O_DIRECT takes op as it is.
func (f *AsyncFile) fits(op *Op, want int) bool {
	unit := f.unit(op.Kind)
	if (op.Offset|int64(want))%int64(unit) != 0 {
		return false
	}
	if !op.Kind.vectored() {
		return aio.IsAligned(op.Buf, f.align.Memory)
	}
	for _, p := range op.Bufs {
		if !aio.IsAligned(p, f.align.Memory) || len(p)%unit != 0 {
			return false
		}
	}
	return true
}

// unit returns what offset and length have to be multiples of, in bytes.
func (f *AsyncFile) unit(kind OpKind) int {
	if kind.writes() {
		return f.align.Offset
	}
	return f.align.ReadOffset
}

// setDirect sets O_DIRECT as mode says, and finds out whether it is set and
// what it asks. undo takes back what it did.
func (f *AsyncFile) setDirect(mode DirectMode, info os.FileInfo) (undo func(), err error) {
	undo = func() {}
	flags, err := aio.StatusFlags(f.fd)
	was := err == nil && aio.ODirect != 0 && flags&aio.ODirect != 0 && capable(info)
	if mode == DirectOff && !was {
		return undo, nil
	}
	switch {
	case !capable(info):
		err = syscall.EINVAL // on a pipe the flag would mean packets
	case !was:
		undo = func() { aio.SetDirect(f.fd, false) }
		err = aio.SetDirect(f.fd, true)
	}
	var align aio.Alignment
	if err == nil {
		align, err = f.findAlignment(flags)
	}
	switch {
	case err == nil:
		f.direct, f.align = true, align
		return undo, nil
	case mode == DirectRequire || was:
		undo()
		return undo, f.directError(err, info)
	}
	undo()
	f.directReason = f.directError(err, info)
	return func() {}, nil
}

// directError says which file system refuses O_DIRECT.
func (f *AsyncFile) directError(err error, info os.FileInfo) error {
	on := "this system"
	if system, e := aio.FileSystem(f.fd); e == nil {
		on = "file system " + system.String()
	}
	if mode := info.Mode(); !capable(info) {
		on = "what is no regular file nor block device (" + mode.Type().String() + ")"
	}
	return &fs.PathError{Op: "open", Path: f.name, Err: fmt.Errorf(
		"asyncfile: %s refuses O_DIRECT (%w): use DirectPrefer or DirectOff: %w", on, err, errors.ErrUnsupported)}
}

// findAlignment asks the kernel what it wants of direct I/O on the file, and
// where it does not say (before 6.1, and btrfs, tmpfs and others still) finds
// out by reading. A file that is empty or not open for reading tells nothing: a
// page is then what every device takes. The error is that of a file system that
// takes the flag and refuses the read.
func (f *AsyncFile) findAlignment(flags int) (aio.Alignment, error) {
	if align, ok := aio.DirectAlignment(f.fd); ok {
		return align, nil
	}
	align := aio.Alignment{Memory: bufferAlign, Offset: bufferAlign, ReadOffset: bufferAlign}
	size, err := aio.Size(f.fd)
	if err != nil || size == 0 || flags&(os.O_WRONLY|os.O_RDWR) == os.O_WRONLY {
		return align, nil
	}
	buf := AlignedBuffer(3 * bufferAlign)
	_, err = aio.Pread(f.fd, buf[:bufferAlign], 0)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return align, err
	}
	if err != nil {
		return align, nil // a bad block, say: for who reads it to find
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
		if _, err := aio.Pread(f.fd, buf[shift:][:bufferAlign], 0); err == nil {
			align.Memory = shift
			break
		}
	}
	return align, nil
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

// A companion is the second descriptor of a direct file, without O_DIRECT,
// opened when first needed.
type companion struct {
	reopen func(fd int) (int, error) // aio.Reopen, but in tests

	mu  sync.Mutex
	osf *os.File
	fd  int
}

// open returns the companion of f.
func (c *companion) open(f *AsyncFile) (*companion, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.osf == nil {
		fd, err := c.reopen(f.fd)
		if err != nil {
			return nil, err // of this time: there may have been too many open files
		}
		c.fd, c.osf = fd, os.NewFile(uintptr(fd), f.name)
	}
	return c, nil
}

func (c *companion) close() error {
	if c.osf == nil {
		return nil
	}
	return c.osf.Close()
}

// performCached carries out a write by way of the page cache, from where done
// bytes have been written, and writes the pages back before it returns.
func (f *AsyncFile) performCached(op *Op, want, done int) (n int, err error) {
	c, err := f.companion.open(f)
	if err != nil {
		e := &AlignmentError{What: "offset", Have: op.Offset, Need: f.align.Offset, Err: err}
		if op.Offset%int64(f.align.Offset) == 0 {
			e.What, e.Have = "length", int64(want)
		}
		return 0, f.pathError(op.Kind, e)
	}
	stats := &f.ring.stats
	if done == 0 && op.Kind == OpAppend && f.appender.serial() {
		n, err = f.appender.write(c.osf, op)
	} else {
		n, err = transfer(c.osf, c.fd, op, done)
	}
	stats.BytesCopied.Add(uint64(n))
	if n > 0 && (op.Offset|int64(n))%int64(f.align.Offset) != 0 {
		stats.ReadModifyWrites.Add(1)
	}
	if e := f.writeBack(c.fd, op.Offset+int64(done), int64(n)); err == nil && e != nil {
		return 0, f.pathError(op.Kind, e)
	}
	return n, err
}

// writeBack leaves no dirty page of the range behind, nor a clean one where that
// can be helped. Direct I/O would have to, in io_submit.
func (f *AsyncFile) writeBack(fd int, off, n int64) error {
	if n == 0 {
		return nil
	}
	page := int64(bufferAlign)
	from, to := off-off%page, (off+n+page-1)/page*page
	err := aio.WriteBack(fd, from, to-from)
	aio.Uncache(fd, from, to-from)
	return err
}
