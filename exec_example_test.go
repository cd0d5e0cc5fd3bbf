package asyncfile_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/seed-39be8cca/asyncfile"
)

// A child reads a file itself, from where the parent is, and the parent goes on
// where the child stopped.
func ExampleFile_Dup() {
	async, err := asyncfile.CreateTemp("", "dup")
	check(err)
	defer os.Remove(async.Name())
	defer async.Close()
	f := async.File()
	_, err = f.WriteString("for the parent|for the child|for the parent again")
	check(err)
	_, err = f.Seek(15, io.SeekStart)
	check(err)

	stdin, err := f.Dup()
	check(err)
	defer stdin.Close()
	cmd := exec.Command("dd", "bs=13", "count=1", "status=none")
	cmd.Stdin = stdin // the descriptor itself, not a pipe and a goroutine
	out, err := cmd.Output()
	check(err)
	rest, err := io.ReadAll(f)
	check(err)
	fmt.Printf("%s, %s\n", out, rest)
	// Output: for the child, |for the parent again
}
