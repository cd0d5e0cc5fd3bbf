package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/copying"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
)

// copyCommand copies files and trees.
type copyCommand struct {
	Src fileName `arg:"" help:"File or tree. A symbolic link is copied as one."`
	Dst fileName `arg:"" help:"Where the copy is to be; in a directory that is there already it gets the name of SRC."`

	Exactly bool      `short:"T" help:"DST is the copy, even where it is a directory: add no name."`
	Resume  bool      `help:"Go on after an interruption: leave files alone that have size and time of their source, continue parts."`
	Verify  bool      `help:"Read each copy back, from the device, and compare, before it gets its name."`
	Sync    bool      `help:"Each copy is on stable storage before it gets its name (fsync)."`
	Direct  string    `enum:"auto,always,never" default:"auto" help:"O_DIRECT, with many blocks in flight: ${enum}; auto reads so from another file system, what is large and not in the page cache."`
	Reflink string    `enum:"auto,always,never" default:"auto" help:"Share blocks with the source: ${enum}."`
	Depth   int       `default:"16" help:"Blocks in flight of one large file. Default: ${default}."`
	Block   term.Size `default:"1M" help:"Bytes of one, a multiple of 4k. Default: ${default}."`
	AtOnce  int       `short:"j" name:"at-once" help:"Files at once. Default: twice the processors, 4 at least."`
	Quiet   bool      `short:"q" help:"Only problems."`
}

func (*copyCommand) Help() string {
	return `A copy keeps modes, times, owners (where it may), extended attributes, holes, symbolic and hard links. A file gets its name when it is complete, and replaces what has that name then.

Examples:
  asyncfile copy /var/lib/data /backup       # makes /backup/data
  asyncfile copy -T /var/lib/data /backup    # the content of data is in /backup
  asyncfile copy --verify --sync big.img /media/usb
  asyncfile copy --resume /var/lib/data /backup   # after Ctrl-C`
}

// modes are the names of copying's modes.
var modes = map[string]copying.Mode{"auto": copying.Auto, "always": copying.Always, "never": copying.Never}

// Run runs the command.
func (c *copyCommand) Run(a *app) error {
	switch {
	case c.Depth < 1 || c.Depth > 1024:
		return usageError(fmt.Sprintf("--depth %d: use 1 to 1024", c.Depth))
	case c.Block < 4096 || c.Block > 1<<30 || c.Block%4096 != 0:
		return usageError(fmt.Sprintf("--block %v: use a multiple of 4k up to 1G", c.Block))
	case c.AtOnce < 0:
		return usageError("--at-once is 1 or more")
	}
	w := &copyWork{app: a, bar: a.Progress(-1, "copy"), problems: []string{}}
	if term.IsTerminal(a.Err) && !c.Quiet {
		go w.measure(string(c.Src))
	}
	begun := time.Now()
	s, err := copying.Copy(a.ctx, string(c.Src), string(c.Dst), copying.Options{
		Direct: modes[c.Direct], Reflink: modes[c.Reflink], Verify: c.Verify, Resume: c.Resume, Sync: c.Sync, Exactly: c.Exactly,
		Depth: c.Depth, Block: int(c.Block), AtOnce: c.AtOnce, Progress: w.progress, Problem: w.problem,
	})
	d := &copyDocument{copySchema, string(c.Src), string(c.Dst), s, time.Since(begun).Nanoseconds(), a.ctx.Err() != nil, w.problems}
	w.clear()
	if err != nil && a.ctx.Err() == nil {
		return err
	}
	if err := c.report(a, d); err != nil {
		return err
	}
	if s.Problems > 0 {
		return errReported
	}
	return nil
}

// report prints the summary.
func (c *copyCommand) report(a *app, d *copyDocument) error {
	if a.json {
		return a.writeJSON(d)
	}
	if c.Quiet {
		return nil
	}
	took := time.Duration(d.Elapsed)
	fmt.Fprintf(a.Out, "%s in %s: %s, %s\n", term.Bytes(d.Bytes), term.Short(took), term.Rate(d.Bytes, took), strings.Join(d.counts(), ", "))
	if d.Interrupted {
		fmt.Fprintf(a.Out, "interrupted; to go on: the same command with --resume\n")
	}
	return nil
}

// counts says how many of each there were.
func (d *copyDocument) counts() (list []string) {
	for _, c := range []struct {
		n    int64
		what string
	}{
		{d.Files, "files"}, {d.Cloned, "of them sharing blocks"}, {d.Resumed, "of them continued"}, {d.Dirs, "directories"},
		{d.Symlinks, "symbolic links"}, {d.Links, "hard links"}, {d.Specials, "specials"}, {d.Skipped, "files there already"}, {d.Problems, "problems"},
	} {
		if c.n > 0 || c.what == "files" {
			list = append(list, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if d.Holes > 0 {
		list = append(list, term.Bytes(d.Holes)+" of holes")
	}
	return list
}

// copySchema is to copy what probeSchema is to probe.
const copySchema = "asyncfile.copy/1"

type copyDocument struct {
	Schema string `json:"schema"`
	Src    string `json:"src"`
	Dst    string `json:"dst"`
	copying.Summary
	Elapsed     int64    `json:"elapsed_ns"`
	Interrupted bool     `json:"interrupted"`
	List        []string `json:"problem_list"` // the first hundred
}

// copyWork is what happens while a copy is at work.
type copyWork struct {
	*app
	bar *term.Bar

	mu       sync.Mutex // of what follows, and of the terminal
	problems []string
	ended    bool
}

func (w *copyWork) progress(n int64) { w.bar.Add(n) }

// problem prints what could not be copied, at once.
func (w *copyWork) problem(name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := err.Error()
	var path *fs.PathError
	if !errors.As(err, &path) {
		text = name + ": " + text
	}
	if len(w.problems) < 100 {
		w.problems = append(w.problems, text)
	}
	w.bar.Clear()
	fmt.Fprintln(w.Err, w.Bad("asyncfile:"), printable(text))
}

// printable quotes a text that would move the cursor of a terminal.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Sprintf("%q", text)
	}
	return text
}

// measure finds out how much there is, for the bar to know how long it takes.
func (w *copyWork) measure(src string) {
	var total int64
	filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if w.ctx.Err() != nil {
			return fs.SkipAll
		}
		if err == nil && d.Type().IsRegular() {
			if info, err := os.Lstat(name); err == nil {
				total += info.Size()
			}
		}
		return nil
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.bar.Total(max(total, 1))
	}
}

func (w *copyWork) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.bar.Clear()
}
