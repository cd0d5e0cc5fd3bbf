package asyncfiletest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
)

const (
	pageSize = 4096
	maxFile  = math.MaxInt64
)

// A disk is the files of a Ring, and what of them is durable. Its lock makes one system
// call at a time of all that change a file, so that a crash has a moment.
type disk struct {
	mu    sync.Mutex
	nodes []*node
}

// A node is a file, however often it is open and whatever its name is. All its fields
// are guarded by disk.mu.
type node struct {
	disk     *disk
	info     os.FileInfo // for os.SameFile
	users    int
	own      *os.File // buffered, whatever the user's is; for reading, too
	writable bool     // own is for writing

	// What is durable: the file as it is, but for these pages, and the size.
	pages map[int64]*page // by number: as they were before they were written
	size  int64
}

// A page is the durable contents of a page that was written since.
type page struct {
	data     [pageSize]byte
	forsaken bool // no Sync covers what was written
}

// access is what an open file allows.
type access struct{ read, write, durable bool }

// open returns the node of osf.
func (d *disk) open(osf *os.File, fd int, write bool) (*node, error) {
	info, err := osf.Stat()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.find(info)
	if n == nil {
		n = &node{disk: d, info: info, pages: map[int64]*page{}, size: info.Size()}
	}
	if n.own == nil || write && !n.writable {
		own, err := reopen(osf, fd, write)
		if err != nil {
			return nil, fmt.Errorf("asyncfiletest: a second descriptor for %s: %w", osf.Name(), err)
		}
		if n.own != nil {
			n.own.Close()
		}
		n.own, n.writable = own, write
	}
	if n.users++; n.users == 1 && d.find(info) == nil {
		d.nodes = append(d.nodes, n)
	}
	return n, nil
}

// reopen opens the file once more, for reading, and for writing where that is asked.
func reopen(osf *os.File, fd int, write bool) (*os.File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), flag, 0) // which may have no name any more
	if errors.Is(err, os.ErrNotExist) {
		own, err = os.OpenFile(osf.Name(), flag, 0)
	}
	return own, err
}

// find returns the node of a file, nil where there is none. Called with mu held.
func (d *disk) find(info os.FileInfo) *node {
	for _, n := range d.nodes {
		if os.SameFile(n.info, info) {
			return n
		}
	}
	return nil
}

// leave counts a user of n out. A node with something that is not durable stays, and
// keeps its file open: no other gets its number.
func (d *disk) leave(n *node) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n.users--
	size, err := n.sizeNow()
	if n.users > 0 || err == nil && (len(n.pages) > 0 || size != n.size) {
		return nil
	}
	for i, other := range d.nodes {
		if other == n {
			d.nodes = append(d.nodes[:i], d.nodes[i+1:]...)
			break
		}
	}
	return n.own.Close()
}

// close forgets everything.
func (d *disk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.nodes {
		n.own.Close()
	}
	d.nodes = nil
}

// sizeNow returns the size of the file, in bytes. Called with mu held.
func (n *node) sizeNow() (int64, error) {
	info, err := n.own.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// end returns the size of the file for who takes it as a hint.
func (n *node) end() int64 {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	size, _ := n.sizeNow()
	return size
}
