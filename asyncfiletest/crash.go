package asyncfiletest

import (
	"hash/fnv"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// sector is what a disk writes as a whole or not at all, in bytes.
const sector = 512

// A Crash is what of the writes that no Sync has covered is on the disk all the same
// after a loss of power: a disk writes back what it likes, in any order.
type Crash struct {
	// Keep is the part of their sectors, of 512 bytes, that is there, 0 to 1: of 0
	// nothing, which is the default, of 1 everything. What is in between tears writes
	// apart.
	Keep float64
	// Seed chooses them: the same seed, the same sectors.
	Seed uint64
}

// CrashClone returns a new folder of the test's with a copy of the folder dir as it
// would be after a loss of power at this moment. Of the regular files that were opened
// on the Ring, under whatever name, it has what was there when they were opened and
// what a Sync that succeeded has covered since, sizes included; writes of files with
// O_SYNC are durable at once. All other files are as they are. The program under test
// goes on with dir, or is given the copy to recover from.
//
// Names are durable at once: a file that was created, renamed or unlinked is so in the
// copy, though a real file system may want an fsync(2) of its folder for that.
//
// An error ends the test.
func (r *Ring) CrashClone(dir string, crash Crash) string {
	r.t.Helper()
	if !(crash.Keep >= 0 && crash.Keep <= 1) {
		r.t.Fatalf("asyncfiletest.CrashClone: Crash.Keep %v: use 0 to 1", crash.Keep)
	}
	to := r.t.TempDir()
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		within, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return r.disk.clone(name, filepath.Join(to, within), within, crash)
	})
	if err != nil {
		r.t.Fatalf("asyncfiletest.CrashClone: %v", err)
	}
	return to
}

// clone copies a file, a folder without what is in it, or a link. Called with mu held.
func (d *disk) clone(from, to, within string, crash Crash) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return os.MkdirAll(to, 0o700|info.Mode().Perm())
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case !info.Mode().IsRegular():
		return nil // a pipe, or a socket
	}
	n := d.find(info)
	if err := copyFile(from, to, n); err != nil || n == nil {
		return err
	}
	h := fnv.New64a()
	h.Write([]byte(within))
	if err := n.revert(to, rand.New(rand.NewPCG(crash.Seed, h.Sum64())), crash.Keep); err != nil {
		return err
	}
	return os.Chmod(to, info.Mode().Perm())
}

func copyFile(from, to string, n *node) error {
	var src *os.File
	if n != nil {
		src = n.own // the name may not be to be read
		if _, err := src.Seek(0, 0); err != nil {
			return err
		}
	} else {
		var err error
		if src, err = os.Open(from); err != nil {
			return err
		}
		defer src.Close()
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = dst.ReadFrom(src)
	if e := dst.Close(); err == nil {
		err = e
	}
	return err
}

// revert takes back from a copy of the file what is not durable, but for what chance
// keeps. Called with mu held.
func (n *node) revert(name string, chance *rand.Rand, keep float64) error {
	now, err := n.sizeNow()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size := n.size
	if now < size && chance.Float64() < keep {
		size = now
	}
	for _, number := range slices.Sorted(maps.Keys(n.pages)) {
		for at := int64(0); at < pageSize; at += sector {
			off := number*pageSize + at
			if chance.Float64() < keep {
				if now > n.size { // and the file was made larger for it
					size = max(size, min(off+sector, now))
				}
				continue
			}
			if _, err := f.WriteAt(n.pages[number].data[at:][:sector], off); err != nil {
				return err
			}
		}
	}
	if now > n.size && keep == 1 {
		size = now // by a Truncate, or an Allocate: no page tells
	}
	return f.Truncate(size)
}
