package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseFio(t *testing.T) {
	out, err := os.ReadFile("testdata/fio.json")
	if err != nil {
		t.Fatal(err)
	}
	want := result{
		Ops: 1000, Bytes: 4096000, Seconds: 0.501, CPU: 0.1, Switches: 940, Allocs: -1, Threads: 1,
		P50: 1515520, P99: 3129344, P999: 6258688, Max: 7000000,
	}
	for _, warning := range []string{"", "fio: this is a warning\n"} {
		got, err := parseFio(append([]byte(warning), out...))
		if err != nil {
			t.Fatal(err)
		}
		if got.Notes != nil || got.Ops != want.Ops || got.Bytes != want.Bytes || got.Seconds != want.Seconds ||
			!near(got.CPU, want.CPU) || got.Switches != want.Switches || got.Allocs != want.Allocs ||
			got.P50 != want.P50 || got.P99 != want.P99 || got.P999 != want.P999 || got.Max != want.Max {
			t.Errorf("parseFio = %+v, want %+v", got, want)
		}
		if !near(got.cpuPerOp(), 100) {
			t.Errorf("CPU per operation = %v us, want 100", got.cpuPerOp())
		}
	}
}

func TestParseFioRefuses(t *testing.T) {
	for name, out := range map[string]string{
		"no JSON":      "fio: cannot open file",
		"no job":       `{"jobs": []}`,
		"a failed job": `{"jobs": [{"error": 5}]}`,
		"nothing done": `{"jobs": [{"error": 0}]}`,
	} {
		if r, err := parseFio([]byte(out)); err == nil {
			t.Errorf("%s: parseFio = %+v, want an error", name, r)
		}
	}
}

func TestFioArgs(t *testing.T) {
	j := job{File: "/d/f", Size: 1 << 20, Warm: 50 * time.Millisecond, Time: time.Second, Cell: cell{"disk", true, randMixed, kib4, 7}}
	args := fioArgs(j, []string{"--extra"})
	for _, want := range []string{"--filename=/d/f", "--direct=0", "--rw=randrw", "--bs=4096", "--iodepth=7", "--runtime=1000ms", "--ramp_time=50ms", "--extra"} {
		if !slices.Contains(args, want) {
			t.Errorf("%s is missing in %s", want, strings.Join(args, " "))
		}
	}
	j.Cell.Cached = false
	if args := fioArgs(j, nil); !slices.Contains(args, "--direct=1") {
		t.Errorf("--direct=1 is missing in %s", strings.Join(args, " "))
	}
}
