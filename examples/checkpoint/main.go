// Checkpoint saves many pages of memory as one file, so that after a crash there
// is either the old checkpoint or the new one, whole.
//
//	go run ./examples/checkpoint FILE
//
// Pages are written in groups, one vectored write a group, all in flight
// together into a temporary file. Sync, submitted behind them, is a barrier: it
// covers them without anybody waiting for them first. Then comes the rename.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/seed-39be8cca/asyncfile"
)

const (
	pageSize  = 4096 // bytes
	groupSize = 32   // pages of one write
)

func main() {
	if len(os.Args) != 2 || os.Args[1] == "-h" {
		fmt.Fprintln(os.Stderr, "usage: checkpoint FILE")
		os.Exit(2)
	}
	pages := make([][]byte, 1000)
	for i := range pages {
		pages[i] = asyncfile.AlignedBuffer(pageSize)
		copy(pages[i], fmt.Sprintf("page %d\n", i))
	}
	if err := save(os.Args[1], pages); err != nil {
		fmt.Fprintln(os.Stderr, "checkpoint:", err)
		os.Exit(1)
	}
	fmt.Printf("%d pages saved in %s\n", len(pages), os.Args[1])
}

// save makes name a file of pages, one after the other. They must not change
// until it returns.
func save(name string, pages [][]byte) error {
	dir := filepath.Dir(name)
	tmp, err := os.CreateTemp(dir, filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	err = write(tmp, pages)
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	return syncDir(dir)
}

// write writes pages to osf, commits them, and closes osf.
func write(osf *os.File, pages [][]byte) error {
	file, err := asyncfile.New(osf, asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		osf.Close()
		return err
	}
	var futures []*asyncfile.Future
	for i := 0; i < len(pages); i += groupSize {
		group := pages[i:min(i+groupSize, len(pages))]
		futures = append(futures, file.WritevAt(group, int64(i)*pageSize))
	}
	futures = append(futures, file.Sync()) // waits for the writes, not this goroutine
	return errors.Join(asyncfile.WaitAll(futures...), file.Close())
}

// syncDir commits the rename. Windows has no such thing.
func syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
