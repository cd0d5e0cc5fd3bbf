package asyncfile

// route sees a request on its way as far as what it has to wait for allows, and
// adds it to batch if it may go to the kernel now.
func (f *AsyncFile) route(q *request, here bool, batch *requestQueue) {
	kind := q.op.Kind
	if kind.writes() || kind.syncs() || f.ordered() {
		f.mu.Lock()
		pass := f.order(q)
		f.mu.Unlock()
		if !pass {
			return
		}
	} else {
		q.way = f.wayOf(&q.op, q.want)
	}
	if here && q.way == straight {
		q.Run()
		return
	}
	f.dispatch(q, batch)
}

// order gives a write its place and reports whether q may go now. Called with mu
// held.
func (f *AsyncFile) order(q *request) bool {
	if q.op.Kind.syncs() {
		return !f.barrier.hold(q)
	}
	if q.op.Kind.writes() {
		f.barrier.enter(q)
		f.appender.place(q)
	}
	q.way = f.wayOf(&q.op, q.want)
	return f.overlap.admit(q) && f.proceed(q)
}

// proceed lets q, which shares no block with what it must not, take its turn or
// pass the gate, and reports whether it may go now. Called with mu held.
func (f *AsyncFile) proceed(q *request) bool {
	switch {
	case q.op.Kind == OpAppend && f.appender.serial():
		f.appender.push(q)
		return false
	case q.way == cached:
		return true
	}
	return f.gate.pass(q)
}

// dispatch sends q the way that keeps the caller free: into batch, for the
// kernel, or to a worker.
func (f *AsyncFile) dispatch(q *request, batch *requestQueue) {
	f.ring.stats.countWay(q)
	if !f.aio || q.way == cached {
		f.ring.offload(q)
		return
	}
	q.plan()
	if q.alone || f.wouldBlock(q) {
		f.ring.offloadSubmit(q)
		return
	}
	batch.push(q)
}

// wouldBlock reports whether io_submit would wait for the device.
func (f *AsyncFile) wouldBlock(q *request) bool {
	switch {
	case q.op.Kind.syncs():
		return false // runs in a kernel worker
	case !f.direct:
		return true // the kernel does buffered I/O inside io_submit
	case !q.op.Kind.writes():
		return false
	}
	b := f.blocks
	return b.writes || b.unit > 1 && (q.op.Offset|int64(q.want))%b.unit != 0
}

// ordered reports whether even reads have to keep off others.
func (f *AsyncFile) ordered() bool { return f.overlap != nil || f.gate != nil }

// leaveBlocks takes q, which has ended, out of what knows it by its slot, and
// returns the requests that waited for its blocks.
func (f *AsyncFile) leaveBlocks(q *request) (ready requestQueue) {
	if q.epoch == nil && !q.spanned {
		return ready
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.epoch != nil {
		f.appender.leave(q)
	}
	for _, w := range f.overlap.leave(q) {
		if f.proceed(w) {
			ready.push(w)
		}
	}
	return ready
}

// leaveOrder counts out a request whose outcome can be seen, and returns the
// Syncs that waited for that: they end after the writes that they cover.
func (f *AsyncFile) leaveOrder(e *epoch, gated bool) (ready requestQueue) {
	if e == nil && !gated {
		return ready
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if e != nil {
		ready = f.barrier.leave(e)
	}
	if gated {
		f.gate.leave()
	}
	return ready
}

// dispatchAll sends requests that were held, as dispatch does one.
func (f *AsyncFile) dispatchAll(list requestQueue, batch *requestQueue) {
	for q := list.pop(); q != nil; q = list.pop() {
		f.dispatch(q, batch)
	}
}
