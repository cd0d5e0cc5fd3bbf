package aio

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

func newEventFD(t testing.TB) *EventFD {
	t.Helper()
	e, err := NewEventFD()
	if err != nil {
		t.Fatalf("NewEventFD: %v", err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// TestEventFDNotifies: the kernel's completion wakes a goroutine that was
// waiting in the netpoller, and by then the event is in the ring.
func TestEventFDNotifies(t *testing.T) {
	c := setup(t, 4)
	e := newEventFD(t)
	fd := int(tempFile(t, "content").Fd())

	woken := make(chan error)
	go func() { woken <- e.Wait() }()

	// A refused iocb signals nothing; the goroutine stays where it is.
	bad := read(-1, AlignedSlice(1, 1), 0, 0)
	bad.SetEventFD(e.FD())
	if _, err := c.Submit([]*IOCB{bad}); err != syscall.EBADF {
		t.Fatalf("Submit: %v, want EBADF", err)
	}
	p := AlignedSlice(7, 1)
	b := read(fd, p, 0, 99)
	b.SetEventFD(e.FD())
	if n, err := c.Submit([]*IOCB{b}); n != 1 || err != nil {
		t.Fatalf("Submit = %d, %v", n, err)
	}
	if err := <-woken; err != nil {
		t.Fatalf("Wait: %v", err)
	}
	events := make([]Event, 2)
	n, err := getEvents(c, 0, events, 0)
	if n != 1 || err != nil || events[0].Data != 99 || string(p) != "content" {
		t.Errorf("%d events, %v, first %+v, read %q", n, err, events[0], p)
	}
}

func TestEventFDSignal(t *testing.T) {
	e := newEventFD(t)
	for range 3 {
		if err := e.Signal(); err != nil {
			t.Fatalf("Signal: %v", err)
		}
	}
	if err := e.Wait(); err != nil {
		t.Fatalf("Wait: %v", err)
	}
	// The count of 3 went at once, and the descriptor did not become blocking.
	if n, err := syscall.Read(e.FD(), make([]byte, 8)); err != syscall.EAGAIN {
		t.Errorf("read of the drained eventfd = %d, %v, want EAGAIN", n, err)
	}
}

func TestEventFDClose(t *testing.T) {
	e := newEventFD(t)
	const waiters = 3
	done := make(chan error)
	for range waiters {
		go func() { done <- e.Wait() }()
	}
	if err := e.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for range waiters {
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Wait: %v, want os.ErrClosed", err)
		}
	}
	for name, err := range map[string]error{"Wait": e.Wait(), "Signal": e.Signal(), "Close": e.Close()} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v, want os.ErrClosed", name, err)
		}
	}
}

func TestEventFDAllocs(t *testing.T) {
	e := newEventFD(t)
	if n := testing.AllocsPerRun(100, func() {
		if err := errors.Join(e.Signal(), e.Wait()); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
