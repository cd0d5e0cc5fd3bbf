package main

import (
	"os/exec"
	"testing"
	"time"
)

// The count is not zero for a process that is not at rest.
func TestStraceCountSeesCalls(t *testing.T) {
	busy := exec.Command("yes")
	if err := busy.Start(); err != nil {
		t.Skip("no process to watch:", err)
	}
	defer busy.Wait()
	defer busy.Process.Kill()
	n, err := straceCount(t.Context(), busy.Process.Pid, time.Second)
	if n < 0 {
		t.Skip("strace is not installed, or not permitted")
	}
	if n == 0 || err != nil {
		t.Errorf("straceCount = %d, %v; want some", n, err)
	}
	if n, _ := straceCount(t.Context(), 1<<30, 300*time.Millisecond); n != -1 {
		t.Errorf("straceCount of no process = %d, want -1", n)
	}
}

func TestParseStrace(t *testing.T) {
	const table = `strace: Process 1 attached with 5 threads
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.00    0.000900          90        10         1 futex
 10.00    0.000100          50         2           read
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000          83        12         1 total
`
	for text, want := range map[string]int{table: 12, "strace: Process 1 attached\n": 0} {
		if n, err := parseStrace(text); n != want || err != nil {
			t.Errorf("parseStrace = %d, %v; want %d", n, err, want)
		}
	}
}

func TestStatusField(t *testing.T) {
	status := []byte("Name:\tbench\nVmRSS:\t    1234 kB\nThreads:\t17\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t9\n")
	for name, want := range map[string]int{"VmRSS": 1234, "Threads": 17, "voluntary_ctxt_switches": 5, "None": 0} {
		if got := statusField(status, name); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}
