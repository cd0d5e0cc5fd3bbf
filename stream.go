package asyncfile

import (
	"errors"
	"fmt"
)

const (
	defaultBlockSize   = 256 << 10
	defaultStreamDepth = 8

	maxBlockSize   = 1 << 30
	maxStreamDepth = 1024
)

// A StreamOption adjusts a Reader or a Writer as it is made.
type StreamOption func(*streamConfig)

type streamConfig struct {
	block, depth int
	errs         []error
}

// WithBlockSize sets how many bytes a stream transfers in one operation: a
// multiple of 4096, up to 1 GiB, default 256 KiB.
func WithBlockSize(n int) StreamOption {
	return func(c *streamConfig) {
		c.block = n
		if n < bufferAlign || n > maxBlockSize || n%bufferAlign != 0 {
			c.errs = append(c.errs, invalid("WithBlockSize(%d): use a multiple of %d bytes up to %d (default %d)", n, bufferAlign, maxBlockSize, defaultBlockSize))
		}
	}
}

// WithStreamDepth sets how many operations a stream keeps in flight, and so how
// many blocks of memory it takes: 1 to 1024, default 8.
func WithStreamDepth(n int) StreamOption {
	return func(c *streamConfig) {
		c.depth = n
		if n < 1 || n > maxStreamDepth {
			c.errs = append(c.errs, invalid("WithStreamDepth(%d): use 1 to %d operations (default %d)", n, maxStreamDepth, defaultStreamDepth))
		}
	}
}

func newStreamConfig(f *AsyncFile, off int64, opts []StreamOption) (*streamConfig, error) {
	c := &streamConfig{block: defaultBlockSize, depth: defaultStreamDepth}
	for _, opt := range opts {
		if opt != nil {
			opt(c)
		}
	}
	if !f.opened() {
		c.errs = append(c.errs, invalid("stream of no file: pass an open AsyncFile"))
	}
	if off < 0 {
		c.errs = append(c.errs, invalid("stream at offset %d: use 0 or more", off))
	}
	return c, errors.Join(c.errs...)
}

// A StreamError is an error of one operation of a stream, with the offset at
// which it occurred. It unwraps to what the operation returned.
type StreamError struct {
	Offset int64 // in bytes
	Err    error // a *fs.PathError
}

// Error says what failed, and where.
func (e *StreamError) Error() string { return fmt.Sprintf("%v (at offset %d)", e.Err, e.Offset) }

// Unwrap returns e.Err, which answers errors.Is for the errno.
func (e *StreamError) Unwrap() error { return e.Err }

// A block is one operation of a stream.
type block struct {
	buf []byte
	off int64
	op  *Future // nil if none was begun
}

// nextEnd returns where a block of at most size bytes that begins at off ends,
// if the blocks after it are to begin at multiples of size.
func nextEnd(off int64, size int) int64 { return off - off%int64(size) + int64(size) }
