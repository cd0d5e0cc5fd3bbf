package load

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// noisy returns n windows about a rate, each off by at most a part of it.
func noisy(random *rand.Rand, n int, rate, off float64) (list []int64) {
	for range n {
		list = append(list, int64(rate*(1+off*(2*random.Float64()-1))))
	}
	return list
}

// Loads that settle, that do not, and that fall, are told apart, whatever the warm-up did.
func TestJudge(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 12))
	for range 500 {
		rate := 100 + 1e6*random.Float64()
		warm := noisy(random, warmUp, rate, 0.9)
		even := noisy(random, tail+random.IntN(10), rate, 0.04)
		if got, v := Judge(append(warm, even...)); v != Steady || got < 0.9*rate || got > 1.1*rate {
			t.Fatalf("%v, then %v: %v, %v", warm, even, got, v)
		}
		fallen := append(append(warm, even...), noisy(random, tail, rate/2, 0.04)...)
		if got, v := Judge(fallen); v != Burst || got > 0.6*rate {
			t.Fatalf("%v: %v, %v", fallen, got, v)
		}
		wild := append(append([]int64{}, even...), int64(rate*1.5), int64(rate*0.8), int64(rate*1.5))
		if _, v := Judge(append(warm, wild...)); v != Unsteady {
			t.Fatalf("%v: %v", wild, v)
		}
		few := noisy(random, random.IntN(warmUp+tail), rate, 0)
		if _, v := Judge(few); v != Unsteady {
			t.Fatalf("%d windows are enough: %v", len(few), v)
		}
	}
}

// The knee is the first that nothing after it beats by much.
func TestKnee(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 14))
	if Knee(nil) != 0 {
		t.Error("of nothing")
	}
	for range 500 {
		var rates []float64
		for range 1 + random.IntN(10) {
			rates = append(rates, random.Float64())
		}
		best := slices.Max(rates)
		if k, want := Knee(rates), slices.IndexFunc(rates, func(r float64) bool { return r >= 0.9*best }); k != want {
			t.Fatalf("%v: %d, want %d", rates, k, want)
		}
	}
}
