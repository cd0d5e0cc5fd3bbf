package asyncfile

import (
	"os"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// listed returns what a list holds, and empties it.
func listed(l requestQueue) (all []*request) {
	for q := l.pop(); q != nil; q = l.pop() {
		all = append(all, q)
	}
	return all
}

func wantList(t *testing.T, what string, l requestQueue, want ...*request) {
	t.Helper()
	got := listed(l)
	if len(got) != len(want) {
		t.Fatalf("%s: %d requests, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: another request at %d", what, i)
		}
	}
}

func TestBarrier(t *testing.T) {
	newWrite := func(b *barrier) *request {
		q := new(request)
		b.enter(q)
		return q
	}
	t.Run("nothing to wait for", func(t *testing.T) {
		b := newBarrier()
		if b.hold(new(request)) {
			t.Error("a Sync is held though nothing was written")
		}
		b.leave(newWrite(&b).epoch)
		if b.hold(new(request)) {
			t.Error("a Sync is held though the write has ended")
		}
	})
	t.Run("waits for all before", func(t *testing.T) {
		b := newBarrier()
		w1, w2, sync := newWrite(&b), newWrite(&b), new(request)
		if !b.hold(sync) {
			t.Fatal("a Sync passes two writes")
		}
		wantList(t, "after the second write", b.leave(w2.epoch))
		wantList(t, "after the first write", b.leave(w1.epoch), sync)
		if b.oldest != b.newest {
			t.Error("epochs are left")
		}
	})
	t.Run("waits for none after", func(t *testing.T) {
		b := newBarrier()
		w1, sync := newWrite(&b), new(request)
		b.hold(sync)
		w2 := newWrite(&b)
		wantList(t, "after the write before it", b.leave(w1.epoch), sync)
		wantList(t, "after the write behind it", b.leave(w2.epoch))
	})
	t.Run("epochs in order", func(t *testing.T) {
		b := newBarrier()
		w1, s1 := newWrite(&b), new(request)
		b.hold(s1)
		w2, s2, s3 := newWrite(&b), new(request), new(request)
		b.hold(s2)
		b.hold(s3) // with no write between the two
		w3 := newWrite(&b)
		wantList(t, "the second epoch ended, not the first", b.leave(w2.epoch))
		wantList(t, "the later epoch ended", b.leave(w3.epoch))
		wantList(t, "the first epoch ended", b.leave(w1.epoch), s1, s2, s3)
		if b.oldest != b.newest || b.hold(new(request)) {
			t.Error("not as new afterwards")
		}
	})
}

// isSync reports whether op is an fsync or fdatasync.
func isSync(op *aiotest.Op) bool { return op.Opcode == aio.OpFsync || op.Opcode == aio.OpFdsync }

// TestSyncIsBarrier has the scripted kernel hold writes, and looks at when it is
// given the fsync.
func TestSyncIsBarrier(t *testing.T) {
	for _, datasync := range []bool{false, true} {
		kernel, f := openScripted(t, 16)
		p := make([]byte, testBlock)
		write := func(i int) *Future { return f.WriteAt(p, int64(i)*testBlock) }
		sync := f.Sync
		if datasync {
			sync = f.Datasync
		}
		// synced looks for fsyncs while so many operations have not ended. What
		// the kernel was given before the read that serves as a mark has come
		// before the mark.
		synced := func(unended int64) (ops []*aiotest.Op) {
			t.Helper()
			eventually(t, "what waited for the last one is on its way", func() bool { return f.users.Load() == unended })
			mark := f.ReadAt(make([]byte, testBlock), 0)
			for n := 1; ; n++ {
				held := kernel.Await(n)
				if last := held[len(held)-1]; last.Opcode == aio.OpPread {
					for _, op := range held {
						if isSync(op) {
							ops = append(ops, op)
						}
					}
					last.Complete()
					mark.Wait()
					return ops
				}
			}
		}
		w1, w2 := write(1), write(2)
		s1 := sync()
		w3 := write(3)
		s2 := sync()
		writes := kernel.Await(3)
		if len(synced(5)) != 0 {
			t.Fatal("an fsync is there before the writes have ended")
		}
		writes[1].Complete()
		w2.Wait()
		if len(synced(4)) != 0 {
			t.Fatal("an fsync is there before the first write has ended")
		}
		writes[0].Fail(5) // a write that fails has ended, too
		if _, err := w1.Wait(); err == nil {
			t.Fatal("the write should have failed")
		}
		syncs := synced(3)
		if len(syncs) != 1 {
			t.Fatalf("%d fsyncs, want the first, which a later write does not delay", len(syncs))
		}
		if want := aio.OpFsync; !datasync && syncs[0].Opcode != want {
			t.Errorf("it is %v, want %v", syncs[0].Opcode, want)
		}
		syncs[0].Complete()
		wantResult(t, s1, 0, nil)
		if _, _, ok := w3.Result(); ok {
			t.Error("the later write has ended by itself")
		}
		if len(synced(2)) != 0 {
			t.Fatal("the second fsync is there before its write has ended")
		}
		writes[2].Complete()
		w3.Wait()
		syncs = synced(1)
		if len(syncs) != 1 {
			t.Fatalf("%d fsyncs, want the second", len(syncs))
		}
		syncs[0].Complete()
		wantResult(t, s2, 0, nil)
	}
}

// TestSyncCoversShortWrite continues a write that came out short before the
// fsync is given to the kernel.
func TestSyncCoversShortWrite(t *testing.T) {
	kernel, f := openScripted(t, 4)
	w, s := f.WriteAt(make([]byte, 2*testBlock), 0), f.Sync()
	kernel.Await(1)[0].Short(testBlock)
	rest := kernel.Await(1)
	if len(rest) != 1 || rest[0].Opcode != aio.OpPwrite || rest[0].Offset != testBlock {
		t.Fatalf("after a short write the kernel has %d, the first %v at %d", len(rest), rest[0].Opcode, rest[0].Offset)
	}
	rest[0].Complete()
	wantResult(t, w, 2*testBlock, nil)
	kernel.Await(1)[0].Complete()
	wantResult(t, s, 0, nil)
}

// TestSyncOfManyWrites has Sync find every write that came before it done.
func TestSyncOfManyWrites(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, nil), os.O_RDWR)
		p := testPattern(testBlock, 1)
		for range 5 {
			var writes []*Future
			for i := range 50 {
				writes = append(writes, f.WriteAt(p, int64(i*7%50)*testBlock))
			}
			sync := f.Sync()
			writes = append(writes, f.Append(p)) // not covered
			if _, err := sync.Wait(); err != nil {
				t.Fatal(err)
			}
			for i, w := range writes[:50] {
				if n, err, ok := w.Result(); !ok || err != nil || n != testBlock {
					t.Fatalf("Sync is back before write %d: %d, %v, done %v", i, n, err, ok)
				}
			}
			if err := WaitAll(writes...); err != nil {
				t.Fatal(err)
			}
		}
	})
}
