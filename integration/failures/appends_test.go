package failures

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// TestAppendOffset appends to a file with O_APPEND in both ways at once, and
// looks for each record where its Future says that it is.
func TestAppendOffset(t *testing.T) {
	const writers, each, length = 4, 10000, 16
	record := func(writer, i int) []byte {
		p := make([]byte, length)
		binary.LittleEndian.PutUint64(p, uint64(writer)+1)
		binary.LittleEndian.PutUint64(p[8:], uint64(i)+1)
		return p
	}
	run := func(t *testing.T, dir string, opts ...asyncfile.Option) {
		name := filepath.Join(dir, "log")
		f, err := asyncfile.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var offsets [writers][each]int64
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() { // as an AsyncFile
				for i := range each {
					future := f.Append(record(w, i))
					if _, err := future.Wait(); err != nil {
						t.Error(err)
						return
					}
					offsets[w][i] = future.Offset()
				}
			})
			wg.Go(func() { // as a File
				for i := range each {
					if _, err := f.File().Write(record(writers+w, i)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		all, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 2*writers*each*length {
			t.Errorf("%d bytes of %d records of %d", len(all), 2*writers*each, length)
		}
		wrong := 0
		for w := range offsets {
			for i, off := range offsets[w] {
				if off < 0 || off+length > int64(len(all)) || string(all[off:off+length]) != string(record(w, i)) {
					wrong++
				}
			}
		}
		if wrong > 0 {
			t.Errorf("%d of %d records are not where Future.Offset says", wrong, writers*each)
		}
		if at, err := f.File().Seek(0, 1); err != nil || at != int64(len(all)) {
			t.Logf("the cursor is at %d of %d, %v", at, len(all), err)
		}
	}
	for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
		t.Run(fmt.Sprint("buffered on ", backend), func(t *testing.T) { run(t, t.TempDir(), asyncfile.WithBackend(backend)) })
		t.Run(fmt.Sprint("direct on ", backend), func(t *testing.T) {
			dir := disks.FS{Name: "tmpfs", Size: 8 << 20}.Mount(t) // a device would take long for so many odd writes
			run(t, dir, asyncfile.WithBackend(backend), asyncfile.WithDirect(asyncfile.DirectRequire))
		})
	}
}

// TestOverwritesWithoutFallocate has a file grow where there is no fallocate. To
// overwrite it then is asynchronous, as on any other file.
func TestOverwritesWithoutFallocate(t *testing.T) {
	const count, size = 5120, 4096
	for _, fs := range []disks.FS{
		{Name: "ext4-indirect", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-O", "^extent,^64bit"}, Size: 64 << 20},
		{Name: "ext2", Mkfs: []string{"mkfs.ext2", "-q", "-F"}, Size: 64 << 20},
	} {
		grow := map[string]func(f *asyncfile.AsyncFile, p []byte, i int) *asyncfile.Future{
			"WriteAt": func(f *asyncfile.AsyncFile, p []byte, i int) *asyncfile.Future { return f.WriteAt(p, int64(i)*size) },
			"Append":  func(f *asyncfile.AsyncFile, p []byte, i int) *asyncfile.Future { return f.Append(p) },
			"File.Write": func(f *asyncfile.AsyncFile, p []byte, i int) *asyncfile.Future {
				f.File().Write(p)
				return f.ReadAt(make([]byte, size), int64(i)*size)
			},
		}
		for route, begin := range grow {
			t.Run(fs.Name+"/"+route, func(t *testing.T) {
				ring, err := asyncfile.NewRing(asyncfile.WithBackend(asyncfile.BackendAIO))
				if err != nil {
					t.Fatal(err)
				}
				defer ring.Close()
				f, err := asyncfile.OpenFile(filepath.Join(fs.Mount(t), "file"), os.O_RDWR|os.O_CREATE, 0o600,
					asyncfile.WithRing(ring), asyncfile.WithDirect(asyncfile.DirectRequire))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				p := asyncfile.AlignedBuffer(size)
				all := func(begin func(f *asyncfile.AsyncFile, p []byte, i int) *asyncfile.Future) {
					t.Helper()
					var futures []*asyncfile.Future
					for i := range count {
						futures = append(futures, begin(f, p, i))
					}
					if err := asyncfile.WaitAll(futures...); err != nil {
						t.Fatal(err)
					}
				}
				all(begin)
				before := ring.Stats()
				all(func(f *asyncfile.AsyncFile, p []byte, i int) *asyncfile.Future { return f.WriteAt(p, int64(i)*size) })
				after := ring.Stats()
				if offloaded := after.Offloaded - before.Offloaded; offloaded > count/100 {
					t.Errorf("%d of %d overwrites went to workers, of a file that %s has made so large", offloaded, count, route)
				}
			})
		}
	}
}
