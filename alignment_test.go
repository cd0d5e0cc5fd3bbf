package asyncfile

import "testing"

// TestOddUnit writes and reads a file whose unit is said to be no power of two, as
// that of XFS on a realtime device with such extents.
func TestOddUnit(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		f := createDirect(t, opts...)
		if f.core.Align.Offset > 512 {
			t.Skipf("the real unit is %d", f.core.Align.Offset)
		}
		f.core.Align.Offset = 3 << 10
		wantContents(t, f, writeEverywhere(t, f, 20))
	})
}
