package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func sampleRuns() (plan, []run) {
	var p plan
	var runs []run
	for i, depth := range []int{1, 4} {
		c := cell{"disk", false, randRead, kib4, depth}
		p.cells = append(p.cells, c)
		for round := range 3 {
			ops := int64(1000 * (i + 1) * (round + 1))
			res := result{Ops: ops, Bytes: ops * kib4, Seconds: 1, CPU: 0.01, Threads: 5, P50: time.Millisecond}
			runs = append(runs, run{round, osFile, c, res})
			res.Ops *= 2
			runs = append(runs, run{round, future, c, res})
			runs = append(runs, run{round, goaioLoop, c, result{Err: "interrupted | twice"}})
		}
	}
	return p, runs
}

func TestWriteTables(t *testing.T) {
	p, runs := sampleRuns()
	var b strings.Builder
	if err := writeTables(&b, p, runs); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{
		"## disk, O_DIRECT, randread 4 KiB, depth 4",
		"| os.File | 2000 (1000-3000) |",
		"| asyncfile future | 4000 (2000-6000) | 8.19 | 1 ms | - | - | 2.50 (1.67-5) | 0 | 5 | 0 | 2 | 0.50 | - | - |  |",
		`failed in round 1: interrupted \| twice |`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	columns := -1
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns >= 0 && n != columns {
			t.Errorf("%d columns, not %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestWriteCSV(t *testing.T) {
	_, runs := sampleRuns()
	var b strings.Builder
	if err := writeCSV(&b, runs); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(b.String())).ReadAll() // checks the number of fields
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1+len(runs) {
		t.Errorf("%d lines for %d runs", len(lines), len(runs))
	}
	if got := lines[3][len(csvHead)-1]; got != "interrupted | twice" {
		t.Errorf("error = %q", got)
	}
}

func TestWritePlots(t *testing.T) {
	_, runs := sampleRuns()
	names, err := writePlots(t.TempDir(), runs)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 4 {
		t.Errorf("pictures: %v, want 4", names)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, name := range names {
		if filepath.Ext(name) == ".svg" {
			testLegend(t, name)
		}
	}
	if names, err := writePlots(t.TempDir(), runs[:9]); names != nil || err != nil { // one depth: no line
		t.Errorf("writePlots of one depth = %v, %v", names, err)
	}
}

// testLegend checks that the names of the contenders begin to the right of the
// deepest depth's label, and so of all lines, and are on the picture.
func testLegend(t *testing.T, name string) {
	svg, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const width = 9 * 72
	at := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?s)<text x="([^"]+)".*?>([^<]*)</text>`).FindAllStringSubmatch(string(svg), -1) {
		at[m[2]], _ = strconv.ParseFloat(m[1], 64)
	}
	for _, who := range []string{osFile, future} {
		if x := at[who]; at["4"] == 0 || x <= at["4"] || x > width-5*float64(len(who)) {
			t.Errorf("%s: %q is at %v, depth 4 at %v, the edge at %d", name, who, x, at["4"], width)
		}
	}
}

func TestWriteClaims(t *testing.T) {
	var b strings.Builder
	err := writeClaims(&b, sorted([]claim{
		{id: "P10", text: "ten", values: []float64{0}},
		{id: "P2", text: "two", bound: atMost(1.15), values: []float64{1.2, 1.1, 1.3}, have: "6 / 5"},
		{id: "P2", text: "to know", bound: unbound(), values: []float64{1.1}},
		{id: "P1", text: "one", bound: atLeast(1), values: []float64{0.9, 1.5, 1}},
		{id: "P5", text: "five", bound: atMost(0.4), missing: "io_uring: refused"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := `| # | what | figures | median | spread | target | holds (rounds) |
|---|---|---|---|---|---|---|
| P1 | one |  | 1 | 0.90-1.50 | >= 1 | yes (2/3) |
| P2 | two | 6 / 5 | 1.20 | 1.10-1.30 | <= 1.15 | **no** (1/3) |
| P2 | to know |  | 1.10 | 1.10-1.10 | none | - |
| P5 | five | | | | <= 0.40 | not measured: io_uring: refused |
| P10 | ten |  | 0 | 0-0 | <= 0 | yes (1/1) |
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.5: "0.50", 12.34: "12.3", 1234.5: "1234", 56789: "57k", 7: "7"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %s, want %s", v, got, want)
		}
	}
}
