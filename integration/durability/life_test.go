package durability

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A life is one run of a child, from its start to its violent end.
type life struct {
	work
	reported map[string]map[int]int64 // by job and record: its offset

	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string // what the child says; closed at the end
}

// newLife prepares a life in dir, of one job or a few: with fewer, less is flushed
// for another's sake.
func newLife(t *testing.T, r *rand.Rand, dir string, broken breach) *life {
	t.Helper()
	l := &life{work: work{Dir: dir}, reported: make(map[string]map[int]int64), lines: make(chan string)}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 1 + r.IntN(3) {
		j := draw(r, fmt.Sprint("file", i), broken)
		if err := j.prepare(dir); err != nil {
			t.Fatal(err)
		}
		l.Jobs = append(l.Jobs, j)
		l.reported[j.Name] = make(map[int]int64)
	}
	syncTree(t, dir)
	return l
}

// syncTree makes dir and its files be there after any loss of power.
func syncTree(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{dir, filepath.Dir(dir)} {
		d, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// start starts the child.
func (l *life) start(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(l.work)
	if err != nil {
		t.Fatal(err)
	}
	l.cmd = exec.Command(os.Args[0])
	l.cmd.Env = append(os.Environ(), childWork+"="+string(text))
	l.cmd.Stderr = os.Stderr
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go l.read(out)
}

// read passes on what the child says. A line that was cut off is nothing said.
func (l *life) read(out io.Reader) {
	defer close(l.lines)
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		l.lines <- strings.TrimSpace(line)
	}
}

// take notes what the child has said. It reports whether there is more to come.
func (l *life) take(line string) (more bool, err error) {
	if line == "done" {
		return false, nil
	}
	if text, ok := strings.CutPrefix(line, "error "); ok {
		return false, errors.New(text)
	}
	words := strings.Fields(line)
	if len(words) != 3 {
		return false, fmt.Errorf("the child says %q", line)
	}
	i, err := strconv.Atoi(words[1])
	off, err2 := strconv.ParseInt(words[2], 10, 64)
	l.reported[words[0]][i] = off
	return true, errors.Join(err, err2)
}

// kill ends the child, and passes on what it had said.
func (l *life) kill(t *testing.T, last func(line string)) {
	t.Helper()
	l.cmd.Process.Kill()
	for line := range l.lines {
		last(line)
	}
	err := l.cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
	l.stdin.Close()
}

// count returns how many records were reported.
func (l *life) count() (n int) {
	for _, records := range l.reported {
		n += len(records)
	}
	return n
}

// missing looks for all records in the files under dir, and tells of those that are
// not there.
func (l *life) missing(dir string) (problems []string) {
	for _, j := range l.Jobs {
		f, err := os.Open(filepath.Join(dir, filepath.Base(l.Dir), j.Name))
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		for i, off := range l.reported[j.Name] {
			want, at := j.record(i)
			if at >= 0 && at != off {
				problems = append(problems, fmt.Sprintf("%v: record %d at %d was reported at %d", j, i, at, off))
			}
			got := make([]byte, len(want))
			if n, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
				problems = append(problems, fmt.Sprintf("%v: record %d of %d bytes at %d was reported as durable and is not there: %d bytes, %v; %s",
					j, i, len(want), off, n, err, difference(got, want)))
			}
		}
		f.Close()
	}
	return problems
}

// times is how often something is to be done: ASYNCFILE_TIMES says so for long runs.
func times(t *testing.T, short, normal int) int {
	t.Helper()
	if text := os.Getenv("ASYNCFILE_TIMES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return normal
}

// seeded returns a source of randomness for the test, and its seed, which
// ASYNCFILE_SEED repeats. The moments of processes are not the same again.
func seeded(t *testing.T) (*rand.Rand, uint64) {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("ASYNCFILE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ASYNCFILE_SEED=%d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// difference tells where two records differ, in sectors.
func difference(got, want []byte) string {
	const sector = 512
	first, last, count, zeros := -1, -1, 0, 0
	for at := 0; at < len(want); at += sector {
		p := got[at:min(at+sector, len(got))]
		if bytes.Equal(p, want[at:at+len(p)]) {
			continue
		}
		if last = at / sector; first < 0 {
			first = last
		}
		if count++; len(bytes.Trim(p, "\x00")) == 0 {
			zeros++
		}
	}
	return fmt.Sprintf("%d sectors from %d to %d differ, of which %d are zeros", count, first, last, zeros)
}
