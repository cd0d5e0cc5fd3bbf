package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A scaleTable is the table of one topic.
type scaleTable struct {
	topic, title, about string
	columns             []scaleColumn
}

type scaleColumn struct {
	head string
	text func(scaleRow) string
}

// A scaleRow is what a table's columns are made of.
type scaleRow struct {
	scaleStep
	runs []scaleRun // of all steps
}

func (r scaleRow) results(of scaleStep) map[int]result {
	return results(runsOf(r.runs, of), of.contender, of.cell)
}

var scaleTables = []scaleTable{
	{byFiles, "Files", "The test file, opened n times for reading, with O_DIRECT; on asyncfile all on the shared Ring, " +
		"which the first one makes. Bytes are those in use by Go; they, the RSS and the goroutines are counted with the files open and nothing in flight. " +
		fmt.Sprintf("Then %d goroutines read from all of the files.", scaleDepth),
		[]scaleColumn{
			{"files", func(r scaleRow) string { return strconv.Itoa(r.shape.Files) }}, who,
			median("bytes a file", func(r result) float64 { return r.Costs.PerFile }),
			median("RSS, MiB", func(r result) float64 { return r.Costs.RSS / mib1 }),
			median("goroutines", func(r result) float64 { return float64(r.Costs.Goroutines) }),
			median("us an open", func(r result) float64 { return float64(r.Costs.Open) / 1e3 }),
			median("us a close", func(r result) float64 { return float64(r.Costs.Close) / 1e3 }),
			iopsColumn, cpuColumn, threadsColumn,
			ratio("IOPS : 1 file", result.iops, oneFile),
			ratio("IOPS : os.File", result.iops, withOSFile), ratio("CPU : os.File", result.cpuPerOp, withOSFile), note,
		}},
	{byGoroutines, "Goroutines", "n goroutines read from one file, each in f.ReadAt(p, off).Wait(), on the shared Ring, or in os.File.ReadAt, " +
		fmt.Sprintf("where each may take a thread: so there %d at most. ", threadMost) +
		"Bytes are what is in use by Go with them at work, less what was before, with their buffers; the RSS grew by what of it was touched. What the kernel holds for threads is in neither, and the few threads of any program are in both, which shows where n is small. " +
		"Served are those for which a read ended while measured: others waited all the time, which no percentile shows.",
		[]scaleColumn{
			{"goroutines", func(r scaleRow) string { return strconv.Itoa(r.cell.Depth) }}, who,
			iopsColumn, cpuColumn, p50Column, p99Column,
			median("served, %", func(r result) float64 { return 100 * r.Costs.Served }), threadsColumn,
			median("bytes a goroutine", func(r result) float64 { return r.Costs.PerGoroutine }),
			median("RSS, bytes a goroutine", func(r result) float64 { return r.Costs.RSSPerGoroutine }),
			ratio("IOPS : os.File", result.iops, withOSFile), ratio("CPU : os.File", result.cpuPerOp, withOSFile), note,
		}},
	{byDepth, "Queue depth", "NewRing(WithQueueDepth(n)), and n goroutines in f.ReadAt(p, off).Wait() on one file. Bytes are those in use by Go for the Ring; the kernel's are not in them. " +
		"Inside io_submit is Stats().SubmitTime by the time that passed, of several goroutines together: where it jumps, the device's queue (nr_requests above) is full.",
		[]scaleColumn{
			{"queue depth", func(r scaleRow) string { return strconv.Itoa(r.shape.Slots) }},
			iopsColumn, cpuColumn, p50Column, p99Column, threadsColumn,
			median("bytes a slot", func(r result) float64 { return r.Costs.PerSlot }),
			median("inside io_submit, %", func(r result) float64 { return 100 * r.Costs.InSubmit }),
			ratio("IOPS : depth 128", result.iops, defaultDepth), ratio("CPU : depth 128", result.cpuPerOp, defaultDepth), note,
		}},
	{byRings, "Rings", fmt.Sprintf("%d files, spread over n Rings (NewRing, WithRing), and %d goroutines in f.ReadAt(p, off).Wait() on all of them.", scaleFiles, scaleDepth),
		[]scaleColumn{
			{"GOMAXPROCS", func(r scaleRow) string { return strconv.Itoa(r.shape.Procs) }},
			{"Rings", func(r scaleRow) string { return strconv.Itoa(r.shape.Rings) }},
			iopsColumn, cpuColumn, p50Column, p99Column, threadsColumn,
			ratio("IOPS : 1 Ring", result.iops, oneRing), ratio("CPU : 1 Ring", result.cpuPerOp, oneRing), note,
		}},
}

var (
	who           = scaleColumn{"who", func(r scaleRow) string { return r.contender }}
	iopsColumn    = spreadColumn("IOPS (spread)", result.iops)
	cpuColumn     = spreadColumn("CPU/op, us (spread)", result.cpuPerOp)
	p50Column     = scaleColumn{"p50", func(r scaleRow) string { return medianLatency(r.results(r.scaleStep), p50) }}
	p99Column     = scaleColumn{"p99", func(r scaleRow) string { return medianLatency(r.results(r.scaleStep), p99) }}
	threadsColumn = median("threads", threads)
	note          = scaleColumn{"note", func(r scaleRow) string {
		return cellText(failure(runsOf(r.runs, r.scaleStep), r.contender, r.cell))
	}}
)

func median(head string, of func(result) float64) scaleColumn {
	return scaleColumn{head, func(r scaleRow) string { return medianOf(r.results(r.scaleStep), of) }}
}

func spreadColumn(head string, of func(result) float64) scaleColumn {
	return scaleColumn{head, func(r scaleRow) string { return medianAndSpread(r.results(r.scaleStep), of) }}
}

// ratio compares a row with that of another step.
func ratio(head string, of func(result) float64, other func(scaleStep) scaleStep) scaleColumn {
	return scaleColumn{head, func(r scaleRow) string {
		return medianRatio(r.results(r.scaleStep), r.results(other(r.scaleStep)), of)
	}}
}

// What rows are compared with.
func withOSFile(s scaleStep) scaleStep { s.contender = osFile; return s }
func oneFile(s scaleStep) scaleStep    { s.shape.Files = 1; return s }
func oneRing(s scaleStep) scaleStep    { s.shape.Rings = 1; return s }
func defaultDepth(s scaleStep) scaleStep {
	s.shape.Slots, s.cell.Depth = 128, 128
	return s
}

// writeScale prints a Markdown table for each topic.
func writeScale(out io.Writer, steps []scaleStep, runs []scaleRun) error {
	var b strings.Builder
	for _, t := range scaleTables {
		mine := slices.DeleteFunc(slices.Clone(steps), func(s scaleStep) bool { return s.topic != t.topic })
		if len(mine) > 0 {
			fmt.Fprintf(&b, "## %s\n\n%s\n\n", t.title, t.about)
			t.write(&b, mine, runs)
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (t scaleTable) write(b *strings.Builder, steps []scaleStep, runs []scaleRun) {
	for _, c := range t.columns {
		fmt.Fprintf(b, "| %s ", c.head)
	}
	b.WriteString("|\n" + strings.Repeat("|---", len(t.columns)) + "|\n")
	for _, s := range steps {
		for _, c := range t.columns {
			fmt.Fprintf(b, "| %s ", c.text(scaleRow{s, runs}))
		}
		b.WriteString("|\n")
	}
}

// scaleHead is what scale.csv has before and after the columns of csvHead.
var scaleHead = [2][]string{
	{"topic", "files", "rings", "queue_depth", "gomaxprocs"},
	{"bytes_per_file", "bytes_per_goroutine", "rss_bytes_per_goroutine", "bytes_per_slot", "rss_bytes", "goroutines", "open_ns", "close_ns", "in_io_submit", "served"},
}

func writeScaleCSV(out io.Writer, runs []scaleRun) error {
	w := csv.NewWriter(out)
	w.Write(slices.Concat(scaleHead[0], csvHead, scaleHead[1]))
	for _, r := range runs {
		s, c := r.step.shape, r.result.Costs
		w.Write(slices.Concat(
			[]string{r.step.topic, strconv.Itoa(s.Files), strconv.Itoa(s.Rings), strconv.Itoa(s.Slots), strconv.Itoa(s.Procs)},
			csvLine(r.run),
			[]string{csvFloat(c.PerFile), csvFloat(c.PerGoroutine), csvFloat(c.RSSPerGoroutine), csvFloat(c.PerSlot), csvFloat(c.RSS),
				strconv.Itoa(c.Goroutines), strconv.FormatInt(int64(c.Open), 10), strconv.FormatInt(int64(c.Close), 10), csvFloat(c.InSubmit), csvFloat(c.Served)}))
	}
	w.Flush()
	return w.Error()
}
