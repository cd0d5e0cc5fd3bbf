package latency

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever was added is in the summary, to three digits, and in the bars.
func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		h := New()
		var all []int64
		for range 1 + random.IntN(300) {
			ns := int64(1) << random.IntN(34)
			ns += random.Int64N(ns)
			all = append(all, ns)
			h.Add(time.Duration(ns))
		}
		slices.Sort(all)
		s := h.Summary()
		near := func(got, want int64) bool { return got-want <= want/500+1 && want-got <= want/500+1 }
		if s.Count != int64(len(all)) || !near(s.Min, all[0]) || !near(s.Max, all[len(all)-1]) || !near(s.P50, all[(len(all)-1)/2]) && !near(s.P50, all[len(all)/2]) {
			t.Fatalf("%+v of %v", s, all)
		}
		var counted, to int64
		for i, b := range h.Bars() {
			if i > 0 && b.From != to || b.To <= b.From {
				t.Fatalf("bars do not join: %v", h.Bars())
			}
			counted, to = counted+b.Count, b.To
		}
		if counted != s.Count {
			t.Fatalf("%d in bars, of %d: %v, %v", counted, s.Count, h.Bars(), all)
		}
	}
}

func TestEmpty(t *testing.T) {
	h := New()
	var b bytes.Buffer
	h.Print(&b, 40, time.Duration.String)
	if h.Summary() != (Summary{}) || b.Len() != 0 {
		t.Errorf("%+v, %q", h.Summary(), b.String())
	}
}

func TestPrint(t *testing.T) {
	h := New()
	for i, n := range []int{1, 100, 3} {
		for range n {
			h.Add(time.Duration(i+1) * 100 * time.Microsecond)
		}
	}
	var b bytes.Buffer
	h.Print(&b, 40, time.Duration.String)
	if lines := strings.Split(strings.TrimSpace(b.String()), "\n"); len(lines) != 3 || strings.Count(lines[1], "#") != 40 || strings.Count(lines[0], "#") != 1 {
		t.Errorf("%s", b.String())
	}
}
