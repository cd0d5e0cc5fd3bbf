package aio

import (
	"math"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelContext is a Context of the running kernel.
type kernelContext struct {
	// id is the aio_context_t, 0 after Destroy. It is the address at which the
	// kernel mapped the ring, so a later io_setup may be given the same one:
	// forgetting it is what keeps a second Destroy off a stranger's context.
	id   atomic.Uintptr
	ring ring
}

// Setup wraps io_setup(2): it makes a context that takes at least depth
// requests in flight, 1 to MaxEvents. The kernel charges depth to
// fs.aio-nr and answers EAGAIN where that would pass fs.aio-max-nr, a limit of
// the whole machine; see Limits.
//
// Reap relies on an id that is what Linux makes it, the address of the ring.
func Setup(depth int) (Context, error) {
	// The kernel would take the low 32 bits of anything larger.
	if depth < 1 || depth > MaxEvents {
		return nil, syscall.EINVAL
	}
	var id uintptr // aio_context_t: an unsigned long; EINVAL unless 0 before
	_, _, errno := syscall.Syscall(syscall.SYS_IO_SETUP, uintptr(depth),
		uintptr(unsafe.Pointer(&id)), 0)
	if errno != 0 {
		return nil, errno
	}
	c := &kernelContext{ring: mapRing(pointer(uint64(id)))}
	c.id.Store(id)
	return c, nil
}

// Submit implements Context.
//
// It is a Syscall even for direct I/O, since io_submit sleeps whenever the file
// system or the block queue makes it: a thread that sleeps in a RawSyscall
// keeps its P and holds up the garbage collector of the whole process.
func (c *kernelContext) Submit(iocbs []*IOCB) (int, error) {
	if len(iocbs) == 0 {
		return 0, nil
	}
	// The conversion in the call keeps the array alive, and with it, since it
	// is an array of pointers, the iocbs.
	n, _, errno := syscall.Syscall(syscall.SYS_IO_SUBMIT, c.id.Load(),
		uintptr(len(iocbs)), uintptr(unsafe.Pointer(unsafe.SliceData(iocbs))))
	return count(n, errno)
}

// GetEvents implements Context.
func (c *kernelContext) GetEvents(min int, events []Event, timeout time.Duration) (int, error) {
	ts := timespec(timeout)
	// Neither of these sleeps, so the thread may keep its P.
	if min == 0 || timeout <= 0 {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_IO_GETEVENTS, c.id.Load(),
			uintptr(min), uintptr(len(events)),
			uintptr(unsafe.Pointer(unsafe.SliceData(events))),
			uintptr(unsafe.Pointer(&ts)), 0)
		return count(n, errno)
	}
	n, _, errno := syscall.Syscall6(syscall.SYS_IO_GETEVENTS, c.id.Load(),
		uintptr(min), uintptr(len(events)),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))),
		uintptr(unsafe.Pointer(&ts)), 0)
	return count(n, errno)
}

// Reap implements Context.
func (c *kernelContext) Reap(events []Event) int {
	if c.id.Load() == 0 { // destroyed, and the ring unmapped with it
		return 0
	}
	return c.ring.reap(events)
}

// Mapped implements Context.
func (c *kernelContext) Mapped() bool { return c.ring.mapped() }

// Destroy implements Context. A GetEvents that is asleep nevertheless is woken
// with EINVAL, and a second Destroy gets EINVAL too.
func (c *kernelContext) Destroy() error {
	_, _, errno := syscall.Syscall(syscall.SYS_IO_DESTROY, c.id.Swap(0), 0, 0)
	_, err := count(0, errno)
	return err
}

// timespec converts a timeout for io_getevents, which takes the timespec of the
// native word (the 32-bit one on a 32-bit architecture) and, unlike most calls,
// does not validate it: anything negative would wait forever.
func timespec(d time.Duration) unix.Timespec {
	d = max(d, 0)
	// 2^31 seconds are 68 years, which is the same as for ever.
	if seconds := int64(d / time.Second); seconds > math.MaxInt {
		return unix.Timespec{Sec: math.MaxInt}
	}
	return unix.NsecToTimespec(int64(d))
}

// count is the result of a system call that returns a number. It is the one
// place that makes an error of an Errno: a zero Errno in an error is not nil.
func count(n uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
