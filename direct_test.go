package asyncfile

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// createDirect creates a direct file in a temporary folder, or skips the test.
func createDirect(t *testing.T, opts ...Option) *AsyncFile {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "direct"), append([]Option{WithDirect(DirectPrefer)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if !f.Direct() {
		t.Skipf("not direct: %v", f.DirectReason())
	}
	return f
}

// TestDirectModel runs random requests, aligned in no way, against a slice.
func TestDirectModel(t *testing.T) {
	for _, backend := range []Backend{BackendAuto, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			f := createDirect(t, WithBackend(backend))
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			const limit = 200_000
			var model []byte
			write := func(off int64, p []byte) {
				if end := int(off) + len(p); end > len(model) {
					model = append(model, make([]byte, end-len(model))...)
				}
				copy(model[off:], p)
			}
			fresh := func(n int) []byte {
				p := AlignedBuffer(n + 1024)[rng.IntN(3)*rng.IntN(513):][:n]
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				return p
			}
			cut := func(p []byte) (bufs [][]byte) {
				for len(p) > 0 {
					n := rng.IntN(len(p) + 1)
					bufs = append(bufs, p[:n])
					p = p[n:]
				}
				return bufs
			}
			size := func() int {
				if rng.IntN(3) == 0 {
					return rng.IntN(16) * 512
				}
				return rng.IntN(20_000)
			}
			for step := range 3000 {
				off, n := int64(rng.IntN(limit)), size()
				if rng.IntN(3) == 0 {
					off &^= 511
				}
				what := ""
				switch rng.IntN(8) {
				case 0, 1:
					p := fresh(n)
					what = fmt.Sprintf("write %d at %d", n, off)
					if got, err := f.WriteAt(p, off).Wait(); got != n || err != nil {
						t.Fatal(step, what, got, err)
					}
					if n > 0 {
						write(off, p)
					}
				case 2:
					p := fresh(n)
					what = fmt.Sprintf("writev %d at %d", n, off)
					if got, err := f.WritevAt(cut(p), off).Wait(); got != n || err != nil {
						t.Fatal(step, what, got, err)
					}
					if n > 0 {
						write(off, p)
					}
				case 3:
					if len(model) > limit*2 {
						continue
					}
					p := fresh(n)
					a := f.Append(p)
					what = fmt.Sprintf("append %d", n)
					if got, err := a.Wait(); got != n || err != nil || n > 0 && a.Offset() != int64(len(model)) {
						t.Fatal(step, what, got, err, a.Offset(), len(model))
					}
					write(int64(len(model)), p)
				case 4:
					if rng.IntN(10) == 0 {
						what = fmt.Sprintf("truncate %d", off)
						if err := f.Truncate(off); err != nil {
							t.Fatal(step, what, err)
						}
						write(off, nil)
						model = model[:off]
					}
				default:
					p := fresh(n)
					what = fmt.Sprintf("read %d at %d of %d", n, off, len(model))
					var got int
					var err error
					if rng.IntN(2) == 0 {
						got, err = f.ReadAt(p, off).Wait()
					} else {
						got, err = f.ReadvAt(cut(p), off).Wait()
					}
					want := max(min(n, len(model)-int(off)), 0)
					var wantErr error
					if want < n {
						wantErr = io.EOF
					}
					if got != want || err != wantErr || want > 0 && !bytes.Equal(p[:got], model[off:][:got]) {
						t.Fatal(step, what, got, err, "want", want, wantErr)
					}
				}
				if info, err := f.Stat(); err != nil || info.Size() != int64(len(model)) {
					t.Fatal(step, what, "size", info.Size(), "want", len(model), err)
				}
			}
			disk, err := os.ReadFile(f.Name())
			if err != nil || !bytes.Equal(disk, model) {
				t.Fatal("file differs from the model", err)
			}
			t.Logf("%+v", f.ring.Stats())
		})
	}
}

// TestDirectNeighbours has goroutines write each its own bytes of shared blocks,
// in every way at once, and expects all of them.
func TestDirectNeighbours(t *testing.T) {
	f := createDirect(t)
	const writers, rounds, size = 16, 100, 64 << 10
	want := make([]byte, size)
	if _, err := f.WriteAt(want, 0).Wait(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			// Of each 2048 bytes the even writers own 512 whole ones, the odd ones
			// some in between.
			off, n := w/2*4096, 2048
			if w%2 == 1 {
				off, n = off+2048+rng.IntN(100), 1500
			}
			p := AlignedBuffer(n)
			for r := range rounds {
				for i := range p {
					p[i] = byte(w*rounds + r)
				}
				if _, err := f.WriteAt(p, int64(off)).Wait(); err != nil {
					t.Error(err)
				}
				got := AlignedBuffer(n)
				if _, err := f.ReadAt(got, int64(off)).Wait(); err != nil || !bytes.Equal(got, p) {
					t.Errorf("writer %d round %d reads back something else: %v", w, r, err)
				}
			}
			copy(want[off:], p)
		}()
	}
	wg.Wait()
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatal("bytes of some writers were lost", err)
	}
}
