package aio

import (
	"structs"
	"sync/atomic"
	"unsafe"
)

// What fs/aio.c puts into the header, and what a reader may rely on.
const (
	ringMagic = 0xa10a10a1
	// minRingHeader is the header that this package knows. A longer one holds
	// fields that it may ignore, as long as no bit of incompat is set.
	minRingHeader = 32
	// maxRingHeader and maxRingEvents only tell a plausible header from noise.
	// The first is the smallest page; the second is twice what io_setup can
	// ask for (0x800000 events and the rest of the last page) and keeps the
	// size below 2 GB, the address space of a 32-bit process.
	maxRingHeader = 4096
	maxRingEvents = 0x1000000
)

// ringHeader is a struct aio_ring without its trailing events.
type ringHeader struct {
	_ structs.HostLayout

	id           uint32 // the kernel's own
	nr           uint32 // slots of the ring
	head         uint32 // slot of the oldest event; written by the consumer
	tail         uint32 // slot after the newest; written by the kernel
	magic        uint32
	compat       uint32
	incompat     uint32
	headerLength uint32 // where the slots start
}

// A ring is the consumer's view of a completion ring:
//
//	slot     0   1   2   3   4   5   6 … nr-1
//	                ^head       ^tail
//	                [ unconsumed )
//
// head and tail are slots, not free-running counters: both stay below nr, the
// ring is empty where they are equal, and full with nr-1 events.
//
// The zero ring is not mapped and always empty.
type ring struct {
	header *ringHeader
	events []Event
}

// mapRing returns the ring at base, or the zero ring where what is there is
// not one that this package understands. base must be readable for the size of
// a header at least; a mapped ring must stay so, and writable, for its lifetime.
//
// The magic is read before anything is written: gVisor hands out a read-only
// page of zeros, and storing a head there would be a fault.
func mapRing(base unsafe.Pointer) ring {
	h := (*ringHeader)(base)
	switch {
	case h.magic != ringMagic, h.incompat != 0:
		return ring{}
	case h.headerLength < minRingHeader, h.headerLength > maxRingHeader,
		h.headerLength%8 != 0: // an io_event is made of 64-bit words
		return ring{}
	case h.nr < 2, h.nr > maxRingEvents: // one slot always stays free
		return ring{}
	}
	// nr is taken once and for all: the kernel never changes it, and the
	// bounds of the slice are then those that were checked.
	first := (*Event)(unsafe.Add(base, h.headerLength))
	return ring{header: h, events: unsafe.Slice(first, h.nr)}
}

func (r *ring) mapped() bool { return r.header != nil }

// reap moves up to len(dst) events out of the ring. There must be one consumer
// only, io_getevents included: the kernel's mutex does not cover this head.
func (r *ring) reap(dst []Event) int {
	h := r.header
	if h == nil {
		return 0
	}
	// head is the consumer's own: no other thread writes it, but the last
	// io_getevents may have.
	head := atomic.LoadUint32(&h.head)
	// Load-acquire against the smp_wmb of aio_complete: the events before this
	// tail were written before it.
	tail := atomic.LoadUint32(&h.tail)

	nr := uint32(len(r.events))
	if head >= nr || tail >= nr {
		// Someone wrote over the header. Nothing outside of the ring is read;
		// io_getevents, which has its own tail, may still get the events.
		return 0
	}
	var n int
	if head <= tail {
		n = copy(dst, r.events[head:tail])
	} else {
		n = copy(dst, r.events[head:])
		n += copy(dst[n:], r.events[:tail])
	}
	if n == 0 {
		return 0
	}
	head += uint32(n)
	if head >= nr {
		head -= nr
	}
	// Store-release against the kernel's refill (user_refill_reqs_available):
	// once it sees this head it may overwrite the slots, so they must have been
	// copied out before.
	atomic.StoreUint32(&h.head, head)
	return n
}
