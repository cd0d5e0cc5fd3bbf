package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A runner has every contender do every cell, each time in a process of its own.
type runner struct {
	ctx    context.Context
	places map[string]*place
	self   string
	tagged map[string]string // build tag: binary built with it
	skips  map[string]string // contender or place: why it is left out
	runs   []run
	bar    *progressbar.ProgressBar
}

// A run is one result, and of what.
type run struct {
	round     int
	contender string
	cell      cell
	result    result
}

// newRunner finds out which of the contenders can run, and builds the binaries
// that some of them need.
func newRunner(ctx context.Context, places []*place, temp string, p plan) (*runner, error) {
	r := &runner{ctx: ctx, places: map[string]*place{}, tagged: map[string]string{}, skips: map[string]string{}}
	var err error
	if r.self, err = os.Executable(); err != nil {
		return nil, err
	}
	for _, at := range places {
		r.places[at.name] = at
		if at.missing != "" {
			r.skips[at.name] = at.missing
		}
	}
	for _, c := range contenders() {
		if p.contenders != nil && !contains(p.contenders, c.name) {
			continue
		}
		if c.missing != nil {
			if why := c.missing(); why != "" {
				r.skips[c.name] = why
				continue
			}
		}
		if c.tag != "" && r.tagged[c.tag] == "" {
			binary, err := buildTagged(ctx, temp, c.tag)
			if err != nil {
				r.skips[c.name] = err.Error()
				continue
			}
			r.tagged[c.tag] = binary
		}
	}
	return r, nil
}

// buildTagged builds this program again, with a peer that needs a build flag.
func buildTagged(ctx context.Context, dir, tag string) (string, error) {
	binary := filepath.Join(dir, "bench-"+tag)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "-tags", tag, "-ldflags=-checklinkname=0", modulePath)
	if out, err := cmd.CombinedOutput(); err != nil {
		text, _, _ := strings.Cut(string(bytes.TrimSpace(out)), "\n")
		return "", fmt.Errorf("cannot build its binary (run this in the module's folder): %w: %s", err, text)
	}
	return binary, nil
}

const modulePath = "github.com/seed-39be8cca/asyncfile/bench"

// do runs a plan: every round goes once through all cells and contenders.
func (r *runner) do(p plan) error {
	type step struct {
		c    contender
		cell cell
	}
	var steps []step
	for _, cell := range p.cells {
		if r.skips[cell.Place] != "" {
			continue
		}
		for _, c := range contenders() {
			if r.skips[c.name] == "" && p.takesPart(c, cell) {
				steps = append(steps, step{c, cell})
			}
		}
	}
	name := func(i int) string { return fmt.Sprintf("%v: %s", steps[i].cell, steps[i].c.name) }
	return r.inTurns(p.rounds, len(steps), name, func(round, i int) {
		s := steps[i]
		r.runs = append(r.runs, run{round, s.c.name, s.cell, r.one(s.c, s.cell, p)})
	})
}

// inTurns does all steps, one after the other, in each of so many rounds.
func (r *runner) inTurns(rounds, steps int, name func(step int) string, do func(round, step int)) error {
	r.bar = newBar(rounds * steps)
	for round := range rounds {
		for i := range steps {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			r.bar.Describe(fmt.Sprintf("round %d/%d, %s", round+1, rounds, name(i)))
			do(round, i)
			r.bar.Add(1)
		}
	}
	r.bar.Finish()
	return r.ctx.Err()
}

// newBar returns a progress bar, which is not drawn into a file or a pipe.
func newBar(steps int) *progressbar.ProgressBar {
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return progressbar.DefaultSilent(int64(steps))
	}
	return progressbar.NewOptions(steps, progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionClearOnFinish(), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(200*time.Millisecond))
}

// one measures one contender on one cell.
func (r *runner) one(c contender, cell cell, p plan) result {
	place := r.places[cell.Place]
	j := job{Contender: c.name, Cell: cell, File: place.file, Size: place.size, Warm: p.warmUp(cell), Time: p.time}
	if cell.Cached {
		j.Size = min(j.Size, cachedSize)
	}
	if c.args != nil {
		res, err := runFio(j, c.args)
		if err != nil {
			res.Err = err.Error()
		}
		return res
	}
	return r.child(c.tag, j)
}

// child has a child process do a job.
func (r *runner) child(tag string, j job) result {
	binary := r.self
	if tag != "" {
		binary = r.tagged[tag]
	}
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second+10*(j.Warm+j.Time))
	defer cancel()
	cmd, err := childCommand(ctx, binary, j)
	if err != nil {
		return result{Err: err.Error()}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		text, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return result{Err: fmt.Sprintf("%v: %s", errors.Join(err, ctx.Err()), text)}
	}
	var res result
	if err := json.Unmarshal(out, &res); err != nil {
		return result{Err: fmt.Sprintf("the child's answer: %v", err)}
	}
	return res
}

// jobVariable is the environment variable that makes a process a child.
const jobVariable = "ASYNCFILE_BENCH_JOB"

func childCommand(ctx context.Context, binary string, j job) (*exec.Cmd, error) {
	j.Procs = runtime.GOMAXPROCS(0)
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	return cmd, nil
}

// runChild is the main function of a child.
func runChild(text string, out io.Writer) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if j.Procs > 0 {
		runtime.GOMAXPROCS(j.Procs)
	}
	do := j.do
	if j.Task != "" {
		do = tasks[j.Task](j)
	}
	res, err := do()
	if err != nil {
		res.Err = err.Error()
	}
	return json.NewEncoder(out).Encode(res)
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
