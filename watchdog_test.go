package asyncfile

import (
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// What nobody asks about is sent, and reaped, within two looks of the watchdog each.
// After that submissions go out at once.
func TestWatchdogSendsAndReaps(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		future := s.direct.ReadAt(make([]byte, 10), 0)
		s.settle()
		if got := s.state(); got.Pending != 1 || got.InFlight != 0 || !got.Watched {
			s.Fatalf("%+v", got)
		}
		time.Sleep(2*ring.WatchPeriod + 1) // of the bubble
		s.completeAt(0)
		time.Sleep(2*ring.WatchPeriod + 1)
		s.settle()
		if !future.resolved.Load() {
			s.Error("not reaped")
		}
		for i := range 20 {
			s.inNoTime("the next submission", func() {
				s.direct.ReadAt(make([]byte, 10), int64(10*i))
				s.completeAt(int64(10 * i))
			})
			if i%3 == 0 {
				time.Sleep(2*ring.WatchPeriod + 1)
			}
		}
		time.Sleep(4 * ring.WatchPeriod)
		s.settle()
		if got := s.ring.Stats(); got.InFlight != 0 {
			s.Errorf("%d were not reaped", got.InFlight)
		}
	})
}

// What a reaper leaves in flight when its own wait is over is reaped, though the
// watchdog had nothing to do while there was a reaper.
func TestWatchdogReapsWhatWasLeft(t *testing.T) {
	for _, test := range []struct {
		name string
		wait func(*Future)
	}{
		{"by a waiter", func(future *Future) { future.Wait() }},
		{"by the completer", func(future *Future) { <-future.Done() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 8, func(s *scripted) {
				s.hold()
				left := s.direct.ReadAt(make([]byte, 10), 0)
				future := s.direct.ReadAt(make([]byte, 10), 10)
				done := make(chan struct{})
				go func() {
					test.wait(future)
					close(done)
				}()
				time.Sleep(10 * ring.WatchPeriod) // of the bubble
				s.completeAt(10)
				<-done
				time.Sleep(10 * ring.WatchPeriod)
				s.completeAt(0)
				time.Sleep(2*ring.WatchPeriod + 1)
				s.settle()
				if !left.resolved.Load() {
					s.Error("not reaped")
				}
			})
		})
	}
}

// What a sleeping sender comes back with is looked after, too.
func TestWatchdogAfterASleepingSender(t *testing.T) {
	for _, answer := range []submitAnswer{takesAll, saysAgain} {
		inBubble(t, 8, func(s *scripted) {
			returned := make(chan struct{})
			s.inside(insideCall{returned, answer})
			future := s.direct.ReadAt(make([]byte, 10), 0)
			time.Sleep(20 * ring.WatchPeriod) // of the bubble
			if got := s.state().Asleep; got != 1 {
				s.Fatalf("%d are asleep, want 1", got)
			}
			close(returned)
			time.Sleep(2*defaultTimeout + 4*ring.WatchPeriod)
			s.settle()
			if !future.resolved.Load() {
				s.Error("not done")
			}
		})
	}
}

// With nothing to watch no timer is armed and no system call made.
func TestWatchdogIsOffWhenIdle(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		off := func(when string) {
			s.Helper()
			time.Sleep(3 * ring.WatchPeriod) // of the bubble
			s.settle()
			before := s.kernel.Counts()
			if got := s.state(); got.Watched || got.Completer != ring.Parked || got.Token {
				s.Errorf("%s: %+v", when, got)
			}
			time.Sleep(time.Second)
			if after := s.kernel.Counts(); after.Submits != before.Submits || after.GetEvents != before.GetEvents || after.Reaps != before.Reaps {
				s.Errorf("%s: calls were made", when)
			}
		}
		off("at first")
		ops := readOps(2, 10)
		s.wantReads(s.direct.Submit(ops...), ops)
		off("after a wait")
		s.wantReads(s.submit(s.direct, ops...), ops)
		off("after the completer's work")
		s.direct.Submit(ops...)
		time.Sleep(4 * ring.WatchPeriod)
		off("after its own work")
	})
}

// While somebody reaps and nobody sends there is nothing to watch.
func TestWatchdogIsOffWhileSomebodyReaps(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		s.hold()
		w := s.await(s.direct.ReadAt(make([]byte, 10), 0))
		time.Sleep(5 * ring.WatchPeriod) // of the bubble
		if got := s.state(); got.Watched {
			s.Errorf("%+v", got)
		}
		s.completeAt(0)
		w.wantBack(s, true)
	})
}
