// Package ring is a Ring's machinery: one kernel AIO context, the slots of what may be
// in flight on it, and the goroutines that send and reap.
//
// It knows requests, and nothing of files: what a request is for is a [Client], which
// plans each submission and takes its result, and who waits for one is a [Goal]. These
// two are the only ways up. What the completer waits for, and how long, is up to whoever
// makes the Ring: it is given a [Seat].
//
//   - request.go: a request, its plan, its client
//   - slots.go: the requests that nobody uses, and who waits for one
//   - lane.go, submit.go: what a Ring has for one device; who calls io_submit, and when
//   - reap.go, seat.go: the token: who takes events; the completer's place
//   - outcome.go, lost.go: what follows an event, or the end of the context
//   - watchdog.go: what nobody does by itself
//   - ring.go, setup.go: the Ring, its end; the kernel context
//   - snapshot.go, walk.go, check.go: counters; each step of a request, told and checked
//
// Who owns a request, that is, who may read and write it:
//
//	free      ──acquire──▶ the submitter                   (Ring.mu)
//	acquired  ──order────▶ held    by its client           (a lock of the client's)
//	                     ▶ pending in its lane             (Ring.mu)
//	                     ▶ queued  for a worker            (workers.Pool)
//	held      ──granted──▶ pending or queued               by the one that ended what it waited for
//	pending   ──send─────▶ in flight: the kernel           until its event is reaped
//	pending   ──refused──▶ ended, by the one in io_submit  (its error is the result)
//	                     ▶ queued, where an ordinary system call may do (EINVAL)
//	in flight ──reap─────▶ the reaper, which continues a short transfer (▶ pending) or ends it,
//	                     ▶ queued  for a worker, where there is much to copy first
//	                     ▶ held    by its client, which has more to do and ends it then
//	in flight ──abort────▶ ended, when the context has died; what the kernel keeps then is in Ring.lost
//	queued    ──run──────▶ a worker, which ends it, or submits it (▶ in flight)
//	ended     ──recycle──▶ free, and only then its result is delivered
//
// Every arrow passes through a lock or a channel, which orders memory between
// the two owners. In flight, nobody but the kernel touches the buffer; what makes
// the request the reaper's is the event whose data names its slot and its
// generation, which comes again only after 2³² others. Nothing takes a request back from
// the kernel: a wait may be abandoned, an operation is not. So buffer and file
// stay reachable, through Ring.requests, until the kernel is done with them.
package ring
