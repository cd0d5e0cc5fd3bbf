//go:build uring

package main

import (
	"os"

	"github.com/iceber/iouring-go"
)

func runIouringGo(w *work) error {
	f, err := os.OpenFile(w.File, w.flags(), 0)
	if err != nil {
		return err
	}
	defer f.Close()
	ring, err := iouring.New(uint(w.Cell.Depth))
	if err != nil {
		return err
	}
	defer ring.Close()
	fd := int(f.Fd())
	do := func(request iouring.PrepRequest) (int, error) {
		r, err := ring.SubmitRequest(request, nil)
		if err != nil {
			return 0, err
		}
		<-r.Done()
		return r.ReturnInt()
	}
	return w.goroutines(
		func(p []byte, off int64) (int, error) { return do(iouring.Pread(fd, p, uint64(off))) },
		func(p []byte, off int64) (int, error) { return do(iouring.Pwrite(fd, p, uint64(off))) })
}
