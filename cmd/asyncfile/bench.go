package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/latency"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/load"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/plot"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/target"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
	"github.com/seed-39be8cca/asyncfile/probe"
)

// benchCommand compares the ways to keep a disk busy.
type benchCommand struct {
	Path fileName `arg:"" default:"." help:"Directory (a file without a name is made in it), file or block device."`

	Time     time.Duration `short:"t" default:"30s" help:"Of all together. Default: ${default}."`
	Rounds   int           `default:"3" help:"Each contender runs so many times, in turn. Default: ${default}."`
	Depths   []int         `short:"d" default:"1,8,32,128" help:"Numbers of requests in flight (fio's iodepth). Default: ${default}."`
	Block    term.Size     `short:"s" default:"4k" help:"Bytes of one request (fio's bs). Default: ${default}."`
	FileSize term.Size     `short:"S" default:"1G" help:"Bytes of the file that is made in a directory. Default: ${default}."`
	Write    bool          `short:"w" help:"Write, and not read. In a directory that is safe."`
	Cached   bool          `short:"C" help:"Through the page cache, and not with O_DIRECT."`
	NoFio    bool          `help:"Leave fio out, although it is installed."`
	Format   string        `enum:"table,go" default:"table" help:"${enum}: go is for benchstat, a line a round."`
	Plot     string        `help:"Draw operations a second over the depth, to a FILE.svg or FILE.png." placeholder:"FILE"`

	DestroyContents bool `help:"With --write on a file or device: overwrite what is STORED there. It is lost."`
}

func (*benchCommand) Help() string {
	return `Random reads, or writes, of one file by os.File with goroutines (a thread each), by this library's futures (a goroutine each) and its pulled Queue (one goroutine), and by fio where it is installed (libaio, batches of 16). The words are fio's: slat is the time inside io_submit, lat that of the whole request, clat what is between; the percentiles are those of lat, of fio those of clat.

Examples:
  asyncfile bench                        # the disk of this directory, in 30 seconds
  asyncfile bench -d 1,4,16,64 -t 2m /srv --plot bench.svg
  asyncfile bench -w -s 64k /srv
  asyncfile bench --format=go /srv > new; benchstat old new`
}

// Run runs the command.
func (c *benchCommand) Run(a *app) error {
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
	contenders := load.Contenders()
	if fio, ok := load.Fio(); ok && !c.NoFio {
		contenders = append(contenders, fio)
	}
	b := &benchWork{app: a, c: c, place: where(place), queue: queueOf(place)}
	err = b.run(to, contenders)
	if e := b.report(); err == nil {
		err = e
	}
	return err
}

func (c *benchCommand) check() error {
	bad := slices.ContainsFunc(c.Depths, func(d int) bool { return d < 1 || d > 4096 })
	switch {
	case bad || len(c.Depths) == 0:
		return usageError("--depths: use numbers from 1 to 4096, with commas between")
	case c.Rounds < 1 || c.Time <= 0:
		return usageError("--rounds and --time are more than 0")
	case c.Block < 512 || c.Block > 1<<30:
		return usageError("--block: use 512 to 1G")
	case c.DestroyContents && !c.Write:
		return usageError("--destroy-contents is for --write")
	}
	if err := plot.Check(c.Plot); err != nil {
		return usageError(err.Error())
	}
	return nil
}

// queueOf says what is known of the queue below.
func queueOf(p *probe.Place) string {
	if p.Device == nil {
		return "no device"
	}
	return fmt.Sprintf("nr_requests %d, scheduler %s", p.Device.Requests, p.Device.Scheduler)
}

// benchWork is the command at work.
type benchWork struct {
	*app
	c     *benchCommand
	place string
	queue string
	cells []benchCell
}

// A benchCell is one contender at one depth.
type benchCell struct {
	contender string
	depth     int
	rounds    []*load.Result
	failed    error
}

// run runs all contenders in turn, round after round: what the disk does meanwhile is
// shared by all.
func (b *benchWork) run(to *target.Target, contenders []load.Contender) error {
	for _, depth := range b.c.Depths {
		for _, contender := range contenders {
			b.cells = append(b.cells, benchCell{contender: contender.Name, depth: depth})
		}
	}
	each := max(b.c.Time/time.Duration(b.c.Rounds*len(b.cells)), 10*time.Millisecond)
	bar := b.Progress(-1, "bench")
	defer bar.Clear()
	for round := range b.c.Rounds {
		for i := range b.cells {
			if b.ctx.Err() != nil {
				return context.Cause(b.ctx)
			}
			cell := &b.cells[i]
			bar.Describe(fmt.Sprintf("round %d of %d: %s, depth %d", round+1, b.c.Rounds, cell.contender, cell.depth))
			r, err := contenders[i%len(contenders)].Run(b.ctx, load.Job{Target: to, Block: int(b.c.Block), Depth: cell.depth,
				Write: b.c.Write, Cached: b.c.Cached, For: each})
			switch {
			case b.ctx.Err() != nil: // cut short
			case err != nil:
				cell.failed = err
			case r.Ops > 0:
				cell.rounds = append(cell.rounds, r)
			}
		}
	}
	return nil
}

// report prints what came of it.
func (b *benchWork) report() error {
	d := b.document()
	var err error
	switch {
	case b.json:
		err = b.writeJSON(d)
	case b.c.Format == "go":
		b.printGo(b.Out)
	default:
		b.printTable(d)
	}
	if err == nil && b.c.Plot != "" {
		err = plot.Save(b.c.Plot, b.picture(d))
	}
	if err == nil && slices.ContainsFunc(b.cells, func(c benchCell) bool { return c.failed != nil }) {
		err = errReported
	}
	return err
}

func (b *benchWork) printTable(d *benchDocument) {
	fmt.Fprintf(b.Out, "%s, %s: %s %s of %s, %d processors, medians of %d rounds\n\n", b.place, b.queue, d.Access, d.Kind, b.c.Block, d.Processors, b.c.Rounds)
	var rows [][]string
	var failed []string
	for i, r := range d.Results {
		if i > 0 && r.Depth != d.Results[i-1].Depth {
			rows = append(rows, make([]string, 11))
		}
		name := []string{strconv.Itoa(r.Depth), r.Contender}
		if r.Error != "" {
			rows = append(rows, append(name, b.Bad("failed")))
			failed = append(failed, fmt.Sprintf("%s, depth %d: %s", r.Contender, r.Depth, r.Error))
			continue
		}
		if r.Rounds == 0 {
			continue
		}
		short := func(ns int64) string { return term.Short(time.Duration(ns)) }
		l := r.Latency
		rows = append(rows, append(name, fmt.Sprintf("%.0f", r.IOPS), fmt.Sprintf("±%.0f%%", r.Spread*100), short(r.CPU), short(r.Slat),
			short(l.Mean), short(l.P50), short(l.P99), short(l.P999), short(l.P9999)))
	}
	b.Table([]string{">iodepth", "contender", ">IOPS", ">spread", ">CPU/op", ">slat", ">lat", ">p50", ">p99", ">p99.9", ">p99.99"}, rows)
	for _, line := range failed {
		fmt.Fprintln(b.Err, b.Bad("asyncfile:"), line)
	}
	if b.ctx.Err() != nil {
		fmt.Fprintln(b.Out, "\ninterrupted: these are the rounds until then")
	}
}

// printGo prints lines for benchstat: one a round.
func (b *benchWork) printGo(w io.Writer) {
	kind := "Read"
	if b.c.Write {
		kind = "Write"
	}
	fmt.Fprintf(w, "goos: %s\ngoarch: %s\nplace: %s\n", runtime.GOOS, runtime.GOARCH, b.place)
	for _, c := range b.cells {
		for _, r := range c.rounds {
			l := r.Latency()
			fmt.Fprintf(w, "Benchmark%s/bs=%d/contender=%s/iodepth=%d-%d %d %d ns/op %.0f IOPS %d cpu-ns/op %d p50-ns %d p99-ns\n", kind, b.c.Block,
				c.contender, c.depth, runtime.GOMAXPROCS(0), r.Ops, r.Elapsed.Nanoseconds()/r.Ops, r.IOPS(), r.CPUPerOp().Nanoseconds(), l.P50, l.P99)
		}
	}
}

// picture draws operations a second over the depth.
func (b *benchWork) picture(d *benchDocument) plot.Picture {
	p := plot.Picture{Title: fmt.Sprintf("%s %s of %s, %s", d.Access, d.Kind, b.c.Block, b.place), X: "requests in flight", Y: "operations a second"}
	for _, r := range d.Results {
		if r.Rounds > 0 {
			p.Add(r.Contender, float64(r.Depth), r.IOPS)
		}
	}
	return p
}

// benchSchema is to bench what probeSchema is to probe.
const benchSchema = "asyncfile.bench/1"

type benchDocument struct {
	Schema      string        `json:"schema"`
	Path        string        `json:"path"`
	Place       string        `json:"place"`
	Kind        string        `json:"kind"`   // "reads" or "writes"
	Access      string        `json:"access"` // "direct" or "buffered"
	Block       int64         `json:"bs"`
	Processors  int           `json:"processors"`
	Interrupted bool          `json:"interrupted"`
	Results     []benchResult `json:"results"`
}

// A benchResult is the round in the middle, by its operations a second.
type benchResult struct {
	Contender string          `json:"contender"`
	Depth     int             `json:"iodepth"`
	Rounds    int             `json:"rounds"`
	IOPS      float64         `json:"iops"`
	Spread    float64         `json:"spread"` // of the rounds' operations a second: half of highest less lowest, over the median
	CPU       int64           `json:"cpu_per_op_ns"`
	Slat      int64           `json:"slat_ns"` // mean
	Clat      int64           `json:"clat_ns"` // mean
	Latency   latency.Summary `json:"lat"`
	Error     string          `json:"error,omitempty"`
}

func (b *benchWork) document() *benchDocument {
	d := &benchDocument{Schema: benchSchema, Path: string(b.c.Path), Place: b.place, Kind: "reads", Access: "direct", Block: int64(b.c.Block),
		Processors: runtime.GOMAXPROCS(0), Interrupted: b.ctx.Err() != nil, Results: []benchResult{}}
	if b.c.Write {
		d.Kind = "writes"
	}
	if b.c.Cached {
		d.Access = "buffered"
	}
	for _, c := range b.cells {
		d.Results = append(d.Results, c.result())
	}
	return d
}

func (c *benchCell) result() benchResult {
	out := benchResult{Contender: c.contender, Depth: c.depth, Rounds: len(c.rounds)}
	if c.failed != nil {
		out.Error = c.failed.Error()
	}
	if len(c.rounds) == 0 {
		return out
	}
	rounds := slices.SortedFunc(slices.Values(c.rounds), func(a, b *load.Result) int { return int(a.IOPS() - b.IOPS()) })
	r := rounds[len(rounds)/2]
	out.IOPS, out.CPU, out.Slat, out.Latency = r.IOPS(), r.CPUPerOp().Nanoseconds(), r.SubmitPerOp().Nanoseconds(), r.Latency()
	out.Spread = (rounds[len(rounds)-1].IOPS() - rounds[0].IOPS()) / 2 / r.IOPS()
	out.Clat = max(out.Latency.Mean-out.Slat, 0)
	if r.Summary != nil { // fio's own
		out.Clat, out.Latency.Mean = r.Summary.Mean, r.Summary.Mean+out.Slat
	}
	return out
}
