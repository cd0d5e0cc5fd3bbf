package asyncfile

import (
	"errors"
	"io"
	"syscall"
)

const (
	copyBlock = 256 << 10 // bytes of one read of WriteTo
	copyDepth = 8         // reads that it has in flight
)

// ReadFrom copies from r to the file, at the cursor, until io.EOF. Where r is a
// File, an os.File or a socket the kernel copies by itself if it can, as it does
// for os.File: copy_file_range(2), splice(2).
func (f *File) ReadFrom(r io.Reader) (n int64, err error) {
	if f.writePast() != nil {
		return io.Copy(struct{ io.Writer }{f}, r)
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
// is. A File under a deadline is read through its own methods.
func kernelReader(r io.Reader) io.Reader {
	if src, ok := r.(*File); ok && src.readPast() == nil {
		return src.os()
	}
	return r
}

// WriteTo copies the file, from the cursor to its end, to w. Where w is a File,
// an os.File or a socket the kernel copies by itself if it can, as it does for
// os.File: copy_file_range(2), sendfile(2). To anything else several blocks are
// in flight at once, in no more than 2 MiB of memory.
func (f *File) WriteTo(w io.Writer) (n int64, err error) {
	if f.readPast() != nil {
		return io.Copy(w, struct{ io.Reader }{f})
	}
	if dst, ok := w.(*File); ok {
		return dst.ReadFrom(f)
	}
	if _, ok := w.(syscall.Conn); ok || f == nil || !f.deadlineable {
		return f.os().WriteTo(w)
	}
	start, err := f.os().Seek(0, io.SeekCurrent)
	if err != nil {
		return f.os().WriteTo(w) // which has the error to the letter
	}
	if f.async.size()-start <= copyBlock {
		return f.os().WriteTo(w)
	}
	return f.async.pump(w, start)
}

// errInvalidWrite is what io.Copy says of a Write that returned a count that
// cannot be.
var errInvalidWrite = errors.New("invalid write result")

// pump writes the file, from offset start to its end, to w, with reads in flight
// ahead of it. It leaves the cursor behind what w took, also where w panics.
func (f *AsyncFile) pump(w io.Writer, start int64) (n int64, err error) {
	type block struct {
		buf  []byte
		read *Future
	}
	off := start
	ahead := make([]block, 0, copyDepth) // in order of their offsets
	for len(ahead) < copyDepth {
		b := block{buf: AlignedBuffer(copyBlock)}
		b.read = f.ReadAt(b.buf, off)
		off += copyBlock
		ahead = append(ahead, b)
	}
	defer func() {
		for _, b := range ahead {
			b.read.Wait()
		}
		f.osf.Seek(start+n, io.SeekStart)
	}()
	for {
		b := ahead[0]
		got, readErr := b.read.Wait()
		if got > 0 {
			m, err := w.Write(b.buf[:got])
			if m < 0 || m > got {
				m = 0
				if err == nil {
					err = errInvalidWrite
				}
			}
			n += int64(m)
			if err == nil && m < got {
				err = io.ErrShortWrite
			}
			if err != nil {
				return n, err
			}
		}
		if readErr != nil {
			if readErr == io.EOF {
				readErr = nil
			}
			return n, readErr
		}
		copy(ahead, ahead[1:])
		b.read = f.ReadAt(b.buf, off)
		off += copyBlock
		ahead[len(ahead)-1] = b
	}
}
