package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// targetProcs is GOMAXPROCS of everything that -targets measures.
const targetProcs = 2

// A targetList is which of the targets are measured.
type targetList struct {
	comparisons []comparison
	others      []otherTarget
}

// An otherTarget is one that compares no contenders on cells.
type otherTarget struct {
	id      string
	measure func(r *runner, rounds int) ([]claim, error)
}

// allTargets are P1 to P21.
func allTargets() *targetList {
	return &targetList{
		comparisons: slices.Concat(firstComparisons(), waiterComparisons(), sizeComparisons()),
		others: []otherTarget{
			{"P9", (*runner).allocClaims},
			{"P10", (*runner).idleClaims},
			{"P11", (*runner).copyClaims},
		},
	}
}

// pickTargets returns the targets whose numbers are in a list with commas: of an
// empty one, all.
func pickTargets(only string) (*targetList, error) {
	t := allTargets()
	if only == "" {
		return t, nil
	}
	numbers, found := strings.Split(only, ","), map[string]bool{}
	unwanted := func(id string) bool {
		found[id] = slices.Contains(numbers, id)
		return !found[id]
	}
	t.comparisons = slices.DeleteFunc(t.comparisons, func(c comparison) bool { return unwanted(c.id) })
	t.others = slices.DeleteFunc(t.others, func(o otherTarget) bool { return unwanted(o.id) })
	for _, id := range numbers {
		if !found[id] {
			return nil, fmt.Errorf("-only: no target %q: use numbers as in P13,P16", id)
		}
	}
	return t, nil
}

// need reports whether a comparison is with e.
func (t *targetList) need(e entry) bool {
	return slices.ContainsFunc(t.comparisons, func(c comparison) bool { return c.entry == e || c.than == e })
}

// cells returns the cells of the comparisons. Two that are compared with each other
// are neighbours, so that little time lies between them.
func (t *targetList) cells() []cell {
	var cells []cell
	for _, c := range t.comparisons {
		i := slices.Index(cells, c.cell)
		if i < 0 {
			i = len(cells)
			cells = append(cells, c.cell)
		}
		if c.than.contender != "" && !slices.Contains(cells, c.than.cell) {
			cells = slices.Insert(cells, i+1, c.than.cell)
		}
	}
	return cells
}

// plan returns what the comparisons need.
func (t *targetList) plan() plan {
	p := plan{targets: t, cells: t.cells(), contenders: []string{}, rounds: 5, warm: 300 * time.Millisecond, time: time.Second}
	for _, c := range t.comparisons {
		for _, e := range []entry{c.entry, c.than} {
			if e.contender != "" && !contains(p.contenders, e.contender) {
				p.contenders = append(p.contenders, e.contender)
			}
		}
	}
	return p
}

// targets measures the targets of a plan and returns what became of them.
func (r *runner) targets(p plan) ([]claim, error) {
	if err := r.do(p); err != nil {
		return nil, err
	}
	var claims []claim
	for _, c := range p.targets.comparisons {
		claims = append(claims, r.compare(c))
	}
	for _, o := range p.targets.others {
		list, err := o.measure(r, p.rounds)
		if err != nil {
			return nil, err
		}
		claims = append(claims, list...)
	}
	return sorted(claims), nil
}

// allocClaims counts allocations one operation after the other.
func (r *runner) allocClaims(int) ([]claim, error) {
	var list []claim
	for _, t := range []struct {
		task, text string
		limit      float64
	}{
		{"allocs future", "allocations per future", 1},
		{"allocs queue", "allocations per operation through a Queue", 0},
	} {
		c := claim{id: "P9", text: t.text, bound: atMost(t.limit), have: fmt.Sprintf("average of %d", allocRuns)}
		res := r.child("", job{Task: t.task, File: r.places["disk"].file})
		if c.missing = res.Err; res.ok() {
			c.values = []float64{res.Value}
		}
		list = append(list, c)
	}
	return list, nil
}

// idleClaims watches a program that does nothing.
func (r *runner) idleClaims(int) ([]claim, error) {
	ours := claim{id: "P10", text: fmt.Sprintf("wake-ups in %v, four files open and nothing in flight", idleTime), bound: atMost(0)}
	calls := claim{id: "P10", text: fmt.Sprintf("system calls in %v (strace -c -f), the same", idleTime), bound: atMost(0)}
	control, err := r.idleChild(osFile, r.places["disk"].file)
	idle, err2 := r.idleChild(future, r.places["disk"].file)
	for _, e := range []error{err, err2} {
		if e != nil {
			ours.missing, calls.missing = e.Error(), e.Error()
			return []claim{ours, calls}, nil
		}
	}
	ours.values = []float64{float64(idle.wakeUps)}
	ours.have = fmt.Sprintf("a program with one os.File: %d", control.wakeUps)
	calls.values = []float64{float64(idle.calls)}
	calls.have = fmt.Sprintf("a program with one os.File: %d", control.calls)
	if idle.calls < 0 || control.calls < 0 {
		calls.missing = "strace is not installed, or not permitted"
	}
	return []claim{ours, calls}, nil
}

// copyClaims compares io.Copy of a cold file.
func (r *runner) copyClaims(rounds int) ([]claim, error) {
	disk := r.places["disk"]
	c := claim{id: "P11", text: fmt.Sprintf("io.Copy of a cold %s file: MB/s of %s / %s", sizeName(disk.size), file, osFile), bound: atLeast(1)}
	var ours, theirs []float64
	for round := range rounds {
		var value [2]float64
		names := [2]string{osFile, file}
		for k := range names {
			i := (round + k) % 2 // each goes first in every other round
			name := names[i]
			if err := r.ctx.Err(); err != nil {
				return nil, err
			}
			res := r.child("", job{Contender: name, Task: "copy", File: disk.file, Size: disk.size})
			if !res.ok() {
				c.missing = name + ": " + res.Err
				return []claim{c}, nil
			}
			value[i] = res.Value / 1e6
		}
		theirs, ours = append(theirs, value[0]), append(ours, value[1])
		c.values = append(c.values, value[1]/value[0])
	}
	c.have = number(spreadOf(ours).median) + " / " + number(spreadOf(theirs).median)
	return []claim{c}, nil
}
