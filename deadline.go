package asyncfile

import (
	"sync"
	"sync/atomic"
	"time"
)

// A deadline is a moment that can be moved while calls wait for it. The zero
// deadline never comes. It is safe for concurrent use.
type deadline struct {
	set atomic.Bool // for who has none to pay no more than this look

	mu    sync.Mutex
	timer *time.Timer
	past  chan struct{} // closed when the deadline has come; another after each move beyond it
}

// move sets the deadline to t; the zero time takes it away.
func (d *deadline) move(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.past // it has fired: let it finish before the channel is replaced
	}
	d.timer = nil
	if d.past == nil || d.isPast() {
		d.past = make(chan struct{})
	}
	d.set.Store(!t.IsZero())
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(d.past)
	default:
		past := d.past
		d.timer = time.AfterFunc(wait, func() { close(past) })
	}
}

func (d *deadline) isPast() bool {
	select {
	case <-d.past:
		return true
	default:
		return false
	}
}

// wait returns a channel that is closed when the deadline comes, and nil where
// there is none. A call that waits on it sees the deadline move, and sees it
// taken away as one that never comes.
func (d *deadline) wait() <-chan struct{} {
	if !d.set.Load() {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.past
}
