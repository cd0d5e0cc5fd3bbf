package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/load"
)

// What tune writes the library reads.
func TestTune(t *testing.T) {
	dir := t.TempDir()
	out, picture := filepath.Join(dir, "profile.json"), filepath.Join(dir, "p.png")
	args := []string{"tune", "-s", "4k", "-d", "2", "--limit=1s", "--hold=600ms", "-S", "1M", "-o", out, "--plot", picture, dir}
	code, printed, errOut := cli(t, args...)
	if code != 0 {
		t.Fatal(code, errOut)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var p profile
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Measured) != 2 || len(p.Knees) != 1 || p.QueueDepth != p.Knees[0].Depth || p.Measured[0].IOPS <= 0 || p.HeldIOPS <= 0 {
		t.Errorf("%s", text)
	}
	if !strings.Contains(printed, "knee at depth") || !strings.Contains(printed, out) {
		t.Errorf("%s", printed)
	}
	options, err := asyncfile.LoadProfile(out)
	if err != nil {
		t.Fatal(err)
	}
	f, err := asyncfile.Open(out, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Backend().String() != p.Backend || f.Ring().Depth() != p.QueueDepth {
		t.Errorf("%v, depth %d: %s", f.Backend(), f.Ring().Depth(), text)
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("%v", left)
	}
}

func TestTuneRefuses(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "profile.json")
	for _, wrong := range [][]string{{"-s", "1"}, {"-s", "4k,x"}, {"-d", "0"}, {"--limit=1ms"}, {"--hold=-1s"}, {"--plot=x"}, {"--destroy-contents"}} {
		if code, _, errOut := cli(t, append([]string{"tune", dir, "-o", out}, wrong...)...); code != exitUsage {
			t.Errorf("%q: %d, %s", wrong, code, errOut)
		}
	}
	if code, _, _ := cliIn(t, interrupted(), "", "tune", dir, "-o", out, "-S", "1M"); code != 130 {
		t.Errorf("interrupted: %d", code)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a profile was written")
	}
}

// The schema of the profile, which the library reads too.
func TestProfileSchema(t *testing.T) {
	p := &profile{Schema: profileSchema, Backend: "aio", Direct: "prefer", QueueDepth: 32, Path: "data", Place: "data (xfs on sda)", Kind: "reads",
		Lasts: load.Steady, HeldIOPS: 50000, Knees: []tuneKnee{{4096, 32, 51000}},
		Measured: []tuneMeasured{{4096, 32, 51000, 500000, 900000, load.Steady}}}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "profile.json", append(text, '\n'))
	if _, err := asyncfile.LoadProfile(filepath.Join("testdata", "profile.json")); err != nil {
		t.Error(err)
	}
}
