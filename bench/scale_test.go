package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A child opens files in every way of -scale, reads, and says what that cost.
func TestScaleTask(t *testing.T) {
	const size, time, goroutines = 1 << 20, 20 * time.Millisecond, 5
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, size), 0o666); err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]struct {
		contender string
		shape     shape
	}{
		"os.File":     {osFile, shape{Files: 50}},
		"shared Ring": {future, shape{Files: 50}},
		"two Rings":   {future, shape{Files: 50, Rings: 2, Slots: 1000}},
	} {
		t.Run(what, func(t *testing.T) {
			if s.shape.Rings > 0 && bareMissing() != "" {
				t.Skip(bareMissing())
			}
			r := asChild(t, job{Contender: s.contender, Task: "scale", Shape: s.shape, File: name, Size: size, Time: time,
				Cell: cell{"here", true, randRead, kib4, goroutines}})
			c := r.Costs
			if !r.ok() || r.Ops == 0 || c.PerFile <= 0 || c.RSS < 0 || c.Goroutines < 1 || c.Open <= 0 || c.Close <= 0 || c.Served <= 0 || c.Served > 1 {
				t.Errorf("result = %+v", r)
			}
			if s.shape.Rings > 0 && c.PerSlot < 64 { // an iocb, at the least
				t.Errorf("%v bytes a slot", c.PerSlot)
			}
		})
	}
}

func TestAllowFiles(t *testing.T) {
	if err := allowFiles(1); err != nil {
		t.Error(err)
	}
	if err := allowFiles(1 << 40); err == nil || !strings.Contains(err.Error(), "RLIMIT_NOFILE") {
		t.Errorf("a limit that no system has: %v", err)
	}
}

// Steps are told apart, each has a table, and all of them fit into the time that
// -scale promises.
func TestScaleSteps(t *testing.T) {
	topics, seen := map[string]bool{}, map[string]bool{}
	for _, table := range scaleTables {
		topics[table.topic] = true
	}
	const start, rounds = 500 * time.Millisecond, 5 // of a process
	var sum time.Duration
	for _, s := range scaleSteps() {
		if !topics[s.topic] || seen[s.String()] {
			t.Errorf("%v: topic %q, seen %v", s, s.topic, seen[s.String()])
		}
		seen[s.String()] = true
		j := s.job(&place{})
		sum += j.Warm + j.Time + start
	}
	if sum *= rounds; sum > 6*time.Minute {
		t.Errorf("%v in all", sum)
	}
}

func TestPickSteps(t *testing.T) {
	steps, err := pickSteps("^1000 files")
	if err != nil || len(steps) != 2 {
		t.Errorf("pickSteps = %v, %v; want two", steps, err)
	}
	for _, only := range []string{"(", "nothing like it"} {
		if _, err := pickSteps(only); err == nil {
			t.Errorf("-only %q is accepted", only)
		}
	}
}

// sampleScale has three rounds of each step, of ops that grow with the round.
func sampleScale() (steps []scaleStep, runs []scaleRun) {
	steps = scaleSteps()
	for round := range 3 {
		for i, s := range steps {
			ops := int64(100 * (i + 1) * (round + 1))
			res := result{Ops: ops, Seconds: 1, CPU: 0.01, Threads: 7, P99: time.Millisecond,
				Costs: costs{PerFile: 104, PerSlot: 512, PerGoroutine: 2048, RSS: 3 * mib1, InSubmit: 0.5, Served: 1}}
			if s.cell.Depth == 100_000 {
				res = result{Err: "no | memory"}
			}
			runs = append(runs, scaleRun{s, run{round, s.contender, s.cell, res}})
		}
	}
	return steps, runs
}

func TestWriteScale(t *testing.T) {
	steps, runs := sampleScale()
	var b strings.Builder
	if err := writeScale(&b, steps, runs); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{
		"| 1 | os.File | 104 | 3 | 0 | 0 | 0 | 200 (100-300) | 50 (33.3-100) | 7 | 1 | 1 | 1 |  |",
		"| 10 | asyncfile future | 104 | 3 | 0 | 0 | 0 | 800 (400-1200) | 12.5 (8.33-25) | 7 | 2 | 1.33 | 0.75 |  |",
		"| 100000 | asyncfile future | - (---) | ",
		`failed in round 1: no \| memory |`,
		"| 1 | 2 | ",
		"## Queue depth",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	rows, columns := 0, 0
	for line := range strings.Lines(out) {
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		switch {
		case n == 0:
			columns = 0
		case columns > 0 && n != columns:
			t.Errorf("%d columns, not %d: %s", n, columns, line)
		default:
			columns = n
			rows++
		}
	}
	if want := len(steps) + 2*len(scaleTables); rows != want {
		t.Errorf("%d lines of tables, want %d", rows, want)
	}
}

func TestWriteScaleCSV(t *testing.T) {
	_, runs := sampleScale()
	var b strings.Builder
	if err := writeScaleCSV(&b, runs); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(b.String())).ReadAll() // checks the number of fields
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1+len(runs) {
		t.Errorf("%d lines for %d runs", len(lines), len(runs))
	}
	if got, want := lines[1][1], strconv.Itoa(runs[0].step.shape.Files); lines[0][1] != "files" || got != want {
		t.Errorf("%s = %s, want %s files", lines[0][1], got, want)
	}
}
