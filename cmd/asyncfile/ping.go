package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/latency"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/target"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
	"github.com/seed-39be8cca/asyncfile/probe"
)

// pingCommand asks a disk again and again.
type pingCommand struct {
	Path fileName `arg:"" default:"." help:"Directory (a file without a name is made in it), file or block device."`

	Count      int           `short:"c" help:"Stop after so many requests. 0: go on until interrupted."`
	Interval   time.Duration `short:"i" default:"1s" help:"From the start of one request to that of the next. Default: ${default}."`
	Size       term.Size     `short:"s" default:"4k" help:"Bytes of one request. Default: ${default}."`
	FileSize   term.Size     `short:"S" default:"16M" help:"Bytes of the file that is made in a directory. Default: ${default}."`
	Sequential bool          `short:"L" help:"One block after the other, and not at random."`
	Cached     bool          `short:"C" help:"Through the page cache, and not with O_DIRECT."`
	Write      bool          `short:"w" help:"Write, and not read. In a directory that is safe."`
	Backend    string        `enum:"auto,aio,pool" default:"auto" help:"What carries out requests: ${enum}."`
	Timestamps bool          `short:"t" help:"Begin each line with the time (RFC 3339)."`
	Quiet      bool          `short:"q" help:"Only the summary."`
	Slow       time.Duration `default:"1s" help:"Say so each time that a request has been hanging for so long. Default: ${default}."`

	DestroyContents bool `help:"With --write on a file or device: overwrite what is STORED there. It is lost."`
}

func (*pingCommand) Help() string {
	return `Like ping(8), for a disk. The first request is not counted: it pays for what is not in memory yet.

Examples:
  asyncfile ping                       # the disk of this directory, until Ctrl-C
  asyncfile ping -c 10 -i 100ms /srv   # ten reads, ten a second
  asyncfile ping -c 1000 -i 0 -q /srv  # one after the other, and only the summary
  asyncfile ping -w -s 1M /srv         # writes of 1 MiB
  asyncfile ping /dev/sda              # reads from the device`
}

// Run runs the command.
func (c *pingCommand) Run(a *app) error {
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
	blocks, err := to.Blocks(int(c.Size))
	if err != nil {
		return err
	}
	f, err := to.Async(c.options()...)
	if err != nil {
		return err
	}
	p := &pinger{app: a, c: c, place: where(place), send: c.sender(f), blocks: blocks, took: latency.New(), ran: backingOf(f)}
	p.run()
	if !p.hangs { // Close would wait for the request
		if err := f.Close(); err != nil {
			return err
		}
	}
	return p.summary()
}

func (c *pingCommand) check() error {
	switch {
	case c.Size < 1 || c.Size > 1<<30:
		return usageError(fmt.Sprintf("--size %v: use 1 byte to 1G", c.Size))
	case c.Interval < 0 || c.Slow <= 0 || c.Count < 0:
		return usageError("--interval and --count are 0 or more, --slow is more")
	case c.DestroyContents && !c.Write:
		return usageError("--destroy-contents is for --write")
	}
	return nil
}

// openTarget opens a target, and says what to do where that would destroy something.
func openTarget(ctx context.Context, r target.Request) (*target.Target, error) {
	t, err := target.Open(ctx, r)
	if errors.Is(err, target.ErrOverwrite) {
		return nil, usageError(err.Error() + ": if you mean it, say --destroy-contents")
	}
	return t, err
}

// sender returns what carries out one request on f.
func (c *pingCommand) sender(f *asyncfile.AsyncFile) func(off int64) (int, error) {
	buf := asyncfile.AlignedBuffer(int(c.Size))
	if !c.Write {
		return func(off int64) (int, error) { return f.ReadAt(buf, off).Wait() }
	}
	rand.NewChaCha8([32]byte{2}).Read(buf)
	return func(off int64) (int, error) { return f.WriteAt(buf, off).Wait() }
}

// A backing is what carries out the requests of a file, in words.
type backing struct{ backend, access string }

func backingOf(f *asyncfile.AsyncFile) backing {
	if f.Direct() {
		return backing{f.Backend().String(), "direct"}
	}
	return backing{f.Backend().String(), "buffered"}
}

func (c *pingCommand) options() []asyncfile.Option {
	options := []asyncfile.Option{asyncfile.WithBackend(backends[c.Backend])}
	if !c.Cached {
		options = append(options, asyncfile.WithDirect(asyncfile.DirectPrefer))
	}
	return options
}

// backends are the names of them.
var backends = map[string]asyncfile.Backend{"auto": asyncfile.BackendAuto, "aio": asyncfile.BackendAIO, "pool": asyncfile.BackendPool}

// where names a place in a line: "data (ext4 on vda)".
func where(p *probe.Place) string {
	switch {
	case p.Device == nil:
		return fmt.Sprintf("%s (%s)", p.Name, p.FileSystem)
	case p.Kind == "device":
		return fmt.Sprintf("%s (device %s)", p.Name, term.Bytes(p.Device.Size))
	}
	return fmt.Sprintf("%s (%s on %s)", p.Name, p.FileSystem, p.Device.Name)
}

// A pinger is the command at work.
type pinger struct {
	*app
	c      *pingCommand
	place  string
	send   func(off int64) (int, error) // carries one request out
	blocks int64
	ran    backing

	took   *latency.Histogram // without the first
	sent   int
	failed int
	moved  int64
	lasted time.Duration
	hangs  bool // the last request is still in flight
}

// An answer is the result of one request.
type answer struct {
	took time.Duration
	n    int
	err  error
}

// run sends requests until there are enough, or the context ends.
func (p *pinger) run() {
	begun := time.Now()
	next := time.NewTimer(0)
	defer next.Stop()
	for p.c.Count == 0 || p.sent < p.c.Count {
		select {
		case <-p.ctx.Done():
		case <-next.C:
		}
		if p.ctx.Err() != nil {
			break
		}
		next.Reset(p.c.Interval)
		if !p.request() {
			break
		}
	}
	p.lasted = time.Since(begun)
}

// request sends one and waits for it. It reports false where the context ended first.
func (p *pinger) request() bool {
	off := rand.Int64N(p.blocks) * int64(p.c.Size)
	if p.c.Sequential {
		off = int64(p.sent) % p.blocks * int64(p.c.Size)
	}
	p.sent++
	answers := make(chan answer, 1)
	begun := time.Now()
	go func() {
		begun := time.Now()
		n, err := p.send(off)
		answers <- answer{time.Since(begun), n, err}
	}()
	slow := time.NewTicker(p.c.Slow)
	defer slow.Stop()
	for {
		select {
		case got := <-answers:
			p.count(got)
			return true
		case <-slow.C:
			p.line(p.Bad(fmt.Sprintf("request=%d has been hanging for %v", p.sent, time.Since(begun).Round(time.Millisecond))))
		case <-p.ctx.Done():
			select { // what is there by now still counts
			case got := <-answers:
				p.count(got)
			case <-time.After(100 * time.Millisecond):
				p.hangs = true
			}
			return false
		}
	}
}

// count counts one answer, and prints its line.
func (p *pinger) count(got answer) {
	direction := "from"
	if p.c.Write {
		direction = "to"
	}
	line := fmt.Sprintf("%s %s %s: request=%d ", p.c.Size, direction, p.place, p.sent)
	switch {
	case got.err != nil:
		p.failed++
		line += p.Bad("failed: " + got.err.Error())
	case p.sent == 1:
		line += fmt.Sprintf("time=%s %s", term.Short(got.took), p.Faint("(not counted: the first pays for what is not in memory yet)"))
	default:
		p.took.Add(got.took)
		p.moved += int64(got.n)
		line += "time=" + term.Short(got.took)
	}
	p.line(line)
}

func (p *pinger) line(text string) {
	if p.c.Quiet || p.json {
		return
	}
	if p.c.Timestamps {
		text = time.Now().Format(time.RFC3339Nano) + " " + text
	}
	fmt.Fprintln(p.Out, text)
}

// summary prints what came out of it.
func (p *pinger) summary() error {
	if p.json {
		if err := p.writeJSON(p.document()); err != nil {
			return err
		}
	} else {
		p.printSummary()
	}
	if p.failed > 0 {
		return errReported
	}
	return nil
}

func (p *pinger) printSummary() {
	d := p.document()
	fmt.Fprintf(p.Out, "\n--- %s: %s, %s %s, backend %s ---\n", p.place, p.c.Size, d.Access, d.Kind, d.Backend)
	fmt.Fprintf(p.Out, "%d requests in %s: %d counted, %d failed", d.Requests, term.Short(p.lasted), d.Latency.Count, d.Failed)
	if d.Hanging {
		fmt.Fprint(p.Out, ", ", p.Bad("the last is still hanging"))
	}
	fmt.Fprintln(p.Out)
	if d.Latency.Count == 0 {
		return
	}
	l := d.Latency
	var parts []string
	for _, v := range []struct {
		name string
		ns   int64
	}{{"min", l.Min}, {"avg", l.Mean}, {"max", l.Max}, {"p50", l.P50}, {"p99", l.P99}, {"p99.9", l.P999}} {
		parts = append(parts, p.Faint(v.name)+" "+term.Short(time.Duration(v.ns)))
	}
	fmt.Fprintf(p.Out, "%s\n\n", strings.Join(parts, "  "))
	p.took.Print(p.Out, 40, term.Short)
}

// pingSchema is to ping what probeSchema is to probe.
const pingSchema = "asyncfile.ping/1"

type pingDocument struct {
	Schema    string          `json:"schema"`
	Path      string          `json:"path"`
	Place     string          `json:"place"`
	Kind      string          `json:"kind"`   // "reads" or "writes"
	Access    string          `json:"access"` // "direct" or "buffered"
	Backend   string          `json:"backend"`
	Size      int64           `json:"size"`
	Requests  int             `json:"requests"`
	Failed    int             `json:"failed"`
	Hanging   bool            `json:"hanging"`
	Bytes     int64           `json:"bytes"` // of those counted
	Elapsed   int64           `json:"elapsed_ns"`
	Latency   latency.Summary `json:"latency"`
	Histogram []latency.Bar   `json:"histogram"`
}

func (p *pinger) document() *pingDocument {
	d := &pingDocument{
		Schema: pingSchema, Path: string(p.c.Path), Place: p.place, Kind: "reads", Access: p.ran.access,
		Backend: p.ran.backend, Size: int64(p.c.Size), Requests: p.sent, Failed: p.failed, Hanging: p.hangs,
		Bytes: p.moved, Elapsed: p.lasted.Nanoseconds(), Latency: p.took.Summary(), Histogram: p.took.Bars(),
	}
	if p.c.Write {
		d.Kind = "writes"
	}
	return d
}
