package asyncfile

// route sees a request on its way as far as what it has to wait for allows, and
// adds it to batch if it may go to the kernel now. With here it is carried out on
// the calling goroutine instead, if nothing is in its way.
func (f *AsyncFile) route(q *request, here bool, batch *requestQueue) {
	if q.op.Kind.writes() || q.op.Kind.syncs() || f.mixed {
		if !f.enterSequence(q) {
			return
		}
	} else {
		q.way = f.wayOf(q)
	}
	if here && q.way != cached {
		f.countWay(q)
		q.loan.Return()
		q.job = jobCarry
		f.carry(q)
		return
	}
	f.dispatch(q, batch)
}

// dispatch sends q the way that keeps the caller free: into batch, for the
// kernel, or to a worker.
func (f *AsyncFile) dispatch(q *request, batch *requestQueue) {
	f.countWay(q)
	job := f.jobOf(q)
	if job == jobNone || job == jobSubmit {
		if !f.makePlan(q) {
			job = jobFail
		}
	}
	if job == jobNone {
		batch.push(q)
		return
	}
	f.ring.toWorker(q, job)
}

// jobOf tells what of q is for a worker.
func (f *AsyncFile) jobOf(q *request) job {
	switch {
	case !f.aio, q.way == cached, q.op.Kind == OpAppend && f.serial():
		return jobCarry
	case q.op.Kind.syncs():
		return jobNone // runs in a kernel worker
	case f.extends(q):
		return jobCarry // the file could not be extended
	case !f.direct:
		return jobSubmit // the kernel does buffered I/O inside io_submit
	case q.op.Kind.writes() && f.blocks.write(q):
		return jobSubmit
	}
	return jobNone
}

// write reports whether a direct write inside the file waits for the device in
// io_submit.
func (b *blocking) write(q *request) bool {
	return b.all || b.unit > 1 && (q.op.Offset|int64(q.want))%b.unit != 0
}

// dispatchAll sends requests that were held, as dispatch does one.
func (f *AsyncFile) dispatchAll(list requestQueue) (batch requestQueue) {
	for q := list.pop(); q != nil; q = list.pop() {
		f.dispatch(q, &batch)
	}
	return batch
}

// countWay counts a request that O_DIRECT does not take as it is.
func (f *AsyncFile) countWay(q *request) {
	switch {
	case q.way == straight:
	case !q.op.Kind.writes():
		f.ring.stats.BouncedReads.Add(1)
	default:
		f.ring.stats.BouncedWrites.Add(1)
	}
}
