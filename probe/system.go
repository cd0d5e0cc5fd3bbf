package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Machine is what the kernel and the sandbox let this process do, whatever the file.
type Machine struct {
	Kernel     string // its release, as uname -r has it; "" where this is not Linux
	Processors int    // that Go uses: GOMAXPROCS

	AIO     error // of AIO
	IOUring error // of IOUring

	Limits    Limits
	LimitsErr error // of AIOLimits

	Sandbox Sandbox
}

// A Sandbox is what stands between this process and the kernel.
type Sandbox struct {
	Container       string // "docker", "podman", "kubernetes", "gvisor", another name, or "" where nothing tells of one
	Seccomp         string // "off", "strict" or "filter"; "" where the kernel does not tell
	IOUringDisabled int    // sysctl kernel.io_uring_disabled: 0, 1 or 2; -1 where there is none
}

// System returns what the kernel and the sandbox let this process do. It takes some
// 30 ms, for AIO.
func System() *Machine {
	m := &Machine{
		Kernel:     aio.KernelRelease(),
		Processors: runtime.GOMAXPROCS(0),
		AIO:        AIO(),
		IOUring:    IOUring(),
		Sandbox:    readSandbox(),
	}
	m.Limits, m.LimitsErr = AIOLimits()
	return m
}

func readSandbox() Sandbox {
	s := Sandbox{Container: container(), IOUringDisabled: -1}
	if n, err := strconv.Atoi(readLine("/proc/sys/kernel/io_uring_disabled")); err == nil {
		s.IOUringDisabled = n
	}
	// proc_pid_status(5): 0 is off, 1 strict, 2 filter.
	switch field(readText("/proc/self/status"), "Seccomp:") {
	case "0":
		s.Seccomp = "off"
	case "1":
		s.Seccomp = "strict"
	case "2":
		s.Seccomp = "filter"
	}
	return s
}

// container names what the process runs in, by what the runtimes leave behind.
func container() string {
	exists := func(name string) bool { _, err := os.Lstat(name); return err == nil }
	switch {
	case strings.Contains(strings.ToLower(aio.KernelRelease()), "gvisor"):
		return "gvisor"
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "":
		return "kubernetes"
	case exists("/run/.containerenv"):
		return "podman"
	case exists("/.dockerenv"):
		return "docker"
	}
	return os.Getenv("container") // systemd's container interface
}

// refusal explains what a system call answered.
func (s Sandbox) refusal(call string, err error) error {
	r := &Refusal{Call: call, Err: err}
	switch {
	case call == "io_setup" && errors.Is(err, syscall.EAGAIN):
		r.Reason = "fs.aio-max-nr of the machine is used up"
		if limits, e := AIOLimits(); e == nil {
			r.Reason = fmt.Sprintf("fs.aio-nr is %d of fs.aio-max-nr %d, for the whole machine", limits.Used, limits.Max)
		}
		r.Remedy = "raise it: sysctl fs.aio-max-nr=1048576"
	case call == "io_uring_setup" && errors.Is(err, syscall.EPERM) && s.IOUringDisabled > 0:
		r.Reason = fmt.Sprintf("sysctl kernel.io_uring_disabled is %d", s.IOUringDisabled)
		r.Remedy = "an administrator may set it to 0; native AIO does not ask it"
	case call == "io_uring_setup" && errors.Is(err, syscall.ENOMEM):
		r.Reason = "RLIMIT_MEMLOCK is too low for it, before Linux 5.12"
		r.Remedy = "raise it: ulimit -l"
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES), s.Seccomp == "filter" && errors.Is(err, syscall.ENOSYS):
		r.Reason = s.filter()
		if s.Seccomp == "filter" {
			r.Remedy = "allow the call in the seccomp profile"
		}
	case errors.Is(err, errors.ErrUnsupported):
		r.Reason = "the kernel was built without it, or is none of Linux"
	case errors.Is(err, syscall.ETIMEDOUT):
		r.Reason = "a read of the null device did not complete"
	}
	return r
}

// filter says what refuses a call that the kernel may well have.
func (s Sandbox) filter() string {
	where := ""
	if s.Container != "" {
		where = " of the " + s.Container + " container"
	}
	if s.Seccomp == "filter" {
		return "a seccomp filter" + where + " refuses it, as it seems"
	}
	return "a security module" + where + " refuses it, as it seems: no seccomp filter is installed"
}

// readText returns what is in a file of /proc or /sys, or "".
func readText(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(text)
}

func readLine(name string) string { return strings.TrimSpace(readText(name)) }

// field returns what follows a name at the beginning of a line, or "".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
