package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/latency"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/load"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
)

// someBench has rounds of all kinds: a median, a contender that failed, one of fio.
func someBench(out *bytes.Buffer) *benchWork {
	round := func(ops int64) *load.Result {
		h := latency.New()
		for i := range 100 {
			h.Add(time.Duration(100+i) * time.Microsecond)
		}
		return &load.Result{Ops: ops, Elapsed: time.Second, CPU: 100 * time.Millisecond, Submit: 20 * time.Millisecond, Took: h}
	}
	fio := &load.Result{Ops: 9000, Elapsed: time.Second, CPU: 90 * time.Millisecond, Submit: 9 * time.Millisecond,
		Summary: &latency.Summary{Count: 9000, Min: 1000, Mean: 2000, Max: 9000, P50: 1900, P99: 5000, P999: 6000, P9999: 7000}}
	return &benchWork{
		app:   &app{Screen: term.Screen{Out: out, Err: out}, ctx: interrupted()},
		c:     &benchCommand{Path: "data", Block: 4096, Rounds: 3},
		place: "data (xfs on sda)", queue: "nr_requests 64, scheduler none",
		cells: []benchCell{
			{contender: "queue", depth: 1, rounds: []*load.Result{round(12000), round(10000), round(8000)}},
			{contender: "os.File", depth: 1, failed: errors.New("O_DIRECT: invalid argument")},
			{contender: "fio", depth: 8, rounds: []*load.Result{fio}},
			{contender: "late", depth: 8},
		},
	}
}

func TestBenchReport(t *testing.T) {
	var b bytes.Buffer
	w := someBench(&b)
	d := w.document()
	d.Processors = 2
	w.printTable(d)
	golden(t, "bench.txt", b.Bytes())
	b.Reset()
	if err := w.writeJSON(d); err != nil {
		t.Fatal(err)
	}
	golden(t, "bench.json", b.Bytes())
	w.json = true
	if err := w.report(); !errors.Is(err, errReported) {
		t.Errorf("a contender failed, and the command says %v", err)
	}
}

func TestBench(t *testing.T) {
	dir := t.TempDir()
	picture := filepath.Join(dir, "p.svg")
	args := []string{"bench", "-t", "100ms", "--rounds", "2", "-d", "1,4", "-S", "1M", "--cached", dir}
	code, out, errOut := cli(t, append([]string{"--json", "--color=never"}, append(args, "--plot", picture)...)...)
	var d benchDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 {
		t.Fatal(code, err, errOut)
	}
	if d.Schema != benchSchema || len(d.Results) < 6 || d.Access != "buffered" {
		t.Errorf("%+v", d)
	}
	for _, r := range d.Results {
		if r.Rounds != 2 || r.IOPS <= 0 {
			t.Errorf("%+v", r)
		}
	}
	if _, err := os.Stat(picture); err != nil {
		t.Error(err)
	}
	code, out, errOut = cli(t, append(args, "--no-fio", "--format=go")...)
	if lines := strings.Count(out, "\nBenchmarkRead/bs=4096/contender="); code != 0 || lines != 3*2*2 {
		t.Errorf("%d, %s\n%d lines of\n%s", code, errOut, lines, out)
	}
	if code, _, _ := cliIn(t, interrupted(), "", args...); code != 130 {
		t.Errorf("interrupted: %d", code)
	}
	for _, wrong := range [][]string{{"-d", "0"}, {"-d", "x"}, {"--rounds=0"}, {"-s", "1"}, {"--plot=x.pdf"}, {"--destroy-contents"}} {
		if code, _, errOut := cli(t, append(args, wrong...)...); code != exitUsage {
			t.Errorf("%q: %d, %s", wrong, code, errOut)
		}
	}
}
