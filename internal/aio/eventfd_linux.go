package aio

import (
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An EventFD is an eventfd(2) counter that a goroutine can wait for without
// occupying a thread. Its methods may be called from several goroutines at once.
type EventFD struct {
	fd   int
	file *os.File

	// one is the operand of Signal, never written after NewEventFD; drained is
	// where Wait reads into, and never looked at, since only the wake-up counts.
	// As variables of the calls they would be an allocation each.
	one, drained [8]byte
}

// NewEventFD wraps eventfd(2), with a count of 0.
func NewEventFD() (*EventFD, error) {
	// Non-blocking is what makes os.NewFile hand it to the netpoller.
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	// fd is remembered because os.File.Fd would make it blocking.
	e := &EventFD{fd: fd, file: os.NewFile(uintptr(fd), "eventfd")}
	binary.NativeEndian.PutUint64(e.one[:], 1)
	// Where the netpoller did not take it, Wait would be a busy loop of EAGAIN.
	if err := e.file.SetReadDeadline(time.Time{}); err != nil {
		e.file.Close()
		return nil, err
	}
	return e, nil
}

// FD returns the descriptor, for IOCB.SetEventFD. It is valid until Close.
func (e *EventFD) FD() int { return e.fd }

// Wait blocks until the count is above zero and sets it to zero. One wake-up
// may stand for many completions. After Close, and when Close finds it
// blocked, it returns an error that is os.ErrClosed.
func (e *EventFD) Wait() error {
	// Concurrent reads of one os.File take turns, so drained has one writer.
	_, err := e.file.Read(e.drained[:])
	return err
}

// Signal adds one to the count, as the kernel does for a completion.
func (e *EventFD) Signal() error {
	_, err := e.file.Write(e.one[:])
	return err
}

// SignalEventFD does what Signal does, for who knows only the descriptor, as an IOCB
// has it.
func SignalEventFD(fd int) error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	return ignoringEINTR(func() error {
		_, err := unix.Write(fd, one[:])
		return err
	})
}

// Close closes the descriptor and wakes whoever is in Wait. Requests in flight
// may still name it: the kernel resolved it when they were submitted.
func (e *EventFD) Close() error { return e.file.Close() }
