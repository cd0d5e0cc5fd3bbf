package asyncfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A callTrace is the context of a Ring. It notes which goroutine makes which system
// call, and what that answers.
type callTrace struct {
	aio.Context
	ring *Ring // nil until there is one: what tries the context is not told

	mu     sync.Mutex
	actors map[int]*actor    // by goroutine
	ranks  int               // given
	names  map[uint64]string // of the operations in flight, by aio_data
	data   map[string]uint64 // of every operation's last submission
}

// An actor is a goroutine, and what it did in this step.
type actor struct {
	name  string
	rank  int
	lines []string
	calls int      // of lines: system calls
	in    *sysCall // the call that it is in
}

// A sysCall is a call that has not returned. Its line is written when it has, or at
// the end of the step.
type sysCall struct {
	name, args string
	told       bool // that it sleeps
}

func newCallTrace(context aio.Context) *callTrace {
	return &callTrace{Context: context, actors: map[int]*actor{}, names: map[uint64]string{}, data: map[string]uint64{}}
}

// enlist gives the calling goroutine a name.
func (t *callTrace) enlist(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ranks++
	t.actors[goroutine()] = &actor{name: name, rank: t.ranks}
}

// The goroutines of the Ring are known by a function on their stack. Of all it is
// true that they come after those of the story.
var ringActors = []struct{ function, name string }{
	{"(*completer).run", "completer"},
	{"(*Lane).sendApart", "sender"},
	{"(*Pool).work", "worker"},
}

// self returns the calling goroutine. Called with mu held.
func (t *callTrace) self() *actor {
	id := goroutine()
	if a := t.actors[id]; a != nil {
		return a
	}
	name, rank := "somebody", 100
	var pcs [64]uintptr
	for frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])]); ; {
		frame, more := frames.Next()
		for i, known := range ringActors {
			if strings.HasSuffix(frame.Function, known.function) {
				name, rank = known.name, 101+i
			}
		}
		if !more {
			break
		}
	}
	same := 1
	for _, a := range t.actors {
		if a.rank == rank {
			same++
		}
	}
	if same > 1 && name == "completer" {
		name = fmt.Sprintf("%s %d", name, same)
	}
	a := &actor{name: name, rank: rank}
	t.actors[id] = a
	return a
}

// say adds a line about the calling goroutine.
func (t *callTrace) say(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.self()
	a.lines = append(a.lines, fmt.Sprintf(format, args...))
}

// enter begins a system call of the calling goroutine.
func (t *callTrace) enter(name, args string) *actor {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.self()
	a.in = &sysCall{name: name, args: args}
	return a
}

// leave ends it.
func (t *callTrace) leave(a *actor, result string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := fmt.Sprintf("%s(%s) = %s", a.in.name, a.in.args, result)
	if a.in.told {
		line = fmt.Sprintf("%s returns %s", a.in.name, result)
	}
	a.in = nil
	a.lines = append(a.lines, line)
	a.calls++
}

// Submit implements aio.Context.
func (t *callTrace) Submit(iocbs []*aio.IOCB) (int, error) {
	if t.ring == nil {
		return t.Context.Submit(iocbs)
	}
	var list []string
	for _, cb := range iocbs {
		name := fmt.Sprint(file.TagOf(t.ring.core.Client(uint32(cb.Data()))))
		list = append(list, describe(cb, name))
		t.mu.Lock()
		t.names[cb.Data()], t.data[name] = name, cb.Data()
		t.mu.Unlock()
	}
	a := t.enter("io_submit", strings.Join(list, ", "))
	n, err := t.Context.Submit(iocbs)
	result := fmt.Sprint(n)
	if err != nil {
		result = errorName(err)
	}
	t.leave(a, result)
	return n, err
}

// describe says what an iocb is.
func describe(cb *aio.IOCB, name string) string {
	n := 0
	switch cb.Opcode() {
	case aio.OpFsync, aio.OpFdsync:
		return fmt.Sprintf("%s %v", name, cb.Opcode())
	}
	for _, p := range cb.Buffers() {
		n += len(p)
	}
	return fmt.Sprintf("%s %v %d+%d", name, cb.Opcode(), cb.Offset(), n)
}

// GetEvents implements aio.Context.
func (t *callTrace) GetEvents(least int, events []aio.Event, timeout time.Duration) (int, error) {
	if t.ring == nil {
		return t.Context.GetEvents(least, events, timeout)
	}
	a := t.enter("io_getevents", fmt.Sprintf("%d to %d, %v", least, len(events), timeout))
	n, err := t.Context.GetEvents(least, events, timeout)
	result := t.eventNames(events[:n])
	if err != nil {
		result = errorName(err)
	}
	t.leave(a, result)
	return n, err
}

// Reap implements aio.Context. Where it finds nothing that is not told.
func (t *callTrace) Reap(events []aio.Event) int {
	n := t.Context.Reap(events)
	if n > 0 {
		names := t.eventNames(events[:n])
		t.say("finds in the mapped ring %s", names)
	}
	return n
}

// Destroy implements aio.Context.
func (t *callTrace) Destroy() error {
	err := t.Context.Destroy()
	result := "0"
	if err != nil {
		result = errorName(err)
	}
	t.say("io_destroy() = %s", result)
	return err
}

// eventNames says what events are of, and what they say.
func (t *callTrace) eventNames(events []aio.Event) string {
	if len(events) == 0 {
		return "nothing"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for _, ev := range events {
		name, ok := t.names[ev.Data]
		if !ok {
			name = "stray"
		}
		delete(t.names, ev.Data)
		result := fmt.Sprint(ev.Res)
		if ev.Res < 0 {
			result = "-" + errorName(syscall.Errno(-ev.Res))
		}
		list = append(list, fmt.Sprintf("%s %s", name, result))
	}
	return strings.Join(list, ", ")
}

// take returns what has been done since it was last called: those who made system
// calls first, each for itself, since who of two was the first is up to the
// scheduler.
func (t *callTrace) take() (lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*actor, 0, len(t.actors))
	for _, a := range t.actors {
		if a.in != nil && !a.in.told {
			a.in.told = true
			a.lines = append(a.lines, fmt.Sprintf("%s(%s) sleeps", a.in.name, a.in.args))
			a.calls++
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *actor) int {
		return cmp.Or(cmp.Compare(min(b.calls, 1), min(a.calls, 1)), cmp.Compare(a.rank, b.rank), slices.Compare(a.lines, b.lines))
	})
	for _, a := range all {
		for _, line := range a.lines {
			lines = append(lines, a.name+": "+line)
		}
		a.lines, a.calls = nil, 0
	}
	return lines
}

// inside returns the names of those who are in a system call, sorted.
func (t *callTrace) inside(call string) (names []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.actors {
		if a.in != nil && a.in.name == call {
			names = append(names, a.name)
		}
	}
	slices.Sort(names)
	return names
}

// errnos are those that stories are about.
var errnos = map[string]syscall.Errno{
	"EAGAIN": syscall.EAGAIN, "EBADF": syscall.EBADF, "EINTR": syscall.EINTR, "EINVAL": syscall.EINVAL,
	"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC, "EPERM": syscall.EPERM,
}

// errorName returns the name that a reader knows an error by.
func errorName(err error) string {
	for name, target := range map[string]error{
		"io.EOF": io.EOF, "fs.ErrClosed": fs.ErrClosed, "ErrAbandoned": ErrAbandoned, "ErrBufferLost": ErrBufferLost,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		for name, known := range errnos {
			if errno == known {
				return name
			}
		}
	}
	return err.Error()
}

// nameOf returns whose submission has that aio_data, as long as no event came.
func (t *callTrace) nameOf(data uint64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.names[data]
}

// dataOf returns the aio_data of an operation's last submission.
func (t *callTrace) dataOf(name string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.data[name]
}

// A topic is a part of the state of a Ring or of a file, in words.
type topic struct{ name, now string }

// state returns what there is to see when everyone waits.
func (st *story) state() (topics []topic) {
	add := func(name, format string, args ...any) {
		topics = append(topics, topic{name, fmt.Sprintf(format, args...)})
	}
	for _, f := range st.files[2:] {
		base := filepath.Base(f.Name())
		if f.core.Users() < 0 {
			continue // closed
		}
		add("size of "+base, "%d", f.core.Size())
		add("waiting in the sequence of "+base, "%s", heldStory(f.core.Held()))
	}
	st.mu.Lock()
	var callers []string
	for _, who := range st.away {
		if name, ok := strings.CutPrefix(who, "caller of "); ok {
			callers = append(callers, name)
		}
	}
	st.mu.Unlock()
	add("waiting for a place", "%s", orNothing(callers))

	names := func(list []ring.Client) (names []string) {
		for _, c := range list {
			names = append(names, fmt.Sprint(file.TagOf(c)))
		}
		return names
	}
	r := st.scripted.state()
	pending, inFlight := st.ring.core.Unfinished()
	now := names(inFlight)
	slices.Sort(now)
	add("pending", "%s", orNothing(names(pending)))
	add("in flight", "%s", orNothing(now))
	add("senders found asleep", "%d", r.Asleep)
	add("the kernel has no room", "%v", r.Stalled)
	switch {
	case r.Broken != nil:
		add("token", "gone")
	case r.Token:
		add("token", "%s", strings.Join(st.trace.inside("io_getevents"), ", "))
	default:
		add("token", "free")
	}
	add("completer", "%s", [...]string{"parked", "works", "watches", "waits for events"}[r.Completer])
	add("stray events", "%d", r.Strays)
	return topics
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// heldStory tells what waits, and for what.
func heldStory(held []file.Held) string {
	var list []string
	before := ""
	for _, h := range held {
		var ahead []string
		for _, t := range h.Behind {
			ahead = append(ahead, turnStory(t))
		}
		name := turnStory(h.Turn)
		for _, run := range h.Runs {
			name += fmt.Sprintf(" %d+%d", run.From, run.To-run.From)
		}
		reason := " for " + strings.Join(ahead, " and ")
		if last := len(list) - 1; reason == before {
			list[last] = strings.TrimSuffix(list[last], reason) + ", " + name + reason
		} else {
			list = append(list, name+reason)
		}
		before = reason
	}
	if list == nil {
		return "nothing"
	}
	return strings.Join(list, "; ")
}

func turnStory(t file.Turn) string {
	switch t.Task {
	case file.Extends:
		return "fallocate"
	case file.CutsBack:
		return "cut back after " + fmt.Sprint(t.Tag)
	case file.Resizes:
		return "truncate"
	}
	return fmt.Sprint(t.Tag)
}
