package file

import "github.com/seed-39be8cca/asyncfile/internal/ring"

// route sees a request on its way as far as what it has to wait for allows, and
// adds it to batch if it may go to the kernel now. With here it is carried out on
// the calling goroutine instead, if nothing is in its way.
func (f *Handle) route(o *operation, here bool, batch *ring.Requests) {
	if o.op.Kind.Writes() || o.op.Kind.Syncs() || f.Mixed {
		if !f.enterSequence(o) {
			return
		}
	} else {
		o.way = f.wayOf(o)
	}
	if here && o.way != cached {
		f.countWay(o)
		o.slot.Loan.Return()
		o.Carry()
		return
	}
	f.dispatch(o, batch)
}

// dispatch sends o the way that keeps the caller free: into batch, for the
// kernel, or to a worker.
func (f *Handle) dispatch(o *operation, batch *ring.Requests) {
	f.countWay(o)
	job := f.jobOf(o)
	if job == ring.JobNone || job == ring.JobSubmit {
		if !f.makePlan(o) {
			job = ring.JobCarry
		}
	}
	if job == ring.JobNone {
		batch.Push(o.slot)
		return
	}
	f.group.ring.ToWorker(o.slot, job)
}

// jobOf tells what of o is for a worker.
func (f *Handle) jobOf(o *operation) ring.Job {
	switch {
	case !f.OnKernel, o.way == cached, o.op.Kind == Append && f.serial():
		return ring.JobCarry
	case o.op.Kind.Syncs():
		return ring.JobNone // runs in a kernel worker
	case f.extends(o):
		return ring.JobCarry // the file could not be extended
	case !f.Direct:
		return ring.JobSubmit // the kernel does buffered I/O inside io_submit
	case o.op.Kind.Writes() && f.Blocks.write(o):
		return ring.JobSubmit
	}
	return ring.JobNone
}

// write reports whether a direct write inside the file waits for the device in
// io_submit.
func (b *Blocking) write(o *operation) bool {
	return b.All || b.Unit > 1 && (o.op.Offset|int64(o.want))%b.Unit != 0
}

// dispatchAll sends requests that were held, as dispatch does one.
func (f *Handle) dispatchAll(list ring.Requests) (batch ring.Requests) {
	for q := list.Pop(); q != nil; q = list.Pop() {
		f.dispatch(q.Client.(*operation), &batch)
	}
	return batch
}

// countWay counts a request that O_DIRECT does not take as it is.
func (f *Handle) countWay(o *operation) {
	switch {
	case o.way == straight:
	case !o.op.Kind.Writes():
		f.group.Counts.BouncedReads.Add(1)
	default:
		f.group.Counts.BouncedWrites.Add(1)
	}
}
