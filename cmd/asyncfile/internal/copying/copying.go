// Package copying copies files and trees of them, many at once, and each with many blocks
// in flight.
//
// A file is written under a name of its own, .NAME.asyncfile-part in the directory where it
// is to be, and renamed when it is complete: under its name there is the old file or the
// new one, and nothing in between. What was interrupted leaves that part, for Options.Resume.
package copying

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/seed-39be8cca/asyncfile"
)

// Options say how to copy. The zero Options are the defaults.
type Options struct {
	Direct   Mode                         // O_DIRECT on both sides; Auto reads so from another file system, what is large and not in the page cache
	Reflink  Mode                         // share the blocks, where the file system can; Auto copies where it cannot
	Verify   bool                         // read the copy back from the device and compare, before it is renamed
	Resume   bool                         // leave files alone that are there with the same size and time; continue parts
	Sync     bool                         // on stable storage before it is renamed
	Exactly  bool                         // the destination is the copy, even where it is a directory: no name is added
	Depth    int                          // blocks in flight of one large file; 0 is 16
	Block    int                          // bytes of one; 0 is 1 MiB
	AtOnce   int                          // files; 0 follows the number of processors
	Progress func(n int64)                // n bytes more are done with; from many goroutines
	Problem  func(name string, err error) // something could not be copied, or not wholly; from many goroutines
}

// A Mode says whether to do something.
type Mode int

const (
	Auto Mode = iota
	Always
	Never
)

// A Summary is what was done.
type Summary struct {
	Files    int64 `json:"files"` // regular files, now complete under their names
	Dirs     int64 `json:"directories"`
	Symlinks int64 `json:"symlinks"`
	Links    int64 `json:"hard_links"`
	Specials int64 `json:"specials"` // devices and named pipes
	Skipped  int64 `json:"skipped"`  // files that were there already
	Cloned   int64 `json:"cloned"`   // files that share their blocks with the source
	Resumed  int64 `json:"resumed"`  // files that were continued
	Bytes    int64 `json:"bytes"`    // read and written
	Holes    int64 `json:"hole_bytes"`
	Problems int64 `json:"problems"`
}

// Errors that are told to Options.Problem, beside those of the system calls.
var (
	ErrChanged  = errors.New("changed while it was being copied: the copy may be of neither state")
	ErrShrank   = errors.New("became shorter while it was being copied")
	ErrDiffers  = errors.New("the copy differs from the source")
	ErrBusy     = errors.New("another copy to the same place is at work")
	ErrSameFile = errors.New("source and destination are the same file")
	ErrInside   = errors.New("the destination is inside of the source")
	ErrSpecial  = errors.New("the destination is a device, pipe or socket: it is not replaced")
	ErrSocket   = errors.New("a socket is not copied")
)

// A copier is one Copy at work.
type copier struct {
	Options
	ctx  context.Context
	ring func() (*asyncfile.Ring, error) // made when the first file needs it

	total    counters
	noClones sync.Map // pairs of devices between which blocks cannot be shared

	mu    sync.Mutex
	links map[inode]*link // what has several names, and was seen
}

// counters are the fields of Summary.
type counters struct {
	Files, Dirs, Symlinks, Links, Specials, Skipped, Cloned, Resumed, Bytes, Holes, Problems atomic.Int64
}

type inode struct{ dev, ino uint64 }

// A link is a file with several names: done is closed when to is complete, or empty because
// it could not be copied.
type link struct {
	done chan struct{}
	to   string
}

// Copy copies src, a file or a tree, to dst; or into it, where that is a directory and
// Options.Exactly is not set. What cannot be copied is told to Options.Problem and counted,
// and the rest is copied all the same. The error is one that kept all of it from being
// copied, or the cause of ctx, after which everything that had begun is settled.
func Copy(ctx context.Context, src, dst string, o Options) (Summary, error) {
	c := &copier{Options: o, ctx: ctx, links: map[inode]*link{}}
	c.setDefaults()
	info, err := os.Lstat(src)
	if err != nil {
		return Summary{}, err
	}
	if dst, err = c.target(src, dst); err != nil {
		return Summary{}, err
	}
	if err := keepsOff(src, dst, info); err != nil {
		return Summary{}, err
	}
	var ring *asyncfile.Ring
	c.ring = sync.OnceValues(func() (_ *asyncfile.Ring, err error) {
		ring, err = asyncfile.NewRing(asyncfile.WithQueueDepth(4 * c.Depth))
		return ring, err
	})
	c.tree(src, dst, info)
	if ring != nil {
		defer ring.Close()
	}
	if ctx.Err() != nil {
		return c.summary(), context.Cause(ctx)
	}
	return c.summary(), nil
}

func (c *copier) setDefaults() {
	if c.Depth == 0 {
		c.Depth = 16
	}
	if c.Block == 0 {
		c.Block = 1 << 20
	}
	if c.AtOnce == 0 {
		c.AtOnce = min(max(2*runtime.GOMAXPROCS(0), 4), 32)
	}
	if c.Progress == nil {
		c.Progress = func(int64) {}
	}
	if c.Problem == nil {
		c.Problem = func(string, error) {}
	}
}

// target returns where the copy of src is to be.
func (c *copier) target(src, dst string) (string, error) {
	info, err := os.Stat(dst)
	switch base := filepath.Base(src); {
	case errors.Is(err, fs.ErrNotExist):
		if strings.HasSuffix(dst, "/") && !c.Exactly {
			if from, err := os.Stat(src); err == nil && !from.IsDir() {
				return "", &fs.PathError{Op: "copy", Path: dst, Err: unix.ENOTDIR}
			}
		}
		return filepath.Clean(dst), nil
	case err != nil:
		return "", err
	case info.IsDir() && !c.Exactly && base != "." && base != ".." && base != "/":
		return filepath.Join(dst, base), nil
	}
	return filepath.Clean(dst), nil
}

// keepsOff refuses to copy a file to itself, or a tree into itself.
func keepsOff(src, dst string, info os.FileInfo) error {
	if there, err := os.Stat(dst); err == nil {
		if from, err := os.Stat(src); err == nil && os.SameFile(from, there) {
			return &os.LinkError{Op: "copy", Old: src, New: dst, Err: ErrSameFile}
		}
	}
	if !info.IsDir() {
		return nil
	}
	for dir := filepath.Dir(dst); ; dir = filepath.Dir(dir) {
		if here, err := os.Stat(dir); err == nil && os.SameFile(here, info) {
			return &os.LinkError{Op: "copy", Old: src, New: dst, Err: ErrInside}
		}
		if abs, err := filepath.Abs(dir); err != nil || abs == "/" {
			return nil
		} else {
			dir = abs
		}
	}
}

// problem tells of what could not be copied. That the context has ended is none.
func (c *copier) problem(name string, err error) {
	if c.ctx.Err() != nil && errors.Is(err, context.Cause(c.ctx)) {
		return
	}
	c.total.Problems.Add(1)
	c.Problem(name, err)
}

func (c *copier) summary() Summary {
	t := &c.total
	return Summary{t.Files.Load(), t.Dirs.Load(), t.Symlinks.Load(), t.Links.Load(), t.Specials.Load(), t.Skipped.Load(),
		t.Cloned.Load(), t.Resumed.Load(), t.Bytes.Load(), t.Holes.Load(), t.Problems.Load()}
}

// A task is something to be copied that is no directory.
type task struct{ src, dst string }

// A dir is a directory that was made, and is to be finished when all is in it.
type dir struct {
	src, dst string
	st       unix.Stat_t
}

// tree copies src, with what is in it.
func (c *copier) tree(src, dst string, info os.FileInfo) {
	if !info.IsDir() {
		c.one(task{src, dst})
		return
	}
	tasks := make(chan task, 4*c.AtOnce)
	var workers sync.WaitGroup
	for range c.AtOnce {
		workers.Go(func() {
			for t := range tasks {
				if c.ctx.Err() == nil {
					c.one(t)
				}
			}
		})
	}
	var dirs []dir
	c.walk(src, dst, tasks, &dirs)
	close(tasks)
	workers.Wait()
	// From the bottom up: what is made in a directory changes its times.
	for _, d := range slices.Backward(dirs) {
		if err := c.finishDir(d); err != nil {
			c.problem(d.dst, err)
		}
	}
}

// walk makes the directory dst as src is, and passes on what is in src.
func (c *copier) walk(src, dst string, tasks chan<- task, dirs *[]dir) {
	d := dir{src: src, dst: dst}
	if err := unix.Lstat(src, &d.st); err != nil {
		c.problem(src, pathError("lstat", src, err))
		return
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		if info, e := os.Stat(dst); e != nil || !info.IsDir() {
			c.problem(dst, err)
			return
		}
	}
	*dirs = append(*dirs, d)
	entries, err := os.ReadDir(src)
	if err != nil {
		c.problem(src, err) // and go on with those that could be read
	}
	for _, e := range entries {
		if c.ctx.Err() != nil {
			return
		}
		from, to := filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())
		if e.IsDir() {
			c.walk(from, to, tasks, dirs)
		} else {
			tasks <- task{from, to}
		}
	}
}

// finishDir gives a directory what its source has.
func (c *copier) finishDir(d dir) error {
	if err := c.attributes(d.src, d.dst, &d.st); err != nil {
		return err
	}
	c.total.Dirs.Add(1)
	if c.Sync {
		return syncDir(d.dst)
	}
	return nil
}

// one copies what is no directory.
func (c *copier) one(t task) {
	var st unix.Stat_t
	err := pathError("lstat", t.src, unix.Lstat(t.src, &st))
	if err == nil {
		err = replaceable(t.dst, &st)
	}
	if err == nil {
		err = c.byType(t, &st)
	}
	if err != nil {
		c.problem(t.src, err)
	}
}

func (c *copier) byType(t task, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		first, mine := c.first(inode{uint64(st.Dev), st.Ino}, t.dst)
		if mine {
			err := c.alone(t, st)
			if err != nil {
				first.to = ""
			}
			close(first.done)
			return err
		}
		<-first.done
		if first.to != "" {
			return c.hardLink(first.to, t.dst)
		}
	}
	return c.alone(t, st)
}

// first tells the first name of an inode from the others.
func (c *copier) first(i inode, dst string) (l *link, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.links[i]; ok {
		return l, false
	}
	l = &link{make(chan struct{}), dst}
	c.links[i] = l
	return l, true
}

// alone copies what has one name, or the first.
func (c *copier) alone(t task, st *unix.Stat_t) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return c.file(t, st)
	case unix.S_IFLNK:
		return c.symlink(t, st)
	case unix.S_IFSOCK:
		return ErrSocket
	}
	return c.special(t, st)
}

// replaceable refuses a destination that a rename would do away with by surprise: one of
// another kind than the source, but for files and symbolic links.
func replaceable(dst string, src *unix.Stat_t) error {
	var st unix.Stat_t
	switch err := unix.Lstat(dst, &st); err {
	case nil:
	case unix.ENOENT:
		return nil
	default:
		return pathError("lstat", dst, err)
	}
	switch there := st.Mode & unix.S_IFMT; there {
	case unix.S_IFREG, unix.S_IFLNK, src.Mode & unix.S_IFMT:
		return nil
	case unix.S_IFDIR:
		return pathError("copy", dst, unix.EISDIR)
	}
	return pathError("copy", dst, ErrSpecial)
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// partName returns the name under which a file is written.
func partName(dst string) string {
	dir, name := filepath.Split(dst)
	part := "." + name + ".asyncfile-part"
	if len(part) > unix.NAME_MAX {
		part = fmt.Sprintf(".%x.asyncfile-part", hash(name))
	}
	return dir + part
}
