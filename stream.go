package asyncfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// Unwrap returns e.Err.
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
// before it is asked to.
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
// error.
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

var (
	errNoReader = invalid("a Reader that nothing made: use one of NewReader")
	errNoWriter = invalid("a Writer that nothing made: use one of NewWriter")
)

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
	size := r.file.size()
	for r.begin(AlignedBuffer(r.block)); len(r.ahead) < r.depth && r.next < size; {
		r.begin(AlignedBuffer(r.block))
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

// A Writer writes a file from one offset on, with writes in flight behind the
// caller. It is not safe for concurrent use, and has a cursor of its own. What
// was written is in the file when Flush or Close has returned, and durable after
// a Sync. One that was not closed keeps bytes to itself: AsyncFile.Close has an
// error for that. NewWriter makes one; any other answers os.ErrInvalid.
type Writer struct {
	file   *AsyncFile
	block  int
	depth  int
	next   int64 // offset of the block that is being filled
	cur    []byte
	filled int // bytes of it
	behind []block
	owed   int64 // bytes taken, and neither known to be in the file nor given up with an error that was told
	err    error // the first
	closed bool
}

// ErrUnflushed is in the error of AsyncFile.Close where a Writer was not closed
// before: its last blocks were never written, or nobody has looked whether they were.
var ErrUnflushed = errors.New("asyncfile: a Writer was neither flushed nor closed before its file")

// lost returns the error of a file that is closed before its Writers.
func (f *AsyncFile) lost() error {
	n := f.unflushed.Load()
	if n == 0 {
		return nil
	}
	return &fs.PathError{Op: "close", Path: f.name, Err: fmt.Errorf("%d bytes may not be in the file: %w", n, ErrUnflushed)}
}

// NewWriter returns a Writer to f from offset off on, in bytes. A file opened with
// O_APPEND refuses its writes.
func NewWriter(f *AsyncFile, off int64, opts ...StreamOption) (*Writer, error) {
	c, err := newStreamConfig(f, off, opts)
	if err != nil {
		return nil, err
	}
	return &Writer{file: f, block: c.block, depth: c.depth, next: off}, nil
}

// Write takes len(p) bytes. An error, a *StreamError, is the first of all writes
// so far; nothing is written after it. On a closed file it takes nothing.
func (w *Writer) Write(p []byte) (n int, err error) {
	if !w.made() {
		return 0, errNoWriter
	}
	for len(p) > 0 {
		room, err := w.room()
		if err != nil {
			return n, err
		}
		m := copy(room, p)
		n, p = n+m, p[m:]
		w.took(m)
	}
	return n, w.err
}

// ReadFrom takes everything from r until io.EOF or an error.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	for empty := 0; ; {
		room, err := w.room()
		if err != nil {
			return n, err
		}
		m, err := r.Read(room)
		if m < 0 || m > len(room) {
			return n, fmt.Errorf("asyncfile: Writer: %T read %d of %d bytes", r, m, len(room))
		}
		n += int64(m)
		w.took(m)
		if err == io.EOF {
			return n, w.err
		}
		if err != nil {
			return n, err
		}
		if empty++; m > 0 {
			empty = 0
		} else if empty == 100 {
			return n, io.ErrNoProgress
		}
	}
}

// Flush writes what has been taken and waits until it is in the file.
func (w *Writer) Flush() error {
	switch {
	case !w.made():
		return errNoWriter
	case w.closed:
		return fmt.Errorf("asyncfile: Writer: %w", fs.ErrClosed)
	}
	w.send()
	for len(w.behind) > 0 {
		w.settle()
	}
	w.owe(-w.owed) // those that are not written the error tells of
	return w.err
}

// owe adds n to the bytes that the caller has still to be told of.
func (w *Writer) owe(n int64) {
	if n != 0 {
		w.owed += n
		w.file.unflushed.Add(n)
	}
}

// Close is Flush, after which the Writer is of no more use. It returns the first
// error of all writes, and leaves the file open.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.made() {
		w.closed, w.cur = true, nil
	}
	return err
}

// made reports whether NewWriter made w.
func (w *Writer) made() bool { return w != nil && w.file != nil }

// Offset returns where the next byte goes. Where Close or Flush returned an
// error, that error tells how far the file can be trusted.
func (w *Writer) Offset() int64 {
	if w == nil {
		return 0
	}
	return w.next + int64(w.filled)
}

// room returns the part of a buffer that is to be filled next.
func (w *Writer) room() ([]byte, error) {
	switch {
	case !w.made():
		return nil, errNoWriter
	case w.closed:
		return nil, fmt.Errorf("asyncfile: Writer: %w", fs.ErrClosed)
	case w.err != nil:
		return nil, w.err
	case w.file.closed() != nil: // now, since nobody may come to Flush any more
		w.err = &StreamError{w.Offset(), w.file.pathError(OpWrite, w.file.closed())}
		return nil, w.err
	case w.cur != nil:
	case len(w.behind) < w.depth:
		w.cur = AlignedBuffer(w.block)
	default:
		w.cur = w.settle()
		if w.err != nil {
			return nil, w.err
		}
	}
	end := nextEnd(w.next, w.block) - w.next
	return w.cur[w.filled:end], nil
}

// took counts n bytes in, and begins to write the block when it is full.
func (w *Writer) took(n int) {
	w.filled += n
	w.owe(int64(n))
	if w.next+int64(w.filled) == nextEnd(w.next, w.block) {
		w.send()
	}
}

// send begins to write what is in the block.
func (w *Writer) send() {
	if w.filled == 0 || w.err != nil {
		return
	}
	b := block{buf: w.cur, off: w.next}
	b.op = w.file.WriteAt(b.buf[:w.filled], b.off)
	w.behind = append(w.behind, b)
	w.next += int64(w.filled)
	w.cur, w.filled = nil, 0
}

// settle waits for the oldest write, keeps its error if it is the first, and
// returns its buffer.
func (w *Writer) settle() []byte {
	b := w.behind[0]
	copy(w.behind, w.behind[1:])
	w.behind = w.behind[:len(w.behind)-1]
	n, err := b.op.Wait()
	w.owe(-int64(n))
	if err != nil && w.err == nil {
		w.err = &StreamError{b.off + int64(n), err}
	}
	return b.buf
}
