package ring

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// A lane is there as long as files of its device are.
func TestLanesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Depth: 4, Workers: 1})
		defer r.Close()
		want := func(n int) {
			t.Helper()
			if len(r.lanes) != n || len(r.slots.lanes) != n {
				t.Errorf("%d lanes, %d for the slots, want %d", len(r.lanes), len(r.slots.lanes), n)
			}
		}
		a, b := r.LaneOf(1, true), r.LaneOf(2, true)
		if a == b || r.LaneOf(1, true) != a || r.LaneOf(2, true) != b {
			t.Error("a device has not one lane")
		}
		p := r.LaneOf(1, false)
		if q := r.LaneOf(1, false); p == a || q == p {
			t.Error("a file of no device has not its own lane")
		} else {
			q.Release()
		}
		want(3)
		a.Release()
		want(3)
		a.Release()
		want(2)
		if again := r.LaneOf(1, true); again == a {
			t.Error("a lane that is gone came back")
		}
		want(3)
		p.Release()
		b.Release()
		b.Release()
		want(1)
	})
}

// Of the senders of a lane no more than maxSenders sleep, and they hold up no other
// lane. Who wakes sends what is pending.
func TestSleepingSendersAreBounded(t *testing.T) {
	inRig(t, 64, func(r *rig) {
		gates := map[int]chan struct{}{} // by length
		r.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
			if gate := gates[op.Len]; gate != nil {
				<-gate
			}
			return aiotest.Hold()
		})
		for i := range maxSenders {
			gates[10+i] = make(chan struct{})
		}
		want := func(asleep, pending int) {
			r.Helper()
			synctest.Wait()
			if got := r.Snapshot(); got.Asleep != asleep || got.Pending != pending {
				r.Errorf("%d asleep, %d pending, want %d and %d", got.Asleep, got.Pending, asleep, pending)
			}
		}
		var all []*reading
		for i := range maxSenders + 2 {
			all = append(all, r.start(10+i, Lazily).ask())
			time.Sleep(2*WatchPeriod + WatchPeriod/2) // of the bubble
			want(min(i+1, maxSenders), max(0, i+1-maxSenders))
		}
		time.Sleep(20 * WatchPeriod) // of the bubble
		want(maxSenders, 2)
		start := time.Now()
		other := r.startOn(r.LaneOf(2, true), 100, Lazily)
		go other.wait()
		synctest.Wait()
		r.completeAll()
		other.want(100, nil)
		if took := time.Since(start); took != 0 {
			r.Errorf("another lane took %v", took)
		}
		close(gates[10])
		want(maxSenders-1, 0)
		for i := range maxSenders - 1 {
			close(gates[11+i])
		}
		synctest.Wait()
		r.completeAll()
		for i, c := range all {
			c.want(10+i, nil)
		}
	})
}

// A waiter to whom others bring more and more to send leaves it to the completer.
func TestSenderReturnsInTheEnd(t *testing.T) {
	inRig(t, 64, func(r *rig) {
		r.kernel.OnOp(nil)
		returned := make(chan struct{})
		all := []*reading{r.start(1, Lazily)}
		calls := 0
		r.kernel.OnSubmit(func(int, int) (int, error) {
			if calls++; calls == maxRounds+1 {
				<-returned // no longer on the waiter
			}
			if len(all) < maxRounds+5 {
				all = append(all, r.start(1+len(all), Lazily).ask())
			}
			return -1, nil
		})
		all[0].wait()
		close(returned)
		synctest.Wait()
		if len(all) != maxRounds+5 {
			r.Errorf("%d were sent", len(all))
		}
		for i, c := range all {
			c.want(1+i, nil)
		}
	})
}
