package asyncfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// Dup returns an os.File of a duplicate of the descriptor, dup(2), for what asks for
// an os.File. The caller closes it; either may be closed first.
//
// Above all that is os/exec, which gives a child the descriptor itself of an os.File,
// but feeds it from anything else through a pipe, by a goroutine. With that a child
// that reads less than there is has had more of the file read than it took, and where
// the File is a pipe or a terminal Cmd.Wait does not return before the goroutine's
// last Read does, though the child has ended. So assign Dup's file to Cmd.Stdin, and
// to Stdout and Stderr where the child is to write without a detour.
//
// The duplicate shares the cursor with f, and the flags of the open file, O_APPEND
// among them: what is read or written by one is behind the cursor of the other. Calls
// by either, and by children, take the place of each other at the cursor as those of
// two os.Files do. They keep no deadline of f's, and Sync and Close of f do not wait
// for them. Like os.File.Fd, Dup puts a pipe into blocking mode, as children expect
// it, after which its deadlines no longer work.
//
// A direct file has none, and answers errors.ErrUnsupported: O_DIRECT is one of the
// shared flags, so that a child, too, would have to align what it writes. Let os/exec
// copy there, or open the file a second time.
func (f *File) Dup() (*os.File, error) {
	osf := f.os()
	if f.direct() {
		return nil, &fs.PathError{Op: "dup", Path: f.Name(), Err: fmt.Errorf(
			"asyncfile: whoever uses a duplicate of a direct file has to align: pass the File, or open the file again: %w", errors.ErrUnsupported)}
	}
	raw, err := osf.SyscallConn()
	if err != nil {
		return nil, err
	}
	if !f.onDisk() {
		osf.Fd() // for its effect on pipes, which lasts
	}
	fd := -1
	controlErr := raw.Control(func(old uintptr) { fd, err = aio.Dup(int(old)) })
	runtime.KeepAlive(f)
	if controlErr != nil {
		return nil, &fs.PathError{Op: "dup", Path: f.Name(), Err: fs.ErrClosed}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
