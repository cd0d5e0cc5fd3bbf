package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/digest"
)

// sumCommand computes and checks checksums.
type sumCommand struct {
	Files []fileName `arg:"" optional:"" name:"file" help:"Files; none, or -, is standard input. With --check, lists of sums."`

	Algorithm     string `short:"a" enum:"sha256,blake3,xxh3,crc32c" default:"sha256" help:"One of ${enum}. Default: ${default}. The last two find accidents, not forgeries."`
	Check         bool   `short:"c" help:"Read sums from the files and check them."`
	Recursive     bool   `short:"r" help:"Of directories, all regular files in them."`
	Tag           bool   `help:"Lines as BSD's tools write them, which name the algorithm."`
	Zero          bool   `short:"z" help:"Lines end with a zero byte, and names are not escaped."`
	AtOnce        int    `short:"j" name:"at-once" help:"Files at once. Default: twice the processors, 4 at least."`
	Quiet         bool   `help:"With --check: print no line for files that are as they should be."`
	Status        bool   `help:"With --check: print nothing; the exit code tells."`
	IgnoreMissing bool   `help:"With --check: say nothing of files that are not there."`
}

func (*sumCommand) Help() string {
	return `Output and --check are those of sha256sum(1), in the order of the files, whatever is read first.

Examples:
  asyncfile sum *.iso > SHA256SUMS
  asyncfile sum --check SHA256SUMS
  asyncfile sum -r -a blake3 /srv > list
  tar c . | asyncfile sum -a xxh3
  find . -type f -print0 | xargs -0 asyncfile sum`
}

// Run runs the command.
func (c *sumCommand) Run(a *app) error {
	switch {
	case c.AtOnce < 0:
		return usageError("--at-once is 1 or more")
	case c.Check && (c.Tag || c.Recursive):
		return usageError("--tag and --recursive are not for --check")
	case !c.Check && (c.Quiet || c.Status || c.IgnoreMissing):
		return usageError("--quiet, --status and --ignore-missing are for --check")
	}
	if len(c.Files) == 0 {
		c.Files = []fileName{"-"}
	}
	w := &sumWork{app: a, c: c, out: bufio.NewWriter(a.Out), results: []sumResult{}}
	w.algorithm, _ = digest.ByName(c.Algorithm)
	if c.Check {
		w.check()
	} else {
		digest.All(a.ctx, w.files(), c.AtOnce, w.print)
	}
	return w.end()
}

// sumWork is the command at work.
type sumWork struct {
	*app
	c         *sumCommand
	algorithm digest.Algorithm
	out       *bufio.Writer
	outErr    error
	results   []sumResult // with --json

	counts sumCounts
}

type sumCounts struct {
	Files      int64 `json:"files"` // whose sum was computed
	Bytes      int64 `json:"bytes"`
	Failed     int64 `json:"failed"`     // could not be read
	Mismatched int64 `json:"mismatched"` // with --check
	BadLines   int64 `json:"bad_lines"`  // likewise
}

// complain says what went wrong.
func (w *sumWork) complain(err error) {
	w.out.Flush()
	fmt.Fprintln(w.Err, w.Bad("asyncfile:"), printable(err.Error()))
}

// files are those of the command line, and with --recursive what is in them.
func (w *sumWork) files() iter.Seq[digest.File] {
	return func(yield func(digest.File) bool) {
		for _, arg := range w.c.Files {
			name := string(arg)
			if !w.c.Recursive || name == "-" {
				if !yield(digest.File{Name: name, Algorithm: w.algorithm, In: w.in}) {
					return
				}
				continue
			}
			err := filepath.WalkDir(name, func(name string, d fs.DirEntry, err error) error {
				regular := err == nil && d.Type().IsRegular()
				// One that cannot be read is passed on, for the error to come in its turn.
				if (regular || err != nil) && !yield(digest.File{Name: name, Algorithm: w.algorithm}) {
					return fs.SkipAll
				}
				if err != nil && d != nil && d.IsDir() {
					return fs.SkipDir
				}
				return nil
			})
			if err != nil {
				return
			}
		}
	}
}

// print prints the sum of one file.
func (w *sumWork) print(s digest.Sum) bool {
	if !w.count(s) {
		return true
	}
	if w.json {
		w.results = append(w.results, sumResult{Name: s.Name, Digest: fmt.Sprintf("%x", s.Digest), Bytes: s.Bytes})
		return true
	}
	return w.write(digest.Format{Tag: w.c.Tag, Zero: w.c.Zero}.Line(s))
}

// write writes a line. It reports false where nobody reads any more.
func (w *sumWork) write(line string) bool {
	if _, err := w.out.WriteString(line); err != nil {
		w.outErr = err
	}
	return w.outErr == nil
}

// count counts the sum of a file, or complains.
func (w *sumWork) count(s digest.Sum) bool {
	if s.Err != nil {
		if w.ctx.Err() == nil {
			w.counts.Failed++
			w.complain(s.Err)
			w.results = append(w.results, sumResult{Name: s.Name, Error: s.Err.Error()})
		}
		return false
	}
	w.counts.Files++
	w.counts.Bytes += s.Bytes
	return true
}

// check checks the lists of the command line.
func (w *sumWork) check() {
	for _, arg := range w.c.Files {
		name := string(arg)
		if w.ctx.Err() != nil {
			return
		}
		list, err := w.list(name)
		if err != nil {
			w.counts.Failed++
			w.complain(err)
			continue
		}
		if len(list) == 0 {
			w.counts.Failed++
			w.complain(fmt.Errorf("%s: no line of it is a sum", name))
			continue
		}
		next := 0
		files := func(yield func(digest.File) bool) {
			for _, l := range list {
				if !yield(digest.File{Name: l.Name, Algorithm: l.Algorithm, In: w.in}) {
					return
				}
			}
		}
		digest.All(w.ctx, files, w.c.AtOnce, func(s digest.Sum) bool {
			next++
			return w.compare(s, list[next-1])
		})
	}
}

// list reads a list of sums.
func (w *sumWork) list(name string) (list []digest.Wanted, err error) {
	in := w.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	end := "\n"
	if w.c.Zero {
		end = "\x00"
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(text), end), end) {
		if !w.c.Zero {
			line = strings.TrimSuffix(line, "\r")
		}
		if wanted, ok := digest.Parse(line, w.algorithm, w.c.Zero); ok {
			list = append(list, wanted)
		} else if line != "" && line[0] != '#' {
			w.counts.BadLines++
		}
	}
	return list, nil
}

// compare tells whether a file is as it should be.
func (w *sumWork) compare(s digest.Sum, want digest.Wanted) bool {
	if w.c.IgnoreMissing && errors.Is(s.Err, fs.ErrNotExist) {
		return true
	}
	verdict := w.Bad("FAILED open or read")
	if w.count(s) {
		verdict = w.Good("OK")
		same := bytes.Equal(s.Digest, want.Digest)
		if !same {
			w.counts.Mismatched++
			verdict = w.Bad("FAILED")
		}
		w.results = append(w.results, sumResult{Name: s.Name, Digest: fmt.Sprintf("%x", s.Digest), Bytes: s.Bytes, OK: &same})
		if same && w.c.Quiet {
			return true
		}
	}
	if w.json || w.c.Status || w.ctx.Err() != nil {
		return true
	}
	return w.write(printable(s.Name) + ": " + verdict + "\n")
}

// end prints what is to be said at the end.
func (w *sumWork) end() error {
	if w.json {
		d := sumDocument{sumSchema, w.algorithm.Name, w.c.Check, w.ctx.Err() != nil, w.counts, w.results}
		if err := w.writeJSON(d); err != nil {
			return err
		}
	}
	if err := errors.Join(w.outErr, w.out.Flush()); err != nil {
		return err
	}
	n := w.counts
	if w.c.Check && !w.c.Status && !w.json {
		for _, m := range []struct {
			n    int64
			what string
		}{{n.BadLines, "lines are no sums"}, {n.Failed, "files could not be read"}, {n.Mismatched, "sums do not match"}} {
			if m.n > 0 {
				fmt.Fprintf(w.Err, "asyncfile: WARNING: %d %s\n", m.n, m.what)
			}
		}
	}
	if w.ctx.Err() != nil {
		fmt.Fprintf(w.Err, "asyncfile: interrupted after %d files\n", n.Files)
		return context.Cause(w.ctx)
	}
	if n.Failed+n.Mismatched > 0 || w.c.Check && w.c.IgnoreMissing && n.Files == 0 {
		return errReported
	}
	return nil
}

// sumSchema is to sum what probeSchema is to probe.
const sumSchema = "asyncfile.sum/1"

type sumDocument struct {
	Schema      string `json:"schema"`
	Algorithm   string `json:"algorithm"`
	Check       bool   `json:"check"`
	Interrupted bool   `json:"interrupted"`
	sumCounts
	Results []sumResult `json:"results"`
}

type sumResult struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
	Bytes  int64  `json:"bytes"`
	OK     *bool  `json:"ok,omitempty"` // with --check
	Error  string `json:"error,omitempty"`
}
