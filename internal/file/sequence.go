package file

import (
	"container/heap"
	"sync"
	"sync/atomic"

	"github.com/seed-39be8cca/asyncfile/internal/order"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
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

	group *Group

	mu         sync.Mutex // guards what follows; not held across a system call
	order      *order.Sequence[turn]
	ends       endHeap       // of the writes that have a place and have not ended
	looking    int           // goroutines that ask for the size
	recent     int64         // the largest end of a write that has ended since the first of them began
	extension  *extension    // the last Exclusive that came, if it has not begun
	noAllocate bool          // the file system has no fallocate: nothing can be extended
	resizing   int           // tasks that are to be alone, or are, and may change the size
	granted    ring.Requests // requests that may go, until they are dispatched
}

// A turn is what has a place in a sequence. grant says that it may go. It is
// called with sequence.mu held.
type turn interface{ grant() }

type epoch = order.Epoch[turn]

func (o *operation) grant() {
	o.slot.Goes(ring.StageBegun)
	o.file.sequence.granted.Push(o.slot)
}

func (s *sequence) init(g *Group, unit int64) {
	s.group = g
	s.order = order.New[turn](unit)
}

// enter puts e into the order, and reports whether it may go now. Called with mu
// held.
func (s *sequence) enter(e *order.Entry[turn], kind order.Kind, from, to int64) (goes bool) {
	goes = s.order.Enter(e, kind, from, to)
	if s.group.observed {
		s.watch(e, goes)
	}
	return goes
}

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

// unplaced is operation.heap of an append that only the kernel finds the place for.
const unplaced = -1

// An endHeap has the request whose write ends last at its top.
type endHeap []*operation

func (h endHeap) Len() int           { return len(h) }
func (h endHeap) Less(i, j int) bool { return h[i].end() > h[j].end() }
func (h endHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heap, h[j].heap = i, j
}

// Push is for package heap.
func (h *endHeap) Push(x any) {
	o := x.(*operation)
	o.heap = len(*h)
	*h = append(*h, o)
}

// Pop is for package heap.
func (h *endHeap) Pop() any {
	last := len(*h) - 1
	o := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return o
}

// enterSequence gives o its place among the requests of the file, finds out which
// way it goes, and reports whether it may go now.
func (f *Handle) enterSequence(o *operation) bool {
	s := &f.sequence
	placed := o.op.Kind == Append && !f.serial()
	o.way = f.wayOf(o)
	size := f.lockAtSize(placed || o.way == cached)
	defer s.mu.Unlock()
	if placed {
		o.op.Offset = size
		if len(s.ends) > 0 {
			o.op.Offset = max(size, s.ends[0].end())
		}
		o.way = f.wayOf(o)
	}
	o.ordered = true
	o.entry.Of = o
	if o.op.Kind.Syncs() {
		return s.enter(&o.entry, order.Sync, 0, 1)
	}
	if o.op.Kind.Writes() {
		if o.heap = unplaced; o.op.Kind != Append || placed {
			heap.Push(&s.ends, o)
		}
	}
	if s.resizing > 0 {
		size = 0 // a write may find the file as small as that
	}
	kind, from, to := f.claim(o, size)
	return s.enter(&o.entry, kind, from, to)
}

// claim returns what o is in the order, and which bytes of the file it touches, which has
// size of them now. It has an extension go ahead of a write that needs one. Called with
// sequence.mu held.
func (f *Handle) claim(o *operation, size int64) (kind order.Kind, from, to int64) {
	kind, from, to = order.Read, o.op.Offset, o.end()
	if o.op.Kind.Writes() {
		kind = order.Write
	}
	if to < from {
		to = order.End
	}
	switch {
	case o.op.Kind == Append && f.serial():
		kind, from, to = order.Append, size, order.End
		if !f.Companion.Ready() {
			from = 0 // alone: it may have to turn O_DIRECT off
		}
		if !f.Mixed {
			from = order.End - 1 // there is no other way into the file
		}
	case o.way == cached:
		kind = order.Cached
		switch {
		case !f.Companion.Ready():
			from, to = 0, order.End // alone, as above
		case to > size:
			from, to = min(from, size), order.End
		}
	case to == order.End: // no file is so large: the write itself will tell
	case f.extends(o) && !f.sequence.noAllocate:
		o.extended = true
		f.extendFor(from, to)
	}
	return kind, from, to
}

// lockAtSize locks the sequence, and returns the size that the file has then, if
// it is asked for: what the writes have left that are not in the sequence any
// more. The kernel is asked without the lock, since it may not answer; what has ended
// meanwhile is known from s.recent.
func (f *Handle) lockAtSize(ask bool) (size int64) {
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
	size = f.Size()
	s.mu.Lock()
	s.looking--
	return max(size, s.recent)
}

// grant lets turns go, and returns the requests among them. Called with mu held.
func (s *sequence) grant(turns []*order.Entry[turn]) (list ring.Requests) {
	if s.group.verifier != nil {
		s.group.verifier.sequence(s.order, turns...)
	}
	for _, e := range turns {
		e.Of.grant()
	}
	list, s.granted = s.granted, ring.Requests{}
	return list
}

// leaveSequence takes out o, which has ended, and returns what may go to the
// kernel now. o.owed is to be settled when its outcome is delivered.
func (f *Handle) leaveSequence(o *operation) (ready ring.Requests) {
	if !o.ordered {
		return ready
	}
	s := &f.sequence
	s.mu.Lock()
	list := s.leave(o)
	s.mu.Unlock()
	return f.dispatchAll(list)
}

// leave takes out o, which has ended, and returns the requests that may go now.
// Called with mu held.
func (s *sequence) leave(o *operation) ring.Requests {
	if o.op.Kind.Writes() {
		if o.heap != unplaced {
			heap.Remove(&s.ends, o.heap)
		}
		if o.done > 0 {
			s.recent = max(s.recent, o.op.Offset+int64(o.done))
		}
		if end := o.op.Offset + int64(o.done); o.done > 0 && end > s.written {
			s.written = end
			s.size.Store(max(s.size.Load(), end))
		}
	}
	o.ordered = false
	next, owed := s.order.Release(&o.entry)
	o.owed = owed
	return s.grant(next)
}

// settle lets the Syncs go that waited for a write whose outcome is delivered.
func (f *Handle) settle(owed *epoch) (ready ring.Requests) {
	s := &f.sequence
	s.mu.Lock()
	list := s.grant(s.order.Settle(owed))
	s.mu.Unlock()
	return f.dispatchAll(list)
}

// leaveAlone takes out what was alone on the file, and sends what waited for it.
func (f *Handle) leaveAlone(e *order.Entry[turn]) {
	s := &f.sequence
	s.mu.Lock()
	next, _ := s.order.Release(e)
	list := s.grant(next)
	s.mu.Unlock()
	f.group.ring.Submit(f.dispatchAll(list))
}

// An aloneTurn is a task that is to be alone on its file.
type aloneTurn struct {
	entry order.Entry[turn]
	begin chan struct{}
}

func (t *aloneTurn) grant() { close(t.begin) }

// alone runs task when every request that came before has ended, and none that
// came later has begun.
func (f *Handle) alone(task func()) {
	s := &f.sequence
	t := &aloneTurn{begin: make(chan struct{})}
	t.entry.Of = t
	s.mu.Lock()
	s.extension = nil // what extends the file from now on comes after it
	s.resizing++
	if s.enter(&t.entry, order.Exclusive, 0, order.End) {
		close(t.begin)
	}
	s.mu.Unlock()
	f.group.ring.Count(1)
	f.Lane.Ask()
	<-t.begin
	f.group.ring.Count(-1)
	task()
	s.mu.Lock()
	s.resizing--
	s.mu.Unlock()
	f.leaveAlone(&t.entry)
}
