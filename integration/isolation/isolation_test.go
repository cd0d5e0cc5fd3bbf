package isolation

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

// enough is how many operations on B show that it goes on.
const enough = 100

// TestTraffic has a load on A while it is frozen. What goes on on B meanwhile has
// to go on as without.
func TestTraffic(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, l := range loads {
			t.Run(l.name, func(t *testing.T) {
				w.traffic(t, &l, newFile(t, w.a, 0, direct...), newFile(t, w.b, 0, direct...))
			})
		}
	})
}

// TestTrafficOfAllKinds does so with files of every kind on A and on B, on ext4,
// that share a Ring with few workers.
func TestTrafficOfAllKinds(t *testing.T) {
	modes := []struct {
		name string
		opts []asyncfile.Option
	}{
		{"direct", direct},
		{"buffered", buffered},
		{"direct on the pool", with(direct, asyncfile.WithBackend(asyncfile.BackendPool))},
		{"buffered on AIO", with(buffered, asyncfile.WithBackend(asyncfile.BackendAIO))},
	}
	l := &load{writers: most - 4, step: writeAt}
	w := &world{a: kinds[0].Mount(t), b: kinds[0].Mount(t)}
	for _, mode := range []asyncfile.WaitMode{asyncfile.WaitGetEvents, asyncfile.WaitEventFD} {
		for _, a := range modes {
			for _, b := range modes {
				if mode == asyncfile.WaitEventFD && a.name != "direct" && b.name != "direct" {
					continue // who waits for completions matters little here
				}
				t.Run(fmt.Sprintf("%v, %s and %s", mode, a.name, b.name), func(t *testing.T) {
					ring, err := asyncfile.NewRing(asyncfile.WithBackend(asyncfile.BackendAIO), asyncfile.WithWaitMode(mode), asyncfile.WithWorkers(4))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { ring.Close() })
					on := asyncfile.WithRing(ring)
					w.traffic(t, l, newFile(t, w.a, 0, with(a.opts, on)...), newFile(t, w.b, 0, with(b.opts, on)...))
				})
			}
		}
	}
}

// traffic compares B alone with B while A is frozen under a load: with what goes
// on on B when the freeze comes, and with what begins later.
func (w *world) traffic(t *testing.T, l *load, fa, fb *asyncfile.AsyncFile) {
	op := func(i int) error { return operate(fb, i) }
	alone := begin(t, op)
	before := alone.take(enough)
	if err := alone.end(); err != nil {
		t.Fatal(err)
	}
	load := l.start(fa)
	for i := range 2 + l.winters {
		var ops *traffic
		if i%2 == 0 {
			ops = begin(t, op)
		}
		load.progress(int64(l.writers))
		cold := w.freeze(t)
		cold.hasSleeper()
		if ops == nil {
			ops = begin(t, op)
		}
		var d durations
		if cold.must("B", func() { d = ops.take(enough) }) {
			t.Logf("B alone: %v; while A is frozen: %v", before, d)
			if d.median() > 20*before.median()+10*time.Millisecond {
				t.Error("B became much slower")
			}
		}
		cold.thaw()
		if err := ops.end(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	load.stop(t)
}

// operate makes the i-th operation on a file that nobody else uses, and checks
// what it reads.
func operate(f *asyncfile.AsyncFile, i int) error {
	p := asyncfile.AlignedBuffer(256 << 10)[:blockSize<<(i%4*2)] // the largest is too large to be done on its caller
	want := pattern(len(p))
	switch i % 6 {
	case 3: // what is there already
		_, err := f.WriteAt(want, 0).Wait()
		return err
	case 4:
		_, err := f.WriteAt(want[100:1100], 100).Wait()
		return err
	case 5:
		p, want = p[100:1100], want[100:1100]
		if _, err := f.ReadAt(p, 100).Wait(); err != nil {
			return err
		}
	default:
		if _, err := f.ReadAt(p, 0).Wait(); err != nil {
			return err
		}
	}
	if !bytes.Equal(p, want) {
		return errors.New("a read has something else than the file")
	}
	return nil
}
