package asyncfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// An AsyncFile is an open file whose reads and writes return at once, with a
// Future. Its methods are safe for concurrent use.
//
// From the call until the Future's Done the buffer belongs to the kernel: do
// not write it, nor, for a read, read it. Operations in flight together complete
// in any order.
//
// Results are those of the same call on an os.File: n less than asked means an
// error, which is io.EOF, bare, at the end of the file, and otherwise a
// *fs.PathError with the operation, the path, and a syscall.Errno that answers
// errors.Is. After Close it holds fs.ErrClosed.
type AsyncFile struct {
	osf  *os.File
	name string
	fd   int // valid until osf is closed, which waits for users

	ring    *Ring
	release func() error // gives the Ring back
	cleanup runtime.Cleanup
	aio     bool  // operations go to the kernel context, not to workers
	reason  error // why not, where BackendAuto looked for it

	direct       bool
	directReason error         // why not, where it was preferred
	align        aio.Alignment // of direct I/O; 1 where the file is not direct
	companion    companion

	blocks   blocking
	refuse   error       // what os.File answers WriteAt with in append mode
	seekless bool        // not a regular file: has no end to append at
	cached   atomic.Bool // whether a read may try the page cache without a wait
	inMemory bool        // on tmpfs: nothing to wait for

	drained chan struct{} // signalled when users of a closed file end; has room for one

	view File // what File returns

	_     cacheLine    // what is above is mostly read
	users atomic.Int64 // operations begun and not ended; negative once closed
	_     cacheLine

	mu       sync.Mutex
	barrier  barrier
	overlap  *overlap // nil where no two ways into the file are in use
	gate     *gate    // nil where writes beyond the end do not block
	appender appender
}

// closedBit in AsyncFile.users says that Close has begun.
const closedBit = -1 << 63

// blocking says which direct writes block in io_submit.
type blocking struct {
	writes bool  // all
	unit   int64 // those that are not of whole units of so many bytes
}

// Open opens the named file for reading, as os.Open does.
func Open(name string, opts ...Option) (*AsyncFile, error) {
	return OpenFile(name, os.O_RDONLY, 0, opts...)
}

// Create creates or truncates the named file for reading and writing, as
// os.Create does.
func Create(name string, opts ...Option) (*AsyncFile, error) {
	return OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666, opts...)
}

// OpenFile opens the named file as os.OpenFile does. O_DIRECT in flag means
// WithDirect(DirectRequire). An option out of its range is refused, with an
// error that answers errors.Is(err, os.ErrInvalid), before the file is touched.
// Where it fails later, a file that O_CREATE has made stays, but none has been
// truncated.
func OpenFile(name string, flag int, perm os.FileMode, opts ...Option) (*AsyncFile, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if aio.ODirect != 0 && flag&aio.ODirect != 0 {
		c.direct = DirectRequire
		flag &^= aio.ODirect // set below, where a refusal can be told from other errors
	}
	truncate := flag&os.O_TRUNC != 0 && flag&(os.O_WRONLY|os.O_RDWR) != 0
	if truncate {
		flag &^= os.O_TRUNC // below, when nothing can fail any more
	}
	osf, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	f, err := newFile(osf, c)
	if err != nil {
		osf.Close()
		return nil, err
	}
	if truncate && !f.seekless && f.size() > 0 {
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, &fs.PathError{Op: "open", Path: name, Err: errors.Unwrap(err)}
		}
	}
	return f, nil
}

// New makes an AsyncFile of f, which belongs to it from then on: use and close
// only the AsyncFile. Where New fails f is still the caller's, unchanged.
func New(f *os.File, opts ...Option) (*AsyncFile, error) {
	if f == nil {
		return nil, invalid("New(nil): pass an open file")
	}
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	return newFile(f, c)
}

func newFile(osf *os.File, c *config) (*AsyncFile, error) {
	info, err := osf.Stat()
	if err != nil {
		return nil, err
	}
	f := &AsyncFile{
		osf:     osf,
		name:    osf.Name(),
		align:   aio.Alignment{Memory: 1, Offset: 1, ReadOffset: 1},
		drained: make(chan struct{}, 1),
		barrier: newBarrier(),
	}
	f.appender.file = f
	f.companion.reopen = aio.Reopen
	raw, err := osf.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := raw.Control(func(fd uintptr) { f.fd = int(fd) }); err != nil {
		return nil, err
	}
	_, f.refuse = osf.WriteAt(nil, 0)
	undo, err := f.setDirect(c.direct, info)
	if err != nil {
		return nil, err
	}
	if err := f.attach(c, info); err != nil {
		undo()
		return nil, err
	}
	f.setRoutes(info)
	f.initView(capable(info))
	f.cleanup = runtime.AddCleanup(f, func(release func() error) { go release() }, f.release)
	return f, nil
}

// privateDepth is the queue depth of the Ring of a file that shares none.
const privateDepth = 16

// attach finds the Ring that the file runs on.
func (f *AsyncFile) attach(c *config, info os.FileInfo) error {
	want := capable(info) && (c.backend == BackendAIO || c.backend == BackendAuto && f.direct)
	f.release = func() error { return nil }
	var err error
	switch {
	case c.ring != nil:
		f.ring = c.ring
		if c.ring.closed.Load() {
			return fmt.Errorf("asyncfile: WithRing: the Ring: %w", fs.ErrClosed)
		}
		if want && c.ring.context == nil {
			f.reason = c.ring.reason
			if c.backend == BackendAIO {
				return errors.Join(invalid("WithRing and BackendAIO: the Ring is on the pool"), c.ring.reason)
			}
		}
	case c.shaped != "":
		if !want {
			c.backend = BackendPool
		}
		if f.ring, err = newRing(c); err != nil {
			return err
		}
		f.reason, f.release = f.ring.reason, f.ring.Close
	case !capable(info):
		// A pipe's reader may keep an operation waiting for as long as it likes:
		// that is not to hold up other files.
		c.backend, c.depth = BackendPool, min(c.depth, privateDepth)
		if f.ring, err = newRing(c); err != nil {
			return err
		}
		f.release = f.ring.Close
	default:
		shared := &sharedPool
		if want {
			shared = &sharedAIO
		}
		f.ring, err = shared.acquire()
		if err != nil && c.backend == BackendAuto {
			f.reason = err
			shared = &sharedPool
			f.ring, err = shared.acquire()
		}
		if err != nil {
			return err
		}
		f.release = func() error { shared.release(); return nil }
	}
	f.aio = want && f.ring.context != nil
	return nil
}

// capable reports whether native AIO has a meaning for the file: whether it has
// offsets and a device.
func capable(info os.FileInfo) bool {
	mode := info.Mode()
	return mode.IsRegular() || mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
}

// setRoutes learns from the file system which operations block where.
func (f *AsyncFile) setRoutes(info os.FileInfo) {
	regular := info.Mode().IsRegular()
	f.seekless = !regular
	var writable bool
	var block int64
	if f.direct {
		flags, err := aio.StatusFlags(f.fd)
		writable = err != nil || flags&(os.O_WRONLY|os.O_RDWR) != 0
		block = aio.BlockSize(f.fd)
	}
	if writable { // a block device, too
		f.overlap = &overlap{unit: max(block, int64(os.Getpagesize()))}
	}
	system, err := aio.FileSystem(f.fd)
	if err != nil || !regular {
		return
	}
	f.inMemory = system == aio.Tmpfs
	f.cached.Store(!f.direct && !f.inMemory)
	if !f.aio || !writable {
		return
	}
	switch system {
	case aio.Tmpfs: // copies memory, whatever the offset
	case aio.Btrfs: // falls back to buffered writes, and flushes them
		f.blocks.writes = true
	case aio.XFS: // extends without waiting, so that only Truncate and Preallocate take turns
		f.blocks.unit = block
		f.gate = &gate{file: f, size: info.Size(), open: true}
	default: // ext4, and what is not known to do better
		f.blocks.unit = block
		f.gate = &gate{file: f, size: info.Size()}
	}
}

// Backend returns what the file runs on: BackendAIO or BackendPool.
func (f *AsyncFile) Backend() Backend {
	if f.aio {
		return BackendAIO
	}
	return BackendPool
}

// Reason returns why the file is on the pool although BackendAuto looked for
// native AIO, and nil where it is not so.
func (f *AsyncFile) Reason() error { return f.reason }

// Direct reports whether the file bypasses the page cache.
func (f *AsyncFile) Direct() bool { return f.direct }

// DirectReason returns why the file is buffered although DirectPrefer asked for
// O_DIRECT, and nil where it is not so.
func (f *AsyncFile) DirectReason() error { return f.directReason }

// ReadAt reads len(p) bytes into p from offset off, in bytes.
func (f *AsyncFile) ReadAt(p []byte, off int64) *Future {
	return f.start(Op{Kind: OpRead, Buf: p, Offset: off})
}

// WriteAt writes p at offset off, in bytes. On a file opened with O_APPEND it
// is refused as os.File refuses it: use Append.
func (f *AsyncFile) WriteAt(p []byte, off int64) *Future {
	return f.start(Op{Kind: OpWrite, Buf: p, Offset: off})
}

// ReadvAt reads from offset off, in bytes, into bufs, one after the other: one
// operation of any number of buffers. bufs itself may be reused at once.
func (f *AsyncFile) ReadvAt(bufs [][]byte, off int64) *Future {
	return f.start(Op{Kind: OpReadv, Bufs: bufs, Offset: off})
}

// WritevAt writes bufs, one after the other, at offset off, in bytes: one
// operation of any number of buffers. bufs itself may be reused at once.
func (f *AsyncFile) WritevAt(bufs [][]byte, off int64) *Future {
	return f.start(Op{Kind: OpWritev, Bufs: bufs, Offset: off})
}

// Append writes p at the end of the file, behind everything that was appended
// before. Future.Offset tells where. The end is where the file, and the writes
// in flight through this AsyncFile, end at the time of the call; so an Append
// that fails can leave a hole before the next. On a file opened with O_APPEND
// each write goes where the file ends then, other processes' writes included,
// and they take turns.
func (f *AsyncFile) Append(p []byte) *Future {
	return f.start(Op{Kind: OpAppend, Buf: p})
}

// Sync commits the file to stable storage, with fsync(2). It is a barrier: it
// covers every write that was submitted through this AsyncFile before it, which
// it waits for. Whether those writes succeeded, their own Futures tell.
func (f *AsyncFile) Sync() *Future { return f.start(Op{Kind: OpSync}) }

// Datasync is Sync with fdatasync(2): it commits the data, and of the metadata
// only what is needed to read it back. Where there is no such call it is Sync.
func (f *AsyncFile) Datasync() *Future { return f.start(Op{Kind: OpDatasync}) }

// Submit begins many operations, with one io_submit for all of them as far as
// the queue has room, and returns their Futures in the same order.
func (f *AsyncFile) Submit(ops ...Op) []*Future {
	futures := make([]*Future, len(ops))
	var batch requestQueue
	for i := range ops {
		futures[i] = newFuture()
		f.begin(&call{op: ops[i], to: futures[i]}, &batch)
	}
	f.ring.submit(batch)
	return futures
}

func (f *AsyncFile) start(op Op) *Future {
	future := newFuture()
	f.submit(&call{op: op, to: future})
	return future
}

// A call is an operation as it comes in.
type call struct {
	op  Op
	to  sink
	tag any

	// past, if not nil, bounds every wait: the call gives up when it is closed,
	// and makes no system call that could hang.
	past <-chan struct{}
	// here has the calling goroutine carry the operation out, if nothing is in
	// its way, since it would only wait for it.
	here bool
}

func (f *AsyncFile) submit(c *call) {
	var batch requestQueue
	f.begin(c, &batch)
	f.ring.submit(batch)
}

// begin takes an operation in: it answers it on the spot, sees it on its way, or
// adds it to batch, which the caller submits. It waits while the queue is full,
// with batch submitted first.
func (f *AsyncFile) begin(c *call, batch *requestQueue) {
	result := Completion{Op: c.op.Kind, File: f, Buf: c.op.Buf, Offset: c.op.Offset, Tag: c.tag}
	if !f.enter() {
		result.Err = f.pathError(c.op.Kind, fs.ErrClosed)
		f.ring.stats.countAnswer(&result)
		c.to.deliver(result)
		return
	}
	want := c.op.size()
	q, err := (*request)(nil), error(nil)
	if !f.answer(c, want, &result) {
		if q = f.ring.tryAcquire(); q == nil {
			f.ring.submit(*batch)
			*batch = requestQueue{}
			q, err = f.ring.acquire(c.past)
		}
	}
	if q == nil {
		if err != nil {
			result.Err = f.pathError(c.op.Kind, err)
		}
		f.ring.stats.countAnswer(&result)
		c.to.deliver(result)
		f.leave()
		return
	}
	q.set(f, c, want, result.N)
	f.route(q, c.here, batch)
}

// answer carries out what needs no request: what os.File answers without a
// system call, and reads of what the page cache holds. result is the outcome, or,
// in N, how much of a read was there.
func (f *AsyncFile) answer(c *call, want int, result *Completion) bool {
	op := &c.op
	switch {
	case op.Kind > OpDatasync:
		result.Err = f.pathError(op.Kind, invalid("Op.Kind %d", op.Kind))
		return true
	case op.Kind.syncs():
		return false
	case op.Kind == OpAppend:
		if f.seekless && f.view.deadlineable { // a block device
			result.Err = f.pathError(op.Kind, invalid("Append to a block device, whose end is where it is: use WriteAt"))
		}
		return want == 0 || result.Err != nil
	case op.Kind.writes() && (f.refuse != nil || op.Offset < 0 || want == 0):
		_, result.Err = f.osf.WriteAt(nil, op.Offset)
		return true
	case op.Offset < 0 || want == 0:
		_, result.Err = f.osf.ReadAt(nil, op.Offset)
		return true
	}
	if f.direct || f.aio || c.past != nil || want > maxInline {
		return false
	}
	return (op.Kind == OpRead || f.inMemory) && f.answerCached(op, result)
}

// maxInline is the largest operation, in bytes, that is carried out on its
// caller. Beyond it the copying alone takes longer than a hand-over to a worker.
const maxInline = 64 << 10

// answerCached tries to carry out op without waiting for a device.
func (f *AsyncFile) answerCached(op *Op, c *Completion) bool {
	if f.inMemory {
		f.ring.stats.Inline.Add(1)
		c.N, c.Err = f.perform(op, 0)
		return true
	}
	if !f.cached.Load() {
		return false
	}
	n, err := aio.PreadNoWait(f.fd, op.Buf, op.Offset)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		f.cached.Store(false) // the file system, or a sandbox, has no RWF_NOWAIT
	}
	c.N = n
	if n < len(op.Buf) {
		return false // the rest is not cached, or is not there
	}
	f.ring.stats.Inline.Add(1)
	return true
}

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

// perform carries op out with ordinary system calls, from where done bytes have
// been transferred, and returns how many more were.
func (f *AsyncFile) perform(op *Op, done int) (int, error) {
	switch op.Kind {
	case OpAppend:
		if f.appender.serial() {
			return f.appender.write(f.osf, op)
		}
	case OpDatasync:
		err := aio.Fdatasync(f.fd)
		if !errors.Is(err, errors.ErrUnsupported) {
			return 0, f.pathError(OpDatasync, err)
		}
		return 0, f.osf.Sync()
	case OpSync:
		return 0, f.osf.Sync()
	}
	n, err := transfer(f.osf, f.fd, op, done)
	if f.direct && !op.Kind.writes() && n > 0 && errors.Is(err, syscall.EINVAL) &&
		(op.Offset+int64(done+n))%int64(f.align.ReadOffset) != 0 {
		// A direct read that stopped inside a block stopped at the end of the
		// file. To go on from there is refused if the file has grown meanwhile.
		err = io.EOF
	}
	return n, err
}

// transfer reads or writes at op's offset, with as few system calls as there are
// short transfers.
func transfer(osf *os.File, fd int, op *Op, done int) (n int, err error) {
	off := op.Offset + int64(done)
	switch op.Kind {
	case OpRead:
		return osf.ReadAt(op.Buf[done:], off)
	case OpWrite, OpAppend:
		return osf.WriteAt(op.Buf[done:], off)
	}
	call, each := aio.Preadv, osf.ReadAt
	if op.Kind == OpWritev {
		call, each = aio.Pwritev, osf.WriteAt
	}
	for rest := op.size() - done; n < rest; {
		var bufs [][]byte
		for p := range remaining(op.Bufs, done+n) {
			bufs = append(bufs, p)
		}
		m, err := call(fd, bufs, off+int64(n))
		if errors.Is(err, errors.ErrUnsupported) {
			if m, err = each(bufs[0], off+int64(n)); err != nil {
				return n + m, err
			}
		}
		if err == nil && m == 0 {
			if err = io.EOF; op.Kind.writes() {
				err = io.ErrUnexpectedEOF
			}
		}
		n += m
		if err != nil {
			return n, pathError(op.Kind, osf.Name(), err)
		}
	}
	return n, nil
}

// enter counts an operation in, unless the file is closed.
func (f *AsyncFile) enter() bool {
	if f.users.Add(1) < 0 {
		f.leave()
		return false
	}
	return true
}

// leave counts an operation out, and tells Close when it was the last.
func (f *AsyncFile) leave() {
	if f.users.Add(-1) == closedBit {
		select {
		case f.drained <- struct{}{}:
		default:
		}
	}
}

// Close refuses new operations, waits for those in flight, and closes the file.
// Every Future is done when it returns. A second Close returns fs.ErrClosed. An
// Append to a pipe ends when its reader takes it or goes away.
func (f *AsyncFile) Close() error {
	if f.users.Or(closedBit) < 0 {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	for f.users.Load() != closedBit {
		<-f.drained
	}
	f.cleanup.Stop()
	return errors.Join(f.osf.Close(), f.companion.close(), f.release())
}

// Name returns the name of the file as it was given to Open.
func (f *AsyncFile) Name() string { return f.name }

// Stat returns what os.File.Stat does.
func (f *AsyncFile) Stat() (os.FileInfo, error) { return f.osf.Stat() }

// size returns the size of the file in bytes, or 0 where it has none.
func (f *AsyncFile) size() int64 {
	if size, err := aio.Size(f.fd); err == nil {
		return size
	}
	info, err := f.osf.Stat() // not Linux
	if err != nil {
		return 0
	}
	return info.Size()
}

// Truncate changes the size of the file, in bytes, as os.File.Truncate does. It
// blocks, and on direct files waits for the operations in flight.
func (f *AsyncFile) Truncate(size int64) (err error) {
	return f.resize("truncate", func() (int64, error) {
		err := f.osf.Truncate(size)
		if err == nil && f.direct {
			f.writeBack(f.fd, size, 1) // the block that the kernel cut, in the page cache
		}
		return size, err
	})
}

// Preallocate allocates the blocks of the file's first size bytes, with
// fallocate(2), and makes the file that large if it is smaller: writes there then
// neither extend it nor need new blocks. What has not been written reads as
// zeros. Append goes behind the preallocated part; Truncate cuts off what was not
// used. size is at least 1. It answers errors.ErrUnsupported where the file
// system has no such thing, and blocks as Truncate does.
func (f *AsyncFile) Preallocate(size int64) error {
	return f.resize("allocate", func() (int64, error) {
		err := aio.Allocate(f.fd, 0, size)
		if err != nil {
			err = &fs.PathError{Op: "allocate", Path: f.name, Err: err}
		}
		return max(size, f.size()), err
	})
}

// resize runs change, which returns the new size of the file, alone on the file
// where direct I/O in flight would make it wait.
func (f *AsyncFile) resize(op string, change func() (int64, error)) (err error) {
	if !f.enter() {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	defer f.leave()
	if f.gate == nil {
		_, err = change()
		return err
	}
	f.gate.alone(func() {
		var size int64
		if size, err = change(); err == nil {
			f.gate.resize(size)
		}
	})
	return err
}

// Fd returns the file descriptor, as os.File.Fd does.
func (f *AsyncFile) Fd() uintptr { return f.osf.Fd() }

// SyscallConn returns a raw file, as os.File.SyscallConn does: its Control keeps
// the descriptor valid for as long as it runs.
func (f *AsyncFile) SyscallConn() (syscall.RawConn, error) { return f.osf.SyscallConn() }
