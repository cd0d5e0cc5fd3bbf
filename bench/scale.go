package main

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// A scaleStep is one row of -scale.
type scaleStep struct {
	topic     string // the table that it is in
	contender string
	cell      cell // its depth is the number of goroutines
	shape     shape
}

const (
	byFiles      = "files"
	byGoroutines = "goroutines"
	byDepth      = "queue depth"
	byRings      = "Rings"
)

// String is what -only matches.
func (s scaleStep) String() string {
	switch s.topic {
	case byFiles:
		return fmt.Sprintf("%d files: %s", s.shape.Files, s.contender)
	case byGoroutines:
		return fmt.Sprintf("%d goroutines: %s", s.cell.Depth, s.contender)
	case byDepth:
		return fmt.Sprintf("queue depth %d: %s", s.shape.Slots, s.contender)
	}
	return fmt.Sprintf("%d Rings, GOMAXPROCS %d: %s", s.shape.Rings, s.shape.Procs, s.contender)
}

const (
	// scaleDepth is how many reads are in flight where their number is not what
	// grows.
	scaleDepth = 128
	// scaleFiles is how many files are spread over Rings.
	scaleFiles = 4
	// threadMost is the most goroutines in os.File: each may take a thread.
	threadMost = 10_000
)

// scaleSteps returns the rows in the order of the report.
func scaleSteps() []scaleStep {
	var steps []scaleStep
	add := func(topic, contender string, goroutines int, s shape) {
		steps = append(steps, scaleStep{topic, contender, cell{"disk", false, randRead, kib4, goroutines}, s})
	}
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		add(byFiles, osFile, scaleDepth, shape{Files: n})
		add(byFiles, future, scaleDepth, shape{Files: n})
	}
	for _, n := range []int{1, 10, 100, 1000, 10_000, 100_000} {
		if n <= threadMost {
			add(byGoroutines, osFile, n, shape{Files: 1})
		}
		add(byGoroutines, future, n, shape{Files: 1})
	}
	for _, n := range []int{1, 8, 32, 128, 256, 512, 1024} {
		add(byDepth, future, n, shape{Files: 1, Rings: 1, Slots: n})
	}
	for _, procs := range []int{1, 2} {
		for _, n := range []int{1, 2, 4} {
			add(byRings, future, scaleDepth, shape{Files: scaleFiles, Rings: n, Procs: procs})
		}
	}
	return steps
}

// pickSteps returns the steps that -only asks for.
func pickSteps(only string) ([]scaleStep, error) {
	re, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	steps := slices.DeleteFunc(scaleSteps(), func(s scaleStep) bool { return !re.MatchString(s.String()) })
	if len(steps) == 0 {
		return nil, fmt.Errorf("-only %q matches nothing of -scale", only)
	}
	return steps, nil
}

// job is what the step's child is told. It warms up for longer than a read may
// take in a crowd, on a disk of 20,000 IOPS.
func (s scaleStep) job(p *place) job {
	crowd := time.Duration(s.cell.Depth) * time.Second / 20_000
	return job{
		Contender: s.contender, Task: "scale", Cell: s.cell, Shape: s.shape, File: p.file, Size: p.size,
		Warm: 100*time.Millisecond + crowd,
		Time: 500*time.Millisecond + crowd/4,
	}
}

// A scaleRun is a run of a step.
type scaleRun struct {
	step scaleStep
	run
}

// scale measures the steps in so many rounds.
func (r *runner) scale(steps []scaleStep, rounds int) ([]scaleRun, error) {
	var runs []scaleRun
	err := r.inTurns(rounds, len(steps), func(i int) string { return steps[i].String() }, func(round, i int) {
		s := steps[i]
		res := r.child("", s.job(r.places[s.cell.Place]))
		runs = append(runs, scaleRun{s, run{round, s.contender, s.cell, res}})
	})
	return runs, err
}

// runsOf returns the runs of a step.
func runsOf(list []scaleRun, s scaleStep) []run {
	var found []run
	for _, r := range list {
		if r.step == s {
			found = append(found, r.run)
		}
	}
	return found
}
