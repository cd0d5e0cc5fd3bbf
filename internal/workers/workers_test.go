package workers

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

type job func()

func (j job) Run() { j() }

func TestNeverMoreThanMaxAndAllRun(t *testing.T) {
	const max, jobs = 3, 1000
	p := New(max)
	var running, most, ran atomic.Int32
	var wg sync.WaitGroup
	wg.Add(jobs)
	for range jobs {
		p.Go(job(func() {
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			ran.Add(1)
			running.Add(-1)
			wg.Done()
		}))
	}
	wg.Wait()
	if ran.Load() != jobs || most.Load() > max {
		t.Fatalf("ran %d of %d jobs, %d at once; want at most %d", ran.Load(), jobs, most.Load(), max)
	}
}

func TestFirstComeFirstStarted(t *testing.T) {
	p := New(1)
	gate := make(chan struct{})
	p.Go(job(func() { <-gate })) // keeps the only worker while the others queue up
	const jobs = 300             // more than the length at which the queue reclaims its front
	var order []int
	done := make(chan struct{})
	for i := range jobs {
		p.Go(job(func() {
			order = append(order, i)
			if i == jobs-1 {
				close(done)
			}
		}))
	}
	close(gate)
	<-done
	for i, got := range order {
		if got != i {
			t.Fatalf("job %d ran at place %d", got, i)
		}
	}
}

func TestBlockedJobsDoNotBlockGo(t *testing.T) {
	p := New(2)
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Add(1)
		p.Go(job(func() { <-gate; wg.Done() }))
	}
	close(gate) // reached: Go did not wait for the blocked workers
	wg.Wait()
}

type signal chan struct{}

func (s signal) Run() { s <- struct{}{} }

func TestGoAllocatesNothing(t *testing.T) {
	p := New(1)
	var j Job = make(signal)
	got := testing.AllocsPerRun(1000, func() {
		p.Go(j)
		<-j.(signal)
	})
	if got > 0 {
		t.Fatalf("%v allocations a job, want 0", got)
	}
}

// TestGoexit: a job that ends its goroutine leaves the pool as many as before.
func TestGoexit(t *testing.T) {
	const max = 2
	p := New(max)
	for range 5 * max {
		p.Go(job(runtime.Goexit))
	}
	var meet sync.WaitGroup // of as many as may run at once
	meet.Add(max)
	for range max {
		p.Go(job(func() { meet.Done(); meet.Wait() }))
	}
	meet.Wait()
}
