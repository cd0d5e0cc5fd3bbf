package main

import (
	"fmt"
	"slices"
)

// A comparison is a target for a figure of an entry: or, where there is another
// entry to compare it with, for the ratio.
type comparison struct {
	id string
	entry
	than   entry // zero: none
	figure figure
	bound  bound
}

// A figure is what is compared.
type figure struct {
	of   func(result) float64
	unit string
}

var (
	inIOPS    = figure{result.iops, "IOPS"}
	inCPU     = figure{result.cpuPerOp, "us/op"}
	inRate    = figure{func(r result) float64 { return r.rate() / 1e6 }, "MB/s"}
	inThreads = figure{threads, "threads"}
	inBytes   = figure{result.allocBytesPerOp, "bytes allocated per operation"}
)

// Cells of several targets.
var (
	cellOne    = reads(1)
	cellDeep   = reads(128)
	cellMany   = reads(10_000)
	cellMemory = cell{"tmpfs", false, randRead, kib4, 1}
	cellCached = cell{"disk", true, randRead, kib4, 1}
	cellSeqRd  = cell{"disk", false, seqRead, mib1, 8}
	cellSeqWr  = cell{"disk", false, seqWrite, mib1, 8}
	cellWrite  = cell{"disk", false, randWrite, kib4, 32}
)

// reads is the cell of most targets.
func reads(depth int) cell { return cell{"disk", false, randRead, kib4, depth} }

// versus compares two contenders on a cell.
func versus(id string, on cell, a, b string, f figure, bound bound) comparison {
	return comparison{id, entry{a, on}, entry{b, on}, f, bound}
}

// firstComparisons are those of P1 to P12.
func firstComparisons() []comparison {
	return []comparison{
		versus("P1", cellDeep, future, fioOne, inIOPS, atLeast(1)),
		versus("P1", cellDeep, future, fioBatch, inCPU, atMost(1.3)),
		versus("P1", cellDeep, future, osFile, inCPU, atMost(0.4)),
		versus("P1", cellDeep, futureOne, fioBatch, inCPU, unbound()),
		versus("P1", cellDeep, future, bareLoop, inCPU, unbound()),
		versus("P2", cellDeep, queue, fioBatch, inCPU, atMost(1.15)),
		versus("P2", cellDeep, queueOne, fioBatch, inCPU, unbound()),
		versus("P2", cellDeep, queue, bareLoop, inCPU, unbound()),
		versus("P3", cellOne, file, osFile, inIOPS, atLeast(0.97)),
		versus("P3", cellOne, future, osFile, inIOPS, atLeast(0.85)),
		versus("P4", cellMemory, future, osFile, inIOPS, atLeast(0.4)),
		versus("P4", cellMemory, file, osFile, inIOPS, atLeast(0.9)),
		versus("P5", cellDeep, future, iouringGo, inCPU, atMost(0.4)),
		versus("P6", cellDeep, queue, giouringLoop, inCPU, atMost(1.3)),
		versus("P6", cellDeep, queueOne, giouringLoop, inCPU, unbound()),
		versus("P7", cellCached, file, osFile, inIOPS, atLeast(0.95)),
		versus("P7", cellCached, future, osFile, inIOPS, atLeast(0.5)),
		{"P8", entry{future, cellMany}, entry{}, inThreads, atMost(targetProcs + 24)},
		{"P8", entry{osFile, cellMany}, entry{}, inThreads, unbound()},
		versus("P11", cellSeqRd, future, fioOne, inRate, atLeast(1)),
		versus("P11", cellSeqWr, future, fioOne, inRate, atLeast(1)),
		versus("P12", cellWrite, future, fioOne, inIOPS, atLeast(1)),
		versus("P12", cellWrite, future, fioOne, inCPU, atMost(1.3)),
		versus("P12", cellWrite, future, fioBatch, inCPU, unbound()),
	}
}

// waiterComparisons are those of P13 to P18: what it costs to wait, next to a loop
// that does nothing else.
func waiterComparisons() []comparison {
	var list []comparison
	add := func(id string, on cell, a, b string, f figure, bound bound) {
		list = append(list, versus(id, on, a, b, f, bound))
	}
	pulled := func(id string, on cell, toFio bound) {
		add(id, on, queuePulled, bareLoop, inCPU, atMost(1.25))
		add(id, on, queuePulled, fioBatch, inCPU, toFio)
		add(id, on, queuePulled, bareLoop, inIOPS, atLeast(0.97))
	}
	pulled("P13", reads(8), unbound())
	pulled("P13", reads(32), atMost(1.1))
	pulled("P13", reads(128), atMost(1.1))
	pulled("P14", cellWrite, atMost(1.1))
	for _, depth := range []int{16, 32, 128} {
		add("P15", reads(depth), submit, bareLoop, inCPU, atMost(1.4))
	}
	for _, depth := range []int{8, 32, 128} {
		add("P16", reads(depth), future, bareLoop, inCPU, atMost(1.6))
		add("P16", reads(depth), future, bareLoop, inIOPS, atLeast(0.95))
		add("P17", reads(depth), queue, bareLoop, inCPU, atMost(1.6))
	}
	add("P18", cellOne, future, osFile, inCPU, atMost(1.1))
	add("P18", cellMemory, future, osFile, inIOPS, atLeast(0.9))
	return list
}

// sizeComparisons are those of P19 to P21: large blocks, many goroutines, blocks
// that are not aligned.
func sizeComparisons() []comparison {
	var list []comparison
	for _, on := range []cell{cellSeqRd, cellSeqWr} {
		for _, who := range []string{future, file, stream} {
			list = append(list,
				versus("P19", on, who, fioOne, inCPU, atMost(1.15)),
				versus("P19", on, who, fioOne, inRate, atLeast(1)))
		}
	}
	crowd, some := entry{future, cellMany}, entry{future, reads(100)}
	list = append(list,
		comparison{"P20", crowd, some, inCPU, atMost(1.5)},
		comparison{"P20", crowd, some, inIOPS, unbound()})
	for _, goroutines := range []int{16, 256, 10_000} {
		odd := entry{file, cell{"disk", false, oddRead, 4100, goroutines}}
		even := entry{file, cell{"disk", false, randRead, 8 << 10, goroutines}}
		list = append(list,
			comparison{"P21", odd, even, inCPU, atMost(1.2)},
			comparison{"P21", odd, even, inIOPS, unbound()},
			comparison{"P21", odd, entry{}, inBytes, atMost(0)})
	}
	return list
}

// String says what is compared.
func (c comparison) String() string {
	text := fmt.Sprintf("%v: %s of %s", c.cell, c.figure.unit, c.contender)
	if c.than.contender != "" {
		text += " / " + c.than.contender
		if c.than.cell != c.cell {
			text += " at " + c.than.cell.String()
		}
	}
	return text
}

// compare returns what became of a comparison.
func (r *runner) compare(c comparison) claim {
	cl := claim{id: c.id, text: c.String(), bound: c.bound}
	ours, theirs := results(r.runs, c.contender, c.cell), results(r.runs, c.than.contender, c.than.cell)
	median := func(by map[int]result) string { return number(spreadOf(values(by, c.figure.of)).median) }
	if c.than.contender == "" {
		cl.values, cl.have = values(ours, c.figure.of), median(ours)
	} else {
		cl.values, cl.have = ratios(ours, theirs, c.figure.of), median(ours)+" / "+median(theirs)
	}
	if len(cl.values) == 0 {
		cl.missing = r.why(c.entry, c.than)
	}
	return cl
}

// why says why there is nothing to compare.
func (r *runner) why(entries ...entry) string {
	for _, e := range entries {
		for _, name := range []string{e.contender, e.cell.Place} {
			if skip := r.skips[name]; skip != "" {
				return name + ": " + skip
			}
		}
	}
	for _, run := range r.runs {
		if e := (entry{run.contender, run.cell}); !run.result.ok() && slices.Contains(entries, e) {
			return run.contender + ": " + run.result.Err
		}
	}
	return "not measured"
}
