package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A footprint is how much memory this process uses, in bytes.
type footprint struct {
	inUse float64 // by Go: objects, stacks, and the spans that they are in
	rss   float64 // of the process; 0 where the kernel does not tell (Linux before 4.14)
}

// goMemory is what inUse adds up. The classes that are missing are free memory,
// and metadata that comes in large pieces: only rss has it.
var goMemory = []string{
	"/memory/classes/heap/objects:bytes",
	"/memory/classes/heap/stacks:bytes",
	"/memory/classes/os-stacks:bytes",
	"/memory/classes/metadata/mspan/inuse:bytes",
	"/memory/classes/metadata/mcache/inuse:bytes",
}

// cleanFootprint collects the garbage before, twice since pools keep theirs for
// one cycle, and gives to the system what is free, so that rss has only what is
// used.
func cleanFootprint() footprint {
	runtime.GC()
	debug.FreeOSMemory()
	return takeFootprint()
}

func takeFootprint() footprint {
	samples := make([]metrics.Sample, len(goMemory))
	for i, name := range goMemory {
		samples[i].Name = name
	}
	metrics.Read(samples)
	var f footprint
	for _, s := range samples {
		f.inUse += float64(s.Value.Uint64())
	}
	rollup, _ := os.ReadFile("/proc/self/smaps_rollup") // exact, unlike VmRSS
	f.rss = float64(statusField(rollup, "Rss")) * 1024
	return f
}

// since returns what has been added since an earlier footprint, for each of n.
func (f footprint) since(before footprint, n int) footprint {
	return footprint{(f.inUse - before.inUse) / float64(n), (f.rss - before.rss) / float64(n)}
}
