package asyncfile

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// TestRaceDetector has the race detector see every use of a buffer that the
// kernel has, and no other.
func TestRaceDetector(t *testing.T) {
	if !raceEnabled() {
		t.Skip("built without -race")
	}
	if os.Getenv(childEnv) == t.Name() {
		useBuffers(t)
		return
	}
	needDirect(t)
	cmd := childCommand(t)
	cmd.Env = append(cmd.Env, "GORACE=suppress_equal_stacks=0 suppress_equal_addresses=0")
	out, _ := cmd.CombinedOutput() // races make it fail
	cases := strings.Split(string(out), "\ncase: ")[1:]
	if len(cases) < 100 {
		t.Fatalf("%d cases:\n%s", len(cases), out)
	}
	for _, c := range cases {
		name, report, _ := strings.Cut(c, "\n")
		races, wanted := strings.Contains(report, "DATA RACE"), strings.HasSuffix(name, " races")
		if races != wanted {
			t.Errorf("%s: seen %v:\n%s", name, races, report)
		}
		if races && !strings.Contains(report, "bufferCase") {
			t.Errorf("%s: the report does not say where the operation began:\n%s", name, report)
		}
	}
}

// useBuffers uses buffers in flight, and afterwards, in every way. It prints the
// name of each case. Each has a buffer of its own: the race detector looks no
// more at what it has reported.
func useBuffers(t *testing.T) {
	kernel, scripted := openScripted(t, 1)
	pool := openTest(t, putFile(t, testPattern(4*testBlock, 1)), os.O_RDWR, WithBackend(BackendPool), WithDirect(DirectRequire))
	for kind := OpRead; kind <= OpAppend; kind++ {
		for _, shape := range []string{"aligned", "unaligned"} {
			for _, byte := range []string{"first", "inner", "last"} {
				for _, use := range []string{"read", "changed"} {
					what := fmt.Sprintf("%v %s %s byte %s", kind, shape, byte, use)
					c := bufferCase{"aio " + what, scripted, func() { kernel.Await(1)[0].Complete() }, kind, shape, byte, use}
					c.run(t)
					c.name, c.file, c.complete = "pool "+what, pool, func() {}
					c.run(t)
				}
			}
		}
	}
	fmt.Fprintln(os.Stderr, "\ncase: the end fine")
}

// A bufferCase is one use of one byte of a buffer.
type bufferCase struct {
	name             string
	file             *AsyncFile
	complete         func()
	kind             OpKind
	shape, byte, use string
}

// begin starts a case: it prints its name and returns an operation and the use
// of its buffer.
func (c *bufferCase) begin(when string, races bool) (op Op, use func()) {
	verdict := "fine"
	if races {
		verdict = "races"
	}
	fmt.Fprintf(os.Stderr, "\ncase: %s %s %s\n", c.name, when, verdict)
	buf := AlignedBuffer(3 * testBlock)
	if c.shape == "unaligned" {
		buf = buf[1 : len(buf)-1]
	}
	at := map[string]*byte{"first": &buf[0], "inner": &buf[7], "last": &buf[len(buf)-1]}[c.byte]
	op = Op{Kind: c.kind, Buf: buf}
	if c.kind.vectored() {
		op.Buf, op.Bufs = nil, [][]byte{buf[:5], buf[5:]}
	}
	if c.use == "changed" {
		return op, func() { *at++ }
	}
	return op, func() { runtime.KeepAlive(*at) }
}

func (c *bufferCase) run(t *testing.T) {
	q := NewQueue(1)
	defer closeQueue(t, q)
	var other sync.WaitGroup
	races := c.use == "changed" || !c.kind.writes()

	op, use := c.begin("in flight", races)
	future := c.file.Submit(op)[0]
	use()
	c.complete()
	future.Wait()

	op, use = c.begin("in flight, by another", races)
	if err := q.Submit(c.file, op, nil); err != nil {
		t.Fatal(err)
	}
	other.Go(use)
	c.complete()
	<-q.C()
	other.Wait()

	op, use = c.begin("before and after", false)
	for range 2 {
		use()
		future = c.file.Submit(op)[0]
		c.complete()
		future.Wait()
	}
	use()

	op, use = c.begin("after, by another", false)
	done := c.file.Submit(op)[0].Done()
	other.Go(func() {
		<-done
		use()
	})
	c.complete()
	other.Wait()

	op, use = c.begin("after, of a Queue", false)
	if err := q.Submit(c.file, op, nil); err != nil {
		t.Fatal(err)
	}
	other.Go(func() {
		<-q.C()
		use()
	})
	c.complete()
	other.Wait()
}
