// Package workers runs jobs that block on a bounded number of goroutines.
//
// A worker lives as long as there is work: it is started when a job arrives and
// fewer than the maximum are running, and ends when the queue is empty. So an
// idle pool has no goroutine, needs no timer to shrink and nothing to close.
package workers

import "sync"

// A Job is work that may block in a system call.
type Job interface{ Run() }

// A Pool runs jobs on at most a fixed number of goroutines, first come first
// started. It is safe for concurrent use.
type Pool struct {
	run func() // p.work, bound once so that starting a worker allocates nothing

	mu      sync.Mutex
	max     int
	running int
	queue   []Job // waiting jobs are queue[head:]
	head    int
}

// New returns a pool of at most max goroutines, one at least.
func New(max int) *Pool {
	p := &Pool{max: max}
	p.run = p.work
	return p
}

// Go queues j and returns at once, however many jobs wait.
func (p *Pool) Go(j Job) {
	p.mu.Lock()
	p.queue = append(p.queue, j)
	start := p.running < p.max
	if start {
		p.running++
	}
	p.mu.Unlock()
	if start {
		go p.run()
	}
}

// work runs jobs until none waits. Where a job ends the goroutine (runtime.Goexit)
// another takes its place.
func (p *Pool) work() {
	idle := false
	defer func() {
		if !idle {
			go p.run()
		}
	}()
	for {
		j := p.next()
		if j == nil {
			idle = true
			return
		}
		j.Run()
	}
}

// next takes the oldest job, or signs the calling worker off and returns nil.
func (p *Pool) next() Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
		p.running--
		return nil
	}
	j := p.queue[p.head]
	p.queue[p.head] = nil // the queue must not keep a finished job's buffer alive
	p.head++
	// Under constant load the queue never empties: reclaim its spent front.
	if p.head >= 64 && p.head*2 >= len(p.queue) {
		n := copy(p.queue, p.queue[p.head:])
		clear(p.queue[n:])
		p.queue, p.head = p.queue[:n], 0
	}
	return j
}
