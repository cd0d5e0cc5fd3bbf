package asyncfile

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

const (
	defaultQueueDepth = 128
	defaultTimeout    = 100 * time.Millisecond
	defaultWorkers    = 16

	maxWorkers = 4096
)

// A Backend is what carries out operations.
type Backend int

const (
	// BackendAuto chooses, by trying: native AIO for O_DIRECT files where the
	// kernel lets the process use it, and otherwise the pool.
	BackendAuto Backend = iota
	// BackendAIO is Linux native AIO. A call that would block in io_submit,
	// such as any on a buffered file, is made by a worker. What AIO has no meaning
	// for, such as pipes and directories, is on the pool all the same.
	BackendAIO
	// BackendPool is ordinary system calls on a bounded number of goroutines,
	// and on the caller's where the page cache has the data.
	BackendPool
)

// String returns "auto", "aio" or "pool".
func (b Backend) String() string { return name(int(b), "Backend", "auto", "aio", "pool") }

// A WaitMode is how a Ring waits for native AIO to complete.
type WaitMode int

const (
	// WaitGetEvents waits in io_getevents, which blocks a thread: that of the
	// completer or of a goroutine that waits for an operation, one at a time.
	WaitGetEvents WaitMode = iota
	// WaitEventFD has the kernel announce completions through an eventfd, on
	// which the completer, and nobody else, waits in the Go runtime's network
	// poller: no thread blocks, and each wake-up costs one read(2) more.
	WaitEventFD
)

// String returns "getevents" or "eventfd".
func (m WaitMode) String() string { return name(int(m), "WaitMode", "getevents", "eventfd") }

// A DirectMode says whether a file bypasses the page cache (O_DIRECT).
type DirectMode int

const (
	// DirectOff leaves the file as it is: buffered, unless it was opened with
	// O_DIRECT in its flags.
	DirectOff DirectMode = iota
	// DirectPrefer sets O_DIRECT where the file system takes it and otherwise
	// leaves the file buffered.
	DirectPrefer
	// DirectRequire sets O_DIRECT and fails where the file system refuses it.
	DirectRequire
)

// String returns "off", "prefer" or "require".
func (m DirectMode) String() string { return name(int(m), "DirectMode", "off", "prefer", "require") }

// name returns the i-th name, or kind(i) where there is none.
func name(i int, kind string, names ...string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}

// An Option adjusts a file or a Ring as it is made. WithDirect, WithRing and
// WithBackend apply to a file; all others and WithBackend to a Ring. A file that
// is given an option of a Ring gets a Ring of its own, which is closed with it.
type Option func(*config)

// config is what options set. shaped names the first option given that shapes
// a Ring.
type config struct {
	ring    *Ring
	direct  DirectMode
	backend Backend

	depth   int
	timeout time.Duration
	mode    WaitMode
	workers int
	shaped  string

	directSet   bool
	neverDirect bool                                 // ASYNCFILE_DIRECT=never
	keepDirect  bool                                 // O_DIRECT is the caller's own, and stays set after Close
	truncate    bool                                 // the file is to be truncated, as O_TRUNC has it
	absent      bool                                 // there was none
	setup       func(depth int) (aio.Context, error) // aio.Setup, but in tests
	errs        []error
}

// WithRing has the file's operations go through r, which is the caller's to
// close, after the file. It excludes the options that shape a Ring. Default: a
// Ring shared by all files of the process that name none. A pipe, a socket or a
// character device has a Ring of its own all the same, since what it waits for may
// never come: AsyncFile.Ring tells. Any Ring but one of NewRing is refused.
func WithRing(r *Ring) Option {
	return func(c *config) {
		c.ring = r
		c.reject(r == nil || !r.lent, "WithRing: pass a Ring of NewRing, or leave the option out for the shared one")
	}
}

// WithQueueDepth sets the most requests in flight on the Ring: nr_events of
// io_setup(2), which is taken out of the machine's fs.aio-max-nr, and the number
// of slots. 1 to 4194304, default 128. Where the machine has no room for as many
// the depth is halved, down to 8; Ring.Depth tells what it came to. More than
// the device's queue holds (/sys/block/*/queue/nr_requests) makes io_submit
// sleep.
func WithQueueDepth(n int) Option {
	return func(c *config) {
		c.depth = n
		c.shape("WithQueueDepth")
		c.reject(n < 1 || n > aio.MaxEvents, "WithQueueDepth(%d): use 1 to %d requests (default %d)", n, aio.MaxEvents, defaultQueueDepth)
	}
}

// WithTimeout sets how long the completer, or a goroutine that waits for an
// operation, stays in one io_getevents(2) before it looks around, while something
// is in flight. With much in flight it looks sooner by itself. It bounds no operation.
// 1 µs or more, default 100 ms. WaitEventFD has no use for it.
func WithTimeout(d time.Duration) Option {
	return func(c *config) {
		c.timeout = d
		c.shape("WithTimeout")
		c.reject(d < time.Microsecond, "WithTimeout(%v): use 1µs or more (default %v)", d, defaultTimeout)
	}
}

// WithWaitMode sets how the completer waits. Default WaitGetEvents.
func WithWaitMode(m WaitMode) Option {
	return func(c *config) {
		c.mode = m
		c.shape("WithWaitMode")
		c.reject(m < WaitGetEvents || m > WaitEventFD, "WithWaitMode(%d): use WaitGetEvents or WaitEventFD", m)
	}
}

// WithWorkers sets the most goroutines, and so threads, that carry out what
// would block its caller, for each device that the Ring has files on: everything
// that goes to the disk on BackendPool. 1 to 4096, default 16.
func WithWorkers(n int) Option {
	return func(c *config) {
		c.workers = n
		c.shape("WithWorkers")
		c.reject(n < 1 || n > maxWorkers, "WithWorkers(%d): use 1 to %d goroutines (default %d)", n, maxWorkers, defaultWorkers)
	}
}

// WithDirect sets whether the file bypasses the page cache. Default DirectOff;
// O_DIRECT among the flags of OpenFile means DirectRequire. Close takes back what
// was set. For operators there is the environment variable ASYNCFILE_DIRECT: with prefer
// files have DirectPrefer whose program does not say; with never no file is made direct,
// as on a file system that refuses it. What has O_DIRECT when it is given to New keeps
// it.
func WithDirect(m DirectMode) Option {
	return func(c *config) {
		c.direct, c.directSet = m, true
		c.reject(m < DirectOff || m > DirectRequire, "WithDirect(%d): use DirectOff, DirectPrefer or DirectRequire", m)
	}
}

// WithBackend sets what carries out operations. Default BackendAuto, which the
// environment variable ASYNCFILE_BACKEND (aio or pool) overrides, for tests.
func WithBackend(b Backend) Option {
	return func(c *config) {
		c.backend = b
		c.reject(b < BackendAuto || b > BackendPool, "WithBackend(%d): use BackendAuto, BackendAIO or BackendPool", b)
	}
}

// withSetup has the Ring run on another kernel than the real one.
func withSetup(setup func(depth int) (aio.Context, error)) Option {
	return func(c *config) { c.setup = setup; c.shape("withSetup") }
}

func (c *config) shape(option string) {
	if c.shaped == "" {
		c.shaped = option
	}
}

func (c *config) reject(bad bool, format string, args ...any) {
	if bad {
		c.errs = append(c.errs, invalid(format, args...))
	}
}

// invalid returns an error that answers errors.Is(err, os.ErrInvalid).
func invalid(format string, args ...any) error {
	return fmt.Errorf("asyncfile: %s: %w", fmt.Sprintf(format, args...), os.ErrInvalid)
}

// newConfig applies opts to the defaults. The error names every option that is
// out of range and what it takes.
func newConfig(opts []Option) (*config, error) {
	c := &config{
		depth:   defaultQueueDepth,
		timeout: defaultTimeout,
		workers: defaultWorkers,
		setup:   aio.Setup,
	}
	for _, opt := range opts {
		if opt != nil {
			opt(c)
		}
	}
	c.readEnvironment()
	c.reject(c.ring != nil && c.shaped != "", "WithRing and %s exclude each other: give %[1]s to NewRing", c.shaped)
	return c, errors.Join(c.errs...)
}

// readEnvironment has the environment decide what the options leave open.
func (c *config) readEnvironment() {
	if c.backend == BackendAuto {
		switch env := os.Getenv("ASYNCFILE_BACKEND"); env {
		case "", "auto":
		case "aio":
			c.backend = BackendAIO
		case "pool":
			c.backend = BackendPool
		default:
			c.reject(true, "ASYNCFILE_BACKEND=%q: use aio or pool, or unset it", env)
		}
	}
	switch env := os.Getenv("ASYNCFILE_DIRECT"); env {
	case "":
	case "never":
		c.neverDirect = true
	case "prefer":
		if !c.directSet {
			c.direct = DirectPrefer
		}
	default:
		c.reject(true, "ASYNCFILE_DIRECT=%q: use never or prefer, or unset it", env)
	}
}

// newRingConfig is newConfig for a Ring, which has no use for a file's options.
func newRingConfig(opts []Option) (*config, error) {
	c, err := newConfig(opts)
	if c.ring != nil || c.directSet {
		err = errors.Join(err, invalid("WithRing and WithDirect are options of a file, not of a Ring"))
	}
	return c, err
}
