package asyncfiletest_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/asyncfiletest"
)

// A model is what a file holds, and what of it is durable.
type model struct{ now, durable []byte }

func (m *model) write(p []byte, off int) {
	if end := off + len(p); end > len(m.now) {
		m.resize(end)
	}
	copy(m.now[off:], p)
}

func (m *model) resize(size int) {
	grown := make([]byte, size)
	copy(grown, m.now)
	m.now = grown
}

func (m *model) sync() { m.durable = bytes.Clone(m.now) }

// TestModel: with no fault a file does what a file does, and a crash leaves what was
// synced, in a walk drawn from a seed over every setting. Whatever a crash keeps, each
// byte of it is either the old or the new one.
func TestModel(t *testing.T) {
	for _, s := range settings() {
		if s.appends {
			continue
		}
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s, seed %d", s.name, seed), func(t *testing.T) {
				start := pattern(fileSize)
				ring, f := s.open(t, start)
				w := &walk{T: t, rnd: rand.New(rand.NewPCG(seed, 1)), ring: ring, f: f}
				w.m = model{now: bytes.Clone(start), durable: bytes.Clone(start)}
				for range 80 {
					w.step()
				}
			})
		}
	}
}

// A walk is one file, and its model.
type walk struct {
	*testing.T
	rnd  *rand.Rand
	ring *asyncfiletest.Ring
	f    *asyncfile.AsyncFile
	m    model
}

// random returns bytes, in odd memory half of the time.
func (w *walk) random() []byte {
	p := asyncfile.AlignedBuffer(4 * blockSize)
	for i := range p {
		p[i] = byte(w.rnd.Uint32())
	}
	n := 1 + w.rnd.IntN(3*blockSize)
	if w.rnd.IntN(2) == 0 {
		n = blockSize * (1 + n/blockSize)
	}
	return p[w.rnd.IntN(2):][:n]
}

func (w *walk) offset() int {
	off := w.rnd.IntN(len(w.m.now) + blockSize)
	if w.rnd.IntN(2) == 0 {
		off -= off % blockSize
	}
	return off
}

func (w *walk) must(n int, err error, want int) {
	w.Helper()
	if n != want || err != nil {
		w.Fatalf("%d, %v; want %d", n, err, want)
	}
}

func (w *walk) step() {
	switch w.rnd.IntN(9) {
	case 0, 1:
		p, off := w.random(), w.offset()
		n, err := w.f.WriteAt(p, int64(off)).Wait()
		w.must(n, err, len(p))
		w.m.write(p, off)
	case 2:
		p, off := w.random(), w.offset()
		n, err := w.f.File().WriteAt(p, int64(off))
		w.must(n, err, len(p))
		w.m.write(p, off)
	case 3:
		p := w.random()
		n, err := w.f.Append(p).Wait()
		w.must(n, err, len(p))
		w.m.write(p, len(w.m.now))
	case 4, 5:
		w.read()
	case 6:
		size := w.rnd.IntN(len(w.m.now) + 2*blockSize)
		w.must(0, w.f.Truncate(int64(size)), 0)
		w.m.resize(size)
	case 7:
		n, err := w.f.Datasync().Wait()
		w.must(n, err, 0)
		w.m.sync()
	case 8:
		w.crash()
	}
}

func (w *walk) read() {
	p, off := w.random(), w.offset()
	want := w.m.now[min(off, len(w.m.now)):min(off+len(p), len(w.m.now))]
	n, err := w.f.ReadAt(p, int64(off)).Wait()
	if w.rnd.IntN(2) == 0 {
		n, err = w.f.File().ReadAt(p, int64(off))
	}
	if len(want) < len(p) && err == io.EOF {
		err = nil
	}
	w.must(n, err, len(want))
	if !bytes.Equal(p[:n], want) {
		w.Fatalf("a read of %d bytes at %d is wrong", n, off)
	}
}

func (w *walk) crash() {
	clone := func(keep float64, seed uint64) []byte {
		w.Helper()
		dir := w.ring.CrashClone(filepath.Dir(w.f.Name()), asyncfiletest.Crash{Keep: keep, Seed: seed})
		content, err := os.ReadFile(filepath.Join(dir, filepath.Base(w.f.Name())))
		if err != nil {
			w.Fatal(err)
		}
		return content
	}
	if !bytes.Equal(clone(0, 0), w.m.durable) {
		w.Fatal("a crash that keeps nothing left something else than what was synced")
	}
	if !bytes.Equal(clone(1, 0), w.m.now) {
		w.Fatal("a crash that keeps everything lost something")
	}
	seed := w.rnd.Uint64()
	torn := clone(0.5, seed)
	if !bytes.Equal(torn, clone(0.5, seed)) {
		w.Fatal("the same seed has another crash")
	}
	at := func(p []byte, i int) byte {
		if i < len(p) {
			return p[i]
		}
		return 0
	}
	for i, b := range torn {
		if b != at(w.m.now, i) && b != at(w.m.durable, i) {
			w.Fatalf("byte %d of a torn crash is neither old nor new", i)
		}
	}
}
