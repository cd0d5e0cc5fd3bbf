package asyncfile

import (
	"errors"
	"io"
	"math"
	"os"
	"reflect"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// kernelChunk is the most bytes, as long as copy_file_range(2) takes them, that a
// copy moves before others have their turn at the cursors, and deadlines are looked
// at. It is a multiple of every block, so that blocks can be shared by reference.
const kernelChunk = 64 << 20

// How many bytes at a time a copy through memory takes to or from a direct file:
// as many as io.Copy, since who reads or writes the other end may look at the cursor
// in between; and more where that is a file or a socket, to and from which an os.File
// would have the kernel copy without end.
const (
	memoryChunk = 32 << 10
	fileChunk   = 1 << 20
)

// ReadFrom copies from r to the file, at the cursor, until io.EOF. What a Read of r
// brought is in the file before the next Read begins. Where r is a File or an
// os.File the kernel copies by itself if it can, as it does for os.File:
// copy_file_range(2). A socket is read through memory.
//
// A Writer keeps several writes in flight, where that matters more.
func (f *File) ReadFrom(r io.Reader) (n int64, err error) {
	if err := f.refused(OpWrite); err != nil {
		return 0, err
	}
	if !f.onDisk() {
		return f.os().ReadFrom(beneath(r))
	}
	for src := f.sourceInKernel(r); src != nil && f.kernelWrites() && src.ready(); {
		m, more, err := f.readFromKernel(src)
		if n += m; err != nil || !more {
			return n, err
		}
	}
	m, err := f.readFromMemory(r)
	return n + m, err
}

// readFromMemory is ReadFrom where the kernel does not copy by itself.
func (f *File) readFromMemory(r io.Reader) (n int64, err error) {
	end := r
	limited, ok := r.(*io.LimitedReader)
	if ok {
		end = limited.R
	}
	src, _ := end.(*File)
	if src != nil && limited == nil {
		r = fileWithoutWriteTo{File: src}
	}
	if !f.async.core.Direct && !src.direct() {
		return io.Copy(fileWithoutReadFrom{File: f}, r)
	}
	size := memoryChunk
	if _, ok := end.(syscall.Conn); ok {
		size = fileChunk
		r = struct{ io.Reader }{r} // whose WriteTo would take smaller steps
	}
	return io.CopyBuffer(fileWithoutReadFrom{File: f}, r, AlignedBuffer(size))
}

// writeToMemory is WriteTo where the kernel does not copy by itself.
func (f *File) writeToMemory(w io.Writer) (n int64, err error) {
	if !f.async.core.Direct {
		return io.Copy(w, fileWithoutWriteTo{File: f})
	}
	size := memoryChunk
	if _, ok := w.(syscall.Conn); ok {
		size = fileChunk
		w = struct{ io.Writer }{w} // whose ReadFrom would take smaller steps
	}
	return io.CopyBuffer(w, fileWithoutWriteTo{File: f}, AlignedBuffer(size))
}

// WriteTo copies the file, from the cursor to its end, to w. Where w is a File, an
// os.File or a socket the kernel copies by itself if it can, as it does for
// os.File: copy_file_range(2), sendfile(2).
//
// A Reader keeps several reads in flight, where that matters more.
func (f *File) WriteTo(w io.Writer) (n int64, err error) {
	if err := f.refused(OpRead); err != nil {
		return 0, err
	}
	if !f.onDisk() {
		return f.os().WriteTo(w)
	}
	if dst, ok := w.(*File); ok {
		return dst.ReadFrom(f)
	}
	if f.kernelReads() {
		var more bool
		if dst, ok := w.(*os.File); ok {
			n, more, err = f.writeToFile(dst)
		} else if conn, ok := w.(syscall.Conn); ok && !ofOS(w) {
			n, more, err = f.sendfile(w, conn)
		} else {
			more = true
		}
		if err != nil || !more {
			return n, err
		}
	}
	m, err := f.writeToMemory(w)
	return n + m, err
}

// kernelReads reports whether the kernel may read at the cursor by itself: nothing
// is to be aligned, no deadline is to be kept, and no Append borrows the cursor.
func (f *File) kernelReads() bool {
	return f.onDisk() && f.plain() && !f.async.core.Appends() && f.readUntil.wait() == nil
}

func (f *File) kernelWrites() bool {
	return f.onDisk() && f.plain() && !f.async.core.Appends() && f.writeUntil.wait() == nil
}

// A kernelSource is a file from which the kernel can copy.
type kernelSource struct {
	r       io.Reader         // for os.File, that knows it
	file    *File             // whose file r is, or nil
	limited *io.LimitedReader // that it is read through, or nil
}

func (s *kernelSource) ready() bool { return s.file == nil || s.file.kernelReads() }

// sourceInKernel returns r as a kernelSource, or nil where it is none: where a Read
// may wait for longer than a disk takes.
func (f *File) sourceInKernel(r io.Reader) *kernelSource {
	s := new(kernelSource)
	if limited, ok := r.(*io.LimitedReader); ok {
		s.limited, r = limited, limited.R
	}
	if inner, ok := r.(fileWithoutWriteTo); ok {
		r = inner.File
	}
	switch src, ok := r.(*File); {
	case ok && src.onDisk():
		s.file, s.r = src, src.os()
	case !ok && ofOS(r):
		s.r = r
	default:
		return nil
	}
	if !copyable(f.os(), s.r) {
		return nil
	}
	return s
}

// ofOS reports whether v is an os.File, or what os.File.WriteTo and ReadFrom pass on
// in their own place: a type of package os as well.
func ofOS(v any) bool {
	if _, ok := v.(*os.File); ok {
		return true
	}
	t := reflect.TypeOf(v)
	return t != nil && t.PkgPath() == "os"
}

// copyable reports whether os.File is to copy from src, which is of package os, to dst:
// whether src is a regular file with anything in it. Those of /proc have a size of 0,
// and may keep a Read waiting. It also has the error where either is closed, or dst
// not open for writing.
func copyable(dst *os.File, src any) bool {
	file, ok := src.(interface{ Stat() (os.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Is(err, os.ErrClosed)
	}
	if info.Size() == 0 {
		_, err = dst.Write(nil)
	}
	return info.Mode().IsRegular() && (info.Size() > 0 || err != nil)
}

// readFromKernel has the kernel copy a chunk, and reports whether there may be more.
func (f *File) readFromKernel(s *kernelSource) (n int64, more bool, err error) {
	chunk := &io.LimitedReader{R: s.r, N: kernelChunk}
	if s.limited != nil {
		chunk.N = min(chunk.N, s.limited.N)
	}
	want := chunk.N
	// As os.File has it: the lock of the destination, then that of the source.
	f.cursor.Take(file.Writing, false, nil)
	defer f.cursor.Give(file.Writing, false)
	if s.file != nil {
		s.file.cursor.Take(file.Reading, false, nil)
		defer s.file.cursor.Give(file.Reading, false)
	}
	f.abandoned.wait(0, math.MaxInt64, nil)
	n, err = f.os().ReadFrom(chunk)
	if s.limited != nil {
		s.limited.N -= want - chunk.N
	}
	return n, n == kernelChunk, err
}

// writeToFile has the kernel copy to dst, if that is a regular file, and reports
// whether there may be more.
func (f *File) writeToFile(dst *os.File) (n int64, more bool, err error) {
	if info, err := dst.Stat(); err == nil && !info.Mode().IsRegular() || !copyable(dst, f.os()) {
		return 0, true, nil
	}
	for more = true; more && f.kernelReads(); {
		var m int64
		if m, err = f.writeChunk(dst); err != nil {
			return n + m, false, err
		}
		n, more = n+m, m == kernelChunk
	}
	return n, more, nil
}

func (f *File) writeChunk(dst *os.File) (int64, error) {
	f.cursor.Take(file.Reading, false, nil)
	defer f.cursor.Give(file.Reading, false)
	return dst.ReadFrom(&io.LimitedReader{R: f.os(), N: kernelChunk})
}

// sendfile has the kernel send the file to the socket that w is, and reports whether
// the rest is to be sent otherwise. Others' Reads wait for it, as with an os.File.
func (f *File) sendfile(w io.Writer, conn syscall.Conn) (n int64, more bool, err error) {
	f.cursor.Take(file.Reading, false, nil)
	defer f.cursor.Give(file.Reading, false)
	n, err = f.os().WriteTo(socket{conn, w})
	if err == errNotSent {
		return n, true, nil
	}
	return n, false, err
}

// A socket is a writer that os.File knows by its SyscallConn. If the kernel cannot
// send to it os.File takes to Read and Write: this ends at once.
type socket struct {
	syscall.Conn
	w io.Writer
}

var errNotSent = errors.New("asyncfile: no sendfile")

func (s socket) Write(p []byte) (n int, err error) {
	if n, err = s.w.Write(p); err == nil && n == len(p) {
		err = errNotSent
	}
	return n, err
}

// beneath returns the os.File beneath a File that has no cursor of the library's,
// and any other reader as it is.
func beneath(r io.Reader) io.Reader {
	if src, ok := r.(*File); ok && !src.onDisk() {
		return src.os()
	}
	return r
}

// noReadFrom, embedded beside a File, hides its ReadFrom, so that io.Copy does not
// come back to it.
//
//lint:ignore U1000 it is used by hiding a method
type noReadFrom struct{}

//lint:ignore U1000 it is never called
func (noReadFrom) ReadFrom(io.Reader) (int64, error) { panic("unreachable") }

type fileWithoutReadFrom struct {
	noReadFrom //lint:ignore U1000 it hides File.ReadFrom
	*File
}

// noWriteTo does the same for WriteTo.
//
//lint:ignore U1000 as noReadFrom
type noWriteTo struct{}

//lint:ignore U1000 it is never called
func (noWriteTo) WriteTo(io.Writer) (int64, error) { panic("unreachable") }

type fileWithoutWriteTo struct {
	noWriteTo //lint:ignore U1000 it hides File.WriteTo
	*File
}
