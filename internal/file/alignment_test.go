package file

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

// TestUnusableAlignment: what AlignedBuffer would not be fit for is refused.
func TestUnusableAlignment(t *testing.T) {
	for _, memory := range []int{1, 4, 512, aio.BufferAlign} {
		if err := usable(aio.Alignment{Memory: memory, Offset: 1 << 30, ReadOffset: 512}); err != nil {
			t.Errorf("memory aligned to %d: %v", memory, err)
		}
	}
	err := usable(aio.Alignment{Memory: 2 * aio.BufferAlign, Offset: 512, ReadOffset: 512})
	if err == nil || !strings.Contains(err.Error(), "8192") {
		t.Errorf("memory aligned to 8192: %v", err)
	}
}

// TestWayOfOddUnit: of a file whose unit is no power of two.
func TestWayOfOddUnit(t *testing.T) {
	align := aio.Alignment{Memory: 1, Offset: 3 << 10, ReadOffset: 512}
	f := &Handle{Traits: Traits{Direct: true, Align: align}}
	for _, want := range []struct {
		off int64
		n   int
		way way
	}{{0, 3 << 10, straight}, {3 << 10, 6 << 10, straight}, {1 << 10, 2 << 10, cached}, {1 << 10, 3 << 10, cached}} {
		o := new(operation)
		o.set(f, &Call{Op: Op{Kind: Write, Buf: aio.Buffer(want.n), Offset: want.off}, To: make(slip, 1)}, new(ring.Request), 0)
		if got := f.wayOf(o); got != want.way {
			t.Errorf("%d bytes at %d go way %d, want %d", want.n, want.off, got, want.way)
		}
	}
}
