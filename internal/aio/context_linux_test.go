package aio

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// setup makes a context that is destroyed with the test. Where the machine has
// none to give, a sandbox or a limit of someone else's making, the test is
// skipped.
func setup(t testing.TB, depth int) *kernelContext {
	t.Helper()
	c, err := Setup(depth)
	switch err {
	case nil:
	case syscall.ENOSYS, syscall.EPERM, syscall.EAGAIN:
		t.Skipf("no native AIO here: io_setup(%d): %v", depth, err)
	default:
		t.Fatalf("io_setup(%d): %v", depth, err)
	}
	k := c.(*kernelContext)
	t.Cleanup(func() {
		if k.id.Load() != 0 { // not destroyed by the test itself
			if err := k.Destroy(); err != nil {
				t.Errorf("io_destroy: %v", err)
			}
		}
	})
	return k
}

// tempFile makes a file with the given content.
func tempFile(t testing.TB, content string) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f
}

// getEvents is GetEvents without EINTR. A signal of the Go runtime that arrives
// at the wrong moment causes it even where nothing waits: the kernel looks for
// one whenever it has no event to return.
func getEvents(c Context, min int, events []Event, timeout time.Duration) (int, error) {
	for {
		n, err := c.GetEvents(min, events, timeout)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// wait takes n events by system call, however many calls that needs.
func wait(t testing.TB, c Context, n int) []Event {
	t.Helper()
	events := make([]Event, n)
	for got := 0; got < n; {
		m, err := getEvents(c, 1, events[got:], time.Minute)
		if err != nil {
			t.Fatalf("GetEvents: %v", err)
		}
		if m == 0 {
			t.Fatalf("%d of %d events after a minute", got, n)
		}
		got += m
	}
	return events
}

// read prepares an iocb that reads p and carries data.
func read(fd int, p []byte, off int64, data uint64) *IOCB {
	b := new(IOCB)
	b.PrepareRead(fd, p, off)
	b.SetData(data)
	return b
}

func TestRoundTrip(t *testing.T) {
	c := setup(t, 8)
	f := tempFile(t, "")
	fd := int(f.Fd())

	hello := append(AlignedSlice(0, 1), "hello, world"...)
	left, right := append(AlignedSlice(0, 1), "left "...), append(AlignedSlice(0, 1), "right"...)
	p, q1, q2 := AlignedSlice(20, 1), AlignedSlice(4, 1), AlignedSlice(100, 1)

	for i, c1 := range []struct {
		name    string
		prepare func(*IOCB)
		n       int
		check   func() bool
	}{
		{"pwrite", func(b *IOCB) { b.PrepareWrite(fd, hello, 0) }, 12, nil},
		{"pread, short at the end", func(b *IOCB) { b.PrepareRead(fd, p, 7) }, 5,
			func() bool { return string(p[:5]) == "world" }},
		{"pread at the end", func(b *IOCB) { b.PrepareRead(fd, p, 12) }, 0, nil},
		{"pread of nothing", func(b *IOCB) { b.PrepareRead(fd, nil, 0) }, 0, nil},
		{"pwritev", func(b *IOCB) { b.PrepareWritev(fd, []Iovec{MakeIovec(left), MakeIovec(right)}, 2) }, 10,
			func() bool { text, _ := os.ReadFile(f.Name()); return string(text) == "heleft right" }},
		{"preadv", func(b *IOCB) { b.PrepareReadv(fd, []Iovec{MakeIovec(q1), MakeIovec(nil), MakeIovec(q2)}, 0) }, 12,
			func() bool { return string(q1) == "hele" && string(q2[:8]) == "ft right" }},
		{"preadv of no buffers", func(b *IOCB) { b.PrepareReadv(fd, nil, 0) }, 0, nil},
		{"fsync", func(b *IOCB) { b.PrepareFsync(fd) }, 0, nil},
		{"fdatasync", func(b *IOCB) { b.PrepareFdatasync(fd) }, 0, nil},
		// Above 4 GB, so that half an offset would show.
		{"pwrite beyond 4 GB", func(b *IOCB) { b.PrepareWrite(fd, hello, 1<<33+1) }, 12,
			func() bool { info, _ := f.Stat(); return info.Size() == 1<<33+13 }},
	} {
		t.Run(c1.name, func(t *testing.T) {
			b := new(IOCB)
			c1.prepare(b)
			b.SetData(uint64(i)<<40 | 1)
			n, err := c.Submit([]*IOCB{b})
			if op := b.Opcode(); err == syscall.EINVAL && (op == OpFsync || op == OpFdsync) {
				t.Skipf("%v is not an AIO operation before Linux 4.18", op)
			}
			if n != 1 || err != nil {
				t.Fatalf("Submit = %d, %v", n, err)
			}
			e := wait(t, c, 1)[0]
			if e.Data != uint64(i)<<40|1 || e.Obj != uint64(uintptr(unsafe.Pointer(b))) {
				t.Errorf("event %+v is not that of the iocb", e)
			}
			if n, err := Result(e.Res); n != c1.n || err != nil {
				t.Fatalf("result is %d, %v, want %d", n, err, c1.n)
			}
			if c1.check != nil && !c1.check() {
				t.Error("the data is not what was asked for")
			}
		})
	}
}

// TestDirect moves one block with O_DIRECT, the case that is asynchronous.
func TestDirect(t *testing.T) {
	c := setup(t, 2)
	f := tempFile(t, string(make([]byte, 8192)))
	fd := int(f.Fd())
	if err := SetDirect(fd, true); err != nil {
		t.Skipf("no direct I/O on the temporary directory: %v", err)
	}
	out, in := AlignedSlice(4096, 4096), AlignedSlice(4096, 4096)
	for i := range out {
		out[i] = byte(i * 7)
	}
	write := new(IOCB)
	write.PrepareWrite(fd, out, 4096)
	for _, b := range []*IOCB{write, read(fd, in, 4096, 0)} {
		if n, err := c.Submit([]*IOCB{b}); n != 1 || err != nil {
			t.Fatalf("%v: Submit = %d, %v", b.Opcode(), n, err)
		}
		if n, err := Result(wait(t, c, 1)[0].Res); n != 4096 || err != nil {
			t.Fatalf("%v: %d, %v", b.Opcode(), n, err)
		}
	}
	if !slices.Equal(in, out) {
		t.Error("read something else than was written")
	}
}

// TestPartialSubmit: the error of an iocb shows only when it is the first.
func TestPartialSubmit(t *testing.T) {
	c := setup(t, 8)
	fd := int(tempFile(t, "content").Fd())
	p := AlignedSlice(8, 1)
	batch := []*IOCB{read(fd, p, 0, 0), read(fd, p, 0, 1), read(-1, p, 0, 2), read(fd, p, 0, 3)}

	if n, err := c.Submit(batch); n != 2 || err != nil {
		t.Fatalf("Submit = %d, %v, want 2, nil", n, err)
	}
	if n, err := c.Submit(batch[2:]); n != 0 || err != syscall.EBADF {
		t.Fatalf("Submit = %d, %v, want 0, EBADF", n, err)
	}
	if n, err := c.Submit(batch[3:]); n != 1 || err != nil {
		t.Fatalf("Submit = %d, %v, want 1, nil", n, err)
	}
	var data []uint64
	for _, e := range wait(t, c, 3) {
		data = append(data, e.Data)
	}
	slices.Sort(data)
	if !slices.Equal(data, []uint64{0, 1, 3}) {
		t.Errorf("events of %v, want 0, 1 and 3", data)
	}
}

func TestSetupRange(t *testing.T) {
	// The last is 1 in its low 32 bits, where an int has more.
	truncated := int64(1)<<32 + 1
	depths := []int{math.MinInt, -1, 0, MaxEvents + 1, math.MaxInt}
	if truncated <= math.MaxInt {
		depths = append(depths, int(truncated))
	}
	for _, depth := range depths {
		if c, err := Setup(depth); c != nil || err != syscall.EINVAL {
			t.Errorf("Setup(%d) = %v, %v, want EINVAL", depth, c, err)
		}
	}
}

// TestRefused is what io_submit and io_getevents say to each kind of nonsense.
func TestRefused(t *testing.T) {
	c := setup(t, 1)
	fd := int(tempFile(t, "content").Fd())
	p := AlignedSlice(8, 1)

	opcode := read(fd, p, 0, 0)
	opcode.opcode = 99
	sync := new(IOCB)
	sync.PrepareFsync(fd)
	sync.offset = 1
	reserved := read(fd, p, 0, 0)
	reserved.reserved = 1
	resfd := read(fd, p, 0, 0)
	resfd.SetEventFD(fd)
	many := new(IOCB)
	many.PrepareReadv(fd, make([]Iovec, MaxIovecs+1), 0)

	for _, s := range []struct {
		name string
		iocb *IOCB
		want error
	}{
		{"opcode", opcode, syscall.EINVAL},
		{"negative offset", read(fd, p, -1, 0), syscall.EINVAL},
		{"fsync at an offset", sync, syscall.EINVAL},
		{"reserved field", reserved, syscall.EINVAL},
		{"a file as eventfd", resfd, syscall.EINVAL},
		{"too many buffers", many, syscall.EINVAL},
		{"closed descriptor", read(-1, p, 0, 0), syscall.EBADF},
		{"no iocb", nil, syscall.EFAULT},
	} {
		if n, err := c.Submit([]*IOCB{s.iocb}); n != 0 || err != s.want {
			t.Errorf("%s: Submit = %d, %v, want %v", s.name, n, err, s.want)
		}
	}
	if n, err := c.Submit(nil); n != 0 || err != nil {
		t.Errorf("Submit(nil) = %d, %v", n, err)
	}
	for _, timeout := range []time.Duration{0, time.Minute} {
		if n, err := getEvents(c, 2, make([]Event, 1), timeout); n != 0 || err != syscall.EINVAL {
			t.Errorf("GetEvents(2, [1], %v) = %d, %v, want EINVAL", timeout, n, err)
		}
		if n, err := getEvents(c, 0, nil, timeout); n != 0 || err != nil {
			t.Errorf("GetEvents(0, nil, %v) = %d, %v", timeout, n, err)
		}
	}
}

// TestTimeout would hang if a negative timeout reached the kernel.
func TestTimeout(t *testing.T) {
	c := setup(t, 2)
	fd := int(tempFile(t, "content").Fd())
	events := make([]Event, 2)
	for _, timeout := range []time.Duration{math.MinInt64, -1, 0, 1, time.Millisecond} {
		if n, err := getEvents(c, 1, events, timeout); n != 0 || err != nil {
			t.Errorf("GetEvents with a timeout of %v = %d, %v", timeout, n, err)
		}
	}
	if n, err := getEvents(c, 0, events, time.Hour); n != 0 || err != nil {
		t.Errorf("GetEvents of at least 0 = %d, %v", n, err)
	}
	// Fewer than min, and no error, when the time is up.
	if n, err := c.Submit([]*IOCB{read(fd, AlignedSlice(1, 1), 0, 0)}); n != 1 || err != nil {
		t.Fatalf("Submit = %d, %v", n, err)
	}
	// The read is of cached data, so its event was there before Submit returned;
	// a slower file system may need a second look.
	n, err := getEvents(c, 2, events, time.Millisecond)
	if n == 0 && err == nil {
		wait(t, c, 1)
		t.Skip("the event was not there yet")
	}
	if n != 1 || err != nil {
		t.Errorf("GetEvents(2) = %d, %v, want 1, nil", n, err)
	}
}

func TestTimespec(t *testing.T) {
	for _, c := range []struct {
		d         time.Duration
		sec, nsec int64
	}{
		{0, 0, 0}, {-1, 0, 0}, {math.MinInt64, 0, 0}, {1, 0, 1},
		{1500 * time.Millisecond, 1, 5e8},
		{math.MaxInt32 * time.Second, math.MaxInt32, 0},
		{(math.MaxInt32 + 1) * time.Second, min(math.MaxInt32+1, math.MaxInt), 0},
	} {
		ts := timespec(c.d)
		if int64(ts.Sec) != c.sec || int64(ts.Nsec) != c.nsec {
			t.Errorf("timespec(%v) = %+v", c.d, ts)
		}
	}
	if ts := timespec(math.MaxInt64); ts.Sec <= 0 || ts.Nsec < 0 || ts.Nsec >= 1e9 {
		t.Errorf("timespec(max) = %+v", ts)
	}
}

// TestReapKernelRing takes three times the slots of the ring through it, in
// order and exactly once, by Reap alone and then by Reap and GetEvents in turn.
func TestReapKernelRing(t *testing.T) {
	const depth = 8
	for _, mixed := range []bool{false, true} {
		c := setup(t, depth)
		if !c.Mapped() {
			t.Skip("the completion ring is not mapped")
		}
		e := newEventFD(t)
		fd := int(tempFile(t, "0123456789").Fd())
		p, iocbs, events := AlignedSlice(depth, 1), make([]*IOCB, depth), make([]Event, depth)

		slots := len(c.ring.events)
		seen := make([]bool, 3*slots+depth)
		for next := 0; next < 3*slots; next += depth {
			for i := range iocbs {
				iocbs[i] = read(fd, p[i:i+1], int64(i), uint64(next+i))
				iocbs[i].SetEventFD(e.FD())
			}
			if n, err := c.Submit(iocbs); n != depth || err != nil {
				t.Fatalf("Submit = %d, %v", n, err)
			}
			for got := 0; got < depth; {
				// An event is in its slot before it is counted.
				if err := e.Wait(); err != nil {
					t.Fatal(err)
				}
				for {
					var n int
					var err error
					if mixed && got%2 == 1 {
						n, err = getEvents(c, 0, events[:1], 0)
					} else {
						n = c.Reap(events[:3])
					}
					if err != nil {
						t.Fatalf("GetEvents: %v", err)
					}
					if n == 0 {
						break
					}
					for _, ev := range events[:n] {
						if ev.Res != 1 || ev.Data >= uint64(len(seen)) || seen[ev.Data] {
							t.Fatalf("event %+v: failed, unknown or seen before", ev)
						}
						seen[ev.Data] = true
					}
					got += n
				}
			}
		}
		if n := c.Reap(events); n != 0 {
			t.Errorf("%d events left", n)
		}
		if string(p) != "01234567" {
			t.Errorf("read %q", p)
		}
	}
}

// TestFull: a slot is free again when its event has been consumed, not before.
func TestFull(t *testing.T) {
	c := setup(t, 1)
	fd := int(tempFile(t, "x").Fd())
	p := AlignedSlice(1, 1)
	accepted := 0
	for ; accepted < MaxEvents; accepted++ {
		n, err := c.Submit([]*IOCB{read(fd, p, 0, 0)})
		if err == syscall.EAGAIN {
			break
		}
		if n != 1 || err != nil {
			t.Fatalf("Submit = %d, %v", n, err)
		}
	}
	if accepted < 1 || c.Mapped() && accepted >= len(c.ring.events) {
		t.Fatalf("EAGAIN after %d requests", accepted)
	}
	wait(t, c, accepted)
	if n, err := c.Submit([]*IOCB{read(fd, p, 0, 0)}); n != 1 || err != nil {
		t.Fatalf("Submit into an empty ring = %d, %v", n, err)
	}
	wait(t, c, 1)
}

func TestDestroy(t *testing.T) {
	c := setup(t, 2)
	fd := int(tempFile(t, "x").Fd())
	iocbs := []*IOCB{read(fd, AlignedSlice(1, 1), 0, 0)}
	if n, err := c.Submit(iocbs); n != 1 || err != nil {
		t.Fatalf("Submit = %d, %v", n, err)
	}
	if err := c.Destroy(); err != nil {
		t.Fatalf("Destroy: %v", err)
	}
	events := make([]Event, 1)
	if n := c.Reap(events); n != 0 {
		t.Errorf("Reap after Destroy = %d", n)
	}
	if n, err := c.Submit(iocbs); n != 0 || err != syscall.EINVAL {
		t.Errorf("Submit after Destroy = %d, %v, want EINVAL", n, err)
	}
	if n, err := getEvents(c, 1, events, time.Minute); n != 0 || err != syscall.EINVAL {
		t.Errorf("GetEvents after Destroy = %d, %v, want EINVAL", n, err)
	}
	if err := c.Destroy(); err != syscall.EINVAL {
		t.Errorf("second Destroy: %v, want EINVAL", err)
	}
}

// TestDestroyForgets: the id of a destroyed context is an address, which the
// kernel is free to hand out again.
func TestDestroyForgets(t *testing.T) {
	old := setup(t, 1)
	if err := old.Destroy(); err != nil {
		t.Fatal(err)
	}
	c := setup(t, 1)
	if err := old.Destroy(); err != syscall.EINVAL {
		t.Errorf("second Destroy: %v, want EINVAL", err)
	}
	if n, err := getEvents(c, 0, nil, 0); n != 0 || err != nil {
		t.Errorf("the next context is gone: %d, %v", n, err)
	}
}

// TestDestroyWakes: whether GetEvents is asleep by then or not, it ends.
func TestDestroyWakes(t *testing.T) {
	c := setup(t, 1)
	entered, done := make(chan struct{}), make(chan error)
	go func() {
		close(entered)
		n, err := getEvents(c, 1, make([]Event, 1), math.MaxInt64)
		if err == nil {
			err = fmt.Errorf("%d events from nowhere", n)
		}
		done <- err
	}()
	<-entered
	if err := c.Destroy(); err != nil {
		t.Fatalf("Destroy: %v", err)
	}
	if err := <-done; err != syscall.EINVAL {
		t.Errorf("GetEvents: %v, want EINVAL", err)
	}
}

func TestContextAllocs(t *testing.T) {
	var c Context = setup(t, 4)
	fd := int(tempFile(t, "x").Fd())
	p, events := AlignedSlice(1, 1), make([]Event, 4)
	b := new(IOCB)
	iocbs, bad := []*IOCB{b, b}, []*IOCB{read(-1, p, 0, 0)}
	if n := testing.AllocsPerRun(200, func() {
		b.PrepareRead(fd, p, 0)
		submitted, err := c.Submit(iocbs)
		if submitted != 2 || err != nil {
			t.Fatalf("Submit = %d, %v", submitted, err)
		}
		for got := 0; got < submitted; {
			got += c.Reap(events[:1])
			n, err := getEvents(c, min(1, submitted-got), events, time.Minute)
			if err != nil {
				t.Fatalf("GetEvents: %v", err)
			}
			got += n
		}
		if _, err := c.Submit(bad); err != syscall.EBADF {
			t.Fatalf("Submit: %v", err)
		}
		if _, err := getEvents(c, 0, events, 0); err != nil {
			t.Fatalf("GetEvents: %v", err)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkSubmitReap(b *testing.B) {
	c := setup(b, 1)
	fd := int(tempFile(b, "x").Fd())
	p, events := AlignedSlice(1, 1), make([]Event, 1)
	iocb := new(IOCB)
	iocbs := []*IOCB{iocb}
	b.ReportAllocs()
	for b.Loop() {
		iocb.PrepareRead(fd, p, 0)
		if _, err := c.Submit(iocbs); err != nil {
			b.Fatal(err)
		}
		if c.Reap(events) == 0 {
			wait(b, c, 1)
		}
	}
}
