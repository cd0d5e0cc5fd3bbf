package asyncfile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/golden"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into the scripts of testdata/stories, and the API into docs/api.txt, instead of comparing")

// TestStories replays the scripts of testdata/stories; the README there says how to
// read them. Each has a Ring of its own on the scripted kernel, and the fake clock
// of a bubble. After each command everything comes to rest.
func TestStories(t *testing.T) {
	if err := canAllocate(t); err != nil {
		t.Skipf("stories extend files with fallocate(2): %v", err)
	}
	if os.Getpagesize() != storyBlock {
		t.Skipf("stories are told in blocks of %d bytes", storyBlock)
	}
	names, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			script, err := golden.Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if script.Prose() == "" {
				t.Error("it does not say what it is about")
			}
			synctest.Test(t, func(t *testing.T) {
				boundBubble(t)
				st := &story{T: t, seen: map[string]string{}}
				st.replay(name, script)
			})
			if *rewrite && !t.Failed() {
				if err := os.WriteFile(name, []byte(script.String()), 0o666); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func canAllocate(t *testing.T) error {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		return err
	}
	defer f.Close()
	return aio.Allocate(int(f.Fd()), 0, 1)
}

// A story is a script at work.
type story struct {
	*testing.T
	*scripted
	trace *callTrace
	dir   string
	queue *Queue
	ops   []*storyOp
	seen  map[string]string // what was last told of the state, by topic

	mu       sync.Mutex      // guards what follows, for the kernel's hooks
	away     []string        // the goroutines of the story that are not back
	answers  []submitAnswer  // of the next io_submit calls
	sleepers []chan struct{} // those that sleep
	errs     []error         // of the next io_getevents calls
}

// A storyOp is an operation that the script has begun.
type storyOp struct {
	name   string
	kind   OpKind
	future *Future
	told   bool // how it ended
}

// A calm is a Future that is resolved when everyone but the goroutine that does it is
// at rest, which goes on when those are whom that has woken. Otherwise the scheduler
// would decide what the two sides find the other at, and a story be told in two ways.
type calm struct{ futureSink }

// Deliver implements file.Sink.
func (c calm) Deliver(o file.Outcome) {
	time.Sleep(time.Nanosecond) // of the bubble
	c.futureSink.Deliver(o)
	time.Sleep(time.Nanosecond) // of the bubble
}

// restTime is long enough for everyone to come to rest, and too short for the Ring
// to notice.
const restTime = time.Microsecond

// storyBlock is a page, which is the block that requests conflict on, in bytes.
// O_DIRECT takes less.
const storyBlock, storySector = 4096, 512

// replay does what the script says, and compares, step by step.
func (st *story) replay(name string, script *golden.Script) {
	for i := range script.Steps {
		step := &script.Steps[i]
		for _, c := range step.Commands {
			if err := st.do(c.Verb, c.Args); err != nil {
				st.Fatalf("%s:%d: %s: %v", name, c.Line, c.Text, err)
			}
			time.Sleep(restTime) // of the bubble
			synctest.Wait()
		}
		got := st.observe()
		if *rewrite {
			step.Want = got
		} else if diff := golden.Diff(step.Want, got); diff != "" {
			st.Errorf("%s:%d: - is in the script, + is what happens; -rewrite puts it there\n%s", name, step.Line, diff)
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if n := len(st.kernel.Held()); n > 0 && !st.aborted || len(st.away) > 0 {
		st.Errorf("%s: at the end %d operations are in flight, and %q not back", name, n, st.away)
	}
}

// start makes the Ring.
func (st *story) start(depth int) {
	st.dir = st.TempDir()
	kernel := aiotest.New(depth)
	st.trace = newCallTrace(kernel)
	st.scripted = newScripted(st.T, kernel, WithQueueDepth(depth), onKernel(st.trace))
	st.inBubble = true
	kernel.Allow(aiotest.NoIdleCall)
	st.hold()
	kernel.OnSubmit(st.onSubmit)
	kernel.OnGetEvents(st.onGetEvents)
	st.Cleanup(func() { // before that of scripted
		kernel.OnSubmit(nil)
		kernel.OnGetEvents(nil)
		for len(st.sleepers) > 0 {
			st.wake()
		}
	})
	st.settle()
	st.trace.ring = st.ring
	st.begins()
}

// begins takes note of what is so before anything is done, which is not told.
func (st *story) begins() {
	for _, topic := range st.state() {
		if _, ok := st.seen[topic.name]; !ok {
			st.seen[topic.name] = topic.now
		}
	}
}

// onSubmit answers an io_submit.
func (st *story) onSubmit(int, int) (int, error) {
	st.mu.Lock()
	if len(st.answers) == 0 {
		st.mu.Unlock()
		return -1, nil
	}
	answer := st.answers[0]
	st.answers = st.answers[1:]
	if answer != sleeps {
		st.mu.Unlock()
		return answer.take, answer.err
	}
	c := make(chan struct{})
	st.sleepers = append(st.sleepers, c)
	st.mu.Unlock()
	<-c
	return -1, nil
}

// sleeps is the answer of an io_submit that sleeps before it takes anything.
var sleeps = submitAnswer{-2, nil}

// wake ends the sleep of the io_submit that has slept longest.
func (st *story) wake() {
	st.mu.Lock()
	defer st.mu.Unlock()
	close(st.sleepers[0])
	st.sleepers = st.sleepers[1:]
}

// onGetEvents answers an io_getevents.
func (st *story) onGetEvents(int) (int, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.errs) == 0 {
		return -1, nil
	}
	err := st.errs[0]
	st.errs = st.errs[1:]
	return 0, err
}

// do carries one command out.
func (st *story) do(verb string, args []string) error {
	text := strings.Join(args, " ")
	if verb == "ring" {
		depth := 0
		if _, err := fmt.Sscanf(text, "of %d places", &depth); err != nil || st.scripted != nil {
			return errors.New("use it first: ring of N places")
		}
		st.start(depth)
		return nil
	}
	if st.scripted == nil {
		st.start(8)
	}
	switch verb {
	case "file":
		return st.openFile(text)
	case "read", "write", "append", "sync", "datasync":
		return st.begin(verb, args, nil)
	case "queue":
		depth := 0
		_, err := fmt.Sscanf(text, "of %d places", &depth)
		st.queue = NewQueue(depth)
		return err
	case "queued":
		return st.begin(args[0], args[1:], st.queue)
	case "receive":
		st.run("receiver", st.receive)
	case "wait", "select":
		return st.await(verb, args[0], args[1:])
	case "event":
		return st.event(args[0], args[1:])
	case "stray":
		return st.stray(text)
	case "submit", "getevents":
		return st.answer(verb, text)
	case "destroy":
		name, _ := strings.CutPrefix(text, "says ")
		st.lost = true
		st.kernel.OnDestroy(func() error { return errnos[name] })
	case "pass":
		d, err := time.ParseDuration(text)
		time.Sleep(d) // of the bubble
		return err
	case "truncate":
		size, err := strconv.ParseInt(text, 10, 64)
		f := st.file("")
		st.run("truncate", func() { st.trace.say("returns%s", withError(f.Truncate(size))) })
		return err
	case "close":
		st.close(text)
	default:
		return errors.New("no such command")
	}
	return nil
}

// openFile opens a file whose contents, for the kernel, are those of an ordinary
// one of the same size: [name] of 64 KiB [on another device].
func (st *story) openFile(text string) error {
	text, other := strings.CutSuffix(text, " on another device")
	name, text, _ := strings.Cut(text, "of ")
	kib := int64(0)
	if _, err := fmt.Sscanf(text, "%d KiB", &kib); err != nil {
		return err
	}
	path := filepath.Join(st.dir, strings.TrimSpace("file "+name))
	if err := os.WriteFile(path, make([]byte, kib<<10), 0o666); err != nil {
		return err
	}
	f := st.scripted.open(path, true, st.mem)
	st.kernel.Attach(f.core.Fd(), f.core.OS())
	// What a file on ext4 with O_DIRECT is like, whatever this one is on.
	f.core.Align = aio.Alignment{Memory: storySector, Offset: storySector, ReadOffset: storySector}
	f.core.Blocks = file.Blocking{Unit: 1, Beyond: true}
	f.core.Mixed, f.core.ResizesAlone, f.core.InMemory = true, true, false
	if other {
		f.core.Lane.Release()
		f.core.Lane = st.ring.core.LaneOf(uint64(len(st.files))<<32, true)
	}
	st.begins()
	return nil
}

// file returns the story's file of that name, or the first.
func (st *story) file(name string) *AsyncFile {
	for _, f := range st.files[2:] { // behind those of scripted
		if name == "" || filepath.Base(f.Name()) == "file "+name {
			return f
		}
	}
	st.Fatalf("no file %q", name)
	return nil
}

// run has a goroutine of that name do f.
func (st *story) run(name string, f func()) {
	st.mu.Lock()
	st.away = append(st.away, name)
	st.mu.Unlock()
	go func() {
		st.trace.enlist(name)
		f()
		st.mu.Lock()
		defer st.mu.Unlock()
		i := slices.Index(st.away, name)
		st.away = slices.Delete(st.away, i, i+1)
	}()
}

// begin begins an operation: read a 0+512 [on other].
func (st *story) begin(verb string, args []string, queue *Queue) error {
	kinds := map[string]OpKind{"read": OpRead, "write": OpWrite, "append": OpAppend, "sync": OpSync, "datasync": OpDatasync}
	kind, ok := kinds[verb]
	if !ok || len(args) == 0 {
		return errors.New("use: read NAME OFFSET+LENGTH [on FILE]")
	}
	f := st.file("")
	if n := len(args); n > 2 && args[n-2] == "on" {
		f = st.file(args[n-1])
		args = args[:n-2]
	}
	op, n, err := Op{Kind: kind}, 0, error(nil)
	switch {
	case kind == OpAppend:
		n, err = strconv.Atoi(args[1])
	case !kind.syncs():
		_, err = fmt.Sscanf(args[1], "%d+%d", &op.Offset, &n)
	}
	if n > 0 {
		op.Buf = AlignedBuffer(n)
	}
	o := &storyOp{name: args[0], kind: kind}
	if queue != nil {
		st.run("caller of "+o.name, func() {
			if err := queue.Submit(f, op, o.name); err != nil {
				st.trace.say("Submit returns%s", withError(err))
			}
		})
		return err
	}
	o.future = f.newFuture(kind)
	st.ops = append(st.ops, o)
	st.run("caller of "+o.name, func() {
		c := op.call(calm{futureSink{o.future}})
		c.Tag = o.name
		f.core.Submit(&c)
	})
	return err
}

// await has a goroutine wait: wait a [at most 5ms]; select a.
func (st *story) await(verb, name string, args []string) error {
	i := slices.IndexFunc(st.ops, func(o *storyOp) bool { return o.name == name })
	if i < 0 {
		return errors.New("no such operation")
	}
	future := st.ops[i].future
	who := "waiter of " + name
	switch {
	case verb == "select":
		st.run(who, func() {
			<-future.Done()
			st.trace.say("finds Done closed")
		})
	case len(args) == 0:
		st.run(who, func() {
			future.Wait()
			st.trace.say("goes on")
		})
	default:
		d, err := time.ParseDuration(args[len(args)-1])
		if err != nil {
			return err
		}
		st.run(who, func() {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			_, err := future.WaitContext(ctx)
			st.trace.say("goes on%s", withError(err))
		})
	}
	return nil
}

func (st *story) receive() {
	c, ok := <-st.queue.C()
	if !ok {
		st.trace.say("finds the channel closed")
		return
	}
	st.trace.say("gets %v: %d bytes%s", c.Tag, c.N, withError(c.Err))
}

// event ends an operation that the kernel has: event a [short 512 | EIO].
func (st *story) event(name string, args []string) error {
	for _, op := range st.kernel.Held() {
		if st.trace.nameOf(op.Data) != name {
			continue
		}
		switch {
		case len(args) == 0:
			op.Complete()
		case args[0] == "short" && len(args) == 2:
			n, err := strconv.Atoi(args[1])
			op.Short(n)
			return err
		case errnos[args[0]] != 0:
			op.Fail(errnos[args[0]])
		default:
			return errors.New("use: event NAME, event NAME short BYTES, event NAME ERRNO")
		}
		return nil
	}
	return errors.New("the kernel does not have it")
}

// stray has an event come that is nobody's: stray event of slot 99; or that has
// come before: stray event of a.
func (st *story) stray(text string) error {
	var slot uint64
	if _, err := fmt.Sscanf(text, "event of slot %d", &slot); err != nil {
		name, _ := strings.CutPrefix(text, "event of ")
		if slot = st.trace.dataOf(name); slot == 0 {
			return errors.New("no such operation")
		}
	}
	st.kernel.InjectEvent(aio.Event{Data: slot, Res: storySector})
	return nil
}

// answer says what the kernel answers the next call that has no answer yet.
func (st *story) answer(verb, text string) error {
	if verb == "submit" && text == "wakes" {
		st.wake()
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	name, says := strings.CutPrefix(text, "says ")
	errno := errnos[name]
	take, of := 0, 0
	switch {
	case says && errno == 0:
		return errors.New("no such error")
	case says && verb == "getevents":
		st.errs = append(st.errs, errno)
		if errno != errnos["EINTR"] {
			st.aborted = true
			st.kernel.Allow(aiotest.Drained) // the real io_destroy waits
		}
	case says:
		st.answers = append(st.answers, refuses(errno))
	case text == "sleeps":
		st.answers = append(st.answers, sleeps)
	default:
		if _, err := fmt.Sscanf(text, "takes %d of %d", &take, &of); err != nil {
			return errors.New("use: submit takes 1 of 2, submit says EAGAIN, submit sleeps, submit wakes")
		}
		st.answers = append(st.answers, takes(take))
	}
	return nil
}

// close closes the ring, the queue, or a file.
func (st *story) close(what string) {
	call := func() error { return st.file("").Close() }
	switch what {
	case "ring":
		call = st.scripted.close
	case "queue":
		call = st.queue.Close
	}
	st.run("closer of "+what, func() { st.trace.say("Close returns%s", withError(call())) })
}

func withError(err error) string {
	if err == nil {
		return ""
	}
	return ", " + errorName(err)
}

// observe returns what has happened since it was last called: what was done, what
// has ended, and what has changed.
func (st *story) observe() []string {
	lines := st.trace.take()
	for _, o := range st.ops {
		if o.told || !o.future.isDone() {
			continue
		}
		o.told = true
		n, err := o.future.outcome()
		switch line := fmt.Sprintf("%s ends: %d bytes%s", o.name, n, withError(err)); {
		case o.kind.syncs():
			lines = append(lines, o.name+" ends"+withError(err))
		case o.kind == OpAppend:
			lines = append(lines, fmt.Sprintf("%s, at %d", line, o.future.offset))
		default:
			lines = append(lines, line)
		}
	}
	for _, topic := range st.state() {
		if topic.now != st.seen[topic.name] {
			st.seen[topic.name] = topic.now
			lines = append(lines, fmt.Sprintf("  %s: %s", topic.name, topic.now))
		}
	}
	return lines
}
