package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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
	// cached: through the page cache. It is for writes that begin or end inside a
	// block: the kernel keeps the rest of the block, and the size of the file exact
	// to the byte, at every moment. Flushing the pages before the request ends keeps
	// direct reads from having to.
	cached
)

// wayOf tells which way o has to go.
func (f *AsyncFile) wayOf(o *operation) way {
	switch {
	case !f.direct || o.op.Kind.syncs():
		return straight
	case o.op.Kind == OpAppend && f.serial():
		return cached // at an offset that only the kernel knows
	case o.op.Kind.writes() && !ofWholeBlocks(o.op.Offset, o.want, f.align.Offset):
		return cached
	case !f.fitsRest(o):
		return bounced
	}
	return straight
}

// fitsRest reports whether O_DIRECT takes what is left of o as it is.
func (f *AsyncFile) fitsRest(o *operation) bool {
	if !f.direct {
		return true
	}
	unit := f.unit(o.op.Kind)
	return ofWholeBlocks(o.op.Offset+int64(o.done), o.want-o.done, unit) &&
		o.cursor.Aligned(f.align.Memory, unit)
}

// fits reports whether O_DIRECT takes a read of p at off as it is.
func (f *AsyncFile) fits(p []byte, off int64) bool {
	return ofWholeBlocks(off, len(p), f.align.ReadOffset) && aio.IsAligned(p, f.align.Memory)
}

// ofWholeBlocks reports whether n bytes at off begin and end at multiples of
// unit, which is no power of two where XFS has a realtime device of such extents.
func ofWholeBlocks(off int64, n, unit int) bool {
	return off%int64(unit) == 0 && n%unit == 0
}

// unit returns what offset and length have to be multiples of, in bytes.
func (f *AsyncFile) unit(kind OpKind) int {
	if kind.writes() {
		return f.align.Offset
	}
	return f.align.ReadOffset
}

// setDirect sets O_DIRECT as c.direct says, and finds out whether it is set and
// what it asks. Whoever made the file may share the open file, and with it the
// flag, with others: what is set here takes unsetDirect back.
func (f *AsyncFile) setDirect(c *config, info os.FileInfo) error {
	mode := c.direct
	flags, err := aio.StatusFlags(f.fd)
	was := err == nil && aio.ODirect != 0 && flags&aio.ODirect != 0 && capable(info)
	if mode == DirectOff && !was {
		return nil
	}
	if c.neverDirect && !was {
		return f.refuseDirect(mode, &fs.PathError{Op: "open", Path: f.name, Err: fmt.Errorf(
			"asyncfile: ASYNCFILE_DIRECT=never forbids O_DIRECT: unset it, or use DirectPrefer or DirectOff: %w", errors.ErrUnsupported)})
	}
	switch {
	case !capable(info):
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
	if err == nil {
		f.direct, f.align = true, align
		return nil
	}
	f.unsetDirect()
	if was {
		mode = DirectRequire // who set it aligns, and relies on it
	}
	return f.refuseDirect(mode, f.directError(err, info))
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

// unsetDirect leaves the flags of the open file as they were found.
func (f *AsyncFile) unsetDirect() {
	if f.directSet {
		f.directSet = false
		aio.SetDirect(f.fd, false)
	}
}

// usable refuses what AlignedBuffer would not be fit for.
func usable(align aio.Alignment) error {
	if align.Memory > bufferAlign {
		return fmt.Errorf("it asks for memory aligned to %d bytes, and AlignedBuffer has %d", align.Memory, bufferAlign)
	}
	return nil
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
	aio.KeepAccessTime(f.fd, func() { err = f.probeAlignment(&align, size) })
	return align, err
}

// probeAlignment finds out by reading what a file of size bytes asks for, and
// leaves align as it is where that tells nothing.
func (f *AsyncFile) probeAlignment(align *aio.Alignment, size int64) error {
	buf := AlignedBuffer(3 * bufferAlign)
	_, err := aio.Pread(f.fd, buf[:bufferAlign], 0)
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
		if _, err := aio.Pread(f.fd, buf[shift:][:bufferAlign], 0); err == nil {
			align.Memory = shift
			break
		}
	}
	return nil
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

// A companion is a second descriptor of a file. That of a direct file is without
// O_DIRECT, for what goes through the page cache. It is opened by the first write that
// needs it, which is not always possible: the process may have too many open files, or
// no permission any more, or no /proc. Such a write, and all until one can open it,
// go through the file's own descriptor, alone on the file. Any file has another for
// DataRanges.
type companion struct {
	reopen    func(fd int) (int, error)   // aio.Reopen, but in tests
	setDirect func(fd int, on bool) error // aio.SetDirect, but in tests
	opened    atomic.Bool

	mu  sync.Mutex
	osf *os.File // this and fd never change once opened
	fd  int
}

// ready reports whether the companion is open, and stays so, without waiting for
// anything.
func (c *companion) ready() bool { return c.opened.Load() }

// open opens the companion of f unless it is open. It tries anew each time.
func (c *companion) open(f *AsyncFile) error {
	if c.ready() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.osf == nil {
		fd, err := c.reopen(f.fd)
		if err != nil {
			return err
		}
		c.fd, c.osf = fd, os.NewFile(uintptr(fd), f.name)
		c.opened.Store(true)
	}
	return nil
}

func (c *companion) close() error {
	if c.osf == nil {
		return nil
	}
	return c.osf.Close()
}

// performCached carries out what is left of a write by way of the page cache, and
// flushes the pages before it returns. Where the companion was not ready when the
// write was let go, nothing direct of this file is in flight, nor begins, before it
// returns.
func (f *AsyncFile) performCached(o *operation) {
	done := o.done
	if why := f.companion.open(f); why == nil {
		o.fail(f.write(f.companion.osf, f.companion.fd, o))
	} else {
		f.writeAlone(o, why)
	}
	n := o.done - done
	stats := &f.ring.stats
	stats.BytesCopied.Add(uint64(n))
	if n > 0 && !ofWholeBlocks(o.op.Offset, n, f.align.Offset) {
		stats.ReadModifyWrites.Add(1)
	}
	if e := f.flush(o.op.Offset+int64(done), int64(n)); e != nil && o.err == nil {
		o.done = done
		o.fail(e)
	}
}

// write writes what is left of o, by an offset or, where only the kernel can place
// an append, by the cursor of osf.
func (f *AsyncFile) write(osf *os.File, fd int, o *operation) error {
	if o.op.Kind == OpAppend && f.serial() {
		return appendTo(osf, o)
	}
	n, err := transfer(osf, fd, o.op.Kind, &o.cursor, o.op.Offset+int64(o.done))
	o.done += n
	return err
}

// flagTries is how often a write turns O_DIRECT off, when another AsyncFile, on a
// duplicate of the descriptor, turns it on again in between.
const flagTries = 100

// writeAlone writes through the file's own descriptor, with O_DIRECT off for so
// long, since there is no companion; why says the reason. Who shares the open file
// with other processes has them write through the page cache meanwhile, which
// harms nobody. The lock keeps two of these apart.
func (f *AsyncFile) writeAlone(o *operation, why error) {
	f.companion.mu.Lock()
	defer f.companion.mu.Unlock()
	for try := range flagTries {
		time.Sleep(time.Duration(try) * time.Microsecond) // not in step with the other
		direct, e := f.hasDirect()
		if direct {
			e = f.companion.setDirect(f.fd, false)
		}
		if e != nil {
			o.fail(f.alignmentError(o, errors.Join(why, e)))
			return
		}
		done := o.done
		err := f.write(f.osf, f.fd, o)
		if direct {
			f.companion.setDirect(f.fd, true) // the file system took it before
		}
		o.fail(err)
		if o.done > done || !errors.Is(err, syscall.EINVAL) {
			return
		}
	}
}

// hasDirect reports whether O_DIRECT is set now.
func (f *AsyncFile) hasDirect() (bool, error) {
	flags, err := aio.StatusFlags(f.fd)
	return flags&aio.ODirect != 0, err
}

// alignmentError says what of o O_DIRECT does not allow.
func (f *AsyncFile) alignmentError(o *operation, why error) error {
	e := &AlignmentError{What: "offset", Have: o.op.Offset, Need: f.align.Offset, Err: why}
	if o.op.Offset%int64(f.align.Offset) == 0 {
		e.What, e.Have = "length", int64(o.want)
	}
	return e
}

// flush leaves no dirty page of the range behind, nor a clean one where that can
// be helped: direct I/O would have to, in io_submit. It takes no failure away
// from the descriptor whose fsync(2) is to tell it. On the companion it is quicker:
// aio.Flush holds up those who write to the page cache meanwhile (inode lock).
func (f *AsyncFile) flush(off, n int64) error {
	if n <= 0 {
		return nil
	}
	page := int64(bufferAlign)
	from, to := off-off%page, (off+n+page-1)/page*page
	var err error
	if f.companion.ready() {
		err = aio.WriteBack(f.companion.fd, from, to-from)
	} else if err = aio.Flush(f.fd, from, to-from); errors.Is(err, errors.ErrUnsupported) {
		err = nil // then direct I/O does it
	}
	aio.Uncache(f.fd, from, to-from)
	return err
}
