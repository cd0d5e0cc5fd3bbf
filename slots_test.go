package asyncfile

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// A device that answers nothing does not take the places of another's files, and a
// Ring of one place serves them in turn.
func TestHungDeviceLeavesPlaces(t *testing.T) {
	inBubble(t, 16, func(s *scripted) {
		s.hold()
		other := s.otherLane(s.mem)
		hung := make([]*Future, 20)
		for i := range hung {
			go func() { hung[i] = ask(s.direct.ReadAt(make([]byte, 10), int64(i*10)))[0] }()
		}
		s.settle()
		s.inNoTime("an operation on another device", func() {
			for i := range 10 {
				w := s.await(other.ReadAt(make([]byte, 10), int64(1000+i)))
				s.completeAt(int64(1000 + i))
				w.wantBack(s, true)
			}
		})
		for len(s.kernel.Held()) > 0 {
			s.kernel.Held()[0].Complete()
			s.settle()
		}
		WaitAll(hung...)
	})
}

func TestTwoDevicesShareOnePlace(t *testing.T) {
	inBubble(t, 1, func(s *scripted) {
		s.hold()
		files := []*AsyncFile{s.direct, s.otherLane(s.mem)}
		var waits []*waitingGoroutine
		futures := make([]*Future, 6)
		for i := range futures {
			w := &waitingGoroutine{done: make(chan struct{})}
			go func() {
				futures[i] = files[i%2].ReadAt(make([]byte, 10), int64(i*10))
				futures[i].Wait()
				close(w.done)
			}()
			s.settle()
			waits = append(waits, w)
		}
		for i, w := range waits { // in their order
			s.completeAt(int64(i * 10))
			w.wantBack(s, true)
		}
	})
}

// Who waits for a place on a hung device leaves its line at the deadline, and is
// not in the way of those behind.
func TestSlotLineIsLeftAtTheDeadline(t *testing.T) {
	inBubble(t, 1, func(s *scripted) {
		s.hold()
		holder := ask(s.direct.ReadAt(make([]byte, 10), 0))[0]
		past, first := make(chan struct{}), s.direct.newFuture(OpRead)
		c := readOps(1, 10)[0].call(futureSink{first})
		c.Past = past
		go s.direct.core.Submit(&c)
		s.settle()
		second := make(chan *Future, 1)
		go func() { second <- ask(s.direct.ReadAt(make([]byte, 10), 20))[0] }()
		s.settle()
		close(past)
		s.wantError(first, s.direct, "read", 0, os.ErrDeadlineExceeded)
		s.completeAt(0)
		holder.Wait()
		s.completeAt(20)
		(<-second).Wait()
	})
}

// What goes on without a Wait for a place is bounded, too.
func TestWaitForAPlaceIsBounded(t *testing.T) {
	for _, lanes := range []int{1, 5} {
		t.Run(fmt.Sprint(lanes), func(t *testing.T) {
			inBubble(t, 4, func(s *scripted) {
				files := []*AsyncFile{s.direct}
				for len(files) < lanes {
					files = append(files, s.otherLane(s.mem))
				}
				start := time.Now()
				var futures []*Future
				for i := range 40 {
					futures = append(futures, files[i%lanes].ReadAt(make([]byte, 10), int64(i*10)))
				}
				WaitAll(futures...)
				if took := time.Since(start); took != 0 {
					s.Errorf("took %v", took)
				}
			})
		})
	}
}
