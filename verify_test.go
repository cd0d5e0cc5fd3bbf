package asyncfile

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

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
					s.worker.core.Lane.Go(jobFunc(func() { <-free }))
				}
				op := write(0)
				future := s.worker.Submit(op)[0]
				op.Buf[0]++
				close(free)
				future.Wait()
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
				s.ring.files.Verify(found.add)
				tt.breaks(s)
				s.kernel.OnOp(nil)
				message := strings.ReplaceAll(strings.ReplaceAll(found.take(), s.direct.Name(), "FILE"), s.worker.Name(), "FILE")
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
	if os.Getenv(file.VerifyEnv) == "crash" {
		os.Setenv(file.VerifyEnv, "1")
		s := newScripted(t, aiotest.New(4), WithQueueDepth(4))
		defer func() { recover() }()
		defer s.ring.Close()
		s.hold()
		p := make([]byte, 512)
		future := s.direct.WriteAt(p, 0)
		s.direct.WriteAt(make([]byte, 512), 512) // is not answered
		s.direct.core.Lane.Ask()
		op := s.kernel.Await(2)[0]
		p[0]++
		op.Complete()
		future.Wait()
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestVerifyCrashes$")
	cmd.Env = append(os.Environ(), file.VerifyEnv+"=crash")
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		t.Errorf("the program ended with %v, %v", err, ctx.Err())
	}
	for _, want := range []string{
		"panic: asyncfile: ASYNCFILE_VERIFY: the buffer of #0 write 0+512 ",
		"\n\tThe file may hold old bytes, new ones, or some of each.\n",
		"\n\tFrom the call until Done the buffer is the library's",
		"file.(*Group).observes", // by the one that found it
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("%q is not in its output:\n%s", want, out)
		}
	}
}
