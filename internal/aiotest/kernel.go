// Package aiotest is a scripted AIO kernel for tests: an [aio.Context] that
// answers as the real io_submit(2) and io_getevents(2) do, in the order and
// with the faults that a test asks for, on every operating system.
//
// By default a [Kernel] does what it is asked at once and well. Hooks make it
// refuse, hold back, cut short, fail and interrupt; [Random] draws all of that
// from a seed. Whatever the script, the Kernel watches how it is used and
// records what the contract of aio.Context forbids (see [Rule]).
//
// One fault it cannot show: it keeps the buffers of an operation as slices, so
// a buffer that its owner forgot stays alive here where the real kernel would
// write into memory that the collector has given away.
package aiotest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A File is what operations on an attached descriptor act on. With a method
// Sync() error it takes Fsync and Fdatasync too; without one they are refused
// with EINVAL, as by a kernel or a file system that does not know them.
type File interface {
	io.ReaderAt
	io.WriterAt
}

// A Rule is a part of the contract between an aio.Context and its user.
type Rule int

const (
	// OneConsumer: only one goroutine is inside GetEvents or Reap.
	OneConsumer Rule = iota
	// WithinDepth: no Submit asks for more operations in flight than the
	// depth. (Submit answers EAGAIN or a short count as well.)
	WithinDepth
	// NotDestroyed: nothing is called after Destroy, and no Submit still runs
	// when it comes.
	NotDestroyed
	// Drained: Destroy comes with nothing in flight and no event unread.
	Drained
	// UniqueData: no two operations in flight carry the same data.
	UniqueData
	// SomeBytes: a read or write asks for at least one byte.
	SomeBytes
	// NoIdleCall: GetEvents, a system call, is not made with nothing in flight, nor
	// about to be: what a Submit that has not returned has been given may be.
	NoIdleCall

	rules // how many there are
)

// Counts is what a Kernel has seen.
type Counts struct {
	Submits      int   // calls of Submit, those without iocbs left out
	SubmittedOps int   // operations accepted
	GetEvents    int   // calls of GetEvents
	Reaps        int   // calls of Reap that returned events
	InFlight     int   // accepted, event not yet consumed
	MaxInFlight  int   // the most there were at any time
	BatchSizes   []int // how many iocbs each Submit was given
	Destroyed    bool
}

// An entry of the completion ring: the event, and the operation that it ends
// (nil for an injected event).
type entry struct {
	aio.Event
	op *Op
}

// A Kernel is an aio.Context whose behaviour a test scripts. All methods may be
// called at any time from any goroutine; calling hooks and files is done
// without holding a lock, so that these may call the Kernel in turn.
type Kernel struct {
	depth int

	mu     sync.Mutex
	wakeup sync.Cond // for consumers in GetEvents: ring, timeout or dead changed
	watch  sync.Cond // for tests in Await and AwaitWaiting: held or waiting grew

	onSubmit    func(call, n int) (accept int, err error)
	onOp        func(op *Op) Verdict
	onGetEvents func(call int) (limit int, err error)
	onDestroy   func() error
	notify      func(fd int)
	rnd         *rand.Rand // nil: nothing is left to chance
	refusals    int        // EAGAINs in a row that Random gave with nothing in flight
	unit        int        // see SetUnit
	faults      int        // see SetFaults
	errnos      []syscall.Errno

	files      map[int]File
	others     File // of every descriptor that is not in files; nil: of none
	unmapped   bool
	dead       bool
	ring       []entry
	held       []*Op          // by Index
	data       map[uint64]int // aio_data of what is in flight
	submitting int            // goroutines inside Submit
	consumers  int            // goroutines inside GetEvents or Reap
	waiting    int            // those of them that sleep and have no reason to wake
	counts     Counts
	allowed    [rules]bool
	violations []string
}

var _ aio.Context = (*Kernel)(nil)

// New makes a Kernel that has room for depth operations in flight: exactly, where
// the real one has that or more.
func New(depth int) *Kernel {
	k := &Kernel{depth: depth, files: map[int]File{}, data: map[uint64]int{}}
	k.wakeup.L = &k.mu
	k.watch.L = &k.mu
	return k
}

// Attach makes f the file of descriptor fd; a nil f closes the descriptor.
// Operations already accepted keep their file, as the real kernel holds its own
// reference. Submit refuses operations on an unknown descriptor with EBADF.
func (k *Kernel) Attach(fd int, f File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f == nil {
		delete(k.files, fd)
		return
	}
	k.files[fd] = f
}

// AttachAny makes f the file of every descriptor that none was attached to; a
// nil f leaves these unknown again. It is for code that opens a file of its own
// accord and tells nobody its descriptor.
func (k *Kernel) AttachAny(f File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.others = f
}

// OnSubmit sets what is asked at each Submit: its number, from 0, and how many
// iocbs it brings. The answer is how many of them to take, less than zero for
// all. As in io_submit, err is returned only when none is taken. Those taken may
// still be refused for a reason of their own.
func (k *Kernel) OnSubmit(f func(call, n int) (accept int, err error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onSubmit = f
}

// OnOp sets what is asked for each operation as it is accepted.
func (k *Kernel) OnOp(f func(op *Op) Verdict) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onOp = f
}

// OnGetEvents sets what is asked at each GetEvents: its number, from 0. The
// answer is the most events to give, less than zero for no limit; the call does
// not wait for more than these, so that with 0 it says at once that there are
// none. An err is returned at once and consumes nothing.
func (k *Kernel) OnGetEvents(f func(call int) (limit int, err error)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onGetEvents = f
}

// OnDestroy sets what is asked at each Destroy. With an err that is what Destroy
// answers, and it does nothing: as where a system call filter refuses
// io_destroy(2), what is in flight stays there, and ends when the test ends it.
func (k *Kernel) OnDestroy(f func() error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.onDestroy = f
}

// Notify sets what signals an eventfd: it is called once for each operation whose
// iocb names one, after the event is in the ring. Without it nothing happens.
func (k *Kernel) Notify(f func(fd int)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.notify = f
}

// SetMapped says whether Reap sees the ring. It does unless told otherwise.
func (k *Kernel) SetMapped(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unmapped = !on
}

// Allow stops the Kernel from recording that these rules are broken.
func (k *Kernel) Allow(rules ...Rule) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range rules {
		k.allowed[r] = true
	}
}

// Violations returns what was done against the rules, in order.
func (k *Kernel) Violations() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.violations)
}

// Counts returns what has been seen so far.
func (k *Kernel) Counts() Counts {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.counts
	c.BatchSizes = slices.Clone(c.BatchSizes)
	return c
}

// Held returns the operations that wait for the test, oldest first.
func (k *Kernel) Held() []*Op {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.held)
}

// Await blocks until at least n operations are held and returns all that are,
// oldest first.
func (k *Kernel) Await(n int) []*Op {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.held) < n {
		k.watch.Wait()
	}
	return slices.Clone(k.held)
}

// AwaitWaiting blocks until a consumer sleeps inside GetEvents. One that has been
// woken and has not run yet does not count.
func (k *Kernel) AwaitWaiting() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.waiting == 0 {
		k.watch.Wait()
	}
}

// InjectEvent puts into the ring an event that no operation has earned. It takes
// no place, gives none back and signals no eventfd.
func (k *Kernel) InjectEvent(ev aio.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring = append(k.ring, entry{Event: ev})
	k.wake()
}

// Submit implements aio.Context.
func (k *Kernel) Submit(iocbs []*aio.IOCB) (int, error) {
	if len(iocbs) == 0 {
		return 0, nil
	}
	k.mu.Lock()
	k.submitting++
	k.mu.Unlock()
	n, err := k.submit(iocbs)
	k.settle()
	k.mu.Lock()
	k.submitting--
	k.mu.Unlock()
	return n, err
}

func (k *Kernel) submit(iocbs []*aio.IOCB) (int, error) {
	k.mu.Lock()
	call := k.counts.Submits
	k.counts.Submits++
	k.counts.BatchSizes = append(k.counts.BatchSizes, len(iocbs))
	ask, alive := k.onSubmit, k.alive("Submit")
	k.mu.Unlock()
	if !alive {
		return 0, syscall.EINVAL
	}

	k.stir()
	if ask == nil {
		ask = k.drawSubmit
	}
	accept, err := ask(call, len(iocbs))
	if accept == 0 {
		return 0, err
	}
	if accept > 0 && accept < len(iocbs) {
		iocbs = iocbs[:accept]
	}
	for i, cb := range iocbs {
		op, err := k.accept(cb)
		if err != nil && i == 0 {
			return 0, err
		}
		if err != nil {
			return i, nil // io_submit drops the error
		}
		k.judge(op)
	}
	return len(iocbs), nil
}

// accept makes an operation of an iocb, or says why not: in the order of
// io_submit_one, a place first, then the descriptor, then the rest.
//
// Everything is read out of the iocb here, because it and its iovecs belong to
// the caller again once Submit has returned.
func (k *Kernel) accept(cb *aio.IOCB) (*Op, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.alive("Submit, still running,") {
		return nil, syscall.EINVAL
	}
	if cb == nil {
		return nil, syscall.EFAULT
	}
	if k.counts.InFlight >= k.depth {
		k.broken(WithinDepth, "Submit with %d of %d in flight", k.counts.InFlight, k.depth)
		return nil, syscall.EAGAIN
	}
	op, err := newOp(k, cb)
	if err != nil {
		return nil, err
	}
	if op.Len == 0 && !op.isSync() {
		k.broken(SomeBytes, "%v with an empty buffer, data %#x", op.Opcode, op.Data)
	}
	if k.data[op.Data] > 0 {
		k.broken(UniqueData, "%v with data %#x, which is in flight already", op.Opcode, op.Data)
	}
	k.data[op.Data]++
	op.Index = k.counts.SubmittedOps
	k.counts.SubmittedOps++
	k.counts.InFlight++
	k.counts.MaxInFlight = max(k.counts.MaxInFlight, k.counts.InFlight)
	return op, nil
}

// judge asks what is to become of op, and does it.
func (k *Kernel) judge(op *Op) {
	k.mu.Lock()
	ask := k.onOp
	k.mu.Unlock()
	if ask == nil {
		ask = k.drawVerdict
	}
	switch v := ask(op); v.kind {
	case verdictDo:
		op.Complete()
	case verdictShort:
		op.Short(v.limit)
	case verdictFail:
		op.Fail(v.errno)
	case verdictHold:
		k.hold(op)
	}
}

// hold adds op to those that wait for the test, unless the hook has ended it
// already. Submits that run at once may come here out of order.
func (k *Kernel) hold(op *Op) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if op.claimed {
		return
	}
	i, _ := slices.BinarySearchFunc(k.held, op, func(a, b *Op) int { return a.Index - b.Index })
	k.held = slices.Insert(k.held, i, op)
	k.watch.Broadcast()
}

// claim makes the caller the one that ends op. Only the first gets it.
func (k *Kernel) claim(op *Op) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if op.claimed {
		return false
	}
	op.claimed = true
	if i := slices.Index(k.held, op); i >= 0 {
		k.held = slices.Delete(k.held, i, i+1)
	}
	return true
}

// post puts the event of op into the ring and then signals its eventfd: in this
// order, or who is woken would find nothing. After Destroy there is no ring.
func (k *Kernel) post(op *Op, res int64) {
	k.mu.Lock()
	if k.dead {
		k.mu.Unlock()
		return
	}
	k.ring = append(k.ring, entry{aio.Event{Data: op.Data, Obj: op.obj, Res: res}, op})
	k.wake()
	notify := k.notify
	k.mu.Unlock()
	if op.hasEventFD && notify != nil {
		notify(op.eventFD)
	}
}

// GetEvents implements aio.Context.
func (k *Kernel) GetEvents(least int, events []aio.Event, timeout time.Duration) (int, error) {
	k.mu.Lock()
	call := k.counts.GetEvents
	k.counts.GetEvents++
	if k.counts.InFlight == 0 && len(k.ring) == 0 && k.submitting == 0 && !k.dead {
		k.broken(NoIdleCall, "GetEvents with nothing in flight")
	}
	ask, entered := k.onGetEvents, k.enter("GetEvents")
	k.mu.Unlock()
	if !entered || least < 0 || least > len(events) {
		k.leave(entered)
		return 0, syscall.EINVAL
	}

	k.stir()
	if ask == nil {
		ask = func(int) (int, error) { return k.drawGetEvents(least, len(events)) }
	}
	n := 0
	limit, err := ask(call)
	if err == nil {
		if limit >= 0 {
			least, events = min(least, limit), events[:min(limit, len(events))]
		}
		n, err = k.wait(least, events, timeout)
	}
	k.leave(true)
	k.settle()
	return n, err
}

// wait consumes events until there were at least so many or the time is over.
// Like read_events of fs/aio.c it takes them as they come, so that their places
// are free while it waits for the rest.
func (k *Kernel) wait(least int, events []aio.Event, timeout time.Duration) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	over := timeout <= 0
	var timer *time.Timer
	for n := 0; ; {
		n += k.consume(events[n:])
		switch {
		case k.dead && n == 0:
			return 0, syscall.EINVAL
		case n >= least || over || k.dead:
			return n, nil
		case k.rnd != nil && len(k.held) > 0:
			k.mu.Unlock()
			k.finishOne()
			k.mu.Lock()
			continue
		case timer == nil:
			timer = time.AfterFunc(timeout, func() {
				k.mu.Lock()
				defer k.mu.Unlock()
				over = true
				k.wake()
			})
			defer timer.Stop()
		}
		k.waiting++
		k.watch.Broadcast()
		k.wakeup.Wait()
	}
}

// Reap implements aio.Context.
func (k *Kernel) Reap(events []aio.Event) int {
	k.mu.Lock()
	entered := k.enter("Reap")
	mapped := !k.unmapped
	k.mu.Unlock()
	if !entered || !mapped {
		k.leave(entered)
		return 0
	}

	k.stir()
	k.mu.Lock()
	n := k.consume(events)
	if n > 0 {
		k.counts.Reaps++
	}
	k.mu.Unlock()
	k.leave(true)
	k.settle()
	return n
}

// Mapped implements aio.Context.
func (k *Kernel) Mapped() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.alive("Mapped") && !k.unmapped
}

// Destroy implements aio.Context. Where the real one would wait for what is in
// flight, it records a violation and does not wait. A consumer that sleeps in
// GetEvents gets EINVAL.
func (k *Kernel) Destroy() error {
	k.mu.Lock()
	ask := k.onDestroy
	k.mu.Unlock()
	if ask != nil {
		if err := ask(); err != nil {
			return err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.alive("Destroy") {
		return syscall.EINVAL
	}
	if k.counts.InFlight > 0 || len(k.ring) > 0 {
		k.broken(Drained, "Destroy with %d in flight and %d events unread", k.counts.InFlight, len(k.ring))
	}
	if k.submitting > 0 {
		k.broken(NotDestroyed, "Destroy with %d inside Submit", k.submitting)
	}
	k.dead = true
	k.counts.Destroyed = true
	k.ring = nil
	k.wake()
	return nil
}

// The functions below are called with k.mu held; leave takes it.

// enter counts a consumer in, or says that there is nothing to consume any more.
func (k *Kernel) enter(call string) bool {
	if !k.alive(call) {
		return false
	}
	if k.consumers++; k.consumers > 1 {
		k.broken(OneConsumer, "%s while another goroutine is inside GetEvents or Reap", call)
	}
	return true
}

// leave counts a consumer out that was let in.
func (k *Kernel) leave(entered bool) {
	if !entered {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.consumers--
}

func (k *Kernel) alive(call string) bool {
	if k.dead {
		k.broken(NotDestroyed, "%s after Destroy", call)
	}
	return !k.dead
}

func (k *Kernel) broken(r Rule, format string, args ...any) {
	if !k.allowed[r] {
		k.violations = append(k.violations, fmt.Sprintf(format, args...))
	}
}

// wake makes every sleeping consumer look again. That it is no longer counted as
// waiting from here on, and not from when it runs, is what AwaitWaiting needs.
func (k *Kernel) wake() {
	k.waiting = 0
	k.wakeup.Broadcast()
}

// consume moves events out of the ring. This, and not the completion, gives an
// operation's place back.
func (k *Kernel) consume(events []aio.Event) int {
	n := min(len(events), len(k.ring))
	for i, e := range k.ring[:n] {
		events[i] = e.Event
		if e.op == nil {
			continue
		}
		k.counts.InFlight--
		if k.data[e.Data]--; k.data[e.Data] == 0 {
			delete(k.data, e.Data)
		}
	}
	k.ring = slices.Delete(k.ring, 0, n)
	return n
}

// address returns the address of an iocb, which comes back in the event.
func address(cb *aio.IOCB) uint64 { return uint64(reflect.ValueOf(cb).Pointer()) }
