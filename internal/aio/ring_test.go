package aio

import (
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"
)

// newFakeRing lays out an empty ring of nr slots as io_setup does, in memory of
// the test. The slots behind the header are followed by nothing, so that
// checkptr and the race detector notice a read beyond them.
func newFakeRing(nr, headerLength uint32) *ringHeader {
	mem := make([]uint64, (headerLength+nr*uint32(unsafe.Sizeof(Event{})))/8)
	h := (*ringHeader)(unsafe.Pointer(&mem[0]))
	*h = ringHeader{nr: nr, magic: ringMagic, compat: 1, headerLength: headerLength}
	return h
}

// complete is the kernel's side: it puts an event into the ring and publishes it.
func complete(r ring, data uint64) {
	tail := r.header.tail
	r.events[tail] = Event{Data: data, Obj: ^data, Res: int64(data), Res2: -int64(data)}
	atomic.StoreUint32(&r.header.tail, (tail+1)%r.header.nr)
}

func TestRingRejected(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*ringHeader)
	}{
		{"zeros (gVisor)", func(h *ringHeader) { *h = ringHeader{} }},
		{"magic", func(h *ringHeader) { h.magic++ }},
		{"incompatible feature", func(h *ringHeader) { h.incompat = 1 }},
		{"header too short", func(h *ringHeader) { h.headerLength = 24 }},
		{"header too long", func(h *ringHeader) { h.headerLength = maxRingHeader + 8 }},
		{"header of odd length", func(h *ringHeader) { h.headerLength = 36 }},
		{"no slots", func(h *ringHeader) { h.nr = 0 }},
		{"one slot", func(h *ringHeader) { h.nr = 1 }},
		{"too many slots", func(h *ringHeader) { h.nr = maxRingEvents + 1 }},
	} {
		h := newFakeRing(4, 32)
		h.tail = 2
		c.spoil(h)
		before := *h
		r := mapRing(unsafe.Pointer(h))
		if r.mapped() {
			t.Errorf("%s: mapped", c.name)
		}
		if n := r.reap(make([]Event, 4)); n != 0 {
			t.Errorf("%s: reaped %d", c.name, n)
		}
		if *h != before {
			t.Errorf("%s: the header was written to", c.name)
		}
	}
}

func TestRingAccepted(t *testing.T) {
	for _, headerLength := range []uint32{32, 40, 64, 4096} {
		h := newFakeRing(4, headerLength)
		h.compat = 0xffffffff // features that a reader need not know
		r := mapRing(unsafe.Pointer(h))
		if !r.mapped() || len(r.events) != 4 {
			t.Fatalf("header of %d bytes: mapped %v, %d slots", headerLength, r.mapped(), len(r.events))
		}
		if got := uintptr(unsafe.Pointer(&r.events[0])) - uintptr(unsafe.Pointer(h)); got != uintptr(headerLength) {
			t.Errorf("header of %d bytes: slots start at %d", headerLength, got)
		}
		complete(r, 7)
		dst := make([]Event, 4)
		if n := r.reap(dst); n != 1 || dst[0] != (Event{Data: 7, Obj: ^uint64(7), Res: 7, Res2: -7}) {
			t.Errorf("header of %d bytes: reaped %d, %+v", headerLength, n, dst[0])
		}
	}
}

// TestRingReap goes through every state of a small ring, empty, full and
// wrapped around, and every size of the destination.
func TestRingReap(t *testing.T) {
	const nr = 5
	for head := uint32(0); head < nr; head++ {
		for filled := 0; filled < nr; filled++ {
			for room := 0; room <= nr; room++ {
				h := newFakeRing(nr, 32)
				h.head, h.tail = head, head
				r := mapRing(unsafe.Pointer(h))
				for i := range filled {
					complete(r, uint64(i+1))
				}
				tail := h.tail

				dst := make([]Event, room)
				n := r.reap(dst)
				if want := min(filled, room); n != want {
					t.Fatalf("head %d, %d events, room for %d: reaped %d, want %d", head, filled, room, n, want)
				}
				for i, e := range dst[:n] {
					if e.Data != uint64(i+1) {
						t.Fatalf("head %d, %d events, room for %d: event %d is %+v", head, filled, room, i, e)
					}
				}
				if want := (head + uint32(n)) % nr; h.head != want || h.tail != tail {
					t.Fatalf("head %d, %d events, room for %d: head is %d, want %d; tail is %d, was %d",
						head, filled, room, h.head, want, h.tail, tail)
				}
			}
		}
	}
}

// TestRingCorrupted: a head or tail beyond the ring reads nothing, writes
// nothing, and does no lasting harm.
func TestRingCorrupted(t *testing.T) {
	const nr = 4
	for _, c := range []struct{ head, tail uint32 }{
		{nr, 0}, {0, nr}, {nr, nr}, {12345, 2}, {1, 0xffffffff}, {0xffffffff, 1},
	} {
		h := newFakeRing(nr, 32)
		r := mapRing(unsafe.Pointer(h))
		h.head, h.tail = c.head, c.tail
		if n := r.reap(make([]Event, nr)); n != 0 || h.head != c.head || h.tail != c.tail {
			t.Errorf("head %d, tail %d: reaped %d, now %d and %d", c.head, c.tail, n, h.head, h.tail)
		}
		h.head, h.tail = 3, 1
		if n := r.reap(make([]Event, nr)); n != 2 {
			t.Errorf("reaped %d of a ring that was repaired, want 2", n)
		}
		// nr is that of the mapping, whatever the header says later.
		h.nr, h.head, h.tail = 1<<20, 0, 1000
		if n := r.reap(make([]Event, nr)); n != 0 {
			t.Errorf("reaped %d beyond the slots", n)
		}
	}
}

// TestRingConcurrent reaps while another goroutine completes. Under the race
// detector it checks the memory order too: the events themselves are plain
// memory, handed over by tail and handed back by head.
func TestRingConcurrent(t *testing.T) {
	const nr, total = 8, 20000
	h := newFakeRing(nr, 32)
	r := mapRing(unsafe.Pointer(h))
	go func() {
		for i := range uint64(total) {
			for (h.tail+1)%nr == atomic.LoadUint32(&h.head) { // full
				runtime.Gosched()
			}
			complete(r, i)
		}
	}()
	dst := make([]Event, 3)
	for next := uint64(0); next < total; {
		n := r.reap(dst)
		if n == 0 {
			runtime.Gosched()
		}
		for _, e := range dst[:n] {
			if e.Data != next || e.Obj != ^next {
				t.Fatalf("event %d is %+v", next, e)
			}
			next++
		}
	}
}

func TestRingAllocs(t *testing.T) {
	r := mapRing(unsafe.Pointer(newFakeRing(4, 32)))
	dst := make([]Event, 4)
	if n := testing.AllocsPerRun(100, func() {
		complete(r, 1)
		r.reap(dst)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkRingReap(b *testing.B) {
	r := mapRing(unsafe.Pointer(newFakeRing(128, 32)))
	dst := make([]Event, 32)
	b.ReportAllocs()
	for b.Loop() {
		complete(r, 1)
		if r.reap(dst) != 1 {
			b.Fatal("no event")
		}
	}
}
