package asyncfile

import (
	"math"
	"os"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

func deviceBytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// TestBouncedWriteIsCopiedOnce: however many parts it has.
func TestBouncedWriteIsCopiedOnce(t *testing.T) {
	needDirect(t)
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		f := openTest(t, putFile(t, make([]byte, 4<<20)), os.O_RDWR, WithBackend(backend), WithDirect(DirectRequire))
		before := f.Ring().Stats().BytesCopied
		p := AlignedBuffer(4<<20 + 1)[1:]
		if aio.IsAligned(p, f.core.Align.Memory) {
			t.Skip("no memory is too little aligned")
		}
		wantResult(t, f.WriteAt(p, 0), len(p), nil)
		if n := f.Ring().Stats().BytesCopied - before; n != uint64(len(p)) {
			t.Errorf("%v: %d bytes copied, want %d", backend, n, len(p))
		}
	}
}

// TestReadBehindEveryFile: there is nothing to be read there.
func TestReadBehindEveryFile(t *testing.T) {
	needDirect(t)
	name := putFile(t, testPattern(100, 1))
	osf, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer osf.Close()
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		f := openTest(t, name, os.O_RDWR, WithBackend(backend), WithDirect(DirectRequire))
		for _, off := range []int64{math.MaxInt64, math.MaxInt64 - 5, math.MaxInt64 - 10, math.MaxInt64 - 4096, math.MaxInt64 - 4095, math.MaxInt64 - 10_000, 1 << 62} {
			for _, n := range []int{1, 5, 11, 5000} {
				gotN, got := f.ReadAt(make([]byte, n), off).Wait()
				wantN, want := osf.ReadAt(make([]byte, n), off)
				if gotN != wantN || (got == nil) != (want == nil) || got != nil && got.Error() != want.Error() {
					t.Errorf("%v %d bytes at %d: %d, %v; want %d, %v", backend, n, off, gotN, got, wantN, want)
				}
			}
		}
	}
}
