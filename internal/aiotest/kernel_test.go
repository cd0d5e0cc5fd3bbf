package aiotest

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

const (
	fd      = 3
	badFD   = 99
	forever = time.Hour // of the fake clock, or never waited for
)

// keep holds v, memory that cb names as an integer only, for as long as cb
// lives, and on the heap.
func keep[T any](cb *aio.IOCB, v T) { runtime.AddCleanup(cb, func(T) {}, v) }

func read(data uint64, p []byte, off int64) *aio.IOCB {
	cb := new(aio.IOCB)
	cb.PrepareRead(fd, p, off)
	cb.SetData(data)
	keep(cb, p)
	return cb
}

func write(data uint64, p []byte, off int64) *aio.IOCB {
	cb := new(aio.IOCB)
	cb.PrepareWrite(fd, p, off)
	cb.SetData(data)
	keep(cb, p)
	return cb
}

func readv(data uint64, v []aio.Iovec, off int64) *aio.IOCB {
	cb := new(aio.IOCB)
	cb.PrepareReadv(fd, v, off)
	cb.SetData(data)
	keep(cb, v)
	return cb
}

func writev(data uint64, v []aio.Iovec, off int64) *aio.IOCB {
	cb := new(aio.IOCB)
	cb.PrepareWritev(fd, v, off)
	cb.SetData(data)
	keep(cb, v)
	return cb
}

func fsync(data uint64) *aio.IOCB {
	cb := new(aio.IOCB)
	cb.PrepareFsync(fd)
	cb.SetData(data)
	return cb
}

// vector returns the iovecs of some buffers.
func vector(bufs ...[]byte) (v []aio.Iovec) {
	for _, p := range bufs {
		v = append(v, aio.MakeIovec(p))
	}
	return v
}

// reads returns n reads of four bytes with the data 1 to n.
func reads(n int) []*aio.IOCB {
	var cbs []*aio.IOCB
	for i := range n {
		cbs = append(cbs, read(uint64(i+1), []byte("...."), int64(4*i)))
	}
	return cbs
}

// attached returns a Kernel with a file at fd that holds "0123456789abcdef".
func attached(depth int) (*Kernel, *Mem) {
	k, m := New(depth), NewMem([]byte("0123456789abcdef"))
	k.Attach(fd, m)
	return k, m
}

func submit(t *testing.T, k *Kernel, cbs ...*aio.IOCB) {
	t.Helper()
	if n, err := k.Submit(cbs); n != len(cbs) || err != nil {
		t.Fatalf("Submit = %d, %v; want %d, nil", n, err, len(cbs))
	}
}

// reap returns what Reap gives, as data and res.
func reap(k *Kernel) (got [][2]int64) {
	events := make([]aio.Event, 16)
	for _, e := range events[:k.Reap(events)] {
		got = append(got, [2]int64{int64(e.Data), e.Res})
	}
	return got
}

func wantEvents(t *testing.T, got [][2]int64, want ...[2]int64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("events (data, res) %v, want %v", got, want)
	}
}

// wantViolations checks that each recorded violation contains its part, and that
// there are no others.
func wantViolations(t *testing.T, k *Kernel, parts ...string) {
	t.Helper()
	got := k.Violations()
	if len(got) != len(parts) {
		t.Errorf("violations %q, want %q", got, parts)
		return
	}
	for i, part := range parts {
		if !strings.Contains(got[i], part) {
			t.Errorf("violation %q, want %q", got[i], part)
		}
	}
}

func TestEveryOpcode(t *testing.T) {
	k, m := attached(8)
	p, q, r := []byte("...."), []byte(".."), []byte("...")
	v := vector(q, r)
	rv := readv(2, v, 10)
	wv := writev(4, vector([]byte("V"), []byte("WX")), 15)
	datasync := new(aio.IOCB)
	datasync.PrepareFdatasync(fd)
	datasync.SetData(6)

	k.OnOp(func(*Op) Verdict { return Hold() })
	submit(t, k, read(1, p, 2), rv, write(3, []byte("W"), 0), wv, fsync(5), datasync)
	// The kernel has its own copies: the caller's may be used again.
	clear(v)
	*rv = aio.IOCB{}
	for _, op := range k.Held() {
		op.Complete()
	}

	wantEvents(t, reap(k), [][2]int64{{1, 4}, {2, 5}, {3, 1}, {4, 3}, {5, 0}, {6, 0}}...)
	if string(p) != "2345" || string(q) != "ab" || string(r) != "cde" {
		t.Errorf("read %q, %q and %q", p, q, r)
	}
	if got := string(m.Bytes()); got != "W123456789abcdeVWX" {
		t.Errorf("file is %q", got)
	}
	if m.Syncs() != 2 {
		t.Errorf("%d syncs, want 2", m.Syncs())
	}
	c := k.Counts()
	if c.Submits != 1 || c.SubmittedOps != 6 || c.Reaps != 1 || c.GetEvents != 0 ||
		c.InFlight != 0 || c.MaxInFlight != 6 || c.Destroyed || !slices.Equal(c.BatchSizes, []int{6}) {
		t.Errorf("counts %+v", c)
	}
	if err := k.Destroy(); err != nil || !k.Counts().Destroyed {
		t.Errorf("Destroy = %v, counts %+v", err, k.Counts())
	}
	wantViolations(t, k)
}

func TestEventNamesItsIOCB(t *testing.T) {
	k, _ := attached(1)
	cb := reads(1)[0]
	submit(t, k, cb)
	events := make([]aio.Event, 1)
	if k.Reap(events) != 1 || events[0].Obj != address(cb) || events[0].Obj == 0 {
		t.Errorf("event %+v of the iocb at %#x", events[0], address(cb))
	}
}

func TestSubmitRefuses(t *testing.T) {
	x := []byte("x")
	elsewhere, nosync := new(aio.IOCB), new(aio.IOCB)
	elsewhere.PrepareRead(badFD, x, 0)
	keep(elsewhere, x)
	nosync.PrepareFsync(fd + 1)
	for _, test := range []struct {
		name string
		cb   *aio.IOCB
		want syscall.Errno
	}{
		{"unknown fd", elsewhere, syscall.EBADF},
		{"negative offset", read(9, []byte("x"), -1), syscall.EINVAL},
		{"too many buffers", readv(9, slices.Repeat(vector(x), aio.MaxIovecs+1), 0), syscall.EINVAL},
		{"file without Sync", nosync, syscall.EINVAL},
		{"no iocb", nil, syscall.EFAULT},
	} {
		k, m := attached(8)
		k.Attach(fd+1, struct {
			io.ReaderAt
			io.WriterAt
		}{m, m})
		if n, err := k.Submit([]*aio.IOCB{test.cb, read(1, []byte("x"), 0)}); n != 0 || err != test.want {
			t.Errorf("%s, first: %d, %v; want 0, %v", test.name, n, err, test.want)
		}
		if n, err := k.Submit([]*aio.IOCB{read(1, []byte("x"), 0), test.cb}); n != 1 || err != nil {
			t.Errorf("%s, second: %d, %v; want 1, nil", test.name, n, err)
		}
		wantEvents(t, reap(k), [2]int64{1, 1})
		wantViolations(t, k)
	}
}

func TestAttachAny(t *testing.T) {
	k, m := attached(4)
	other := NewMem([]byte("other"))
	k.AttachAny(other)
	p, q := make([]byte, 4), make([]byte, 4)
	elsewhere := new(aio.IOCB)
	elsewhere.PrepareRead(badFD, q, 0)
	keep(elsewhere, q)
	submit(t, k, read(1, p, 0), elsewhere)
	wantEvents(t, reap(k), [2]int64{1, 4}, [2]int64{0, 4})
	if !bytes.Equal(p, m.Bytes()[:4]) || string(q) != "othe" {
		t.Errorf("read %q and %q", p, q)
	}
	k.AttachAny(nil)
	if n, err := k.Submit([]*aio.IOCB{elsewhere}); n != 0 || err != syscall.EBADF {
		t.Errorf("after AttachAny(nil) Submit = %d, %v; want EBADF", n, err)
	}
	wantViolations(t, k)
}

func TestSubmitNothing(t *testing.T) {
	k := New(1)
	if n, err := k.Submit(nil); n != 0 || err != nil || k.Counts().Submits != 0 {
		t.Errorf("Submit(nil) = %d, %v, counts %+v", n, err, k.Counts())
	}
}

func TestDetachedFileServesWhatWasAccepted(t *testing.T) {
	k, _ := attached(2)
	k.OnOp(func(*Op) Verdict { return Hold() })
	submit(t, k, reads(1)...)
	k.Attach(fd, nil)
	if n, err := k.Submit(reads(1)); n != 0 || err != syscall.EBADF {
		t.Errorf("Submit = %d, %v; want EBADF", n, err)
	}
	k.Held()[0].Complete()
	wantEvents(t, reap(k), [2]int64{1, 4})
}

func TestDepth(t *testing.T) {
	k, _ := attached(2)
	cbs := reads(4)
	if n, err := k.Submit(cbs); n != 2 || err != nil {
		t.Errorf("Submit = %d, %v; want 2, nil", n, err)
	}
	// Both are complete, but completion gives nothing back.
	if n, err := k.Submit(cbs[2:]); n != 0 || err != syscall.EAGAIN {
		t.Errorf("Submit = %d, %v; want 0, EAGAIN", n, err)
	}
	wantViolations(t, k, "2 of 2 in flight", "2 of 2 in flight")
	events := make([]aio.Event, 1)
	if n, err := k.GetEvents(1, events, 0); n != 1 || err != nil {
		t.Errorf("GetEvents = %d, %v; want 1, nil", n, err)
	}
	if n, err := k.Submit(cbs[2:]); n != 1 || err != nil {
		t.Errorf("Submit = %d, %v; want 1, nil", n, err)
	}
	wantEvents(t, reap(k), [2]int64{2, 4}, [2]int64{3, 4})
	if got := k.Counts().BatchSizes; !slices.Equal(got, []int{4, 2, 2}) {
		t.Errorf("batches %v", got)
	}
}

func TestOnSubmit(t *testing.T) {
	for _, test := range []struct {
		accept int
		err    error
		n      int
		want   error
	}{
		{-1, nil, 3, nil},
		{-1, syscall.EAGAIN, 3, nil},
		{2, nil, 2, nil},
		{2, syscall.EAGAIN, 2, nil},
		{7, nil, 3, nil},
		{0, syscall.EAGAIN, 0, syscall.EAGAIN},
		{0, nil, 0, nil},
	} {
		k, _ := attached(8)
		calls := 0
		k.OnSubmit(func(call, n int) (int, error) {
			if call != calls || n != 3-calls {
				t.Errorf("asked for call %d of %d iocbs", call, n)
			}
			calls++
			return test.accept, test.err
		})
		n, err := k.Submit(reads(3))
		if n != test.n || err != test.want {
			t.Errorf("%d, %v: Submit = %d, %v; want %d, %v", test.accept, test.err, n, err, test.n, test.want)
		}
		k.Reap(make([]aio.Event, 8))
		k.Submit(reads(2))
		wantViolations(t, k)
	}
}

func TestVerdicts(t *testing.T) {
	k, _ := attached(8)
	verdicts := []Verdict{Do(), Short(3), Short(0), Short(-1), Short(9), Fail(syscall.ENOSPC), {}}
	k.OnOp(func(op *Op) Verdict {
		if op.Opcode != aio.OpPread || op.FD != fd || op.Len != 4 || op.Data != uint64(op.Index+1) || op.Offset != int64(4*op.Index) {
			t.Errorf("asked for %+v", op)
		}
		return verdicts[op.Index]
	})
	m := NewMem(make([]byte, 64))
	k.Attach(fd, m)
	submit(t, k, reads(7)...)
	wantEvents(t, reap(k), [][2]int64{{1, 4}, {2, 3}, {3, 0}, {4, 0}, {5, 4}, {6, -int64(syscall.ENOSPC)}, {7, 4}}...)
}

func TestHold(t *testing.T) {
	k, m := attached(8)
	k.OnOp(func(*Op) Verdict { return Hold() })
	p, q := []byte("...."), []byte("....")
	submit(t, k, read(1, p, 0), read(2, q, 4), write(3, []byte("WXYZ"), 0), read(4, []byte("...."), 0), read(5, []byte("...."), 0))
	held := k.Await(5)
	for i, op := range held {
		if op.Index != i || op.Data != uint64(i+1) {
			t.Errorf("held[%d] = %+v", i, op)
		}
	}
	if string(p) != "...." || string(m.Bytes()[:4]) != "0123" {
		t.Errorf("buffer %q, file %q before completion", p, m.Bytes())
	}
	wantEvents(t, reap(k))

	held[1].Short(3)
	held[2].Complete()
	held[0].Complete()
	held[3].Fail(syscall.EIO)
	for _, op := range held[:4] { // at most one event each
		op.Complete()
		op.Short(1)
		op.Fail(syscall.EINVAL)
	}
	wantEvents(t, reap(k), [][2]int64{{2, 3}, {3, 4}, {1, 4}, {4, -int64(syscall.EIO)}}...)
	if string(p) != "WXYZ" || string(q) != "456." || string(m.Bytes()[:4]) != "WXYZ" {
		t.Errorf("buffers %q and %q, file %q", p, q, m.Bytes())
	}
	if left := k.Held(); len(left) != 1 || left[0] != held[4] {
		t.Errorf("held %v", left)
	}
	if c := k.Counts(); c.InFlight != 1 {
		t.Errorf("in flight %d, want 1", c.InFlight)
	}
}

func TestHookMayEndTheOperation(t *testing.T) {
	k, _ := attached(2)
	k.OnOp(func(op *Op) Verdict {
		op.Short(1)
		if op.Index == 0 {
			return Hold()
		}
		return Do()
	})
	submit(t, k, reads(2)...)
	wantEvents(t, reap(k), [2]int64{1, 1}, [2]int64{2, 1})
	if len(k.Held()) != 0 {
		t.Errorf("held %v", k.Held())
	}
}

func TestHeldIsOldestFirst(t *testing.T) {
	k, _ := attached(2)
	// The second Submit overtakes the first between acceptance and verdict.
	k.OnOp(func(op *Op) Verdict {
		if op.Index == 0 {
			submit(t, k, reads(2)[1])
		}
		return Hold()
	})
	submit(t, k, reads(1)...)
	if held := k.Held(); len(held) != 2 || held[0].Index != 0 || held[1].Index != 1 {
		t.Errorf("held %v", held)
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := attached(4)
		k.OnOp(func(*Op) Verdict { return Hold() })
		got := make(chan []*Op, 1)
		go func() { got <- k.Await(2) }()
		submit(t, k, reads(2)[0])
		synctest.Wait()
		if len(got) != 0 {
			t.Error("Await(2) returned with one held")
		}
		submit(t, k, reads(2)[1])
		if ops := <-got; len(ops) != 2 || ops[0].Data != 1 || ops[1].Data != 2 {
			t.Errorf("Await = %v", ops)
		}
	})
}

func TestGetEventsWaits(t *testing.T) {
	k, _ := attached(4)
	k.OnOp(func(*Op) Verdict { return Hold() })
	submit(t, k, reads(3)...)
	held := k.Held()
	type answer struct {
		n   int
		err error
	}
	got := make(chan answer)
	go func() {
		n, err := k.GetEvents(2, make([]aio.Event, 4), forever)
		got <- answer{n, err}
	}()
	k.AwaitWaiting()
	held[0].Complete()
	k.AwaitWaiting() // one is not enough: it sleeps again
	if c := k.Counts(); c.InFlight != 2 {
		t.Errorf("in flight %d, want 2: the first event is consumed at once", c.InFlight)
	}
	held[2].Complete()
	if a := <-got; a.n != 2 || a.err != nil {
		t.Errorf("GetEvents = %d, %v; want 2, nil", a.n, a.err)
	}
	held[1].Complete()
	wantEvents(t, reap(k), [2]int64{2, 4})
	wantViolations(t, k)
}

// A consumer that has a reason to wake is no longer waiting, though it may not
// have run yet.
func TestWokenConsumerIsNotWaiting(t *testing.T) {
	k, _ := attached(4)
	k.OnOp(func(*Op) Verdict { return Hold() })
	submit(t, k, reads(1)...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.GetEvents(1, make([]aio.Event, 1), forever)
	}()
	k.AwaitWaiting()
	k.Held()[0].Complete()
	k.mu.Lock()
	if k.waiting != 0 {
		t.Errorf("%d waiting with an event in the ring", k.waiting)
	}
	k.mu.Unlock()
	<-done
}

func TestGetEventsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, _ := attached(4)
		k.OnOp(func(op *Op) Verdict {
			if op.Index == 0 {
				return Do()
			}
			return Hold()
		})
		submit(t, k, reads(2)...)
		for _, test := range []struct {
			name    string
			least   int
			timeout time.Duration
			n       int
			took    time.Duration
		}{
			{"has fewer than asked for", 2, time.Second, 1, time.Second},
			{"has none", 1, time.Second, 0, time.Second},
			{"zero", 1, 0, 0, 0},
			{"negative", 1, -time.Second, 0, 0},
			{"min 0 never sleeps", 0, time.Second, 0, 0},
		} {
			start := time.Now()
			n, err := k.GetEvents(test.least, make([]aio.Event, 2), test.timeout)
			if took := time.Since(start); n != test.n || err != nil || took != test.took {
				t.Errorf("%s: %d, %v after %v; want %d, nil after %v", test.name, n, err, took, test.n, test.took)
			}
		}
	})
}

func TestGetEventsArguments(t *testing.T) {
	k, _ := attached(4)
	submit(t, k, reads(3)...)
	events := make([]aio.Event, 2)
	for _, least := range []int{-1, 3} {
		if n, err := k.GetEvents(least, events, 0); n != 0 || err != syscall.EINVAL {
			t.Errorf("GetEvents(%d) = %d, %v; want EINVAL", least, n, err)
		}
	}
	if n, err := k.GetEvents(0, nil, 0); n != 0 || err != nil {
		t.Errorf("GetEvents into nothing = %d, %v", n, err)
	}
	if n, err := k.GetEvents(0, events, 0); n != 2 || err != nil {
		t.Errorf("GetEvents = %d, %v; want 2, nil", n, err)
	}
	if n, err := k.GetEvents(1, events, forever); n != 1 || err != nil {
		t.Errorf("GetEvents = %d, %v; want 1, nil", n, err)
	}
	wantViolations(t, k)
}

func TestOnGetEvents(t *testing.T) {
	k, _ := attached(4)
	script := []struct {
		limit int
		err   error
	}{{0, nil}, {-1, syscall.EINTR}, {1, nil}, {9, nil}, {-1, nil}}
	k.OnGetEvents(func(call int) (int, error) { return script[call].limit, script[call].err })
	submit(t, k, reads(4)...)
	for i, want := range []struct {
		n   int
		err error
	}{{0, nil}, {0, syscall.EINTR}, {1, nil}, {2, nil}, {1, nil}} {
		least := 2
		if i == 4 {
			least = 1
		}
		if n, err := k.GetEvents(least, make([]aio.Event, 2), forever); n != want.n || err != want.err {
			t.Errorf("call %d: %d, %v; want %d, %v", i, n, err, want.n, want.err)
		}
	}
	if c := k.Counts(); c.GetEvents != 5 || c.InFlight != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestDestroyWakesTheConsumer(t *testing.T) {
	for _, complete := range []int{0, 1} {
		k, _ := attached(4)
		k.OnOp(func(*Op) Verdict { return Hold() })
		submit(t, k, reads(2)...)
		held := k.Held()
		type answer struct {
			n   int
			err error
		}
		got := make(chan answer)
		go func() {
			n, err := k.GetEvents(2, make([]aio.Event, 2), forever)
			got <- answer{n, err}
		}()
		k.AwaitWaiting()
		want := answer{0, syscall.EINVAL}
		if complete == 1 { // what was consumed already is delivered
			held[0].Complete()
			k.AwaitWaiting()
			want = answer{1, nil}
		}
		if err := k.Destroy(); err != nil {
			t.Error(err)
		}
		if a := <-got; a != want {
			t.Errorf("GetEvents = %v, want %v", a, want)
		}
		held[1].Complete() // into nothing
		wantViolations(t, k, "Destroy with")
	}
}

// What a refused Destroy leaves in flight still moves its bytes, whenever it ends.
func TestDestroyRefused(t *testing.T) {
	k, m := attached(4)
	k.OnOp(func(*Op) Verdict { return Hold() })
	p := []byte("....")
	submit(t, k, read(1, p, 0), write(2, []byte("late"), 4))
	k.OnDestroy(func() error { return syscall.EPERM })
	if err := k.Destroy(); err != syscall.EPERM || k.Counts().Destroyed || k.Counts().InFlight != 2 {
		t.Errorf("Destroy = %v, counts %+v", err, k.Counts())
	}
	for _, op := range k.Held() {
		op.Complete()
	}
	if string(p) != string(m.Bytes()[:4]) || string(m.Bytes()[4:8]) != "late" {
		t.Errorf("read %q, the file is %q", p, m.Bytes())
	}
	if events := make([]aio.Event, 4); k.Reap(events) != 2 {
		t.Error("their events are not there")
	}
	k.OnDestroy(func() error { return nil })
	if err := k.Destroy(); err != nil || !k.Counts().Destroyed {
		t.Errorf("Destroy = %v, counts %+v", err, k.Counts())
	}
	wantViolations(t, k)
}

func TestMapped(t *testing.T) {
	k, _ := attached(2)
	if !k.Mapped() {
		t.Error("not mapped by default")
	}
	k.SetMapped(false)
	submit(t, k, reads(1)...)
	wantEvents(t, reap(k))
	if k.Mapped() || k.Counts().Reaps != 0 {
		t.Errorf("mapped %v, counts %+v", k.Mapped(), k.Counts())
	}
	k.SetMapped(true)
	wantEvents(t, reap(k), [2]int64{1, 4})
	wantViolations(t, k)
}

func TestInjectEvent(t *testing.T) {
	k, _ := attached(2)
	k.OnOp(func(*Op) Verdict { return Hold() })
	k.Notify(func(int) { t.Error("an eventfd was signalled") })
	submit(t, k, reads(1)...)
	done := make(chan int)
	go func() {
		n, _ := k.GetEvents(1, make([]aio.Event, 1), forever)
		done <- n
	}()
	k.AwaitWaiting()
	k.InjectEvent(aio.Event{Data: 1, Res: 99})
	if n := <-done; n != 1 || k.Counts().InFlight != 1 {
		t.Errorf("GetEvents = %d, counts %+v; want 1 with 1 still in flight", n, k.Counts())
	}
	k.Held()[0].Complete()
	k.InjectEvent(aio.Event{Data: 7, Res: -5})
	wantEvents(t, reap(k), [2]int64{1, 4}, [2]int64{7, -5})
	wantViolations(t, k)
}

func TestNotify(t *testing.T) {
	k, _ := attached(4)
	var signalled []int
	k.Notify(func(fd int) {
		signalled = append(signalled, fd)
		if len(reap(k)) != 1 {
			t.Error("signalled before the event was there")
		}
	})
	cbs := reads(3)
	cbs[0].SetEventFD(7)
	cbs[1].SetEventFD(8)
	submit(t, k, cbs[0])
	submit(t, k, cbs[1])
	submit(t, k, cbs[2])
	if !slices.Equal(signalled, []int{7, 8}) {
		t.Errorf("signalled %v, want 7 and 8", signalled)
	}
	k.Notify(nil)
	submit(t, k, cbs[0])
	wantEvents(t, reap(k), [2]int64{3, 4}, [2]int64{1, 4})
	wantViolations(t, k)
}

// Each rule is broken alone, with a word that its violation must contain.
var breaches = []struct {
	name string
	rule Rule
	do   func(t *testing.T, k *Kernel)
	want []string
}{
	{"second consumer", OneConsumer, func(t *testing.T, k *Kernel) {
		k.OnOp(func(*Op) Verdict { return Hold() })
		submit(t, k, reads(1)...)
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.GetEvents(1, make([]aio.Event, 1), forever)
		}()
		k.AwaitWaiting()
		k.Reap(make([]aio.Event, 1))
		k.GetEvents(0, nil, 0)
		k.Held()[0].Complete()
		<-done
	}, []string{"Reap while", "GetEvents while"}},
	{"too deep", WithinDepth, func(t *testing.T, k *Kernel) {
		k.Submit(reads(5))
	}, []string{"Submit with 4 of 4"}},
	{"after Destroy", NotDestroyed, func(t *testing.T, k *Kernel) {
		k.Destroy()
		if n, err := k.Submit(reads(1)); n != 0 || err != syscall.EINVAL {
			t.Errorf("Submit = %d, %v", n, err)
		}
		if n, err := k.GetEvents(1, make([]aio.Event, 1), forever); n != 0 || err != syscall.EINVAL {
			t.Errorf("GetEvents = %d, %v", n, err)
		}
		if n := k.Reap(make([]aio.Event, 1)); n != 0 {
			t.Errorf("Reap = %d", n)
		}
		if k.Mapped() {
			t.Error("mapped")
		}
		if err := k.Destroy(); err != syscall.EINVAL {
			t.Errorf("Destroy = %v", err)
		}
	}, []string{"Submit after", "GetEvents after", "Reap after", "Mapped after", "Destroy after"}},
	{"Destroy inside Submit", NotDestroyed, func(t *testing.T, k *Kernel) {
		k.OnSubmit(func(int, int) (int, error) { return -1, k.Destroy() })
		if n, err := k.Submit(reads(1)); n != 0 || err != syscall.EINVAL {
			t.Errorf("Submit = %d, %v", n, err)
		}
	}, []string{"Destroy with 1 inside Submit", "Submit, still running"}},
	{"in flight at Destroy", Drained, func(t *testing.T, k *Kernel) {
		k.OnOp(func(*Op) Verdict { return Hold() })
		submit(t, k, reads(1)...)
		k.Destroy()
	}, []string{"Destroy with 1 in flight and 0 events"}},
	{"unread at Destroy", Drained, func(t *testing.T, k *Kernel) {
		k.InjectEvent(aio.Event{})
		k.Destroy()
	}, []string{"Destroy with 0 in flight and 1 events"}},
	{"same data", UniqueData, func(t *testing.T, k *Kernel) {
		submit(t, k, read(7, []byte("x"), 0), read(7, []byte("x"), 0))
		k.Reap(make([]aio.Event, 1))
		submit(t, k, read(7, []byte("x"), 0)) // one of the two is still unread
		k.Reap(make([]aio.Event, 2))
		submit(t, k, read(7, []byte("x"), 0)) // none is
	}, []string{"data 0x7", "data 0x7"}},
	{"no bytes", SomeBytes, func(t *testing.T, k *Kernel) {
		submit(t, k, read(1, nil, 0), writev(0, vector([]byte("")), 0))
		wantEvents(t, reap(k), [2]int64{1, 0}, [2]int64{0, 0})
	}, []string{"pread with", "pwritev with"}},
	{"nothing in flight", NoIdleCall, func(t *testing.T, k *Kernel) {
		k.GetEvents(0, nil, 0)
		k.Reap(make([]aio.Event, 1)) // no system call
		k.InjectEvent(aio.Event{})
		k.GetEvents(1, make([]aio.Event, 1), 0)
		k.OnSubmit(func(int, int) (int, error) {
			k.GetEvents(0, nil, 0) // beside a Submit
			return 0, syscall.EAGAIN
		})
		k.Submit([]*aio.IOCB{read(1, []byte("x"), 0)})
	}, []string{"nothing in flight"}},
}

func TestViolations(t *testing.T) {
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			k, _ := attached(4)
			b.do(t, k)
			wantViolations(t, k, b.want...)

			k, _ = attached(4)
			k.Allow(b.rule)
			b.do(t, k)
			wantViolations(t, k)
		})
	}
}

// A failing file answers n and err to everything.
type failing struct {
	n   int
	err error
}

func (f failing) ReadAt([]byte, int64) (int, error)  { return f.n, f.err }
func (f failing) WriteAt([]byte, int64) (int, error) { return f.n, f.err }
func (f failing) Sync() error                        { return f.err }

func TestFileErrors(t *testing.T) {
	wrapped := errors.Join(errors.New("disk"), syscall.ENOSPC)
	for _, test := range []struct {
		file failing
		want int64
	}{
		{failing{4, nil}, 4},
		{failing{2, nil}, 2},
		{failing{0, io.EOF}, 0},
		{failing{3, io.EOF}, 3},
		{failing{0, syscall.EDQUOT}, -int64(syscall.EDQUOT)},
		{failing{0, wrapped}, -int64(syscall.ENOSPC)},
		{failing{2, wrapped}, 2},
		{failing{0, errors.New("other")}, -int64(syscall.EIO)},
		{failing{0, syscall.Errno(0)}, -int64(syscall.EIO)},
	} {
		k := New(2)
		k.Attach(fd, test.file)
		submit(t, k, read(1, []byte("...."), 0), write(2, []byte("...."), 0))
		wantEvents(t, reap(k), [2]int64{1, test.want}, [2]int64{2, test.want})
	}
	k := New(1)
	k.Attach(fd, failing{err: wrapped})
	submit(t, k, fsync(0))
	wantEvents(t, reap(k), [2]int64{0, -int64(syscall.ENOSPC)})
}

func TestVectorStopsAtTheEndOfTheFile(t *testing.T) {
	k, _ := attached(2)
	a, b, c := []byte("..."), []byte("..."), []byte("...")
	submit(t, k, readv(1, vector(a, b, c), 12))
	wantEvents(t, reap(k), [2]int64{1, 4})
	if got := bytes.Join([][]byte{a, b, c}, nil); string(got) != "cdef....." {
		t.Errorf("read %q", got)
	}
	k.OnOp(func(*Op) Verdict { return Short(5) })
	submit(t, k, readv(2, vector(a, b, c), 0))
	wantEvents(t, reap(k), [2]int64{2, 5})
	if got := bytes.Join([][]byte{a, b, c}, nil); string(got) != "01234...." {
		t.Errorf("read %q", got)
	}
}

// sink is a file that swallows what is written.
type sink struct{ failing }

func (sink) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestMaxTransfer(t *testing.T) {
	k := New(1)
	k.Attach(fd, sink{})
	v := slices.Repeat(vector(make([]byte, 4<<20)), aio.MaxIovecs)
	submit(t, k, writev(0, v, 0)) // 4 GiB
	wantEvents(t, reap(k), [2]int64{0, aio.MaxTransfer})
}

func TestManySubmitters(t *testing.T) {
	const workers, each = 8, 50
	k, _ := attached(workers)
	places := make(chan struct{}, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			p := []byte("....")
			for i := range each {
				places <- struct{}{}
				submit(t, k, read(uint64(w*each+i), p, 4))
			}
		})
	}
	seen := map[uint64]bool{}
	events := make([]aio.Event, 3)
	k.Allow(NoIdleCall)
	for len(seen) < workers*each {
		n, err := k.GetEvents(1, events, forever)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events[:n] {
			if seen[e.Data] || e.Res != 4 {
				t.Errorf("event %+v", e)
			}
			seen[e.Data] = true
			<-places
		}
	}
	wg.Wait()
	wantViolations(t, k)
}
