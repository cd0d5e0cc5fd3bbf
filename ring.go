package asyncfile

import (
	"sync/atomic"

	"fmt"
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
	"github.com/seed-39be8cca/asyncfile/internal/seam"
)

// A Ring carries out the operations of any number of files: at most its queue
// depth at once, on one kernel AIO context, or on workers where there is none or
// where io_submit would block. It is safe for concurrent use.
//
// A submission waits for a place while the queue is full, first come first
// served among the files of a device. A device that does not answer, because its
// file system is frozen, say, holds up no other: each has workers and submissions
// of its own, and may not take the places of all (see internal/ring/lane.go). Nothing runs, and
// no system call is made, while nothing is in flight. NewRing makes one.
type Ring struct {
	core   *ring.Ring   // what does it; nil for a Ring that nothing made
	reason error        // why it is on the pool though BackendAuto looked for a kernel context
	lent   bool         // made by NewRing: its user closes it, and gives it to files
	kernel *seam.Kernel // of its files; nil, but in tests

	completer completer
	files     *file.Group
	calls     atomic.Uint64 // of Go and Call that have ended
	futures   futurePool    // of calls that wait
}

// NewRing makes a Ring. With BackendAuto it runs on native AIO where the kernel
// lets the process use it, and otherwise on the pool: Backend and Reason tell.
// With BackendAIO an error says why not: it answers errors.Is for the errno of
// io_setup(2), and where fs.aio-max-nr is used up it gives the numbers.
func NewRing(opts ...Option) (*Ring, error) {
	c, err := newRingConfig(opts)
	if err != nil {
		return nil, err
	}
	r, err := newRing(c)
	if err != nil {
		return nil, err
	}
	r.lent = true
	return r, nil
}

func newRing(c *config) (*Ring, error) {
	r := &Ring{kernel: c.kernel}
	use := ring.Config{Depth: c.depth, Timeout: c.timeout, Workers: c.workers, Complete: r.completer.run}
	if c.backend != BackendPool {
		if err := useKernel(c, &use); err != nil {
			if c.backend == BackendAIO {
				return nil, err
			}
			r.reason = err
		}
	}
	r.completer.timeout, r.completer.eventfd = c.timeout, use.EventFD != nil
	r.core = ring.New(use)
	r.files = file.NewGroup(r.core)
	return r, nil
}

// useKernel makes what a Ring on native AIO needs of the kernel, of the depth that
// there is room for.
func useKernel(c *config, use *ring.Config) error {
	context, depth, err := ring.Setup(c.setup, c.depth)
	if err != nil {
		return err
	}
	if c.mode == WaitEventFD {
		if use.EventFD, err = aio.NewEventFD(); err != nil {
			context.Destroy()
			return fmt.Errorf("asyncfile: WaitEventFD: %w", os.NewSyscallError("eventfd", err))
		}
	}
	use.Context, use.Depth = context, depth
	return nil
}

// Depth returns the most requests in flight: what WithQueueDepth asked, or what
// the machine had room for.
func (r *Ring) Depth() int {
	if !r.made() {
		return 0
	}
	return r.core.Depth()
}

// Backend returns BackendAIO or BackendPool.
func (r *Ring) Backend() Backend {
	if !r.made() {
		return BackendAuto
	}
	if !r.core.OnKernel() {
		return BackendPool
	}
	return BackendAIO
}

// Reason returns why the Ring is on the pool although BackendAuto looked for
// native AIO, and nil where it is not so: what NewRing answers with BackendAIO. That of
// a Ring that nothing made answers os.ErrInvalid.
func (r *Ring) Reason() error {
	if !r.made() {
		return errNoRing
	}
	return r.reason
}

// made reports whether r is more than the zero Ring.
func (r *Ring) made() bool { return r != nil && r.core != nil }

var errNoRing = invalid("a Ring that nothing made: use one of NewRing")

// Close refuses new operations, waits for those in flight, and releases the
// completer and the kernel context, which takes 26 to 40 ms. Close the Ring's
// files first: on a file that is still open nothing can be read, written or
// synced afterwards, be it by AsyncFile, Queue or File. The error of such a call says that the
// Ring is closed, and answers errors.Is for fs.ErrClosed, as a second Close does.
//
// A Ring that AsyncFile.Ring returned for a file that was not given one is
// not the caller's to close: Close then does nothing but return an error that answers
// os.ErrInvalid.
func (r *Ring) Close() error {
	switch {
	case !r.made():
		return errNoRing
	case !r.lent:
		return invalid("Ring.Close: this Ring belongs to its files, the last of which closes it")
	}
	return r.core.Close()
}

// ErrBufferLost is in the error of an operation whose kernel context died while
// it was in flight, and could not be destroyed either: io_getevents(2) and
// io_destroy(2) are both refused, as by a system call filter that was installed
// after the Ring was made. What becomes of the operation cannot be known, and the
// kernel may read or write its buffer at any later time: do not use that again.
// The library does not, and keeps it from the collector until the process ends.
var ErrBufferLost = ring.ErrBufferLost
