package asyncfile

// route sees a request on its way as far as what it has to wait for allows, and
// adds it to batch if it may go to the kernel now. With here it is carried out on
// the calling goroutine instead, if nothing is in its way.
func (f *AsyncFile) route(o *operation, here bool, batch *requestQueue) {
	if o.op.Kind.writes() || o.op.Kind.syncs() || f.mixed {
		if !f.enterSequence(o) {
			return
		}
	} else {
		o.way = f.wayOf(o)
	}
	if here && o.way != cached {
		f.countWay(o)
		o.slot.loan.Return()
		o.Carry()
		return
	}
	f.dispatch(o, batch)
}

// dispatch sends o the way that keeps the caller free: into batch, for the
// kernel, or to a worker.
func (f *AsyncFile) dispatch(o *operation, batch *requestQueue) {
	f.countWay(o)
	job := f.jobOf(o)
	if job == jobNone || job == jobSubmit {
		if !f.makePlan(o) {
			job = jobCarry
		}
	}
	if job == jobNone {
		batch.push(o.slot)
		return
	}
	f.ring.toWorker(o.slot, job)
}

// jobOf tells what of o is for a worker.
func (f *AsyncFile) jobOf(o *operation) job {
	switch {
	case !f.aio, o.way == cached, o.op.Kind == OpAppend && f.serial():
		return jobCarry
	case o.op.Kind.syncs():
		return jobNone // runs in a kernel worker
	case f.extends(o):
		return jobCarry // the file could not be extended
	case !f.direct:
		return jobSubmit // the kernel does buffered I/O inside io_submit
	case o.op.Kind.writes() && f.blocks.write(o):
		return jobSubmit
	}
	return jobNone
}

// write reports whether a direct write inside the file waits for the device in
// io_submit.
func (b *blocking) write(o *operation) bool {
	return b.all || b.unit > 1 && (o.op.Offset|int64(o.want))%b.unit != 0
}

// dispatchAll sends requests that were held, as dispatch does one.
func (f *AsyncFile) dispatchAll(list requestQueue) (batch requestQueue) {
	for q := list.pop(); q != nil; q = list.pop() {
		f.dispatch(q.client.(*operation), &batch)
	}
	return batch
}

// countWay counts a request that O_DIRECT does not take as it is.
func (f *AsyncFile) countWay(o *operation) {
	switch {
	case o.way == straight:
	case !o.op.Kind.writes():
		f.ring.stats.BouncedReads.Add(1)
	default:
		f.ring.stats.BouncedWrites.Add(1)
	}
}
