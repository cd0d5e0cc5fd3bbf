package asyncfile

import (
	"strings"
	"sync"
	"testing/synctest"

	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/order"
)

// newVerified returns the bounce buffers of a Ring that verifies.
func newVerified() *bouncePool { return &bouncePool{verifier: testVerifier()} }

// testVerifier returns a verifier that panics where a test can recover.
func testVerifier() *verifier {
	v := newVerifier()
	v.fail = func(message string) { panic(message) }
	return v
}

func canaries(n int) []byte { return bytes.Repeat([]byte{canaryByte}, n) }

func TestVerifyIsOfTheEnvironment(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv(verifyEnv, value)
		r, err := NewRing(WithBackend(BackendPool))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.bounces.get(4)[0] == canaryByte; got != want || r.verifier != nil != want {
			t.Errorf("%s=%q: verifies %v, canaries %v; want %v", verifyEnv, value, r.verifier != nil, got, want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A bounce buffer comes full of canaries, whoever had it before.
func TestCanaryFillsBuffers(t *testing.T) {
	pools := newVerified()
	for _, n := range []int{1, 512, 4096, 5000, maxBounce, maxBounce + 4096} {
		for range 2 { // new, and reused
			b := pools.get(n)
			if !bytes.Equal(b[:cap(b)], canaries(cap(b))) {
				t.Errorf("a buffer of %d bytes holds something else", n)
			}
			clear(b)
			pools.put(b)
		}
	}
}

func TestCanaryFindsStrayWrites(t *testing.T) {
	panics := func(call func()) (yes bool) {
		defer func() { yes = recover() != nil }()
		call()
		return false
	}
	pools := newVerified()
	b := pools.get(512)
	b[:cap(b)][512] = 0
	if !panics(func() { pools.put(b) }) {
		t.Error("a byte behind the transfer was written, and nobody saw it")
	}
	seen := false
	for range 100 { // under the race detector a sync.Pool drops some
		pools = newVerified()
		b = pools.get(512)
		pools.put(b)
		b[511] = 0
		seen = seen || panics(func() { pools.get(1) })
	}
	if !seen {
		t.Error("a byte of an idle buffer was written, and nobody saw it")
	}
	pools = newVerified()
	b = pools.get(512)
	clear(b)
	if panics(func() { pools.put(b); pools.get(512) }) {
		t.Error("a buffer was used as it should be, and somebody complained")
	}
}

// findings are what a verifier has found, which goes on.
type findings struct {
	mu   sync.Mutex
	list []string
}

func (f *findings) add(message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, message)
}

// take returns the first finding, and forgets all.
func (f *findings) take() (first string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) > 0 {
		first = f.list[0]
	}
	f.list = nil
	return first
}

type jobFunc func()

func (f jobFunc) Run() { f() }

// Each invariant is broken once, and found where the library itself looks.
func TestVerifyFinds(t *testing.T) {
	const block = 512
	at := func(n int64) Op { return Op{Buf: make([]byte, block), Offset: n * block} }
	write := func(n int64) Op { op := at(n); op.Kind = OpWrite; return op }
	for _, tt := range []struct {
		name, want string
		breaks     func(s *scripted)
	}{
		{
			"a write's buffer", "the buffer of #0 write 512+512 3.1 of FILE changed while it was being written.",
			func(s *scripted) {
				s.hold()
				op := write(1)
				future := s.submit(s.direct, op)[0]
				s.settle()
				op.Buf[block-1]++
				s.kernel.Held()[0].Complete()
				future.Wait()
			},
		},
		{
			"the second buffer of a write that is continued", "the buffer of #0 writev 0+1024 3.2 of FILE changed while it was being written.",
			func(s *scripted) {
				bufs := [][]byte{make([]byte, block), make([]byte, block)}
				s.record(func(i int, _ *aiotest.Op) aiotest.Verdict {
					if i == 0 {
						return aiotest.Short(block)
					}
					bufs[1][0]++
					return aiotest.Do()
				})
				s.direct.WritevAt(bufs, 0).Wait()
			},
		},
		{
			"the buffer of a write that waits for a worker", "the buffer of #0 write 0+512 3.1 of FILE changed while it was being written.",
			func(s *scripted) {
				free := make(chan struct{})
				for range defaultWorkers {
					s.worker.lane.Go(jobFunc(func() { <-free }))
				}
				op := write(0)
				future := s.worker.Submit(op)[0]
				op.Buf[0]++
				close(free)
				future.Wait()
			},
		},
		{
			"an order without sense", "the order of a file contradicts itself: order: the open epoch has -1 writes.",
			func(s *scripted) {
				f := &s.direct.sequence
				settle := func(times int) {
					f.mu.Lock()
					defer f.mu.Unlock()
					e := new(order.Entry[turn])
					f.order.Enter(e, order.Write, 0, block)
					_, owed := f.order.Release(e)
					for range times {
						f.order.Settle(owed)
					}
				}
				settle(3)
				s.direct.WriteAt(make([]byte, block), 0).Wait()
				settle(0)
				settle(0)
			},
		},
		{
			"a Sync that does not wait", "#0 sync may go, but is behind writes: 1 are not delivered.",
			func(s *scripted) {
				s.hold()
				futures := s.submit(s.direct, write(0), Op{Kind: OpSync})
				s.settle()
				f := &s.direct.sequence
				f.mu.Lock()
				s.ring.verifier.sequence(f.order, &s.ring.core.Client(2).(*operation).entry)
				f.mu.Unlock()
				s.kernel.OnOp(nil)
				s.kernel.Held()[0].Complete()
				WaitAll(futures...)
			},
		},
	} {
		if raceEnabled() && strings.Contains(tt.want, "while it was being written") {
			continue // the race detector finds it, too
		}
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boundBubble(t)
				s := newScripted(t, aiotest.New(4), WithQueueDepth(4))
				s.inBubble = true
				s.settle()
				var found findings
				v := newVerifier()
				v.fail = found.add
				s.ring.verify(v)
				tt.breaks(s)
				s.kernel.OnOp(nil)
				message := strings.ReplaceAll(strings.ReplaceAll(found.take(), s.direct.name, "FILE"), s.worker.name, "FILE")
				got, rest, _ := strings.Cut(strings.TrimPrefix(message, "asyncfile: ASYNCFILE_VERIFY: "), ".\n")
				if got += "."; got != tt.want {
					t.Errorf("found %q\n want %q", got, tt.want)
				}
				if lines := strings.Split(rest, "\n"); len(lines) != 2 {
					t.Errorf("%q says not what it means and what to do", message)
				}
				if n, err := s.direct.WriteAt(make([]byte, block), 0).Wait(); n != block || err != nil {
					t.Errorf("afterwards: %d, %v", n, err)
				}
				if more := found.take(); more != "" {
					t.Errorf("afterwards: %s", more)
				}
			})
		})
	}
}

// What is found is told, whatever the program has deferred: here a recover, and a
// Close that waits for an operation which never ends.
func TestVerifyCrashes(t *testing.T) {
	if os.Getenv(verifyEnv) == "crash" {
		os.Setenv(verifyEnv, "1")
		s := newScripted(t, aiotest.New(4), WithQueueDepth(4))
		defer func() { recover() }()
		defer s.ring.Close()
		s.hold()
		p := make([]byte, 512)
		future := s.direct.WriteAt(p, 0)
		s.direct.WriteAt(make([]byte, 512), 512) // is not answered
		s.direct.lane.Ask()
		op := s.kernel.Await(2)[0]
		p[0]++
		op.Complete()
		future.Wait()
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestVerifyCrashes$")
	cmd.Env = append(os.Environ(), verifyEnv+"=crash")
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("the program ended with %v, %v", err, ctx.Err())
	}
	for _, want := range []string{
		"panic: asyncfile: ASYNCFILE_VERIFY: the buffer of #0 write 0+512 ",
		"\n\tThe file may hold old bytes, new ones, or some of each.\n",
		"\n\tFrom the call until Done the buffer is the library's",
		"asyncfile.(*Ring).observes", // by the one that found it
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is not in its output:\n%s", want, out)
		}
	}
}
