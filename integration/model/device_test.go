package model

import (
	"bytes"
	"os"
	"sync"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// TestDevice has goroutines write each its own bytes of shared blocks of a block
// device, aligned and not, and expects all of them.
func TestDevice(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		fs := disks.FS{Name: "device", Sector: sector, Size: 16 << 20}
		device := fs.Loop(t)
		f, err := asyncfile.OpenFile(device, os.O_RDWR, 0, asyncfile.WithDirect(asyncfile.DirectRequire))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		// Each pair shares a stretch of whole blocks, of which the first owns all
		// but the middle of the last.
		const pairs, rounds, stretch = 16, 300, 8192
		var wg sync.WaitGroup
		each := func(off, n, seed int) {
			defer wg.Done()
			p, got := asyncfile.AlignedBuffer(n), asyncfile.AlignedBuffer(n)
			for r := range rounds {
				for i := range p {
					p[i] = byte(seed + r)
				}
				if _, err := f.WriteAt(p, int64(off)).Wait(); err != nil {
					t.Error(err)
					return
				}
				if _, err := f.ReadAt(got, int64(off)).Wait(); err != nil || !bytes.Equal(got, p) {
					t.Errorf("sectors of %d: round %d of %d at %d reads back something else: %v", sector, r, n, off, err)
					return
				}
			}
		}
		for i := range pairs {
			// In one page, where blocks are smaller than that; in the same stretch
			// without a common byte, in any case.
			wg.Add(2)
			go each(i*stretch, sector, i)
			go each(i*stretch+sector+100, 1000, i+100)
		}
		wg.Wait()
	}
}
