// Package asyncfile reads and writes files asynchronously with Linux native AIO
// (io_submit, io_getevents): a call such as WriteAt returns a Future at once, and
// a dedicated completer goroutine, or the goroutine that waits, resolves it.
//
//	f, err := asyncfile.Open("data", asyncfile.WithDirect(asyncfile.DirectPrefer))
//	...
//	read := f.ReadAt(p, 0) // returns at once
//	...
//	n, err := read.Wait() // or select on read.Done()
//
// It is for programs that keep many disk operations in flight, such as storage
// engines and backup writers, where io_uring is refused: in containers, under
// gVisor, on hosts with kernel.io_uring_disabled.
//
// # Nouns
//
// An [AsyncFile] is an open file. A [Future] is the handle on the result of one
// operation; [WaitAll] and [WaitAny] wait for several. A [Queue] takes many
// operations, on any files, and delivers each [Completion] on one channel. A
// [File] is the blocking view of an AsyncFile, with all methods of *os.File. A
// [Ring] carries out the operations of its files: one kernel AIO context, its
// completer, and the workers for what would block. Files that name no Ring share
// one.
//
// # Life of a read
//
// ReadAt takes a free slot of the Ring, or waits for one: while the queue is full
// a submission waits. The slot holds the request: file, buffer, progress. It is
// pending then, and ReadAt returns; no system call has been made. It goes to the kernel
// with io_submit, together with whatever else is pending for that device: when a
// goroutine waits for it (Wait, WaitAll), asks for it (Done, Result, WaitAny, a
// context), when 64 are pending, at once if a Queue submitted it, and otherwise
// within about two milliseconds, by a watchdog. A Ring whose watchdog had to sends the
// next thousand submissions at once.
//
// When the device is done the kernel puts an event into the completion ring. The
// goroutine that waits for the operation takes the right to reap, if it is free,
// and waits for the event itself, in io_getevents: it resolves its own Future, and
// those of others. For who waits on a channel, or does not wait, the completer does
// that. The event names the request by slot number and generation. A short
// transfer is continued where it stopped. Otherwise the slot is freed and then the
// Future resolved. With nothing in flight the completer sleeps, without a system
// call.
//
// docs/design.md in the module follows requests through the code.
//
// # What runs where
//
// On a file with O_DIRECT (WithDirect) operations go to native AIO, where the
// kernel lets the process use it. On a buffered file io_submit would do the I/O
// before it returns, so there [BackendAuto] takes the pool instead: a read that
// the page cache can answer is answered on the spot, anything else is done by one
// of a few workers. [BackendAIO] sends buffered I/O through io_submit all the
// same, from a worker. AsyncFile.Backend tells what a file runs on and
// AsyncFile.Reason why.
//
// io_submit, and what workers call, may sleep: for a file system that is frozen, a
// device whose queue is full, a server that does not answer. What sleeps holds up
// operations on its own device, and nothing else: a Ring has workers, pending requests and
// goroutines to send them for each device (st_dev), and while it has files on several
// none of them may take all slots. A submission does not sleep, but where
// it has to know the size of the file (Append, and a write inside a block) it asks the
// file system for that, and ReadAt on a buffered file looks into the page cache
// (preadv2 with RWF_NOWAIT), where ext4 may read metadata.
//
// Requests on an O_DIRECT file may have any buffer, offset and length. What is
// aligned goes straight to the device and is never copied; [AlignedBuffer],
// [AlignedBuffers] and [BufferPool] make buffers for it, large ones on huge pages. Other reads pass through an aligned buffer.
// Writes that begin or end inside a block go through the page cache, on a second
// descriptor (opened by way of /proc/self/fd), and are written back before they
// end: the kernel then keeps the rest of the block, and the size of the file
// exact to the byte, at every moment and for every process. Where the second
// descriptor cannot be had (no permission any more, too many open files, no /proc)
// such a write turns O_DIRECT off for a moment, while nothing else of the file is
// read or written. Stats counts what was not aligned. A crash in between leaves
// what it leaves of any buffered write: each block old or new, and the size old
// or new; and of a write beyond the end, that the file is larger already and
// reads as zeros there.
//
// Handles that are used one after the other see each other's data, buffered or
// direct, in one process or in several. Writes to one block at the same time
// through two handles may lose bytes, since only one AsyncFile keeps them apart;
// open(2) warns of it. On XFS, Sync what was appended through a buffered handle
// before a direct one appends: direct reads across that end may fail with EIO.
//
// [Reader] and [Writer] stream a file with several blocks in flight.
// [AsyncFile.ReadMany] reads many ranges in one loop. A [ReaderAt] reads ahead for who
// reads in small pieces, one at a time.
//
// # Buffers
//
// From the call until Done the buffer belongs to the kernel. The library keeps
// buffer and file reachable until then, whatever the caller drops. A wait that
// ends early, by a context or a deadline, abandons the operation: nothing takes a
// request back from the kernel (io_cancel(2) does not work on files), and the
// buffer is free only when Done is closed. The one exception is [ErrBufferLost]: the
// kernel context died and could not be destroyed, Done is closed, and the kernel
// still has the buffer, which must not be used again. The race detector (go test -race) is
// told who has the buffer: it reports who writes it in flight, or, of a read,
// reads it, and where the operation began.
//
// # Errors
//
// Results are those of os.File. Fewer bytes than asked means an error: io.EOF,
// bare, at the end of the file, and else a *fs.PathError with the operation, the
// path and a syscall.Errno that answers errors.Is. After Close, of the file or of
// its Ring, it holds fs.ErrClosed. What cannot have been meant answers
// errors.Is(err, os.ErrInvalid): options out of range, an Op with a buffer in the
// wrong field, a nil AsyncFile or Future. A file that is closed before a Writer of
// it answers ErrUnflushed.
//
// # Order
//
// Operations in flight together complete in any order. Sync is a barrier: it
// covers every write submitted on that file before it. Appends land in the order
// of the calls. What an operation did happens before its Future's Done is closed.
//
// Some operations on a file wait for others of the same AsyncFile, where the
// device or the page cache would mix them up: two requests that share a block, of
// which one goes through the page cache and the other does not; a Truncate or
// Preallocate and the reads and writes of a direct file. Direct writes that make a file
// larger block io_submit on ext4, and with it every other io_submit on that file: they
// wait, where nobody sleeps, for the file to be extended by fallocate(2), and are then
// asynchronous like all others. If one of them fails the file is cut back to what
// it would have been.
//
// # Limits
//
// A Ring takes its queue depth out of fs.aio-max-nr, 65536 requests for the whole
// machine by default. Where there is no room the depth is halved, down to 8, and
// below that the error gives the numbers. One operation moves any number of
// bytes; the kernel is given at most 0x7ffff000 at a time. Nothing bounds how long a
// device takes: contexts and File's deadlines bound how long a caller waits. At most
// four threads a device sleep in io_submit, beside its workers (WithWorkers, 16).
//
// # When something is wrong
//
// Two environment variables, read when a Ring is made, work in any program. With
// ASYNCFILE_VERIFY=1 the Ring checks itself and its callers at work, and panics
// where it finds something, with what that means and what to do. The most common
// finding is a buffer that was changed while it was being written. It costs two passes
// over each buffer that is written, and some microseconds an operation. With
// ASYNCFILE_DEBUG=1 the Ring prints each operation's walk to standard error, a line
// a step, at once; so standard error must not be a pipe that a goroutine reads which
// waits for this Ring. README.md shows both. Neither costs anything where it is not set.
//
// # Words
//
// Ring: one kernel AIO context (aio_context_t) and its completion ring (struct
// aio_ring). Queue depth: the most requests in flight on a Ring (nr_events of
// io_setup, fio's iodepth). Request: one operation in flight. iocb, event: its
// submission record and its completion record. Submit, in flight, reap: hand
// iocbs to the kernel; submitted and not yet reaped; take events off the ring.
// Completer: the goroutine that reaps and resolves for who waits on a channel, or
// does not wait. Lane: what a Ring has for one device. Drain: accept nothing new
// and wait until nothing is in flight. Short transfer: fewer bytes than asked,
// without an error. Abandon: stop waiting for an operation, which goes on.
package asyncfile
