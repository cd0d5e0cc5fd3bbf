package ring

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// minDepth is where halving the queue depth ends.
const minDepth = 8

// Setup calls setup, which is io_setup(2) but in tests, with half the depth each
// time that the machine has no room for so many requests, and tries the context. It
// returns what the depth has come to.
func Setup(setup func(depth int) (aio.Context, error), depth int) (aio.Context, int, error) {
	asked, floor := depth, min(depth, minDepth)
	for {
		context, err := setup(depth)
		if err == nil {
			if err = tryContext(context); err != nil {
				context.Destroy()
				return nil, 0, err
			}
			return context, depth, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || depth == floor {
			return nil, 0, setupError(err, asked, depth)
		}
		depth = max(depth/2, floor)
	}
}

// setupError says what was asked, what the machine has, and what to do.
func setupError(err error, asked, last int) error {
	err = os.NewSyscallError("io_setup", err)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		numbers := "see /proc/sys/fs/aio-nr and aio-max-nr"
		if nr, limit, e := aio.Limits(); e == nil {
			numbers = fmt.Sprintf("fs.aio-nr is %d of fs.aio-max-nr %d", nr, limit)
		}
		return fmt.Errorf("asyncfile: the machine has no room for a queue of %d requests, nor of %d (%s): raise fs.aio-max-nr with sysctl, or ask for less with WithQueueDepth: %w", asked, last, numbers, err)
	case errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("asyncfile: this system has no native AIO: use BackendAuto or BackendPool: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asyncfile: native AIO is forbidden to this process (seccomp?): use BackendAuto or BackendPool: %w", err)
	}
	return fmt.Errorf("asyncfile: queue of %d requests: %w", last, err)
}

// tryContext sends one read through the context and waits for it: a sandbox may
// allow io_setup and refuse the rest.
func tryContext(context aio.Context) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil // nothing to try it on, so nothing said against it
	}
	defer null.Close()
	buf := make([]byte, 1)
	iocb := new(aio.IOCB)
	iocb.PrepareRead(int(null.Fd()), buf, 0)
	if _, err := context.Submit([]*aio.IOCB{iocb}); err != nil {
		return fmt.Errorf("asyncfile: native AIO does not work here: %w", os.NewSyscallError("io_submit", err))
	}
	events := make([]aio.Event, 1)
	for {
		n, err := context.GetEvents(1, events, time.Second)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("asyncfile: native AIO does not work here: %w", os.NewSyscallError("io_getevents", err))
		case n == 0:
			return errors.New("asyncfile: native AIO does not work here: a read of the null device did not complete in a second")
		default:
			return nil
		}
	}
}
