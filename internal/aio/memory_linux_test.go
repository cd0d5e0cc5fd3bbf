package aio

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// TestHugeSlice looks into /proc/self/smaps for the mappings of a buffer: all of it
// has the flag "hg", advice for huge pages.
func TestHugeSlice(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no huge pages:", err)
	}
	for _, size := range []int{0, 1, HugePage - 1, HugePage, HugePage + 1, 5*HugePage + 4096} {
		p := HugeSlice(size)
		if len(p) != size || cap(p) != size || !IsAligned(p, HugePage) {
			t.Errorf("HugeSlice(%d) has %d bytes of %d, aligned %v", size, len(p), cap(p), IsAligned(p, HugePage))
		}
		first := uintptr(unsafe.Pointer(unsafe.SliceData(p)))
		if n := advised(t, first, first+uintptr(size)); n != size {
			t.Errorf("HugeSlice(%d): advice is there for %d bytes", size, n)
		}
	}
}

// advised returns for how many bytes from first to end there is advice.
func advised(t *testing.T, first, end uintptr) (n int) {
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer smaps.Close()
	var from, to uintptr
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		var a, b uintptr
		if got, _ := fmt.Sscanf(lines.Text(), "%x-%x", &a, &b); got == 2 {
			from, to = max(a, first), min(b, end)
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && from < to && slices.Contains(strings.Fields(flags), "hg") {
			n += int(to - from)
		}
	}
	return n
}
