package asyncfile_test

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed-39be8cca/asyncfile"
)

// Give back the blocks of what a log has no use for any more. Offsets stay.
func ExampleAsyncFile_PunchHole() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name)
	check(err)
	defer file.Close()
	_, err = file.WriteAt(make([]byte, 64*blockSize), 0).Wait()
	check(err)

	err = file.PunchHole(0, 48*blockSize)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) { // where there are no holes, it takes more room
		check(err)
	}
	info, err := file.Stat()
	check(err)
	fmt.Println(info.Size()/blockSize, "blocks")
	// Output: 64 blocks
}

// Have a part of a file read as zeros before it is used again.
func ExampleAsyncFile_ZeroRange() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name)
	check(err)
	defer file.Close()
	_, err = file.WriteAt([]byte("segment 1"), 0).Wait()
	check(err)

	err = file.ZeroRange(0, 8)
	if errors.Is(err, errors.ErrUnsupported) {
		_, err = file.WriteAt(make([]byte, 8), 0).Wait()
	}
	check(err)
	data := make([]byte, 9)
	_, err = file.ReadAt(data, 0).Wait()
	fmt.Printf("%q, %v\n", data, err)
	// Output: "\x00\x00\x00\x00\x00\x00\x00\x001", <nil>
}

// Copy a file with its holes.
func ExampleAsyncFile_DataRanges() {
	name, remove := tempName()
	defer remove()
	const size = 64 << 20
	from, err := asyncfile.Create(name)
	check(err)
	defer from.Close()
	_, err = from.WriteAt([]byte("far away"), 32<<20).Wait()
	check(err)
	check(from.Truncate(size))

	to, err := asyncfile.Create(name + ".copy")
	check(err)
	defer to.Close()
	check(to.Truncate(size))
	copied := int64(0)
	for off, n := range from.DataRanges() {
		m, err := io.Copy(io.NewOffsetWriter(to.File(), off), io.NewSectionReader(from.File(), off, n))
		check(err)
		copied += m
	}
	found := make([]byte, 8)
	_, err = to.ReadAt(found, 32<<20).Wait()
	check(err)
	fmt.Printf("%q, copied less than all: %v\n", found, copied < size)
	// Output: "far away", copied less than all: true
}

// Say early what will be read.
func ExampleAsyncFile_Prefetch() {
	name, remove := tempName()
	defer remove()
	check(os.WriteFile(name, []byte("index and data"), 0o666))
	file, err := asyncfile.Open(name)
	check(err)
	defer file.Close()

	if err := file.Prefetch(10, 4); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		check(err)
	}
	// ... work on something else ...
	data := make([]byte, 4)
	_, err = file.ReadAt(data, 10).Wait()
	fmt.Printf("%q, %v\n", data, err)
	// Output: "data", <nil>
}

// Replace a small file that says which of the others are valid: old or new, whatever
// happens.
func ExampleReplaceFile() {
	name, remove := tempName()
	defer remove()
	for _, table := range []string{"000007.sst", "000008.sst"} {
		err := asyncfile.ReplaceFile(name, 0o644, func(w *asyncfile.Writer) error {
			_, err := fmt.Fprintln(w, table)
			return err
		})
		check(err)
	}
	data, err := os.ReadFile(name)
	fmt.Printf("%q, %v\n", data, err)
	// Output: "000008.sst\n", <nil>
}
