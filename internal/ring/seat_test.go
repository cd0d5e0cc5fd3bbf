package ring

import (
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// A completer that sleeps in io_submit is replaced; when it is back, what the kernel
// refused it is tried again as soon as there is room, by its successor.
func TestReplacedCompleterRousesItsSuccessor(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		returned := make(chan struct{})
		r.answerOnce(syscall.EAGAIN, returned)
		c := r.start(10, Promptly)    // and nobody asks for its end
		time.Sleep(2*WatchPeriod + 1) // of the bubble
		synctest.Wait()
		if got := r.Snapshot(); got.Asleep != 1 || got.Running != 2 || got.Token || got.Completer != Parked {
			r.Fatalf("%+v", got)
		}
		start := time.Now()
		close(returned)
		synctest.Wait()
		if got := r.Snapshot(); got.Running != 1 || got.Completer != Working || !got.Stalled { // it waits for room
			r.Errorf("%+v", got)
		}
		c.Expect()
		time.Sleep(retryDelay) // of the bubble
		synctest.Wait()
		r.completeAll()
		c.want(10, nil)
		if took := time.Since(start); took != retryDelay {
			r.Errorf("took %v, want %v", took, retryDelay)
		}
	})
}

// The completer may park while another is about to send what somebody waits for on
// a channel. It does not forget that.
func TestParkedCompleterForgetsNothing(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		done := 0
		r.kernel.OnOp(func(*aiotest.Op) aiotest.Verdict {
			if done++; done <= 2 {
				return aiotest.Do()
			}
			return aiotest.Hold()
		})
		delivering, goOn := make(chan struct{}), make(chan struct{})
		first := r.start(10, Lazily)
		first.deliver = func() {
			close(delivering)
			<-goOn
		}
		second := r.start(20, Lazily)
		go second.wait() // sends both, and delivers
		<-delivering
		third := r.start(30, Promptly)
		third.Expect()
		r.locked(r.seat.unpark) // for something else
		synctest.Wait()
		start := time.Now()
		close(goOn)
		second.want(20, nil)
		r.completeAll()
		third.want(30, nil)
		if took := time.Since(start); took != 0 {
			r.Errorf("took %v", took)
		}
	})
}

// io_destroy comes when the completer has ended.
func TestCloseJoinsTheCompleterFirst(t *testing.T) {
	inRig(t, 4, func(r *rig) {
		destroys, joined := 0, false
		r.kernel.OnDestroy(func() error {
			destroys++
			select {
			case <-r.seat.gone:
				joined = true
			default:
			}
			return nil
		})
		if err := r.Close(); err != nil {
			r.Errorf("Close = %v", err)
		}
		r.closed = true
		if destroys != 1 || !joined {
			r.Errorf("%d io_destroy, completer joined before: %v", destroys, joined)
		}
	})
}
