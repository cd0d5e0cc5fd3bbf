package copying

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// large is the size from which a file is copied with many blocks in flight.
const large = 4 << 20

// worthKeeping is the least that is left behind of what was interrupted.
const worthKeeping = 1 << 20

// A job is one regular file that is being copied.
type job struct {
	*copier
	task
	st   unix.Stat_t // of the source, when it was opened
	size int64
	in   *os.File
	part *os.File
	name string // of part
	from int64  // bytes of part that were there
	done int64  // bytes from the beginning on that are complete
}

// file copies a regular file.
func (c *copier) file(t task, st *unix.Stat_t) (err error) {
	if c.Resume && c.complete(t.dst, st) {
		c.total.Skipped.Add(1)
		c.Progress(st.Size)
		return nil
	}
	j := &job{copier: c, task: t, name: partName(t.dst)}
	if j.in, err = os.OpenFile(t.src, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err != nil {
		return err
	}
	defer j.in.Close()
	if err := unix.Fstat(int(j.in.Fd()), &j.st); err != nil {
		return pathError("fstat", t.src, err)
	}
	j.size = j.st.Size
	if err := j.openPart(); err != nil {
		return err
	}
	err = j.content()
	if err == nil {
		err = j.finish()
	}
	if err != nil {
		j.leave()
	}
	return errors.Join(err, j.part.Close())
}

// complete reports whether dst is there already, by its size and time.
func (c *copier) complete(dst string, st *unix.Stat_t) bool {
	var there unix.Stat_t
	return unix.Lstat(dst, &there) == nil && there.Mode&unix.S_IFMT == unix.S_IFREG &&
		there.Size == st.Size && there.Mtim == st.Mtim
}

// openPart opens the part, and locks it against others who copy to the same place.
func (j *job) openPart() error {
	for {
		f, err := os.OpenFile(j.name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if err == unix.EWOULDBLOCK {
				err = ErrBusy
			}
			return pathError("copy", j.dst, err)
		}
		held, err := f.Stat()
		named, e := os.Lstat(j.name)
		if err == nil && e == nil && os.SameFile(held, named) {
			j.part = f
			return j.resume(held)
		}
		f.Close() // whoever had it renamed or removed it: what is open has no name any more
	}
}

// resume continues the part where it is one of this source, and else empties it. The time
// of the source is what an interrupted copy leaves as a mark (leave): what was killed
// left another, and its size tells nothing.
func (j *job) resume(part os.FileInfo) error {
	modified := part.ModTime().UnixNano() == j.st.Mtim.Nano()
	if j.Resume && modified && part.Mode().IsRegular() && part.Size() <= j.size {
		j.from = part.Size() - part.Size()%int64(j.Block)
		j.done = j.from
		if j.from > 0 {
			j.total.Resumed.Add(1)
			j.Progress(j.from)
		}
	}
	if part.Size() == j.from {
		return nil
	}
	return j.part.Truncate(j.from)
}

// content copies the bytes, in the cheapest way.
func (j *job) content() error {
	if j.size == 0 {
		n, err := io.Copy(j.part, j.in) // files of /proc have no size, and content
		j.moved(n)
		return err
	}
	if j.from == 0 && j.clone() {
		j.total.Cloned.Add(1)
		j.Progress(j.size)
		return nil
	}
	if j.Reflink == Always {
		return pathError("reflink", j.src, unix.EOPNOTSUPP)
	}
	sparse := j.st.Blocks*512 < j.size
	if sparse {
		if err := j.part.Truncate(j.size); err != nil {
			return err
		}
	}
	if j.Direct == Always || j.size >= large && !j.inKernel() {
		return j.byBlocks(sparse)
	}
	return j.byKernel(sparse)
}

// clone shares the blocks of the source, where that can be.
func (j *job) clone() bool {
	if j.Reflink == Never {
		return false
	}
	var to unix.Stat_t
	if unix.Fstat(int(j.part.Fd()), &to) != nil {
		return false
	}
	pair := [2]uint64{uint64(j.st.Dev), uint64(to.Dev)}
	if _, no := j.noClones.Load(pair); no {
		return false
	}
	err := unix.IoctlFileClone(int(j.part.Fd()), int(j.in.Fd()))
	switch err {
	case unix.EOPNOTSUPP, unix.ENOTTY, unix.EXDEV, unix.ENOSYS:
		j.noClones.Store(pair, true)
	}
	return err == nil
}

// inKernel reports whether the kernel copies from page to page without going through
// memory of this process: within one file system.
func (j *job) inKernel() bool {
	var to unix.Stat_t
	return unix.Fstat(int(j.part.Fd()), &to) == nil && to.Dev == j.st.Dev
}

// finish makes the part the file. What cannot be kept of its attributes is a problem of its
// own: the content is right.
func (j *job) finish() error {
	if j.Verify {
		if err := j.verify(); err != nil {
			return err
		}
	}
	attributes := j.attributes(j.src, j.name, &j.st)
	if j.Sync {
		if err := j.part.Sync(); err != nil {
			return err
		}
	}
	changed := j.changed()
	if err := os.Rename(j.name, j.dst); err != nil {
		return err
	}
	j.total.Files.Add(1)
	for _, err := range []error{attributes, changed} {
		if err != nil {
			j.problem(j.src, err)
		}
	}
	if j.Sync {
		return syncParent(j.dst)
	}
	return nil
}

// changed returns ErrChanged where the source is not what it was.
func (j *job) changed() error {
	var now unix.Stat_t
	if err := unix.Fstat(int(j.in.Fd()), &now); err != nil {
		return pathError("fstat", j.src, err)
	}
	if now.Size != j.st.Size || now.Mtim != j.st.Mtim {
		return pathError("copy", j.src, ErrChanged)
	}
	return nil
}

// leave removes a part that failed. One that was interrupted stays, cut to what is complete
// and on stable storage, with the time of the source as a mark that this is so.
func (j *job) leave() {
	if j.ctx.Err() == nil || j.done < worthKeeping || j.part.Truncate(j.done) != nil || j.part.Sync() != nil {
		os.Remove(j.name)
		return
	}
	times := []unix.Timespec{j.st.Atim, j.st.Mtim}
	if unix.UtimesNanoAt(unix.AT_FDCWD, j.name, times, 0) != nil {
		os.Remove(j.name)
	}
}

// moved counts bytes that were copied.
func (j *job) moved(n int64) {
	j.total.Bytes.Add(n)
	j.Progress(n)
}
