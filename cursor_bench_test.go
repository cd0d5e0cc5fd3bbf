package asyncfile

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
)

// BenchmarkCursor compares calls of 4 KiB in the page cache with those of an
// os.File: what the turns cost.
func BenchmarkCursor(b *testing.B) {
	const size = 64 << 20
	name := putFile(b, nil)
	if err := os.Truncate(name, size); err != nil {
		b.Fatal(err)
	}
	osf, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer osf.Close()
	if _, err := io.Copy(io.Discard, osf); err != nil { // into the page cache
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		call func(f osMethods, p []byte) error
	}{
		{"ReadAt", func(f osMethods, p []byte) error { _, err := f.ReadAt(p, 4096); return err }},
		{"WriteAt", func(f osMethods, p []byte) error { _, err := f.WriteAt(p, 4096); return err }},
		{"Read", func(f osMethods, p []byte) error {
			_, err := f.Read(p)
			if err == io.EOF {
				_, err = f.Seek(0, io.SeekStart)
			}
			return err
		}},
		{"Write", func(f osMethods, p []byte) error {
			_, err := f.Write(p)
			return err
		}},
	} {
		for _, goroutines := range []int{1, 4} {
			for _, f := range []osMethods{osf, openTest(b, name, os.O_RDWR).File()} {
				b.Run(fmt.Sprintf("%s/%d/%T", c.name, goroutines, f), func(b *testing.B) {
					f.Seek(0, io.SeekStart)
					var all sync.WaitGroup
					for range goroutines {
						all.Go(func() {
							p := AlignedBuffer(4096)
							for i := range b.N / goroutines {
								if i%4000 == 3999 {
									f.Seek(0, io.SeekStart)
								}
								if err := c.call(f, p); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					all.Wait()
				})
			}
		}
	}
}
