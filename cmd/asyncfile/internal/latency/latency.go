// Package latency sums up how long requests took.
package latency

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The histogram holds a nanosecond to an hour, with three digits.
const (
	longest = int64(time.Hour)
	digits  = 3
)

// A Histogram is how long requests took. It is not safe for concurrent use.
type Histogram struct{ h *hdrhistogram.Histogram }

// New returns an empty Histogram.
func New() *Histogram { return &Histogram{hdrhistogram.New(1, longest, digits)} }

// Add counts one request; what took longer than an hour counts as an hour.
func (h *Histogram) Add(d time.Duration) { h.h.RecordValue(min(max(int64(d), 1), longest)) }

// Merge adds all requests of other.
func (h *Histogram) Merge(other *Histogram) { h.h.Merge(other.h) }

// Count returns how many requests there were.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Mean returns their mean.
func (h *Histogram) Mean() time.Duration { return time.Duration(h.h.Mean()) }

// Percentile returns what p percent of them took at most.
func (h *Histogram) Percentile(p float64) time.Duration {
	return time.Duration(h.h.ValueAtPercentile(p))
}

// A Summary is what is told of a Histogram, in nanoseconds.
type Summary struct {
	Count int64 `json:"count"`
	Min   int64 `json:"min_ns"`
	Mean  int64 `json:"mean_ns"`
	Max   int64 `json:"max_ns"`
	P50   int64 `json:"p50_ns"`
	P99   int64 `json:"p99_ns"`
	P999  int64 `json:"p99_9_ns"`
	P9999 int64 `json:"p99_99_ns"`
}

// Summary returns the summary; all zeros where there were no requests.
func (h *Histogram) Summary() Summary {
	if h.Count() == 0 {
		return Summary{}
	}
	at := h.h.ValueAtPercentile
	return Summary{h.Count(), h.h.Min(), int64(h.h.Mean()), h.h.Max(), at(50), at(99), at(99.9), at(99.99)}
}

// A Bar is how many requests took from From on, less than To.
type Bar struct {
	From  int64 `json:"from_ns"`
	To    int64 `json:"to_ns"`
	Count int64 `json:"count"`
}

// Bars returns the requests in steps that double, from the shortest to the longest.
func (h *Histogram) Bars() (bars []Bar) {
	for _, b := range h.h.Distribution() {
		if b.Count == 0 {
			continue
		}
		for len(bars) == 0 || b.From >= bars[len(bars)-1].To {
			from := int64(1000) // one microsecond: nothing is told apart below
			if len(bars) == 0 {
				for from*2 <= b.From {
					from *= 2
				}
				if b.From < 1000 {
					bars = append(bars, Bar{0, 1000, 0})
					continue
				}
			} else {
				from = bars[len(bars)-1].To
			}
			bars = append(bars, Bar{from, from * 2, 0})
		}
		bars[len(bars)-1].Count += b.Count
	}
	return bars
}

// Print draws the bars, the longest of them width characters.
func (h *Histogram) Print(w io.Writer, width int, text func(time.Duration) string) {
	bars := h.Bars()
	var most int64
	for _, b := range bars {
		most = max(most, b.Count)
	}
	for _, b := range bars {
		n := int(b.Count * int64(width) / most)
		if b.Count > 0 {
			n = max(n, 1)
		}
		line := fmt.Sprintf("  %7s to %7s %8d %5.1f%% %s", text(time.Duration(b.From)), text(time.Duration(b.To)), b.Count,
			100*float64(b.Count)/float64(h.Count()), strings.Repeat("#", n))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}
