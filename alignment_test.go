package asyncfile

import (
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// TestOfWholeBlocks compares with the definition, for units that are powers of
// two and units that are not.
func TestOfWholeBlocks(t *testing.T) {
	for _, unit := range []int{1, 2, 3, 4, 5, 6, 7, 8, 12, 512, 4096, 12 << 10, 28 << 10, 1 << 20, 3 << 20} {
		for a := range 40 {
			for b := range 40 {
				for _, odd := range []int{0, 1, unit / 2, unit - 1} {
					off, n := a*max(unit/4, 1)+odd, b*max(unit/4, 1)
					want := off/unit*unit == off && (off+n)/unit*unit == off+n
					if got := ofWholeBlocks(int64(off), n, unit); got != want {
						t.Fatalf("%d bytes at %d are of whole blocks of %d: %v, want %v", n, off, unit, got, want)
					}
				}
			}
		}
	}
}

// TestOddUnit writes and reads a file whose unit is said to be no power of two, as
// that of XFS on a realtime device with such extents.
func TestOddUnit(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		f := createDirect(t, opts...)
		if f.align.Offset > 512 {
			t.Skipf("the real unit is %d", f.align.Offset)
		}
		f.align.Offset = 3 << 10
		wantContents(t, f, writeEverywhere(t, f, 20))
		wants := []struct {
			off int64
			n   int
			way way
		}{{0, 3 << 10, straight}, {3 << 10, 6 << 10, straight}, {1 << 10, 2 << 10, cached}, {1 << 10, 3 << 10, cached}}
		for _, want := range wants {
			o := new(operation)
			o.set(f, &call{op: Op{Kind: OpWrite, Buf: AlignedBuffer(want.n), Offset: want.off}}, new(ring.Request), 0)
			if got := f.wayOf(o); got != want.way {
				t.Errorf("%d bytes at %d go way %d, want %d", want.n, want.off, got, want.way)
			}
		}
	})
}

// TestUnusableAlignment: what AlignedBuffer would not be fit for is refused.
func TestUnusableAlignment(t *testing.T) {
	for _, memory := range []int{1, 4, 512, bufferAlign} {
		if err := usable(aio.Alignment{Memory: memory, Offset: 1 << 30, ReadOffset: 512}); err != nil {
			t.Errorf("memory aligned to %d: %v", memory, err)
		}
	}
	err := usable(aio.Alignment{Memory: 2 * bufferAlign, Offset: 512, ReadOffset: 512})
	if err == nil || !strings.Contains(err.Error(), "8192") {
		t.Errorf("memory aligned to 8192: %v", err)
	}
}
