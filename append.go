package asyncfile

import (
	"io"
	"os"
)

// An appender finds where appended data goes. AsyncFile.mu guards it.
//
// As long as it can say where the file ends, appends are writes like any other:
// each is given its offset in the order of the calls, and they are in flight
// together. Where only the kernel can say (O_APPEND, pipes) they take turns.
type appender struct {
	file   *AsyncFile
	writes int          // in flight
	end    int64        // the largest offset at which one of them ends; 0 if none is in flight
	queue  requestQueue // of those that take turns
	busy   bool         // a worker is at the queue
}

// serial reports whether appends take turns.
func (a *appender) serial() bool { return a.file.refuse != nil || a.file.seekless }

// place gives an append its offset and takes note of where a write ends.
func (a *appender) place(q *request) {
	if q.op.Kind == OpAppend && !a.serial() {
		q.op.Offset = max(a.end, a.file.size())
	}
	a.writes++
	a.end = max(a.end, q.end())
}

// leave is called when a write has ended.
func (a *appender) leave() {
	if a.writes--; a.writes == 0 {
		a.end = 0
	}
}

// push queues an append that takes its turn.
func (a *appender) push(q *request) {
	a.queue.push(q)
	if !a.busy {
		a.busy = true
		a.file.ring.workers.Go(a)
	}
}

// Run carries out the appends that take turns, on a worker.
func (a *appender) Run() {
	mu := &a.file.mu
	for {
		mu.Lock()
		q := a.queue.pop()
		a.busy = q != nil
		mu.Unlock()
		if q == nil {
			return
		}
		q.Run()
	}
}

// write appends with write(2) on osf, and sets op.Offset to where the data went.
func (a *appender) write(osf *os.File, op *Op) (n int, err error) {
	n, err = osf.Write(op.Buf)
	if end, e := osf.Seek(0, io.SeekCurrent); e == nil {
		op.Offset = end - int64(n)
	}
	return n, err
}
