package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// environment says what the figures were measured on.
func environment(places []*place) []string {
	var u unix.Utsname
	unix.Uname(&u)
	list := []string{
		fmt.Sprintf("%s, Linux %s, %s, %s", time.Now().UTC().Format("2006-01-02"), unix.ByteSliceToString(u.Release[:]), runtime.GOARCH, runtime.Version()),
		fmt.Sprintf("%s, GOMAXPROCS %d", processor(), runtime.GOMAXPROCS(0)),
	}
	if out, err := exec.Command("fio", "--version").Output(); err == nil {
		list = append(list, strings.TrimSpace(string(out)))
	}
	for _, p := range places {
		if p.missing == "" {
			list = append(list, p.name+": "+p.about)
		}
	}
	return list
}

func processor() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return fmt.Sprintf("%d x %s", runtime.NumCPU(), strings.TrimSpace(value))
		}
	}
	return fmt.Sprintf("%d processors", runtime.NumCPU())
}

// writeHead prints the conditions of the measurement.
func writeHead(out io.Writer, title string, env []string, skips map[string]string) {
	fmt.Fprintf(out, "# %s\n\n", title)
	for _, line := range env {
		fmt.Fprintf(out, "- %s\n", line)
	}
	for _, name := range sortedKeys(skips) {
		fmt.Fprintf(out, "- left out: %s (%s)\n", name, skips[name])
	}
	fmt.Fprintln(out)
}

// writeTables prints a Markdown table for each cell.
func writeTables(out io.Writer, p plan, runs []run) error {
	var b strings.Builder
	for _, c := range p.cells {
		base, fio := results(runs, osFile, c), results(runs, fioOne, c)
		if len(fio) == 0 {
			fio = results(runs, fioBatch, c)
		}
		rows := 0
		for _, who := range contenders() {
			by := results(runs, who.name, c)
			note := failure(runs, who.name, c)
			if len(by) == 0 && note == "" {
				continue
			}
			if rows++; rows == 1 {
				fmt.Fprintf(&b, "## %v\n\n", c)
				b.WriteString("| who | IOPS (spread) | MB/s | p50 | p99 | p99.9 | CPU/op, us (spread) | switches/op | threads | allocs/op | IOPS : os.File | CPU : os.File | IOPS : fio | CPU : fio | note |\n")
				b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
			}
			writeRow(&b, who.name, by, base, fio, note)
		}
		if rows > 0 {
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// medianOf prints the median of one figure.
func medianOf(by map[int]result, of func(result) float64) string {
	return number(spreadOf(values(by, of)).median)
}

// medianAndSpread prints the median, and the least and the largest.
func medianAndSpread(by map[int]result, of func(result) float64) string {
	s := spreadOf(values(by, of))
	return fmt.Sprintf("%s (%s-%s)", number(s.median), number(s.min), number(s.max))
}

// medianRatio prints the median of the ratios within each round.
func medianRatio(by, to map[int]result, of func(result) float64) string {
	return number(spreadOf(ratios(by, to, of)).median)
}

// medianLatency prints the median of a latency, where it was measured.
func medianLatency(by map[int]result, of func(result) time.Duration) string {
	m := spreadOf(values(by, func(r result) float64 { return float64(of(r)) })).median
	if !(m > 0) {
		return "-"
	}
	return durationName(time.Duration(m))
}

// Latencies of a table.
func p50(r result) time.Duration  { return r.P50 }
func p99(r result) time.Duration  { return r.P99 }
func p999(r result) time.Duration { return r.P999 }

func threads(r result) float64 { return float64(r.Threads) }

func writeRow(b *strings.Builder, name string, by, base, fio map[int]result, note string) {
	allocs := "-"
	for _, r := range by {
		if r.Allocs >= 0 {
			allocs = medianOf(by, result.allocsPerOp)
		}
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", name,
		medianAndSpread(by, result.iops), medianOf(by, func(r result) float64 { return r.rate() / 1e6 }),
		medianLatency(by, p50), medianLatency(by, p99), medianLatency(by, p999),
		medianAndSpread(by, result.cpuPerOp), medianOf(by, result.switchesPerOp), medianOf(by, threads), allocs,
		medianRatio(by, base, result.iops), medianRatio(by, base, result.cpuPerOp),
		medianRatio(by, fio, result.iops), medianRatio(by, fio, result.cpuPerOp), cellText(note))
}

// number prints a figure with three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// cellText makes a text fit for a cell of a Markdown table.
func cellText(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// durationName prints a latency with three digits that count.
func durationName(d time.Duration) string {
	switch {
	case d >= time.Millisecond:
		return number(float64(d)/1e6) + " ms"
	default:
		return number(float64(d)/1e3) + " us"
	}
}

// failure returns the error or the remark of a contender's runs on a cell.
func failure(runs []run, name string, c cell) string {
	for _, r := range runs {
		switch {
		case r.contender != name || r.cell != c:
		case !r.result.ok():
			return fmt.Sprintf("failed in round %d: %s", r.round+1, r.result.Err)
		case len(r.result.Notes) > 0:
			return strings.Join(r.result.Notes, "; ")
		}
	}
	return ""
}

// csvHead is the first line of the CSV file, of which every other is one run.
var csvHead = []string{"round", "contender", "place", "cached", "pattern", "block_bytes", "depth", "ops", "bytes", "seconds",
	"iops", "bytes_per_second", "p50_ns", "p99_ns", "p999_ns", "max_ns", "cpu_us_per_op", "switches_per_op", "threads", "allocs_per_op", "alloc_bytes_per_op", "error"}

func writeCSV(out io.Writer, runs []run) error {
	w := csv.NewWriter(out)
	w.Write(csvHead)
	for _, r := range runs {
		w.Write(csvLine(r))
	}
	w.Flush()
	return w.Error()
}

func csvLine(r run) []string {
	c, res := r.cell, r.result
	line := []string{strconv.Itoa(r.round + 1), r.contender, c.Place, strconv.FormatBool(c.Cached), string(c.Pattern), strconv.Itoa(c.Block), strconv.Itoa(c.Depth)}
	if !res.ok() {
		line = append(line, make([]string, len(csvHead)-len(line)-1)...)
		return append(line, res.Err)
	}
	allocs, bytes := "", ""
	if res.Allocs >= 0 {
		allocs, bytes = csvFloat(res.allocsPerOp()), csvFloat(res.allocBytesPerOp())
	}
	return append(line, strconv.FormatInt(res.Ops, 10), strconv.FormatInt(res.Bytes, 10), csvFloat(res.Seconds),
		csvFloat(res.iops()), csvFloat(res.rate()), strconv.FormatInt(int64(res.P50), 10), strconv.FormatInt(int64(res.P99), 10), strconv.FormatInt(int64(res.P999), 10), strconv.FormatInt(int64(res.Max), 10),
		csvFloat(res.cpuPerOp()), csvFloat(res.switchesPerOp()), strconv.Itoa(res.Threads), allocs, bytes, "")
}

func csvFloat(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
