// Package term is what the commands print with: sizes, durations, tables, colours and
// progress.
package term

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A Size is a number of bytes on the command line: 4096, 4k, 4KiB, 1.5g. The suffixes
// are powers of 1024.
type Size int64

// UnmarshalText reads a Size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := units.RAMInBytes(string(text))
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no size: write a number of bytes, with k, M, G or T for powers of 1024", text)
	}
	*s = Size(n)
	return nil
}

// String writes it as Bytes does.
func (s Size) String() string { return Bytes(int64(s)) }

// Bytes writes a number of bytes with three or four digits and a unit: "1.5GiB".
func Bytes(n int64) string { return units.BytesSize(float64(n)) }

// Rate writes bytes per second.
func Rate(n int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return units.BytesSize(float64(n)/d.Seconds()) + "/s"
}

// Short writes a duration with three digits: "123µs", "1.23ms".
func Short(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	digits := math.Floor(math.Log10(float64(d))) - 2
	if digits > 0 {
		d = d.Round(time.Duration(math.Pow(10, digits)))
	}
	return d.String()
}

// A Screen is where a command prints for people.
type Screen struct {
	Out, Err io.Writer
	Colours  bool
}

// IsTerminal reports whether w is a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Bold, Good, Bad and Faint colour a text, where there are colours.
func (s *Screen) Bold(t string) string  { return s.paint(t, text.Bold) }
func (s *Screen) Good(t string) string  { return s.paint(t, text.FgGreen) }
func (s *Screen) Bad(t string) string   { return s.paint(t, text.FgRed) }
func (s *Screen) Faint(t string) string { return s.paint(t, text.Faint) }

func (s *Screen) paint(t string, c text.Color) string {
	if !s.Colours {
		return t
	}
	text.EnableColors()
	return c.Sprint(t)
}

// Table prints rows under a header, the columns aligned; numbers to the right where the
// header begins with ">".
func (s *Screen) Table(header []string, rows [][]string) {
	w := table.NewWriter()
	w.SetOutputMirror(lineTrimmer{s.Out})
	w.SetStyle(table.StyleDefault)
	style := w.Style()
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	if header != nil {
		var columns []table.ColumnConfig
		names := table.Row{}
		for i, h := range header {
			name, right := strings.CutPrefix(h, ">")
			if right {
				columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
			}
			names = append(names, s.Bold(name))
		}
		w.SetColumnConfigs(columns)
		w.AppendHeader(names)
	}
	for _, row := range rows {
		cells := table.Row{}
		for _, cell := range row {
			cells = append(cells, cell)
		}
		w.AppendRow(cells)
	}
	w.Render()
}

// A lineTrimmer drops the blanks at the ends of lines. It is given whole lines.
type lineTrimmer struct{ w io.Writer }

func (t lineTrimmer) Write(p []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(p)) {
		rest := strings.TrimRight(line, " \n")
		b.WriteString(rest + line[len(strings.TrimRight(line, "\n")):])
	}
	_, err := io.WriteString(t.w, b.String())
	return len(p), err
}

// A Bar shows progress on a terminal, and nothing where there is none. It is safe for
// concurrent use, which Clear of the bar below is not.
type Bar struct {
	mu  sync.Mutex
	bar *progressbar.ProgressBar // nil where nothing is shown
}

// Progress returns a Bar on Err, for so many bytes; -1 where nobody knows how many. Clear it
// before anything else is printed.
func (s *Screen) Progress(total int64, what string) *Bar {
	if !IsTerminal(s.Err) {
		return &Bar{}
	}
	return &Bar{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(s.Err), progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // by a goroutine that nothing ends
		progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())}
}

// Add says that n bytes more are done.
func (b *Bar) Add(n int64) { b.with(func(p *progressbar.ProgressBar) { p.Add64(n) }) }

// Total says how many bytes there are.
func (b *Bar) Total(n int64) { b.with(func(p *progressbar.ProgressBar) { p.ChangeMax64(n) }) }

// Describe says what is being done.
func (b *Bar) Describe(what string) {
	b.with(func(p *progressbar.ProgressBar) { p.Describe(what); p.RenderBlank() })
}

// Clear takes the bar off the screen, until there is something new.
func (b *Bar) Clear() { b.with(func(p *progressbar.ProgressBar) { p.Clear() }) }

func (b *Bar) with(f func(*progressbar.ProgressBar)) {
	if b.bar == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.bar)
}
