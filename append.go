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
	writes []*request   // in flight, in no order
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
	q.writePlace = len(a.writes)
	a.writes = append(a.writes, q)
	a.end = max(a.end, q.end())
}

// leave is called when a write has ended. The end moves back where it was that
// write's: if it succeeded, the file is that large now, and if not, nothing is
// there.
func (a *appender) leave(q *request) {
	end, last := q.end(), len(a.writes)-1
	a.writes[q.writePlace] = a.writes[last]
	a.writes[q.writePlace].writePlace = q.writePlace
	a.writes[last] = nil
	a.writes = a.writes[:last]
	if end < a.end {
		return
	}
	a.end = 0
	for _, w := range a.writes {
		a.end = max(a.end, w.end())
	}
}

// push queues an append that takes its turn.
func (a *appender) push(q *request) {
	q.alone = false // write(2) it is, whatever the file runs on
	a.queue.push(q)
	if a.busy {
		return
	}
	a.busy = true
	if a.file.seekless {
		go a.Run() // may wait for the reader of a pipe, who may need a worker
		return
	}
	a.file.ring.workers.Go(a)
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
	if osf == a.file.osf && !a.file.seekless {
		n, op.Offset, err = a.file.view.cursor.append(op.Buf)
		return n, err
	}
	n, err = osf.Write(op.Buf)
	if end, e := osf.Seek(0, io.SeekCurrent); e == nil {
		op.Offset = end - int64(n)
	}
	return n, err
}
