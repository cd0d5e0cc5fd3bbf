package asyncfile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// ReplaceFile gives the named file new contents, those that write writes, or leaves the
// old: whoever opens the file finds one or the other, whole, at any time and after any
// crash. When ReplaceFile has returned nil it is the new, also after a loss of power.
//
// write is called once, with a Writer to a temporary file in the same folder. Then the
// file is synced, renamed, and the folder synced. Where write returns an error, or
// panics, or anything else fails before the rename, the old file is as it was, and
// the temporary file is gone. The Writer need not be closed; it is of no use afterwards.
//
// As with os.WriteFile, a file that is there keeps its permissions, perm (before umask)
// is for a new one, and a symbolic link stays, and has the file replaced that it leads
// to. Owner and group are kept, too, or it fails with fs.ErrPermission. Not kept are the
// set-user-ID, set-group-ID and sticky bits, extended attributes and ACLs, and other
// hard links, which stay with the old contents, as do those who have the file open.
// Permission to write is asked of the folder, not of the file, and permission to read
// the folder, for its Sync.
//
// The temporary file of the file x is .x.N.replace, N a number; its writer has it locked
// (flock(2)). One that a crash has left behind is not locked any more, and a later
// ReplaceFile of the same file removes it: the next one, but where several were at work
// when they crashed, or where the file system has no locks. ReplaceFile is safe for
// concurrent use, by several processes: of several contents the last stays.
//
// Options are those of OpenFile. What fails in ReplaceFile is a *fs.PathError with the
// Op "replace"; what write returns is returned as it is. A name that is none of a
// regular file, options out of range, and no write answer os.ErrInvalid. If the last
// step fails, the Sync of the folder, the new contents are in place, and a crash may
// still bring the old ones back.
func ReplaceFile(name string, perm os.FileMode, write func(w *Writer) error, opts ...Option) error {
	if _, err := newConfig(opts); err != nil {
		return err
	}
	r := &replacement{opts: opts}
	defer r.end() // also where write panics
	err := invalid("ReplaceFile without a function that writes")
	if write != nil {
		err = r.begin(name, perm)
	}
	var failed error // of write
	if err == nil {
		failed, err = r.fill(write)
	}
	if err == nil && failed == nil {
		err = r.commit()
	}
	if err != nil {
		return &fs.PathError{Op: "replace", Path: name, Err: err}
	}
	return failed
}

// A replacement is a file on its way into the place of another.
type replacement struct {
	opts   []Option
	root   *os.Root    // the folder, wherever it is moved meanwhile
	folder *os.File    // the same, to be synced
	base   string      // the file's name in it
	old    os.FileInfo // nil where there is no file yet
	temp   string      // the temporary file's name, as long as it has it
	file   *AsyncFile  // and itself
}

// begin finds what is to be replaced, and makes the temporary file.
func (r *replacement) begin(name string, perm os.FileMode) error {
	name, err := followLinks(name)
	if err != nil {
		return err
	}
	folder, base := filepath.Split(name)
	if base == "" || base == "." || base == ".." {
		return invalid("%q is no name of a file", name)
	}
	r.base = base
	if r.root, err = os.OpenRoot(cmp.Or(folder, ".")); err != nil {
		return err
	}
	if r.folder, err = r.root.Open("."); err != nil {
		return err
	}
	if r.old, err = r.root.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		return r.createTemp(perm)
	}
	if err != nil {
		return err
	}
	if !r.old.Mode().IsRegular() {
		return invalid("it is no regular file (%v)", r.old.Mode().Type())
	}
	return r.createTemp(r.old.Mode().Perm()) // nobody is to read more than of the old one
}

// maxLinks is how many symbolic links lead to a file at most, as in path_resolution(7).
const maxLinks = 40

// followLinks returns the name that symbolic links lead to, of a file or of none. Names
// are not cleaned: x/../y is not y where x is a link.
func followLinks(name string) (string, error) {
	for range maxLinks {
		link, err := os.Readlink(name)
		if err != nil {
			return name, nil // no link, or none that can be read: who uses the name will tell
		}
		if !filepath.IsAbs(link) {
			folder, _ := filepath.Split(name)
			link = folder + link
		}
		name = link
	}
	return "", syscall.ELOOP
}

const (
	maxTemps    = 10_000 // as many as os.CreateTemp tries
	maxTempBase = 200    // bytes of a name that the temporary file's begins with: names have 255 at most
)

// createTemp makes the temporary file, and removes what crashes have left of others.
func (r *replacement) createTemp(mode os.FileMode) error {
	for i := range maxTemps {
		temp := r.tempName(i)
		osf, err := r.root.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			r.removeLeftover(temp)
			continue
		}
		if err != nil {
			return err
		}
		if errors.Is(tryLock(osf), syscall.EWOULDBLOCK) || !r.is(osf, temp) {
			osf.Close() // another took it for a leftover, before it was locked, and removes it
			continue
		}
		r.temp = temp
		for next := i + 1; r.removeLeftover(r.tempName(next)); next++ {
		}
		if r.file, err = New(osf, r.opts...); err != nil {
			osf.Close()
		}
		return err
	}
	return fmt.Errorf("asyncfile: %d temporary files are there: %w", maxTemps, fs.ErrExist)
}

// tempName returns the name of the i-th temporary file.
func (r *replacement) tempName(i int) string {
	return fmt.Sprintf(".%s.%d.replace", r.base[:min(len(r.base), maxTempBase)], i)
}

// removeLeftover removes a temporary file unless there is none, or somebody is writing it.
func (r *replacement) removeLeftover(temp string) bool {
	info, err := r.root.Lstat(temp)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	osf, err := r.root.Open(temp)
	if err != nil {
		return false
	}
	defer osf.Close()
	// Who has the lock on a file that has such a name is the only one to rename or to
	// remove it.
	return tryLock(osf) == nil && r.is(osf, temp) && r.root.Remove(temp) == nil
}

// is reports whether osf has the name temp in the folder.
func (r *replacement) is(osf *os.File, temp string) bool {
	have, err := osf.Stat()
	named, e := r.root.Lstat(temp)
	return err == nil && e == nil && os.SameFile(have, named)
}

// tryLock locks the open file, if nobody has. Where there are no locks it has an error,
// and leftovers stay.
func tryLock(osf *os.File) error {
	raw, err := osf.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = aio.TryLock(int(fd)) }); e != nil {
		return e
	}
	return err
}

// fill has write write the temporary file, gives it what the old one had, and syncs it.
func (r *replacement) fill(write func(w *Writer) error) (failed, err error) {
	w, err := NewWriter(r.file, 0)
	if err != nil {
		return nil, err
	}
	if failed = write(w); failed != nil {
		return failed, nil
	}
	if err = w.err; !w.closed {
		err = w.Close()
	}
	if err == nil && r.old != nil {
		err = r.inherit()
	}
	if err == nil {
		_, err = r.file.Sync().Wait()
	}
	return nil, err
}

// inherit gives the temporary file the owner and the permissions of the old one. In this
// order: chown(2) may take permissions away.
func (r *replacement) inherit() error {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	uid, gid, ok := aio.Owner(r.old)
	if u, g, _ := aio.Owner(info); ok && (u != uid || g != gid) {
		if err := r.file.os().Chown(uid, gid); err != nil {
			return fmt.Errorf("asyncfile: user %d and group %d, who own the file, cannot be kept: %w", uid, gid, err)
		}
	}
	return r.file.os().Chmod(r.old.Mode().Perm())
}

// commit puts the temporary file in the place of the old one. It is still locked then: an
// unlocked one would be a leftover.
func (r *replacement) commit() error {
	if err := r.root.Rename(r.temp, r.base); err != nil {
		return err
	}
	r.temp = ""
	err := r.folder.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil // folders of this file system cannot be synced: fsync(2)
	}
	return err
}

// end closes everything, and removes the temporary file if it is still one. What Close
// says is of no interest: either the file is synced, or it is gone.
func (r *replacement) end() {
	if r.temp != "" {
		r.root.Remove(r.temp)
	}
	if r.file != nil {
		r.file.Close()
	}
	if r.folder != nil {
		r.folder.Close()
	}
	if r.root != nil {
		r.root.Close()
	}
}
