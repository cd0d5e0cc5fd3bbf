package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
	"github.com/seed-39be8cca/asyncfile/probe"
)

// someReport has everything that can be in a report.
func someReport() *probeReport {
	m := &probe.Machine{
		Kernel: "6.18.0", Processors: 2, Limits: probe.Limits{Used: 128, Max: 65536},
		IOUring: &probe.Refusal{Call: "io_uring_setup", Err: syscall.EPERM, Reason: "sysctl kernel.io_uring_disabled is 2"},
		Sandbox: probe.Sandbox{Container: "docker", Seccomp: "filter", IOUringDisabled: 2},
	}
	p := &probe.Place{
		Name: "data", Kind: "directory", FileSystem: "xfs", BlockSize: 4096,
		Mount: probe.Mount{Point: "/srv", Source: "/dev/sda1", Options: "rw"},
		Device: &probe.Device{Name: "sda1", Number: "8:1", Disk: "sda", Model: "DISK", Below: []string{"sdb", "sdc"}, Size: 1 << 40,
			LogicalBlock: 512, PhysicalBlock: 4096, OptimalIO: 65536, Requests: 64, Scheduler: "none", WriteCache: "write back"},
		Throttles: []probe.Throttle{{Cgroup: "/a", Limit: "read requests/s", Value: 100}},
		Alignment: probe.Alignment{Memory: 4, Offset: 4096, ReadOffset: 512, FromKernel: true},
		Features:  []probe.Feature{{Name: "IOCB_CMD_FSYNC"}, {Name: "RWF_DSYNC", Err: probe.ErrNotTried}},
		Atomic:    probe.Atomic{Min: 4096, Max: 65536},
		Submit: []probe.Submission{
			{Kind: "direct read", Inside: 15 * time.Microsecond, Total: 123456 * time.Nanosecond},
			{Kind: "buffered read", Inline: true, Inside: 80 * time.Microsecond, Total: 81 * time.Microsecond},
			{Kind: "direct write", Err: probe.ErrNotTried},
		},
	}
	return &probeReport{m, p, probe.Advise(m, p)}
}

func TestProbeText(t *testing.T) {
	var b bytes.Buffer
	someReport().print(&app{Screen: term.Screen{Out: &b}})
	golden(t, "probe.txt", b.Bytes())
}

func TestProbeJSON(t *testing.T) {
	var b bytes.Buffer
	a := &app{Screen: term.Screen{Out: &b}}
	if err := a.writeJSON(someReport().document()); err != nil {
		t.Fatal(err)
	}
	golden(t, "probe.json", b.Bytes())
}

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	code, out, errOut := cli(t, "--json", "probe", dir)
	if code != 0 {
		t.Fatal(code, errOut)
	}
	var d probeDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatal(err)
	}
	if d.Schema != probeSchema || d.Place.Path != dir || d.Place.Kind != "directory" {
		t.Errorf("%+v", d)
	}
	if d.Machine.AIO.OK && d.Place.Direct.OK != (d.Advice.Backend == asyncfile.BackendAIO.String()) && d.Place.FileSystem == "ext4" {
		t.Errorf("direct I/O: %v, and the advice is %s", d.Place.Direct, d.Advice.Backend)
	}
	if code, out, _ := cli(t, "probe", dir); code != 0 || !strings.Contains(out, "advice\n") || strings.Contains(out, "\x1b") {
		t.Errorf("%d, %s", code, out)
	}
	if _, out, _ := cli(t, "--color=always", "probe", dir); !strings.Contains(out, "\x1b[") {
		t.Error("no colours, although they were asked for")
	}
	if code, _, errOut := cli(t, "probe", filepath.Join(dir, "absent")); code != exitFailed || !strings.Contains(errOut, "no such file") {
		t.Errorf("an absent path: %d, %s", code, errOut)
	}
	if code, _, _ := cliIn(t, interrupted(), "", "probe", dir); code != 130 {
		t.Errorf("interrupted: %d, want 130", code)
	}
}
