package asyncfile

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// goroutine returns a number that only the calling goroutine has.
func goroutine() int {
	text := make([]byte, 64)
	text = text[:runtime.Stack(text, false)] // "goroutine 7 [running]: ..."
	id, err := strconv.Atoi(string(bytes.Fields(text)[1]))
	if err != nil {
		panic(err)
	}
	return id
}

// callers is the goroutines that made system calls of a kernel, one entry a call.
type callers struct {
	mu             sync.Mutex
	submit, events []int
}

// watchCallers has the kernel of s note who calls it from now on.
func (s *scripted) watchCallers() *callers {
	c := new(callers)
	s.kernel.OnSubmit(func(int, int) (int, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.submit = append(c.submit, goroutine())
		return -1, nil
	})
	s.kernel.OnGetEvents(func(int) (int, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.events = append(c.events, goroutine())
		return -1, nil
	})
	return c
}

// want checks that all calls were made by one goroutine, so many of each.
func (c *callers) want(s *scripted, who, submits, events int) {
	s.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.submit, slices.Repeat([]int{who}, submits)) || !slices.Equal(c.events, slices.Repeat([]int{who}, events)) {
		s.Errorf("io_submit by %v, io_getevents by %v; want %d and %d, by %d", c.submit, c.events, submits, events, who)
	}
}

// inNoTime fails where f takes time of the bubble: what is asked for must not have
// to wait for the watchdog.
func (s *scripted) inNoTime(what string, f func()) {
	s.Helper()
	start := time.Now()
	f()
	s.settle()
	if took := time.Since(start); took != 0 {
		s.Errorf("%s took %v", what, took)
	}
}

// A waiting goroutine waits for one Future.
type waitingGoroutine struct {
	id   int
	done chan struct{}
}

// await starts a goroutine that waits for future, and returns when it is asleep.
func (s *scripted) await(future *Future) *waitingGoroutine {
	s.Helper()
	w := &waitingGoroutine{done: make(chan struct{})}
	started := make(chan int)
	go func() {
		started <- goroutine()
		future.Wait()
		close(w.done)
	}()
	w.id = <-started
	s.settle()
	return w
}

// wantBack checks whether the goroutine has come back.
func (w *waitingGoroutine) wantBack(s *scripted, back bool) {
	s.Helper()
	s.settle()
	select {
	case <-w.done:
		if !back {
			s.Error("the wait ended too early")
		}
	default:
		if back {
			s.Error("the wait goes on")
		}
	}
}

// wantCompleter checks what the completer is at when everyone waits.
func (s *scripted) wantCompleter(want ring.CompleterState) {
	s.Helper()
	s.settle()
	if got := s.state().Completer; got != want {
		s.Errorf("the completer is in state %d, want %d", got, want)
	}
}

func TestLoneWaitDoesEverything(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		calls := s.watchCallers()
		s.hold()
		future := s.direct.ReadAt(make([]byte, 10), 0)
		s.settle()
		calls.want(s, 0, 0, 0)
		w := s.await(future)
		calls.want(s, w.id, 1, 1)
		s.wantCompleter(ring.Parked)
		s.kernel.Held()[0].Complete()
		w.wantBack(s, true)
		calls.want(s, w.id, 1, 1)
		s.wantCompleter(ring.Parked)
	})
}

// The kernel may end an operation before io_submit returns: then there is no other
// call.
func TestLoneWaitForWhatIsThere(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		if !s.kernel.Mapped() {
			s.Skip("nothing is seen without io_getevents")
		}
		calls := s.watchCallers()
		future := s.direct.ReadAt(make([]byte, 10), 0)
		w := s.await(future)
		w.wantBack(s, true)
		calls.want(s, w.id, 1, 0)
		s.wantCompleter(ring.Parked)
	})
}

func TestWaitSendsWhatIsPendingTogether(t *testing.T) {
	inBubble(t, 200, func(s *scripted) {
		ops := readOps(ring.MaxBatch-1, 10)
		var futures []*Future
		for i := range ops {
			futures = append(futures, s.direct.ReadAt(ops[i].Buf, ops[i].Offset))
		}
		s.settle()
		s.wantBatches()
		s.wantReads(futures, ops)
		s.wantBatches(ring.MaxBatch - 1)
	})
}

// A full batch does not wait for anybody.
func TestFullBatchIsSent(t *testing.T) {
	inBubble(t, 200, func(s *scripted) {
		s.hold()
		ops := readOps(ring.MaxBatch+1, 10)
		s.inNoTime("sending", func() {
			for i := range ops {
				s.direct.ReadAt(ops[i].Buf, ops[i].Offset)
			}
			s.settle()
		})
		s.wantBatches(ring.MaxBatch, 1)
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
	})
}

// sleepAt has the io_submit of the operation at each of offsets sleep after it has
// been taken.
func (s *scripted) sleepAt(offsets ...int64) (wake func(off int64)) {
	gates := map[int64]chan struct{}{}
	for _, off := range offsets {
		gates[off] = make(chan struct{})
	}
	s.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
		if gate := gates[op.Offset]; gate != nil {
			<-gate
		}
		return aiotest.Hold()
	})
	return func(off int64) { close(gates[off]) }
}

// completeAt ends the held operation at off.
func (s *scripted) completeAt(off int64) {
	s.Helper()
	s.settle()
	for _, op := range s.kernel.Held() {
		if op.Offset == off {
			op.Complete()
			return
		}
	}
	s.Fatalf("no operation at %d is held", off)
}

// What a call had handed over before it fell asleep is reaped, and its lane has
// another sender.
func TestSleepingSender(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		wake := s.sleepAt(100)
		early := s.direct.ReadAt(make([]byte, 10), 0)
		slow := s.direct.ReadAt(make([]byte, 10), 100)
		w := s.await(slow)
		s.sleepers(1)
		s.completeAt(0)
		s.inNoTime("a reap beside a sender that sleeps", func() { s.await(early).wantBack(s, true) })
		s.inNoTime("a request beside a sender that sleeps", func() {
			next := s.await(s.direct.ReadAt(make([]byte, 10), 50))
			s.completeAt(50)
			next.wantBack(s, true)
		})
		w.wantBack(s, false)
		wake(100)
		s.completeAt(100)
		w.wantBack(s, true)
	})
}

// A lane whose senders sleep holds up no other.
func TestSleepingSenderHoldsUpNoOtherLane(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		other := s.otherLane(s.mem)
		wake := s.sleepAt(100)
		slow := s.await(s.direct.ReadAt(make([]byte, 10), 100))
		for _, when := range []string{"before", "after"} { // the watchdog has seen it
			s.inNoTime("a request of another lane, "+when, func() {
				w := s.await(other.ReadAt(make([]byte, 10), 0))
				s.completeAt(0)
				w.wantBack(s, true)
				future := s.submit(other, readOps(1, 10)...)[0]
				s.completeAt(0)
				s.settle()
				if _, _, ok := future.Result(); !ok {
					s.Error("not done")
				}
			})
			if when == "before" {
				s.sleepers(1)
			}
		}
		if n := s.state().Asleep; n != 1 {
			s.Errorf("%d senders are asleep, want the one", n)
		}
		wake(100)
		s.completeAt(100)
		slow.wantBack(s, true)
	})
}

// wantSenders checks how many goroutines send, on all lanes together.
func (s *scripted) wantSenders(want int) {
	s.Helper()
	s.settle()
	got := s.state().Senders
	if got != want {
		s.Errorf("%d goroutines send, want %d", got, want)
	}
}

// A completer that sleeps in io_submit is replaced, and ends when it wakes.
func TestSleepingCompleterIsReplaced(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		running := func() int {
			s.settle()
			return s.state().Running
		}
		wake := s.sleepAt(100, 200)
		calls := s.watchCallers()
		first := ask(s.direct.ReadAt(make([]byte, 10), 100))[0]
		s.sleepers(1)
		if got := running(); got != 2 {
			s.Errorf("%d goroutines are or were the completer, want 2", got)
		}
		s.wantCompleter(ring.Waiting)
		second := ask(s.direct.ReadAt(make([]byte, 10), 200))[0] // by a goroutine of its own
		s.sleepers(2)
		if got := running(); got != 2 {
			s.Errorf("%d goroutines are or were the completer, want 2", got)
		}
		if calls.submit[0] == calls.submit[1] || slices.Contains(calls.events, calls.submit[0]) {
			s.Errorf("io_submit by %v, io_getevents by %v", calls.submit, calls.events)
		}
		wake(200)
		s.completeAt(200)
		s.settle()
		if _, _, ok := second.Result(); !ok {
			s.Error("not reaped by the completer's successor")
		}
		wake(100)
		if got := running(); got != 1 {
			s.Errorf("%d goroutines are or were the completer, want 1", got)
		}
		s.completeAt(100)
		first.Wait()
		s.wantSenders(0)
	})
}

// What the kernel refused a completer that had been replaced meanwhile is sent by
// others.
func TestReplacedCompleterLeavesWorkBehind(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		returned := make(chan struct{})
		s.hold()
		other := s.otherLane(s.mem)
		hung := s.await(other.ReadAt(make([]byte, 10), 50)) // has the token
		s.inside(insideCall{returned, saysAgain})
		future := ask(s.direct.ReadAt(make([]byte, 10), 100))[0]
		s.sleepers(1)
		time.Sleep(5 * ring.WatchPeriod) // of the bubble: the watchdog has nothing more to watch
		close(returned)
		time.Sleep(2 * defaultTimeout) // of the bubble: whoever reaps finds nothing for so long
		s.completeAt(100)
		s.settle()
		if _, _, ok := future.Result(); !ok {
			s.Error("not done")
		}
		hung.wantBack(s, false)
		s.completeAt(50)
		hung.wantBack(s, true)
	})
}

// Of what a waiter brings about by reaping it sends only what is of its own lane:
// the rest must not wait until it has reaped again.
func TestWaiterLeavesOtherLanesToOthers(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		log := s.record(func(int, *aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
		reaper := s.await(s.direct.ReadAt(make([]byte, 10), 50))
		p := make([]byte, 10)
		future := ask(s.otherLane(s.mem).ReadAt(p, 100))[0]
		s.wantCompleter(ring.Parked)
		s.inNoTime("to continue a short transfer on another lane", func() {
			s.kernel.Held()[1].Short(4)
			s.settle()
			if got := log.offsets(); got[len(got)-1] != 104 {
				s.Errorf("sent at %v, want 104 at last", got)
			}
			s.completeAt(104)
			s.settle()
		})
		reaper.wantBack(s, false)
		s.wantRead(future, p, 100)
		s.completeAt(50)
		reaper.wantBack(s, true)
	})
}

func TestStallsWithSeveralLanes(t *testing.T) {
	for _, inFlight := range []bool{false, true} {
		t.Run(fmt.Sprintf("in flight %v", inFlight), func(t *testing.T) {
			inBubble(t, 16, func(s *scripted) {
				s.hold()
				files := []*AsyncFile{s.direct, s.otherLane(s.mem), s.otherLane(s.mem)}
				var first *waitingGoroutine
				if inFlight {
					first = s.await(s.direct.ReadAt(make([]byte, 10), 0))
				}
				s.answers(saysAgain, saysAgain)
				start := time.Now()
				var waits []*waitingGoroutine
				for i, f := range files {
					waits = append(waits, s.await(f.ReadAt(make([]byte, 10), int64(100*(i+1)))))
				}
				s.settle()
				if got := s.state(); !got.Stalled || got.Pending != len(files) {
					s.Fatalf("%+v", got)
				}
				if inFlight { // the event makes room
					s.completeAt(0)
					first.wantBack(s, true)
				}
				for i := range files {
					if len(s.kernel.Held()) < len(files) {
						time.Sleep(2 * retryDelay) // of the bubble
					}
					s.completeAt(int64(100 * (i + 1)))
					waits[i].wantBack(s, true)
				}
				if took := time.Since(start); took > 3*2*retryDelay {
					s.Errorf("took %v", took)
				}
				if got := s.ring.Stats().Stalls; got != 2 {
					s.Errorf("%d stalls, want 2", got)
				}
			})
		})
	}
}

// A goroutine that was started to send may be the last one awake when it is back.
func TestStartedSenderRousesTheCompleter(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		release := s.sleepAt(10)
		first := ask(s.direct.ReadAt(make([]byte, 10), 0))[0]
		s.wantCompleter(ring.Waiting)
		second := ask(s.direct.ReadAt(make([]byte, 10), 10))[0]
		s.inNoTime("a hand-over", func() {
			s.completeAt(0)
			first.Wait()
			s.wantCompleter(ring.Parked) // what is inside an awake io_submit is not waited for
			release(10)
			s.completeAt(10)
			<-second.Done()
		})
	})
}

// Close, of the file and of the Ring, waits for a sender that sleeps.
func TestCloseWaitsForASleepingSender(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		wake := s.sleepAt(0)
		future := s.direct.ReadAt(make([]byte, 10), 0)
		closed := make(chan string, 2)
		go func() {
			s.direct.Close()
			closed <- "file"
		}()
		go func() {
			s.close()
			closed <- "Ring"
		}()
		s.sleepers(1)
		time.Sleep(10 * defaultTimeout) // of the bubble
		if len(closed) != 0 {
			s.Errorf("the %s is closed", <-closed)
		}
		wake(0)
		s.completeAt(0)
		s.settle()
		if len(closed) != 2 || !future.resolved.Load() {
			s.Errorf("%d of 2 closed, done: %v", len(closed), future.resolved.Load())
		}
	})
}

// A submission may be under way, with a slot, when somebody comes who waits for that
// slot: Close, or the next operation on a full queue.
func TestSubmissionBehindAWaitForItsSlot(t *testing.T) {
	for _, wait := range []struct {
		name string
		slot func(s *scripted)
	}{
		{"Ring.Close", func(s *scripted) { s.close() }},
		{"full queue", func(s *scripted) { s.direct.ReadAt(make([]byte, 10), 10) }},
	} {
		t.Run(wait.name, func(t *testing.T) {
			inBubble(t, 1, func(s *scripted) {
				var batch ring.Requests
				beginTo(s.direct, readOps(1, 10)[0], futureSink{s.direct.newFuture(OpRead)}, &batch)
				over := make(chan struct{})
				go func() {
					wait.slot(s)
					close(over)
				}()
				s.inNoTime("the end of what comes late", func() {
					s.settle()
					s.direct.core.Lane.Push(batch, ring.Lazily)
					<-over
				})
			})
		})
	}
}
