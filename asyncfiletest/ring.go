package asyncfiletest

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/seam"
)

// A Ring is an asyncfile.Ring whose files have faults. Give the Ring inside to
// asyncfile.WithRing. It is safe for concurrent use.
type Ring struct {
	*asyncfile.Ring

	t      testing.TB
	kernel *aiotest.Kernel // nil on the pool
	over   chan struct{}   // closed at the end of the test

	mu         sync.Mutex
	injections []*Injection
	files      map[int]*file // by descriptor

	disk disk
}

// NewRing makes a Ring, as asyncfile.NewRing does with the same options, whose calls go
// to a kernel of this package. With asyncfile.BackendPool there is no io_submit in it.
// At the end of the test what is held is released and the Ring is closed: close the
// files before, as with any Ring. An option out of range ends the test.
func NewRing(t testing.TB, opts ...asyncfile.Option) *Ring {
	t.Helper()
	r := &Ring{t: t, over: make(chan struct{}), files: map[int]*file{}}
	use := asyncfile.WithKernel(&seam.Kernel{Setup: r.setup, Open: r.open})
	var err error
	if r.Ring, err = asyncfile.NewRing(append([]asyncfile.Option{use}, opts...)...); err != nil {
		t.Fatalf("asyncfiletest.NewRing: %v", err)
	}
	if r.kernel != nil {
		r.kernel.AttachAny(nil)
		r.kernel.OnOp(r.onOp)
	}
	t.Cleanup(r.finish)
	return r
}

// setup is io_setup(2).
func (r *Ring) setup(depth int) (aio.Context, error) {
	r.kernel = aiotest.New(depth)
	r.kernel.AttachAny(aiotest.NewMem(nil)) // the null device, on which the Ring tries it
	r.kernel.Notify(func(fd int) {
		if err := aio.SignalEventFD(fd); err != nil {
			r.t.Errorf("asyncfiletest: eventfd: %v", err)
		}
	})
	return r.kernel, nil
}

// Inject has f happen from now on. Of several that are to happen to a call the one that
// was injected first does; all of them count it. A Fault that makes no sense ends the
// test.
func (r *Ring) Inject(f Fault) *Injection {
	r.t.Helper()
	if err := f.check(); err != nil {
		r.t.Fatalf("asyncfiletest.Inject: %v", err)
	}
	i := newInjection(f, r.over)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.injections = append(r.injections, i)
	return i
}

// finish is the end of the test.
func (r *Ring) finish() {
	close(r.over)
	r.Close() // the test may have closed it
	r.disk.close()
	if r.kernel == nil {
		return
	}
	for _, v := range r.kernel.Violations() {
		r.t.Errorf("asyncfiletest: package asyncfile has misused the kernel, please report: %s", v)
	}
}

// meet counts c, and returns what is to happen to it, or nil.
func (r *Ring) meet(c call) (first *Injection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.injections {
		if i.meets(c) && first == nil {
			first = i
		}
	}
	return first
}

// onOp is asked for each operation of io_submit(2).
func (r *Ring) onOp(op *aiotest.Op) aiotest.Verdict {
	r.mu.Lock()
	f := r.files[op.FD]
	r.mu.Unlock()
	c := call{op: opOf(op.Opcode), name: f.name, off: op.Offset, n: int64(op.Len)}
	i := r.meet(c)
	switch {
	case i == nil:
		return aiotest.Do()
	case !i.fault.Hold && i.fault.Delay == 0:
		f.end(op, c, &i.fault)
	default:
		go func() {
			i.wait()
			f.end(op, c, &i.fault)
		}()
	}
	return aiotest.Hold()
}

func opOf(code aio.Opcode) Op {
	switch {
	case code == aio.OpFsync || code == aio.OpFdsync:
		return Sync
	case code.Reads():
		return Read
	}
	return Write
}

// end ends an operation of io_submit(2) as a Fault has it.
func (f *file) end(op *aiotest.Op, c call, fault *Fault) {
	limit := op.Len
	if fault.Short > 0 {
		limit = min(limit, fault.Short)
	}
	switch {
	case fault.Err == 0:
		op.Short(limit)
		return
	case c.op == Sync:
		f.node.forsake()
	case fault.Short > 0:
		op.Tear(limit, fault.Err)
		return
	}
	op.Fail(fault.Err)
}

// A file is an open file, for package asyncfile. It has the faults.
type file struct {
	ring *Ring
	name string
	fd   int
	node *node
	may  access
}

var _ seam.File = (*file)(nil)

// open takes in a file of the Ring.
func (r *Ring) open(osf *os.File, fd int) (seam.File, error) {
	f := &file{ring: r, name: osf.Name(), fd: fd}
	flags, err := aio.StatusFlags(fd)
	if errors.Is(err, errors.ErrUnsupported) {
		flags, err = os.O_RDWR, nil // not Linux
	}
	if err != nil {
		return nil, err
	}
	mode := flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	f.may = access{
		read:    mode != os.O_WRONLY,
		write:   mode != os.O_RDONLY,
		durable: flags&os.O_SYNC != 0, // O_DSYNC is a part of it
	}
	if f.node, err = r.disk.open(osf, fd, f.may.write); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.files[fd] = f
	r.mu.Unlock()
	if r.kernel != nil {
		r.kernel.Attach(fd, &contents{f.node, f.may})
	}
	return f, nil
}

// Close implements seam.File.
func (f *file) Close() error {
	if f.ring.kernel != nil {
		f.ring.kernel.Attach(f.fd, nil)
	}
	f.ring.mu.Lock()
	delete(f.ring.files, f.fd)
	f.ring.mu.Unlock()
	return f.ring.disk.leave(f.node)
}

// carry makes a system call outside of io_submit(2): move moves so many bytes at most.
func (f *file) carry(op Op, off, n int64, move func(limit int64) (int, error)) (int, error) {
	c := call{op: op, name: f.name, off: off, n: n}
	i := f.ring.meet(c)
	if i == nil {
		return move(n)
	}
	i.wait()
	fault := &i.fault
	if fault.Short > 0 && op&(Read|Write) != 0 {
		n = min(n, int64(fault.Short))
	}
	if fault.Err == 0 {
		return move(n)
	}
	switch {
	case op == Sync:
		f.node.forsake()
	case fault.Short > 0 && op&(Read|Write) != 0:
		move(n)
	}
	return 0, fault.Err
}

// Readv implements seam.File.
func (f *file) Readv(bufs [][]byte, off int64) (int, error) {
	return f.carry(Read, off, total(bufs), func(limit int64) (int, error) {
		return eachBuffer(bufs, limit, off, (&contents{f.node, f.may}).ReadAt)
	})
}

// Writev implements seam.File.
func (f *file) Writev(bufs [][]byte, off int64) (int, error) {
	return f.carry(Write, off, total(bufs), func(limit int64) (int, error) {
		return eachBuffer(bufs, limit, off, (&contents{f.node, f.may}).WriteAt)
	})
}

// Append implements seam.File.
func (f *file) Append(osf *os.File, p []byte) (done int, err error) {
	for err == nil && done < len(p) {
		rest := p[done:]
		var n int
		n, err = f.carry(Write, f.node.end(), int64(len(rest)), func(limit int64) (int, error) {
			return f.node.append(osf, rest[:limit], f.may)
		})
		done += n
	}
	return done, err
}

// Sync implements seam.File.
func (f *file) Sync() error {
	_, err := f.carry(Sync, 0, 0, func(int64) (int, error) { return 0, f.node.commit() })
	return err
}

// Truncate implements seam.File.
func (f *file) Truncate(size int64) error {
	_, err := f.carry(Truncate, size, maxFile-size, func(int64) (int, error) { return 0, f.node.truncate(size, f.may) })
	return err
}

// Allocate implements seam.File.
func (f *file) Allocate(off, size int64) error { return f.allocate(off, size, aio.Allocate) }

// Punch implements seam.File.
func (f *file) Punch(off, size int64) error { return f.allocate(off, size, aio.PunchHole) }

// Zero implements seam.File.
func (f *file) Zero(off, size int64) error { return f.allocate(off, size, aio.ZeroRange) }

func (f *file) allocate(off, size int64, do func(fd int, off, size int64) error) error {
	_, err := f.carry(Allocate, off, size, func(int64) (int, error) { return 0, f.node.allocate(off, size, f.may, do) })
	return err
}

func total(bufs [][]byte) (n int64) {
	for _, p := range bufs {
		n += int64(len(p))
	}
	return n
}

// eachBuffer moves up to limit bytes as preadv(2) does: what was moved counts more than
// the error that ended it, and the end of the file is none.
func eachBuffer(bufs [][]byte, limit, off int64, move func([]byte, int64) (int, error)) (int, error) {
	done := 0
	for _, p := range bufs {
		p = p[:min(int64(len(p)), limit-int64(done))]
		if len(p) == 0 {
			continue
		}
		n, err := move(p, off+int64(done))
		done += n
		switch {
		case done > 0 && (err != nil || n < len(p)), err == io.EOF:
			return done, nil
		case err != nil:
			return done, err
		}
	}
	return done, nil
}

// contents is the file for the scripted kernel, without faults.
type contents struct {
	node *node
	may  access
}

// ReadAt implements aiotest.File.
func (c *contents) ReadAt(p []byte, off int64) (int, error) {
	if !c.may.read {
		return 0, syscall.EBADF
	}
	return c.node.read(p, off)
}

// WriteAt implements aiotest.File.
func (c *contents) WriteAt(p []byte, off int64) (int, error) {
	return c.node.write(p, off, c.may)
}

// Sync commits the file.
func (c *contents) Sync() error { return c.node.commit() }
