package asyncfile

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// A cursor is where a file is read and written next. It is the one that the kernel
// keeps in the open file description, so that duplicates of the descriptor and
// children see it move and may move it, as with an os.File.
//
// The calls that use it take turns as those of an os.File do, by the same three
// locks. One Read at a time: poll.FD has a lock for that, which sendfile(2) and
// copy_file_range(2) hold as well, however long they take. One Write at a time,
// likewise. And one at a time of all that find or set the position: the kernel has
// f_pos_lock for that, which read(2), write(2) and lseek(2) hold, and sendfile(2)
// and its like do not. These locks are the library's own, since it also transfers
// bytes by calls that know nothing of the kernel's cursor, and since a deadline
// has to end a wait for them.
type cursor struct {
	osf      *os.File
	appends  bool // opened with O_APPEND
	reads    turn // taken before position
	writes   turn // taken before position
	position turn

	// kernel guards the kernel's cursor of a file in append mode, which an
	// AsyncFile's Append borrows to learn where its data went. It is taken last, and
	// nothing but a system call is waited for with it.
	kernel sync.Mutex
}

func (c *cursor) init(osf *os.File, appends bool) {
	c.osf, c.appends = osf, appends
	c.reads.init()
	c.writes.init()
	c.position.init()
}

// take waits for the turn of one side, reads or writes, and for the position. It
// reports false where past was closed first. With plain the kernel moves the
// cursor, until give.
func (c *cursor) take(side *turn, plain bool, past <-chan struct{}) bool {
	if !side.take(past) {
		return false
	}
	if !c.position.take(past) {
		side.give()
		return false
	}
	if plain && c.appends {
		c.kernel.Lock()
	}
	return true
}

// give ends what take began.
func (c *cursor) give(side *turn, plain bool) {
	if plain && c.appends {
		c.kernel.Unlock()
	}
	c.position.give()
	side.give()
}

// seek is lseek(2), for who has the position.
func (c *cursor) seek(offset int64, whence int) (int64, error) {
	if c.appends {
		c.kernel.Lock()
		defer c.kernel.Unlock()
	}
	return c.osf.Seek(offset, whence)
}

// append writes p to a file in append mode, whatever else happens at the cursor,
// which stays where it is, and returns where in the file p went: only the cursor
// tells.
func (c *cursor) append(p []byte) (n int, at int64, err error) {
	c.kernel.Lock()
	defer c.kernel.Unlock()
	was, seekErr := c.osf.Seek(0, io.SeekCurrent)
	n, err = c.osf.Write(p)
	if seekErr == nil {
		if end, e := c.osf.Seek(0, io.SeekCurrent); e == nil {
			at = end - int64(n)
		}
		c.osf.Seek(was, io.SeekStart)
	}
	return n, at, err
}

// A turn is a mutex for which a deadline ends the wait. As with that of poll.FD, who
// comes while it is free gets it before those that are being woken.
type turn struct {
	taken   atomic.Bool
	waiting atomic.Int32
	given   chan struct{} // has one of those that wait look again; has room for one
}

func (t *turn) init() { t.given = make(chan struct{}, 1) }

// take waits for the turn, and reports false where past was closed first.
func (t *turn) take(past <-chan struct{}) bool {
	return t.taken.CompareAndSwap(false, true) || t.wait(past)
}

func (t *turn) wait(past <-chan struct{}) bool {
	// The count comes before the look and give's look at the count after it has
	// given: one of the two sees the other.
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	for !t.taken.CompareAndSwap(false, true) {
		select {
		case <-t.given: // what is left there by one who gives up wakes the next
		case <-past:
			return false
		}
	}
	return true
}

func (t *turn) give() {
	t.taken.Store(false)
	if t.waiting.Load() > 0 {
		select {
		case t.given <- struct{}{}:
		default:
		}
	}
}

// atCursor carries out op, whose turn the caller has, by calls that have offsets.
//
// One lseek(2) takes the range and moves the cursor behind it. That is atomic for
// whoever has the open file description, as read(2) and write(2) are. What was not
// transferred is given back.
func (f *File) atCursor(op Op, past <-chan struct{}) (n int, err error) {
	if op.Kind.writes() && f.cursor.appends {
		return f.appendAtCursor(op.Buf, past)
	}
	taken := int64(len(op.Buf))
	end, err := f.cursor.seek(taken, io.SeekCurrent)
	if err != nil { // so far does no cursor go: beyond a block device, say
		taken = 0
		end, err = f.cursor.seek(0, io.SeekCurrent)
	}
	if err != nil {
		return 0, f.async.pathError(op.Kind, errors.Unwrap(err))
	}
	op.Offset = end - taken
	n, err = f.transfer(op, past)
	if int64(n) != taken {
		f.cursor.seek(int64(n)-taken, io.SeekCurrent)
	}
	if n > 0 && op.Kind == OpRead && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // the next Read meets it, as that of an os.File
	}
	return n, err
}

// appendAtCursor appends p, as one write, and moves the cursor behind it.
func (f *File) appendAtCursor(p []byte, past <-chan struct{}) (n int, err error) {
	op := Op{Kind: OpAppend, Buf: p}
	var future *Future
	switch {
	case past == nil:
		future = f.async.start(op)
		n, err = future.Wait()
	case f.async.late(past):
		err = f.async.pathError(op.Kind, os.ErrDeadlineExceeded)
	default:
		op.Buf = AlignedBuffer(len(p))
		copy(op.Buf, p)
		future = f.async.startUntil(op, past)
		n, err = f.async.await(future, op.Kind, past)
	}
	if n > 0 {
		f.cursor.seek(future.Offset()+int64(n), io.SeekStart)
	}
	return n, err
}
