// Package probe tells what the kernel, the sandbox, the file system and the device
// below it let a program do with its files, and what follows for package asyncfile.
// It finds out by trying, never by a version number, and returns values and errors:
//
//	if err := probe.AIO(); err != nil {
//		log.Print("no native AIO: ", err) // and why, and what would change that
//	}
//	p, err := probe.Path(ctx, "/var/lib/data")
//	...
//	advice := probe.Advise(probe.System(), p)
//	f, err := asyncfile.Open("/var/lib/data/log", advice.Options()...)
//
// A nil error says that something works. A [*Refusal] says that it does not, why, and
// what would help; errors.Is finds the errno in it, and errors.ErrUnsupported,
// fs.ErrPermission and so on by way of that. [ErrNotTried] says that nobody knows.
//
// All functions are safe for concurrent use and keep nothing. Path makes a file
// without a name of at most 1 MiB in the directory, and leaves none behind.
package probe

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// ErrNotTried is the error of what could not be tried: the answer is not known. The
// error that wraps it says why.
var ErrNotTried = errors.New("not tried")

// A Refusal says that something is not to be had, and why. It answers errors.Is for
// Err.
type Refusal struct {
	Call   string // the system call or the flag that was refused
	Err    error  // what it answered, a syscall.Errno
	Reason string // why that is, as far as it can be told
	Remedy string // what would change it, or ""
}

// Error says what was refused, why, and what would change it.
func (r *Refusal) Error() string {
	text := fmt.Sprintf("%s: %v", r.Call, r.Err)
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	if r.Remedy != "" {
		text += " (" + r.Remedy + ")"
	}
	return text
}

// Unwrap returns r.Err.
func (r *Refusal) Unwrap() error { return r.Err }

// AIO reports whether this process may use native AIO, by setting a context up and
// reading through it: io_setup(2), io_submit(2), io_getevents(2). It returns nil, or
// a *Refusal, which answers errors.Is for errors.ErrUnsupported where the kernel has no
// such thing, for fs.ErrPermission where a sandbox refuses it, and for syscall.EAGAIN
// where fs.aio-max-nr is used up. It takes some 30 ms, for io_destroy(2).
func AIO() error {
	c, err := aio.Setup(1)
	if err != nil {
		return readSandbox().refusal("io_setup", err)
	}
	defer c.Destroy()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotTried, err)
	}
	defer null.Close()
	read := new(aio.IOCB)
	read.PrepareRead(int(null.Fd()), aio.AlignedSlice(1, 1), 0)
	if _, err := c.Submit([]*aio.IOCB{read}); err != nil {
		return readSandbox().refusal("io_submit", err)
	}
	if _, err := wait(c, time.Second); err != nil {
		return readSandbox().refusal("io_getevents", err)
	}
	return nil
}

// IOUring reports whether this process may use io_uring, by calling
// io_uring_setup(2). It returns nil, or a *Refusal, which answers errors.Is for
// errors.ErrUnsupported and fs.ErrPermission.
func IOUring() error {
	if err := aio.TryIOURing(); err != nil {
		return readSandbox().refusal("io_uring_setup", err)
	}
	return nil
}

// Limits are fs.aio-nr and fs.aio-max-nr: how many requests the contexts of the whole
// machine, its containers included, were set up for, and how many they may be.
type Limits struct{ Used, Max int64 }

// Free returns how many requests more contexts may be set up for.
func (l Limits) Free() int64 { return max(l.Max-l.Used, 0) }

// AIOLimits reads the limits of the machine from /proc/sys/fs. The error is that of
// os.ReadFile, or answers errors.Is for errors.ErrUnsupported where this is not Linux.
func AIOLimits() (Limits, error) {
	used, most, err := aio.Limits()
	return Limits{used, most}, err
}

// wait returns the event of the one operation in flight. The error is
// syscall.ETIMEDOUT where it does not come.
func wait(c aio.Context, timeout time.Duration) (aio.Event, error) {
	var events [1]aio.Event
	for deadline := time.Now().Add(timeout); ; {
		n, err := c.GetEvents(1, events[:], time.Until(deadline))
		switch {
		case n == 1:
			return events[0], nil
		case err != nil && err != syscall.EINTR:
			return aio.Event{}, err
		case time.Now().After(deadline):
			return aio.Event{}, syscall.ETIMEDOUT
		}
	}
}
