package ring

import (
	"testing"
	"testing/synctest"
	"time"
)

// What nobody asks about is sent, and reaped, within two looks of the watchdog each;
// and with nothing to watch no timer is armed.
func TestWatchdogIsOffWhenIdle(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		off := func(when string) {
			r.Helper()
			time.Sleep(3 * WatchPeriod) // of the bubble
			synctest.Wait()
			if got := r.Snapshot(); got.Watched || got.Token || got.Completer != Parked {
				r.Errorf("%s: %+v", when, got)
			}
			if r.watchdog.timer.Stop() {
				r.Errorf("%s: the timer is armed", when)
			}
		}
		off("at first")
		c := r.start(10, Lazily)
		time.Sleep(2*WatchPeriod + 1) // of the bubble
		synctest.Wait()
		r.completeAll()
		time.Sleep(2*WatchPeriod + 1) // of the bubble
		c.want(10, nil)
		off("after its own work")
		c = r.start(10, Lazily)
		go c.wait()
		synctest.Wait()
		r.completeAll()
		c.want(10, nil)
		off("after a wait")
	})
}

// Who submits, computes for long, and then waits, is helped from the second time on,
// promptFor times.
func TestWatchdogIsPatientAgain(t *testing.T) {
	inRig(t, 8, func(r *rig) {
		r.kernel.OnOp(nil)
		for i := range promptFor + 2 {
			c := r.start(10, Lazily)
			synctest.Wait()
			if pending := r.Snapshot().Pending; (pending == 0) != (i > 0 && i <= promptFor) {
				r.Fatalf("%d pending after submission %d", pending, i)
			}
			if i == 0 {
				time.Sleep(2*WatchPeriod + 1) // of the bubble
			}
			c.wait()
		}
	})
}
