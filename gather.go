package asyncfile

import (
	"context"
	"errors"
	"io"
	"math"

	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// A mergedRead is one operation of ReadMany, and the Ranges that it is for.
type mergedRead struct {
	from, to int64 // in the file: whole blocks, where it is direct
	parts    []rangePart
	buf      []byte // from a pool, until all parts have been passed on
	charge   int    // bytes that it counts for
	n        int    // so many bytes were read,
	err      error  // and why not all
	ended    bool   // it is not in flight: buf may be used
	alone    bool   // one of its parts is read again
	next     *mergedRead
}

// A rangePart is a Range of a mergedRead.
type rangePart struct {
	Range
	index int
}

// blames reports whether p lacks bytes because of others, so far as can be told; or
// because one before it did.
func (r *mergedRead) blames(p *rangePart) bool {
	return r.alone || len(r.parts) > 1 && r.err != nil && r.err != io.EOF &&
		p.Offset+int64(p.Length) > r.from+int64(r.n)
}

// part returns what has been read of p.
func (r *mergedRead) part(p *rangePart) ([]byte, error) {
	if p.Length == 0 || r.buf == nil {
		return nil, r.err
	}
	at := int(p.Offset - r.from)
	end := min(at+p.Length, max(at, r.n))
	data := r.buf[at:end:end]
	if len(data) < p.Length {
		return data, r.err
	}
	return data, nil
}

// A readList is mergedReads, first in first out.
type readList struct{ first, last *mergedRead }

func (l *readList) push(r *mergedRead) {
	r.next = nil
	if l.first == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
}

func (l *readList) pop() *mergedRead {
	r := l.first
	if r != nil {
		l.first, r.next = r.next, nil
	}
	return r
}

const (
	// maxParts is how many Ranges one read is for at most, so that repeating one
	// Range takes no more memory than others do.
	maxParts = 1024

	// partCharge is what a Range counts for in WithReadMemory beside its bytes.
	partCharge = 32
)

// A gathering is one loop over ReadMany. It is its goroutine's own. In any order
// line has what has ended, and otherwise everything that has been begun.
type gathering struct {
	*readManyConfig
	file  *AsyncFile
	ctx   context.Context
	yield func(Chunk, error) bool

	queue    *Queue
	received []Completion    // by one Receive
	look     context.Context // has ended, for a Receive that does not wait

	inFlight int
	fresh    int // submitted since the last Receive, which sends them
	reads    int // begun, and not passed on
	held     int // bytes of WithReadMemory that they count for

	index int         // of the next Range
	open  *mergedRead // takes Ranges until one comes that it cannot take
	line  readList    // to be passed on, in this order
	idle  readList
}

func newGathering(ctx context.Context, f *AsyncFile, c *readManyConfig, yield func(Chunk, error) bool) *gathering {
	depth := min(c.depth, f.ring.Depth())
	g, _ := f.gatherings.Get().(*gathering)
	if g == nil || len(g.received) != depth {
		look, end := context.WithCancel(context.Background())
		end()
		// Twice the places: one may be taken still while its completion is received.
		g = &gathering{queue: NewQueue(2 * depth), received: make([]Completion, depth), look: look}
	}
	g.readManyConfig, g.file, g.ctx, g.yield = c, f, ctx, yield
	return g
}

func (g *gathering) maxInFlight() int { return len(g.received) }

// add takes the next Range. Like all methods that return a bool it reports false
// where the loop is over.
func (g *gathering) add(r Range) bool {
	p := rangePart{r, g.index}
	g.index++
	err := g.check(r)
	if err == nil && g.merge(p) {
		return true
	}
	if !g.flush() {
		return false
	}
	g.open = g.idle.pop()
	if g.open == nil {
		g.open = new(mergedRead)
	}
	g.open.parts = append(g.open.parts, p)
	if g.open.err = err; err != nil {
		return g.flush()
	}
	g.open.from, g.open.to = g.blocks(r)
	return true
}

// merge adds p to the open read, if that can take it.
func (g *gathering) merge(p rangePart) bool {
	o := g.open
	if o == nil || p.Length == 0 || o.from == o.to || len(o.parts) == maxParts {
		return false
	}
	from, to := g.blocks(p.Range)
	gap := int64(g.gap)
	if from-o.to > gap || o.from-to > gap || max(to, o.to)-min(from, o.from) > int64(g.maxMerge) {
		return false
	}
	o.from, o.to = min(from, o.from), max(to, o.to)
	o.parts = append(o.parts, p)
	return true
}

// blocks returns what is to be read for r.
func (g *gathering) blocks(r Range) (from, to int64) {
	unit := int64(g.file.core.Align.ReadOffset)
	from, to = r.Offset, r.Offset+int64(r.Length)
	if r.Length == 0 || to > math.MaxInt64-unit {
		return from, to // then the file has the bytes copied
	}
	return from - from%unit, to + (unit-to%unit)%unit
}

// flush begins the open read.
func (g *gathering) flush() bool {
	r := g.open
	if r == nil {
		return true
	}
	size := int(r.to - r.from)
	r.charge = file.BounceSize(size) + partCharge*len(r.parts)
	for !g.hasRoom(r) {
		if !g.step() {
			return false
		}
	}
	if g.ctx.Err() != nil {
		return g.abandon()
	}
	g.open = nil
	g.reads++
	g.held += r.charge
	if r.ended = r.err != nil; r.ended || !g.anyOrder {
		g.line.push(r)
	}
	if !r.ended {
		r.buf = g.file.ring.files.Bounces.Get(size)
		g.submit(r, r.buf, r.from)
	}
	return true
}

// hasRoom reports whether r may be begun. While chunks wait for the loop's body to take
// them twice the depth is enough, and otherwise memory is the bound: one slow read keeps
// the device from nothing.
func (g *gathering) hasRoom(r *mergedRead) bool {
	most, first := g.maxInFlight(), g.line.first
	return g.inFlight < most &&
		(g.held == 0 || r.charge <= g.memory-g.held) &&
		(g.reads < 2*most || first == nil || !first.ended)
}

// submit begins to read into p, which is memory of r. It waits for a slot of the
// Ring no longer than ctx lives.
func (g *gathering) submit(r *mergedRead, p []byte, off int64) {
	r.ended = false
	g.inFlight++
	g.fresh++
	g.queue.submit(g.file, Op{Kind: OpRead, Buf: p, Offset: off}, r, g.ctx.Done())
}

// receive takes completions, and waits for one as long as ctx lives. What was
// submitted before goes out.
func (g *gathering) receive(ctx context.Context) error {
	n, err := g.queue.Receive(ctx, g.received)
	for _, c := range g.received[:n] {
		r := c.Tag.(*mergedRead)
		r.n, r.err, r.ended = c.N, c.Err, true
		if errors.Is(c.Err, ErrBufferLost) {
			r.buf, r.n = nil, 0
		}
		if g.anyOrder && !r.alone {
			g.line.push(r)
		}
	}
	g.inFlight -= n
	g.fresh = 0
	return err
}

// await receives until r has ended.
func (g *gathering) await(r *mergedRead) bool {
	for !r.ended {
		if g.receive(g.ctx) != nil {
			return g.abandon()
		}
	}
	return true
}

// abandon ends the loop, because ctx has.
func (g *gathering) abandon() bool {
	g.yield(Chunk{Index: -1}, abandoned(g.ctx))
	return false
}

// step passes one read on, when it has ended. So that the device has work while the
// loop's body is at it, a quarter of the depth is not left for the next Receive.
func (g *gathering) step() bool {
	for g.line.first == nil {
		if g.receive(g.ctx) != nil {
			return g.abandon()
		}
	}
	if g.line.first.ended && 4*g.fresh >= g.maxInFlight() {
		g.receive(g.look)
	}
	if !g.await(g.line.first) {
		return false
	}
	return g.pass(g.line.pop())
}

// pass gives the loop's body the parts of r, which has ended.
func (g *gathering) pass(r *mergedRead) bool {
	defer g.recycle(r)
	for i := range r.parts {
		if g.ctx.Err() != nil {
			return g.abandon()
		}
		p := &r.parts[i]
		if r.blames(p) && !g.readAlone(r, p) {
			return false
		}
		data, err := r.part(p)
		if !g.yield(Chunk{p.Range, p.index, data}, err) {
			return false
		}
	}
	return true
}

// readAlone reads p, of r, into the memory of r, whose contents are lost. So must
// the parts after it be.
func (g *gathering) readAlone(r *mergedRead, p *rangePart) bool {
	if r.buf == nil {
		return true // it is lost: all parts have that error
	}
	for g.inFlight >= g.maxInFlight() {
		if g.receive(g.ctx) != nil {
			return g.abandon()
		}
	}
	r.alone = true
	r.from, r.to = g.blocks(p.Range)
	g.submit(r, r.buf[:r.to-r.from], r.from)
	return g.await(r)
}

// recycle takes back what r has, but for memory that is still in flight.
func (g *gathering) recycle(r *mergedRead) {
	g.reads--
	g.held -= r.charge
	if !r.ended {
		return
	}
	if r.buf != nil {
		g.file.ring.files.Bounces.Put(r.buf)
	}
	*r = mergedRead{parts: r.parts[:0]}
	g.idle.push(r)
}

// finish passes on what has been begun.
func (g *gathering) finish() {
	for g.flush() && g.reads > 0 && g.step() {
	}
}

// leave waits for what is in flight, as long as ctx lives, and gives the memory back.
// Where nothing is left in flight what there is of it serves the next loop.
func (g *gathering) leave() {
	for g.inFlight > 0 {
		if g.receive(g.ctx) != nil {
			g.queue.C() // has the Ring see to the rest: nobody calls Receive any more
			break
		}
	}
	for r := g.line.pop(); r != nil; r = g.line.pop() {
		g.recycle(r)
	}
	if g.inFlight == 0 {
		f := g.file
		clear(g.received)
		*g = gathering{queue: g.queue, received: g.received, look: g.look, idle: g.idle}
		f.gatherings.Put(g)
	}
}
