package asyncfile

import (
	"errors"
	"io"
	"math/bits"
	"os"
	"sync"
	"sync/atomic"

	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// A cursor is where a file is read and written next. It is the one that the kernel
// keeps in the open file description, so that duplicates of the descriptor and
// children see it move and may move it, as with an os.File.
//
// The calls that use it take turns as those of an os.File do. These turns are the
// library's own, since it also transfers bytes by calls that know nothing of the
// kernel's cursor, and since a deadline has to end a wait for them.
type cursor struct {
	osf     *os.File
	appends bool // opened with O_APPEND
	turns   turns

	// kernel guards the kernel's cursor of a file in append mode, which an
	// AsyncFile's Append borrows to learn where its data went. It is taken last, and
	// nothing but a system call is waited for with it.
	kernel sync.Mutex
}

// What a call can have the turn of.
const (
	// reading and writing: one at a time. poll.FD (internal/poll/fd_mutex.go) has two
	// locks for that, which sendfile(2) and copy_file_range(2) hold as well, however
	// long they take.
	reading = 1 << iota
	writing
	// moving: one at a time of all that find or set the position. The kernel has
	// f_pos_lock for that, on regular files (file_needs_f_pos_lock, fs/file.c), which
	// read(2), write(2) and lseek(2) hold, and sendfile(2) and its like do not.
	moving
)

func (c *cursor) init(osf *os.File, appends bool) {
	c.osf, c.appends = osf, appends
	c.turns.init()
}

// take waits for the turn of what. It reports false where past was closed first.
// With plain it is the kernel that moves the cursor, until give.
func (c *cursor) take(what uint32, plain bool, past <-chan struct{}) bool {
	if !c.turns.take(what, past) {
		return false
	}
	if plain && c.appends {
		c.kernel.Lock()
	}
	return true
}

// give ends what take began.
func (c *cursor) give(what uint32, plain bool) {
	if plain && c.appends {
		c.kernel.Unlock()
	}
	c.turns.give(what)
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
	was, err := c.osf.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, 0, err
	}
	n, err = c.osf.Write(p)
	end, e := c.osf.Seek(0, io.SeekCurrent)
	if e == nil {
		at = end - int64(n)
	} else if err == nil {
		err = e
	}
	c.osf.Seek(was, io.SeekStart)
	return n, at, err
}

// turns is a set of mutexes, each a bit, of which several can be locked at once, and
// for which a deadline ends the wait. As with poll.fdMutex, who comes while they are
// free gets them before those that are being woken.
type turns struct {
	taken   atomic.Uint32
	waiting atomic.Int32     // how many
	given   [3]chan struct{} // for each bit: has one of those that wait for it look again; has room for one
}

func (t *turns) init() {
	for i := range t.given {
		t.given[i] = make(chan struct{}, 1)
	}
}

// take waits until it has all of what, and reports false where past was closed first.
func (t *turns) take(what uint32, past <-chan struct{}) bool {
	taken := t.taken.Load()
	return taken&what == 0 && t.taken.CompareAndSwap(taken, taken|what) || t.wait(what, past)
}

func (t *turns) wait(what uint32, past <-chan struct{}) bool {
	// The count comes before the look, and give's look at the count after it has
	// given: one of the two sees the other.
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	for {
		taken := t.taken.Load()
		missing := taken & what
		if missing == 0 {
			if t.taken.CompareAndSwap(taken, taken|what) {
				return true
			}
			continue
		}
		// This one was perhaps woken for what it cannot use yet, and others can.
		t.wake(what &^ missing)
		select {
		case <-t.given[bits.TrailingZeros32(missing)]:
		case <-past: // what may be in given now wakes the next
			return false
		}
	}
}

// give gives back what was taken.
func (t *turns) give(what uint32) {
	t.taken.And(^what)
	if t.waiting.Load() > 0 {
		t.wake(what)
	}
}

// wake has one of those that wait for each bit of what look again.
func (t *turns) wake(what uint32) {
	for ; what != 0; what &= what - 1 {
		select {
		case t.given[bits.TrailingZeros32(what)] <- struct{}{}:
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
		callers := vec.Bytes(p)
		if copied, fault := callers.Gather(op.Buf); fault != nil {
			if copied == 0 {
				return 0, f.async.pathError(op.Kind, fault)
			}
			op.Buf = op.Buf[:copied]
			defer func() {
				if err == nil {
					err = f.async.pathError(op.Kind, fault)
				}
			}()
		}
		future = f.async.startUntil(op, past)
		n, err = f.async.await(future, op.Kind, past)
	}
	if n > 0 {
		f.cursor.seek(future.Offset()+int64(n), io.SeekStart)
	}
	return n, err
}
