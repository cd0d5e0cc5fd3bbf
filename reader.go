package asyncfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// A Reader reads a file from one offset on, with reads in flight ahead of the
// caller. It is not safe for concurrent use, and has a cursor of its own.
// NewReader makes one; any other answers os.ErrInvalid.
type Reader struct {
	file  *AsyncFile
	block int
	next  int64 // offset of the next block to be begun
	ahead []block
	depth int
	rest  []byte // of the last block that was waited for, what has not been taken
	spent []byte // the buffer of that block
	end   int64  // offset at which rest ends
	err   error  // what Read returns when rest is empty
}

// NewReader returns a Reader of f from offset off on, in bytes. It reads nothing
// before it is asked to. No file, an offset below 0 and an option out of range answer
// os.ErrInvalid.
func NewReader(f *AsyncFile, off int64, opts ...StreamOption) (*Reader, error) {
	c, err := newStreamConfig(f, off, opts)
	if err != nil {
		return nil, err
	}
	return &Reader{file: f, block: c.block, depth: c.depth, next: off, end: off}, nil
}

// Read reads up to len(p) bytes. At the end of the file it returns io.EOF; any
// other error is a *StreamError, which comes after all that was read before it.
// Either is final: for what is written to the file later, make another Reader.
func (r *Reader) Read(p []byte) (n int, err error) {
	if !r.made() {
		return 0, errNoReader
	}
	if len(p) == 0 {
		return 0, nil
	}
	if !r.fill() {
		return 0, r.err
	}
	n = copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo writes what is left of the file to w, until its end or the first
// error: a *StreamError of the file, that of w as it is, or io.ErrShortWrite where w
// took less without one.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	if !r.made() {
		return 0, errNoReader
	}
	for r.fill() {
		m, err := w.Write(r.rest)
		if m < 0 || m > len(r.rest) {
			m = 0
			if err == nil {
				err = errInvalidWrite
			}
		}
		n += int64(m)
		if err == nil && m < len(r.rest) {
			err = io.ErrShortWrite
		}
		r.rest = r.rest[m:]
		if err != nil {
			return n, err
		}
	}
	if r.err == io.EOF {
		return n, nil
	}
	return n, r.err
}

// errInvalidWrite is what io.Copy says of a Write that returned a count that
// cannot be.
var errInvalidWrite = errors.New("invalid write result")

// Offset returns the offset of the next byte that Read returns.
func (r *Reader) Offset() int64 {
	if r == nil {
		return 0
	}
	return r.end - int64(len(r.rest))
}

// Close waits for the reads in flight. Read returns fs.ErrClosed afterwards.
func (r *Reader) Close() error {
	if !r.made() {
		return errNoReader
	}
	if errors.Is(r.err, fs.ErrClosed) {
		return r.err
	}
	for _, b := range r.ahead {
		b.op.Wait()
	}
	r.end = r.Offset()
	r.ahead, r.rest, r.spent = nil, nil, nil
	r.err = fmt.Errorf("asyncfile: Reader: %w", fs.ErrClosed)
	return nil
}

// made reports whether NewReader made r.
func (r *Reader) made() bool { return r != nil && r.file != nil }

var errNoReader = invalid("a Reader that nothing made: use one of NewReader")

// fill sees to it that rest is not empty, and reports false where that cannot
// be, for err.
func (r *Reader) fill() bool {
	for len(r.rest) == 0 {
		if r.err != nil {
			return false
		}
		if r.spent != nil {
			r.begin(r.spent)
		} else {
			r.start()
		}
		b := r.ahead[0]
		copy(r.ahead, r.ahead[1:])
		r.ahead = r.ahead[:len(r.ahead)-1]
		n, err := b.op.Wait()
		r.rest, r.spent, r.end = b.buf[:n], b.buf, b.off+int64(n)
		if err == io.EOF {
			r.err = err
		} else if err != nil {
			r.err = &StreamError{b.off + int64(n), err}
		}
	}
	return true
}

// start begins the first reads, no more than the file is likely to need.
func (r *Reader) start() {
	blocks := (r.file.core.Size()-r.next)/int64(r.block) + 1
	for _, buf := range AlignedBuffers(int(max(1, min(blocks, int64(r.depth)))), r.block) {
		r.begin(buf)
	}
}

// begin begins to read the next block into buf.
func (r *Reader) begin(buf []byte) {
	end := nextEnd(r.next, r.block)
	b := block{buf: buf[:r.block], off: r.next}
	b.op = r.file.ReadAt(b.buf[:end-r.next], r.next)
	r.ahead = append(r.ahead, b)
	r.next = end
}
