package asyncfile

import (
	"errors"
	"math"
	"os"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/vec/vectest"
)

// TestFaultKeepsCache: what a caller does wrong makes later reads no slower.
func TestFaultKeepsCache(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(4*testBlock, 1)), os.O_RDWR)
	p := make([]byte, testBlock)
	inline := func() uint64 {
		before := f.Ring().Stats().Inline
		if _, err := f.ReadAt(p, 0).Wait(); err != nil {
			t.Fatal(err)
		}
		return f.Ring().Stats().Inline - before
	}
	if inline() != 1 {
		t.Skip("nothing is read from the page cache at once")
	}
	if _, err := f.ReadAt(vectest.Reserved(t, testBlock), 0).Wait(); err == nil {
		t.Fatal("no EFAULT")
	}
	if _, err := f.ReadAt(p, math.MaxInt64-5).Wait(); !errors.Is(err, syscall.EINVAL) {
		t.Fatal(err)
	}
	if inline() != 1 {
		t.Error("errors of callers have ended reading from the page cache")
	}
}

// TestAppendOfNothing has what a Write of nothing has, which asks the kernel.
func TestAppendOfNothing(t *testing.T) {
	name := putFile(t, testPattern(100, 1))
	for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND} {
		osf, err := os.OpenFile(name, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer osf.Close()
		_, got := openTest(t, name, flag).Append(nil).Wait()
		_, want := osf.Write(nil)
		sameError(t, got, want)
	}
}
