// Copy copies a file with up to 32 reads and writes in flight and as many
// buffers, whatever the size of the file.
//
//	go run ./examples/copy SOURCE TARGET   TARGET must not exist
//
// Each buffer goes round: a read that has completed becomes the write of the
// same block, and a write that has completed the read of the next. One goroutine
// and one Queue do all of it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed-39be8cca/asyncfile"
)

const (
	buffers   = 32
	blockSize = 256 << 10 // bytes
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: copy SOURCE TARGET")
		os.Exit(2)
	}
	n, err := copyFile(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "copy:", err)
		os.Exit(1)
	}
	fmt.Println(n, "bytes copied")
}

// copyFile copies source to a new file target, which is on stable storage, and
// closed, when it returns without an error. With one, target is removed.
func copyFile(source, target string) (n int64, err error) {
	info, err := os.Stat(source)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", source)
	}
	from, err := asyncfile.Open(source, asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := asyncfile.OpenFile(target, os.O_RDWR|os.O_CREATE|os.O_EXCL, info.Mode().Perm(),
		asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			os.Remove(target)
		}
	}()

	if n, err = copyBlocks(to, from, info.Size()); err != nil {
		return n, err
	}
	if n != info.Size() {
		return n, fmt.Errorf("%s changed while it was copied", source)
	}
	_, err = to.Sync().Wait()
	return n, err
}

// copyBlocks copies size bytes and returns how many there were to read.
func copyBlocks(to, from *asyncfile.AsyncFile, size int64) (copied int64, err error) {
	queue := asyncfile.NewQueue(buffers)
	defer queue.Close()
	var next int64 // offset of the next read
	busy := 0      // operations in flight
	begin := func(f *asyncfile.AsyncFile, op asyncfile.Op) {
		if err == nil {
			err = queue.Submit(f, op, nil)
		}
		if err == nil {
			busy++
		}
	}
	read := func(buf []byte) {
		if next < size {
			begin(from, asyncfile.Op{Kind: asyncfile.OpRead, Buf: buf, Offset: next})
			next += blockSize
		}
	}
	for i := 0; i < buffers && next < size; i++ {
		read(asyncfile.AlignedBuffer(blockSize))
	}
	for busy > 0 {
		c := <-queue.C()
		busy--
		switch {
		case c.Err != nil && c.Err != io.EOF:
			err = errors.Join(err, c.Err) // and nothing new begins
		case c.Op == asyncfile.OpRead && c.N > 0:
			copied += int64(c.N)
			begin(to, asyncfile.Op{Kind: asyncfile.OpWrite, Buf: c.Buf[:c.N], Offset: c.Offset})
		case c.Op == asyncfile.OpWrite:
			read(c.Buf[:blockSize])
		}
	}
	return copied, err
}
