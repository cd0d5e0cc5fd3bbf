package asyncfile

import (
	"fmt"
	"io"
	"io/fs"
)

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
	spare  [][]byte
	begun  bool  // it has had a buffer
	owed   int64 // bytes taken, and neither known to be in the file nor given up with an error that was told
	err    error // the first
	closed bool
}

// NewWriter returns a Writer to f from offset off on, in bytes. A file opened with
// O_APPEND refuses its writes. No file, an offset below 0 and an option out of range
// answer os.ErrInvalid.
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

// Flush writes what has been taken and waits until it is in the file. An error, a
// *StreamError, is the first of all writes so far; after Close it is fs.ErrClosed.
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
// error of all writes, a *StreamError, and leaves the file open. A second Close returns
// fs.ErrClosed.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.made() {
		w.closed, w.cur, w.spare = true, nil, nil
	}
	return err
}

// made reports whether NewWriter made w.
func (w *Writer) made() bool { return w != nil && w.file != nil }

var errNoWriter = invalid("a Writer that nothing made: use one of NewWriter")

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
	case w.file.core.Refusal() != nil: // now, since nobody may come to Flush any more
		w.err = &StreamError{w.Offset(), w.file.pathError(OpWrite, w.file.core.Refusal())}
		return nil, w.err
	case w.cur != nil:
	case len(w.behind) < w.depth:
		w.cur = w.take()
	default:
		w.settle()
		if w.err != nil {
			return nil, w.err
		}
		w.cur = w.take()
	}
	end := nextEnd(w.next, w.block) - w.next
	return w.cur[w.filled:end], nil
}

// take takes a buffer that is not in use. The first is on its own, since there may
// be no other block; the rest come together, for huge pages.
func (w *Writer) take() []byte {
	switch {
	case len(w.spare) > 0:
	case !w.begun:
		w.begun = true
		return AlignedBuffer(w.block)
	default:
		w.spare = AlignedBuffers(w.depth, w.block)
	}
	last := len(w.spare) - 1
	buf := w.spare[last]
	w.spare = w.spare[:last]
	return buf
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

// settle waits for the oldest write, and keeps its error if it is the first.
func (w *Writer) settle() {
	b := w.behind[0]
	copy(w.behind, w.behind[1:])
	w.behind = w.behind[:len(w.behind)-1]
	n, err := b.op.Wait()
	w.owe(-int64(n))
	if err != nil && w.err == nil {
		w.err = &StreamError{b.off + int64(n), err}
	}
	w.spare = append(w.spare, b.buf)
}
