package asyncfile

import (
	"io"
	"math/rand/v2"
	"testing"
)

// Reads of a file of 32 MiB with O_DIRECT, one at a time, in pieces: the time is that of
// one piece. os.File has the page cache out of the way too.
func BenchmarkReaderAt(b *testing.B) {
	const size = 32 << 20
	rng := rand.New(rand.NewPCG(1, 1))
	for _, walk := range []struct {
		name string
		n    int
		next func(off int64) int64
	}{
		{"row,4KiB", 4096, func(off int64) int64 { return off + 4096 }},
		{"row,64KiB", 64 << 10, func(off int64) int64 { return off + 64<<10 }},
		{"stride,4KiB of 128KiB", 4096, func(off int64) int64 { return off + 128<<10 }},
		{"random,4KiB", 4096, func(int64) int64 { return rng.Int64N(size/4096) * 4096 }},
	} {
		for _, who := range []string{"ReaderAt", "File", "os.File"} {
			b.Run(walk.name+"/"+who, func(b *testing.B) {
				f, err := Open(readManyFile(b), WithDirect(DirectRequire))
				if err != nil {
					b.Skip("no O_DIRECT:", err)
				}
				defer f.Close()
				var r io.ReaderAt = f.File()
				switch who {
				case "ReaderAt":
					r = newReaderAt(b, f)
				case "os.File":
					r = f.core.OS()
				}
				p := AlignedBuffer(walk.n)
				b.SetBytes(int64(walk.n))
				b.ReportAllocs()
				off := int64(0)
				for b.Loop() {
					if _, err := r.ReadAt(p, off); err != nil {
						b.Fatal(err)
					}
					if off = walk.next(off); off > size-int64(walk.n) {
						off = 0
					}
				}
			})
		}
	}
}
