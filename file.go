package asyncfile

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
	"github.com/seed-39be8cca/asyncfile/internal/vec"
)

// A File is an AsyncFile in the shape of an *os.File: every method of it, with
// the same signature and the same behaviour. AsyncFile.File makes one. Its
// methods are safe for concurrent use as far as those of os.File are; a nil File
// answers os.ErrInvalid as a nil os.File does.
//
// What it adds: many goroutines that read or write a direct file at once share
// the Ring instead of blocking a thread each, and deadlines work on regular
// files.
//
// A call on a direct file makes the system call itself while at most three other
// operations are in flight on that file, which is the fastest way, and goes
// through the Ring otherwise. A call on a buffered file always makes it itself:
// for data in the page cache nothing is faster, and for a miss nothing is gained.
type File struct {
	async        *AsyncFile
	readUntil    deadline
	writeUntil   deadline
	abandoned    abandonedWrites
	cursor       *file.Cursor
	deadlineable bool // on a disk: with a cursor of the library's, and deadlines, which os.File has none of there
}

// File returns the blocking view of f, which shares its cursor, and its Close,
// with f. It is the same at each call, and nil for a nil AsyncFile, such as Open
// returns beside an error.
func (f *AsyncFile) File() *File {
	if f == nil {
		return nil
	}
	return &f.view
}

// initView prepares the view that File returns.
func (f *AsyncFile) initView() {
	f.view.async = f
	f.view.deadlineable = f.core.OnDisk
	f.view.cursor = &f.core.Cursor
}

// Async returns the AsyncFile that f is a view of.
func (f *File) Async() *AsyncFile {
	if f == nil {
		return nil
	}
	return f.async
}

// onDisk reports whether calls at the cursor are the library's affair. Those of a
// pipe, a terminal or a directory are os.File's alone: there a Read waits as long
// as it likes, and keeps nobody else waiting.
func (f *File) onDisk() bool { return f != nil && f.deadlineable }

// direct reports whether the file bypasses the page cache, so that it takes the
// library to transfer any bytes but aligned ones.
func (f *File) direct() bool { return f.Async().Direct() }

// plain reports whether a call may go to the os.File beneath as it is: nothing is to be
// aligned, and the running kernel is the one that is to answer it.
func (f *File) plain() bool {
	return !f.opened() || !f.async.core.Direct && !f.async.core.Staged()
}

// opened reports whether f is neither nil nor the zero File.
func (f *File) opened() bool { return f != nil && f.async != nil }

// os returns the os.File beneath, nil for a nil File.
func (f *File) os() *os.File { return f.Async().os() }

// refused returns the error of a call that transfers data where the Ring is
// closed. One that needs no Ring is refused all the same, as Handle.admit has
// it. On a closed file it is nil: os.File says that first.
func (f *File) refused(kind OpKind) error {
	if !f.opened() || !f.async.ring.core.Closed() || f.async.core.Closed() {
		return nil
	}
	return f.async.pathError(kind, ring.ErrClosed)
}

// Close waits for the operations in flight and closes the file, as
// AsyncFile.Close does.
func (f *File) Close() error { return f.Async().Close() }

// Read reads up to len(b) bytes at the cursor, which it advances.
func (f *File) Read(b []byte) (n int, err error) {
	if err := f.refused(OpRead); err != nil {
		return 0, err
	}
	if !f.onDisk() || len(b) == 0 {
		return f.os().Read(b)
	}
	past := f.readUntil.wait()
	plain := past == nil && f.plain()
	c := f.cursor
	if !c.Take(file.Reading|file.Moving, plain, past) {
		return 0, f.async.givenUp(OpRead)
	}
	defer c.Give(file.Reading|file.Moving, plain)
	if plain {
		return f.os().Read(b)
	}
	return f.atCursor(Op{Kind: OpRead, Buf: b}, past)
}

// ReadAt reads len(b) bytes from offset off, in bytes. At the end of the file
// it returns fewer, and io.EOF.
func (f *File) ReadAt(b []byte, off int64) (n int, err error) {
	past := f.readPast()
	if past == nil && f.plain() && f.refused(OpRead) == nil {
		return f.os().ReadAt(b, off)
	}
	return f.transfer(Op{Kind: OpRead, Buf: b, Offset: off}, past)
}

// Write writes b at the cursor, which it advances, or at the end of a file
// opened with O_APPEND.
func (f *File) Write(b []byte) (n int, err error) {
	if err := f.refused(OpWrite); err != nil {
		return 0, err
	}
	if !f.onDisk() || len(b) == 0 {
		return f.os().Write(b)
	}
	past := f.writeUntil.wait()
	plain := past == nil && f.plain()
	c := f.cursor
	if !c.Take(file.Writing|file.Moving, plain, past) {
		return 0, f.async.givenUp(OpWrite)
	}
	defer c.Give(file.Writing|file.Moving, plain)
	if plain {
		f.abandoned.wait(0, math.MaxInt64, nil)
		return f.os().Write(b)
	}
	return f.atCursor(Op{Kind: OpWrite, Buf: b}, past)
}

// WriteString is Write of a string.
func (f *File) WriteString(s string) (n int, err error) {
	if err := f.refused(OpWrite); err != nil {
		return 0, err
	}
	if !f.onDisk() {
		return f.os().WriteString(s)
	}
	if !f.plain() || f.writeUntil.wait() != nil {
		return f.Write([]byte(s))
	}
	c := f.cursor
	c.Take(file.Writing|file.Moving, true, nil)
	defer c.Give(file.Writing|file.Moving, true)
	f.abandoned.wait(0, math.MaxInt64, nil)
	return f.os().WriteString(s)
}

// WriteAt writes b at offset off, in bytes. It is an error on a file opened with
// O_APPEND.
func (f *File) WriteAt(b []byte, off int64) (n int, err error) {
	past := f.writePast()
	if past == nil && f.plain() && f.noneAbandoned() && f.refused(OpWrite) == nil {
		return f.os().WriteAt(b, off)
	}
	return f.transfer(Op{Kind: OpWrite, Buf: b, Offset: off}, past)
}

// Sync commits the file to stable storage, with fsync(2). Unlike AsyncFile.Sync
// it is no barrier, while nothing else is in flight.
func (f *File) Sync() error {
	if err := f.refused(OpSync); err != nil {
		return err
	}
	if past := f.writePast(); past != nil {
		if f.async.late(past) {
			return f.async.pathError(OpSync, os.ErrDeadlineExceeded)
		}
		_, err := f.async.await(f.async.startUntil(Op{Kind: OpSync}, past), OpSync, past)
		return err
	}
	if f.opened() && (f.async.core.Users() > 0 || f.async.core.Staged()) {
		_, err := f.async.Sync().Wait()
		return err
	}
	return f.os().Sync()
}

// Truncate changes the size of the file, in bytes. The cursor stays.
func (f *File) Truncate(size int64) error {
	if f.opened() {
		f.abandoned.wait(0, math.MaxInt64, nil)
	}
	return f.Async().Truncate(size)
}

// SetDeadline sets the deadline of reads and writes: see SetReadDeadline and
// SetWriteDeadline.
func (f *File) SetDeadline(t time.Time) error {
	if f == nil || !f.deadlineable {
		return f.os().SetDeadline(t)
	}
	if err := f.SetReadDeadline(t); err != nil {
		return err
	}
	return f.SetWriteDeadline(t)
}

// SetReadDeadline sets the moment at which reads, those that began under a
// deadline included, return os.ErrDeadlineExceeded; the zero time means never.
//
// On pipes, sockets and terminals it is os.File's. On regular files and block
// devices, where os.File has none, a read that is given up goes on in the kernel
// but never touches the caller's slice again: under a deadline data passes
// through a buffer of the library's. A read that began without one is not
// interrupted, and where it is at the cursor, reads there wait for it: set a
// deadline before the first of them.
func (f *File) SetReadDeadline(t time.Time) error {
	if f == nil || !f.deadlineable {
		return f.os().SetReadDeadline(t)
	}
	return f.moveDeadline(&f.readUntil, t)
}

// SetWriteDeadline sets the moment at which writes, and Sync, return
// os.ErrDeadlineExceeded, as SetReadDeadline does for reads. A write that was
// given up may still reach the file: in append mode wherever that ends then, and
// otherwise before what is written to the same place through the File afterwards,
// which waits for it, as Truncate does.
func (f *File) SetWriteDeadline(t time.Time) error {
	if f == nil || !f.deadlineable {
		return f.os().SetWriteDeadline(t)
	}
	return f.moveDeadline(&f.writeUntil, t)
}

func (f *File) moveDeadline(d *deadline, t time.Time) error {
	if f.async.core.Closed() {
		return &fs.PathError{Op: "set deadline", Path: f.async.Name(), Err: fs.ErrClosed}
	}
	d.move(t)
	return nil
}

func (f *File) readPast() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.readUntil.wait()
}

func (f *File) writePast() <-chan struct{} {
	if f == nil {
		return nil
	}
	return f.writeUntil.wait()
}

// noneAbandoned reports whether no write is to be waited for that was given up.
func (f *File) noneAbandoned() bool { return f == nil || !f.abandoned.some.Load() }

// transfer carries out an operation at an offset the quickest way.
func (f *File) transfer(op Op, past <-chan struct{}) (int, error) {
	if err := f.refused(op.Kind); err != nil {
		return 0, err
	}
	refused := op.Offset < 0 || op.Kind.writes() && f.opened() && f.async.core.Appends()
	if past != nil && len(op.Buf) > 0 && !refused {
		return f.async.transferUntil(op, past, &f.abandoned)
	}
	if op.Kind.writes() && f != nil {
		f.abandoned.wait(op.Offset, op.Offset+int64(len(op.Buf)), nil)
	}
	if !f.plain() && len(op.Buf) > 0 && !refused {
		return f.async.transferShared(op)
	}
	if op.Kind.writes() {
		return f.os().WriteAt(op.Buf, op.Offset)
	}
	return f.os().ReadAt(op.Buf, op.Offset)
}

// atCursor carries out op, whose turn the caller has, by calls that have offsets.
//
// One lseek(2) takes the range and moves the cursor behind it. That is atomic for
// whoever has the open file description, as read(2) and write(2) are. What was not
// transferred is given back.
func (f *File) atCursor(op Op, past <-chan struct{}) (n int, err error) {
	if op.Kind.writes() && f.async.core.Appends() {
		return f.appendAtCursor(op.Buf, past)
	}
	taken := int64(len(op.Buf))
	end, err := f.cursor.Seek(taken, io.SeekCurrent)
	if err != nil { // so far does no cursor go: beyond a block device, say
		taken = 0
		end, err = f.cursor.Seek(0, io.SeekCurrent)
	}
	if err != nil {
		return 0, f.async.pathError(op.Kind, errors.Unwrap(err))
	}
	op.Offset = end - taken
	n, err = f.transfer(op, past)
	if int64(n) != taken {
		f.cursor.Seek(int64(n)-taken, io.SeekCurrent)
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
		f.cursor.Seek(future.Offset()+int64(n), io.SeekStart)
	}
	return n, err
}

// The rest is os.File's own.

// Name returns the name of the file as it was given to Open.
func (f *File) Name() string { return f.os().Name() }

// Stat describes the file.
func (f *File) Stat() (os.FileInfo, error) { return f.os().Stat() }

// Seek sets the cursor, in bytes, and returns where it is then. It waits for a Read
// or Write that is on its way, but not for a copy that the kernel makes.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	if !f.onDisk() {
		return f.os().Seek(offset, whence)
	}
	f.cursor.Take(file.Moving, false, nil)
	defer f.cursor.Give(file.Moving, false)
	return f.cursor.Seek(offset, whence)
}

// ReadDir reads the directory, as os.File.ReadDir does.
func (f *File) ReadDir(n int) ([]os.DirEntry, error) { return f.os().ReadDir(n) }

// Readdir reads the directory, as os.File.Readdir does.
func (f *File) Readdir(n int) ([]os.FileInfo, error) { return f.os().Readdir(n) }

// Readdirnames reads the directory, as os.File.Readdirnames does.
func (f *File) Readdirnames(n int) (names []string, err error) { return f.os().Readdirnames(n) }

// Chdir makes the directory the current one.
func (f *File) Chdir() error { return f.os().Chdir() }

// Chmod changes the mode of the file.
func (f *File) Chmod(mode os.FileMode) error { return f.os().Chmod(mode) }

// Chown changes the owner of the file.
func (f *File) Chown(uid, gid int) error { return f.os().Chown(uid, gid) }

// Fd returns the descriptor of the file, as os.File.Fd does.
func (f *File) Fd() uintptr { return f.os().Fd() }
