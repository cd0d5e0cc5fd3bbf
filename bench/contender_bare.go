package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// bareMissing tries io_setup(2).
func bareMissing() string {
	context, err := aio.Setup(1)
	if err != nil {
		return os.NewSyscallError("io_setup", err).Error()
	}
	context.Destroy()
	return ""
}

// runBare does the work on the system calls alone: what native AIO costs from
// Go at the least.
func runBare(w *work) error {
	f, err := os.OpenFile(w.File, w.flags(), 0)
	if err != nil {
		return err
	}
	defer f.Close()
	context, err := aio.Setup(w.Cell.Depth)
	if err != nil {
		return os.NewSyscallError("io_setup", err)
	}
	err = w.loop(&bareEngine{
		context: context, fd: int(f.Fd()),
		iocbs:  make([]aio.IOCB, w.Cell.Depth),
		events: make([]aio.Event, max(leastReap, w.Cell.Depth/2)),
	})
	context.Destroy()    // waits for what an error left in flight
	runtime.KeepAlive(w) // the kernel knows the buffers by number only
	return err
}

type bareEngine struct {
	context aio.Context
	fd      int
	iocbs   []aio.IOCB // by slot
	pending []*aio.IOCB
	events  []aio.Event
}

func (e *bareEngine) submit(slot int, p []byte, off int64, write bool) error {
	b := &e.iocbs[slot]
	if write {
		b.PrepareWrite(e.fd, p, off)
	} else {
		b.PrepareRead(e.fd, p, off)
	}
	b.SetData(uint64(slot))
	e.pending = append(e.pending, b)
	return nil
}

func (e *bareEngine) reap(left int, ended func(slot, n int) error) error {
	if err := e.send(); err != nil {
		return err
	}
	n, err := e.context.GetEvents(1, e.events[:max(leastReap, left/2)], time.Second)
	if err != nil && err != syscall.EINTR {
		return os.NewSyscallError("io_getevents", err)
	}
	for _, ev := range e.events[:n] {
		n, err := aio.Result(ev.Res)
		if err != nil {
			return err
		}
		if err := ended(int(ev.Data), n); err != nil {
			return err
		}
	}
	return nil
}

func (e *bareEngine) send() error {
	for sent := 0; sent < len(e.pending); {
		n, err := e.context.Submit(e.pending[sent:])
		if err != nil {
			return os.NewSyscallError("io_submit", err)
		}
		sent += n
	}
	e.pending = e.pending[:0]
	return nil
}
