package asyncfile

import (
	"fmt"
	"io/fs"
	"sync"
)

// A ReaderAt is an io.ReaderAt that reads ahead where it sees a pattern: for code
// that reads a file in small pieces, one at a time, such as package archive/zip, or
// a reader of Parquet files. For who wants an io.Reader and an io.Seeker, as package
// archive/tar, there is io.NewSectionReader(r, 0, r.Size()).
//
// Patterns are reads one behind the other, or with up to 32 KiB between them, in
// either direction; and reads at equal distances. Up to 32 are followed at the same
// time, so readers of several parts do not disturb each other. All other reads go to
// the file as they are, and so do those of goroutines that take turns at one row and
// overtake each other.
//
// It is for files that do not change meanwhile: what was read ahead is as old as that.
// It is safe for concurrent use. One that is dropped without Close leaves nothing
// behind. NewReaderAt makes one; any other answers os.ErrInvalid.
type ReaderAt struct {
	file   *AsyncFile
	size   int64 // of the file; nothing is read ahead beyond it
	block  int   // bytes of a segment, at most
	memory int64 // bytes of all segments, at most
	align  int64 // segments begin and end at multiples of it

	mu     sync.Mutex
	closed bool
	taken  int64  // of memory
	clock  uint64 // counts the calls of ReadAt
	recent [recentReads]recentRead
	// patterns are those that are followed, the one used last first.
	patterns []*pattern
}

// defaultAheadDepth is how many blocks a ReaderAt has in memory.
const defaultAheadDepth = 32

// NewReaderAt returns a ReaderAt of f. One operation reads up to 256 KiB ahead
// (WithBlockSize), and up to 32 times as many bytes (WithStreamDepth) are in memory, in
// flight or read ahead. Options out of range, and no open file, answer os.ErrInvalid.
func NewReaderAt(f *AsyncFile, opts ...StreamOption) (*ReaderAt, error) {
	c, err := newStreamConfig(f, 0, append([]StreamOption{WithStreamDepth(defaultAheadDepth)}, opts...))
	if err != nil {
		return nil, err
	}
	align := max(bufferAlign, f.core.Align.ReadOffset)
	return &ReaderAt{
		file:   f,
		size:   f.core.Size(),
		block:  max(c.block/align, 1) * align,
		memory: int64(c.block) * int64(c.depth),
		align:  int64(align),
	}, nil
}

var errNoReaderAt = invalid("a ReaderAt that nothing made: use one of NewReaderAt")

// made reports whether NewReaderAt made r.
func (r *ReaderAt) made() bool { return r != nil && r.file != nil }

// Size returns the size of the file, in bytes, when the ReaderAt was made.
func (r *ReaderAt) Size() int64 {
	if r == nil {
		return 0
	}
	return r.size
}

// ReadAt reads len(p) bytes into p from offset off, in bytes. Results and errors are
// those of the same call on an os.File: an error of what is read ahead is told to who
// reads just that, by reading it again. After Close it answers fs.ErrClosed. Like any
// other operation on the file, it waits while the Ring's queue is full.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if !r.made() {
		return 0, errNoReaderAt
	}
	if len(p) == 0 || off < 0 {
		return r.file.File().ReadAt(p, off)
	}
	var fresh [maxFresh]*segment
	s, begun, err := r.expect(off, len(p), fresh[:0])
	if err != nil {
		return 0, err
	}
	for _, s := range begun {
		s.begin(r.file)
	}
	waited := false
	for n < len(p) && s != nil {
		m, wait := s.copy(p[n:], off+int64(n))
		s.pins.Add(-1)
		n += m
		waited = waited || wait
		if s = nil; m > 0 && n < len(p) {
			s = r.pin(off + int64(n))
		}
	}
	if len(begun) > 0 && !waited {
		begun[len(begun)-1].urge()
	}
	if n == len(p) {
		return n, nil
	}
	m, err := r.file.File().ReadAt(p[n:], off+int64(n))
	return n + m, err
}

// pin returns the segment that holds off, for a copy, or nil.
func (r *ReaderAt) pin(off int64) *segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.find(off)
	if s != nil {
		s.pins.Add(1)
	}
	return s
}

// Close waits for what is being read ahead, and gives the memory back. It leaves the
// file open. ReadAt returns fs.ErrClosed afterwards, and so does a second Close.
func (r *ReaderAt) Close() error {
	if !r.made() {
		return errNoReaderAt
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return errReaderAtClosed
	}
	r.closed = true
	patterns := r.patterns
	r.patterns = nil
	r.mu.Unlock()
	for _, p := range patterns {
		for _, s := range p.ahead {
			s.once.Do(func() {}) // it is not to begin any more
			if op := s.op.Load(); op != nil {
				op.Wait()
				s.free(r.file)
			}
		}
	}
	return nil
}

var errReaderAtClosed = fmt.Errorf("asyncfile: ReaderAt: %w", fs.ErrClosed)
