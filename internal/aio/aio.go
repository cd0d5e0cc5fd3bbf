// Package aio is the Linux native AIO interface as the kernel defines it: the
// three structures it shares with a process, the five system calls, and the
// few other file system calls that the library needs beside them.
//
// It is the only package of the module that imports unsafe and the only one
// with build constraints. On systems without native AIO it compiles to stubs:
// Setup answers ENOSYS (errors.ErrUnsupported) and everything else says that it
// is not there, so that the packages above need no constraint of their own.
//
// The layouts follow include/uapi/linux/aio_abi.h, the behaviour fs/aio.c.
package aio

import (
	"syscall"
	"time"
)

const (
	// MaxTransfer is the most bytes that one operation moves (MAX_RW_COUNT,
	// include/linux/fs.h). It is a multiple of 4096.
	MaxTransfer = 0x7ffff000
	// MaxIovecs is the most buffers of one vectored operation (UIO_MAXIOV).
	MaxIovecs = 1024
	// MaxEvents is the most requests that io_setup grants one context
	// (0x10000000 / sizeof(struct io_event), fs/aio.c ioctx_alloc, halved for
	// its doubling of the number).
	MaxEvents = 0x400000
)

// A Context is one AIO context. The kernel's is made by Setup; the tests put a
// scripted one in its place.
//
// Submit may be called from several goroutines at once. GetEvents and Reap
// consume events, and only one goroutine may be inside either at any time: two
// consumers would read the same head of the ring and deliver events twice.
type Context interface {
	// Submit wraps io_submit(2): it hands iocbs to the kernel in order and
	// returns how many it took. It stops at the first that the kernel refuses.
	// That one's error is returned only when it is the first of the call;
	// EAGAIN then means that the kernel has no room, now, for any. The iocbs
	// are not used after Submit returns; the buffers they name are, until
	// their events are consumed.
	Submit(iocbs []*IOCB) (int, error)

	// GetEvents wraps io_getevents(2): it waits until at least min events
	// are there, at most for timeout (less than zero: as zero), and moves up to
	// len(events) of them into events. Fewer than min, zero included, is no
	// error. EINTR is returned as it is: a signal causes it, and not only in a
	// call that waits, but in any that finds no event.
	GetEvents(min int, events []Event, timeout time.Duration) (int, error)

	// Reap moves up to len(events) events out of the completion ring without a
	// system call. It returns 0 where the ring is empty and where it is not
	// mapped in a layout that this package knows (gVisor); Mapped tells.
	Reap(events []Event) int

	// Mapped reports whether Reap sees the completion ring.
	Mapped() bool

	// Destroy wraps io_destroy(2). It waits for what is in flight, drops its
	// events and takes tens of milliseconds (an RCU grace period) even when
	// nothing is. Nothing else may be called during or after it.
	Destroy() error
}

// Result turns the res field of an io_event into what a Go caller expects: a
// count, or the errno that a negative number stands for.
func Result(res int64) (n int, err error) {
	if res < 0 {
		return 0, syscall.Errno(-res)
	}
	return int(res), nil
}
