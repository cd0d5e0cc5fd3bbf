package main

import (
	"fmt"
	"slices"
	"testing"
)

// Every number has its rows, and -only picks them and no others.
func TestPickTargets(t *testing.T) {
	idsOf := func(l *targetList) map[string]int {
		ids := map[string]int{}
		for _, c := range l.comparisons {
			ids[c.id]++
		}
		for _, o := range l.others {
			ids[o.id]++
		}
		return ids
	}
	all := idsOf(allTargets())
	if len(all) != 21 {
		t.Errorf("%d targets, want 21: %v", len(all), all)
	}
	for i := range 21 {
		id := fmt.Sprintf("P%d", i+1)
		l, err := pickTargets(id + ",P5")
		if err != nil {
			t.Fatal(err)
		}
		ids := idsOf(l)
		delete(ids, "P5")
		if id != "P5" && (len(ids) != 1 || ids[id] != all[id]) {
			t.Errorf("-only %s,P5 has %v beside P5, want all %d of %s", id, ids, all[id], id)
		}
	}
}

// A plan has whatever its comparisons are of, nothing else, and what is compared
// across cells side by side.
func TestTargetPlan(t *testing.T) {
	for _, only := range append([]string{""}, "P8", "P9", "P13", "P19", "P20,P8", "P21") {
		l, err := pickTargets(only)
		if err != nil {
			t.Fatal(err)
		}
		p := l.plan()
		var have []entry
		for _, on := range p.cells {
			for _, c := range contenders() {
				if p.takesPart(c, on) {
					have = append(have, entry{c.name, on})
				}
			}
		}
		wanted := map[entry]bool{}
		for _, c := range l.comparisons {
			wanted[c.entry] = true
			if c.than != (entry{}) {
				wanted[c.than] = true
				if i, j := slices.Index(p.cells, c.cell), slices.Index(p.cells, c.than.cell); j-i < -1 || j-i > 1 {
					t.Errorf("-only %q: %v: its cells are rows %d and %d of a round", only, c, i, j)
				}
			}
		}
		for _, e := range have {
			if !wanted[e] {
				t.Errorf("-only %q: %v is measured for nothing", only, e)
			}
			delete(wanted, e)
		}
		for e := range wanted {
			t.Errorf("-only %q: %v is not measured", only, e)
		}
	}
}

// Ratios are of the same round; a comparison with nothing has the figure itself.
func TestCompare(t *testing.T) {
	crowd, some := entry{future, reads(50)}, entry{future, reads(5)}
	r := &runner{skips: map[string]string{queue: "not today"}}
	for round := range 3 {
		for e, cpu := range map[entry]float64{crowd: 6 * float64(round+1), some: 2 * float64(round+1)} {
			r.runs = append(r.runs, run{round, e.contender, e.cell, result{Ops: 1e6, CPU: cpu, Threads: 4 + round, AllocBytes: 2e6 - 1}})
		}
	}
	r.runs = append(r.runs, run{0, osFile, reads(5), result{Err: "broken"}})
	for _, tt := range []struct {
		than    entry
		figure  figure
		values  []float64
		missing string
	}{
		{some, inCPU, []float64{3, 3, 3}, ""},
		{entry{}, inThreads, []float64{4, 5, 6}, ""},
		{entry{}, inBytes, []float64{1, 1, 1}, ""},
		{entry{queue, reads(5)}, inCPU, nil, queue + ": not today"},
		{entry{osFile, reads(5)}, inCPU, nil, osFile + ": broken"},
		{entry{file, reads(5)}, inCPU, nil, "not measured"},
	} {
		c := r.compare(comparison{"P20", crowd, tt.than, tt.figure, unbound()})
		if !slices.Equal(c.values, tt.values) || c.missing != tt.missing {
			t.Errorf("%s: %v, %q; want %v, %q", c.text, c.values, c.missing, tt.values, tt.missing)
		}
	}
}
