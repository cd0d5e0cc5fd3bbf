package main

import (
	"context"

	"github.com/seed-39be8cca/asyncfile"
)

// runQueue takes completions from the Queue's channel.
func runQueue(mode asyncfile.WaitMode) func(w *work) error {
	return func(w *work) error {
		return w.queued(mode, func(e *queueEngine) engine { return e })
	}
}

// runPulled takes completions with Receive.
func runPulled(w *work) error {
	return w.queued(asyncfile.WaitGetEvents, func(e *queueEngine) engine {
		return &pulledEngine{e, make([]asyncfile.Completion, max(leastReap, w.Cell.Depth/2))}
	})
}

// queued does the work through a Queue. as says how its completions are taken.
func (w *work) queued(mode asyncfile.WaitMode, as func(*queueEngine) engine) error {
	f, err := w.open(mode)
	if err != nil {
		return err
	}
	defer f.Close()
	q := asyncfile.NewQueue(w.Cell.Depth)
	defer q.Close()
	e := &queueEngine{f: f, q: q, tags: make([]any, w.Cell.Depth)}
	for i := range e.tags {
		slot := i
		e.tags[i] = &slot // a pointer: as an any it needs no memory
	}
	return w.loop(as(e))
}

type queueEngine struct {
	f    *asyncfile.AsyncFile
	q    *asyncfile.Queue
	tags []any
}

func (e *queueEngine) submit(slot int, p []byte, off int64, write bool) error {
	if write {
		return e.q.WriteAt(e.f, p, off, e.tags[slot])
	}
	return e.q.ReadAt(e.f, p, off, e.tags[slot])
}

// ended passes a completion on.
func (e *queueEngine) ended(c asyncfile.Completion, ended func(slot, n int) error) error {
	if c.Err != nil {
		return c.Err
	}
	return ended(*c.Tag.(*int), c.N)
}

func (e *queueEngine) reap(_ int, ended func(slot, n int) error) error {
	c := <-e.q.C()
	for {
		if err := e.ended(c, ended); err != nil {
			return err
		}
		select {
		case c = <-e.q.C():
		default:
			return nil
		}
	}
}

// A pulledEngine takes as many completions at a time as the bare loop does.
type pulledEngine struct {
	*queueEngine
	completions []asyncfile.Completion
}

func (e *pulledEngine) reap(left int, ended func(slot, n int) error) error {
	n, err := e.q.Receive(context.Background(), e.completions[:max(leastReap, left/2)])
	if err != nil {
		return err
	}
	for _, c := range e.completions[:n] {
		if err := e.ended(c, ended); err != nil {
			return err
		}
	}
	return nil
}
