package main

import (
	"strings"
	"testing"
)

func TestParseFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-quick -targets":              "exclude",
		"-scale -targets":              "exclude",
		"-targets -rounds 3":           "five rounds",
		"-targets -rounds 1 -only P13": "",
		"-size 1":                      "64 MiB",
		"more":                         "unexpected",
		"-quick -rounds 2":             "",
	} {
		_, err := parseFlags(strings.Fields(args))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestPlan(t *testing.T) {
	p, err := settings{only: "depth 32$", rounds: 7}.plan()
	if err != nil || p.rounds != 7 || len(p.cells) == 0 {
		t.Fatalf("plan = %+v, %v", p, err)
	}
	for _, c := range p.cells {
		if c.Depth != 32 {
			t.Errorf("%v was not asked for", c)
		}
	}
	for _, only := range []string{"(", "no such cell"} {
		if _, err := (settings{only: only}).plan(); err == nil {
			t.Errorf("-only %q is accepted", only)
		}
	}
	for _, only := range []string{"P0", "P13, P16", "P1,", "p2"} {
		if _, err := (settings{targets: true, only: only}).plan(); err == nil {
			t.Errorf("-targets -only %q is accepted", only)
		}
	}
}

// Names in plans are names of contenders.
func TestPlansNameContenders(t *testing.T) {
	for _, p := range []plan{allTargets().plan(), quickPlan(), fullPlan()} {
		if p.rounds < 3 || p.time <= 0 {
			t.Errorf("%+v", p)
		}
		for _, name := range p.contenders {
			if _, ok := contenderNamed(name); !ok {
				t.Errorf("no contender %q", name)
			}
		}
	}
}
