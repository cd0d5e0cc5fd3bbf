package asyncfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A scripted is a Ring on a scripted kernel, with files that are real enough to
// be opened and whose contents, for the kernel, are in memory. Its end is
// checked: nothing is left over, and no rule of the kernel was broken.
type scripted struct {
	*testing.T
	kernel  *aiotest.Kernel
	ring    *Ring
	eventfd *aio.EventFD // of the Ring, or nil
	mem     *aiotest.Mem
	direct  *AsyncFile // calls io_submit on its caller
	worker  *AsyncFile // calls io_submit on a worker, as a buffered file does

	files    []*AsyncFile
	aborted  bool // the test lets the context die
	lost     bool // and the kernel keeps what is in flight
	closed   bool // the test closed the Ring
	inBubble bool // of testing/synctest
}

// newScripted starts a Ring on kernel, whose hooks stay out of the start.
func newScripted(t *testing.T, kernel *aiotest.Kernel, opts ...Option) *scripted {
	t.Helper()
	s := &scripted{T: t, kernel: kernel, mem: aiotest.NewMem(patternBytes(4096, 1))}
	if aio.RaceEnabled {
		// So slow, a sender may be without a processor for 2 ms before its io_submit. The
		// watchdog takes it for asleep there, and what it has for in flight.
		kernel.Allow(aiotest.NoIdleCall)
	}
	dir := t.TempDir()
	kernel.OnSubmit(func(int, int) (int, error) { return -1, nil })
	kernel.OnOp(func(*aiotest.Op) aiotest.Verdict { return aiotest.Do() })
	kernel.OnGetEvents(func(int) (int, error) { return -1, nil })
	kernel.AttachAny(aiotest.NewMem(nil)) // for what tryContext opens
	var err error
	s.ring, err = NewRing(append([]Option{WithBackend(BackendAIO), onKernel(kernel)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	kernel.AttachAny(nil)
	kernel.OnSubmit(nil)
	kernel.OnOp(nil)
	kernel.OnGetEvents(nil)
	if s.eventfd = s.ring.core.EventFD(); s.eventfd != nil {
		kernel.Notify(func(fd int) {
			if fd != s.eventfd.FD() {
				t.Errorf("eventfd %d signalled, not %d", fd, s.eventfd.FD())
			}
			s.eventfd.Signal()
		})
	}
	t.Cleanup(s.finish)
	s.direct = s.open(filepath.Join(dir, "direct"), true, s.mem)
	s.worker = s.open(filepath.Join(dir, "worker"), false, s.mem)
	return s
}

// onKernel has a Ring run on kernel.
func onKernel(kernel aio.Context) Option {
	return withSetup(func(int) (aio.Context, error) { return kernel, nil })
}

// open opens a file of the Ring that is contents to the kernel. Whether it is
// direct is pretended, so that no file system and no alignment matters.
func (s *scripted) open(name string, direct bool, contents aiotest.File) *AsyncFile {
	s.Helper()
	f, err := OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666, WithRing(s.ring), WithBackend(BackendAIO))
	if err != nil {
		s.Fatal(err)
	}
	f.core.Direct = direct
	s.files = append(s.files, f)
	s.kernel.Attach(f.core.Fd(), contents)
	return f
}

// openOwn is open for a test's own contents; nil is a descriptor that the
// kernel refuses with EBADF.
func (s *scripted) openOwn(contents aiotest.File) *AsyncFile {
	s.Helper()
	return s.open(filepath.Join(s.TempDir(), "own"), true, contents)
}

// otherLane is openOwn on a device of its own: a lane that no other file has.
func (s *scripted) otherLane(contents aiotest.File) *AsyncFile {
	s.Helper()
	f := s.openOwn(contents)
	f.core.Lane.Release()
	f.core.Lane = s.ring.core.LaneOf(uint64(len(s.files))<<32, true)
	return f
}

// finish closes everything and checks what is left.
func (s *scripted) finish() {
	for i := 0; s.Failed() && i < 100; i++ { // or what a failed test left in flight would never end
		s.kernel.OnOp(nil)
		for _, op := range s.kernel.Held() {
			op.Complete()
		}
		if s.inBubble {
			time.Sleep(ring.WatchPeriod) // of the bubble
		}
	}
	for _, f := range s.files {
		if err := f.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			s.Errorf("Close of %s: %v", f.Name(), err)
		}
	}
	if err := s.ring.Close(); err != nil && !(s.closed && errors.Is(err, fs.ErrClosed)) {
		s.Errorf("Ring.Close: %v", err)
	}
	for _, v := range s.kernel.Violations() {
		s.Errorf("kernel: %s", v)
	}
	c := s.kernel.Counts()
	if c.Destroyed == s.lost {
		s.Errorf("the context was destroyed: %v", c.Destroyed)
	}
	if c.InFlight != 0 && !s.aborted {
		s.Errorf("%d operations in flight at the end", c.InFlight)
	}
	if c.MaxInFlight > s.ring.Depth() {
		s.Errorf("%d operations in flight on a depth of %d", c.MaxInFlight, s.ring.Depth())
	}
	got := s.state()
	if got.InFlight != 0 || got.Entering != 0 || got.Pending != 0 || got.Stalled || got.Token != (got.Broken != nil) || got.Asks != 0 {
		s.Errorf("at the end %+v", got)
	}
	for slot := range s.ring.Depth() {
		if o := s.ring.core.Client(uint32(slot)); o != nil {
			s.Errorf("slot %d is not clean: %+v", slot, o)
		}
	}
}

// close closes the files and the Ring, for a test that looks at what it returns.
func (s *scripted) close() error {
	s.closed = true
	return s.ring.Close()
}

// state returns what the Ring is at.
func (s *scripted) state() ring.Snapshot { return s.ring.core.Snapshot() }

// wantBatches checks how many iocbs each io_submit since the start was given.
func (s *scripted) wantBatches(want ...int) {
	s.Helper()
	got := s.kernel.Counts().BatchSizes[1:] // the first is tryContext's
	if len(got) != len(want) {
		s.Errorf("io_submit calls of %v, want %v", got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			s.Errorf("io_submit calls of %v, want %v", got, want)
			return
		}
	}
}

// hold has the kernel keep every operation from now on.
func (s *scripted) hold() {
	s.kernel.OnOp(func(*aiotest.Op) aiotest.Verdict { return aiotest.Hold() })
}

// An opLog is the operations that a kernel accepted, in order.
type opLog struct {
	mu  sync.Mutex
	ops []*aiotest.Op
}

// record has the i-th operation from now on, from 0, answered with verdict(i),
// and kept in the log that it returns.
func (s *scripted) record(verdict func(i int, op *aiotest.Op) aiotest.Verdict) *opLog {
	l := new(opLog)
	s.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
		l.mu.Lock()
		i := len(l.ops)
		l.ops = append(l.ops, op)
		l.mu.Unlock()
		return verdict(i, op)
	})
	return l
}

// script is record with a list, and Do for what comes after it.
func (s *scripted) script(verdicts ...aiotest.Verdict) *opLog {
	return s.record(func(i int, _ *aiotest.Op) aiotest.Verdict {
		if i < len(verdicts) {
			return verdicts[i]
		}
		return aiotest.Do()
	})
}

func (l *opLog) offsets() (offsets []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range l.ops {
		offsets = append(offsets, op.Offset)
	}
	return offsets
}

func (l *opLog) lens() (lens []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, op := range l.ops {
		lens = append(lens, op.Len)
	}
	return lens
}

// answers has the io_submit calls from now on answered by the list, and all
// that come after it with everything taken.
func (s *scripted) answers(list ...submitAnswer) {
	var mu sync.Mutex
	next := 0
	s.kernel.OnSubmit(func(int, int) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if next == len(list) {
			return -1, nil
		}
		a := list[next]
		next++
		return a.take, a.err
	})
}

type submitAnswer struct {
	take int
	err  error
}

var (
	takesAll  = submitAnswer{-1, nil}
	saysAgain = submitAnswer{0, syscall.EAGAIN}
)

func takes(n int) submitAnswer { return submitAnswer{n, nil} }

func refuses(errno syscall.Errno) submitAnswer { return submitAnswer{0, errno} }

// together begins operations of several files and submits them in one go.
func (s *scripted) together(files []*AsyncFile, ops []Op) []*Future {
	futures := make([]*Future, len(ops))
	var batch ring.Requests
	for i := range ops {
		futures[i] = files[i].newFuture(ops[i].Kind)
		beginTo(files[i], ops[i], futureSink{futures[i]}, &batch)
	}
	files[0].core.Lane.Push(batch, ring.Lazily)
	return futures
}

// readOps returns n reads of size bytes, one after the other.
func readOps(n, size int) []Op {
	ops := make([]Op, n)
	for i := range ops {
		ops[i] = Op{Kind: OpRead, Buf: make([]byte, size), Offset: int64(i * size)}
	}
	return ops
}

// wantRead checks that p was read from offset off of the pattern in mem.
func (s *scripted) wantRead(future *Future, p []byte, off int64) {
	s.Helper()
	n, err := future.Wait()
	if n != len(p) || err != nil {
		s.Errorf("read of %d at %d = %d, %v", len(p), off, n, err)
	} else if !bytes.Equal(p, patternBytes(4096, 1)[off:int(off)+n]) {
		s.Errorf("read of %d at %d has other bytes", len(p), off)
	}
}

// wantReads checks the futures of ops, which are reads.
func (s *scripted) wantReads(futures []*Future, ops []Op) {
	s.Helper()
	for i, future := range futures {
		s.wantRead(future, ops[i].Buf, ops[i].Offset)
	}
}

// wantError checks that an operation failed as op on f with errno.
func (s *scripted) wantError(future *Future, f *AsyncFile, op string, n int, target error) {
	s.Helper()
	got, err := future.Wait()
	if got != n || !errors.Is(err, target) {
		s.Errorf("= %d, %v; want %d, %v", got, err, n, target)
		return
	}
	var pe *fs.PathError
	if !errors.As(err, &pe) || pe.Op != op || pe.Path != f.Name() {
		s.Errorf("= %#v, want a PathError of %s %s", err, op, f.Name())
	}
}

// patternBytes returns n bytes that differ between neighbours and between seeds.
func patternBytes(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7) ^ byte(i>>8)*31 ^ seed*101
	}
	return p
}

// A waitKind is a way in which events come to the completer.
type waitKind struct {
	name   string
	mode   WaitMode
	mapped bool
}

var waitKinds = []waitKind{
	{"getevents mapped", WaitGetEvents, true},
	{"getevents unmapped", WaitGetEvents, false},
	{"eventfd mapped", WaitEventFD, true},
	{"eventfd unmapped", WaitEventFD, false},
}

// eachWait runs test on a new scripted kernel for every way to wait. Where the
// completer waits in io_getevents, time is that of a synctest bubble, which
// also finds whoever waits for ever; the netpoller, for an eventfd, is outside.
func eachWait(t *testing.T, depth int, test func(s *scripted), opts ...Option) {
	for _, kind := range waitKinds {
		t.Run(strings.ReplaceAll(kind.name, " ", "/"), func(t *testing.T) {
			kind.run(t, aiotest.New(depth), depth, test, opts...)
		})
	}
}

func (kind waitKind) run(t *testing.T, kernel *aiotest.Kernel, depth int, test func(s *scripted), opts ...Option) {
	kernel.SetMapped(kind.mapped)
	opts = append([]Option{WithQueueDepth(depth), WithWaitMode(kind.mode)}, opts...)
	if kind.mode == WaitEventFD {
		if runtime.GOOS != "linux" {
			t.Skip("eventfd is a Linux interface")
		}
		test(newScripted(t, kernel, opts...))
		return
	}
	synctest.Test(t, func(t *testing.T) {
		boundBubble(t)
		s := newScripted(t, kernel, opts...)
		s.inBubble = true
		s.settle() // the completer parks
		test(s)
	})
}

// maxBubbleTime is far more than any test takes on a bubble's clock.
const maxBubbleTime = 10 * time.Minute

// boundBubble ends a test that hangs. synctest finds that all goroutines wait for
// ever, but not while the watchdog's timer goes on, which makes time pass.
func boundBubble(t *testing.T) {
	timer := time.AfterFunc(maxBubbleTime, func() {
		stacks := make([]byte, 1<<20)
		panic(fmt.Sprintf("%s hangs\n%s", t.Name(), stacks[:runtime.Stack(stacks, true)]))
	})
	t.Cleanup(func() { timer.Stop() })
}

// inBubble is eachWait for a test that has to know when everyone waits, or what
// time it is: for the kinds that a bubble can hold.
func inBubble(t *testing.T, depth int, test func(s *scripted), opts ...Option) {
	for _, kind := range waitKinds {
		if kind.mode == WaitGetEvents {
			t.Run(strings.Fields(kind.name)[1], func(t *testing.T) {
				kind.run(t, aiotest.New(depth), depth, test, opts...)
			})
		}
	}
}

// until waits for what the Ring does on goroutines of its own. In a bubble that
// takes no time: it is there when everyone waits, or it never comes.
func (s *scripted) until(what string, is func() bool) {
	s.Helper()
	if s.inBubble {
		if synctest.Wait(); !is() {
			s.Fatalf("everyone waits, and it is not so that %s", what)
		}
		return
	}
	for !is() {
		runtime.Gosched()
	}
}

// ask has operations sent and their events reaped by the Ring, not by the test.
func ask(futures ...*Future) []*Future {
	for _, future := range futures {
		future.Done()
	}
	return futures
}

// submit submits operations on f and asks for their end.
func (s *scripted) submit(f *AsyncFile, ops ...Op) []*Future {
	return ask(f.Submit(ops...)...)
}

// settle waits until every goroutine of the bubble waits.
func (s *scripted) settle() {
	s.Helper()
	if !s.inBubble {
		s.Fatal("settle outside of a bubble")
	}
	synctest.Wait()
}

// pass has everything come about that nobody asks for.
func (s *scripted) pass() {
	s.Helper()
	time.Sleep(3 * ring.WatchPeriod) // of the bubble
	s.settle()
}

func deadContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx, cancel
}
