package asyncfile_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

func ExampleRing_Go() {
	ring, err := asyncfile.NewRing()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	// Files of a table that is not in use any more, unlinked in the background.
	var unlinked []*asyncfile.Future
	for i := range 4 {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			fmt.Println(err)
			return
		}
		unlinked = append(unlinked, ring.Go(func() (int, error) { return 1, os.Remove(name) }))
	}
	fmt.Println(asyncfile.WaitAll(unlinked...))
	left, err := os.ReadDir(dir)
	fmt.Println(len(left), err)
	// Output:
	// <nil>
	// 0 <nil>
}

func ExampleCall() {
	ring, err := asyncfile.NewRing()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := asyncfile.Call(ctx, ring,
		func() (*os.File, error) { return os.Open(os.DevNull) }, // which a dead server may keep for ever
		func(f *os.File) { f.Close() })                          // where nobody waits for it any more
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	fmt.Println(f.Name())
	// Output: /dev/null
}
