package ring

import "github.com/seed-39be8cca/asyncfile/internal/workers"

// A call is a job that is no file's.
type call struct {
	ring *Ring
	job  workers.Job
}

// Go has a worker do j, which may block for as long as it likes: these workers are
// apart from those of the lanes, and as many as one lane has. Close waits for j, and
// a closed Ring refuses it.
func (r *Ring) Go(j workers.Job) error {
	r.mu.Lock()
	if r.closed.Load() {
		r.mu.Unlock()
		return ErrClosed
	}
	r.calls++
	r.mu.Unlock()
	r.callers.Go(&call{r, j})
	return nil
}

// Run does the job, for workers.Job. It is counted out also where the goroutine
// ends in it (runtime.Goexit).
func (c *call) Run() {
	defer c.end()
	c.job.Run()
}

func (c *call) end() {
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls--
	r.announceReturn()
}
