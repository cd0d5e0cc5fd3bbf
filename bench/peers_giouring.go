//go:build uring

package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

func runGiouring(w *work) error {
	f, err := os.OpenFile(w.File, w.flags(), 0)
	if err != nil {
		return err
	}
	defer f.Close()
	ring, err := giouring.CreateRing(uint32(w.Cell.Depth))
	if err != nil {
		return err
	}
	defer ring.QueueExit()
	err = w.loop(&giouringEngine{ring: ring, fd: int(f.Fd())})
	runtime.KeepAlive(w) // the ring knows the buffers by number only
	return err
}

type giouringEngine struct {
	ring *giouring.Ring
	fd   int
}

func (e *giouringEngine) submit(slot int, p []byte, off int64, write bool) error {
	sqe := e.ring.GetSQE()
	if sqe == nil {
		return errors.New("giouring: no SQE")
	}
	addr := uintptr(unsafe.Pointer(&p[0]))
	if write {
		sqe.PrepareWrite(e.fd, addr, uint32(len(p)), uint64(off))
	} else {
		sqe.PrepareRead(e.fd, addr, uint32(len(p)), uint64(off))
	}
	sqe.UserData = uint64(slot)
	return nil
}

func (e *giouringEngine) reap(_ int, ended func(slot, n int) error) error {
	if _, err := e.ring.SubmitAndWait(1); err != nil && !errors.Is(err, syscall.EINTR) {
		return err
	}
	var first error
	count := uint32(0)
	e.ring.ForEachCQE(func(cqe *giouring.CompletionQueueEvent) {
		count++
		err := ended(int(cqe.UserData), int(cqe.Res))
		if cqe.Res < 0 {
			err = syscall.Errno(-cqe.Res)
		}
		if first == nil {
			first = err
		}
	})
	e.ring.CQAdvance(count)
	return first
}
