package asyncfile

import (
	"context"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A reach is what the operations of a Queue are on.
type reach struct {
	lanes []*ring.Lane
	ring  *ring.Ring // of all lanes; nil where they are of several
}

// maxStay is how long Receive stays in the kernel without an event, where nothing
// can call it back: neither a context that ends, nor a completion that comes from
// elsewhere. Then it leaves the kernel to the completer.
const maxStay = 2 * time.Millisecond

// Receive waits until there is at least one completion, moves into dst what there
// is, up to len(dst), and returns how many that are. The calling goroutine sends what
// was submitted before, waits in the kernel, and ends what has come back, that of
// others on the same Ring included, unless another goroutine is at it.
//
// It waits no longer than ctx lives; completions that are ready win over a context
// that is dead. Then, and where it ends before there is one, n is 0 and err is
// ctx.Err(). Once the Queue is closed and nothing is left to be received, err answers
// errors.Is for fs.ErrClosed. An empty dst and a nil ctx are answered with
// os.ErrInvalid. As the wait in the kernel cannot be interrupted, the end of ctx, and
// a completion that comes from elsewhere, such as a worker, may be noticed up to 2 ms late.
func (q *Queue) Receive(ctx context.Context, dst []Completion) (n int, err error) {
	switch {
	case !q.made():
		return 0, errNoQueue
	case ctx == nil:
		return 0, invalid("Queue.Receive: no context: pass context.Background() to wait for as long as it takes")
	case len(dst) == 0:
		return 0, invalid("Queue.Receive: no room for a completion: pass a slice that is not empty")
	}
	q.pulledAt.Store(q.ended.Load())
	for {
		if n, err = q.receiveReady(dst); n > 0 || err != nil {
			return n, err
		}
		if err := ctx.Err(); err != nil {
			if q.help(ctx, &ring.Lending{Poll: true}) {
				continue
			}
			return 0, err
		}
		q.pulling.Add(1)
		if !q.help(ctx, &ring.Lending{Stay: stayOf(ctx)}) {
			n, err = q.park(ctx, dst)
		}
		q.pulling.Add(-1)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// All returns the completions as they come, one after the other, until ctx ends or
// the Queue is closed and nothing is left to be received. A loop that is left early
// has taken none but those that it was given. All may be used more than once, and
// by several goroutines; each completion goes to one of them.
func (q *Queue) All(ctx context.Context) iter.Seq[Completion] {
	return func(yield func(Completion) bool) {
		var c [1]Completion
		for {
			if n, _ := q.Receive(ctx, c[:]); n == 0 || !yield(c[0]) {
				return
			}
		}
	}
}

// receiveReady moves into dst what is ready.
func (q *Queue) receiveReady(dst []Completion) (n int, err error) {
	for n < len(dst) {
		select {
		case c, ok := <-q.ready:
			if !ok {
				if n == 0 {
					err = errQueueClosed
				}
				return n, err
			}
			dst[n] = c
			n++
			continue
		default:
		}
		break
	}
	if n > 0 && q.waiting.Load() > 0 {
		q.reclaim()
	}
	return n, nil
}

// stayOf returns how long a goroutine in Receive may be in the kernel.
func stayOf(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(maxStay, max(time.Until(deadline), time.Microsecond))
	}
	return maxStay
}

// help lends the calling goroutine to the Ring, and reports whether there is
// something to receive. Otherwise, if it is to wait, it is counted as parked.
func (q *Queue) help(ctx context.Context, how *ring.Lending) (reached bool) {
	if reach := q.reach.Load(); q.inProgress() && reach != nil && reach.ring != nil {
		how.Until, how.Lanes, how.May = received{q}, reach.lanes, reach.mayBeSent(ctx)
		how.Several, how.Pull = 1, true
		q.unask()
		return reach.ring.Lend(how)
	}
	if !how.Poll {
		q.withdraw()
		return false // even if it is: who is counted has to park, and does not wait then
	}
	if q.inProgress() {
		q.urge()
	}
	return q.reached()
}

// withdraw counts a goroutine as parked, and leaves to the completers what is in
// progress; so also what was begun meanwhile, whose submitter may have seen nobody
// parked, or the Queue counted before it was.
func (q *Queue) withdraw() {
	q.expect()
	if q.inProgress() {
		q.urge()
	}
}

// inProgress reports whether something has begun and not ended.
func (q *Queue) inProgress() bool { return q.ended.Load() < q.begun.Load() }

// mayBeSent returns what a goroutine in Receive sends itself, and so may sleep for in
// io_submit: nothing, if one device would hold it up for another; and no writes,
// which sleep for as long as a file system is frozen, if it has to be back in time.
func (r *reach) mayBeSent(ctx context.Context) ring.Load {
	switch {
	case len(r.lanes) > 1:
		return ring.Nothing
	case ctx.Done() != nil:
		return ring.Reads
	}
	return ring.All
}

// park waits on the channel, for what the completers reap. The goroutine was
// counted as parked.
func (q *Queue) park(ctx context.Context, dst []Completion) (n int, err error) {
	select {
	case c, ok := <-q.ready:
		if !ok {
			err = errQueueClosed
			break
		}
		dst[0] = c
		n, _ = q.receiveReady(dst[1:])
		n++
	case <-ctx.Done(): // Receive looks again
	}
	q.mu.Lock()
	q.parked.Add(-1)
	q.mu.Unlock()
	return n, err
}

// expect counts a goroutine as one that leaves the work to the completers.
func (q *Queue) expect() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.parked.Add(1)
	q.count()
}

// ask has the Rings reap without the help of who receives.
func (q *Queue) ask() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.count()
}

// urge has the Rings send and reap without the help of who receives.
func (q *Queue) urge() {
	q.ask()
	if reach := q.reach.Load(); reach != nil {
		for _, l := range reach.lanes {
			l.Ask()
		}
	}
}

// unask leaves the reaping to who receives, unless somebody does not help.
func (q *Queue) unask() {
	if !q.asking.Load() {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.parked.Load() == 0 && q.closing.Err() == nil {
		q.uncount()
	}
}

// rest stops to count the Queue with its Rings when nothing is in progress: an idle
// Queue is no reason to reap what is others'.
func (q *Queue) rest() {
	if !q.asking.Load() || q.inProgress() {
		return
	}
	q.mu.Lock()
	q.uncount()
	q.count() // if one was begun that has seen it counted
	again := q.asking.Load()
	q.mu.Unlock()
	if again {
		q.urge()
	}
}

// count counts the Queue with its Rings while it has something in progress. Called
// with mu held.
func (q *Queue) count() {
	if q.reach.Load() == nil {
		return
	}
	q.asking.Store(true) // before the looks: of rest, or extend, and this one sees the other
	for !q.inProgress() {
		q.uncount()
		if !q.inProgress() { // after it was uncounted: who begins from now on sees that
			return
		}
		q.asking.Store(true)
	}
	for _, l := range q.reach.Load().lanes {
		if !slices.Contains(q.asked, l.Ring()) {
			q.asked = append(q.asked, l.Ring())
			l.Ring().Count(1)
		}
	}
}

// uncount undoes count. Called with mu held.
func (q *Queue) uncount() {
	q.asking.Store(false)
	for _, r := range q.asked {
		r.Count(-1)
	}
	clear(q.asked)
	q.asked = q.asked[:0]
}

// extend takes note that the Queue is used on l. It forgets lanes whose files are
// closed.
func (q *Queue) extend(l *ring.Lane) {
	for {
		old := q.reach.Load()
		if old != nil && slices.Contains(old.lanes, l) {
			return
		}
		now := &reach{ring: l.Ring()}
		if old != nil {
			for _, other := range old.lanes {
				if other.Used() {
					now.lanes = append(now.lanes, other)
				}
			}
		}
		now.lanes = append(now.lanes, l)
		for _, other := range now.lanes {
			if other.Ring() != l.Ring() {
				now.ring = nil
			}
		}
		if q.reach.CompareAndSwap(old, now) {
			break
		}
	}
	if q.asking.Load() {
		q.ask()
	}
}

// reached reports whether there is something to receive, or never will be.
func (q *Queue) reached() bool { return len(q.ready) > 0 || q.closed.Load() }

// received is a Queue as the goal of a goroutine that lends itself to the Ring.
type received struct{ q *Queue }

// Reached implements ring.Goal.
func (r received) Reached() bool { return r.q.reached() }

// ByEvent implements ring.Goal.
func (r received) ByEvent() bool { return true }

// Expect implements ring.Goal.
func (r received) Expect() { r.q.expect() }

// neverPulled is the pulledAt of a Queue that nobody pulls.
const neverPulled = math.MinInt64 / 2

// pulled reports whether the Queue's completions are taken by Receive, so far as is
// known: until C is called, or more has ended since the last Receive than there are
// places, which somebody has then received who called C long ago.
func (q *Queue) pulled() bool {
	return q.ended.Load()-q.pulledAt.Load() <= int64(cap(q.ready))
}
