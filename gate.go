package asyncfile

import "github.com/seed-39be8cca/asyncfile/internal/aio"

// A gate keeps direct writes beyond the end of a file asynchronous.
//
// On ext4 such a write blocks its io_submit until the data is on disk and,
// since it holds the inode lock all the while, every other io_submit on that
// file too (ext4_dio_write_checks, fs/ext4/file.c). A write inside the file's
// size does neither. So the file is first extended, with fallocate(2), to where
// the write will end.
//
// fallocate itself waits, inode lock held, for the direct I/O in flight. To wait
// in user space instead, where nobody blocks, extending is exclusive: the gate
// closes, requests that arrive are held, and when the last of those that passed
// has ended a worker extends the file for all that are held, and lets them pass.
// Extending writes submitted together thus cost one fallocate, and are then in
// flight together. Truncate goes the same way, and has to also on XFS, where
// extending writes are asynchronous by themselves and pass an open gate: to make
// the file larger under one zeroes what it writes.
//
// AsyncFile.mu guards it. A nil gate lets everything pass.
type gate struct {
	file   *AsyncFile
	size   int64        // of the file; where another process made it less, an extending write merely blocks
	open   bool         // extending writes pass like any others
	active int          // requests that have passed and not ended
	closed bool         // for an exclusive turn, begun or to begin when active is 0
	held   requestQueue // by the closed gate
	before requestQueue // of those held, the ones that came before tasks
	tasks  []func()     // to be run in an exclusive turn
}

// pass lets q through, or holds it and reports false.
func (g *gate) pass(q *request) bool {
	if g == nil {
		return true
	}
	if g.closed || g.extends(q) {
		g.held.push(q)
		g.close()
		return false
	}
	q.gated = true
	g.active++
	return true
}

// leave is called when a request that passed has ended.
func (g *gate) leave() {
	g.active--
	if g.closed && g.active == 0 {
		g.file.ring.workers.Go(g)
	}
}

// close closes the gate for an exclusive turn, unless one is to come already.
func (g *gate) close() {
	if g.closed {
		return
	}
	g.closed = true
	if g.active == 0 {
		g.file.ring.workers.Go(g)
	}
}

// Run is the exclusive turn, on a worker: the gate is closed and nothing that
// passed it is in flight.
func (g *gate) Run() {
	mu := &g.file.mu
	mu.Lock()
	tasks, held := g.tasks, g.held
	if g.before.empty() {
		g.tasks, g.held = nil, requestQueue{}
	} else { // their turn, and only when they have ended that of the tasks
		tasks, held = nil, g.before
		g.before = requestQueue{}
	}
	mu.Unlock()

	for _, task := range tasks {
		task()
	}
	batch, refused := g.extend(held)

	mu.Lock()
	g.closed = false
	g.admit(batch)
	g.admit(refused)
	if len(g.tasks) > 0 {
		g.close() // what is held comes after them
	} else {
		late := g.held
		g.held = requestQueue{}
		for q := late.pop(); q != nil; q = late.pop() {
			if g.pass(q) {
				batch.push(q)
			}
		}
	}
	mu.Unlock()

	for q := refused.pop(); q != nil; q = refused.pop() {
		g.file.ring.offload(q)
	}
	var released requestQueue
	g.file.dispatchAll(batch, &released)
	g.file.ring.submit(released)
}

// admit lets list through.
func (g *gate) admit(list requestQueue) {
	for q := list.head; q != nil; q = q.next {
		q.gated = true
		g.active++
	}
}

// extend makes the file large enough for every write of batch, and returns
// apart those for which it could not: an ordinary pwrite(2) will find the error
// that the caller is to see.
func (g *gate) extend(batch requestQueue) (ready, refused requestQueue) {
	for q := batch.pop(); q != nil; q = batch.pop() {
		if !g.extends(q) {
			ready.push(q)
			continue
		}
		// Writes that follow one another, as appends do, are one range.
		run, end := requestQueue{q, q, 1}, q.end()
		for next := batch.head; next != nil && next.op.Offset == end && g.extends(next); next = batch.head {
			end = next.end()
			run.push(batch.pop())
		}
		from := run.head.op.Offset
		if err := aio.Allocate(g.file.fd, from, end-from); err != nil {
			g.file.ring.stats.Fallbacks.Add(1)
			refused.append(run)
			continue
		}
		g.file.ring.stats.Extensions.Add(1)
		g.resize(max(g.size, end))
		ready.append(run)
	}
	return ready, refused
}

// resize takes note of a new size of the file, in an exclusive turn.
func (g *gate) resize(size int64) {
	g.file.mu.Lock()
	g.size = size
	g.file.mu.Unlock()
}

func (g *gate) extends(q *request) bool { return !g.open && q.op.Kind.writes() && q.end() > g.size }

// alone runs task in an exclusive turn, when every request that came before it
// has ended, and returns when it has run.
func (g *gate) alone(task func()) {
	done := make(chan struct{})
	g.file.mu.Lock()
	g.tasks = append(g.tasks, func() { task(); close(done) })
	g.before.append(g.held)
	g.held = requestQueue{}
	g.close()
	g.file.mu.Unlock()
	<-done
}
