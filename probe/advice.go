package probe

import (
	"errors"
	"fmt"

	"github.com/seed-39be8cca/asyncfile"
)

// Advice is how package asyncfile does best in a place, and why.
type Advice struct {
	Backend    asyncfile.Backend    // BackendAIO or BackendPool
	Direct     asyncfile.DirectMode // DirectPrefer or DirectOff
	QueueDepth int                  // requests in flight on one Ring
	Reasons    []string             // one sentence for each of the three, and what else matters
}

// Options returns the advice as options of asyncfile.Open. A file that is opened with
// them has a Ring of its own. For several files, give WithQueueDepth(a.QueueDepth) to
// asyncfile.NewRing, and WithDirect(a.Direct) and WithRing to each file.
func (a Advice) Options() []asyncfile.Option {
	return []asyncfile.Option{asyncfile.WithBackend(a.Backend), asyncfile.WithDirect(a.Direct), asyncfile.WithQueueDepth(a.QueueDepth)}
}

const (
	usualDepth   = 128 // the default of WithQueueDepth
	spindleDepth = 32  // more gains nothing on a disk that turns
	leastDepth   = 8
)

// Advise says how asyncfile does best on a machine, in a place. It is a rule of thumb
// for random reads and writes of some kilobytes; `asyncfile tune` measures.
func Advise(m *Machine, p *Place) Advice {
	a := Advice{Backend: asyncfile.BackendAIO, Direct: asyncfile.DirectPrefer}
	switch {
	case m.AIO != nil:
		a.Backend = asyncfile.BackendPool
		a.say("Backend pool, since native AIO is not to be had: %v.", m.AIO)
	case errors.Is(p.Direct, ErrNotTried):
		a.Backend, a.Direct = asyncfile.BackendPool, asyncfile.DirectOff
		a.say("Backend pool and buffered files, since nothing could be tried: name a file that can be read, or a directory that can be written.")
	case p.Direct != nil:
		a.Backend, a.Direct = asyncfile.BackendPool, asyncfile.DirectOff
		a.say("Backend pool and buffered files, since there is no direct I/O: %v. Without it io_submit does the whole operation before it returns.", p.Direct)
	case p.inline("direct read"):
		a.Backend, a.Direct = asyncfile.BackendPool, asyncfile.DirectOff
		a.say("Backend pool and buffered files, since io_submit does direct reads before it returns: nothing is gained by it.")
	default:
		a.say("Backend aio: the kernel lets this process use it, and direct reads are in flight when io_submit returns.")
	}
	if a.Direct == asyncfile.DirectPrefer {
		a.say("Direct, where the program has a cache of its own or reads data once; buffered, where it relies on the page cache.")
		if p.inline("direct write") {
			a.say("Direct writes block in io_submit on %s: the library makes them on workers.", p.FileSystem)
		}
	}
	a.depth(m, p)
	for _, limit := range p.Throttles {
		a.say("Cgroup %s limits the device to %d %s.", limit.Cgroup, limit.Value, limit.Limit)
	}
	return a
}

// depth chooses the queue depth.
func (a *Advice) depth(m *Machine, p *Place) {
	why := "the default"
	a.QueueDepth = usualDepth
	lower := func(n int, reason string) {
		if n < a.QueueDepth {
			a.QueueDepth, why = max(n, leastDepth), reason
		}
	}
	if d := p.Device; d != nil && d.Requests > 0 {
		lower(d.Requests, fmt.Sprintf("the queue of %s holds %d requests, and io_submit sleeps for more", d.Disk, d.Requests))
	}
	if d := p.Device; d != nil && d.Rotational && len(p.Throttles) == 0 && d.turns() {
		lower(spindleDepth, d.Disk+" turns, and orders no more than that")
	}
	if a.Backend == asyncfile.BackendAIO && m.LimitsErr == nil {
		lower(int(min(m.Limits.Free(), 1<<20)), fmt.Sprintf("fs.aio-max-nr leaves %d", m.Limits.Free()))
	}
	a.say("Queue depth %d: %s.", a.QueueDepth, why)
}

// turns reports whether a device that calls itself rotational is likely to be: virtual
// disks do so by default.
func (d *Device) turns() bool { return d.Model != "" }

func (a *Advice) say(format string, args ...any) {
	a.Reasons = append(a.Reasons, fmt.Sprintf(format, args...))
}

// inline reports whether io_submit was seen to carry out a kind of operation itself.
func (p *Place) inline(kind string) bool {
	for _, s := range p.Submit {
		if s.Kind == kind {
			return s.Inline
		}
	}
	return false
}
