package asyncfile

import (
	"errors"
	"io"
	"syscall"
)

// ReadFrom copies from r to the file, at the cursor, until io.EOF. Where r is a
// File, an os.File or a socket the kernel copies by itself if it can, as it does
// for os.File: copy_file_range(2), splice(2).
func (f *File) ReadFrom(r io.Reader) (n int64, err error) {
	if err := f.refused(OpWrite); err != nil {
		return 0, err
	}
	switch {
	case f.writePast() != nil, f.direct() && f.async.refuse != nil:
		return io.Copy(struct{ io.Writer }{f}, r)
	case f.direct():
		return f.readFromDirect(r)
	}
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return f.os().ReadFrom(kernelReader(r))
	}
	// os.File knows the LimitedReader of an os.File. A copy stands in for the
	// caller's, which is brought up to date afterwards.
	inner := *limited
	inner.R = kernelReader(limited.R)
	n, err = f.os().ReadFrom(&inner)
	limited.N = inner.N
	return n, err
}

// kernelReader returns the os.File beneath a File, and any other reader as it
// is. A direct File and one under a deadline are read through their own methods.
func kernelReader(r io.Reader) io.Reader {
	if src, ok := r.(*File); ok && src.readPast() == nil && !src.direct() {
		return src.os()
	}
	return r
}

// WriteTo copies the file, from the cursor to its end, to w. Where w is a File,
// an os.File or a socket the kernel copies by itself if it can, as it does for
// os.File: copy_file_range(2), sendfile(2). To anything else several blocks are
// in flight at once, in no more than 2 MiB of memory.
func (f *File) WriteTo(w io.Writer) (n int64, err error) {
	if err := f.refused(OpRead); err != nil {
		return 0, err
	}
	if f.readPast() != nil {
		return io.Copy(w, struct{ io.Reader }{f})
	}
	if dst, ok := w.(*File); ok {
		return dst.ReadFrom(f)
	}
	_, ok := w.(syscall.Conn)
	if f == nil || !f.deadlineable || ok && !f.async.direct {
		return f.os().WriteTo(w)
	}
	start, err := f.os().Seek(0, io.SeekCurrent)
	if err != nil {
		return f.os().WriteTo(w) // which has the error to the letter
	}
	if f.async.size()-start <= defaultBlockSize && !f.async.direct {
		return f.os().WriteTo(w)
	}
	r, err := NewReader(f.async, start)
	if err != nil {
		return 0, err
	}
	defer func() { // also where w panics
		r.Close()
		f.os().Seek(r.Offset(), io.SeekStart)
	}()
	n, err = r.WriteTo(w)
	return n, plain(err)
}

// readFromDirect copies r to a direct file, with several writes in flight: the
// kernel cannot, since copy_file_range(2) knows nothing of alignment.
func (f *File) readFromDirect(r io.Reader) (n int64, err error) {
	start, err := f.os().Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	w, err := NewWriter(f.async, start)
	if err != nil {
		return 0, err
	}
	n, err = w.ReadFrom(r)
	if e := w.Close(); e != nil {
		var at *StreamError
		if errors.As(e, &at) {
			n = at.Offset - start
		}
		err = e
	}
	f.os().Seek(start+n, io.SeekStart)
	return n, plain(err)
}

// plain returns the error beneath a *StreamError, which is what os.File has.
func plain(err error) error {
	var at *StreamError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
