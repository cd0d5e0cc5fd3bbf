package asyncfile

import (
	"container/heap"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/order"
)

// A sequence is the requests of one file that must not all be in flight together,
// in the order in which they came. Which may is internal/order's affair; what they
// are, and where an Append goes, is told here.
type sequence struct {
	// size is how large the file has become by what was done through it, as far
	// as direct writes that end there do not make it larger. It is written with mu
	// held, or alone on the file. Where another process made the file less, a write
	// beyond its end merely blocks.
	size atomic.Int64
	// written is how large the file would be without extensions. It is guarded by mu.
	written int64

	mu         sync.Mutex // guards what follows; not held across a system call
	order      *order.Sequence[turn]
	ends       endHeap      // of the writes that have a place and have not ended
	looking    int          // goroutines that ask for the size
	recent     int64        // the largest end of a write that has ended since the first of them began
	extension  *extension   // the last Exclusive that came, if it has not begun
	noAllocate bool         // the file system has no fallocate: nothing can be extended
	resizing   int          // tasks that are to be alone, or are, and may change the size
	granted    requestQueue // requests that may go, until they are dispatched
}

// A turn is what has a place in a sequence. grant says that it may go. It is
// called with sequence.mu held.
type turn interface{ grant() }

type epoch = order.Epoch[turn]

func (q *request) grant() { q.file.sequence.granted.push(q) }

func (s *sequence) init(unit int64) { s.order = order.New[turn](unit) }

// resized takes note that the file has been made so large, by one that is alone on
// it.
func (s *sequence) resized(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size.Store(size)
	s.written = size
}

// seen takes note of how large the file is, by one that is alone on it. If it is
// not as large as it was left others have made it so, and that is not undone.
func (s *sequence) seen(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if size != s.size.Load() {
		s.size.Store(size)
		s.written = size
	}
}

// grown takes note that the file has, and keeps, this size at least.
func (s *sequence) grown(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size.Store(max(s.size.Load(), size))
	s.written = max(s.written, size)
}

// unplaced is request.heap of an append that only the kernel finds the place for.
const unplaced = -1

// An endHeap has the request whose write ends last at its top.
type endHeap []*request

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].end() > h[j].end() }
func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heap, h[j].heap = i, j
}

// Push is for package heap.
func (h *endHeap) Push(x any) {
	q := x.(*request)
	q.heap = len(*h)
	*h = append(*h, q)
}

// Pop is for package heap.
func (h *endHeap) Pop() any {
	last := len(*h) - 1
	q := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return q
}

// enterSequence gives q its place among the requests of the file, finds out which
// way it goes, and reports whether it may go now.
func (f *AsyncFile) enterSequence(q *request) bool {
	s := &f.sequence
	placed := q.op.Kind == OpAppend && !f.serial()
	q.way = f.wayOf(q)
	size := f.lockAtSize(placed || q.way == cached)
	defer s.mu.Unlock()
	if placed {
		q.op.Offset = size
		if len(s.ends) > 0 {
			q.op.Offset = max(size, s.ends[0].end())
		}
		q.way = f.wayOf(q)
	}
	q.ordered = true
	q.entry.Of = q
	if q.op.Kind.syncs() {
		return s.order.Enter(&q.entry, order.Sync, 0, 1)
	}
	kind := order.Read
	if q.op.Kind.writes() {
		kind = order.Write
		if q.heap = unplaced; q.op.Kind != OpAppend || placed {
			heap.Push(&s.ends, q)
		}
	}
	if s.resizing > 0 {
		size = 0 // a write may find the file as small as that
	}
	from, to := q.op.Offset, q.end()
	if to < from {
		to = order.End
	}
	switch {
	case q.op.Kind == OpAppend && f.serial():
		kind, from, to = order.Append, size, order.End
		if !f.companion.ready() {
			from = 0 // alone: it may have to turn O_DIRECT off
		}
		if !f.mixed {
			from = order.End - 1 // there is no other way into the file
		}
	case q.way == cached:
		kind = order.Cached
		switch {
		case !f.companion.ready():
			from, to = 0, order.End // alone, as above
		case to > size:
			from, to = min(from, size), order.End
		}
	case to == order.End: // no file is so large: the write itself will tell
	case f.extends(q) && !s.noAllocate:
		q.extended = true
		f.extendFor(from, to)
	}
	return s.order.Enter(&q.entry, kind, from, to)
}

// lockAtSize locks the sequence, and returns the size that the file has then, if
// it is asked for: what the writes have left that are not in the sequence any
// more. The kernel is asked without the lock, since it may not answer; what has ended
// meanwhile is known from s.recent.
func (f *AsyncFile) lockAtSize(ask bool) (size int64) {
	s := &f.sequence
	s.mu.Lock()
	if !ask {
		return 0
	}
	if s.looking == 0 {
		s.recent = 0
	}
	s.looking++
	s.mu.Unlock()
	size = f.size()
	s.mu.Lock()
	s.looking--
	return max(size, s.recent)
}

// grant lets turns go, and returns the requests among them. Called with mu held.
func (s *sequence) grant(turns []*order.Entry[turn]) (list requestQueue) {
	for _, e := range turns {
		e.Of.grant()
	}
	list, s.granted = s.granted, requestQueue{}
	return list
}

// leaveSequence takes out q, which has ended, and returns what may go to the
// kernel now. q.owed is to be settled when its outcome is delivered.
func (f *AsyncFile) leaveSequence(q *request) (ready requestQueue) {
	if !q.ordered {
		return ready
	}
	s := &f.sequence
	s.mu.Lock()
	list := s.leave(q)
	s.mu.Unlock()
	return f.dispatchAll(list)
}

// leave takes out q, which has ended, and returns the requests that may go now.
// Called with mu held.
func (s *sequence) leave(q *request) requestQueue {
	if q.op.Kind.writes() {
		if q.heap != unplaced {
			heap.Remove(&s.ends, q.heap)
		}
		if q.done > 0 {
			s.recent = max(s.recent, q.op.Offset+int64(q.done))
		}
		if end := q.op.Offset + int64(q.done); q.done > 0 && end > s.written {
			s.written = end
			s.size.Store(max(s.size.Load(), end))
		}
	}
	q.ordered = false
	next, owed := s.order.Release(&q.entry)
	q.owed = owed
	return s.grant(next)
}

// settle lets the Syncs go that waited for a write whose outcome is delivered.
func (f *AsyncFile) settle(owed *epoch) (ready requestQueue) {
	s := &f.sequence
	s.mu.Lock()
	list := s.grant(s.order.Settle(owed))
	s.mu.Unlock()
	return f.dispatchAll(list)
}

// leaveAlone takes out what was alone on the file, and sends what waited for it.
func (f *AsyncFile) leaveAlone(e *order.Entry[turn]) {
	s := &f.sequence
	s.mu.Lock()
	next, _ := s.order.Release(e)
	list := s.grant(next)
	s.mu.Unlock()
	f.ring.submit(f.dispatchAll(list))
}

// extends reports whether q would make io_submit wait since it ends beyond the end
// of the file.
func (f *AsyncFile) extends(q *request) bool {
	return f.blocks.beyond && q.op.Kind.writes() && q.way != cached && (q.end() > f.sequence.size.Load() || q.end() < 0)
}

// An extension makes a file larger, with fallocate(2), for direct writes that end
// beyond its end. They wait behind it, and are then in flight together. fallocate
// itself waits, inode lock held, for the direct I/O in flight: so it is alone on
// the file. Writes gather for it as long as it waits, and cost one of them.
type extension struct {
	file  *AsyncFile
	entry order.Entry[turn]
	runs  []byteRange
}

// A byteRange is the bytes of a file from one offset up to another.
type byteRange struct{ from, to int64 }

// extendFor has an extension go ahead of a write. Called with sequence.mu held.
func (f *AsyncFile) extendFor(from, to int64) {
	s := &f.sequence
	x := s.extension
	if x == nil {
		x = &extension{file: f}
		x.entry.Of = x
		s.extension = x
		defer func() {
			if s.order.Enter(&x.entry, order.Exclusive, 0, order.End) {
				x.grant()
			}
		}()
	}
	// Writes that follow one another, as appends do, are one range.
	if last := len(x.runs) - 1; last >= 0 && x.runs[last].to == from {
		x.runs[last].to = to
		return
	}
	x.runs = append(x.runs, byteRange{from, to})
}

func (x *extension) grant() { x.file.lane.workers.Go(x) }

// Run extends the file, on a worker, alone on the file.
func (x *extension) Run() {
	f, s := x.file, &x.file.sequence
	s.mu.Lock()
	if s.extension == x {
		s.extension = nil
	}
	s.mu.Unlock()
	s.seen(f.size())
	for _, run := range x.runs {
		err := f.allocate(run)
		if err != nil {
			f.ring.stats.Fallbacks.Add(1)
			s.mu.Lock()
			s.noAllocate = s.noAllocate || errors.Is(err, errors.ErrUnsupported)
			s.mu.Unlock()
			continue // an ordinary pwrite(2) will find the error that the caller is to see
		}
		f.ring.stats.Extensions.Add(1)
		s.size.Store(max(s.size.Load(), run.to))
	}
	f.leaveAlone(&x.entry)
}

// allocate makes room for a run, and the file large enough. What it has allocated
// beyond the end of the file when it fails ext4 gives back as the write that follows
// fails (ext4_inode_extension_cleanup, fs/ext4/file.c). ftruncate(2) to the size that
// fstat(2) tells would do so here, and cut off what another process appends between
// the two.
func (f *AsyncFile) allocate(run byteRange) error {
	if run.to > aio.FileSizeLimit() {
		return syscall.EFBIG // which the write would get before ext4 gives anything back
	}
	if err := aio.Reserve(f.fd, run.from, run.to-run.from); err != nil {
		return err
	}
	return aio.Allocate(f.fd, run.from, run.to-run.from) // only the size is left to change
}

// An aloneTurn is a task that is to be alone on its file.
type aloneTurn struct {
	entry order.Entry[turn]
	begin chan struct{}
}

func (t *aloneTurn) grant() { close(t.begin) }

// alone runs task when every request that came before has ended, and none that
// came later has begun.
func (f *AsyncFile) alone(task func()) {
	s := &f.sequence
	t := &aloneTurn{begin: make(chan struct{})}
	t.entry.Of = t
	s.mu.Lock()
	s.extension = nil // what extends the file from now on comes after it
	s.resizing++
	if s.order.Enter(&t.entry, order.Exclusive, 0, order.End) {
		close(t.begin)
	}
	s.mu.Unlock()
	f.lane.count(1)
	f.lane.ask()
	<-t.begin
	f.lane.count(-1)
	task()
	s.mu.Lock()
	s.resizing--
	s.mu.Unlock()
	f.leaveAlone(&t.entry)
}

// A cutBack is an operation that failed behind an extension of the file, and ends
// when the file is as large again as it would have been without. It is alone on
// the file for that.
type cutBack struct {
	entry order.Entry[turn]
	q     *request
}

// cutsBack reports whether q, which has ended, ends later: in a cutBack.
func (f *AsyncFile) cutsBack(q *request) bool {
	s := &f.sequence
	if !q.extended || q.err == nil {
		return false
	}
	c := &cutBack{q: q}
	c.entry.Of = c
	s.mu.Lock()
	list := s.leave(q)
	s.extension = nil // as for alone
	s.resizing++
	if s.order.Enter(&c.entry, order.Exclusive, 0, order.End) {
		c.grant()
	}
	s.mu.Unlock()
	f.ring.submit(f.dispatchAll(list))
	return true
}

func (c *cutBack) grant() { c.q.lane.workers.Go(c) }

// Run cuts the file back, on a worker, unless others have used what it would cut
// off. What another process appends between the last look and ftruncate(2) is lost:
// no call does both.
func (c *cutBack) Run() {
	f, s := c.q.file, &c.q.file.sequence
	s.seen(f.size())
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
	c.q.finish()
}

// emptyFrom reports whether nobody has put data behind the block in which the first
// written bytes of the file end. Where that cannot be told it is false: bytes too
// many do less harm than bytes that are lost.
func (f *AsyncFile) emptyFrom(written int64) bool {
	block := max(f.blocks.unit, 1)
	empty, err := aio.Unwritten(f.fd, (written+block-1)/block*block)
	return empty && err == nil
}
