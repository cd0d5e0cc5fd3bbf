package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"golang.org/x/sys/unix"
)

// tasks are what a child can do besides a cell.
var tasks = map[string]func(job) func() (result, error){
	"allocs future": func(j job) func() (result, error) { return j.allocsFuture },
	"allocs queue":  func(j job) func() (result, error) { return j.allocsQueue },
	"copy":          func(j job) func() (result, error) { return j.copyFile },
	"scale":         func(j job) func() (result, error) { return j.scale },
	"idle":          func(j job) func() (result, error) { return j.idle },
}

// allocRuns is how many operations an average is of.
const allocRuns = 5000

func (j job) openForReading(opts ...asyncfile.Option) (*asyncfile.AsyncFile, []byte, error) {
	f, err := asyncfile.Open(j.File, append(opts, asyncfile.WithDirect(asyncfile.DirectRequire))...)
	return f, asyncfile.AlignedBuffer(kib4), err
}

func (j job) allocsFuture() (result, error) {
	f, p, err := j.openForReading()
	if err != nil {
		return result{}, err
	}
	defer f.Close()
	var failed error
	allocs := testing.AllocsPerRun(allocRuns, func() {
		if _, err := f.ReadAt(p, 0).Wait(); err != nil {
			failed = err
		}
	})
	return result{Value: allocs}, failed
}

func (j job) allocsQueue() (result, error) {
	f, p, err := j.openForReading()
	if err != nil {
		return result{}, err
	}
	defer f.Close()
	q := asyncfile.NewQueue(1)
	defer q.Close()
	var failed error
	allocs := testing.AllocsPerRun(allocRuns, func() {
		err := q.ReadAt(f, p, 0, nil)
		if err == nil {
			err = (<-q.C()).Err
		}
		if err != nil {
			failed = err
		}
	})
	return result{Value: allocs}, failed
}

// A copyEnd is either end of an io.Copy.
type copyEnd interface {
	io.Reader
	io.Writer
	io.Closer
}

// copyFile copies the test file, cold, to a new one beside it. The value is
// bytes a second.
func (j job) copyFile() (result, error) {
	syscall.Sync() // what an earlier copy left dirty is not for this one to wait for
	if err := dropCache(j.File); err != nil {
		return result{}, err
	}
	to := j.File + ".copy"
	defer os.Remove(to)
	open := openOSCopy
	if j.Contender == file {
		open = openCopy
	}
	src, dst, err := open(j.File, to)
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	n, err := io.Copy(dst, src)
	took := time.Since(start)
	err = errors.Join(err, src.Close(), dst.Close())
	if err == nil && n != j.Size {
		err = fmt.Errorf("copied %d bytes of %d", n, j.Size)
	}
	return result{Value: float64(n) / took.Seconds()}, err
}

func openOSCopy(from, to string) (src, dst copyEnd, err error) {
	s, err := os.Open(from)
	if err != nil {
		return nil, nil, err
	}
	d, err := os.Create(to)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s, d, nil
}

func openCopy(from, to string) (src, dst copyEnd, err error) {
	s, err := asyncfile.Open(from)
	if err != nil {
		return nil, nil, err
	}
	d, err := asyncfile.Create(to)
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s.File(), d.File(), nil
}

// dropCache throws a file out of the page cache. What is dirty stays, so it is
// written first.
func dropCache(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// idle opens files in every way, uses each once, and then does nothing until
// its input ends. A line of output says that it is there. With os.File as the
// contender it opens just one: what is left is the Go runtime's own.
func (j job) idle() (result, error) {
	if j.Contender == osFile {
		f, err := os.Open(j.File)
		if err != nil {
			return result{}, err
		}
		defer f.Close()
		return result{}, waitForEnd()
	}
	for _, opts := range [][]asyncfile.Option{
		{asyncfile.WithDirect(asyncfile.DirectRequire)},
		{asyncfile.WithDirect(asyncfile.DirectRequire), asyncfile.WithWaitMode(asyncfile.WaitEventFD)},
		{},
		{asyncfile.WithBackend(asyncfile.BackendAIO)},
	} {
		f, err := asyncfile.Open(j.File, opts...)
		if err != nil {
			return result{}, err
		}
		defer f.Close()
		if _, err := f.ReadAt(asyncfile.AlignedBuffer(kib4), 0).Wait(); err != nil {
			return result{}, err
		}
	}
	return result{}, waitForEnd()
}

func waitForEnd() error {
	fmt.Fprintln(os.Stderr, idleLine)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
