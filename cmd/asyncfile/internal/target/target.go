// Package target opens what ping, bench and tune work on: a file without a name in a
// directory, a file, or a block device.
package target

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed-39be8cca/asyncfile"
)

// A Target is an open file of at least one block.
type Target struct {
	Name    string
	File    *os.File // buffered
	Size    int64    // bytes
	Scratch bool     // it has no name, and goes when it is closed
}

// ErrOverwrite is the error of Open where writes would destroy what somebody has stored.
var ErrOverwrite = errors.New("writing would destroy what is stored there")

// What Open is asked for.
type Request struct {
	Path      string
	Size      int64 // of the file that is made in a directory, in bytes
	Write     bool  // it is to be written
	Overwrite bool  // even where it is a file or a device that is there already
}

// Open opens a target. In a directory it makes a file of random bytes, on the device when
// Open returns. The error is that of os.OpenFile, ErrOverwrite, or the cause of ctx.
func Open(ctx context.Context, r Request) (*Target, error) {
	info, err := os.Stat(r.Path)
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	switch {
	case mode.IsDir():
		return scratch(ctx, r)
	case !mode.IsRegular() && (mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0):
		return nil, &fs.PathError{Op: "open", Path: r.Path, Err: errors.New("neither a file, a directory nor a block device")}
	case r.Write && !r.Overwrite:
		return nil, &fs.PathError{Op: "open", Path: r.Path, Err: ErrOverwrite}
	}
	flag := os.O_RDONLY
	if r.Write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(r.Path, flag, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, 2) // a block device tells its size to nothing else
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Target{Name: r.Path, File: f, Size: size}, nil
}

// scratch makes a file without a name.
func scratch(ctx context.Context, r Request) (*Target, error) {
	f, err := os.OpenFile(r.Path, unix.O_TMPFILE|unix.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EISDIR) { // no O_TMPFILE there
		if f, err = os.CreateTemp(r.Path, ".asyncfile-*"); err == nil {
			err = os.Remove(f.Name())
		}
	}
	if err != nil {
		return nil, err
	}
	t := &Target{Name: r.Path, File: f, Size: r.Size, Scratch: true}
	if err := t.fill(ctx); err != nil {
		f.Close()
		return nil, fmt.Errorf("a file of %d bytes for the test: %w", r.Size, err)
	}
	return t, nil
}

// fill writes random bytes, which no device can shorten or guess.
func (t *Target) fill(ctx context.Context) error {
	const block = 1 << 20
	source := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, block)
	for off := int64(0); off < t.Size; off += block {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		source.Read(buf)
		if _, err := t.File.WriteAt(buf[:min(block, t.Size-off)], off); err != nil {
			return err
		}
	}
	if err := t.File.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(t.File.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// Blocks returns how many blocks of so many bytes there are, at least one.
func (t *Target) Blocks(size int) (int64, error) {
	if n := t.Size / int64(size); n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%s has %d bytes, and a block of %d does not fit", t.Name, t.Size, size)
}

// Async returns the target as an AsyncFile with the options. The Target is to be closed
// after it.
func (t *Target) Async(opts ...asyncfile.Option) (*asyncfile.AsyncFile, error) {
	f, err := t.Again()
	if err != nil {
		return nil, err
	}
	a, err := asyncfile.New(f, opts...)
	if err != nil {
		f.Close()
	}
	return a, err
}

// Again opens the target once more, with status flags of its own.
func (t *Target) Again() (*os.File, error) {
	flags, err := unix.FcntlInt(t.File.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", t.File.Fd()), flags&unix.O_ACCMODE|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: t.Name, Err: err}
	}
	return os.NewFile(uintptr(fd), t.Name), nil // errors then have the name that was given
}

// Close closes the target; a file without a name is gone then.
func (t *Target) Close() error { return t.File.Close() }
