package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"time"
)

// A claim is one target and what became of it.
type claim struct {
	id, text string
	limit    float64   // or information
	atLeast  bool      // otherwise at most
	values   []float64 // by round
	have     string    // the figures behind the values
	missing  string    // why there are none
}

// information is the limit of a claim that has none: it shows what another is
// made of.
var information = math.NaN()

func (c claim) met(v float64) bool { return c.atLeast && v >= c.limit || !c.atLeast && v <= c.limit }

// verdict says whether the median meets the limit, and in how many rounds the
// value did: where that is not nearly all or none, noise has decided.
func (c claim) verdict() string {
	if math.IsNaN(c.limit) {
		return "-"
	}
	rounds := 0
	for _, v := range c.values {
		if c.met(v) {
			rounds++
		}
	}
	holds := "**no**"
	if c.met(spreadOf(c.values).median) {
		holds = "yes"
	}
	return fmt.Sprintf("%s (%d/%d)", holds, rounds, len(c.values))
}

// target says what the value has to be.
func (c claim) target() string {
	switch {
	case math.IsNaN(c.limit):
		return "none"
	case c.atLeast:
		return ">= " + number(c.limit)
	}
	return "<= " + number(c.limit)
}

// Cells of the targets.
var (
	cellDeep   = cell{"disk", false, randRead, kib4, 128}
	cellOne    = cell{"disk", false, randRead, kib4, 1}
	cellMemory = cell{"tmpfs", false, randRead, kib4, 1}
	cellCached = cell{"disk", true, randRead, kib4, 1}
	cellMany   = cell{"disk", false, randRead, kib4, 10_000}
	cellSeqRd  = cell{"disk", false, seqRead, mib1, 8}
	cellSeqWr  = cell{"disk", false, seqWrite, mib1, 8}
	cellWrite  = cell{"disk", false, randWrite, kib4, 32}
)

// targetPlans are the cells with the contenders that each needs.
func targetPlans(rounds int) []plan {
	on := func(c cell, contenders ...string) plan {
		return plan{cells: []cell{c}, contenders: contenders, rounds: rounds, warm: 100 * time.Millisecond, time: time.Second}
	}
	return []plan{
		on(cellDeep, fioOne, fioBatch, bareLoop, osFile, future, futureEvent, futureOne, queue, queueEvent, queueOne, iouringGo, giouringLoop),
		on(cellOne, osFile, future, file),
		on(cellMemory, osFile, future, file),
		on(cellCached, osFile, future, file),
		on(cellMany, osFile, future),
		on(cellSeqRd, fioOne, future),
		on(cellSeqWr, fioOne, future),
		on(cellWrite, fioOne, fioBatch, future),
	}
}

// targets measures P1 to P12 and returns what became of them.
func (r *runner) targets(rounds int) ([]claim, error) {
	for _, p := range targetPlans(rounds) {
		if err := r.do(p); err != nil {
			return nil, err
		}
	}
	claims := append(r.ratioClaims(), r.threadClaim())
	claims = append(claims, r.allocClaims()...)
	claims = append(claims, r.idleClaims()...)
	copied, err := r.copyClaim(rounds)
	claims = append(claims, copied)
	return sorted(claims), err
}

// A figure is what a ratio is of.
type figure struct {
	of   func(result) float64
	unit string
}

var (
	inIOPS = figure{result.iops, "IOPS"}
	inCPU  = figure{result.cpuPerOp, "us/op"}
	inRate = figure{func(r result) float64 { return r.rate() / 1e6 }, "MB/s"}
)

// ratioClaims are the targets that compare two contenders on a cell.
func (r *runner) ratioClaims() []claim {
	const least, most = true, false
	var list []claim
	add := func(id string, c cell, a, b string, f figure, atLeast bool, limit float64) {
		cl := claim{id: id, text: fmt.Sprintf("%v: %s of %s / %s", c, f.unit, a, b), limit: limit, atLeast: atLeast}
		left, right := results(r.runs, a, c), results(r.runs, b, c)
		cl.values = ratios(left, right, f.of)
		cl.have = fmt.Sprintf("%s / %s", number(spreadOf(values(left, f.of)).median), number(spreadOf(values(right, f.of)).median))
		if len(cl.values) == 0 {
			cl.missing = r.why(c, a, b)
		}
		list = append(list, cl)
	}
	add("P1", cellDeep, future, fioOne, inIOPS, least, 1)
	add("P1", cellDeep, future, fioBatch, inCPU, most, 1.3)
	add("P1", cellDeep, future, osFile, inCPU, most, 0.4)
	add("P1", cellDeep, futureOne, fioBatch, inCPU, most, information)
	add("P1", cellDeep, future, bareLoop, inCPU, most, information)
	add("P2", cellDeep, queue, fioBatch, inCPU, most, 1.15)
	add("P2", cellDeep, queueOne, fioBatch, inCPU, most, information)
	add("P2", cellDeep, queue, bareLoop, inCPU, most, information)
	add("P3", cellOne, file, osFile, inIOPS, least, 0.97)
	add("P3", cellOne, future, osFile, inIOPS, least, 0.85)
	add("P4", cellMemory, future, osFile, inIOPS, least, 0.4)
	add("P4", cellMemory, file, osFile, inIOPS, least, 0.9)
	add("P5", cellDeep, future, iouringGo, inCPU, most, 0.4)
	add("P6", cellDeep, queue, giouringLoop, inCPU, most, 1.3)
	add("P6", cellDeep, queueOne, giouringLoop, inCPU, most, information)
	add("P7", cellCached, file, osFile, inIOPS, least, 0.95)
	add("P7", cellCached, future, osFile, inIOPS, least, 0.5)
	add("P11", cellSeqRd, future, fioOne, inRate, least, 1)
	add("P11", cellSeqWr, future, fioOne, inRate, least, 1)
	add("P12", cellWrite, future, fioOne, inIOPS, least, 1)
	add("P12", cellWrite, future, fioOne, inCPU, most, 1.3)
	add("P12", cellWrite, future, fioBatch, inCPU, most, information)
	return list
}

// why says why there is nothing to compare.
func (r *runner) why(c cell, names ...string) string {
	for _, name := range append(names, c.Place) {
		if skip := r.skips[name]; skip != "" {
			return name + ": " + skip
		}
	}
	for _, run := range r.runs {
		if run.cell == c && !run.result.ok() && contains(names, run.contender) {
			return run.contender + ": " + run.result.Err
		}
	}
	return "not measured"
}

func (r *runner) threadClaim() claim {
	c := claim{id: "P8", text: fmt.Sprintf("%v: threads of %s", cellMany, future), limit: float64(runtime.GOMAXPROCS(0) + 24)}
	c.values = values(results(r.runs, future, cellMany), threads)
	c.have = "os.File: " + number(spreadOf(values(results(r.runs, osFile, cellMany), threads)).median)
	if len(c.values) == 0 {
		c.missing = r.why(cellMany, future)
	}
	return c
}

func (r *runner) allocClaims() []claim {
	var list []claim
	for _, t := range []struct {
		task, text string
		limit      float64
	}{
		{"allocs future", "allocations per future", 1},
		{"allocs queue", "allocations per operation through a Queue", 0},
	} {
		c := claim{id: "P9", text: t.text, limit: t.limit, have: fmt.Sprintf("average of %d", allocRuns)}
		res := r.child("", job{Task: t.task, File: r.places["disk"].file})
		if c.missing = res.Err; res.ok() {
			c.values = []float64{res.Value}
		}
		list = append(list, c)
	}
	return list
}

func (r *runner) idleClaims() []claim {
	ours := claim{id: "P10", text: fmt.Sprintf("wake-ups in %v, four files open and nothing in flight", idleTime)}
	calls := claim{id: "P10", text: fmt.Sprintf("system calls in %v (strace -c -f), the same", idleTime)}
	control, err := r.idleChild(osFile, r.places["disk"].file)
	idle, err2 := r.idleChild(future, r.places["disk"].file)
	for _, e := range []error{err, err2} {
		if e != nil {
			ours.missing, calls.missing = e.Error(), e.Error()
			return []claim{ours, calls}
		}
	}
	ours.values = []float64{float64(idle.wakeUps)}
	ours.have = fmt.Sprintf("a program with one os.File: %d", control.wakeUps)
	calls.values = []float64{float64(idle.calls)}
	calls.have = fmt.Sprintf("a program with one os.File: %d", control.calls)
	if idle.calls < 0 || control.calls < 0 {
		calls.missing = "strace is not installed, or not permitted"
	}
	return []claim{ours, calls}
}

// copyClaim compares io.Copy of a cold file.
func (r *runner) copyClaim(rounds int) (claim, error) {
	disk := r.places["disk"]
	c := claim{id: "P11", text: fmt.Sprintf("io.Copy of a cold %s file: MB/s of %s / %s", sizeName(disk.size), file, osFile), limit: 1, atLeast: true}
	var ours, theirs []float64
	for round := range rounds {
		var value [2]float64
		names := [2]string{osFile, file}
		for k := range names {
			i := (round + k) % 2 // each goes first in every other round
			name := names[i]
			if err := r.ctx.Err(); err != nil {
				return c, err
			}
			res := r.child("", job{Contender: name, Task: "copy", File: disk.file, Size: disk.size})
			if !res.ok() {
				c.missing = name + ": " + res.Err
				return c, nil
			}
			value[i] = res.Value / 1e6
		}
		theirs, ours = append(theirs, value[0]), append(ours, value[1])
		c.values = append(c.values, value[1]/value[0])
	}
	c.have = number(spreadOf(ours).median) + " / " + number(spreadOf(theirs).median)
	return c, nil
}

// sorted puts claims in the order of their numbers.
func sorted(claims []claim) []claim {
	var list []claim
	for i := 1; i <= 12; i++ {
		for _, c := range claims {
			if c.id == fmt.Sprintf("P%d", i) {
				list = append(list, c)
			}
		}
	}
	return list
}

// writeClaims prints a Markdown table of what became of the targets.
func writeClaims(out io.Writer, claims []claim) error {
	var b strings.Builder
	b.WriteString("| # | what | figures | median | spread | target | holds (rounds) |\n|---|---|---|---|---|---|---|\n")
	for _, c := range claims {
		if c.missing != "" {
			fmt.Fprintf(&b, "| %s | %s | | | | %s | not measured: %s |\n", c.id, c.text, c.target(), cellText(c.missing))
			continue
		}
		s := spreadOf(c.values)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s-%s | %s | %s |\n",
			c.id, c.text, c.have, number(s.median), number(s.min), number(s.max), c.target(), c.verdict())
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// number prints a figure with three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// cellText makes a text fit for a cell of a Markdown table.
func cellText(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}
