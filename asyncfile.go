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

	direct   bool
	align    aio.Alignment // of direct I/O; 1 where the file is not direct
	blocks   blocking
	refuse   error       // what os.File answers WriteAt with in append mode
	seekless bool        // not a regular file: has no end to append at
	cached   atomic.Bool // whether a read may try the page cache without a wait
	inMemory bool        // on tmpfs: nothing to wait for

	users   atomic.Int64  // operations begun and not ended; negative once closed
	drained chan struct{} // signalled when users of a closed file end; has room for one

	view File // what File returns

	mu       sync.Mutex
	barrier  barrier
	gate     *gate // nil where writes beyond the end do not block
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
func OpenFile(name string, flag int, perm os.FileMode, opts ...Option) (*AsyncFile, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if aio.ODirect != 0 && flag&aio.ODirect != 0 {
		c.direct = DirectRequire
		flag &^= aio.ODirect // set below, where a refusal can be told from other errors
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

// setDirect sets O_DIRECT as mode says, and finds out whether it is set. undo
// takes back what it did.
func (f *AsyncFile) setDirect(mode DirectMode, info os.FileInfo) (undo func(), err error) {
	undo = func() {}
	flags, err := aio.StatusFlags(f.fd)
	f.direct = err == nil && aio.ODirect != 0 && flags&aio.ODirect != 0 && capable(info)
	if mode != DirectOff && !f.direct {
		err := error(syscall.EINVAL) // on a pipe the flag would mean packets
		if capable(info) {
			err = aio.SetDirect(f.fd, true)
		}
		if err != nil && mode == DirectRequire {
			return undo, f.directError(err)
		}
		if err == nil {
			f.direct = true
			undo = func() { aio.SetDirect(f.fd, false) }
		}
	}
	if f.direct {
		var known bool
		if f.align, known = aio.DirectAlignment(f.fd); !known {
			f.align = aio.Alignment{Memory: bufferAlign, Offset: bufferAlign, ReadOffset: bufferAlign}
		}
	}
	return undo, nil
}

// directError says which file system refuses O_DIRECT.
func (f *AsyncFile) directError(err error) error {
	on := "this system"
	if fs, e := aio.FileSystem(f.fd); e == nil {
		on = "file system " + fs.String()
	}
	return &fs.PathError{Op: "open", Path: f.name, Err: fmt.Errorf(
		"asyncfile: %s refuses O_DIRECT (%w): use DirectPrefer or DirectOff: %w", on, err, errors.ErrUnsupported)}
}

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
	system, err := aio.FileSystem(f.fd)
	if err != nil || !regular {
		return
	}
	block, size := aio.BlockSize(f.fd), info.Size()
	f.inMemory = system == aio.Tmpfs
	f.cached.Store(!f.direct && !f.inMemory)
	if !f.aio || !f.direct {
		return
	}
	switch system {
	case aio.Tmpfs: // copies memory, whatever the offset
	case aio.Btrfs: // falls back to buffered writes, and flushes them
		f.blocks.writes = true
	case aio.XFS: // extends without waiting
		f.blocks.unit = block
	default: // ext4, and what is not known to do better
		f.blocks.unit = block
		f.gate = &gate{file: f, size: size}
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
		f.begin(&ops[i], futures[i], nil, nil, &batch)
	}
	f.ring.submit(batch)
	return futures
}

func (f *AsyncFile) start(op Op) *Future {
	future := newFuture()
	f.submit(&op, future, nil, nil)
	return future
}

func (f *AsyncFile) submit(op *Op, to sink, tag any, past <-chan struct{}) {
	var batch requestQueue
	f.begin(op, to, tag, past, &batch)
	if !batch.empty() {
		f.ring.submit(batch)
	}
}

// begin takes an operation in: it answers it on the spot, sees it on its way, or
// adds it to batch, which the caller submits. It waits while the queue is full,
// with batch submitted first. Where past is not nil it waits no longer than
// until that is closed, and makes no system call that could hang.
func (f *AsyncFile) begin(op *Op, to sink, tag any, past <-chan struct{}, batch *requestQueue) {
	stats := &f.ring.stats
	stats.Submitted.Add(1)
	c := Completion{Op: op.Kind, File: f, Buf: op.Buf, Offset: op.Offset, Tag: tag}
	if !f.enter() {
		c.Err = f.pathError(op.Kind, fs.ErrClosed)
		stats.count(&c)
		to.deliver(c)
		return
	}
	want := op.size()
	if f.answer(op, want, past == nil, &c) {
		stats.count(&c)
		to.deliver(c)
		f.leave()
		return
	}
	q := f.ring.tryAcquire()
	if q == nil {
		f.ring.submit(*batch)
		*batch = requestQueue{}
		var err error
		if q, err = f.ring.acquire(past); err != nil {
			c.Err = f.pathError(op.Kind, err)
			stats.count(&c)
			to.deliver(c)
			f.leave()
			return
		}
	}
	bufs := append(q.op.Bufs, op.Bufs...)
	q.op = *op
	q.op.Bufs = bufs
	q.file, q.sink, q.tag = f, to, tag
	q.want, q.done = want, c.N
	q.alone = past != nil
	f.route(q, batch)
}

// answer carries out what needs no request: what os.File answers without a
// system call, and reads of what the page cache holds. c is the outcome, or, in
// N, how much of a read was there. mayCall allows it the system call for that.
func (f *AsyncFile) answer(op *Op, want int, mayCall bool, c *Completion) bool {
	switch {
	case op.Kind > OpDatasync:
		c.Err = f.pathError(op.Kind, invalid("Op.Kind %d", op.Kind))
		return true
	case op.Kind.syncs():
		return false
	case op.Kind == OpAppend && want == 0:
		return true
	case op.Kind == OpAppend:
	case op.Kind.writes() && (f.refuse != nil || op.Offset < 0 || want == 0):
		_, c.Err = f.osf.WriteAt(nil, op.Offset)
		return true
	case op.Offset < 0 || want == 0:
		_, c.Err = f.osf.ReadAt(nil, op.Offset)
		return true
	}
	if f.direct {
		if c.Err = f.checkAlignment(op); c.Err != nil {
			return true
		}
		return false
	}
	inline := op.Kind == OpRead || f.inMemory && op.Kind != OpAppend
	return inline && mayCall && !f.aio && want <= maxInline && f.answerCached(op, c)
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
func (f *AsyncFile) route(q *request, batch *requestQueue) {
	kind := q.op.Kind
	if kind.writes() || kind.syncs() || f.gate != nil {
		f.mu.Lock()
		pass, err := f.order(q)
		f.mu.Unlock()
		if err != nil {
			q.finish(f.pathError(kind, err))
			return
		}
		if !pass {
			return
		}
	}
	f.dispatch(q, batch)
}

// order gives a write its place and reports whether q may go now. Called with mu
// held.
func (f *AsyncFile) order(q *request) (pass bool, err error) {
	switch {
	case q.op.Kind.syncs():
		return !f.barrier.hold(q), nil
	case q.op.Kind.writes():
		f.barrier.enter(q)
		f.appender.place(q)
	}
	if q.op.Kind == OpAppend {
		if f.appender.serial() {
			f.appender.push(q)
			return false, nil
		}
		if err := f.checkOffset(&q.op); err != nil {
			return false, err
		}
	}
	return f.gate.pass(q), nil
}

// dispatch sends q the way that keeps the caller free: into batch, for the
// kernel, or to a worker.
func (f *AsyncFile) dispatch(q *request, batch *requestQueue) {
	switch {
	case !f.aio:
		f.ring.offload(q)
	case q.alone || f.wouldBlock(q):
		f.ring.offloadSubmit(q)
	default:
		batch.push(q)
	}
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

// ended counts q out and returns the requests that waited for its end. It is
// called before q's outcome can be seen, so that a Sync or an Append that follows
// finds it gone.
func (f *AsyncFile) ended(q *request) (ready requestQueue) {
	write := q.epoch != nil
	if !write && f.gate == nil {
		return ready
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if write {
		ready = f.barrier.leave(q)
		f.appender.leave()
	}
	f.gate.leave(q)
	return ready
}

// dispatchAll sends requests that were held.
func (f *AsyncFile) dispatchAll(list requestQueue) {
	var batch requestQueue
	for q := list.pop(); q != nil; q = list.pop() {
		f.dispatch(q, &batch)
	}
	if !batch.empty() {
		f.ring.submit(batch)
	}
}

// perform carries op out with ordinary system calls, from where done bytes have
// been transferred, and returns how many more were.
func (f *AsyncFile) perform(op *Op, done int) (int, error) {
	switch op.Kind {
	case OpRead:
		return f.osf.ReadAt(op.Buf[done:], op.Offset+int64(done))
	case OpWrite:
		return f.osf.WriteAt(op.Buf[done:], op.Offset+int64(done))
	case OpReadv, OpWritev:
		return f.performVectored(op)
	case OpAppend:
		return f.appender.perform(op)
	case OpDatasync:
		err := aio.Fdatasync(f.fd)
		if !errors.Is(err, errors.ErrUnsupported) {
			return 0, f.pathError(OpDatasync, err)
		}
	}
	return 0, f.osf.Sync()
}

// performVectored transfers all of op's buffers, with as few system calls as
// there are short transfers.
func (f *AsyncFile) performVectored(op *Op) (n int, err error) {
	call, each := aio.Preadv, f.osf.ReadAt
	if op.Kind == OpWritev {
		call, each = aio.Pwritev, f.osf.WriteAt
	}
	for want := op.size(); n < want; {
		var rest [][]byte
		for p := range remaining(op.Bufs, n) {
			rest = append(rest, p)
		}
		m, err := call(f.fd, rest, op.Offset+int64(n))
		if errors.Is(err, errors.ErrUnsupported) {
			m, err = each(rest[0], op.Offset+int64(n))
		} else if err == nil && m == 0 {
			if err = io.EOF; op.Kind.writes() {
				err = io.ErrUnexpectedEOF
			}
		}
		n += max(m, 0)
		if pe := (*fs.PathError)(nil); err != nil && !errors.As(err, &pe) {
			err = f.pathError(op.Kind, err)
		}
		if err != nil {
			return n, err
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
// Every Future is done when it returns. A second Close returns fs.ErrClosed.
func (f *AsyncFile) Close() error {
	if f.users.Or(closedBit) < 0 {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	for f.users.Load() != closedBit {
		<-f.drained
	}
	f.cleanup.Stop()
	return errors.Join(f.osf.Close(), f.release())
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
	if f.gate == nil || !f.enter() {
		return f.osf.Truncate(size)
	}
	defer f.leave()
	f.gate.alone(func() {
		if err = f.osf.Truncate(size); err == nil {
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
