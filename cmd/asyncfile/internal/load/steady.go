package load

// A Verdict says whether a load settled.
type Verdict string

const (
	Steady   Verdict = "steady"     // the last windows are alike
	Unsteady Verdict = "not steady" // they are not
	Burst    Verdict = "burst only" // they are alike, and the device did much more before
)

const (
	warmUp  = 2    // windows that do not count: caches, queues and clocks come up
	tail    = 5    // windows that are to be alike
	alike   = 0.1  // they differ from their mean by no more than that part
	lasting = 0.75 // less than this part of the best is a burst that ended
)

// Settled reports whether a load has run for long enough: it is alike for a while.
func Settled(windows []int64) bool {
	_, v := Judge(windows)
	return v == Steady
}

// Judge returns the operations a window at the end, and whether that is what lasts. Of too
// few windows it is the mean, and not steady.
func Judge(windows []int64) (rate float64, v Verdict) {
	if len(windows) > warmUp {
		windows = windows[warmUp:]
	}
	if len(windows) < tail {
		return mean(windows), Unsteady
	}
	last := windows[len(windows)-tail:]
	rate = mean(last)
	best := rate
	for i := 0; i+tail <= len(windows); i++ {
		best = max(best, mean(windows[i:i+tail]))
	}
	for _, n := range last {
		if d := float64(n) - rate; d > alike*rate || -d > alike*rate {
			return rate, Unsteady
		}
	}
	if rate < lasting*best {
		return rate, Burst
	}
	return rate, Steady
}

func mean(list []int64) (m float64) {
	for _, n := range list {
		m += float64(n) / float64(len(list))
	}
	return m
}

// Knee returns the index of the first value that is nearly the best: what more there is
// costs waiting, and brings nothing.
func Knee(rates []float64) int {
	const nearly = 0.9
	best := 0.0
	for _, r := range rates {
		best = max(best, r)
	}
	for i, r := range rates {
		if r >= nearly*best {
			return i
		}
	}
	return 0
}
