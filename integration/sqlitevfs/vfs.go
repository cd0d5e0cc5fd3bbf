// Package sqlitevfs runs SQLite on asyncfile: a VFS for
// github.com/ncruces/go-sqlite3 whose files are AsyncFiles.
//
// Names, permissions, locks and the shared memory of WAL mode are those of the
// library's own VFS, "os": connections through both may use one database at the
// same time, from any number of processes.
package sqlitevfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/seed-39be8cca/asyncfile"
)

// Options adjust a VFS. The zero value reads and writes buffered files through
// asyncfile.File, the blocking view.
type Options struct {
	// Direct is for the main database only: journals and the WAL are records of
	// odd lengths, and stay buffered. With O_DIRECT the page size has to be a
	// multiple of 4096, which is also SQLite's default; a write that is not of
	// whole blocks is refused.
	Direct asyncfile.DirectMode

	// Async has reads and writes go through Futures. Writes to the main database
	// then return at once, and are waited for where SQLite relies on them: see
	// File.settle.
	Async bool

	// File is given to every file that is opened: WithBackend, WithRing.
	File []asyncfile.Option
}

// Register makes a VFS and registers it under name, for "file:...?vfs=name".
func Register(name string, o Options) { vfs.Register(name, New(o)) }

// New makes a VFS.
func New(o Options) vfs.VFSFilename {
	return &system{VFS: vfs.Find("os"), o: o}
}

// A system is the VFS. Delete, with its fsync of the directory, Access and
// FullPathname concern names, not files, and are those of VFS "os".
type system struct {
	vfs.VFS
	o Options
}

// Open opens a temporary file; every other file comes to OpenFilename.
func (s *system) Open(name string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name == "" {
		return s.openTemp(flags)
	}
	return nil, 0, sqlite3.CANTOPEN
}

// OpenFilename opens the named file, or a temporary one where there is no name.
func (s *system) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if name == nil {
		return s.openTemp(flags)
	}
	// VFS "os" opens it first: it creates the file, knows SQLite's code for each
	// error, and keeps the locks. They belong to its descriptor, not to the
	// process (OFD locks), so closing another one of the file does not drop them.
	base, out, err := s.VFS.(vfs.VFSFilename).OpenFilename(name, flags)
	if err != nil {
		return nil, out, err
	}
	access := os.O_RDONLY
	if flags&vfs.OPEN_READWRITE != 0 {
		access = os.O_RDWR
	}
	f, err := s.open(name.String(), access, flags)
	if err != nil {
		base.Close()
		return nil, out, err
	}
	f.base = base
	return f, out, nil
}

// open opens a file that exists.
func (s *system) open(name string, access int, flags vfs.OpenFlag) (*File, error) {
	opts := s.o.File
	main := flags&vfs.OPEN_MAIN_DB != 0
	if main {
		opts = append(opts[:len(opts):len(opts)], asyncfile.WithDirect(s.o.Direct))
	}
	async, err := asyncfile.OpenFile(name, access, 0, opts...)
	if err != nil {
		return nil, err
	}
	return &File{
		async:   async,
		futures: s.o.Async,
		behind:  s.o.Async && main,
		syncDir: flags&vfs.OPEN_CREATE != 0 && flags&(vfs.OPEN_MAIN_JOURNAL|vfs.OPEN_SUPER_JOURNAL|vfs.OPEN_WAL) != 0,
	}, nil
}

func (s *system) openTemp(flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	async, err := asyncfile.CreateTemp(os.Getenv("SQLITE_TMPDIR"), "*.db", s.o.File...)
	if err != nil {
		return nil, flags, vfs.SystemError(err, sqlite3.IOERR_GETTEMPPATH)
	}
	f := &File{async: async, futures: s.o.Async}
	if err := os.Remove(async.Name()); err != nil {
		f.remove = async.Name() // Windows removes no open file
	}
	return f, flags, nil
}

// syncDir commits the name of a new file, with fsync(2) of its directory.
func syncDir(name string) error {
	dir, err := asyncfile.Open(filepath.Dir(name))
	if err != nil {
		return vfs.SystemError(err, sqlite3.IOERR_DIR_FSYNC)
	}
	_, err = dir.Sync().Wait()
	err = errors.Join(err, dir.Close())
	return vfs.SystemError(err, sqlite3.IOERR_DIR_FSYNC)
}

// code gives err the SQLite code where SQLite acts on it; otherwise the code is
// that of the method.
func code(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return vfs.SystemError(err, sqlite3.FULL)
	}
	return err
}

// unaligned is the error for a write that a direct file cannot take.
func unaligned(size int, off int64) error {
	return vfs.SystemError(fmt.Errorf("sqlitevfs: %d bytes at %d: with O_DIRECT the page size has to be a multiple of %d",
		size, off, block), sqlite3.IOERR_WRITE)
}
