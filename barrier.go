package asyncfile

// A barrier holds back each Sync of a file until the writes that were submitted
// before it have ended, since neither fsync(2) nor IOCB_CMD_FSYNC waits for a
// direct write in flight. It divides the writes into epochs: a Sync closes the
// current one and runs when that and all before it have no write left.
// AsyncFile.mu guards it.
type barrier struct {
	oldest, newest *epoch
}

// An epoch is the writes between two Syncs.
type epoch struct {
	writes int          // in flight
	syncs  requestQueue // to be run when writes is zero, in this epoch and before
	next   *epoch
}

func newBarrier() barrier {
	e := new(epoch)
	return barrier{e, e}
}

// enter counts a write into the current epoch.
func (b *barrier) enter(q *request) {
	q.epoch = b.newest
	q.epoch.writes++
}

// leave counts a write of e out and returns the Syncs that waited for it last.
func (b *barrier) leave(e *epoch) (ready requestQueue) {
	e.writes--
	for b.oldest.writes == 0 && b.oldest != b.newest {
		ready.append(b.oldest.syncs)
		b.oldest = b.oldest.next
	}
	return ready
}

// hold keeps a Sync back, and reports false where it has nothing to wait for.
func (b *barrier) hold(q *request) bool {
	if b.oldest == b.newest && b.newest.writes == 0 {
		return false
	}
	b.newest.syncs.push(q)
	b.newest.next = new(epoch)
	b.newest = b.newest.next
	return true
}
