package file

import (
	"errors"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/order"
)

// extends reports whether o would make io_submit wait since it ends beyond the end
// of the file.
func (f *Handle) extends(o *operation) bool {
	return f.Blocks.Beyond && o.op.Kind.Writes() && o.way != cached && (o.end() > f.sequence.size.Load() || o.end() < 0)
}

// An extension makes a file larger, with fallocate(2), for direct writes that end
// beyond its end. They wait behind it, and are then in flight together. fallocate
// itself waits, inode lock held, for the direct I/O in flight: so it is alone on
// the file. Writes gather for it as long as it waits, and cost one of them.
type extension struct {
	file  *Handle
	entry order.Entry[turn]
	runs  []Run
}

// extendFor has an extension go ahead of a write. Called with sequence.mu held.
func (f *Handle) extendFor(from, to int64) {
	s := &f.sequence
	x := s.extension
	if x == nil {
		x = &extension{file: f}
		x.entry.Of = x
		s.extension = x
		defer func() {
			if s.enter(&x.entry, order.Exclusive, 0, order.End) {
				x.grant()
			}
		}()
	}
	// Writes that follow one another, as appends do, are one range.
	if last := len(x.runs) - 1; last >= 0 && x.runs[last].To == from {
		x.runs[last].To = to
		return
	}
	x.runs = append(x.runs, Run{from, to})
}

func (x *extension) grant() { x.file.Lane.Go(x) }

// Run extends the file, on a worker, alone on the file.
func (x *extension) Run() {
	f, s := x.file, &x.file.sequence
	s.mu.Lock()
	if s.extension == x {
		s.extension = nil
	}
	s.mu.Unlock()
	s.seen(f.Size())
	for _, run := range x.runs {
		err := f.allocate(run)
		if err != nil {
			f.group.Counts.Fallbacks.Add(1)
			s.mu.Lock()
			s.noAllocate = s.noAllocate || errors.Is(err, errors.ErrUnsupported)
			s.mu.Unlock()
			continue // an ordinary pwrite(2) will find the error that the caller is to see
		}
		f.group.Counts.Extensions.Add(1)
		s.size.Store(max(s.size.Load(), run.To))
	}
	f.leaveAlone(&x.entry)
}

// allocate makes room for a run, and the file large enough. What it has allocated
// beyond the end of the file when it fails ext4 gives back as the write that follows
// fails (ext4_inode_extension_cleanup, fs/ext4/file.c). ftruncate(2) to the size that
// fstat(2) tells would do so here, and cut off what another process appends between
// the two.
func (f *Handle) allocate(run Run) error {
	if run.To > aio.FileSizeLimit() {
		return syscall.EFBIG // which the write would get before ext4 gives anything back
	}
	if err := aio.Reserve(f.fd, run.From, run.To-run.From); err != nil {
		return err
	}
	return f.allocateRange(run.From, run.To-run.From) // only the size is left to change
}

// A cutBack is an operation that failed behind an extension of the file, and ends
// when the file is as large again as it would have been without. It is alone on
// the file for that.
type cutBack struct {
	entry order.Entry[turn]
	o     *operation
}

// cutsBack reports whether o, which has ended, ends later: in a cutBack.
func (f *Handle) cutsBack(o *operation) bool {
	s := &f.sequence
	if !o.extended || o.err == nil {
		return false
	}
	c := &cutBack{o: o}
	c.entry.Of = c
	s.mu.Lock()
	list := s.leave(o)
	s.extension = nil // as for alone
	s.resizing++
	if s.enter(&c.entry, order.Exclusive, 0, order.End) {
		c.grant()
	}
	s.mu.Unlock()
	f.group.ring.Submit(f.dispatchAll(list))
	return true
}

func (c *cutBack) grant() { c.o.file.Lane.Go(c) }

// Run cuts the file back, on a worker, unless others have used what it would cut
// off. What another process appends between the last look and ftruncate(2) is lost:
// no call does both.
func (c *cutBack) Run() {
	f, s := c.o.file, &c.o.file.sequence
	s.seen(f.Size())
	s.mu.Lock()
	size, written := s.size.Load(), s.written
	s.mu.Unlock()
	if written < size && f.emptyFrom(written) && f.truncate(written) == nil {
		s.resized(written)
	}
	s.mu.Lock()
	s.resizing--
	s.mu.Unlock()
	f.leaveAlone(&c.entry)
	c.o.slot.Finish()
}

// emptyFrom reports whether nobody has put data behind the block in which the first
// written bytes of the file end. Where that cannot be told it is false: bytes too
// many do less harm than bytes that are lost.
func (f *Handle) emptyFrom(written int64) bool {
	block := max(f.Blocks.Unit, 1)
	empty, err := aio.Unwritten(f.fd, (written+block-1)/block*block)
	return empty && err == nil
}
