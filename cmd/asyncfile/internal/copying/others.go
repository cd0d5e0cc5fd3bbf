package copying

import (
	"errors"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// inPlace makes something under the name of a part, and renames it to dst.
func (c *copier) inPlace(dst string, make func(part string) error) error {
	part := partName(dst)
	err := make(part)
	if errors.Is(err, fs.ErrExist) { // left behind
		if err = os.Remove(part); err == nil {
			err = make(part)
		}
	}
	if err == nil {
		err = os.Rename(part, dst)
	}
	if err != nil {
		os.Remove(part)
	}
	return err
}

func (c *copier) symlink(t task, st *unix.Stat_t) error {
	to, err := os.Readlink(t.src)
	if err != nil {
		return err
	}
	err = c.inPlace(t.dst, func(part string) error {
		if err := os.Symlink(to, part); err != nil {
			return err
		}
		return c.attributes(t.src, part, st)
	})
	if err == nil {
		c.total.Symlinks.Add(1)
	}
	return err
}

// hardLink makes dst one more name of first. Where it is one already rename(2) would do
// nothing, and leave the part.
func (c *copier) hardLink(first, dst string) error {
	a, errA := os.Lstat(first)
	b, errB := os.Lstat(dst)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		c.total.Links.Add(1)
		return nil
	}
	err := c.inPlace(dst, func(part string) error { return os.Link(first, part) })
	if err == nil {
		c.total.Links.Add(1)
	}
	return err
}

// special makes a device or a named pipe like the source.
func (c *copier) special(t task, st *unix.Stat_t) error {
	err := c.inPlace(t.dst, func(part string) error {
		if err := unix.Mknod(part, st.Mode, int(st.Rdev)); err != nil {
			return pathError("mknod", t.dst, err)
		}
		return c.attributes(t.src, part, st)
	})
	if err == nil {
		c.total.Specials.Add(1)
	}
	return err
}

// attributes gives dst the owner, mode, extended attributes and times of src.
func (c *copier) attributes(src, dst string, st *unix.Stat_t) error {
	// Only who is privileged may give files away; cp -a says nothing of it either.
	if err := unix.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil && err != unix.EPERM {
		return pathError("chown", dst, err)
	}
	xattrs := copyXattrs(src, dst)           // before the mode, which may forbid it
	if st.Mode&unix.S_IFMT != unix.S_IFLNK { // chown has cleared the set-user-ID bit
		if err := unix.Chmod(dst, st.Mode&0o7777); err != nil {
			return pathError("chmod", dst, err)
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, dst, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return pathError("utimensat", dst, err)
	}
	return xattrs
}

// copyXattrs copies extended attributes. Those that are the system's are copied as far as
// this process may.
func copyXattrs(src, dst string) error {
	names, err := listXattrs(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := getXattr(src, name)
		if err == nil {
			err = unix.Lsetxattr(dst, name, value, 0)
		}
		if err != nil && strings.HasPrefix(name, "user.") {
			return pathError("setxattr "+name, dst, err)
		}
	}
	return nil
}

func listXattrs(name string) ([]string, error) {
	for {
		var buf [4096]byte
		n, err := unix.Llistxattr(name, buf[:])
		list := buf[:max(n, 0)]
		if err == unix.ERANGE {
			if n, err = unix.Llistxattr(name, nil); err == nil {
				list = make([]byte, n)
				n, err = unix.Llistxattr(name, list)
			}
		}
		switch err {
		case nil:
			return strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }), nil
		case unix.ENOTSUP:
			return nil, nil
		case unix.ERANGE: // it has grown
			continue
		}
		return nil, pathError("listxattr", name, err)
	}
}

// xattrMax is XATTR_SIZE_MAX of linux/limits.h.
const xattrMax = 64 << 10

func getXattr(name, attr string) ([]byte, error) {
	value := make([]byte, xattrMax)
	n, err := unix.Lgetxattr(name, attr, value)
	return value[:max(n, 0)], err
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// syncParent puts the name of a file on stable storage.
func syncParent(name string) error { return syncDir(filepath.Dir(name)) }

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}
