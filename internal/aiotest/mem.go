package aiotest

import (
	"io"
	"slices"
	"sync"
	"syscall"
)

// maxMem is the most bytes of a Mem: a wild offset is to fail, not to take all
// memory.
const maxMem = 1 << 30

// A Mem is a File in memory that grows as it is written. The zero Mem is empty.
type Mem struct {
	mu    sync.Mutex
	data  []byte
	syncs int
}

// NewMem makes a Mem that holds a copy of data.
func NewMem(data []byte) *Mem { return &Mem{data: slices.Clone(data)} }

// ReadAt implements io.ReaderAt.
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	if off < int64(len(m.data)) {
		n = copy(p, m.data[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. A gap it leaves reads as zeros. Past 1 GiB it
// fails with EFBIG.
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if off > maxMem-int64(len(p)) {
		return 0, syscall.EFBIG
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := int(off) + len(p); len(p) > 0 && end > len(m.data) {
		m.data = append(m.data, make([]byte, end-len(m.data))...)
	}
	return copy(m.data[min(int(off), len(m.data)):], p), nil
}

// Sync counts itself.
func (m *Mem) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.syncs++
	return nil
}

// Syncs returns how often Sync was called.
func (m *Mem) Syncs() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.syncs
}

// Bytes returns a copy of the contents.
func (m *Mem) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.data)
}
