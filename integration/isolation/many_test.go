package isolation

import (
	"fmt"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disk"
)

// TestManyHungServers has more file systems hang than a Ring has workers, each
// under a load. The one that does not goes on.
func TestManyHungServers(t *testing.T) {
	const count, writes = 20, 4 // fewer together than the queue has places
	var servers []*disk.Files
	for range count {
		servers = append(servers, disk.NewFiles(t))
	}
	b := kinds[0].Mount(t)
	for _, mode := range []struct {
		name string
		opts []asyncfile.Option
	}{
		{"direct", direct},
		{"buffered", buffered},
		{"direct on the pool", with(direct, pool)},
		{"buffered on AIO", with(buffered, aio)},
	} {
		t.Run(mode.name, func(t *testing.T) {
			fb := newFile(t, b, 0, mode.opts...)
			var files []*asyncfile.AsyncFile
			for _, s := range servers {
				files = append(files, newFile(t, s.Dir, 0, mode.opts...))
			}
			held := func() (n int) {
				for _, s := range servers {
					n += s.Held()
				}
				return n
			}
			answer := func() {
				for _, s := range servers {
					s.Answer()
				}
			}
			t.Cleanup(answer)
			for _, s := range servers {
				s.Hang()
			}
			cold := &winter{t, answer, func() bool { return held() > 0 }}
			done := make(chan error, count*writes)
			for _, f := range files {
				for i := range writes {
					go func() {
						_, err := f.WriteAt(block, int64(i)*blockSize).Wait()
						done <- err
					}()
				}
			}
			cold.hasSleeper()
			for i := range enough {
				if !cold.must(fmt.Sprintf("operation %d on B", i), func() {
					if err := operate(fb, i); err != nil {
						t.Error(err)
					}
				}) {
					break
				}
			}
			cold.thaw()
			for range count * writes {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestReadsBesideWrites reads a file of A while writes to another file of A
// sleep, as they do for as long as it is frozen. Reads do not.
func TestReadsBesideWrites(t *testing.T) {
	w := &world{a: kinds[0].Mount(t)}
	for _, l := range loads {
		t.Run(l.name, func(t *testing.T) {
			writes, reads := newFile(t, w.a, 0, direct...), newFile(t, w.a, 0, direct...)
			load := l.start(writes)
			load.progress(int64(l.writers))
			cold := w.freeze(t)
			cold.hasSleeper()
			for i := range enough {
				if !cold.must(fmt.Sprintf("read %d of A", i), func() {
					if _, err := reads.ReadAt(asyncfile.AlignedBuffer(blockSize), int64(i)*blockSize).Wait(); err != nil {
						t.Error(err)
					}
				}) {
					break
				}
			}
			cold.thaw()
			load.stop(t)
		})
	}
}

// TestTakeTurns freezes two file systems in turns, each under the same load, and
// expects the other to go on.
func TestTakeTurns(t *testing.T) {
	w := &world{a: kinds[0].Mount(t), b: kinds[0].Mount(t)}
	for _, l := range loads {
		t.Run(l.name, func(t *testing.T) {
			fa, fb := newFile(t, w.a, 0, direct...), newFile(t, w.b, 0, direct...)
			other := []*running{l.start(fa), l.start(fb)}
			for i, dir := range []string{w.a, w.b} {
				cold := (&world{a: dir}).freeze(t)
				cold.hasSleeper()
				going := other[1-i%2]
				goes := going.progress(10 * int64(l.writers))
				cold.thaw()
				if !goes {
					t.Error("the other file system waited for the thaw")
					break
				}
			}
			for _, r := range other {
				r.stop(t)
			}
		})
	}
}

// TestCloseWaits closes a file, and its Ring, while a write to it sleeps. Close
// returns when it is done.
func TestCloseWaits(t *testing.T) {
	w := &world{a: kinds[0].Mount(t)}
	for _, opts := range [][]asyncfile.Option{direct, with(direct, eventfd), with(direct, pool), buffered, with(buffered, aio)} {
		f := newFile(t, w.a, 0, with(opts, asyncfile.WithQueueDepth(64))...)
		cold := w.freeze(t)
		var write *asyncfile.Future
		if !cold.must("WriteAt", func() { write = f.WriteAt(block, 0) }) {
			continue
		}
		cold.hasSleeper()
		closed := make(chan error, 1)
		go func() { closed <- f.Close() }()
		cold.must("a write to a file that is being closed", func() {
			for err := error(nil); err == nil; {
				_, err, _ = f.WriteAt(nil, 0).Result()
			}
		})
		select {
		case err := <-closed:
			t.Errorf("Close returned before the write had ended: %v", err)
			closed <- err
		default:
		}
		cold.thaw()
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if n, err, ok := write.Result(); n != len(block) || err != nil || !ok {
			t.Errorf("after Close the write is %d, %v, %v", n, err, ok)
		}
	}
}

// TestFewWorkers has a Ring of few workers and places hang, and expects one more
// file system to go on all the same.
func TestFewWorkers(t *testing.T) {
	server := disk.NewFiles(t)
	w := &world{a: server.Dir, b: kinds[0].Mount(t), server: server}
	for workers := 1; workers <= 3; workers++ {
		for _, mode := range []struct {
			name string
			opts []asyncfile.Option
		}{{"direct", direct}, {"buffered", buffered}, {"direct on the pool", with(direct, pool)}, {"buffered on AIO", with(buffered, aio)}} {
			t.Run(fmt.Sprintf("%s, %d workers", mode.name, workers), func(t *testing.T) {
				ring, err := asyncfile.NewRing(asyncfile.WithWorkers(workers), asyncfile.WithQueueDepth(16), aio)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { ring.Close() })
				on := with(mode.opts, asyncfile.WithRing(ring))
				w.traffic(t, &load{writers: 12, step: writeAt}, newFile(t, w.a, 0, on...), newFile(t, w.b, 0, on...))
			})
		}
	}
}
