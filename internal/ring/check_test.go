package ring

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// findings are what a checker has found, which goes on.
type findings struct {
	mu   sync.Mutex
	list []string
}

func (f *findings) add(meaning, found string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if meaning == "" {
		found += ", which means nothing"
	}
	f.list = append(f.list, found)
}

// take returns the first finding, and forgets all.
func (f *findings) take() (first string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) > 0 {
		first = f.list[0]
	}
	f.list = nil
	return first
}

// Each invariant is broken once, and found where the Ring itself looks. Two readings
// are in flight.
func TestCheckFinds(t *testing.T) {
	// guarded breaks what mu guards, which is right again after the watchdog has looked.
	guarded := func(set func(r *rig) (undo func())) func(r *rig) {
		return func(r *rig) {
			var undo func()
			r.locked(func() { undo = set(r) })
			r.watchdog.look()
			r.locked(undo)
		}
	}
	for _, tt := range []struct {
		name, want string
		breaks     func(r *rig)
	}{
		{
			"twice in flight", "a reading, which is in flight, is to be pending",
			guarded(func(r *rig) func() {
				q := r.requests[3]
				r.lane.add(q)
				r.lane.reads.Pop()
				return func() { q.walk.stage = StageInFlight }
			}),
		},
		{
			"ended twice", "slot 0, which is free, is to be ended",
			func(r *rig) { r.requests[0].Goes(StageEnded); r.requests[0].walk.stage = StageFree },
		},
		{
			"a lost slot", "of 4 slots 1 are free and 2 in use; 2 requests are in flight, of which io_submit has not answered for 0",
			guarded(func(r *rig) func() {
				free := r.slots.free
				r.slots.free = free[:1]
				return func() { r.slots.free = free }
			}),
		},
		{
			"a slot that is free twice", "slot 0 is free twice, or is free and in use",
			guarded(func(r *rig) func() {
				was := r.slots.free[1]
				r.slots.free[1] = r.slots.free[0]
				return func() { r.slots.free[1] = was }
			}),
		},
		{
			"a slot in use that nobody has", "slot 3, of request 3, is neither free nor in use",
			guarded(func(r *rig) func() {
				r.requests[3].lane = nil
				return func() { r.requests[3].lane = r.lane }
			}),
		},
		{
			"a request that is not counted", "2 requests are in flight, 1 counted; io_submit has not answered for 0 of them, 0 counted",
			guarded(func(r *rig) func() {
				r.inFlight--
				return func() { r.inFlight++ }
			}),
		},
		{
			"a sleeper that is not there", "1 senders sleep in io_submit, 0 of lanes that are there; 0 are in it",
			guarded(func(r *rig) func() {
				r.asleep++
				return func() { r.asleep-- }
			}),
		},
		{
			"two reap", "a goroutine is about to reap: that the token is taken is false, that another reaps true, that it is in io_submit itself false",
			func(r *rig) {
				r.locked(func() { r.reaper = new(driver) })
				r.start(10, Promptly).ask()
				synctest.Wait()
			},
		},
		{
			"the token is lost", "a goroutine has reaped: that the token is taken is false, that it took it true",
			func(r *rig) {
				r.start(10, Promptly).ask()
				synctest.Wait()
				r.locked(func() { r.token = false })
				r.completeAll()
			},
		},
		{
			"io_submit with the token", "a goroutine with the right to reap is about to call io_submit",
			func(r *rig) {
				r.locked(func() { r.reaper = r.seat.current })
				r.start(10, Promptly).ask()
				synctest.Wait()
			},
		},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			inRig(t, 4, func(r *rig) {
				var found findings
				r.Check(found.add)
				first, second := r.start(10, Promptly), r.start(20, Promptly)
				synctest.Wait()
				tt.breaks(r)
				if got := found.take(); got != tt.want {
					r.Errorf("found %q\n want %q", got, tt.want)
				}
				r.locked(func() { r.reaper = nil })
				first.Expect()
				second.ask()
				r.completeAll()
				found.take()
				third := r.start(30, Promptly).ask()
				synctest.Wait()
				r.completeAll()
				if more := found.take(); more != "" || !third.Reached() {
					r.Errorf("afterwards: %s", more)
				}
			})
		})
	}
}

// What it does without a fault is no finding, and a request is named by its client.
func TestCheckFindsNothing(t *testing.T) {
	inRig(t, 2, func(r *rig) {
		var found findings
		r.Check(found.add)
		for i := range 10 {
			c := r.start(1+i, Haste(i%3)).ask()
			synctest.Wait()
			r.completeAll()
			c.want(1+i, nil)
			if name := fmt.Sprint(r.requests[1].name()); name != "slot 1" {
				r.Errorf("a free slot is named %q", name)
			}
		}
		if first := found.take(); first != "" {
			r.Error(first)
		}
	})
}
