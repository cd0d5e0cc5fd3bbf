package asyncfile

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
)

// An overlapCase makes requests for an overlap, on a file of 100 pages.
type overlapCase struct {
	*testing.T
	*overlap
	file *AsyncFile
}

func newOverlapCase(t *testing.T) *overlapCase {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "overlap"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(100 * bufferAlign); err != nil {
		t.Fatal(err)
	}
	f.companion.opened.Store(true) // without one, cached writes are alone
	return &overlapCase{t, &overlap{unit: bufferAlign}, f}
}

func (c *overlapCase) request(kind OpKind, w way, off int64, n int) *request {
	return &request{op: Op{Kind: kind, Offset: off}, want: n, way: w, file: c.file}
}

func (c *overlapCase) admits(want bool, q *request) *request {
	c.Helper()
	if got := c.admit(q); got != want {
		c.Errorf("admit(%v, way %d, %d at %d) = %v", q.op.Kind, q.way, q.want, q.op.Offset, got)
	}
	return q
}

func (c *overlapCase) leaves(q *request, want ...*request) {
	c.Helper()
	if got := c.leave(q); !slices.Equal(got, want) {
		c.Errorf("leave released %d requests, want %d, or others", len(got), len(want))
	}
}

func (c *overlapCase) empty() {
	c.Helper()
	if len(c.active) != 0 || len(c.waiting) != 0 || c.cached != 0 {
		c.Errorf("at the end %d active, %d waiting, %d cached", len(c.active), len(c.waiting), c.cached)
	}
}

func TestOverlapNil(t *testing.T) {
	var o *overlap
	q := &request{op: Op{Kind: OpWrite}, want: 1, way: cached}
	if !o.admit(q) || o.leave(q) != nil || q.spanned {
		t.Error("no overlap holds something")
	}
}

func TestOverlapConflicts(t *testing.T) {
	const page = bufferAlign
	type req struct {
		kind OpKind
		way  way
		off  int64
		n    int
	}
	for _, test := range []struct {
		name string
		a, b req
		wait bool
	}{
		{"two direct writes of a block", req{OpWrite, straight, 0, page}, req{OpWrite, bounced, 0, page}, false},
		{"two cached writes of a block", req{OpWrite, cached, 0, 10}, req{OpWritev, cached, 10, 10}, false},
		{"direct behind cached", req{OpWrite, cached, 10, 10}, req{OpWrite, straight, 0, 512}, true},
		{"cached behind direct", req{OpWrite, bounced, 512, 512}, req{OpWrite, cached, 4095, 1}, true},
		{"read behind cached", req{OpWrite, cached, 10, 10}, req{OpRead, bounced, 20, 5}, true},
		{"cached behind read", req{OpReadv, straight, 0, page}, req{OpWritev, cached, 20, 5}, true},
		{"the block before", req{OpWrite, cached, page, 10}, req{OpWrite, straight, 0, page}, false},
		{"the block behind", req{OpWrite, cached, page - 10, 10}, req{OpWrite, straight, page, page}, false},
		{"one byte into the block behind", req{OpWrite, cached, page - 10, 11}, req{OpWrite, straight, page, page}, true},
		{"in the middle of many", req{OpWrite, straight, 0, 10 * page}, req{OpWrite, cached, 5*page + 1, 1}, true},
		{"around one", req{OpWrite, straight, 5 * page, page}, req{OpWrite, cached, 1, 10 * page}, true},
		{"a Sync", req{OpWrite, cached, 0, 10}, req{OpSync, straight, 0, 0}, false},
		{"beyond every file", req{OpWrite, cached, math.MaxInt64 - 5, 10}, req{OpWrite, straight, math.MaxInt64 - 4095, page}, true},
		{"behind a write beyond every file", req{OpWrite, cached, math.MaxInt64 - 5, 10}, req{OpWrite, straight, 0, page}, false},
		{"read behind one that grows the file", req{OpWrite, cached, 100*page - 1, 2}, req{OpRead, straight, 200 * page, page}, true},
		{"read before one that grows the file", req{OpWrite, cached, 100 * page, 2}, req{OpRead, straight, 99 * page, page}, false},
		{"write to the last block as one grows the file from far behind", req{OpWrite, cached, 500*page + 1, 2}, req{OpWrite, straight, 99 * page, page}, false},
		{"write before the end as one grows the file from far behind", req{OpWrite, cached, 500*page + 1, 2}, req{OpWrite, straight, 100 * page, page}, true},
		{"write behind one that grows the file", req{OpWrite, cached, 100*page - 1, 2}, req{OpWrite, straight, 200 * page, page}, true},
		{"read behind one that does not", req{OpWrite, cached, 100*page - 1, 1}, req{OpRead, straight, 200 * page, page}, false},
		{"one that grows the file behind a read", req{OpRead, bounced, 300 * page, 1}, req{OpAppend, cached, 100 * page, 1}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newOverlapCase(t)
			a := c.admits(true, c.request(test.a.kind, test.a.way, test.a.off, test.a.n))
			b := c.admits(!test.wait, c.request(test.b.kind, test.b.way, test.b.off, test.b.n))
			if test.wait {
				c.leaves(a, b)
			} else {
				c.leaves(a)
			}
			c.leaves(b)
			c.empty()
		})
	}
}

// TestOverlapOrder: nobody passes one of the other kind that waits for the same
// block, and nobody else waits.
func TestOverlapOrder(t *testing.T) {
	c := newOverlapCase(t)
	const page = bufferAlign
	first := c.admits(true, c.request(OpWrite, straight, 0, 2*page))
	rmw := c.admits(false, c.request(OpWrite, cached, 5, 5))
	second := c.admits(false, c.request(OpWrite, straight, 0, page)) // or rmw would wait for ever
	beside := c.admits(true, c.request(OpWrite, straight, page, page))
	again := c.admits(false, c.request(OpWrite, cached, 15, 5)) // behind second, though of rmw's kind
	last := c.admits(false, c.request(OpRead, bounced, 1, 1))
	c.leaves(beside)
	c.leaves(first, rmw)
	c.leaves(rmw, second)
	c.leaves(second, again)
	c.leaves(again, last)
	c.leaves(last)
	c.empty()
}

// TestOverlapTogether: those of one kind that waited for the same request go
// together, in the order in which they came.
func TestOverlapTogether(t *testing.T) {
	c := newOverlapCase(t)
	big := c.admits(true, c.request(OpRead, straight, 0, 10*bufferAlign))
	a := c.admits(false, c.request(OpWrite, cached, 1, 1))
	b := c.admits(false, c.request(OpWrite, cached, 9*bufferAlign+1, 1))
	d := c.admits(false, c.request(OpWrite, cached, 2, 1))
	c.leaves(big, a, b, d)
	c.leaves(b)
	c.leaves(a)
	c.leaves(d)
	c.empty()
}

// TestOverlapWayChanges: a direct write that stopped inside a block goes on
// through the page cache. What it was when it came is what it counts as.
func TestOverlapWayChanges(t *testing.T) {
	c := newOverlapCase(t)
	q := c.admits(true, c.request(OpWrite, straight, 0, bufferAlign))
	q.way = cached
	c.leaves(q)
	c.empty()
	a := c.admits(true, c.request(OpWrite, cached, 0, 1))
	b := c.admits(false, c.request(OpWrite, straight, 0, bufferAlign))
	c.leaves(a, b)
	c.leaves(b)
	c.empty()
}

// TestOverlapSerialAppend: where the kernel finds the place, everything behind
// the end of the file is shared.
func TestOverlapSerialAppend(t *testing.T) {
	c := newOverlapCase(t)
	c.file.seekless = true
	defer func() { c.file.seekless = false }()
	c.file.appender.file = c.file
	a := c.admits(true, c.request(OpAppend, cached, 0, 10))
	before := c.admits(true, c.request(OpRead, straight, 99*bufferAlign, bufferAlign))
	behind := c.admits(false, c.request(OpRead, straight, 5000*bufferAlign, bufferAlign))
	c.leaves(before)
	c.leaves(a, behind)
	c.leaves(behind)
	c.empty()
}

// TestOverlapRandom checks after every step that no two that conflict are active
// together, that whoever waits has a reason to, and that all have been active.
func TestOverlapRandom(t *testing.T) {
	c := newOverlapCase(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	kinds := []OpKind{OpRead, OpWrite, OpWrite}
	active := map[*request]bool{}
	begun, ended := 0, 0
	for begun < 5000 || len(active) > 0 {
		if begun < 5000 && (len(active) == 0 || rng.IntN(2) == 0) {
			begun++
			kind := kinds[rng.IntN(3)]
			w := straight
			if kind != OpRead && rng.IntN(2) == 0 {
				w = cached
			}
			q := c.request(kind, w, rng.Int64N(110*bufferAlign), 1+rng.IntN(5*bufferAlign))
			if c.admit(q) {
				active[q] = true
			}
		} else {
			var q *request
			for q = range active {
				break
			}
			delete(active, q)
			ended++
			for _, w := range c.leave(q) {
				active[w] = true
			}
		}
		if len(active) != len(c.active) || begun-ended != len(c.active)+len(c.waiting) {
			t.Fatalf("%d active, %d of them known, %d waiting, of %d", len(c.active), len(active), len(c.waiting), begun-ended)
		}
		for i, q := range c.active {
			if q.place != i || q.conflicts(c.active) {
				t.Fatal("two that conflict are active, or one is not at its place")
			}
		}
		for i, q := range c.waiting {
			if !q.conflicts(c.active) && !q.conflicts(c.waiting[:i]) {
				t.Fatal("one waits for nobody")
			}
		}
	}
	c.empty()
}

// TestOverlapLastBlock: the kernel zeroes the rest of the last block, in the page
// cache, as a write far behind it makes the file larger.
func TestOverlapLastBlock(t *testing.T) {
	c := newOverlapCase(t)
	if err := c.file.Truncate(100*bufferAlign - 10); err != nil {
		t.Fatal(err)
	}
	far := c.admits(true, c.request(OpWrite, cached, 500*bufferAlign+1, 2))
	last := c.admits(false, c.request(OpWrite, straight, 99*bufferAlign, 512))
	before := c.admits(true, c.request(OpWrite, straight, 98*bufferAlign, bufferAlign))
	c.leaves(before)
	c.leaves(far, last)
	c.leaves(last)
	c.empty()
}
