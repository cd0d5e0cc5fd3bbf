// Classic is the program that introductions to Linux AIO begin with: open with
// O_DIRECT, write 1,024 times '@' from an aligned buffer to offset 0, wait for it
// with io_getevents, 10 ms at most in one call, print the result. It then does the
// same with completions announced through an eventfd.
//
//	go run ./examples/classic        writes a temporary file, and removes it
//	go run ./examples/classic FILE   writes the first 1,024 bytes of FILE
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

const size = 1024 // bytes

func main() {
	if len(os.Args) > 2 || len(os.Args) == 2 && os.Args[1] == "-h" {
		fmt.Fprintln(os.Stderr, "usage: classic [FILE]")
		os.Exit(2)
	}
	name := ""
	if len(os.Args) == 2 {
		name = os.Args[1]
	}
	if err := run(name, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "classic:", err)
		os.Exit(1)
	}
}

func run(name string, w io.Writer) error {
	if name == "" {
		dir, err := os.MkdirTemp("", "classic")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		name = filepath.Join(dir, "file")
	}
	for _, mode := range []asyncfile.WaitMode{asyncfile.WaitGetEvents, asyncfile.WaitEventFD} {
		if err := write(name, w, mode); err != nil {
			return err
		}
	}
	return nil
}

// write is the classic program.
func write(name string, w io.Writer, mode asyncfile.WaitMode) error {
	file, err := asyncfile.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644,
		asyncfile.WithDirect(asyncfile.DirectPrefer),
		asyncfile.WithTimeout(10*time.Millisecond), // of one io_getevents; the write may take longer
		asyncfile.WithWaitMode(mode))
	if err != nil {
		return err
	}
	defer file.Close()
	if !file.Direct() {
		fmt.Fprintf(w, "%v: the file system has no O_DIRECT: writing through the page cache\n", mode)
	}
	if reason := file.Reason(); reason != nil {
		fmt.Fprintf(w, "%v: on the pool, since: %v\n", mode, reason)
	}

	buf := asyncfile.AlignedBuffer(size)
	for i := range buf {
		buf[i] = '@'
	}
	n, err := file.WriteAt(buf, 0).Wait()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%v: wrote %d bytes (backend %v, O_DIRECT %v)\n", mode, n, file.Backend(), file.Direct())
	return nil
}
