package main

import (
	"fmt"
	"syscall"

	"github.com/traetox/goaio"
)

// goaioMost is the largest queue depth that goaio takes.
const goaioMost = 255

func runGoaio(w *work) error {
	if w.Cell.Depth > goaioMost {
		w.notes = append(w.notes, fmt.Sprintf("depth %d: goaio takes no more", goaioMost))
		w.lanes = w.lanes[:goaioMost]
	}
	a, err := goaio.NewAIOExt(w.File, goaio.AIOExtConfig{QueueDepth: len(w.lanes)}, w.flags(), 0)
	if err != nil {
		return err
	}
	defer a.Close()
	e := &goaioEngine{a: a, slots: map[goaio.RequestId]int{}, ids: make([]goaio.RequestId, len(w.lanes))}
	if err := w.loop(e); err != nil {
		return err
	}
	if e.interrupted > 0 {
		w.notes = append(w.notes, fmt.Sprintf("%d waits ended with EINTR and were repeated", e.interrupted))
	}
	return nil
}

type goaioEngine struct {
	a           *goaio.AIO
	slots       map[goaio.RequestId]int
	ids         []goaio.RequestId
	interrupted int
}

func (e *goaioEngine) submit(slot int, p []byte, off int64, write bool) error {
	do := e.a.ReadAt
	if write {
		do = e.a.WriteAt
	}
	id, err := do(p, off)
	e.slots[id] = slot
	return err
}

func (e *goaioEngine) reap(_ int, ended func(slot, n int) error) error {
	count, err := e.a.WaitAny(e.ids)
	if err != nil {
		if err.Error() != syscall.EINTR.Error() { // goaio flattens errnos to text
			return err
		}
		e.interrupted++
	}
	for _, id := range e.ids[:count] {
		n, err := e.a.WaitFor(id)
		if err != nil {
			return err
		}
		slot := e.slots[id]
		delete(e.slots, id)
		if err := ended(slot, n); err != nil {
			return err
		}
	}
	return nil
}
