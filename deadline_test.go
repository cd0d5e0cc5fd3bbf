package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// fileFlags are the flags of files that deadlines are tried on.
var fileFlags = []int{os.O_RDWR, os.O_RDWR | os.O_APPEND}

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

func soon() time.Time { return time.Now().Add(5 * time.Millisecond) }

// wantTimeout checks what a call returns that its deadline ended.
func wantTimeout(t *testing.T, err error, op, name string) {
	t.Helper()
	var pe *fs.PathError
	if !errors.As(err, &pe) || pe.Op != op || pe.Path != name || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("error %#v (%v), want os.ErrDeadlineExceeded of %s %s", err, err, op, name)
	}
	if !pe.Timeout() || !os.IsTimeout(err) {
		t.Errorf("%v is no timeout", err)
	}
}

// hungCalls are the calls that a deadline has to end, each on a file of 64
// blocks. p has one block.
var hungCalls = []struct {
	name string
	op   string
	call func(f *File, p []byte) (int64, error)
}{
	{"ReadAt", "read", func(f *File, p []byte) (int64, error) { return count(f.ReadAt(p, testBlock)) }},
	{"Read", "read", func(f *File, p []byte) (int64, error) { return count(f.Read(p)) }},
	{"WriteTo", "read", func(f *File, p []byte) (int64, error) { return f.WriteTo(new(bytes.Buffer)) }},
	{"WriteAt", "write", func(f *File, p []byte) (int64, error) { return count(f.WriteAt(p, testBlock)) }},
	{"Write", "write", func(f *File, p []byte) (int64, error) { return count(f.Write(p)) }},
	{"WriteString", "write", func(f *File, p []byte) (int64, error) { return count(f.WriteString(string(p))) }},
	{"ReadFrom", "write", func(f *File, p []byte) (int64, error) { return f.ReadFrom(bytes.NewReader(p)) }},
	{"Sync", "sync", func(f *File, p []byte) (int64, error) { return 0, f.Sync() }},
}

func count(n int, err error) (int64, error) { return int64(n), err }

type outcomeOfCall struct {
	n   int64
	err error
}

// goCall makes a call on a goroutine of its own.
func goCall(call func() (int64, error)) <-chan outcomeOfCall {
	c := make(chan outcomeOfCall, 1)
	go func() {
		n, err := call()
		c <- outcomeOfCall{n, err}
	}()
	return c
}

// openHung is openScripted with the file's content at hand.
func openHung(t *testing.T, depth int) (*aiotest.Kernel, *AsyncFile, *aiotest.Mem) {
	t.Helper()
	kernel, f := openScripted(t, depth)
	mem := aiotest.NewMem(testPattern(64*testBlock, 1))
	kernel.Attach(f.core.Fd(), mem)
	return kernel, f, mem
}

// release lets the scripted kernel do what it held, and all that comes.
func release(kernel *aiotest.Kernel) {
	kernel.OnOp(func(*aiotest.Op) aiotest.Verdict { return aiotest.Do() })
	for _, op := range kernel.Held() {
		op.Complete()
	}
}

// TestDeadlineOnHungDevice moves the deadline of a call whose operation the
// kernel does not end, and looks at the memory when it does end it, late.
func TestDeadlineOnHungDevice(t *testing.T) {
	for _, c := range hungCalls {
		t.Run(c.name, func(t *testing.T) {
			kernel, f, mem := openHung(t, 8)
			v := f.File()
			data, before := testPattern(testBlock, 2), mem.Bytes()
			p := bytes.Clone(data)
			if err := v.SetDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			done := goCall(func() (int64, error) { return c.call(v, p) })
			kernel.Await(1)
			select {
			case r := <-done:
				t.Fatalf("returned %d, %v before its deadline", r.n, r.err)
			default:
			}
			if err := v.SetDeadline(longAgo); err != nil {
				t.Fatal(err)
			}
			r := <-done
			wantTimeout(t, r.err, c.op, f.Name())
			if r.n != 0 {
				t.Errorf("n = %d", r.n)
			}

			// The caller has its slice back. What it does with it now, and what
			// the kernel does, are no longer to meet.
			if !bytes.Equal(p, data) {
				t.Error("the slice was changed by a call that gave up")
			}
			for i := range p {
				p[i] = 0xEE
			}
			release(kernel)
			if err := f.Close(); err != nil { // waits for the operation
				t.Fatal(err)
			}
			if !bytes.Equal(p, bytes.Repeat([]byte{0xEE}, len(p))) {
				t.Error("the operation that was given up changed the slice")
			}
			after := mem.Bytes()
			if c.op == "write" {
				at := bytes.Index(after, data)
				if at < 0 {
					t.Fatal("the write that was given up wrote something else")
				}
				copy(before[at:], data)
			}
			if !bytes.Equal(after, before) {
				t.Error("the file holds what it should not")
			}
		})
	}
}

// TestDeadlineByTheClock is the same with a deadline that comes by itself.
func TestDeadlineByTheClock(t *testing.T) {
	for _, c := range hungCalls {
		t.Run(c.name, func(t *testing.T) {
			kernel, f, _ := openHung(t, 8)
			v := f.File()
			v.SetDeadline(soon())
			_, err := c.call(v, make([]byte, testBlock))
			wantTimeout(t, err, c.op, f.Name())
			release(kernel)
		})
	}
}

// TestDeadlineOver: a call under a deadline that is over does nothing at all.
func TestDeadlineOver(t *testing.T) {
	for _, c := range hungCalls {
		t.Run(c.name, func(t *testing.T) {
			kernel, f, mem := openHung(t, 8)
			kernel.OnOp(nil) // an operation would end at once
			v := f.File()
			before, ops := mem.Bytes(), kernel.Counts().SubmittedOps
			v.SetDeadline(longAgo)
			for range 20 { // a select takes either of two ways that are open
				n, err := c.call(v, make([]byte, testBlock))
				wantTimeout(t, err, c.op, f.Name())
				if n != 0 {
					t.Fatalf("n = %d", n)
				}
			}
			if pos, err := v.Seek(0, io.SeekCurrent); pos != 0 || err != nil {
				t.Errorf("the cursor is at %d, %v", pos, err)
			}
			if got := kernel.Counts().SubmittedOps; got != ops {
				t.Errorf("%d operations were begun", got-ops)
			}
			if !bytes.Equal(mem.Bytes(), before) {
				t.Error("the file has changed")
			}

			// It can be taken away, and the file serves on.
			v.SetDeadline(time.Time{})
			p := make([]byte, testBlock)
			v.SetDeadline(time.Now().Add(time.Hour))
			if n, err := v.ReadAt(p, 0); n != len(p) || err != nil || !bytes.Equal(p, before[:testBlock]) {
				t.Errorf("ReadAt afterwards = %d, %v", n, err)
			}
		})
	}
}

// TestDeadlineReadAndWriteApart: the deadline of reads is not that of writes.
func TestDeadlineReadAndWriteApart(t *testing.T) {
	kernel, f, _ := openHung(t, 8)
	kernel.OnOp(nil)
	v, p := f.File(), make([]byte, testBlock)
	v.SetReadDeadline(longAgo)
	v.SetWriteDeadline(time.Now().Add(time.Hour))
	_, err := v.ReadAt(p, 0)
	wantTimeout(t, err, "read", f.Name())
	if n, err := v.WriteAt(p, 0); n != len(p) || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if err := v.Sync(); err != nil {
		t.Errorf("Sync: %v", err)
	}
	v.SetReadDeadline(time.Now().Add(time.Hour))
	v.SetWriteDeadline(longAgo)
	if n, err := v.ReadAt(p, 0); n != len(p) || err != nil {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	_, err = v.WriteAt(p, 0)
	wantTimeout(t, err, "write", f.Name())
	wantTimeout(t, v.Sync(), "sync", f.Name())
}

// TestDeadlineQueueFull: every place is taken by operations that hang, so the
// call does not even get one.
func TestDeadlineQueueFull(t *testing.T) {
	const depth = 4
	for _, c := range hungCalls {
		t.Run(c.name, func(t *testing.T) {
			kernel, f, _ := openHung(t, depth)
			for i := range depth {
				f.ReadAt(AlignedBuffer(testBlock), int64(i*testBlock))
			}
			kernel.Await(depth)
			v := f.File()
			v.SetDeadline(soon())
			p := bytes.Repeat([]byte{1}, testBlock)
			n, err := c.call(v, p)
			wantTimeout(t, err, c.op, f.Name())
			if n != 0 || !bytes.Equal(p, bytes.Repeat([]byte{1}, testBlock)) {
				t.Errorf("n = %d, or the slice has changed", n)
			}
			release(kernel)
		})
	}
}

// A hungJob occupies a worker until it is closed.
type hungJob chan struct{}

func (j hungJob) Run() { <-j }

// hangWorkers has every worker of a Ring hang until release is called.
func hangWorkers(l *ring.Lane) (release func()) {
	job := make(hungJob)
	for range defaultWorkers {
		l.Go(job)
	}
	return func() { close(job) }
}

// TestDeadlineWorkersHung: every worker hangs, so that nothing even gets to the
// kernel, on either backend and whatever the file.
func TestDeadlineWorkersHung(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		for _, flag := range fileFlags {
			name := putFile(t, testPattern(64*testBlock, 1))
			f := open(name, flag)
			v := f.File()
			if f.core.OnKernel && f.core.Direct {
				continue // goes to the kernel without a worker
			}
			free := hangWorkers(f.core.Lane)
			defer free()
			for _, c := range hungCalls {
				if c.name == "WriteAt" && flag&os.O_APPEND != 0 {
					continue // refused at once
				}
				data := testPattern(testBlock, 2)
				p := bytes.Clone(data)
				v.SetDeadline(soon())
				n, err := c.call(v, p)
				wantTimeout(t, err, c.op, name)
				if n != 0 || !bytes.Equal(p, data) {
					t.Errorf("%s: n = %d, or the slice has changed", c.name, n)
				}
			}
		}
	})
}

// TestDeadlineExtended has the deadline of a call that waits moved away, and
// taken away, and the operation end afterwards.
func TestDeadlineExtended(t *testing.T) {
	for _, to := range []time.Time{time.Now().Add(2 * time.Hour), {}} {
		for _, c := range hungCalls {
			t.Run(fmt.Sprint(c.name, " ", to.IsZero()), func(t *testing.T) {
				kernel, f, _ := openHung(t, 8)
				v := f.File()
				v.SetDeadline(time.Now().Add(time.Hour))
				done := goCall(func() (int64, error) { return c.call(v, make([]byte, testBlock)) })
				kernel.Await(1)
				if err := v.SetDeadline(to); err != nil {
					t.Fatal(err)
				}
				release(kernel)
				if r := <-done; r.err != nil || r.n == 0 && c.name != "Sync" {
					t.Errorf("%d, %v", r.n, r.err)
				}
			})
		}
	}
}

// TestDeadlineMoves is the deadline by itself, by a clock that the test turns.
func TestDeadlineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d deadline
		if d.wait() != nil {
			t.Fatal("there is a deadline before one was set")
		}
		in := func(wait time.Duration) time.Time { return time.Now().Add(wait) }
		over := func(c <-chan struct{}) bool {
			synctest.Wait()
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		d.move(in(10 * time.Second))
		c := d.wait()
		time.Sleep(9 * time.Second)
		d.move(in(10 * time.Second)) // later
		time.Sleep(9 * time.Second)
		if over(c) {
			t.Error("it came where it was, not where it is")
		}
		d.move(in(2 * time.Second)) // earlier
		time.Sleep(3 * time.Second)
		if !over(c) || !over(d.wait()) {
			t.Error("it did not come where it was moved to")
		}
		d.move(in(time.Second)) // a new one after one that came
		c = d.wait()
		if over(c) {
			t.Error("the new deadline is over from the start")
		}
		d.move(time.Time{})
		time.Sleep(time.Hour)
		if over(c) || d.wait() != nil {
			t.Error("it came after it was taken away")
		}
		d.move(in(time.Second)) // whoever waited all the while sees this one
		time.Sleep(2 * time.Second)
		if !over(c) {
			t.Error("who began to wait before does not see the new deadline")
		}
		d.move(time.Time{})
		if d.wait() != nil {
			t.Error("there is still a deadline")
		}
		d.move(in(-time.Second))
		if !over(d.wait()) {
			t.Error("a deadline that is over is not")
		}
		d.move(in(0))
		if !over(d.wait()) {
			t.Error("a deadline that is now is not over")
		}
	})
}

// TestDeadlineMovesAtOnce has many goroutines move one deadline while many wait.
func TestDeadlineMovesAtOnce(t *testing.T) {
	var d deadline
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for range 500 {
				switch r.IntN(4) {
				case 0:
					d.move(time.Time{})
				case 1:
					d.move(longAgo)
				case 2:
					d.move(time.Now().Add(time.Duration(r.IntN(50)) * time.Microsecond))
				default:
					d.wait()
				}
			}
		})
	}
	all.Wait()
	d.move(longAgo)
	<-d.wait()
}

// TestDeadlineTurns: calls at the cursor take turns, and one that waits for its
// turn gives up in time too. The cursor stays where the last success left it.
func TestDeadlineTurns(t *testing.T) {
	kernel, f, _ := openHung(t, 8)
	v := f.File()
	v.SetDeadline(time.Now().Add(time.Hour))
	first := goCall(func() (int64, error) { return count(v.Read(make([]byte, testBlock))) })
	kernel.Await(1)
	second := goCall(func() (int64, error) { return count(v.Read(make([]byte, testBlock))) })
	v.SetReadDeadline(longAgo)
	for _, c := range []<-chan outcomeOfCall{first, second} {
		r := <-c
		wantTimeout(t, r.err, "read", f.Name())
	}
	if pos, _ := v.Seek(0, io.SeekCurrent); pos != 0 {
		t.Errorf("the cursor is at %d", pos)
	}
	release(kernel)
	v.SetReadDeadline(time.Now().Add(time.Hour))
	for want := int64(testBlock); want <= 3*testBlock; want += testBlock {
		if n, err := v.Read(make([]byte, testBlock)); n != testBlock || err != nil {
			t.Fatalf("Read = %d, %v", n, err)
		}
		if pos, _ := v.Seek(0, io.SeekCurrent); pos != want {
			t.Errorf("the cursor is at %d, want %d", pos, want)
		}
	}
}

// TestDeadlineParts: a long call is made of parts, and a deadline between them
// leaves what was done.
func TestDeadlineParts(t *testing.T) {
	kernel, f, mem := openHung(t, 8)
	v := f.File()
	content := testPattern(3*maxPrivate, 5)
	mem.WriteAt(content, 0)
	kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
		if op.Offset >= 2*maxPrivate {
			return aiotest.Hold()
		}
		return aiotest.Do()
	})
	v.SetDeadline(time.Now().Add(time.Hour))
	p := make([]byte, len(content))
	done := goCall(func() (int64, error) { return count(v.Read(p)) })
	kernel.Await(1)
	v.SetDeadline(longAgo)
	r := <-done
	wantTimeout(t, r.err, "read", f.Name())
	if r.n != 2*maxPrivate || !bytes.Equal(p[:r.n], content[:r.n]) {
		t.Errorf("n = %d, or it read something else", r.n)
	}
	if pos, _ := v.Seek(0, io.SeekCurrent); pos != r.n {
		t.Errorf("the cursor is at %d after a Read of %d", pos, r.n)
	}
	release(kernel)
}

// TestDeadlineLeavesNothing: what was given up leaves no goroutine and no place
// behind once it has ended.
func TestDeadlineLeavesNothing(t *testing.T) {
	kernel, f, _ := openHung(t, 32)
	before := runtime.NumGoroutine()
	v := f.File()
	for range 3 {
		for _, c := range hungCalls {
			v.SetDeadline(time.Now().Add(time.Millisecond))
			_, err := c.call(v, make([]byte, testBlock))
			wantTimeout(t, err, c.op, f.Name())
		}
	}
	release(kernel)
	eventually(t, "the operations end", func() bool { return f.core.Users() == 0 })
	if n := f.ring.Stats().InFlight; n != 0 {
		t.Errorf("%d places of 32 are taken", n)
	}
	eventually(t, "the workers end", func() bool { return runtime.NumGoroutine() <= before })
}

// TestDeadlineFiles compares files under a deadline that does not come with
// files that have none.
func TestDeadlineFiles(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(2*maxPrivate+testBlock, 4)
		name := putFile(t, content)
		for _, flag := range fileFlags {
			f := open(name, flag)
			v := f.File()
			if err := v.SetDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			p := AlignedBuffer(len(content))
			if n, err := v.ReadAt(p, 0); n != len(p) || err != nil || !bytes.Equal(p, content) {
				t.Errorf("ReadAt = %d, %v", n, err)
			}
			clear(p)
			if n, err := v.Read(p[:testBlock]); n != testBlock || err != nil {
				t.Errorf("Read = %d, %v", n, err)
			}
			if n, err := v.Read(p[testBlock:]); n != len(p)-testBlock || err != nil || !bytes.Equal(p, content) {
				t.Errorf("Read = %d, %v", n, err)
			}
			if n, err := v.Read(p[:testBlock]); n != 0 || err != io.EOF {
				t.Errorf("Read at the end = %d, %v", n, err)
			}
			if n, err := v.Write(p[:2*testBlock]); n != 2*testBlock || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			content = append(content, p[:2*testBlock]...)
			if pos, err := v.Seek(0, io.SeekCurrent); pos != int64(len(content)) || err != nil {
				t.Errorf("after Write, flag %#x, the cursor is at %d, %v; want %d", flag, pos, err, len(content))
			}
			if err := v.Sync(); err != nil {
				t.Errorf("Sync: %v", err)
			}
			if n, err := v.ReadAt(p[:testBlock], -1); n != 0 || err == nil || !strings.Contains(err.Error(), "negative offset") {
				t.Errorf("ReadAt before the file = %d, %v", n, err)
			}
			n, err := v.WriteAt(p[:testBlock], testBlock)
			if flag&os.O_APPEND != 0 && (n != 0 || err == nil || !strings.Contains(err.Error(), "O_APPEND")) {
				t.Errorf("WriteAt in append mode = %d, %v", n, err)
			}
			if flag&os.O_APPEND == 0 && (n != testBlock || err != nil) {
				t.Errorf("WriteAt = %d, %v", n, err)
			}
			if flag&os.O_APPEND == 0 {
				copy(content[testBlock:], p[:testBlock])
			}
			f.Close()
			for _, call := range hungCalls {
				if call.name == "WriteAt" && flag&os.O_APPEND != 0 {
					continue // os.File, too, says that first
				}
				if _, err := call.call(v, p[:testBlock]); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("%s of a closed file: %v", call.name, err)
				}
			}
			if err := v.SetDeadline(time.Time{}); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("SetDeadline of a closed file: %v", err)
			}
			wantContent(t, name, content)
		}
	})
}

// TestDeadlineWriteAtRefused: what is refused anyhow is refused the same way when
// the deadline is over.
func TestDeadlineWriteAtRefused(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		v := open(name, os.O_RDWR|os.O_APPEND).File()
		osf, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer osf.Close()
		v.SetDeadline(longAgo)
		for _, off := range []int64{0, -1} {
			p := AlignedBuffer(testBlock)
			_, got := v.WriteAt(p, off)
			_, want := osf.WriteAt(p, off)
			sameError(t, got, want)
		}
	})
}

// TestDeadlineAppend: a Write in append mode, under a deadline, goes where the
// file ends, and takes the cursor there.
func TestDeadlineAppend(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(8*testBlock, 1)
		name := putFile(t, content)
		v := open(name, os.O_RDWR|os.O_APPEND).File()
		v.SetDeadline(time.Now().Add(time.Hour))
		more := testPattern(maxPrivate+testBlock, 2)
		for range 3 {
			if n, err := v.Write(more); n != len(more) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
			content = append(content, more...)
			if pos, err := v.Seek(0, io.SeekCurrent); pos != int64(len(content)) || err != nil {
				t.Errorf("the cursor is at %d, %v; want %d", pos, err, len(content))
			}
			v.Seek(testBlock, io.SeekStart)
		}
		wantContent(t, name, content)
	})
}

// TestDeadlineStorm reads and writes under deadlines that come at any moment,
// and looks at every slice afterwards.
func TestDeadlineStorm(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		const blocks = 16
		name := putFile(t, make([]byte, blocks*testBlock))
		v := open(name, os.O_RDWR).File()
		var all sync.WaitGroup
		stop := make(chan struct{})
		var moves sync.WaitGroup
		moves.Go(func() {
			r := rand.New(rand.NewPCG(3, 4))
			for {
				select {
				case <-stop:
					return
				default:
					v.SetDeadline(time.Now().Add(time.Duration(r.IntN(400)) * time.Microsecond))
					runtime.Gosched()
				}
			}
		})
		for g := range blocks {
			all.Go(func() {
				// Each block belongs to one goroutine, and holds one value all
				// over, which no torn or late write of another may disturb.
				p, q := AlignedBuffer(testBlock), AlignedBuffer(testBlock)
				for i := range 30 {
					for j := range p {
						p[j] = byte(g<<4 | i&15)
					}
					_, err := v.WriteAt(p, int64(g*testBlock))
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("WriteAt: %v", err)
					}
					for j := range p {
						p[j] = 0x5A // must not reach the file
					}
					for j := range q {
						q[j] = 0xA5
					}
					n, err := v.ReadAt(q, int64(g*testBlock))
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("ReadAt: %v", err)
					}
					runtime.Gosched() // time for an operation that was given up
					for _, b := range q[n:] {
						if b != 0xA5 {
							t.Error("a read that was given up changed the slice")
							return
						}
					}
					for _, b := range q[:n] {
						if b != 0 && int(b>>4) != g {
							t.Errorf("block %d holds %#x", g, b)
							return
						}
					}
				}
			})
		}
		all.Wait()
		close(stop)
		moves.Wait()
		v.Close()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range data {
			if g := i / testBlock; b != 0 && int(b>>4) != g {
				t.Fatalf("at the end block %d holds %#x", g, b)
			}
		}
	})
}

// TestNoDeadlineCostsNothing: a file that has no deadline allocates no more than
// an os.File does, which is nothing.
func TestNoDeadlineCostsNothing(t *testing.T) {
	name := putFile(t, testPattern(testBlock, 1))
	osf, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer osf.Close()
	v := openTest(t, name, os.O_RDWR).File()
	p := make([]byte, 512)
	calls := map[string]func(f interface {
		io.ReadWriteSeeker
		io.ReaderAt
		io.WriterAt
		io.StringWriter
	}) error{}
	type file = interface {
		io.ReadWriteSeeker
		io.ReaderAt
		io.WriterAt
		io.StringWriter
	}
	calls["ReadAt"] = func(f file) error { _, err := f.ReadAt(p, 0); return err }
	calls["WriteAt"] = func(f file) error { _, err := f.WriteAt(p, 0); return err }
	calls["Seek and Read"] = func(f file) error { f.Seek(0, io.SeekStart); _, err := f.Read(p); return err }
	calls["Seek and Write"] = func(f file) error { f.Seek(0, io.SeekStart); _, err := f.Write(p); return err }
	calls["WriteString"] = func(f file) error { _, err := f.WriteString("string"); return err }
	for what, call := range calls {
		run := func(f file) float64 {
			return testing.AllocsPerRun(100, func() {
				if err := call(f); err != nil {
					t.Fatal(err)
				}
			})
		}
		if got, want := run(v), run(osf); got > want {
			t.Errorf("%s: %v allocations, os.File has %v", what, got, want)
		}
	}
	v.SetDeadline(time.Now().Add(time.Hour))
	v.SetDeadline(time.Time{}) // again none
	if got := testing.AllocsPerRun(100, func() { v.ReadAt(p, 0) }); got > 0 {
		t.Errorf("ReadAt after the deadline was taken away: %v allocations", got)
	}
}

// TestDeadlineOnSlowDevice has a real device take longer than a call waits.
func TestDeadlineOnSlowDevice(t *testing.T) {
	if testing.Short() {
		t.Skip("a slow device is slow")
	}
	inChild(t, func(t *testing.T) {
		content := testPattern(64*testBlock, 8)
		name := putFile(t, content)
		needDirect(t)
		f := openTest(t, name, os.O_RDWR, WithBackend(BackendAIO), WithDirect(DirectRequire))
		if err := f.File().Sync(); err != nil {
			t.Fatal(err)
		}
		relax := throttle(t, name)
		v := f.File()
		p := bytes.Repeat([]byte{7}, testBlock)
		var err error
		for i := 0; i < 20 && err == nil; i++ { // the first may pass free
			v.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			for j := range p {
				p[j] = 7
			}
			_, err = v.ReadAt(p, int64(i*testBlock))
		}
		if err == nil {
			relax()
			t.Skip("the device cannot be made slow")
		}
		wantTimeout(t, err, "read", name)
		relax()
		if err := f.Close(); err != nil { // waits for the read
			t.Fatal(err)
		}
		if !bytes.Equal(p, bytes.Repeat([]byte{7}, testBlock)) {
			t.Error("the read that was given up changed the slice")
		}
	})
}

// throttle lets the process make two reads a second from the device that holds
// name, until relax is called, or skips the test.
func throttle(t *testing.T, name string) (relax func()) {
	t.Helper()
	const root = "/sys/fs/cgroup/blkio"
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	stat := reflect.Indirect(reflect.ValueOf(info.Sys()))
	if stat.Kind() != reflect.Struct || !stat.FieldByName("Dev").IsValid() {
		t.Skip("no device number")
	}
	dev := reflect.ValueOf(stat.FieldByName("Dev").Interface()).Convert(reflect.TypeFor[uint64]()).Uint()
	group := filepath.Join(root, fmt.Sprintf("asyncfile-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o777); err != nil {
		t.Skipf("no way to slow a device down: %v", err)
	}
	write := func(file, text string) error { return os.WriteFile(file, []byte(text), 0) }
	limit := func(rate int) error {
		return write(filepath.Join(group, "blkio.throttle.read_iops_device"),
			fmt.Sprintf("%d:%d %d", dev>>8&0xfff, dev&0xff|dev>>12&0xfff00, rate))
	}
	relax = sync.OnceFunc(func() {
		limit(0)
		write(filepath.Join(root, "cgroup.procs"), fmt.Sprint(os.Getpid()))
		if err := os.Remove(group); err != nil && !errors.Is(err, syscall.EBUSY) {
			t.Errorf("cannot remove the control group: %v", err)
		}
	})
	t.Cleanup(relax)
	err = limit(2)
	if err == nil {
		err = write(filepath.Join(group, "cgroup.procs"), fmt.Sprint(os.Getpid()))
	}
	if err != nil {
		relax()
		t.Skipf("no way to slow the device down: %v", err)
	}
	return relax
}

// TestAbandonedWrite: what is written to where a write that was given up may still come
// waits for that, whichever call it is, and so is not undone by it.
func TestAbandonedWrite(t *testing.T) {
	first, second := bytes.Repeat([]byte{1}, testBlock), bytes.Repeat([]byte{2}, testBlock)
	for _, c := range []struct {
		name string
		call func(v *File) (int64, error)
	}{
		{"Write", func(v *File) (int64, error) { return count(v.Write(second)) }},
		{"WriteString", func(v *File) (int64, error) { return count(v.WriteString(string(second))) }},
		{"WriteAt", func(v *File) (int64, error) { return count(v.WriteAt(second, 0)) }},
		{"ReadFrom", func(v *File) (int64, error) { return v.ReadFrom(bytes.NewReader(second)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			kernel, f, mem := openHung(t, 8)
			v := f.File()
			v.SetDeadline(time.Now().Add(time.Hour))
			done := goCall(func() (int64, error) { return count(v.Write(first)) })
			kernel.Await(1)
			v.SetDeadline(longAgo)
			wantTimeout(t, (<-done).err, "write", f.Name())

			v.SetDeadline(soon())
			begun := kernel.Counts().SubmittedOps
			n, err := c.call(v)
			wantTimeout(t, err, "write", f.Name())
			if n != 0 || kernel.Counts().SubmittedOps != begun {
				t.Errorf("%d bytes, %d operations beside the late one", n, kernel.Counts().SubmittedOps-begun)
			}
			if pos, err := v.Seek(0, io.SeekCurrent); pos != 0 || err != nil {
				t.Errorf("the cursor is at %d, %v", pos, err)
			}
			v.SetDeadline(time.Now().Add(time.Hour))
			done = goCall(func() (int64, error) { return c.call(v) })
			elsewhere := goCall(func() (int64, error) { return count(v.WriteAt(first, 5*testBlock)) })
			release(kernel)
			for _, r := range []outcomeOfCall{<-done, <-elsewhere} {
				if r.n != testBlock || r.err != nil {
					t.Errorf("afterwards %d, %v", r.n, r.err)
				}
			}
			if !bytes.Equal(mem.Bytes()[:testBlock], second) {
				t.Error("the late write undid the later one")
			}
		})
	}
}

// TestAbandonedWrites has writes given up at any moment, by the cursor and elsewhere, and
// looks for those that succeeded.
func TestAbandonedWrites(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		f := open(name, os.O_RDWR)
		v := f.File()
		stop := make(chan struct{})
		var moves sync.WaitGroup
		moves.Go(func() {
			r := rand.New(rand.NewPCG(5, 6))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r.IntN(4) == 0 {
					v.SetWriteDeadline(time.Time{})
				} else {
					v.SetWriteDeadline(time.Now().Add(time.Duration(r.IntN(200)) * time.Microsecond))
				}
				runtime.Gosched()
			}
		})
		const each, size = 60, 512
		var wrote [cursorGoroutines][]uint32
		var all sync.WaitGroup
		for g := range cursorGoroutines {
			all.Go(func() {
				for i := range each {
					id := uint32(g*each + i)
					n, err := v.Write(record(id, size))
					if n == size && err == nil {
						wrote[g] = append(wrote[g], id)
					} else if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("Write = %d, %v", n, err)
					}
				}
			})
		}
		all.Wait()
		close(stop)
		moves.Wait()
		pos, err := v.Seek(0, io.SeekCurrent)
		if err != nil {
			t.Error(err)
		}
		f.Close()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var want []uint32
		for _, ids := range wrote {
			want = append(want, ids...)
		}
		if pos != int64(len(want)*size) {
			t.Errorf("the cursor is at %d after %d records", pos, len(want))
		}
		got, err := records(data[:min(int(pos), len(data))])
		slices.Sort(got)
		slices.Sort(want)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d records of %d that were written, %v", len(got), len(want), err)
		}
		t.Logf("%d of %d in time", len(want), cursorGoroutines*each)
	})
}

// TestAbandonedReads has reads at the cursor given up at any moment: what they were
// to have is had by others.
func TestAbandonedReads(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		const n, size = 100, 512
		var content []byte
		for i := range n {
			content = append(content, record(uint32(i), size)...)
		}
		v := open(putFile(t, content), os.O_RDWR).File()
		stop := make(chan struct{})
		var moves sync.WaitGroup
		moves.Go(func() {
			r := rand.New(rand.NewPCG(7, 8))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if i%4 == 0 {
					v.SetReadDeadline(time.Time{})
				} else {
					v.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(200)) * time.Microsecond))
				}
				runtime.Gosched()
			}
		})
		var got [cursorGoroutines][]uint32
		var late [cursorGoroutines]int
		var all sync.WaitGroup
		for g := range cursorGoroutines {
			all.Go(func() {
				p := AlignedBuffer(size)
				for {
					m, err := v.Read(p)
					switch {
					case errors.Is(err, os.ErrDeadlineExceeded) && m == 0:
						late[g]++
						continue
					case err == io.EOF:
						return
					case m != size || err != nil:
						t.Errorf("Read = %d, %v", m, err)
						return
					}
					ids, err := records(p)
					if err != nil {
						t.Error(err)
					}
					got[g] = append(got[g], ids...)
				}
			})
		}
		all.Wait()
		close(stop)
		moves.Wait()
		if err := once(slices.Concat(got[:]...), n); err != nil {
			t.Error(err)
		}
		t.Logf("given up: %v", late)
	})
}
