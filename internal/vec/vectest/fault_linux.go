package vectest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// ReadOnly returns a page that begins with a copy of data and that cannot be
// written.
func ReadOnly(tb testing.TB, data []byte) []byte {
	p := mapping(tb, -1, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	copy(p, data)
	protect(tb, p, unix.PROT_READ)
	return p
}

// PastEnd returns a mapping of a file that ends in the middle of it: the first n
// pages can be accessed, the n pages behind them cannot.
func PastEnd(tb testing.TB, n int) []byte {
	size := n * os.Getpagesize()
	name := filepath.Join(tb.TempDir(), "mapped")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		tb.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	return mapping(tb, int(f.Fd()), 2*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Hole returns n pages, n more that cannot be accessed, and n that can.
func Hole(tb testing.TB, n int) []byte {
	size := n * os.Getpagesize()
	p := mapping(tb, -1, 3*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	protect(tb, p[size:2*size], unix.PROT_NONE)
	return p
}

// Reserved returns n bytes of which none can be accessed: a huge buffer that
// takes no memory.
func Reserved(tb testing.TB, n int) []byte {
	return mapping(tb, -1, n, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
}

func mapping(tb testing.TB, fd, n, prot, flags int) []byte {
	tb.Helper()
	p, err := unix.Mmap(fd, 0, n, prot, flags)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := unix.Munmap(p); err != nil {
			tb.Error(err)
		}
	})
	return p
}

func protect(tb testing.TB, p []byte, prot int) {
	tb.Helper()
	if err := unix.Mprotect(p, prot); err != nil {
		tb.Fatal(err)
	}
}
