// Command bench compares asyncfile with what else there is: fio, os.File, and
// other Go libraries for asynchronous file I/O, all in one run, taking turns, on
// the same file. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

func main() {
	if text := os.Getenv(jobVariable); text != "" {
		// Goroutines in os.File take a thread each; the runtime's limit of 10000
		// is a bit too low for what P8 asks.
		debug.SetMaxThreads(20_000)
		exitOn(runChild(text, os.Stdout))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:], os.Stdout)
	stop()
	exitOn(err)
}

func exitOn(err error) {
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	quick, targets, scale bool
	dir, out              string
	size                  int64
	rounds                int
	only                  string
}

func parseFlags(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&s.quick, "quick", false, "a first impression, in a minute")
	flags.BoolVar(&s.targets, "targets", false, "the project's targets P1 to P21, and whether each holds")
	flags.BoolVar(&s.scale, "scale", false, "how cost and throughput grow with files, goroutines, queue depth and Rings, in six minutes")
	flags.StringVar(&s.dir, "dir", os.TempDir(), "`folder` for the test file: its disk is the one measured")
	flags.StringVar(&s.out, "out", "results", "`folder` for the tables, the CSV file and the pictures")
	flags.Int64Var(&s.size, "size", 1024, "size of the test file, in `MiB`")
	flags.IntVar(&s.rounds, "rounds", 0, "`number` of rounds (default 3, with -targets and -scale 5)")
	flags.StringVar(&s.only, "only", "", "measure only the cells, or with -scale the rows, whose description matches this `regexp`; with -targets the numbers in a list, as in P13,P16")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	switch {
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case s.quick && s.targets, s.quick && s.scale, s.targets && s.scale:
		return s, errors.New("-quick, -targets and -scale exclude each other")
	case s.size < 64:
		return s, fmt.Errorf("-size %d: use 64 MiB or more", s.size)
	case s.targets && s.only == "" && s.rounds != 0 && s.rounds < 5:
		return s, fmt.Errorf("-rounds %d: all targets take five rounds or more, with -only any number", s.rounds)
	}
	return s, nil
}

// settle is how long disks get to digest the test files before they are measured:
// some stall for seconds after a gibibyte.
const settle = 3 * time.Second

func bench(ctx context.Context, args []string, out io.Writer) (err error) {
	s, err := parseFlags(args)
	if err != nil {
		return err
	}
	p, err := s.plan()
	if err != nil {
		return err
	}
	if s.targets {
		runtime.GOMAXPROCS(targetProcs) // children have the same
	}
	fmt.Fprintln(os.Stderr, "writing the test files ...")
	places, err := makePlaces(placesOf(p), s.dir, s.size<<20)
	if err != nil {
		return err
	}
	defer closePlaces(places)
	temp, err := os.MkdirTemp("", "asyncfile-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	r, err := newRunner(ctx, places, temp, p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.out, 0o777); err != nil {
		return err
	}
	time.Sleep(settle)
	switch {
	case s.targets:
		return s.runTargets(r, p, places, out)
	case s.scale:
		return s.runScale(r, p, places, out)
	}
	return s.runPlan(r, p, places, out)
}

// plan returns what is to be measured.
func (s settings) plan() (plan, error) {
	p := fullPlan()
	switch {
	case s.quick:
		p = quickPlan()
	case s.targets:
		targets, err := pickTargets(s.only)
		if err != nil {
			return p, err
		}
		p = targets.plan()
	case s.scale:
		steps, err := pickSteps(s.only)
		if err != nil {
			return p, err
		}
		p = plan{contenders: []string{osFile, future}, rounds: 5, steps: steps}
	}
	if s.rounds > 0 {
		p.rounds = s.rounds
	}
	if s.only == "" || s.targets || s.scale {
		return p, nil
	}
	only, err := regexp.Compile(s.only)
	if err != nil {
		return p, fmt.Errorf("-only: %w", err)
	}
	p.cells = slices.DeleteFunc(p.cells, func(c cell) bool { return !only.MatchString(c.String()) })
	if len(p.cells) == 0 {
		return p, fmt.Errorf("-only %q matches none of the cells", s.only)
	}
	return p, nil
}

func placesOf(p plan) map[string]bool {
	names := map[string]bool{"disk": true}
	for _, c := range p.cells {
		names[c.Place] = true
	}
	return names
}

func (s settings) runTargets(r *runner, p plan, places []*place, out io.Writer) error {
	claims, err := r.targets(p)
	if err != nil {
		return err
	}
	report := func(w io.Writer) error {
		writeHead(w, fmt.Sprintf("Targets, medians of %d interleaved rounds", p.rounds), environment(places), r.skips)
		return writeClaims(w, claims)
	}
	return errors.Join(report(out), s.write("targets.md", report),
		s.write("targets.csv", func(w io.Writer) error { return writeCSV(w, r.runs) }))
}

func (s settings) runScale(r *runner, p plan, places []*place, out io.Writer) error {
	runs, err := r.scale(p.steps, p.rounds)
	if err != nil {
		return err
	}
	report := func(w io.Writer) error {
		writeHead(w, fmt.Sprintf("Scale, medians of %d interleaved rounds", p.rounds), environment(places), r.skips)
		return writeScale(w, p.steps, runs)
	}
	return errors.Join(report(out), s.write("scale.md", report),
		s.write("scale.csv", func(w io.Writer) error { return writeScaleCSV(w, runs) }))
}

func (s settings) runPlan(r *runner, p plan, places []*place, out io.Writer) error {
	if err := r.do(p); err != nil {
		return err
	}
	report := func(w io.Writer) error {
		writeHead(w, fmt.Sprintf("Comparison, medians of %d interleaved rounds", p.rounds), environment(places), r.skips)
		for _, c := range contenders() {
			fmt.Fprintf(w, "- %s: %s\n", c.name, c.about)
		}
		fmt.Fprintln(w)
		return writeTables(w, p, r.runs)
	}
	err := errors.Join(report(out), s.write("results.md", report),
		s.write("results.csv", func(w io.Writer) error { return writeCSV(w, r.runs) }))
	pictures, e := writePlots(s.out, r.runs)
	for _, name := range pictures {
		fmt.Fprintln(out, "picture:", name)
	}
	return errors.Join(err, e)
}

// write makes a file of the output folder.
func (s settings) write(name string, report func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(s.out, name))
	if err != nil {
		return err
	}
	return errors.Join(report(f), f.Close())
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
