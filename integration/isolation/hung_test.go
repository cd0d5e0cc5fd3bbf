package isolation

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// newHungWorld returns a world in which it is the device of A that hangs while
// it is frozen. Its queue has few places: who asks for more sleeps in io_submit.
func newHungWorld(t *testing.T) *world {
	t.Helper()
	beneath := disks.FS{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Size: 160 << 20}.Mount(t)
	a := kinds[0]
	a.Images = beneath
	w := &world{a: a.Mount(t), b: kinds[0].Mount(t), beneath: beneath}
	w.narrow(t)
	return w
}

// narrow gives the device of A few places.
func (w *world) narrow(t *testing.T) {
	disks.SetQueue(t, w.a, "nr_requests", "4")
	disks.SetQueue(t, w.a, "nomerges", "2")
}

// TestHungDevice has loads on A whose device hangs.
func TestHungDevice(t *testing.T) {
	w := newHungWorld(t)
	for _, l := range loads {
		t.Run(l.name, func(t *testing.T) {
			w.traffic(t, &l, newFile(t, w.a, 0, direct...), newFile(t, w.b, 0, direct...))
		})
		if l.winters > 0 {
			continue
		}
		t.Run(l.name+" on the pool", func(t *testing.T) {
			w.traffic(t, &l, newFile(t, w.a, 0, with(direct, pool)...), newFile(t, w.b, 0, with(direct, pool)...))
		})
	}
}

// TestHungReads reads, from a device that hangs, more than its queue and the
// workers take: direct, buffered, and where the kernel has yet to read where the
// data is, which it does inside io_submit.
func TestHungReads(t *testing.T) {
	w := newHungWorld(t)
	modes := []struct {
		name string
		opts []asyncfile.Option
	}{
		{"direct", direct},
		{"direct with an eventfd", with(direct, eventfd)},
		{"direct on the pool", with(direct, pool)},
		// Not buffered on the pool: there ReadAt looks into the page cache on its
		// caller (preadv2(2) with RWF_NOWAIT), and ext4 sleeps in that for metadata
		// that is not in memory.
		{"buffered on AIO", with(buffered, aio)},
	}
	const files = 4
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			var names []string
			for i := range files {
				names = append(names, scattered(t, filepath.Join(w.a, fmt.Sprint("scattered", i))))
			}
			disks.Remount(t, w.a)
			w.narrow(t)
			var open []*asyncfile.AsyncFile
			for _, name := range names {
				f, err := asyncfile.OpenFile(name, os.O_RDWR, 0, mode.opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				open = append(open, f)
			}
			fb := newFile(t, w.b, 0, mode.opts...)
			cold := w.freeze(t)
			cold.hasSleeper()
			var reads []*asyncfile.Future
			ok := true
			for i := range 12 {
				for j, f := range open {
					ok = ok && cold.must(fmt.Sprintf("ReadAt %d of file %d", i, j), func() {
						reads = append(reads, f.ReadAt(asyncfile.AlignedBuffer(blockSize), int64(2*i)*blockSize))
					})
				}
			}
			if ok {
				ok = cold.must("B", func() {
					for i := range enough {
						if err := operate(fb, i); err != nil {
							t.Error(err)
						}
					}
				})
			}
			cold.thaw()
			if err := asyncfile.WaitAll(reads...); err != nil {
				t.Error(err)
			}
		})
	}
}

// scattered makes a file of blocks that do not follow one another, so that where
// they are takes more than fits beside its other metadata.
func scattered(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	t.Cleanup(func() { os.Remove(name) })
	for i := range 64 {
		if _, err := f.WriteAt(block, int64(2*i)*blockSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return name
}
