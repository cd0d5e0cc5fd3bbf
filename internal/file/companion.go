package file

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Companion is a second descriptor of a file. That of a direct file is without
// O_DIRECT, for what goes through the page cache. It is opened by the first write that
// needs it, which is not always possible: the process may have too many open files, or
// no permission any more, or no /proc. Such a write, and all until one can open it,
// go through the file's own descriptor, alone on the file. Any file has another for
// NextData.
type Companion struct {
	Reopen    func(fd int) (int, error)   // aio.Reopen, but in tests
	SetDirect func(fd int, on bool) error // aio.SetDirect, but in tests
	opened    atomic.Bool

	mu  sync.Mutex
	osf *os.File // this and fd never change once opened
	fd  int
}

// Ready reports whether the companion is open, and stays so, without waiting for
// anything.
func (c *Companion) Ready() bool { return c.opened.Load() }

// open opens the companion of f unless it is open. It tries anew each time.
func (c *Companion) open(f *Handle) error {
	if c.Ready() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.osf == nil {
		fd, err := c.Reopen(f.fd)
		if err != nil {
			return err
		}
		c.fd, c.osf = fd, os.NewFile(uintptr(fd), f.name)
		c.opened.Store(true)
	}
	return nil
}

func (c *Companion) close() error {
	if c.osf == nil {
		return nil
	}
	return c.osf.Close()
}

// performCached carries out what is left of a write by way of the page cache, and
// flushes the pages before it returns. Where the companion was not ready when the
// write was let go, nothing direct of this file is in flight, nor begins, before it
// returns.
func (f *Handle) performCached(o *operation) {
	done := o.done
	if why := f.Companion.open(f); why == nil {
		o.fail(f.write(f.Companion.osf, f.Companion.fd, o))
	} else {
		f.writeAlone(o, why)
	}
	n := o.done - done
	stats := &f.group.Counts
	stats.BytesCopied.Add(uint64(n))
	if n > 0 && !ofWholeBlocks(o.op.Offset, n, f.Align.Offset) {
		stats.ReadModifyWrites.Add(1)
	}
	if e := f.flush(o.op.Offset+int64(done), int64(n)); e != nil && o.err == nil {
		o.done = done
		o.fail(e)
	}
}

// write writes what is left of o, by an offset or, where only the kernel can place
// an append, by the cursor of osf.
func (f *Handle) write(osf *os.File, fd int, o *operation) error {
	if o.op.Kind == Append && f.serial() {
		return appendTo(osf, o)
	}
	n, err := transfer(f, osf, fd, o.op.Kind, &o.cursor, o.op.Offset+int64(o.done))
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
func (f *Handle) writeAlone(o *operation, why error) {
	f.Companion.mu.Lock()
	defer f.Companion.mu.Unlock()
	for try := range flagTries {
		time.Sleep(time.Duration(try) * time.Microsecond) // not in step with the other
		direct, e := f.hasDirect()
		if direct {
			e = f.Companion.SetDirect(f.fd, false)
		}
		if e != nil {
			o.fail(f.alignmentError(o, errors.Join(why, e)))
			return
		}
		done := o.done
		err := f.write(f.osf, f.fd, o)
		if direct {
			f.Companion.SetDirect(f.fd, true) // the file system took it before
		}
		o.fail(err)
		if o.done > done || !errors.Is(err, syscall.EINVAL) {
			return
		}
	}
}

// hasDirect reports whether O_DIRECT is set now.
func (f *Handle) hasDirect() (bool, error) {
	flags, err := aio.StatusFlags(f.fd)
	return flags&aio.ODirect != 0, err
}

// alignmentError says what of o O_DIRECT does not allow.
func (f *Handle) alignmentError(o *operation, why error) error {
	if o.op.Offset%int64(f.Align.Offset) == 0 {
		return f.misaligned("length", int64(o.want), f.Align.Offset, why)
	}
	return f.misaligned("offset", o.op.Offset, f.Align.Offset, why)
}

// flush leaves no dirty page of the range behind, nor a clean one where that can
// be helped: direct I/O would have to, in io_submit. It takes no failure away
// from the descriptor whose fsync(2) is to tell it. On the companion it is quicker:
// aio.Flush holds up those who write to the page cache meanwhile (inode lock).
func (f *Handle) flush(off, n int64) error {
	if n <= 0 {
		return nil
	}
	page := int64(aio.BufferAlign)
	from, to := off-off%page, (off+n+page-1)/page*page
	var err error
	if f.Companion.Ready() {
		err = aio.WriteBack(f.Companion.fd, from, to-from)
	} else if err = aio.Flush(f.fd, from, to-from); errors.Is(err, errors.ErrUnsupported) {
		err = nil // then direct I/O does it
	}
	aio.Uncache(f.fd, from, to-from)
	return err
}
