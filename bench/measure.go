package main

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
	"syscall"
	"time"
)

// A result is what one run of one contender on one cell took.
type result struct {
	Ops, Bytes     int64
	Seconds        float64
	CPU            float64 // seconds, user and system
	Switches       int64   // context switches, voluntary or not
	Threads        int     // at most
	Allocs         int64   // -1 where unknown
	AllocBytes     int64   // on Go's heap; 0 where Allocs is -1
	P50, P99, P999 time.Duration
	Max            time.Duration // the longest latency
	Value          float64       // of a task that measures one number
	Costs          costs         // of the task "scale"
	Notes          []string
	Err            string // why there is no result
}

func (r result) ok() bool          { return r.Err == "" }
func (r result) iops() float64     { return float64(r.Ops) / r.Seconds }
func (r result) rate() float64     { return float64(r.Bytes) / r.Seconds }
func (r result) cpuPerOp() float64 { return r.CPU / float64(r.Ops) * 1e6 } // microseconds
func (r result) switchesPerOp() float64 {
	return float64(r.Switches) / float64(r.Ops)
}
func (r result) allocsPerOp() float64 { return float64(r.Allocs) / float64(r.Ops) }

// allocBytesPerOp is in whole bytes, rounded down as package testing does: what
// happens to be allocated once in a second is not the operations'.
func (r result) allocBytesPerOp() float64 { return float64(r.AllocBytes / r.Ops) }

// A usage is what this process has used between two moments.
type usage struct {
	Elapsed            time.Duration
	CPU                time.Duration
	Switches           int64
	Allocs, AllocBytes int64
	Threads            int
}

// A meter measures the process that it is part of. Between start and stop it
// makes no system call that gives up the processor: behind thousands of runnable
// goroutines it may take a minute to be given one again.
type meter struct {
	status *os.File // /proc/self/status, nil where there is none
	allocs [3]metrics.Sample
	begun  reading
}

func newMeter() *meter {
	m := &meter{}
	m.status, _ = os.Open("/proc/self/status")
	m.allocs[0].Name = "/gc/heap/allocs:objects"
	m.allocs[1].Name = "/gc/heap/tiny/allocs:objects"
	m.allocs[2].Name = "/gc/heap/allocs:bytes"
	return m
}

func (m *meter) allocated() (objects, bytes int64) {
	metrics.Read(m.allocs[:])
	return int64(m.allocs[0].Value.Uint64() + m.allocs[1].Value.Uint64()), int64(m.allocs[2].Value.Uint64())
}

// A reading is what a process has used until a moment.
type reading struct {
	at            time.Time
	rusage        syscall.Rusage
	allocs, bytes int64
}

// read repeats itself if it was preempted, so that what it returns is all of one
// moment. With thousands of threads getrusage(2) takes a while by itself.
func (m *meter) read() (r reading) {
	const tries, atOnce = 3, 5 * time.Millisecond
	for range tries {
		r.allocs, r.bytes = m.allocated()
		r.at = time.Now()
		syscall.Getrusage(syscall.RUSAGE_SELF, &r.rusage)
		if time.Since(r.at) < atOnce {
			break
		}
	}
	return r
}

func (m *meter) start() { m.begun = m.read() }

func (m *meter) stop() usage {
	now, was := m.read(), m.begun
	cpu := func(r *syscall.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	return usage{
		Elapsed:    now.at.Sub(was.at),
		CPU:        cpu(&now.rusage) - cpu(&was.rusage),
		Switches:   int64(now.rusage.Nvcsw + now.rusage.Nivcsw - was.rusage.Nvcsw - was.rusage.Nivcsw),
		Allocs:     now.allocs - was.allocs,
		AllocBytes: now.bytes - was.bytes,
	}
}

// threads returns how many threads there are, which is the most that there were:
// the runtime keeps those that it has made. Nothing else may follow.
func (m *meter) threads() int {
	if m.status == nil {
		return 0
	}
	defer m.status.Close()
	var buf [4096]byte
	n, _ := m.status.ReadAt(buf[:], 0)
	return statusField(buf[:n], "Threads")
}

// statusField returns a number out of a /proc/.../status file, or 0. Memory is
// in kB.
func statusField(status []byte, name string) int {
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB")))))
			return n
		}
	}
	return 0
}
