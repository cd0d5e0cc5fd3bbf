package ring

import (
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

func TestRequests(t *testing.T) {
	var l, m Requests
	qs := make([]Request, 6)
	if l.Pop() != nil || !l.Empty() {
		t.Error("not empty at first")
	}
	l.Append(m)
	for i := range 3 {
		l.Push(&qs[i])
		m.Push(&qs[3+i])
	}
	l.Append(m)
	l.Append(Requests{})
	for i := range qs {
		if q := l.Pop(); q != &qs[i] || q.next != nil {
			t.Errorf("%d is not in order, or still linked", i)
		}
	}
	if l.Pop() != nil || !l.Empty() || l.tail != nil {
		t.Error("not empty at last")
	}
	l.Push(&qs[0])
	if l.Pop() != &qs[0] || !l.Empty() {
		t.Error("of no use after that")
	}
}

// A request goes out when somebody waits for it, goes on after a short transfer, and
// ends with what the kernel says.
func TestRequestsLife(t *testing.T) {
	inRig(t, 4, func(r *rig) {
		c := r.start(10, Lazily)
		synctest.Wait()
		if got := r.Snapshot(); got.Pending != 1 || got.Submits != 0 {
			r.Errorf("%+v", got)
		}
		go c.wait()
		synctest.Wait()
		if got := r.Snapshot(); got.InFlight != 1 || !got.Token || got.Completer != Parked {
			r.Errorf("%+v", got)
		}
		r.kernel.Held()[0].Short(4)
		synctest.Wait()
		if op := r.kernel.Held()[0]; op.Offset != 4 || op.Len != 6 {
			r.Errorf("goes on with %d+%d, want 4+6", op.Offset, op.Len)
		}
		r.kernel.Held()[0].Complete()
		c.want(10, nil)
		c = r.start(10, Promptly).ask()
		synctest.Wait()
		r.kernel.Held()[0].Fail(syscall.EIO)
		c.want(0, syscall.EIO)
		if got := r.Snapshot(); got.Taken != 2 || got.Ended != 2 || got.Done != (Tally{Read: 10, Failed: 1}) || got.Submits != 3 {
			r.Errorf("%+v", got)
		}
	})
}

// Whoever is told of a result finds a free slot.
func TestSlotIsFreeBeforeTheResultIsTold(t *testing.T) {
	inRig(t, 1, func(r *rig) {
		c := r.newReading(10)
		var next *reading
		c.deliver = func() { next = r.start(10, Promptly).ask() }
		c.request.Load().Finish()
		c.want(0, nil)
		r.completeAll()
		next.want(10, nil)
	})
}

// What the end of a request lets go is sent without anybody who waits.
func TestReleasedRequestsAreSent(t *testing.T) {
	inRig(t, 2, func(r *rig) {
		first, second := r.newReading(10), r.newReading(20)
		first.next.Push(second.request.Load())
		second.Expect()
		first.request.Load().Finish()
		first.want(0, nil)
		r.completeAll()
		second.want(20, nil)
	})
}

// A client may keep its request when a submission has ended, and end it later.
func TestHeldRequestEndsByItself(t *testing.T) {
	inRig(t, 1, func(r *rig) {
		c := r.newReading(10)
		c.held = true
		c.push(Promptly)
		c.Expect()
		synctest.Wait()
		r.completeAll()
		if got := r.Snapshot(); got.InUse != 1 || got.InFlight != 0 || got.Ended != 0 {
			r.Errorf("%+v", got)
		}
		c.request.Load().Finish()
		c.want(10, nil)
	})
}

// Where there is much to copy a worker takes the result; and a worker does what is
// not for the kernel, or what would block in io_submit.
func TestWorkersJobs(t *testing.T) {
	inRig(t, 4, func(r *rig) {
		copied := r.newReading(10)
		copied.request.Load().Plan.Copies = copyInline + 1
		copied.push(Promptly)
		copied.Expect()
		synctest.Wait()
		r.completeAll()
		copied.want(10, nil)
		if got := r.Snapshot().Offloaded; got != 1 {
			r.Errorf("%d jobs of workers, want 1", got)
		}
		carried := r.newReading(10)
		r.ToWorker(carried.request.Load(), JobCarry)
		carried.want(10, nil)
		if got := r.Snapshot(); got.Offloaded != 2 || got.Submits != 1 {
			r.Errorf("%+v", got)
		}
		blocking := r.newReading(10)
		r.ToWorker(blocking.request.Load(), JobSubmit)
		blocking.Expect()
		synctest.Wait()
		r.completeAll()
		blocking.want(10, nil)
		if got := r.Snapshot(); got.Offloaded != 3 || got.Submits != 2 {
			r.Errorf("%+v", got)
		}
	})
}

// What the kernel has not on this file an ordinary call may have.
func TestInvalidIsCarriedOut(t *testing.T) {
	inRig(t, 1, func(r *rig) {
		back := make(chan struct{})
		close(back)
		r.answerOnce(syscall.EINVAL, back)
		r.start(10, Promptly).want(10, nil)
		if got := r.Snapshot(); got.Offloaded != 1 || got.Stalls != 0 {
			r.Errorf("%+v", got)
		}
	})
}

// A free slot keeps nothing reachable: not in what is left of a list of buffers that
// was longer once, either.
func TestFreeSlotForgets(t *testing.T) {
	inRig(t, 1, func(r *rig) {
		c := r.newReading(10)
		q := c.request.Load()
		for range 20 {
			q.Plan.Iovecs = append(q.Plan.Iovecs, aio.MakeIovec(c.buf))
		}
		q.Finish()
		for i, v := range q.Plan.Iovecs[:cap(q.Plan.Iovecs)] {
			if v != (aio.Iovec{}) {
				r.Errorf("iovec %d of %d still names a buffer", i, cap(q.Plan.Iovecs))
			}
		}
		if q.Client != nil || q.Plan.Buf != nil || q.job != JobNone || r.Client(0) != nil {
			r.Errorf("left over: %+v", q)
		}
	})
}

// An observer is told of each arrow of the drawing.
func TestWalkIsObserved(t *testing.T) {
	inRig(t, 1, func(r *rig) {
		var walk []Stage
		r.Watch(func(_ *Request, from, to Stage, _ string) {
			if len(walk) > 0 && walk[len(walk)-1] != from {
				t.Errorf("from %v, which is not where it was, %v", from, walk)
			}
			walk = append(walk, to)
		})
		c := r.start(10, Promptly).ask()
		synctest.Wait()
		r.completeAll()
		c.want(10, nil)
		if want := []Stage{StageBegun, StagePending, StageEntering, StageInFlight, StageReaped, StageEnded}; !slices.Equal(walk, want) {
			r.Errorf("walked %v, want %v", walk, want)
		}
	})
}
