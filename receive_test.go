package asyncfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A receiver is a goroutine in Receive.
type receiver struct {
	id   int
	done chan struct{}
	got  []Completion // up to 8; when done is closed
	err  error
	took time.Duration
}

// receive starts a goroutine that receives from q, and returns when everyone waits.
func (s *scripted) receive(ctx context.Context, q *Queue) *receiver {
	s.Helper()
	r := &receiver{done: make(chan struct{})}
	started := make(chan int)
	go func() {
		started <- goroutine()
		start := time.Now()
		list := make([]Completion, 8)
		n, err := q.Receive(ctx, list)
		r.got, r.err, r.took = list[:n], err, time.Since(start)
		close(r.done)
	}()
	r.id = <-started
	s.settle()
	return r
}

// want checks that the receiver has come back with these tags.
func (r *receiver) want(s *scripted, tags ...any) {
	s.Helper()
	s.settle()
	select {
	case <-r.done:
	default:
		time.Sleep(maxStay) // of the bubble: it was in the kernel when another goroutine delivered
		s.settle()
	}
	select {
	case <-r.done:
	default:
		s.Fatal("Receive waits")
	}
	var got []any
	for _, c := range r.got {
		got = append(got, c.Tag)
	}
	if !slices.Equal(got, tags) || len(tags) > 0 && r.err != nil {
		s.Errorf("received %v, %v; want %v", got, r.err, tags)
	}
}

func (r *receiver) wantWaiting(s *scripted) {
	s.Helper()
	s.settle()
	select {
	case <-r.done:
		s.Fatalf("Receive is back with %v, %v", r.got, r.err)
	default:
	}
}

// read submits a read of 10 bytes for each offset, which is its tag.
func (s *scripted) read(q *Queue, f *AsyncFile, offsets ...int64) {
	s.Helper()
	for _, off := range offsets {
		if err := q.ReadAt(f, make([]byte, 10), off, off); err != nil {
			s.Fatal(err)
		}
	}
}

// newQueue returns a Queue that is closed, and has nothing left, at the end.
func (s *scripted) newQueue(depth int) *Queue {
	q := NewQueue(depth)
	s.Cleanup(func() {
		if err := q.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			s.Error(err)
		}
		for c := range q.C() {
			s.Errorf("%v was not received", c.Tag)
		}
	})
	return q
}

// A goroutine that receives sends all that was submitted at once, and reaps it.
func TestReceiverDoesEverything(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		calls := s.watchCallers()
		s.hold()
		s.read(q, s.direct, 0, 10, 20)
		s.settle()
		calls.want(s, 0, 0, 0)
		s.inNoTime("a Receive", func() {
			r := s.receive(s.Context(), q)
			calls.want(s, r.id, 1, 1)
			s.wantCompleter(ring.Parked)
			s.completeAt(10)
			r.want(s, int64(10))
			calls.want(s, r.id, 1, 1)
			s.wantCompleter(ring.Parked)
		})
		s.wantBatches(3)
		s.read(q, s.direct, 30) // goes out with the next Receive, and not before
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
		s.settle()
		if got := s.state(); got.Pending != 1 {
			s.Errorf("%d pending, want 1", got.Pending)
		}
		r := s.receive(s.Context(), q)
		if len(r.got) != 2 {
			s.Errorf("%d at once, want 2", len(r.got))
		}
		r = s.receive(s.Context(), q)
		s.completeAt(30)
		r.want(s, int64(30))
		s.wantCompleter(ring.Parked)
	})
}

// What a receiver gets, and does not take, is there for the next.
func TestReceiveTakesWhatThereIsRoomFor(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		s.read(q, s.direct, 0, 10, 20, 30, 40)
		seen := map[any]bool{}
		for len(seen) < 5 {
			list := make([]Completion, 2)
			n, err := q.Receive(s.Context(), list)
			if n < 1 || n > 2 || err != nil {
				s.Fatalf("Receive = %d, %v", n, err)
			}
			for _, c := range list[:n] {
				seen[c.Tag] = true
			}
		}
	})
}

// A full batch does not wait for Receive, and the watchdog sends what it has to wait
// for too long.
func TestWhatGathersGoesOut(t *testing.T) {
	inBubble(t, 2*ring.MaxBatch, func(s *scripted) {
		q := s.newQueue(2 * ring.MaxBatch)
		s.hold()
		s.inNoTime("a full batch", func() {
			for i := range ring.MaxBatch + 1 {
				s.read(q, s.direct, int64(10*i))
			}
			s.kernel.Await(ring.MaxBatch)
		})
		s.read(q, s.direct, 1000)
		time.Sleep(2*ring.WatchPeriod + 1) // of the bubble
		s.completeAt(1000)
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
		for got := 0; got < ring.MaxBatch+2; {
			n, err := q.Receive(s.Context(), make([]Completion, 2*ring.MaxBatch))
			if err != nil {
				s.Fatal(err)
			}
			got += n
		}
	})
}

// What another goroutine submits while Receive waits goes out at once, whatever
// Receive waits at.
func TestSubmitBesideAReceiver(t *testing.T) {
	for _, at := range []string{"the kernel", "the channel", "the channel, after the kernel"} {
		for name := range (&scripted{}).routes() {
			t.Run(at+"/"+name, func(t *testing.T) {
				inBubble(t, 8, func(s *scripted) {
					q := s.newQueue(8)
					s.hold()
					if at != "the channel" {
						s.read(q, s.direct, 90)
					}
					r := s.receive(s.Context(), q)
					if at != "the kernel" {
						time.Sleep(2 * maxStay) // of the bubble
					}
					s.inNoTime("a submission", func() {
						s.read(q, s.routes()[name], 10)
						s.completeAt(10)
						r.want(s, int64(10))
					})
					if at != "the channel" {
						s.completeAt(90)
						s.receive(s.Context(), q).want(s, int64(90))
					}
					s.pass()
					if n := s.state().Asks; n != 0 {
						s.Errorf("an idle Queue asks %d times", n)
					}
				})
			})
		}
	}
}

// A receiver resolves what is others', and of several one reaps for all.
func TestReceiverReapsForOthers(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		s.hold()
		s.read(q, s.direct, 0)
		first := s.receive(s.Context(), q)
		w := s.await(s.direct.ReadAt(make([]byte, 10), 50))
		s.inNoTime("a Future beside a receiver", func() {
			s.completeAt(50)
			w.wantBack(s, true)
		})
		first.wantWaiting(s)
		second := s.receive(s.Context(), q)
		s.inNoTime("two receivers", func() {
			s.read(q, s.direct, 10)
			s.completeAt(0)
			s.completeAt(10)
			s.settle()
			<-first.done
			<-second.done
		})
		if len(first.got) != 1 || len(second.got) != 1 {
			s.Errorf("received %d and %d", len(first.got), len(second.got))
		}
		s.pass()
		if got := s.state(); got.Completer != ring.Parked || s.state().Asks != 0 {
			s.Errorf("at the end %+v, %d asks", got, s.state().Asks)
		}
	})
}

// The end of a context is noticed at once where Receive waits on the channel, and
// within maxStay where it is in the kernel. What is ready wins.
func TestReceiveContext(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		s.hold()
		dead, cancel := deadContext()
		defer cancel()
		idle, cancelIdle := context.WithCancel(s.Context())
		r := s.receive(idle, q)
		s.inNoTime("the end of a context of an idle Queue", func() {
			cancelIdle()
			r.want(s)
			if r.err != context.Canceled {
				s.Error(r.err)
			}
		})

		s.read(q, s.direct, 0)
		s.inNoTime("a look", func() { // sends
			s.receive(dead, q).want(s)
			s.completeAt(0)
			s.receive(dead, q).want(s, int64(0)) // reaps
			s.wantCompleter(ring.Parked)
		})

		s.read(q, s.direct, 10)
		for _, after := range []time.Duration{0, maxStay / 2, 10 * maxStay} {
			ctx, cancel := context.WithCancel(s.Context())
			r = s.receive(ctx, q)
			time.Sleep(after) // of the bubble
			start := time.Now()
			cancel()
			<-r.done
			if took := time.Since(start); took > maxStay || after > maxStay && took > 0 || r.err != context.Canceled {
				s.Errorf("cancelled after %v it took %v, %v", after, took, r.err)
			}
		}
		for _, d := range []time.Duration{maxStay / 4, 10 * maxStay} {
			ctx, cancel := context.WithTimeout(s.Context(), d)
			r = s.receive(ctx, q)
			<-r.done
			cancel()
			if r.took != d || r.err != context.DeadlineExceeded {
				s.Errorf("a deadline after %v: %v, %v", d, r.took, r.err)
			}
		}
		s.completeAt(10)
		s.receive(s.Context(), q).want(s, int64(10))
	})
}

// After a wait in vain the completer has the wait, and gives it back.
func TestReceiverLeavesALongWaitToTheCompleter(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		s.hold()
		s.read(q, s.direct, 0, 10)
		r := s.receive(s.Context(), q)
		before := s.kernel.Counts().GetEvents
		time.Sleep(defaultTimeout * 10) // of the bubble
		if n := s.kernel.Counts().GetEvents - before; n > 12 {
			s.Errorf("%d io_getevents while nothing comes, in ten timeouts", n)
		}
		s.wantCompleter(ring.Waiting)
		s.inNoTime("an event", func() {
			s.completeAt(0)
			r.want(s, int64(0))
		})
		s.read(q, s.direct, 20)
		r = s.receive(s.Context(), q)
		s.completeAt(20)
		r.want(s, int64(20))
		s.completeAt(10)
		r = s.receive(s.Context(), q)
		r.want(s, int64(10))
		s.pass()
		s.wantCompleter(ring.Parked)
	})
}

// Close ends every Receive: with what there is, and then with fs.ErrClosed.
func TestReceiveAndClose(t *testing.T) {
	for _, pending := range []bool{false, true} {
		inBubble(t, 8, func(s *scripted) {
			q := s.newQueue(8)
			s.hold()
			if pending {
				s.read(q, s.direct, 0, 10)
			}
			var waiting []*receiver
			for range 3 {
				waiting = append(waiting, s.receive(s.Context(), q))
			}
			closed := make(chan error, 1)
			s.inNoTime("Close", func() {
				go func() { closed <- q.Close() }()
				s.settle()
				if pending {
					for _, r := range waiting {
						r.wantWaiting(s)
					}
					s.completeAt(0)
					s.completeAt(10)
				}
				if err := <-closed; err != nil {
					s.Error(err)
				}
				s.settle()
			})
			got := 0
			for _, r := range waiting {
				<-r.done
				got += len(r.got)
				if len(r.got) == 0 && !errors.Is(r.err, fs.ErrClosed) {
					s.Errorf("Receive: %v", r.err)
				}
			}
			if pending && got != 2 {
				s.Errorf("%d received, want 2", got)
			}
			if n, err := q.Receive(s.Context(), make([]Completion, 1)); n != 0 || !errors.Is(err, fs.ErrClosed) {
				s.Errorf("after Close: %d, %v", n, err)
			}
		})
	}
}

// Close sends what nobody has come to send, and what is left can be received.
func TestCloseOfAPulledQueue(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		s.read(q, s.direct, 0, 10)
		s.inNoTime("Close", func() {
			if err := q.Close(); err != nil {
				s.Error(err)
			}
		})
		if r := s.receive(s.Context(), q); len(r.got) != 2 {
			s.Errorf("received %v, %v", r.got, r.err)
		}
	})
}

// Who turns from Receive to the channel has sent, and reaped, what was submitted for
// Receive; and who is on the channel from before does not have to wait for the
// watchdog for ever.
func TestReceiveAndC(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		t.Run("turn", func(*testing.T) {
			q := s.newQueue(4)
			s.read(q, s.direct, 0)
			s.inNoTime("C", func() {
				c := q.C()
				s.settle()
				s.completeAt(0)
				<-c
			})
			s.read(q, s.direct, 10, 20)
			s.settle()
			s.completeAt(10)
			s.receive(s.Context(), q).want(s, int64(10))
			s.inNoTime("C again", func() {
				c := q.C()
				s.settle()
				s.completeAt(20)
				<-c
			})
		})
		t.Run("both", func(*testing.T) {
			q := s.newQueue(4)
			c := q.C()
			s.read(q, s.direct, 0)
			s.receive(s.Context(), q)
			s.completeAt(0)
			slow := 0
			for i := range 20 {
				start := time.Now()
				s.read(q, s.direct, int64(100+i))
				s.settle()
				for len(s.kernel.Held()) == 0 {
					time.Sleep(ring.WatchPeriod) // of the bubble
				}
				s.completeAt(int64(100 + i))
				<-c
				if time.Since(start) > 0 {
					slow++
				}
			}
			if slow > cap(q.ready)+1 {
				s.Errorf("%d of 20 waited for the watchdog", slow)
			}
		})
	})
}

// A device that holds up a sender holds up neither what comes from another, nor who
// has a context.
func TestReceiverSleepsForNobody(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		q := s.newQueue(16)
		other := s.otherLane(s.mem)
		wake := s.sleepAt(100)
		s.read(q, s.direct, 100)
		s.read(q, other, 0)
		r := s.receive(context.Background(), q)
		s.inNoTime("what comes from another device", func() {
			s.completeAt(0)
			r.want(s, int64(0))
		})
		wake(100)
		s.completeAt(100)
		s.receive(s.Context(), q).want(s, int64(100))
	})
	inBubble(t, 16, func(s *scripted) {
		q := s.newQueue(16)
		wake := s.sleepAt(100)
		if err := q.WriteAt(s.direct, make([]byte, 10), 100, "w"); err != nil {
			s.Fatal(err)
		}
		s.read(q, s.direct, 0)
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		r := s.receive(ctx, q)
		s.inNoTime("a read beside a write to a frozen file system", func() {
			s.completeAt(0)
			r.want(s, int64(0))
		})
		r = s.receive(ctx, q)
		r.wantWaiting(s)
		<-r.done
		if r.took != time.Second || r.err != context.DeadlineExceeded {
			s.Errorf("%v after %v", r.err, r.took)
		}
		wake(100)
		s.completeAt(100)
		s.receive(s.Context(), q).want(s, "w")
	})
}

// A Queue forgets the lanes of files that are closed.
func TestQueueForgetsLanes(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		q := s.newQueue(8)
		s.read(q, s.direct, 0)
		s.receive(s.Context(), q).want(s, int64(0))
		for range 5 {
			f := s.otherLane(s.mem)
			s.read(q, f, 10)
			s.receive(s.Context(), q).want(s, int64(10))
			if err := f.Close(); err != nil {
				s.Error(err)
			}
		}
		if n := len(q.reach.Load().lanes); n > 2 {
			s.Errorf("%d lanes", n)
		}
	})
}

func TestReceiveMisuse(t *testing.T) {
	q := NewQueue(1)
	room := make([]Completion, 1)
	var none *Queue
	var noContext context.Context
	for name, receive := range map[string]func() (int, error){
		"nil Queue":   func() (int, error) { return none.Receive(t.Context(), room) },
		"zero Queue":  func() (int, error) { return new(Queue).Receive(t.Context(), room) },
		"nil context": func() (int, error) { return q.Receive(noContext, room) },
		"no room":     func() (int, error) { return q.Receive(t.Context(), room[:0]) },
		"nil no room": func() (int, error) { return q.Receive(t.Context(), nil) },
		"nil All": func() (int, error) {
			for range none.All(t.Context()) {
				t.Error("yields")
			}
			return 0, os.ErrInvalid
		},
		"nil All, ctx": func() (int, error) {
			for range q.All(noContext) {
				t.Error("yields")
			}
			return 0, os.ErrInvalid
		}, //nolint:staticcheck
	} {
		if n, err := receive(); n != 0 || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	closeQueue(t, q)
}

func TestReceive(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const depth, count = 16, 1000
		data := testPattern(64*testBlock, 1)
		f := open(putFile(t, data), os.O_RDONLY)
		q := NewQueue(depth)
		next := 0
		submit := func(p []byte) {
			if err := q.ReadAt(f, p, int64(next%64)*testBlock, next); err != nil {
				t.Fatal(err)
			}
			next++
		}
		for range depth {
			submit(AlignedBuffer(testBlock))
		}
		seen := make([]bool, count)
		list := make([]Completion, 5)
		for received := 0; received < count; {
			n, err := q.Receive(t.Context(), list)
			if n == 0 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			for _, c := range list[:n] {
				i := c.Tag.(int)
				if seen[i] || c.Err != nil || c.N != testBlock || c.File != f || !bytes.Equal(c.Buf, data[i%64*testBlock:][:testBlock]) {
					t.Fatalf("completion %d: seen %v, %d, %v, or other bytes", i, seen[i], c.N, c.Err)
				}
				seen[i] = true
				if next < count {
					submit(c.Buf)
				}
			}
			received += n
		}
		closeQueue(t, q)
		if n, err := q.Receive(t.Context(), list); n != 0 || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("at the end %d, %v", n, err)
		}
	})
}

func TestAll(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const count = 40
		f := open(putFile(t, testPattern(64*testBlock, 1)), os.O_RDONLY)
		q := NewQueue(count)
		for i := range count {
			if err := q.ReadAt(f, AlignedBuffer(testBlock), int64(i)*testBlock, i); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[any]bool{}
		for range 5 { // a loop that is left takes nothing along
			n := 0
			for c := range q.All(t.Context()) {
				seen[c.Tag] = true
				if n++; n == 4 {
					break
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		for c := range q.All(ctx) { // ends with ctx, when nothing is ready any more
			if seen[c.Tag] = true; len(seen) == count {
				cancel()
			}
		}
		cancel()
		if len(seen) != count {
			t.Errorf("%d of %d", len(seen), count)
		}
		if err := q.ReadAt(f, AlignedBuffer(testBlock), 0, "last"); err != nil {
			t.Fatal(err)
		}
		closeQueue(t, q)
		for c := range q.All(t.Context()) {
			seen[c.Tag] = true
		}
		if !seen["last"] {
			t.Error("the last was not received")
		}
	})
}

// TestReceiveFromSeveralRings has the files of one Queue on Rings of their own.
func TestReceiveFromSeveralRings(t *testing.T) {
	needDirect(t)
	name := putFile(t, testPattern(64*testBlock, 1))
	files := []*AsyncFile{openTest(t, name, os.O_RDONLY)}
	for _, backend := range []Backend{BackendAIO, BackendAIO, BackendPool} {
		files = append(files, openTest(t, name, os.O_RDONLY, WithRing(newTestRing(t, WithBackend(backend))),
			WithBackend(backend), WithDirect(DirectRequire)))
	}
	q := NewQueue(8)
	for i := range 500 {
		for _, f := range files {
			if err := q.ReadAt(f, AlignedBuffer(testBlock), int64(i%64)*testBlock, f); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[any]bool{}
		for len(seen) < len(files) {
			list := make([]Completion, len(files))
			n, err := q.Receive(t.Context(), list)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list[:n] {
				if c.Err != nil || seen[c.Tag] {
					t.Fatal(c.Err)
				}
				seen[c.Tag] = true
			}
		}
	}
	closeQueue(t, q)
}

// TestReceiveAtRandom has goroutines submit, receive in all ways, and give up, while
// others wait for Futures of the same Ring, until the Queue is closed. Each
// completion is received once.
func TestReceiveAtRandom(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const each = 150
		name := putFile(t, testPattern(64*testBlock, 1))
		f, g := open(name, os.O_RDWR), open(filepath.Clean(name), os.O_RDONLY)
		q := NewQueue(12)
		var submitters, receivers sync.WaitGroup
		var mu sync.Mutex
		seen := map[any]int{}
		take := func(list ...Completion) {
			mu.Lock()
			defer mu.Unlock()
			for _, c := range list {
				seen[c.Tag]++
				if c.Err != nil {
					t.Error(c.Err)
				}
			}
		}
		var closed atomic.Bool
		for i := range 6 {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			receivers.Go(func() {
				for {
					switch rnd.IntN(4) {
					case 0:
						select {
						case c, ok := <-q.C():
							if !ok {
								return
							}
							take(c)
						case <-time.After(time.Duration(rnd.IntN(3000)) * time.Microsecond):
						}
					case 1:
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(3000))*time.Microsecond)
						n := 0
						for c := range q.All(ctx) {
							take(c)
							if n++; n == 5 {
								break
							}
						}
						cancel()
					default:
						ctx, cancel := t.Context(), func() {}
						if rnd.IntN(2) == 0 {
							ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(3000))*time.Microsecond)
						}
						list := make([]Completion, 1+rnd.IntN(4))
						n, err := q.Receive(ctx, list)
						cancel()
						take(list[:n]...)
						if err != nil && !errors.Is(err, fs.ErrClosed) && err != context.DeadlineExceeded {
							t.Error(err)
						}
						if errors.Is(err, fs.ErrClosed) != (n == 0 && err != nil && closed.Load() && err != context.DeadlineExceeded) {
							t.Errorf("%v, closed %v", err, closed.Load())
						}
						if errors.Is(err, fs.ErrClosed) {
							return
						}
					}
				}
			})
		}
		for i := range 4 {
			rnd := rand.New(rand.NewPCG(uint64(i), 2))
			submitters.Go(func() {
				p := AlignedBuffer(testBlock)
				for k := range each {
					off := int64(rnd.IntN(64)) * testBlock
					submit, to := q.ReadAt, f
					switch rnd.IntN(6) {
					case 0:
						submit = q.WriteAt
					case 1:
						to = g
					case 2:
						if _, err := g.ReadAt(p, off).Wait(); err != nil {
							t.Error(err)
						}
					}
					if err := submit(to, AlignedBuffer(testBlock), off, fmt.Sprint(i, k)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		submitters.Wait()
		closed.Store(true)
		closeQueue(t, q)
		receivers.Wait()
		if len(seen) != 4*each {
			t.Errorf("%d received, want %d", len(seen), 4*each)
		}
		for tag, n := range seen {
			if n != 1 {
				t.Errorf("%v was received %d times", tag, n)
			}
		}
		if r := f.ring; r.core.Snapshot().Asks != 0 {
			t.Errorf("%d asks are left", r.core.Snapshot().Asks)
		}
	})
}

// TestReceiveAllocations counts what a round of a pulled Queue allocates.
func TestReceiveAllocations(t *testing.T) {
	if raceEnabled() || os.Getenv(file.VerifyEnv) == "1" {
		t.Skip("the race detector allocates, and so does the verifier")
	}
	needDirect(t)
	f := openTest(t, putFile(t, testPattern(64*testBlock, 1)), os.O_RDWR, WithDirect(DirectRequire), WithBackend(BackendAIO))
	cancelled, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": cancelled} {
		q := NewQueue(8)
		p := AlignedBuffer(testBlock)
		list := make([]Completion, 8)
		for kind, submit := range map[string]func(*AsyncFile, []byte, int64, any) error{"ReadAt": q.ReadAt, "WriteAt": q.WriteAt} {
			got := testing.AllocsPerRun(200, func() {
				for i := range 4 {
					if err := submit(f, p, int64(i)*testBlock, nil); err != nil {
						t.Fatal(err)
					}
				}
				for left := 4; left > 0; {
					n, err := q.Receive(ctx, list)
					if err != nil {
						t.Fatal(err)
					}
					left -= n
				}
			})
			if got != 0 {
				t.Errorf("%s, %s: allocates %v times", name, kind, got)
			}
		}
		closeQueue(t, q)
	}
}

// A completion that comes just before Receive would wait for it leaves nothing behind:
// who counts as parked for good has the completers do what Receive does.
func TestCompletionBeforeReceiveParks(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		q := s.newQueue(4)
		s.read(q, s.direct, 10)
		s.pass() // the watchdog has it ended, after Receive has looked
		list, n := make([]Completion, 1), 0
		if !q.help(s.Context(), &ring.Lending{Stay: maxStay}) {
			n, _ = q.park(s.Context(), list)
		}
		if parked := q.parked.Load(); parked != 0 {
			s.Errorf("%d goroutines are parked, of none", parked)
		}
		if n == 0 {
			q.Receive(s.Context(), list)
		}
	})
}

// What is begun after Receive has found nothing in progress, and before it is counted
// as parked, is reaped at once. Its submitter has seen nobody who parks.
func TestSubmitBeforeReceiveParks(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		q := s.newQueue(4)
		s.hold()
		list := make([]Completion, 1)
		q.pulling.Add(1)
		s.read(q, s.direct, 10)
		s.settle()
		s.inNoTime("what was begun", func() {
			q.withdraw()
			s.completeAt(10)
			if n, err := q.park(s.Context(), list); n != 1 {
				s.Errorf("received %d, %v", n, err)
			}
		})
		q.pulling.Add(-1)
	})
}

// A Queue that is counted while it has nothing in progress, at the moment at which
// something begins, perhaps on another Ring, is counted afterwards with all its Rings.
// It is a matter of a few instructions, so this tries often.
func TestQueueIsCountedAsItBegins(t *testing.T) {
	tries := 2_000_000
	if aio.RaceEnabled || testing.Short() {
		tries /= 20
	}
	inBubble(t, 4, func(s *scripted) {
		other := newScripted(s.T, aiotest.New(4))
		q := s.newQueue(4)
		q.extend(s.direct.core.Lane)
		q.pulledAt.Store(neverPulled)
		one := q.reach.Load()
		stop, done := make(chan struct{}), make(chan struct{})
		go func() { // as C does
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					q.ask()
					idle(rand.IntN(50))
				}
			}
		}()
		for i := 0; i < tries && !s.Failed(); i++ {
			idle(rand.IntN(100))
			q.begun.Add(1)
			rings := 1 + i%2
			if rings == 2 {
				q.extend(other.direct.core.Lane)
			}
			if !q.asking.Load() {
				q.ask()
			}
			q.mu.Lock() // who counts has counted
			if !q.asking.Load() || len(q.asked) < rings {
				s.Errorf("%d: something has begun, and the Queue is counted with %d of %d Rings", i, len(q.asked), rings)
			}
			q.mu.Unlock()
			q.ended.Add(1)
			q.rest()
			q.reach.Store(one)
		}
		close(stop)
		<-done
	})
}

// idle takes a moment, of n steps.
func idle(n int) {
	var steps atomic.Int32
	for range n {
		steps.Add(1)
	}
}
