package main

import (
	"fmt"
	"time"
)

// A pattern is in which order blocks are read and written.
type pattern string

const (
	randRead  pattern = "randread"
	randWrite pattern = "randwrite"
	randMixed pattern = "randrw" // 70 % reads
	seqRead   pattern = "read"   // fio's names
	seqWrite  pattern = "write"
	oddRead   pattern = "oddread" // random reads at odd offsets: no block of the device begins there
)

// readShare is how many percent of a mixed pattern are reads.
const readShare = 70

func (p pattern) random() bool {
	return p == randRead || p == randWrite || p == randMixed || p == oddRead
}
func (p pattern) writes() bool { return p == randWrite || p == randMixed || p == seqWrite }

// A cell is one kind of work: a row of contenders in the report.
type cell struct {
	Place   string // name of a place
	Cached  bool   // buffered, and in the page cache; otherwise O_DIRECT
	Pattern pattern
	Block   int // bytes
	Depth   int // operations in flight
}

func (c cell) String() string {
	how := "O_DIRECT"
	if c.Cached {
		how = "page cache"
	}
	return fmt.Sprintf("%s, %s, %s %s, depth %d", c.Place, how, c.Pattern, sizeName(int64(c.Block)), c.Depth)
}

// sizeName returns a size in bytes as people write it.
func sizeName(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// A plan is which cells are measured, by whom, how often and how long.
type plan struct {
	cells      []cell
	contenders []string // nil: all
	rounds     int
	warm, time time.Duration
	targets    *targetList // of -targets
	steps      []scaleStep // of -scale, instead of cells
}

// An entry is a contender on a cell.
type entry struct {
	contender string
	cell      cell
}

// takesPart reports whether a plan has a contender on a cell.
func (p plan) takesPart(c contender, on cell) bool {
	switch {
	case p.targets != nil:
		return p.targets.need(entry{c.name, on})
	case p.contenders == nil:
		return !c.named && c.can(on)
	}
	return contains(p.contenders, c.name) && c.can(on)
}

// warmUp returns how long the plan has a cell done before it is measured. In any
// case each operation in flight is done several times: what allocates at first
// has done so, and the last of 10,000 goroutines has started.
func (p plan) warmUp(c cell) time.Duration {
	return p.warm + time.Duration(c.Depth)*50*time.Microsecond
}

const (
	kib4  = 4 << 10
	kib64 = 64 << 10
	mib1  = 1 << 20
)

// quickPlan takes about a minute.
func quickPlan() plan {
	return plan{
		cells: []cell{
			{"disk", false, randRead, kib4, 1},
			{"disk", false, randRead, kib4, 32},
			{"disk", false, randRead, kib4, 128},
			{"disk", true, randRead, kib4, 1},
			{"tmpfs", false, randRead, kib4, 1},
		},
		contenders: []string{fioBatch, osFile, future, queue, queuePulled, file, iouringGo, giouringLoop},
		rounds:     3,
		warm:       50 * time.Millisecond,
		time:       250 * time.Millisecond,
	}
}

// fullPlan takes at most twenty minutes.
func fullPlan() plan {
	p := plan{rounds: 3, warm: 50 * time.Millisecond, time: 400 * time.Millisecond}
	add := func(place string, cached bool, pat pattern, block int, depths ...int) {
		for _, d := range depths {
			p.cells = append(p.cells, cell{place, cached, pat, block, d})
		}
	}
	add("disk", false, randRead, kib4, 1, 2, 4, 8, 16, 32, 64, 128, 256)
	add("disk", false, randWrite, kib4, 1, 32, 128)
	add("disk", false, randMixed, kib4, 32)
	add("disk", false, randRead, kib64, 1, 16)
	add("disk", false, randRead, mib1, 8)
	add("disk", false, seqRead, kib64, 16)
	add("disk", false, seqRead, mib1, 8)
	add("disk", false, seqWrite, kib64, 16)
	add("disk", false, seqWrite, mib1, 8)
	add("disk", true, randRead, kib4, 1, 32)
	add("disk", true, randRead, kib64, 1)
	add("tmpfs", false, randRead, kib4, 1, 32, 128)
	add("tmpfs", false, randWrite, kib4, 32)
	add("loop", false, randRead, kib4, 1, 32, 128)
	add("loop", false, randWrite, kib4, 32)
	return p
}
