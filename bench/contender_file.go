package main

import "github.com/seed-39be8cca/asyncfile"

// runFile uses the blocking view of a file.
func runFile(w *work) error {
	f, err := w.open(asyncfile.WaitGetEvents)
	if err != nil {
		return err
	}
	defer f.Close()
	view := f.File()
	return w.goroutines(view.ReadAt, view.WriteAt)
}
