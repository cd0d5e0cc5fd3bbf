package asyncfiletest

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// The system calls on a file, as they are without faults. Each notes what of the file
// was durable before it changes that.

func (n *node) read(p []byte, off int64) (int, error) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return n.own.ReadAt(p, off)
}

func (n *node) write(p []byte, off int64, may access) (int, error) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if !may.write {
		return 0, syscall.EBADF
	}
	return n.change(p, off, may, n.own.WriteAt)
}

// append writes p with write(2) to osf, which is in append mode.
func (n *node) append(osf *os.File, p []byte, may access) (int, error) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	size, err := n.sizeNow()
	if err != nil {
		return 0, err
	}
	return n.change(p, size, may, func(p []byte, _ int64) (int, error) { return osf.Write(p) })
}

// change has write put p at off. Called with mu held.
func (n *node) change(p []byte, off int64, may access, write func([]byte, int64) (int, error)) (int, error) {
	if err := n.keep(off, int64(len(p))); err != nil {
		return 0, err
	}
	m, err := write(p, off)
	if may.durable {
		n.commitRange(p[:m], off)
	}
	return m, err
}

func (n *node) truncate(size int64, may access) error {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if !may.write || size < 0 {
		return syscall.EINVAL // ftruncate(2) has it for either
	}
	before, err := n.sizeNow()
	if err != nil {
		return err
	}
	if err := n.keep(size, max(0, before-size)); err != nil {
		return err
	}
	return n.own.Truncate(size)
}

// allocate is do, one of the kinds of fallocate(2).
func (n *node) allocate(off, size int64, may access, do func(fd int, off, size int64) error) error {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if !may.write {
		return syscall.EBADF
	}
	now, err := n.sizeNow()
	if err != nil {
		return err
	}
	if err := n.keep(off, min(size, now-off)); err != nil { // what it may zero
		return err
	}
	return do(int(n.own.Fd()), off, size)
}

// commit makes the file durable as it is, but for what is forsaken. The disk beneath
// is not asked: what the test has of it is in memory.
func (n *node) commit() error {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	size, err := n.sizeNow()
	if err != nil {
		return err
	}
	n.size = size
	for number, p := range n.pages {
		if !p.forsaken {
			delete(n.pages, number)
		}
	}
	return nil
}

// forsake has no Sync cover what has been written so far.
func (n *node) forsake() {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	for _, p := range n.pages {
		p.forsaken = true
	}
}

// commitRange makes what was written at off durable: O_DSYNC. Called with mu held.
func (n *node) commitRange(data []byte, off int64) {
	for len(data) > 0 {
		within := off % pageSize
		part := data[:min(int64(len(data)), pageSize-within)]
		if p := n.pages[off/pageSize]; p != nil {
			copy(p.data[within:], part)
		}
		data, off = data[len(part):], off+int64(len(part))
	}
	n.size = max(n.size, off)
}

// keep keeps the durable contents of the pages of a range that is about to change.
// Called with mu held.
func (n *node) keep(off, size int64) error {
	if size <= 0 || off < 0 || off > maxFile-size {
		return nil // the kernel has an error for it
	}
	for number := off / pageSize; number <= (off+size-1)/pageSize; number++ {
		if p := n.pages[number]; p != nil {
			p.forsaken = false
			continue
		}
		p := new(page)
		if _, err := n.own.ReadAt(p.data[:], number*pageSize); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		n.pages[number] = p
	}
	return nil
}
