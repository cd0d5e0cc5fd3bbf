package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// SyscallConn returns a raw file, as os.File.SyscallConn does. Its Control can
// always be used, and keeps the descriptor valid for as long as it runs. Its Read and
// Write are for transfers at the cursor that the kernel makes by itself, as package
// net's sendfile(2) is, and they answer errors.ErrUnsupported where the bytes have to
// go through the library instead: on a direct file, under a deadline, and in append
// mode. Package net then copies with Read.
func (f *File) SyscallConn() (syscall.RawConn, error) {
	raw, err := f.os().SyscallConn()
	if err != nil || !f.onDisk() {
		return raw, err
	}
	return &rawConn{raw, f}, nil
}

// A rawConn is the syscall.RawConn of a File on a disk.
type rawConn struct {
	syscall.RawConn
	file *File
}

// Read has a turn at reading, as that of an os.File. net.sendFile (net/sendfile.go)
// takes an error without a call of f for "not handled".
func (c *rawConn) Read(f func(fd uintptr) bool) error {
	if !c.file.kernelReads() {
		return c.refuse("SyscallConn.Read")
	}
	c.file.cursor.Take(file.Reading, false, nil)
	defer c.file.cursor.Give(file.Reading, false)
	return c.RawConn.Read(f)
}

// Write has a turn at writing, as that of an os.File.
func (c *rawConn) Write(f func(fd uintptr) bool) error {
	if !c.file.kernelWrites() {
		return c.refuse("SyscallConn.Write")
	}
	c.file.cursor.Take(file.Writing, false, nil)
	defer c.file.cursor.Give(file.Writing, false)
	return c.RawConn.Write(f)
}

func (c *rawConn) refuse(op string) error {
	if err := c.Control(func(uintptr) {}); err != nil {
		return err // closed
	}
	return &fs.PathError{Op: op, Path: c.file.Name(), Err: fmt.Errorf(
		"asyncfile: a direct file, one with a deadline and one in append mode are read and written by their methods: %w", errors.ErrUnsupported)}
}
