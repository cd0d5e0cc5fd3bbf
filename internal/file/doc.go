// Package file is an open file: what of it may be in flight together, which way the bytes
// go, and what follows a short transfer.
//
// It knows Rings by internal/ring, whose [ring.Client] its operations are, and of who is
// above it only a [Sink], which is told how an operation has ended. Of Futures, Queues and
// options it knows nothing: a [Handle] is given what it runs on as a [Place], and an
// operation comes in as a [Call].
//
// An operation walks down this list:
//
//   - op.go: what comes in, Op and Call, and what goes out, Outcome and Sink
//   - handle.go: the open file, how it is attached to a Ring, its end
//   - begin.go: an operation comes in, and may be answered at once
//   - sequence.go, extension.go, resize.go, ranges.go: what it has to wait for, by
//     internal/order; files that are made larger for writes to come; what is alone on the file
//   - route.go: to the kernel, or to a worker
//   - operation.go: the plan of each submission, and what its result means
//   - direct.go, bounce.go, bouncepool.go, companion.go: the ways of what O_DIRECT does not
//     take as it is: through an aligned buffer, or through the page cache
//   - perform.go: ordinary system calls, on a worker or on the caller
//
// Beside it are what was found out about a file when it was opened (traits.go, align.go),
// the cursor and who has its turn (cursor.go, turns.go), what the files of a Ring share
// (group.go), and what checks, tells and shows (verify.go, debug.go, snapshot.go).
package file
