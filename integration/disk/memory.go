package disk

import (
	"testing"

	"golang.org/x/sys/unix"
)

// memory is that of a disk: zeros, which take no room until they are written to,
// and none of the garbage collector's concern.
type memory []byte

func newMemory(t testing.TB, size int64) memory {
	t.Helper()
	m, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}
