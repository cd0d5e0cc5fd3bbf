package aiotest

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A transfer is a read of 8 bytes that its driver continues until it is whole.
type transfer struct {
	buf  []byte
	done int
}

// A driver submits transfers and consumes events on one goroutine, in one of the
// ways of a user of aio.Context. It leaves a trace of all answers.
type driver struct {
	t       *testing.T
	k       *Kernel
	all     []*transfer
	queue   []*aio.IOCB
	left    int
	depth   int
	flying  int
	eventFD bool
	trace   bytes.Buffer
}

func newDriver(t *testing.T, seed uint64, depth, transfers int, eventFD bool) *driver {
	d := &driver{t: t, k: Random(seed, depth), left: transfers, depth: depth, eventFD: eventFD}
	m := new(Mem)
	for i := range transfers {
		m.WriteAt(fmt.Appendf(nil, "%08d", i), int64(8*i))
		d.all = append(d.all, &transfer{buf: []byte("........")})
	}
	d.k.Attach(fd, m)
	for i := range d.all {
		d.enqueue(i)
	}
	return d
}

// enqueue makes the iocb for what transfer i still lacks.
func (d *driver) enqueue(i int) {
	tr := d.all[i]
	cb := read(uint64(i), tr.buf[tr.done:], int64(8*i+tr.done))
	if d.eventFD {
		cb.SetEventFD(5)
	}
	d.queue = append(d.queue, cb)
}

// submit hands in as much as there is room for.
func (d *driver) submit() {
	for refused := 0; len(d.queue) > 0 && d.flying < d.depth; {
		n, err := d.k.Submit(d.queue[:min(len(d.queue), d.depth-d.flying)])
		fmt.Fprintf(&d.trace, "s%d,%v ", n, err)
		d.queue = d.queue[n:]
		d.flying += n
		switch {
		case err == nil:
			refused = 0
		case err != syscall.EAGAIN:
			d.t.Fatal(err)
		case d.flying > 0:
			return
		default:
			if refused++; refused > maxRefusals {
				d.t.Fatalf("refused %d times with nothing in flight", refused)
			}
		}
	}
}

// handle takes the events in and queues what came out short.
func (d *driver) handle(events []aio.Event) {
	for _, e := range events {
		fmt.Fprintf(&d.trace, "e%d,%d ", e.Data, e.Res)
		if e.Res <= 0 {
			d.t.Fatalf("event %+v", e)
		}
		d.flying--
		tr := d.all[e.Data]
		if tr.done += int(e.Res); tr.done == len(tr.buf) {
			d.left--
			continue
		}
		d.enqueue(int(e.Data))
	}
}

// getEvents is one call, with EINTR and "none" taken as such.
func (d *driver) getEvents(least int, timeout time.Duration) int {
	events := make([]aio.Event, 4)
	n, err := d.k.GetEvents(least, events, timeout)
	fmt.Fprintf(&d.trace, "g%d,%v ", n, err)
	if err != nil && (err != syscall.EINTR || least == 0) {
		d.t.Fatal(err)
	}
	d.handle(events[:n])
	return n
}

func (d *driver) check() {
	d.t.Helper()
	for i, tr := range d.all {
		if want := fmt.Sprintf("%08d", i); string(tr.buf) != want {
			d.t.Errorf("read %q, want %q", tr.buf, want)
		}
	}
	if err := d.k.Destroy(); err != nil {
		d.t.Error(err)
	}
	wantViolations(d.t, d.k)
}

// The ways of waiting for events. Each must see everything end.
var ways = map[string]func(d *driver){
	"sleep in GetEvents": func(d *driver) {
		for d.left > 0 {
			d.submit()
			d.getEvents(min(2, d.flying), forever)
		}
	},
	"poll with Reap": func(d *driver) {
		events := make([]aio.Event, 4)
		for d.left > 0 {
			d.submit()
			d.handle(events[:d.k.Reap(events)])
		}
	},
	"sleep on an eventfd, Reap": func(d *driver) {
		events := make([]aio.Event, 4)
		sleepOnEventFD(d, func() int {
			n := d.k.Reap(events)
			d.handle(events[:n])
			return n
		})
	},
	"sleep on an eventfd, GetEvents": func(d *driver) {
		d.k.SetMapped(false)
		sleepOnEventFD(d, func() int { return d.getEvents(0, 0) })
	},
}

// sleepOnEventFD takes what there is only after a signal, and fails where none is
// there: with one goroutine, nothing could bring it later.
func sleepOnEventFD(d *driver, consume func() int) {
	signals := 0
	d.k.Notify(func(int) { signals++ })
	for d.submit(); d.left > 0; d.submit() {
		if signals == 0 {
			d.t.Fatalf("no signal with %d in flight", d.flying)
		}
		signals = 0
		for d.flying > 0 && consume() == 4 {
			continue // a full buffer: there may be more
		}
	}
}

func TestRandomEndsEverything(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				d := newDriver(t, seed, 1+int(seed%7), 20, name[:8] == "sleep on")
				way(d)
				d.check()
			}
		})
	}
}

func TestRandomIsReproducible(t *testing.T) {
	for name, way := range ways {
		var traces []string
		for _, seed := range []uint64{1, 1, 2} {
			d := newDriver(t, seed, 5, 40, name[:8] == "sleep on")
			way(d)
			traces = append(traces, d.trace.String())
		}
		if traces[0] != traces[1] {
			t.Errorf("%s: the same seed gave\n%s\nand\n%s", name, traces[0], traces[1])
		}
		if traces[0] == traces[2] {
			t.Errorf("%s: two seeds gave the same", name)
		}
	}
}

// Over some seeds, everything that Random may do happens.
func TestRandomShowsEveryFault(t *testing.T) {
	var all string
	for seed := range uint64(20) {
		d := newDriver(t, seed, 5, 40, false)
		ways["sleep in GetEvents"](d)
		all += d.trace.String()
	}
	for _, want := range []string{
		"s0," + syscall.EAGAIN.Error(),
		"s1,<nil>",
		"s5,<nil>",
		"g0," + syscall.EINTR.Error(),
		"g0,<nil>",
		"g1,<nil>",
		"g2,<nil>",
		",3 ",
		"e1,8 e0,",
	} {
		if !bytes.Contains([]byte(all), []byte(want)) {
			t.Errorf("never seen: %q", want)
		}
	}
}

// Several submitters and one consumer, each way of sleeping: nothing is lost and
// nothing hangs.
func TestRandomManySubmitters(t *testing.T) {
	const workers, each = 4, 100
	for _, eventFD := range []bool{false, true} {
		k := Random(1, workers)
		k.Allow(NoIdleCall)
		k.Attach(fd, NewMem([]byte("0123456789abcdef")))
		signal := make(chan struct{}, 1)
		k.Notify(func(int) {
			select {
			case signal <- struct{}{}:
			default: // a count is there already
			}
		})
		places := make(chan struct{}, workers)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					places <- struct{}{}
					cb := read(uint64(w*each+i), []byte("...."), 4)
					if eventFD {
						cb.SetEventFD(5)
					}
					for {
						n, err := k.Submit([]*aio.IOCB{cb})
						if n == 1 {
							break
						}
						if err != syscall.EAGAIN {
							t.Error(n, err)
						}
						runtime.Gosched()
					}
				}
			})
		}
		events := make([]aio.Event, workers+1)
		for left := workers * each; left > 0; {
			n := 0
			if eventFD {
				<-signal
				n = k.Reap(events)
			} else {
				n, _ = k.GetEvents(1, events, forever)
			}
			left -= n
			for range n {
				<-places
			}
		}
		wg.Wait()
		if c := k.Counts(); c.SubmittedOps != workers*each || c.InFlight != 0 {
			t.Errorf("counts %+v", c)
		}
		wantViolations(t, k)
	}
}

// A consumer asleep in GetEvents is woken by what is held later.
func TestRandomWakesASleepingConsumer(t *testing.T) {
	k := Random(1, 4)
	k.Allow(NoIdleCall)
	k.Attach(fd, NewMem([]byte("0123456789abcdef")))
	k.OnGetEvents(func(int) (int, error) { return -1, nil })
	k.OnSubmit(func(int, int) (int, error) { return -1, nil })
	k.OnOp(func(*Op) Verdict { return Hold() })
	got := make(chan int)
	go func() {
		n, _ := k.GetEvents(3, make([]aio.Event, 3), forever)
		got <- n
	}()
	k.AwaitWaiting()
	submit(t, k, reads(3)...)
	if n := <-got; n != 3 {
		t.Errorf("GetEvents = %d, want 3", n)
	}
	if c := k.Counts(); c.InFlight != 0 || !slices.Equal(c.BatchSizes, []int{3}) {
		t.Errorf("counts %+v", c)
	}
}

// drawEnds sends one read of 8 bytes after the other and counts how they end.
func drawEnds(t *testing.T, k *Kernel) (submits map[error]int, ends map[int64]int) {
	k.Attach(fd, NewMem([]byte("0123456789abcdef")))
	submits, ends = map[error]int{}, map[int64]int{}
	events := make([]aio.Event, 1)
	for i := range 1000 {
		_, err := k.Submit([]*aio.IOCB{read(uint64(i), []byte("........"), 0)})
		if submits[err]++; err != nil {
			continue
		}
		for n := 0; n == 0; {
			n, _ = k.GetEvents(1, events, forever)
		}
		ends[events[0].Res]++
	}
	wantViolations(t, k)
	return submits, ends
}

func TestRandomKeepsToUnits(t *testing.T) {
	k := Random(1, 1)
	k.SetUnit(4)
	if _, ends := drawEnds(t, k); len(ends) != 2 || ends[4] == 0 || ends[8] == 0 {
		t.Errorf("reads end with %v, want some with 4 and with 8", ends)
	}
}

func TestRandomFails(t *testing.T) {
	k := Random(1, 1)
	k.SetFaults(5, syscall.EIO, syscall.EINTR)
	submits, ends := drawEnds(t, k)
	if submits[syscall.EIO] == 0 || submits[syscall.EINTR] > 0 {
		t.Errorf("Submit answers %v, want EIO at times and EINTR never", submits)
	}
	if ends[-int64(syscall.EIO)] == 0 || ends[-int64(syscall.EINTR)] == 0 || ends[8] == 0 {
		t.Errorf("reads end with %v, want some with EIO, with EINTR and with 8", ends)
	}
}
