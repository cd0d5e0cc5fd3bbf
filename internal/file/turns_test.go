package file

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns has goroutines take turns of every sort and give up at every moment. No
// two have the same at once, and nobody is forgotten.
func TestTurns(t *testing.T) {
	var turns turns
	turns.init()
	var has [3]atomic.Int32
	var all sync.WaitGroup
	over := make(chan struct{})
	close(over)
	for g := range 12 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(9, uint64(g)))
			for range 3000 {
				what := uint32(1 + r.IntN(7))
				var past <-chan struct{}
				switch r.IntN(4) {
				case 0:
					past = over
				case 1:
					c := make(chan struct{})
					timer := time.AfterFunc(time.Duration(r.IntN(50))*time.Microsecond, func() { close(c) })
					defer timer.Stop()
					past = c
				}
				if !turns.take(what, past) {
					if past == nil {
						t.Error("gave up without a reason")
					}
					continue
				}
				for i := range has {
					if what>>i&1 != 0 && has[i].Add(1) != 1 {
						t.Errorf("two have turn %d at once", i)
					}
				}
				if r.IntN(3) == 0 {
					runtime.Gosched()
				}
				for i := range has {
					if what>>i&1 != 0 {
						has[i].Add(-1)
					}
				}
				turns.give(what)
			}
		})
	}
	all.Wait()
	if taken, waiting := turns.taken.Load(), turns.waiting.Load(); taken != 0 || waiting != 0 {
		t.Errorf("at the end %#x are taken, and %d wait", taken, waiting)
	}
}

// TestTurnsPassedOn: who is woken for a turn that is of no use to it yet wakes those
// that can use it.
func TestTurnsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		turns.init()
		turns.take(Reading, nil)
		turns.take(Moving, nil)
		var both, one atomic.Bool
		go func() { both.Store(turns.take(Reading|Moving, nil)) }()
		synctest.Wait()
		go func() { one.Store(turns.take(Reading, nil)) }()
		synctest.Wait()
		turns.give(Reading)
		synctest.Wait()
		if !one.Load() || both.Load() {
			t.Errorf("one that is free was had: %v; two of which one is not: %v", one.Load(), both.Load())
		}
		turns.give(Moving)
		turns.give(Reading)
		synctest.Wait()
		if !both.Load() {
			t.Error("both are free, and nobody has them")
		}
	})
}
