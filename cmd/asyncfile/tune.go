package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/load"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/plot"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/target"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
	"github.com/seed-39be8cca/asyncfile/probe"
)

// tuneCommand finds the queue depth of a device.
type tuneCommand struct {
	Path fileName `arg:"" help:"Directory (a file without a name is made in it), file or block device."`

	Output   string        `short:"o" default:"asyncfile-profile.json" help:"Where the profile goes, for asyncfile.LoadProfile. Default: ${default}."`
	Blocks   []term.Size   `short:"s" default:"4k,64k,1M" help:"Bytes of one request; the depth of the profile is that of the first. Default: ${default}."`
	MaxDepth int           `short:"d" default:"256" help:"Depths double up to that. Default: ${default}."`
	Limit    time.Duration `default:"3s" help:"A measurement that does not become steady ends after so long. Default: ${default}."`
	Hold     time.Duration `default:"10s" help:"How long the result is held up at the end, to tell a burst from what lasts. Default: ${default}."`
	FileSize term.Size     `short:"S" default:"1G" help:"Bytes of the file that is made in a directory. Default: ${default}."`
	Write    bool          `short:"w" help:"Write, and not read. In a directory that is safe."`
	Plot     string        `help:"Draw bytes a second over the depth, to a FILE.svg or FILE.png." placeholder:"FILE"`

	DestroyContents bool `help:"With --write on a file or device: overwrite what is STORED there. It is lost."`
}

func (*tuneCommand) Help() string {
	return `Random reads, or writes, by the pulled Queue, each size at depths that double. A measurement runs until five windows of 100 ms are alike. The knee is the least depth with nine tenths of the most operations a second: what is more costs waiting, and brings nothing.

Examples:
  asyncfile tune /srv                       # writes asyncfile-profile.json
  asyncfile tune -w -s 16k /srv -o wal.json --plot wal.svg
  asyncfile tune --hold 5m /srv             # a cloud disk with credits for bursts

In a program:
  options, err := asyncfile.LoadProfile("asyncfile-profile.json")
  f, err := asyncfile.Open(name, options...)`
}

// window is how long a load is looked at each time.
const window = 100 * time.Millisecond

// Run runs the command.
func (c *tuneCommand) Run(a *app) error {
	if err := c.check(); err != nil {
		return err
	}
	place, err := probe.Locate(string(c.Path))
	if err != nil {
		return err
	}
	to, err := openTarget(a.ctx, target.Request{Path: string(c.Path), Size: int64(c.FileSize), Write: c.Write, Overwrite: c.DestroyContents})
	if err != nil {
		return err
	}
	defer to.Close()
	f, err := to.Async(asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		return err
	}
	t := &tuneWork{app: a, c: c, to: to, profile: &profile{Schema: profileSchema, Path: string(c.Path), Place: where(place),
		Backend: f.Backend().String(), Direct: asyncfile.DirectOff.String(), Kind: "reads"}}
	if f.Direct() {
		t.profile.Direct = asyncfile.DirectPrefer.String()
	}
	if c.Write {
		t.profile.Kind = "writes"
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := t.measure(); err != nil {
		return err
	}
	return t.finish()
}

func (c *tuneCommand) check() error {
	for _, b := range c.Blocks {
		if b < 512 || b > 1<<30 {
			return usageError(fmt.Sprintf("--blocks %v: use sizes from 512 to 1G", b))
		}
	}
	switch {
	case len(c.Blocks) == 0:
		return usageError("--blocks: name one at least")
	case c.MaxDepth < 1 || c.MaxDepth > 4096:
		return usageError("--max-depth: use 1 to 4096")
	case c.Limit < 10*window || c.Hold < 0:
		return usageError("--limit is 1s or more, --hold 0 or more")
	case c.DestroyContents && !c.Write:
		return usageError("--destroy-contents is for --write")
	}
	if err := plot.Check(c.Plot); err != nil {
		return usageError(err.Error())
	}
	return nil
}

// profileSchema is that of asyncfile.LoadProfile, which reads the first four fields.
const profileSchema = "asyncfile.profile/1"

type profile struct {
	Schema     string `json:"schema"`
	Backend    string `json:"backend"`
	Direct     string `json:"direct"`
	QueueDepth int    `json:"queue_depth"`

	Path     string         `json:"path"`
	Place    string         `json:"place"`
	Kind     string         `json:"kind"`  // "reads" or "writes"
	Lasts    load.Verdict   `json:"lasts"` // of the result, held up at the end
	HeldIOPS float64        `json:"held_iops"`
	Knees    []tuneKnee     `json:"knees"`
	Measured []tuneMeasured `json:"measured"`
}

type tuneKnee struct {
	Block int64   `json:"bs"`
	Depth int     `json:"iodepth"`
	IOPS  float64 `json:"iops"`
}

type tuneMeasured struct {
	Block   int64        `json:"bs"`
	Depth   int          `json:"iodepth"`
	IOPS    float64      `json:"iops"`
	P50     int64        `json:"p50_ns"`
	P99     int64        `json:"p99_ns"`
	Verdict load.Verdict `json:"verdict"`
}

// tuneWork is the command at work.
type tuneWork struct {
	*app
	c       *tuneCommand
	to      *target.Target
	profile *profile
}

// say prints a line for people, as things happen.
func (t *tuneWork) say(format string, args ...any) {
	if !t.json {
		fmt.Fprintf(t.Out, format+"\n", args...)
	}
}

// measure measures each size, and then holds up the result.
func (t *tuneWork) measure() error {
	t.say("%s: direct I/O %s, backend %s, %s", t.profile.Place, t.profile.Direct, t.profile.Backend, t.profile.Kind)
	t.say(t.Bold("%8s %8s %10s %12s %10s %10s"), "bs", "iodepth", "IOPS", "bytes/s", "p50", "p99")
	for _, block := range t.c.Blocks {
		if err := t.size(int(block)); err != nil {
			return err
		}
	}
	first := t.profile.Knees[0]
	t.profile.QueueDepth = first.Depth
	t.profile.Lasts = load.Unsteady
	if t.c.Hold == 0 { // so nobody knows
		return nil
	}
	t.say("holding up %d of %s for %v", first.Depth, term.Bytes(first.Block), t.c.Hold)
	r, err := t.run(int(first.Block), first.Depth, t.c.Hold, nil)
	if err != nil {
		return err
	}
	rate, verdict := load.Judge(r.Windows)
	t.profile.HeldIOPS, t.profile.Lasts = rate/window.Seconds(), verdict
	if t.profile.HeldIOPS < lasting*first.IOPS {
		t.profile.Lasts = load.Burst
	}
	return nil
}

// lasting is the least part of its speed that a device keeps up, if it is to be called that.
const lasting = 0.75

// size measures one size at depths that double, until more brings nothing.
func (t *tuneWork) size(block int) error {
	var rates []float64
	var depths []int
	best, without := 0.0, 0
	for depth := 1; depth <= t.c.MaxDepth && without < 2; depth *= 2 {
		r, err := t.run(block, depth, t.c.Limit, load.Settled)
		if err != nil {
			return err
		}
		rate, verdict := load.Judge(r.Windows)
		rate /= window.Seconds()
		l := r.Latency()
		t.profile.Measured = append(t.profile.Measured, tuneMeasured{int64(block), depth, rate, l.P50, l.P99, verdict})
		remark := ""
		if verdict != load.Steady {
			remark = "  " + t.Bad(string(verdict))
		}
		t.say("%8s %8d %10.0f %12s %10s %10s%s", term.Bytes(int64(block)), depth, rate, term.Bytes(int64(rate)*int64(block))+"/s",
			term.Short(time.Duration(l.P50)), term.Short(time.Duration(l.P99)), remark)
		rates, depths = append(rates, rate), append(depths, depth)
		if without++; rate > 1.05*best {
			without = 0
		}
		best = max(best, rate)
	}
	k := load.Knee(rates)
	t.profile.Knees = append(t.profile.Knees, tuneKnee{int64(block), depths[k], rates[k]})
	t.say(t.Good("%8s knee at depth %d"), term.Bytes(int64(block)), depths[k])
	return nil
}

func (t *tuneWork) run(block, depth int, limit time.Duration, steady func([]int64) bool) (*load.Result, error) {
	direct, backend := t.profile.Direct != asyncfile.DirectOff.String(), backends[t.profile.Backend]
	r, err := load.Queue(t.ctx, load.Job{Target: t.to, Block: block, Depth: depth, Write: t.c.Write, Cached: !direct, Backend: backend,
		For: limit, Each: window, Steady: steady})
	if t.ctx.Err() != nil {
		t.say("interrupted: no profile is written")
		return nil, context.Cause(t.ctx)
	}
	return r, err
}

// finish writes the profile, and says what it is.
func (t *tuneWork) finish() error {
	text, err := json.MarshalIndent(t.profile, "", "  ")
	if err != nil {
		return err
	}
	if err := replaceFile(t.c.Output, append(text, '\n')); err != nil {
		return err
	}
	if _, err := asyncfile.LoadProfile(t.c.Output); err != nil {
		return err
	}
	if t.c.Plot != "" {
		if err := plot.Save(t.c.Plot, t.picture()); err != nil {
			return err
		}
	}
	if t.json {
		return t.writeJSON(t.profile)
	}
	t.conclude()
	return nil
}

// conclude says what was found.
func (t *tuneWork) conclude() {
	p := t.profile
	switch {
	case t.c.Hold == 0:
	case p.Lasts == load.Burst:
		t.say(t.Bad("burst only: held up it does %.0f operations a second"), p.HeldIOPS)
	default:
		t.say("%s: held up it does %.0f operations a second", p.Lasts, p.HeldIOPS)
	}
	t.say("queue depth %s, in %s", t.Bold(strconv.Itoa(p.QueueDepth)), t.c.Output)
}

// replaceFile writes a file, whole or not at all.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".asyncfile-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already, if all went well
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// picture draws bytes a second over the depth, a line a size.
func (t *tuneWork) picture() plot.Picture {
	p := plot.Picture{Title: fmt.Sprintf("%s, %s", t.profile.Place, t.profile.Kind), X: "requests in flight", Y: "MiB a second"}
	for _, m := range t.profile.Measured {
		p.Add(term.Bytes(m.Block), float64(m.Depth), m.IOPS*float64(m.Block)/(1<<20))
	}
	return p
}
