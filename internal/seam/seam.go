// Package seam is where something else takes the place of the running kernel for the
// files of one Ring. It is there for package asyncfiletest, whose kernel has faults,
// and stays out of the users' sight: they can make no Kernel.
//
// Beside io_submit(2) the library makes ordinary system calls on the contents of a
// file, on workers and on its callers. All of them that move bytes, commit them or
// change the size go through a File here, whichever of the library's ways they take.
package seam

import (
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Kernel answers the files of a Ring.
type Kernel struct {
	// Setup is called in place of io_setup(2).
	Setup func(depth int) (aio.Context, error)
	// Open is called for each regular file that a Ring gets. The operations of the
	// Context name the file by fd, which stays open until File.Close.
	Open func(osf *os.File, fd int) (File, error)
}

// A File makes the system calls on the contents of an open file. An error is a
// syscall.Errno, or holds one. Its methods are called by many goroutines at once.
type File interface {
	// Readv is preadv(2), and Writev pwritev(2), without the demands of O_DIRECT.
	Readv(bufs [][]byte, off int64) (int, error)
	Writev(bufs [][]byte, off int64) (int, error)
	// Append is osf.Write, in append mode: write(2), until p is written. osf is open on
	// the same file.
	Append(osf *os.File, p []byte) (int, error)
	// Sync is fsync(2), or fdatasync(2).
	Sync() error
	// Truncate is ftruncate(2).
	Truncate(size int64) error
	// Allocate is fallocate(2) with no flags.
	Allocate(off, size int64) error
	// Punch is fallocate(2) with FALLOC_FL_PUNCH_HOLE, and Zero with FALLOC_FL_ZERO_RANGE.
	Punch(off, size int64) error
	Zero(off, size int64) error
	// Close comes before the file is closed, and after every other call.
	Close() error
}
