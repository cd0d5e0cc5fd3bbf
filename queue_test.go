package asyncfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/file"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// awaitWaiting returns when n submitters wait for a place in q.
func awaitWaiting(t *testing.T, q *Queue, n int32) {
	t.Helper()
	eventually(t, "submitters wait for a place", func() bool { return q.waiting.Load() == n })
}

func TestQueue(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const count = 100
		data := testPattern(count*testBlock, 1)
		name := putFile(t, nil)
		f := open(name, os.O_RDWR)
		q := NewQueue(count)
		for i := range count {
			if err := q.WriteAt(f, data[i*testBlock:][:testBlock], int64(i)*testBlock, i); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[int]bool{}
		for range count {
			c := <-q.C()
			i := c.Tag.(int)
			if c.Err != nil || c.N != testBlock || c.Op != OpWrite || c.File != f || c.Offset != int64(i)*testBlock ||
				&c.Buf[0] != &data[i*testBlock] || seen[i] {
				t.Fatalf("completion %d: %v of %d bytes at %d: %v", i, c.Op, c.N, c.Offset, c.Err)
			}
			seen[i] = true
		}
		wantContent(t, name, data)

		p := AlignedBuffer(2 * testBlock)
		for _, op := range []Op{
			{Kind: OpReadv, Bufs: cut(p, testBlock), Offset: testBlock},
			{Kind: OpSync}, {Kind: OpDatasync},
			{Kind: OpAppend, Buf: data[:testBlock]},
			{Buf: p, Offset: (count + 1) * testBlock},
			{Buf: p, Offset: -1},
		} {
			if err := q.Submit(f, op, op.Kind); err != nil {
				t.Fatal(err)
			}
			c := <-q.C()
			if c.Op != op.Kind || c.Tag != op.Kind {
				t.Errorf("submitted %v, completed %v with tag %v", op.Kind, c.Op, c.Tag)
			}
			size, _ := op.size()
			switch {
			case op.Offset < 0:
				if c.Err == nil || c.N != 0 {
					t.Errorf("a negative offset: %d, %v", c.N, c.Err)
				}
			case op.Offset > count*testBlock:
				if c.Err != io.EOF || c.N != 0 {
					t.Errorf("a read at the end: %d, %v", c.N, c.Err)
				}
			case c.Err != nil || int64(c.N) != size:
				t.Errorf("%v: %d, %v", c.Op, c.N, c.Err)
			case c.Op == OpAppend && c.Offset != count*testBlock:
				t.Errorf("appended at %d", c.Offset)
			}
		}
		if !bytes.Equal(p, data[testBlock:3*testBlock]) {
			t.Error("the vectored read has other bytes")
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestQueueSelect receives in a select beside other cases.
func TestQueueSelect(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
		q := NewQueue(2)
		defer q.Close()
		never, timer := make(chan int), time.NewTimer(time.Hour)
		defer timer.Stop()
		for i := range 50 {
			if err := q.ReadAt(f, AlignedBuffer(testBlock), 0, i); err != nil {
				t.Fatal(err)
			}
			select {
			case c := <-q.C():
				if c.Tag != i || c.Err != nil {
					t.Fatalf("completion %v: %v", c.Tag, c.Err)
				}
			case <-never:
			case <-timer.C:
				t.Fatal("an hour went by")
			}
		}
	})
}

// fullQueue returns a Queue of three places, all taken by completions that
// nobody has received, and a submitter that waits for a fourth.
func fullQueue(t *testing.T) (q *Queue, fourth chan error) {
	f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
	q, fourth = NewQueue(3), make(chan error, 1)
	for i := range 3 {
		if err := q.ReadAt(f, make([]byte, 8), 0, i); err != nil {
			t.Fatal(err)
		}
	}
	go func() { fourth <- q.ReadAt(f, make([]byte, 8), 0, 3) }()
	awaitWaiting(t, q, 1)
	eventually(t, "the three have ended", func() bool { return len(q.ready) == 3 })
	for range 3 { // whatever looks for places finds none
		q.reclaim()
		q.C()
	}
	select {
	case err := <-fourth:
		t.Fatalf("a Queue of three has four places: %v", err)
	default:
	}
	return q, fourth
}

func closeQueue(t *testing.T, q *Queue) {
	t.Helper()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestQueueFull(t *testing.T) {
	t.Run("received in a range", func(t *testing.T) {
		q, fourth := fullQueue(t)
		n := 0
		c := q.C()
		for range c {
			if n++; n == 1 {
				if err := <-fourth; err != nil { // nothing but the receive lets it in
					t.Fatal(err)
				}
			}
			if n == 4 {
				closeQueue(t, q)
			}
		}
		if n != 4 {
			t.Errorf("%d completions", n)
		}
	})
	t.Run("received through C", func(t *testing.T) {
		q, fourth := fullQueue(t)
		<-q.C()
		q.C()
		if err := <-fourth; err != nil {
			t.Fatal(err)
		}
		closeQueue(t, q)
		n := 0
		for range q.C() {
			n++
		}
		if n != 3 {
			t.Errorf("%d completions are left, want 3", n)
		}
	})
	t.Run("one place at a time", func(t *testing.T) {
		q, fourth := fullQueue(t)
		fifth := make(chan error, 1)
		f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
		go func() { fifth <- q.ReadAt(f, make([]byte, 8), 0, 4) }()
		awaitWaiting(t, q, 2)
		<-q.C()
		if err := <-fourth; err != nil { // first come first served
			t.Fatal(err)
		}
		eventually(t, "the fourth has ended", func() bool { return len(q.ready) == 3 })
		q.reclaim()
		select {
		case <-fifth:
			t.Error("one receive let two in")
		default:
		}
		<-q.C()
		if err := <-fifth; err != nil {
			t.Fatal(err)
		}
		closeQueue(t, q)
	})
	t.Run("closed while a submitter waits", func(t *testing.T) {
		q, fourth := fullQueue(t)
		closeQueue(t, q)
		if err := <-fourth; !errors.Is(err, fs.ErrClosed) {
			t.Errorf("the one that waited: %v", err)
		}
		n := 0
		for c := range q.C() {
			if c.Err != nil {
				t.Error(c.Err)
			}
			n++
		}
		if n != 3 {
			t.Errorf("%d completions are left, want 3", n)
		}
	})
}

// TestQueueClose closes with operations in flight and completions that nobody
// has received.
func TestQueueClose(t *testing.T) {
	kernel, f := openScripted(t, 8)
	q := NewQueue(8)
	for i := range 4 {
		if err := q.ReadAt(f, make([]byte, testBlock), 0, i); err != nil {
			t.Fatal(err)
		}
	}
	ops := kernel.Await(4)
	ops[3].Complete()
	ops[2].Fail(5)
	closed := make(chan error, 1)
	go func() { closed <- q.Close() }()
	<-q.closing.Done()
	if err := q.ReadAt(f, make([]byte, testBlock), 0, 9); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("ReadAt while it closes: %v", err)
	}
	if err := q.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	select {
	case err := <-closed:
		t.Fatalf("Close is back (%v) with two in flight", err)
	default:
	}
	ops[0].Complete()
	ops[1].Complete()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	tags := map[any]error{}
	for c := range q.C() { // ends: the channel is closed
		tags[c.Tag] = c.Err
	}
	if len(tags) != 4 || tags[2] == nil || tags[0] != nil || tags[1] != nil || tags[3] != nil {
		t.Errorf("received after Close: %v", tags)
	}
	if err := q.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("third Close: %v", err)
	}
}

// TestQueueLeavesNothing leaves no goroutine and no timer behind, whatever the
// state it is closed in.
func TestQueueLeavesNothing(t *testing.T) {
	f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
	before := runtime.NumGoroutine()
	for range 20 {
		q := NewQueue(2)
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				if err := q.ReadAt(f, make([]byte, 8), 0, i); err != nil && !errors.Is(err, fs.ErrClosed) {
					t.Error(err)
				}
			})
		}
		awaitWaiting(t, q, 4)
		closeQueue(t, q)
		all.Wait()
		if n := q.waiting.Load(); n != 0 {
			t.Errorf("%d still wait", n)
		}
	}
	eventually(t, "their goroutines are gone", func() bool { return runtime.NumGoroutine() <= before })
}

// TestQueueUnread has a full Queue that nobody reads share a Ring with others.
func TestQueueUnread(t *testing.T) {
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			ring := newTestRing(t, WithBackend(backend), WithQueueDepth(1))
			f := openTest(t, putFile(t, testPattern(testBlock, 1)), os.O_RDONLY,
				WithRing(ring), WithBackend(backend), WithDirect(DirectPrefer))
			q := NewQueue(4)
			for i := range 4 {
				if err := q.ReadAt(f, AlignedBuffer(testBlock), 0, i); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 {
				wantResult(t, f.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil)
			}
			closeQueue(t, q)
			if n := len(q.C()); n != 4 {
				t.Errorf("%d completions, want 4", n)
			}
		})
	}
}

// TestQueueLoop submits and receives in one goroutine, always depth ahead.
func TestQueueLoop(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const depth, count = 16, 1000
		data := testPattern(64*testBlock, 1)
		f := open(putFile(t, data), os.O_RDONLY)
		q := NewQueue(depth)
		bufs := make([][]byte, depth)
		submit := func(p []byte, i int) {
			if err := q.ReadAt(f, p, int64(i%64)*testBlock, i); err != nil {
				t.Fatal(err)
			}
		}
		next := 0
		for i := range bufs {
			bufs[i] = AlignedBuffer(testBlock)
			submit(bufs[i], next)
			next++
		}
		seen := make([]bool, count+depth)
		for range count {
			c := <-q.C()
			i := c.Tag.(int)
			if seen[i] || c.Err != nil || !bytes.Equal(c.Buf, data[i%64*testBlock:][:testBlock]) {
				t.Fatalf("completion %d: seen %v, %v, or other bytes", i, seen[i], c.Err)
			}
			seen[i] = true
			submit(c.Buf, next)
			next++
		}
		closeQueue(t, q)
		if n := len(q.C()); n != depth {
			t.Errorf("%d completions at the end, want %d", n, depth)
		}
	})
}

// TestQueueAtOnce has many goroutines submit to and receive from one Queue.
func TestQueueAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		const goroutines, each = 8, 50
		f := open(putFile(t, testPattern(testBlock, 1)), os.O_RDONLY)
		q := NewQueue(3)
		var submitters, receivers sync.WaitGroup
		var mu sync.Mutex
		seen := map[any]int{}
		for g := range goroutines {
			submitters.Go(func() {
				for i := range each {
					if err := q.ReadAt(f, AlignedBuffer(testBlock), 0, g*each+i); err != nil {
						t.Error(err)
					}
				}
			})
			receivers.Go(func() {
				for c := range q.C() {
					mu.Lock()
					seen[c.Tag]++
					mu.Unlock()
				}
			})
		}
		submitters.Wait()
		closeQueue(t, q)
		receivers.Wait()
		if len(seen) != goroutines*each {
			t.Errorf("%d tags came back, want %d", len(seen), goroutines*each)
		}
	})
}

// TestQueueClosedFile finds a closed file in the completion, not in the call.
func TestQueueClosedFile(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		f := open(putFile(t, testPattern(testBlock, 1)), os.O_RDWR)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		q := NewQueue(1)
		defer q.Close()
		for _, submit := range []func(*AsyncFile, []byte, int64, any) error{q.ReadAt, q.WriteAt} {
			if err := submit(f, AlignedBuffer(testBlock), 0, "tag"); err != nil {
				t.Fatal(err)
			}
			c := <-q.C()
			var pe *fs.PathError
			if c.N != 0 || c.Tag != "tag" || !errors.Is(c.Err, fs.ErrClosed) || !errors.As(c.Err, &pe) || pe.Path != f.Name() {
				t.Errorf("completion of a closed file: %d, %v", c.N, c.Err)
			}
		}
	})
}

// TestQueueDepth has a Queue of no places count as one.
func TestQueueDepth(t *testing.T) {
	for _, depth := range []int{-5, 0, 1} {
		q := NewQueue(depth)
		if cap(q.C()) != 1 {
			t.Errorf("NewQueue(%d) has %d places", depth, cap(q.C()))
		}
		closeQueue(t, q)
		if _, ok := <-q.C(); ok {
			t.Error("a completion of nothing")
		}
	}
}

// TestQueueAllocations counts what an operation of a Queue allocates.
func TestQueueAllocations(t *testing.T) {
	if raceEnabled() || os.Getenv(file.VerifyEnv) == "1" {
		t.Skip("the race detector allocates, and so does the verifier")
	}
	name := putFile(t, testPattern(testBlock, 1))
	for what, open := range map[string]func(t *testing.T) *AsyncFile{
		"aio direct": func(t *testing.T) *AsyncFile { return openDirect(t, name, os.O_RDWR) },
		"aio direct eventfd": func(t *testing.T) *AsyncFile {
			return openDirect(t, name, os.O_RDWR, WithWaitMode(WaitEventFD))
		},
		"cached": func(t *testing.T) *AsyncFile { return openTest(t, name, os.O_RDWR) },
		"pool": func(t *testing.T) *AsyncFile {
			return openTest(t, name, os.O_RDWR, WithBackend(BackendPool), WithDirect(DirectPrefer))
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := open(t)
			q := NewQueue(8)
			defer q.Close()
			p := AlignedBuffer(testBlock)
			for kind, submit := range map[string]func(*AsyncFile, []byte, int64, any) error{"ReadAt": q.ReadAt, "WriteAt": q.WriteAt} {
				got := testing.AllocsPerRun(200, func() {
					if err := submit(f, p, 0, nil); err != nil {
						t.Fatal(err)
					}
					if c := <-q.C(); c.Err != nil {
						t.Fatal(c.Err)
					}
				})
				if got != 0 {
					t.Errorf("%s allocates %v times", kind, got)
				}
			}
		})
	}
}

// A queueModel is what a Queue of two places promises, in a few lines. It is
// told of each call, and of each operation that ends, and says how calls return.
type queueModel struct {
	held, unread    int
	waiting         []*queueCall // submitters, in their order
	closing, closed *queueCall
}

// A queueCall is a call that may block. err is what it is to return, once
// returned is set; got is what it did.
type queueCall struct {
	bad      bool // an operation that ends at once
	returned bool
	err      error // os.ErrInvalid, fs.ErrClosed or nil
	got      chan error
}

func (c *queueCall) returns(err error) { c.returned, c.err = true, err }

// settle lets go on who can.
func (m *queueModel) settle() {
	for _, c := range m.waiting {
		switch {
		case m.closing != nil:
			c.returns(fs.ErrClosed)
		case m.held+m.unread == 2:
			return
		case c.bad:
			m.unread++
			c.returns(nil)
		default:
			m.held++
			c.returns(nil)
		}
		m.waiting = m.waiting[1:]
	}
	if m.closing != nil && m.held == 0 && m.closed == nil {
		m.closed = m.closing
		m.closed.returns(nil)
	}
}

// TestQueueCalls makes every sequence of five calls and events on a Queue, and
// compares with the model, after each, how every call so far has returned.
func TestQueueCalls(t *testing.T) {
	const steps = "swnrcx" // submit, submit what is wrong, submit to no file, receive, complete, close
	inBubble(t, 4, func(s *scripted) {
		s.hold()
		s.Cleanup(func() { // where it failed
			s.kernel.OnOp(nil)
			for _, op := range s.kernel.Held() {
				op.Complete()
			}
		})
		length := 5
		if testing.Short() {
			length = 4
		}
		for code := range int(math.Pow(float64(len(steps)), float64(length))) {
			var trace []byte
			for range length {
				trace = append(trace, steps[code%len(steps)])
				code /= len(steps)
			}
			s.runQueue(string(trace))
		}
	})
}

// runQueue carries out the steps, and then ends all that they left.
func (s *scripted) runQueue(trace string) {
	var m queueModel
	q := NewQueue(2)
	var calls []*queueCall
	start := func(bad bool, call func() error) *queueCall {
		c := &queueCall{bad: bad, got: make(chan error, 1)}
		calls = append(calls, c)
		go func() { c.got <- call() }()
		return c
	}
	for i, step := range trace + "xcccrrrr" {
		switch step {
		case 's', 'w':
			op := Op{Buf: make([]byte, 8)}
			if step == 'w' {
				op.Kind = OpSync // has no use for Buf
			}
			m.waiting = append(m.waiting, start(step == 'w', func() error { return q.Submit(s.direct, op, nil) }))
		case 'n':
			start(false, func() error { return q.Submit(nil, Op{}, nil) }).returns(os.ErrInvalid)
		case 'c':
			if held := s.kernel.Held(); len(held) > 0 {
				held[0].Complete()
			}
			if m.held > 0 {
				m.held, m.unread = m.held-1, m.unread+1
			}
		case 'x':
			if c := start(false, q.Close); m.closing == nil {
				m.closing = c
			} else {
				c.returns(fs.ErrClosed)
			}
		case 'r':
			select {
			case _, ok := <-q.C():
				if ok != (m.unread > 0) || !ok && m.closed == nil {
					s.Fatalf("%s, step %d: received %v, of %+v", trace, i, ok, m)
				}
				if ok {
					m.unread--
				}
			default:
				if m.unread > 0 || m.closed != nil {
					s.Fatalf("%s, step %d: nothing to receive, of %+v", trace, i, m)
				}
			}
		}
		m.settle()
		time.Sleep(2*recheckPeriod + 3*ring.WatchPeriod) // of the bubble: until all wait, and submitters have looked for places
		for k, c := range calls {
			if len(c.got) == 1 != c.returned {
				s.Fatalf("%s, step %d: call %d has returned %v, want %v", trace, i, k, !c.returned, c.returned)
			}
		}
	}
	for k, c := range calls {
		if err := <-c.got; !errors.Is(err, c.err) {
			s.Fatalf("%s: call %d: %v, want %v", trace, k, err, c.err)
		}
	}
}
