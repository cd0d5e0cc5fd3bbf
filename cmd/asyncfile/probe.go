package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
	"github.com/seed-39be8cca/asyncfile/probe"
)

// probeCommand prints what package probe finds.
type probeCommand struct {
	Path fileName `arg:"" default:"." help:"File, directory or block device. In a directory, or beside a file, a file without a name is written."`
}

func (*probeCommand) Help() string {
	return `Examples:
  asyncfile probe                   # the current directory
  asyncfile probe /var/lib/postgresql
  asyncfile probe /dev/nvme0n1      # only read
  asyncfile --json probe . | jq -r .advice.backend

A program asks the same of package probe.`
}

// Run runs the command.
func (c *probeCommand) Run(a *app) error {
	machine := probe.System()
	place, err := probe.Path(a.ctx, string(c.Path))
	if err != nil {
		return err
	}
	report := &probeReport{machine, place, probe.Advise(machine, place)}
	if a.json {
		return a.writeJSON(report.document())
	}
	report.print(a)
	return nil
}

// A probeReport is what is printed.
type probeReport struct {
	machine *probe.Machine
	place   *probe.Place
	advice  probe.Advice
}

func (r *probeReport) print(a *app) {
	a.section("machine", r.machineRows(a))
	a.section(r.place.Name, r.placeRows(a))
	a.section("native AIO on files there", r.featureRows(a))
	a.section("io_submit there, 4KiB (medians)", r.submitRows())
	fmt.Fprintln(a.Out, a.Bold("advice"))
	for _, reason := range r.advice.Reasons {
		fmt.Fprintln(a.Out, "  "+reason)
	}
}

// section prints rows of two columns under a title.
func (a *app) section(title string, rows [][]string) {
	fmt.Fprintln(a.Out, a.Bold(title))
	for i := range rows {
		rows[i][0] = "  " + rows[i][0]
	}
	a.Table(nil, rows)
	fmt.Fprintln(a.Out)
}

// verdict is "yes", or "no" and why.
func (a *app) verdict(err error) string {
	switch {
	case err == nil:
		return a.Good("yes")
	case errors.Is(err, probe.ErrNotTried):
		return a.Faint(err.Error())
	}
	return a.Bad("no") + ": " + err.Error()
}

func (r *probeReport) machineRows(a *app) [][]string {
	m := r.machine
	sandbox := m.Sandbox.Container
	if sandbox == "" {
		sandbox = "none seen"
	}
	if m.Sandbox.Seccomp != "" {
		sandbox += ", seccomp " + m.Sandbox.Seccomp
	}
	limits := fmt.Sprintf("%d of %d", m.Limits.Used, m.Limits.Max)
	if m.LimitsErr != nil {
		limits = m.LimitsErr.Error()
	}
	return [][]string{
		{"kernel", m.Kernel},
		{"processors", fmt.Sprint(m.Processors)},
		{"container", sandbox},
		{"native AIO", a.verdict(m.AIO)},
		{"aio-nr, aio-max-nr", limits},
		{"io_uring", a.verdict(m.IOUring)},
	}
}

func (r *probeReport) placeRows(a *app) [][]string {
	p := r.place
	rows := [][]string{{"file system", fmt.Sprintf("%s, blocks of %s", p.FileSystem, term.Bytes(p.BlockSize))}}
	if p.Mount.Point != "" {
		rows = append(rows, []string{"mount", fmt.Sprintf("%s of %s (%s)", p.Mount.Point, p.Mount.Source, p.Mount.Options)})
	}
	if d := p.Device; d != nil {
		rows = append(rows, deviceRows(d)...)
	} else {
		rows = append(rows, []string{"device", "none"})
	}
	limits := "none"
	if len(p.Throttles) > 0 {
		var list []string
		for _, t := range p.Throttles {
			list = append(list, fmt.Sprintf("%d %s (%s)", t.Value, t.Limit, t.Cgroup))
		}
		limits = strings.Join(list, ", ")
	}
	rows = append(rows, []string{"cgroup limits", limits}, []string{"direct I/O", a.verdict(p.Direct)})
	if al := p.Alignment; al.Offset > 0 {
		from := "found by trying"
		if al.FromKernel {
			from = "STATX_DIOALIGN"
		}
		rows = append(rows, []string{"alignment", fmt.Sprintf("memory %d, reads %d, writes %d bytes (%s)", al.Memory, al.ReadOffset, al.Offset, from)})
	}
	atomic := a.verdict(p.Atomic.Err)
	if p.Atomic.Err == nil {
		atomic += fmt.Sprintf(", %s to %s", term.Bytes(int64(p.Atomic.Min)), term.Bytes(int64(p.Atomic.Max)))
	}
	return append(rows, []string{"atomic writes", atomic})
}

func deviceRows(d *probe.Device) [][]string {
	name := d.Name
	if d.Disk != d.Name {
		name += " of " + d.Disk
	}
	name += " (" + d.Number + "), " + term.Bytes(d.Size)
	if d.Model != "" {
		name += ", " + d.Model
	}
	if len(d.Below) > 0 {
		name += ", made of " + strings.Join(d.Below, ", ")
	}
	rows := [][]string{
		{"device", name},
		{"blocks", fmt.Sprintf("logical %d, physical %d bytes", d.LogicalBlock, d.PhysicalBlock)},
	}
	if d.Requests > 0 {
		rows = append(rows, []string{"queue", fmt.Sprintf("nr_requests %d, scheduler %s, %s cache", d.Requests, d.Scheduler, d.WriteCache)})
	}
	return rows
}

func (r *probeReport) featureRows(a *app) (rows [][]string) {
	for _, f := range r.place.Features {
		rows = append(rows, []string{f.Name, a.verdict(f.Err)})
	}
	return rows
}

func (r *probeReport) submitRows() (rows [][]string) {
	for _, s := range r.place.Submit {
		if s.Err != nil {
			rows = append(rows, []string{s.Kind, s.Err.Error()})
			continue
		}
		what := "in flight when it returns"
		if s.Inline {
			what = "done inside it: who submits waits"
		}
		rows = append(rows, []string{s.Kind, fmt.Sprintf("%s of %s, %s", term.Short(s.Inside), term.Short(s.Total), what)})
	}
	return rows
}
