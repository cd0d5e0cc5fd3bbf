package asyncfile

import (
	"context"
	"errors"
	"iter"
	"math"
)

// A Range is a part of a file.
type Range struct {
	Offset int64 // in bytes, 0 or more
	Length int   // in bytes, 0 or more
}

// A Chunk is what ReadMany has read of one Range.
type Chunk struct {
	Range
	Index int    // of the Range in the sequence, from 0; -1 with an error that ends the loop
	Data  []byte // Length bytes, or fewer beside an error; valid until the loop's next step
}

// ReadMany reads any number of ranges, many at a time:
//
//	for c, err := range f.ReadMany(ctx, slices.Values(ranges)) {
//		if err != nil {
//			return err
//		}
//		use(c.Data) // until the next step
//	}
//
// It keeps up to 32 reads in flight (WithReadDepth) in up to 64 MiB of memory
// (WithReadMemory), and so takes more of ranges than it has given back. Chunks come
// in the order of ranges, or as they complete (WithAnyOrder), one for each Range.
// Neighbours in the sequence that touch or overlap are read as one (WithMergeGap,
// WithMaxMerge): sort them by offset. On a direct file whole blocks are read into
// aligned memory, and nothing is copied.
//
// Data is the loop's memory, used again after the step: copy what is to stay.
// Ranges that overlap may share it: do not write to it.
//
// An error is that of its Range, and the loop goes on if its body does. Data then has
// the bytes before it. It is io.EOF, bare, where the file ends within the Range, or
// before it, a *fs.PathError as of ReadAt, and os.ErrInvalid for a Range that is less
// than zero, ends beyond the largest offset, or has more bytes than WithReadMemory.
// Ranges that were read as one do not share errors: those that it leaves out are
// read again, each by itself.
//
// Two errors end the loop, with Index -1 and no Data. The end of ctx: the error
// answers errors.Is for ErrAbandoned and ctx.Err(). And arguments that cannot have been
// meant, options out of range among them: os.ErrInvalid.
//
// A loop that ends, or is left early, first waits for the reads in flight, for as
// long as ctx lives; so it leaves nothing behind. What is in flight when ctx ends goes on
// without the loop, which keeps its memory for it: the end of ctx is noticed within
// 2 ms whatever the device does. The sequence may be used more than once, and at the
// same time, if ranges may.
func (f *AsyncFile) ReadMany(ctx context.Context, ranges iter.Seq[Range], opts ...ReadManyOption) iter.Seq2[Chunk, error] {
	c, err := newReadManyConfig(opts)
	switch {
	case !f.opened():
		err = errors.Join(err, invalid("ReadMany of no file: use an open AsyncFile"))
	case ctx == nil:
		err = errors.Join(err, invalid("ReadMany: no context: pass context.Background() to wait for as long as it takes"))
	case ranges == nil:
		err = errors.Join(err, invalid("ReadMany: no ranges: pass a sequence, such as slices.Values(list)"))
	}
	return func(yield func(Chunk, error) bool) {
		if err != nil {
			yield(Chunk{Index: -1}, err)
			return
		}
		g := newGathering(ctx, f, c, yield)
		defer g.leave()
		for r := range ranges {
			if !g.add(r) {
				return
			}
		}
		g.finish()
	}
}

const (
	defaultReadDepth  = 32
	defaultReadMemory = 64 << 20
	defaultMaxMerge   = 1 << 20

	maxMaxMerge = 1 << 30
)

// A ReadManyOption adjusts a call of ReadMany.
type ReadManyOption func(*readManyConfig)

type readManyConfig struct {
	depth    int
	memory   int
	gap      int
	maxMerge int
	anyOrder bool
	errs     []error
}

// WithReadDepth sets how many reads ReadMany has in flight at most: 1 to 1024,
// default 32. It has no more than the Ring's depth.
func WithReadDepth(n int) ReadManyOption {
	return func(c *readManyConfig) {
		c.depth = n
		c.reject(n < 1 || n > maxStreamDepth, "WithReadDepth(%d): use 1 to %d operations (default %d)", n, maxStreamDepth, defaultReadDepth)
	}
}

// WithReadMemory sets how many bytes of memory ReadMany takes at most, for what is
// in flight and what has been read and not been passed on: 4096 or more, default
// 64 MiB. A read takes a power of two of at least 4096. A Range with more bytes is
// refused; one that only its rounding makes larger is read alone.
func WithReadMemory(n int) ReadManyOption {
	return func(c *readManyConfig) {
		c.memory = n
		c.reject(n < bufferAlign, "WithReadMemory(%d): use %d bytes or more (default %d)", n, bufferAlign, defaultReadMemory)
	}
}

// WithMergeGap has ReadMany read neighbours as one that are up to n bytes apart,
// and drop what is between them. 0 or more, default 0. A gap that is read costs what
// its bytes do; on local disks that is rarely less than another read costs.
func WithMergeGap(n int) ReadManyOption {
	return func(c *readManyConfig) {
		c.gap = n
		c.reject(n < 0, "WithMergeGap(%d): use 0 bytes or more (default 0)", n)
	}
}

// WithMaxMerge sets how many bytes the ranges that ReadMany reads as one may span: 0
// to 1 GiB, default 1 MiB. With 0 each Range is a read of its own.
func WithMaxMerge(n int) ReadManyOption {
	return func(c *readManyConfig) {
		c.maxMerge = n
		c.reject(n < 0 || n > maxMaxMerge, "WithMaxMerge(%d): use 0 to %d bytes (default %d)", n, maxMaxMerge, defaultMaxMerge)
	}
}

// WithAnyOrder has ReadMany pass chunks on as they complete. Index tells which is
// which.
func WithAnyOrder() ReadManyOption {
	return func(c *readManyConfig) { c.anyOrder = true }
}

func (c *readManyConfig) reject(bad bool, format string, args ...any) {
	if bad {
		c.errs = append(c.errs, invalid(format, args...))
	}
}

func newReadManyConfig(opts []ReadManyOption) (*readManyConfig, error) {
	c := &readManyConfig{depth: defaultReadDepth, memory: defaultReadMemory, maxMerge: defaultMaxMerge}
	for _, opt := range opts {
		if opt != nil {
			opt(c)
		}
	}
	c.maxMerge = min(c.maxMerge, c.memory)
	return c, errors.Join(c.errs...)
}

// check returns an error where r cannot be read.
func (c *readManyConfig) check(r Range) error {
	switch {
	case r.Offset < 0 || r.Length < 0:
		return invalid("Range of %d bytes at offset %d: use 0 or more for both", r.Length, r.Offset)
	case r.Offset > math.MaxInt64-int64(r.Length):
		return invalid("Range of %d bytes at offset %d: no offset is so large as its end", r.Length, r.Offset)
	case r.Length > c.memory:
		return invalid("Range of %d bytes at offset %d: ReadMany may take %d bytes of memory: divide it, or use WithReadMemory", r.Length, r.Offset, c.memory)
	}
	return nil
}
