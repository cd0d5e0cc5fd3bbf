package asyncfile_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/seed-39be8cca/asyncfile"
)

// Many parts of a file, each with its result, in the order in which they were asked
// for. The first two touch, and are one read.
func ExampleAsyncFile_ReadMany() {
	name, remove := tempName()
	defer remove()
	check(os.WriteFile(name, []byte("0123456789abcdef"), 0o600))
	file, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	ranges := []asyncfile.Range{{Offset: 0, Length: 4}, {Offset: 4, Length: 2}, {Offset: 10, Length: 3}, {Offset: 14, Length: 8}}
	for c, err := range file.ReadMany(context.Background(), slices.Values(ranges)) {
		if err != nil && err != io.EOF {
			check(err)
		}
		fmt.Printf("%d: %q %v\n", c.Index, c.Data, err) // Data is valid until the next step
	}
	// Output:
	// 0: "0123" <nil>
	// 1: "45" <nil>
	// 2: "abc" <nil>
	// 3: "ef" EOF
}

// The whole of a large file in pieces, as they come, in 4 MiB of memory.
func ExampleWithAnyOrder() {
	const pieces, size = 1000, 64 << 10
	name, remove := tempName()
	defer remove()
	check(os.WriteFile(name, bytes.Repeat([]byte("x"), pieces*size), 0o600))
	file, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	all := func(yield func(asyncfile.Range) bool) {
		for i := range int64(pieces) {
			if !yield(asyncfile.Range{Offset: i * size, Length: size}) {
				return
			}
		}
	}
	total := 0
	for c, err := range file.ReadMany(context.Background(), all,
		asyncfile.WithAnyOrder(), asyncfile.WithReadMemory(4<<20)) {
		check(err)
		total += len(c.Data)
	}
	fmt.Println(total)
	// Output: 65536000
}

// Package archive/zip reads small pieces, one at a time. With O_DIRECT each would be
// a wait for the device: here most of them are in memory already.
func ExampleNewReaderAt() {
	name, remove := tempName()
	defer remove()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	entry, err := w.Create("hello.txt")
	check(err)
	_, err = entry.Write(bytes.Repeat([]byte("hello, world\n"), 10_000))
	check(err)
	check(w.Close())
	check(os.WriteFile(name, archive.Bytes(), 0o600))

	file, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()
	ahead, err := asyncfile.NewReaderAt(file)
	check(err)
	defer ahead.Close() // before the file

	r, err := zip.NewReader(ahead, ahead.Size())
	check(err)
	for _, f := range r.File {
		content, err := f.Open()
		check(err)
		n, err := io.Copy(io.Discard, content)
		check(err)
		fmt.Println(f.Name, n)
	}
	// Output: hello.txt 130000
}
