package file

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// PunchHole gives back the blocks of the n bytes from offset off on.
func (f *Handle) PunchHole(off, n int64) error {
	return f.changeRange("punch", off, n, func() error { return f.punch(off, n) })
}

// ZeroRange has the n bytes from offset off on read as zeros.
func (f *Handle) ZeroRange(off, n int64) error {
	return f.changeRange("zero", off, n, func() error {
		f.sequence.seen(f.Size())
		err := f.zero(off, n)
		if err == nil {
			f.sequence.grown(off + n)
		}
		return err
	})
}

// changeRange runs change alone on a direct file, since fallocate(2) waits, inode lock
// held, for all of its direct I/O, wherever that is (ext4_punch_hole, fs/ext4/inode.c,
// and xfs_file_fallocate: inode_dio_wait). So the range does not matter to
// internal/order: this is one more Exclusive.
func (f *Handle) changeRange(op string, off, n int64, change func() error) error {
	return f.resize(op, func() error {
		if err := change(); err != nil {
			return &fs.PathError{Op: op, Path: f.name, Err: err}
		}
		if f.Direct {
			// As in truncate: the ends of the range were zeroed in the page cache.
			_ = f.flush(off, n)
		}
		return nil
	})
}

// NextData returns the first range of data from offset at on. It asks on a descriptor
// of its own, since lseek(2) moves the cursor that users, children and duplicates
// share. That one stays open until Close: to close any descriptor of a file gives up all
// record locks that the process has on it (F_SETLK, fcntl(2)).
func (f *Handle) NextData(at int64) (from, to int64, err error) {
	if _, open := f.Enter(); !open {
		return 0, 0, fs.ErrClosed
	}
	defer f.Leave()
	if f.Seekless {
		return 0, 0, errors.ErrUnsupported // to open a pipe once more waits for its other end
	}
	if err := f.Seeker.open(f); err != nil {
		return 0, 0, err
	}
	return aio.NextData(f.Seeker.fd, at)
}

// EndOfData returns where data from offset at on ends, for all that is known after err
// of NextData.
func (f *Handle) EndOfData(at int64, err error) int64 {
	if errors.Is(err, syscall.ENXIO) { // nothing but a hole is left
		return at
	}
	if _, open := f.Enter(); !open {
		return at + 1
	}
	defer f.Leave()
	return f.Size()
}

// Prefetch begins to read the n bytes from offset off on into the page cache.
func (f *Handle) Prefetch(off, n int64) error {
	const op = "prefetch"
	if _, open := f.Enter(); !open {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	defer f.Leave()
	if f.Direct {
		return &fs.PathError{Op: op, Path: f.name, Err: fmt.Errorf(
			"asyncfile: reads of a direct file do not use the page cache: begin them earlier instead: %w", errors.ErrUnsupported)}
	}
	n = max(min(n, f.Size()-off), 1) // the first call is made in any case, for its error
	for ; n > 0; n, off = n-aio.MaxPrefetch, off+aio.MaxPrefetch {
		if err := aio.Prefetch(f.fd, off, min(n, aio.MaxPrefetch)); err != nil {
			return &fs.PathError{Op: op, Path: f.name, Err: err}
		}
	}
	return nil
}
