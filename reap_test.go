package asyncfile

import (
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// The waiter that has the token resolves the others' operations. When it leaves,
// the completer takes over if somebody still waits.
func TestOneWaiterReapsForAll(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		calls := s.watchCallers()
		s.hold()
		var waits []*waitingGoroutine
		for i := range 3 {
			waits = append(waits, s.await(s.direct.ReadAt(make([]byte, 10), int64(i*10))))
		}
		s.wantCompleter(ring.Parked)
		s.inNoTime("a result that another reaps", func() {
			s.completeAt(10)
			waits[1].wantBack(s, true)
		})
		s.wantCompleter(ring.Parked)
		for _, id := range calls.events {
			if id != waits[0].id {
				s.Errorf("io_getevents by %v, want it by %d alone", calls.events, waits[0].id)
			}
		}
		waits[0].wantBack(s, false)
		s.inNoTime("a hand-over", func() {
			s.completeAt(0)
			waits[0].wantBack(s, true)
			s.wantCompleter(ring.Waiting)
			s.completeAt(20)
			waits[2].wantBack(s, true)
		})
		s.wantCompleter(ring.Parked)
	})
}

// A waiter that leaves wakes nobody where nobody waits; what it leaves behind in
// flight is the watchdog's.
func TestLeavingWaiterWakesNobody(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		s.hold()
		ops := readOps(2, 10)
		futures := s.direct.Submit(ops...)
		w := s.await(futures[0])
		s.inNoTime("a wait", func() {
			s.completeAt(0)
			w.wantBack(s, true)
		})
		s.wantCompleter(ring.Parked)
		if got := s.state(); got.InFlight != 1 || got.Token {
			s.Errorf("%+v", got)
		}
		s.completeAt(10)
		s.wantRead(futures[1], ops[1].Buf, 10)
		s.wantCompleter(ring.Parked)
	})
}

// Every way to ask for a result brings it about without a Wait, and without the
// watchdog.
func TestAskingBringsTheEnd(t *testing.T) {
	for _, test := range []struct {
		name string
		ask  func(s *scripted, future *Future)
	}{
		{"Done", func(s *scripted, future *Future) { future.Done() }},
		{"WaitContext", func(s *scripted, future *Future) {
			go future.WaitContext(s.Context())
		}},
		{"WaitAny", func(s *scripted, future *Future) {
			go WaitAny(s.Context(), future, newFuture())
		}},
		{"Result", func(s *scripted, future *Future) { future.Result() }},
		{"AsyncFile.Close", func(s *scripted, future *Future) { go s.direct.Close() }},
		{"Ring.Close", func(s *scripted, future *Future) { go s.close() }},
		{"full queue", func(s *scripted, future *Future) {
			for s.ring.Stats().InFlight < s.ring.Depth() {
				s.direct.ReadAt(make([]byte, 10), 20)
			}
			go s.direct.ReadAt(make([]byte, 10), 30)
		}},
	} {
		for _, sent := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				inBubble(t, 3, func(s *scripted) {
					s.hold()
					future := s.direct.ReadAt(make([]byte, 10), 0)
					if sent { // with what somebody waited for, who is gone
						w := s.await(s.direct.ReadAt(make([]byte, 10), 10))
						s.completeAt(10)
						w.wantBack(s, true)
					}
					s.inNoTime("the end", func() {
						test.ask(s, future)
						s.completeAt(0)
						s.settle()
					})
					if !future.resolved.Load() {
						s.Error("not done")
					}
					for len(s.kernel.Held()) > 0 || s.state().Pending > 0 || s.state().InFlight > 0 {
						for _, op := range s.kernel.Held() {
							op.Complete()
						}
						time.Sleep(ring.WatchPeriod) // of the bubble
					}
				})
			})
		}
	}
}

// Nobody waits for a Queue's operations but its receiver, on a channel: they are
// sent and reaped at once, whatever way they take to the kernel.
func TestQueueNeedsNoWatchdog(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		for name, f := range s.routes() {
			q := NewQueue(4)
			q.C() // is how it is received from
			s.inNoTime("an operation of a Queue, "+name, func() {
				if err := q.ReadAt(f, make([]byte, 10), 0, nil); err != nil {
					s.Fatal(err)
				}
				s.completeAt(0)
				s.settle()
				if len(q.C()) != 1 {
					s.Error("nothing to receive")
				}
			})
			// While completions wait to be received, what is submitted may gather; but
			// their receiver need not submit again after the last.
			q.ReadAt(f, make([]byte, 10), 10, nil)
			<-q.C()
			time.Sleep(2*ring.WatchPeriod + 1) // of the bubble
			s.completeAt(10)
			s.inNoTime("its completion", func() { <-q.C() })
			for len(s.kernel.Held()) > 0 || s.state().Pending > 0 || s.state().InFlight > 0 {
				time.Sleep(ring.WatchPeriod) // of the bubble
				for _, op := range s.kernel.Held() {
					op.Complete()
				}
			}
			q.Close()
		}
	})
}

// An operation that a worker ends, not an event, is not waited for in io_getevents.
func TestWaitForAWorkerBesideAHungOperation(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		hung := s.direct.ReadAt(make([]byte, 10), 50)
		s.direct.core.Lane.Ask()
		s.settle()
		if _, err := s.direct.core.OS().WriteAt(patternBytes(100, 1), 0); err != nil {
			s.Fatal(err)
		}
		s.answers(refuses(syscall.EINVAL))
		start := time.Now()
		p := make([]byte, 10)
		s.wantRead(s.direct.ReadAt(p, 0), p, 0)
		if took := time.Since(start); took != 0 {
			s.Errorf("took %v", took)
		}
		s.completeAt(50)
		hung.Wait()
	})
}

// A goroutine that waits for many operations holds up nobody else's results.
func TestWaitForManyHoldsUpNobody(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		s.hold()
		other := s.otherLane(s.mem)
		futures := s.direct.Submit(readOps(8, 10)...)
		all := make(chan struct{})
		go func() {
			WaitAll(futures...)
			close(all)
		}()
		s.settle()
		w := s.await(other.ReadAt(make([]byte, 10), 500))
		start := time.Now()
		s.completeAt(500)
		<-w.done
		if took := time.Since(start); took > ring.WatchPeriod {
			s.Errorf("took %v, want %v at the most", took, ring.WatchPeriod)
		}
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
		<-all
	})
}

// A goroutine that waits for many operations is woken once.
func TestWaitForManyReapsThemTogether(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		calls := s.watchCallers()
		s.hold()
		ops := readOps(8, 10)
		futures := s.direct.Submit(ops...)
		all := make(chan int, 1)
		go func() {
			WaitAll(futures...)
			all <- goroutine()
		}()
		s.settle()
		for _, op := range s.kernel.Held() {
			op.Complete()
			s.settle()
		}
		calls.want(s, <-all, 1, 1)
		s.wantReads(futures, ops)
	})
}

// With an eventfd only the completer reaps: the wait is on the netpoller.
func TestOnlyTheCompleterReadsTheEventFD(t *testing.T) {
	for _, kind := range waitKinds {
		if kind.mode != WaitEventFD {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			kind.run(t, aiotest.New(8), 8, func(s *scripted) {
				calls := s.watchCallers()
				s.hold()
				ops := readOps(3, 10)
				for i := range ops {
					future := s.direct.Submit(ops[i])[0]
					done := make(chan int)
					go func() {
						id := goroutine()
						future.Wait()
						done <- id
					}()
					s.until("the completer waits", func() bool { return s.state().Token })
					s.kernel.Await(1)[0].Complete()
					id := <-done
					calls.mu.Lock()
					for _, by := range calls.events {
						if by == id {
							s.Error("io_getevents by a waiter")
						}
					}
					calls.mu.Unlock()
					s.wantRead(future, ops[i].Buf, ops[i].Offset)
				}
			})
		})
	}
}

// Close returns when every Future has been resolved, not when the last place is
// free: whoever has reaped them may be a waiter.
func TestRingCloseIsAfterTheLastResult(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		s.hold()
		goOn := make(chan struct{})
		submitTo(s.direct, readOps(1, 10)[0], sinkFunc(func(file.Outcome) { <-goOn }))
		reaping, goReap := make(chan struct{}, 1), make(chan struct{})
		s.kernel.OnGetEvents(func(int) (int, error) {
			reaping <- struct{}{}
			<-goReap // so that both come at once
			return -1, nil
		})
		w := s.await(s.direct.ReadAt(make([]byte, 10), 10))
		<-reaping
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
		close(goReap)
		s.settle()
		if got := s.ring.Stats().InFlight; got != 0 {
			s.Fatalf("%d places are taken", got)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.close() }()
		s.settle()
		if len(closed) != 0 || s.kernel.Counts().Destroyed {
			s.Error("closed while a result is delivered")
		}
		close(goOn)
		if err := <-closed; err != nil {
			s.Errorf("Close: %v", err)
		}
		w.wantBack(s, true)
	})
}

// A waiter that reaps may be in io_getevents although its operation has ended
// otherwise: io_destroy waits for it.
func TestRingCloseWaitsForIoGetevents(t *testing.T) {
	inBubble(t, 4, func(s *scripted) {
		returned := make(chan struct{})
		s.inside(insideCall{returned, refuses(syscall.EBADF)})
		first := s.direct.ReadAt(make([]byte, 10), 0)
		sending := make(chan struct{})
		go func() {
			s.direct.core.Lane.Lend(awaited{first}, ring.Reads, 1)
			close(sending)
		}()
		s.sleepers(1)
		reaper := s.await(first) // has the token: the call that sleeps may have handed it over
		if !s.state().Token {
			s.Fatal("nobody reaps")
		}
		close(returned)
		s.settle()
		closed := make(chan error, 1)
		go func() { closed <- s.close() }()
		s.settle()
		if got := s.state(); s.kernel.Counts().Destroyed && got.Token {
			s.Error("closed while a goroutine is inside io_getevents")
		}
		<-reaper.done
		if err := <-closed; err != nil {
			s.Errorf("Close: %v", err)
		}
		if err := s.state().Broken; err != nil {
			s.Errorf("the context is broken: %v", err)
		}
	})
}

// While the completer watches a busy Ring, who comes to wait leaves it to the
// completer, so that a batch gathers.
func TestWaiterLeavesItToAnAwakeCompleter(t *testing.T) {
	inBubble(t, 64, func(s *scripted) {
		calls := s.watchCallers()
		s.hold()
		s.submit(s.direct, readOps(2*busyDepth, 10)...)
		s.wantCompleter(ring.Watching)
		var waits []*waitingGoroutine
		for i := range 3 {
			waits = append(waits, s.await(s.direct.ReadAt(make([]byte, 10), int64(1000+i))))
		}
		s.wantBatches(2 * busyDepth)
		time.Sleep(maxHold) // of the bubble
		s.settle()
		s.wantBatches(2*busyDepth, len(waits))
		if calls.submit[1] != calls.submit[0] {
			s.Errorf("io_submit by %v", calls.submit)
		}
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
		time.Sleep(2 * maxHold)
		for _, w := range waits {
			w.wantBack(s, true)
		}
	})
}

// A request that waited for the end of another is asked for, whoever ends that.
func TestReleasedRequestIsReaped(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		write := s.await(s.direct.WriteAt(make([]byte, 10), 0))
		q := NewQueue(1)
		if err := q.Submit(s.direct, Op{Kind: OpSync}, nil); err != nil { // behind the write
			s.Fatal(err)
		}
		s.inNoTime("a Sync behind a write", func() {
			s.completeAt(0)
			write.wantBack(s, true)
			s.completeAt(0)
			<-q.C()
		})
		q.Close()
	})
}

// Neither is one waited for there whose event another goroutine has taken already.
func TestWaitForWhatIsBeingDelivered(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		goOn := make(chan struct{})
		submitTo(s.direct, readOps(1, 10)[0], sinkFunc(func(file.Outcome) { <-goOn }))
		future := s.direct.ReadAt(make([]byte, 10), 10)
		goReap := make(chan struct{})
		s.kernel.OnGetEvents(func(int) (int, error) {
			<-goReap // so that both come at once
			return -1, nil
		})
		hung := s.await(s.direct.ReadAt(make([]byte, 10), 50)) // reaps
		ops := s.kernel.Held()
		ops[0].Complete()
		ops[1].Complete()
		close(goReap)
		s.settle()
		w := s.await(future)
		s.inNoTime("a result that is being delivered", func() {
			close(goOn)
			w.wantBack(s, true)
		})
		hung.wantBack(s, false)
		s.completeAt(50)
		hung.wantBack(s, true)
	})
}
