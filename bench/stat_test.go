package main

import (
	"math"
	"slices"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9*max(1, math.Abs(b)) }

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		before := slices.Clone(tt.values)
		if got := spreadOf(tt.values); got != tt.want {
			t.Errorf("spreadOf(%v) = %v, want %v", tt.values, got, tt.want)
		}
		if !slices.Equal(before, tt.values) {
			t.Errorf("spreadOf changed its argument: %v", tt.values)
		}
	}
	if s := spreadOf(nil); !math.IsNaN(s.median) {
		t.Errorf("spreadOf(nil) = %v, want NaN", s)
	}
}

// A round that failed on either side takes no part in the ratios.
func TestRatiosAreByRound(t *testing.T) {
	c := cell{"disk", false, randRead, kib4, 1}
	runs := []run{
		{0, "a", c, result{Ops: 100, Seconds: 1}}, {0, "b", c, result{Ops: 50, Seconds: 1}},
		{1, "a", c, result{Err: "broke"}}, {1, "b", c, result{Ops: 60, Seconds: 1}},
		{2, "a", c, result{Ops: 30, Seconds: 1}}, {2, "b", c, result{Ops: 10, Seconds: 1}},
		{3, "a", c, result{Ops: 30, Seconds: 1}},
		{2, "a", cell{"disk", false, randRead, kib4, 2}, result{Ops: 1, Seconds: 1}},
	}
	a, b := results(runs, "a", c), results(runs, "b", c)
	if got, want := ratios(a, b, result.iops), []float64{2, 3}; !slices.Equal(got, want) {
		t.Errorf("ratios = %v, want %v", got, want)
	}
	if got, want := values(b, result.iops), []float64{50, 60, 10}; !slices.Equal(got, want) {
		t.Errorf("values = %v, want %v", got, want)
	}
}
