package model

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// TestGrowthBesidePreallocate makes a file larger by a write that goes through
// the page cache and by Preallocate, at once, and reads past its end.
//
// XFS reserves space behind such a write. fallocate(2) between the write and its
// write-back gives blocks to the part that it is asked for, and leaves the rest
// reserved with no page that would ever be written there: a direct read that
// comes across it fails with EIO, for good (iomap_dio_iter, fs/iomap/direct-io.c).
func TestGrowthBesidePreallocate(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	for _, fs := range disks.All {
		if fs.Name != "ext4" && !strings.HasPrefix(fs.Name, "xfs") {
			continue
		}
		for _, backend := range []asyncfile.Backend{asyncfile.BackendAuto, asyncfile.BackendPool} {
			t.Run(fmt.Sprint(fs.Name, "/", backend), func(t *testing.T) {
				dir := fs.Mount(t)
				for i := range rounds {
					growBeside(t, filepath.Join(dir, fmt.Sprint(i)), backend, i%2 == 1)
					if t.Failed() {
						t.Fatalf("in round %d", i)
					}
				}
			})
		}
	}
}

func growBeside(t *testing.T, name string, backend asyncfile.Backend, late bool) {
	f, err := asyncfile.Create(name, asyncfile.WithBackend(backend), asyncfile.WithDirect(asyncfile.DirectRequire))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const first, second, from, least = 742_605, 653_324, 415_943, 1_109_267
	p := make([]byte, first)
	if n, err := f.WriteAt(p, 0).Wait(); n != first || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	grows := f.WriteAt(p[:second], from)
	for late { // until the page cache has it, and the disk does not
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		late = info.Size() == first
	}
	if err := f.Preallocate(least); err != nil {
		t.Fatal(err)
	}
	if n, err := grows.Wait(); n != second || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	if n, err := f.ReadAt(asyncfile.AlignedBuffer(2<<20), 0).Wait(); n != least || err != io.EOF {
		t.Errorf("a read past the end of %d bytes = %d, %v", least, n, err)
	}
}
