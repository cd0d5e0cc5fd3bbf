package main

import (
	"maps"
	"math"
	"slices"
)

// A spread is the median of some values, and the least and the largest.
type spread struct{ median, min, max float64 }

// spreadOf returns the spread of values, which is NaN where there is none.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		nan := math.NaN()
		return spread{nan, nan, nan}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return spread{mid, v[0], v[len(v)-1]}
}

// results returns what a contender took on a cell, by round; rounds in which it
// failed are left out.
func results(runs []run, contender string, c cell) map[int]result {
	found := map[int]result{}
	for _, r := range runs {
		if r.contender == contender && r.cell == c && r.result.ok() {
			found[r.round] = r.result
		}
	}
	return found
}

// values returns one figure of each result, in the order of rounds.
func values(by map[int]result, of func(result) float64) []float64 {
	var list []float64
	for _, round := range slices.Sorted(maps.Keys(by)) {
		list = append(list, of(by[round]))
	}
	return list
}

// ratios divides figures of two contenders round by round: what drifts from
// round to round, such as a shared disk, is in both and cancels out.
func ratios(a, b map[int]result, of func(result) float64) []float64 {
	var list []float64
	for _, round := range slices.Sorted(maps.Keys(a)) {
		if other, ok := b[round]; ok && of(other) != 0 {
			list = append(list, of(a[round])/of(other))
		}
	}
	return list
}
