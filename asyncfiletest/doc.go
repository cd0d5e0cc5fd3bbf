// Package asyncfiletest has the files of a program's own tests fail, hang, and lose
// what no Sync has covered, below any code that uses package asyncfile.
//
//	ring := asyncfiletest.NewRing(t)
//	ring.Inject(asyncfiletest.Fault{File: "*.wal", Op: asyncfiletest.Write, After: 2, Times: 1, Err: syscall.EIO})
//	f, err := asyncfile.Create(name, asyncfile.WithRing(ring.Ring))
//
// The third write to a *.wal fails then, be it made by an AsyncFile, a Queue, a Writer
// or a File, direct or buffered, on native AIO or on the pool. [Fault] says what can
// happen to which calls, and [Ring.CrashClone] what a loss of power leaves behind.
//
// The files are real, and what no Fault concerns answers as ever. What is replaced is
// the kernel: io_submit(2) is a scripted one, and each system call on the contents of a
// regular file of the Ring goes through this package. So faults are counted in system
// calls, not in operations: an operation is one, unless it has more bytes than a bounce
// buffer holds (256 KiB, see package asyncfile), or a call moved fewer than it was asked;
// a direct write that makes the file larger may have an Allocate go ahead of it.
//
// System calls are made one at a time, so what a test waits for happens in one order.
// It is not for measurements.
//
// What goes around the library goes around this package: File.Dup, Fd, SyscallConn, a
// mapping, another process, the files of other Rings; and names: creating, renaming
// and unlinking never fail here and are durable at once. Pipes and devices are as ever.
package asyncfiletest
