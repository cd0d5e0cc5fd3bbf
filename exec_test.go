package asyncfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// execChild returns a command that runs the calling test again, in which isChild is
// true.
func execChild(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Skipf("cannot start the test again: %v", err)
	}
	root, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.Command(exe, append([]string{"-test.run=^" + root + "$", "--"}, args...)...)
	cmd.Env = append(os.Environ(), childEnv+"="+root)
	cmd.Stderr = os.Stderr
	return cmd
}

func isChild(t *testing.T) bool { return os.Getenv(childEnv) == t.Name() }

// childLines is how many lines each child of TestExecAtOnce prints.
const childLines = 300

// TestExecAtOnce has two children print to one File, and a goroutine write beside
// them: every line is there.
func TestExecAtOnce(t *testing.T) {
	if isChild(t) {
		for i := range childLines {
			fmt.Printf("%s prints line %d\n", os.Args[len(os.Args)-1], i)
		}
		os.Exit(0)
	}
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		v := open(name, os.O_RDWR).File()
		want := map[string]int{}
		var all sync.WaitGroup
		for _, who := range []string{"first", "second"} {
			cmd := execChild(t, who)
			cmd.Stdout = v
			all.Go(func() {
				if err := cmd.Run(); err != nil {
					t.Error(err)
				}
			})
		}
		for _, who := range []string{"first", "second", "third"} {
			for i := range childLines {
				line := fmt.Sprintf("%s prints line %d", who, i)
				want[line]++
				if who == "third" {
					if _, err := v.WriteString(line + "\n"); err != nil {
						t.Error(err)
					}
				}
			}
		}
		all.Wait()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
			if want[s.Text()]--; want[s.Text()] < 0 {
				t.Errorf("%q is not to be there", s.Text())
			}
		}
		lost := 0
		for _, n := range want {
			lost += max(n, 0)
		}
		if lost > 0 {
			t.Errorf("%d lines of %d are lost", lost, len(want))
		}
	})
}

// TestExecSeenAtOnce: what a child prints is in the file while it waits, as a log
// has to be.
func TestExecSeenAtOnce(t *testing.T) {
	if isChild(t) {
		fmt.Println("it has begun")
		io.ReadAll(os.Stdin)
		fmt.Println("it ends")
		os.Exit(0)
	}
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		cmd := execChild(t)
		cmd.Stdout = open(name, os.O_RDWR).File()
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer in.Close()
		eventually(t, "the line is in the file", func() bool {
			data, err := os.ReadFile(name)
			return err != nil || string(data) == "it has begun\n"
		})
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		wantContent(t, name, []byte("it has begun\nit ends\n"))
	})
}

// TestDup hands duplicates to children.
func TestDup(t *testing.T) {
	if isChild(t) {
		_, err := io.CopyN(os.Stdout, os.Stdin, 10)
		if err != nil && err != io.EOF {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	run := func(t *testing.T, in, out *File) {
		t.Helper()
		cmd := execChild(t)
		for _, end := range []struct {
			f  *File
			to func(*os.File)
		}{{in, func(f *os.File) { cmd.Stdin = f }}, {out, func(f *os.File) { cmd.Stdout = f }}} {
			osf, err := end.f.Dup()
			if err != nil {
				t.Fatal(err)
			}
			defer osf.Close()
			end.to(osf)
		}
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
	}
	file := func(t *testing.T, content string) *File {
		return openTest(t, putFile(t, []byte(content)), os.O_RDWR).File()
	}
	t.Run("file", func(t *testing.T) {
		in, out := file(t, "0123456789, and what the child does not read"), file(t, "")
		out.WriteString("before ")
		run(t, in, out)
		if rest, err := io.ReadAll(in); string(rest) != ", and what the child does not read" || err != nil {
			t.Errorf("behind the child is %q, %v", rest, err)
		}
		out.WriteString(" after")
		wantContent(t, out.Name(), []byte("before 0123456789 after"))
	})
	t.Run("idle pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		f, err := New(r)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		osf, err := f.File().Dup()
		if err != nil {
			t.Fatal(err)
		}
		defer osf.Close()
		if flags, err := aio.StatusFlags(int(osf.Fd())); err != nil || flags&syscall.O_NONBLOCK != 0 {
			t.Errorf("a child would find flags %#x, %v", flags, err)
		}
		w.WriteString("0123456789and more")
		out := file(t, "")
		run(t, f.File(), out) // returns, although the pipe stays open
		wantContent(t, out.Name(), []byte("0123456789"))
	})
	t.Run("refused", func(t *testing.T) {
		f := openDirect(t, putFile(t, nil), os.O_RDWR)
		if osf, err := f.File().Dup(); osf != nil || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Dup of a direct file: %v, %v", osf, err)
		}
		closed := file(t, "")
		closed.Close()
		if osf, err := closed.Dup(); osf != nil || !errors.Is(err, fs.ErrClosed) {
			t.Errorf("Dup of a closed file: %v, %v", osf, err)
		}
		if osf, err := (*File)(nil).Dup(); osf != nil || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("Dup of nil: %v, %v", osf, err)
		}
	})
	t.Run("close", func(t *testing.T) {
		f := file(t, "content")
		osf, err := f.Dup()
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		if data, err := io.ReadAll(osf); string(data) != "content" || err != nil {
			t.Errorf("after Close: %q, %v", data, err)
		}
		if osf.Name() != f.Name() {
			t.Errorf("its name is %q", osf.Name())
		}
		osf.Close()
	})
	for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
		t.Run(fmt.Sprint("at once, deadline ", !until.IsZero()), func(t *testing.T) {
			// Calls by the duplicate have no turns, only the kernel's cursor.
			f := file(t, "")
			f.SetDeadline(until)
			osf, err := f.Dup()
			if err != nil {
				t.Fatal(err)
			}
			defer osf.Close()
			const each = 2000
			var all sync.WaitGroup
			for g, w := range []io.Writer{f, osf, f, osf} {
				all.Go(func() {
					for i := range each {
						if _, err := w.Write(record(uint32(g*each+i), 64)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			data, err := os.ReadFile(f.Name())
			if err != nil {
				t.Fatal(err)
			}
			ids, err := records(data)
			if err == nil {
				err = once(ids, 4*each)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAppendCursor has several handles in append mode write records: whoever wrote
// finds the cursor behind its own.
func TestAppendCursor(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		const handles, each = 4, 60
		var at [handles * each]int64
		var all sync.WaitGroup
		for g := range handles {
			v := open(name, os.O_RDWR|os.O_APPEND).File()
			if g%2 == 0 {
				v.SetDeadline(time.Now().Add(time.Hour))
			}
			all.Go(func() {
				for i := range each {
					id := g*each + i
					p := record(uint32(id), 8+id*7%testBlock)
					if _, err := v.Write(p); err != nil {
						t.Error(err)
					}
					pos, err := v.Seek(0, io.SeekCurrent)
					if err != nil {
						t.Error(err)
					}
					at[id] = pos - int64(len(p))
				}
			})
		}
		all.Wait()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wrong := 0
		for id, at := range at {
			if p := record(uint32(id), 8+id*7%testBlock); at < 0 || at > int64(len(data)) || !bytes.HasPrefix(data[at:], p) {
				wrong++
			}
		}
		if wrong > 0 {
			t.Errorf("%d records of %d are not where the cursor says", wrong, handles*each)
		}
	})
}

// TestAppendWhole: a Write in append mode is one, however long, under a deadline too.
func TestAppendWhole(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		const writers, each, size = 3, 3, 2*maxPrivate + 8
		var all sync.WaitGroup
		for g := range writers {
			v := open(name, os.O_RDWR|os.O_APPEND).File()
			v.SetDeadline(time.Now().Add(time.Hour))
			all.Go(func() {
				for i := range each {
					if n, err := v.Write(record(uint32(g*each+i), size)); n != size || err != nil {
						t.Errorf("Write = %d, %v", n, err)
					}
				}
			})
		}
		all.Wait()
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := records(data)
		if err == nil {
			err = once(ids, writers*each)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
