package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	idleLine   = "idle"
	idleTime   = 5 * time.Second // of each measurement
	idleSettle = 3 * time.Second // for what lingers after the last operation
)

// An idleness is what a process that does nothing does.
type idleness struct {
	wakeUps int // voluntary context switches of all threads
	calls   int // system calls; -1 without strace
}

// idleChild starts a child with files open and nothing in flight, and watches
// it: first its context switches, then, since strace itself makes some, its
// system calls.
func (r *runner) idleChild(contender, name string) (idle idleness, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
	defer cancel()
	cmd, err := childCommand(ctx, r.self, job{Contender: contender, Task: "idle", File: name})
	if err != nil {
		return idle, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return idle, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return idle, err
	}
	if err := cmd.Start(); err != nil {
		return idle, err
	}
	defer func() {
		stdin.Close()
		err = errors.Join(err, cmd.Wait())
	}()
	if line, err := bufio.NewReader(stderr).ReadString('\n'); strings.TrimSpace(line) != idleLine {
		return idle, fmt.Errorf("the idle child: %q, %v", line, err)
	}
	time.Sleep(idleSettle)
	before := wakeUps(cmd.Process.Pid)
	time.Sleep(idleTime)
	idle.wakeUps = wakeUps(cmd.Process.Pid) - before
	idle.calls, err = straceCount(ctx, cmd.Process.Pid, idleTime)
	return idle, err
}

// wakeUps adds up the voluntary context switches of a process's threads.
func wakeUps(pid int) int {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	sum := 0
	for _, name := range names {
		if status, err := os.ReadFile(name); err == nil {
			sum += statusField(status, "voluntary_ctxt_switches")
		}
	}
	return sum
}

// straceCount counts the system calls that a process makes in d, or answers -1
// where strace cannot watch it.
func straceCount(ctx context.Context, pid int, d time.Duration) (int, error) {
	cmd := exec.CommandContext(ctx, "strace", "-c", "-f", "-p", strconv.Itoa(pid))
	var table bytes.Buffer
	cmd.Stderr = &table
	cmd.WaitDelay = time.Second // a child of its own may outlive it, with the pipe, if the signal comes as it starts
	if err := cmd.Start(); err != nil {
		return -1, nil
	}
	time.Sleep(d)
	cmd.Process.Signal(os.Interrupt)
	cmd.Wait() // it exits as if killed by the signal
	if !strings.Contains(table.String(), " attached") {
		return -1, nil // not permitted: silence here would look like rest
	}
	return parseStrace(table.String())
}

// parseStrace returns the total number of calls in the table of strace -c,
// which is empty where there was none.
func parseStrace(table string) (int, error) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) >= 5 && fields[len(fields)-1] == "total" {
			n, err := strconv.Atoi(fields[3])
			if err != nil {
				return 0, fmt.Errorf("strace: %q: %w", line, err)
			}
			return n, nil
		}
	}
	return 0, nil
}
