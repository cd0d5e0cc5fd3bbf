package file

import (
	"io"
	"os"
	"sync"
)

// A Cursor is where a file is read and written next. It is the one that the kernel
// keeps in the open file description, so that duplicates of the descriptor and
// children see it move and may move it, as with an os.File.
//
// The calls that use it take turns as those of an os.File do. These turns are the
// library's own, since it also transfers bytes by calls that know nothing of the
// kernel's cursor, and since a deadline has to end a wait for them.
type Cursor struct {
	osf     *os.File
	appends bool // opened with O_APPEND
	turns   turns

	// kernel guards the kernel's cursor of a file in append mode, which an
	// AsyncFile's Append borrows to learn where its data went. It is taken last, and
	// nothing but a system call is waited for with it.
	kernel sync.Mutex
}

// What a call can have the turn of, a bit each.
const (
	// Reading and Writing: one at a time. poll.FD (internal/poll/fd_mutex.go) has two
	// locks for that, which sendfile(2) and copy_file_range(2) hold as well, however
	// long they take.
	Reading = 1 << iota
	Writing
	// Moving: one at a time of all that find or set the position. The kernel has
	// f_pos_lock for that, on regular files (file_needs_f_pos_lock, fs/file.c), which
	// read(2), write(2) and lseek(2) hold, and sendfile(2) and its like do not.
	Moving
)

func (c *Cursor) init(osf *os.File, appends bool) {
	c.osf, c.appends = osf, appends
	c.turns.init()
}

// Take waits for the turn of what. It reports false where past was closed first.
// With plain it is the kernel that moves the cursor, until Give.
func (c *Cursor) Take(what uint32, plain bool, past <-chan struct{}) bool {
	if !c.turns.take(what, past) {
		return false
	}
	if plain && c.appends {
		c.kernel.Lock()
	}
	return true
}

// Give ends what Take began.
func (c *Cursor) Give(what uint32, plain bool) {
	if plain && c.appends {
		c.kernel.Unlock()
	}
	c.turns.give(what)
}

// Seek is lseek(2), for who has the position.
func (c *Cursor) Seek(offset int64, whence int) (int64, error) {
	if c.appends {
		c.kernel.Lock()
		defer c.kernel.Unlock()
	}
	return c.osf.Seek(offset, whence)
}

// append writes p to f, which is in append mode, whatever else happens at the cursor,
// which stays where it is, and returns where in the file p went: only the cursor
// tells.
func (c *Cursor) append(f *Handle, p []byte) (n int, at int64, err error) {
	c.kernel.Lock()
	defer c.kernel.Unlock()
	was, err := c.osf.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, 0, err
	}
	n, err = f.appendBy(c.osf, p)
	end, e := c.osf.Seek(0, io.SeekCurrent)
	if e == nil {
		at = end - int64(n)
	} else if err == nil {
		err = e
	}
	c.osf.Seek(was, io.SeekStart)
	return n, at, err
}
