package sqlitevfs

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/seed-39be8cca/asyncfile"
)

const (
	// block fits the alignment of any direct file, and is SQLite's default page.
	block = 4096

	// maxPending is the most writes of one file that are not waited for.
	maxPending = 64
)

// A File is a file as SQLite uses it. Like every vfs.File it belongs to one
// connection, and its methods are called one at a time.
type File struct {
	async *asyncfile.AsyncFile
	base  vfs.File // of VFS "os": locks and shared memory; nil for a temporary file

	futures       bool // go through Futures, not through asyncfile.File
	behind        bool // do not wait for a write
	checkpointing bool // but now do
	relaxed       bool // "PRAGMA synchronous = OFF" was seen: no Sync ends a transaction
	syncDir       bool // a new journal: its directory is to be synced, once
	remove        string

	pending []write
}

// Methods that SQLite asks for beyond vfs.File.
var (
	_ vfs.FileSharedMemory       = (*File)(nil)
	_ vfs.FileLockState          = (*File)(nil)
	_ vfs.FileHasMoved           = (*File)(nil)
	_ vfs.FilePersistWAL         = (*File)(nil)
	_ vfs.FilePowersafeOverwrite = (*File)(nil)
	_ vfs.FileSizeHint           = (*File)(nil)
	_ vfs.FileSync               = (*File)(nil)
	_ vfs.FilePragma             = (*File)(nil)
	_ vfs.FileCheckpoint         = (*File)(nil)
)

// A write is one that was not waited for.
type write struct {
	future *asyncfile.Future
	page   *page
	size   int
	off    int64
}

// A page is a buffer that the kernel may have for as long as it wants, which
// SQLite's own are not, and that O_DIRECT takes.
type page struct{ buf []byte }

var pages sync.Pool

// grab returns a page of size bytes.
func grab(size int) *page {
	p, _ := pages.Get().(*page)
	if p == nil {
		p = new(page)
	}
	if cap(p.buf) < size {
		p.buf = asyncfile.AlignedBuffer(size)
	}
	p.buf = p.buf[:size]
	return p
}

// ReadAt reads len(p) bytes. SQLite takes fewer with io.EOF as
// IOERR_SHORT_READ; the library clears the rest of p.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if err := f.settle(); err != nil {
		return 0, err
	}
	if !f.async.Direct() || len(p) == 0 {
		return f.readAt(p, off)
	}
	from := off &^ (block - 1)
	end := (off + int64(len(p)) + block - 1) &^ (block - 1)
	b := grab(int(end - from))
	defer pages.Put(b)
	n, err = f.readAt(b.buf, from)
	n = copy(p, b.buf[min(n, int(off-from)):n])
	if n == len(p) {
		return n, nil // the end of the file came later
	}
	return n, err
}

func (f *File) readAt(p []byte, off int64) (int, error) {
	if f.futures {
		return f.async.ReadAt(p, off).Wait()
	}
	return f.async.File().ReadAt(p, off)
}

// WriteAt writes p, or begins to.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	direct := f.async.Direct()
	if direct && (off|int64(len(p)))%block != 0 {
		return 0, unaligned(len(p), off)
	}
	if f.behind && !f.checkpointing {
		return f.writeBehind(p, off)
	}
	if direct {
		b := grab(len(p))
		defer pages.Put(b)
		copy(b.buf, p)
		p = b.buf
	}
	var n int
	var err error
	if f.futures {
		n, err = f.async.WriteAt(p, off).Wait()
	} else {
		n, err = f.async.File().WriteAt(p, off)
	}
	return n, code(err)
}

// writeBehind begins to write p and does not wait. Writes in flight together
// complete in any order, so one that another overlaps is waited for before.
func (f *File) writeBehind(p []byte, off int64) (int, error) {
	full := len(f.pending) >= maxPending
	for _, w := range f.pending {
		full = full || off < w.off+int64(w.size) && w.off < off+int64(len(p))
	}
	if full {
		if err := f.settle(); err != nil {
			return 0, err
		}
	}
	b := grab(len(p))
	copy(b.buf, p)
	f.pending = append(f.pending, write{f.async.WriteAt(b.buf, off), b, len(p), off})
	return len(p), nil
}

// settle waits for the writes that were not waited for, and returns the first
// error. SQLite relies on a write
//
//   - when it reads, asks for the size, or truncates;
//   - at the end of a transaction, before it deletes the journal: there Sync
//     covers the writes in flight, or where that is turned off SyncSuper does;
//   - when it lets others at the file, with Unlock.
//
// A journal is to be written before the database is, so nothing is written
// behind there. A checkpoint announces its end too late for an error to be
// heard, so it is not written behind either.
func (f *File) settle() (first error) {
	for _, w := range f.pending {
		if _, err := w.future.Wait(); err != nil && first == nil {
			first = err
		}
		pages.Put(w.page)
	}
	clear(f.pending)
	f.pending = f.pending[:0]
	return code(first)
}

// Sync commits the file to stable storage. What is in flight it covers: the
// Sync of an AsyncFile is a barrier.
func (f *File) Sync(flags vfs.SyncFlag) error {
	var err error
	switch {
	case flags&vfs.SYNC_DATAONLY != 0:
		_, err = f.async.Datasync().Wait()
	case f.futures:
		_, err = f.async.Sync().Wait()
	default:
		err = f.async.File().Sync()
	}
	if settled := f.settle(); settled != nil {
		return settled
	}
	if err == nil && f.syncDir {
		err = syncDir(f.async.Name())
		f.syncDir = err != nil
	}
	return err
}

// SyncSuper comes before the Sync that ends a transaction, and with "PRAGMA
// synchronous = OFF" instead of it.
func (f *File) SyncSuper(string) error {
	if f.relaxed {
		return f.settle()
	}
	return nil
}

// Pragma looks for "PRAGMA synchronous = OFF", and leaves every pragma to
// SQLite. What turns it on again may fail later, and is not looked for.
func (f *File) Pragma(name, value string) (string, error) {
	if name == "synchronous" && value != "" {
		switch strings.ToLower(value) {
		case "normal", "full", "extra", "1", "2", "3":
		default:
			f.relaxed = true
		}
	}
	return "", sqlite3.NOTFOUND
}

// Truncate changes the size of the file.
func (f *File) Truncate(size int64) error {
	if err := f.settle(); err != nil {
		return err
	}
	return f.async.File().Truncate(size)
}

// Size returns the size of the file.
func (f *File) Size() (int64, error) {
	if err := f.settle(); err != nil {
		return 0, err
	}
	return f.async.File().Seek(0, io.SeekEnd)
}

// SizeHint makes the file as large as it is about to be. A direct write beyond
// the end blocks on some file systems; one inside does not.
func (f *File) SizeHint(size int64) error {
	now, err := f.Size()
	if err != nil || now >= size {
		return err
	}
	return code(f.async.File().Truncate(size))
}

// CheckpointStart and CheckpointDone enclose what a checkpoint writes.
func (f *File) CheckpointStart() { f.checkpointing = true }
func (f *File) CheckpointDone()  { f.checkpointing = false }

// Close waits for what is in flight and closes the file.
func (f *File) Close() error {
	err := errors.Join(f.settle(), f.async.Close())
	if f.base != nil {
		err = errors.Join(err, f.base.Close())
	}
	if f.remove != "" {
		err = errors.Join(err, os.Remove(f.remove))
	}
	return err
}

// SectorSize is how much a crash in the middle of a write may damage.
func (f *File) SectorSize() int { return block }

// DeviceCharacteristics says that reads of less than a page are welcome, and
// that a crash leaves the bytes around a write alone.
func (f *File) DeviceCharacteristics() vfs.DeviceCharacteristic {
	c := vfs.IOCAP_SUBPAGE_READ
	if f.PowersafeOverwrite() {
		c |= vfs.IOCAP_POWERSAFE_OVERWRITE
	}
	return c
}

// The rest is that of VFS "os". SQLite neither locks nor maps temporary files.

func (f *File) Lock(lock vfs.LockLevel) error {
	if f.base == nil {
		return nil
	}
	return f.base.Lock(lock)
}

func (f *File) Unlock(lock vfs.LockLevel) error {
	err := f.settle()
	if f.base == nil {
		return err
	}
	if e := f.base.Unlock(lock); e != nil {
		return e // as it is: SQLite's code is its type
	}
	return err
}

func (f *File) CheckReservedLock() (bool, error) {
	if f.base == nil {
		return false, nil
	}
	return f.base.CheckReservedLock()
}

func (f *File) SharedMemory() vfs.SharedMemory {
	if base, ok := f.base.(vfs.FileSharedMemory); ok {
		return base.SharedMemory()
	}
	return nil
}

func (f *File) LockState() vfs.LockLevel {
	if base, ok := f.base.(vfs.FileLockState); ok {
		return base.LockState()
	}
	return vfs.LOCK_NONE
}

func (f *File) HasMoved() (bool, error) {
	if base, ok := f.base.(vfs.FileHasMoved); ok {
		return base.HasMoved()
	}
	return false, nil
}

func (f *File) PersistWAL() bool {
	base, ok := f.base.(vfs.FilePersistWAL)
	return ok && base.PersistWAL()
}

func (f *File) SetPersistWAL(keep bool) {
	if base, ok := f.base.(vfs.FilePersistWAL); ok {
		base.SetPersistWAL(keep)
	}
}

func (f *File) PowersafeOverwrite() bool {
	base, ok := f.base.(vfs.FilePowersafeOverwrite)
	return !ok || base.PowersafeOverwrite()
}

func (f *File) SetPowersafeOverwrite(psow bool) {
	if base, ok := f.base.(vfs.FilePowersafeOverwrite); ok {
		base.SetPowersafeOverwrite(psow)
	}
}
