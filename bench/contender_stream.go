package main

import (
	"io"

	"github.com/seed-39be8cca/asyncfile"
)

// runStream reads or writes the file from one end to the other, again and again.
func runStream(w *work) error {
	f, err := w.open(asyncfile.WaitGetEvents)
	if err != nil {
		return err
	}
	defer f.Close()
	pass := readPass
	if w.Cell.Pattern.writes() {
		pass = writePass
	}
	opts := []asyncfile.StreamOption{asyncfile.WithBlockSize(w.Cell.Block), asyncfile.WithStreamDepth(w.Cell.Depth)}
	w.begin()
	return w.each(1, func(l *lane) error {
		l.next()
		for w.more() {
			if err := pass(f, tape{l}, opts); err != nil {
				return err
			}
		}
		return nil
	})
}

func readPass(f *asyncfile.AsyncFile, t tape, opts []asyncfile.StreamOption) error {
	r, err := asyncfile.NewReader(f, 0, opts...)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err = r.WriteTo(t); err == io.EOF {
		return nil
	}
	return err
}

func writePass(f *asyncfile.AsyncFile, t tape, opts []asyncfile.StreamOption) error {
	w, err := asyncfile.NewWriter(f, 0, opts...)
	if err != nil {
		return err
	}
	if _, err := w.ReadFrom(t); err != nil {
		return err
	}
	return w.Close()
}

// A tape is the other end of a stream. It takes and gives whole blocks, and looks
// at none, as fio does. The latency of a block is how long it was waited for.
type tape struct{ *lane }

// Write takes a block. At the end of a pass it returns io.EOF.
func (t tape) Write(p []byte) (int, error) { return len(p), t.pass(len(p)) }

// Read gives a block. At the end of a pass it returns io.EOF with it.
func (t tape) Read(p []byte) (int, error) { return len(p), t.pass(len(p)) }

// pass counts a block of n bytes, and returns io.EOF where it was the last.
func (t tape) pass(n int) error {
	if err := t.done(n); err != nil {
		return err
	}
	if off, _ := t.next(); off == 0 || !t.w.more() {
		return io.EOF
	}
	return nil
}
