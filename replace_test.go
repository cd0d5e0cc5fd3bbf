package asyncfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// tree tells what is in a folder: of each name what it is, and what it holds.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %d %.20q", len(data), data)
		case info.Mode()&os.ModeSymlink != 0:
			link, _ := os.Readlink(name)
			what += " to " + strings.ReplaceAll(link, dir, "DIR")
		}
		rel, _ := filepath.Rel(dir, name)
		found[rel] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func writes(p []byte) func(*Writer) error {
	return func(w *Writer) error {
		_, err := w.Write(p)
		return err
	}
}

// TestReplaceFileLikeWriteFile compares with what os.WriteFile leaves of the same folder:
// names, kinds, links, modes and contents.
func TestReplaceFileLikeWriteFile(t *testing.T) {
	prepare := map[string]func(dir, name string) error{
		"none":  func(dir, name string) error { return nil },
		"file":  func(dir, name string) error { return os.WriteFile(name, []byte("old"), 0o640) },
		"tight": func(dir, name string) error { return os.WriteFile(name, []byte("old"), 0o600) },
		"wide": func(dir, name string) error {
			return errors.Join(os.WriteFile(name, []byte("old"), 0o600), os.Chmod(name, 0o666)) // more than umask gives
		},
		"link": func(dir, name string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "target"), nil, 0o644), os.Symlink("target", name))
		},
		"link to nothing": func(dir, name string) error { return os.Symlink("nothing", name) },
		"absolute link":   func(dir, name string) error { return os.Symlink(filepath.Join(dir, "far"), name) },
		"links through a folder": func(dir, name string) error { // a/up is real/deep/.., which is real, not a
			return errors.Join(os.MkdirAll(filepath.Join(dir, "real", "deep"), 0o777),
				os.Symlink("real/deep", filepath.Join(dir, "a")),
				os.Symlink("a/../b", name), os.Symlink("../c", filepath.Join(dir, "real", "b")))
		},
		"link to itself":       func(dir, name string) error { return os.Symlink("name", name) },
		"folder":               func(dir, name string) error { return os.Mkdir(name, 0o777) },
		"link into no folder":  func(dir, name string) error { return os.Symlink("no/such", name) },
		"a long name's folder": func(dir, name string) error { return os.Mkdir(filepath.Join(dir, strings.Repeat("x", 255)), 0o777) },
	}
	for what, prepare := range prepare {
		for _, perm := range []os.FileMode{0o600, 0o666, 0o777, 0o444} {
			for _, size := range []int{0, 1, 3 << 20} {
				data := testPattern(size, uint64(size))
				var trees [2]map[string]string
				var errs [2]error
				for i, write := range []func(name string) error{
					func(name string) error { return os.WriteFile(name, data, perm) },
					func(name string) error { return ReplaceFile(name, perm, writes(data)) },
				} {
					dir := t.TempDir()
					name := filepath.Join(dir, "name")
					if err := prepare(dir, name); err != nil {
						t.Fatal(err)
					}
					errs[i] = write(name)
					trees[i] = tree(t, dir)
				}
				if (errs[0] == nil) != (errs[1] == nil) || !maps.Equal(trees[0], trees[1]) {
					t.Errorf("%s, %v, %d bytes: %v leaves %v; want %v and %v", what, perm, size, errs[1], trees[1], errs[0], trees[0])
				}
			}
		}
	}
}

// TestReplaceFileOptions has the options of OpenFile reach the temporary file.
func TestReplaceFileOptions(t *testing.T) {
	name := putFile(t, []byte("old"))
	data := testPattern(3*defaultBlockSize+77, 1)
	for _, opts := range [][]Option{
		{WithDirect(DirectPrefer)}, {WithBackend(BackendPool)}, {WithBackend(BackendPool), WithDirect(DirectPrefer)}, {WithQueueDepth(1)},
	} {
		err := ReplaceFile(name, 0o666, func(w *Writer) error {
			if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
				return err
			}
			return w.Close() // which need not be, and may be
		}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, name, data)
	}
}

// TestReplaceFileFails has every step fail: the old file stays, and no other.
func TestReplaceFileFails(t *testing.T) {
	failure := errors.New("no more data")
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	if err := os.WriteFile(name, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	want := tree(t, dir)
	half := func(w *Writer) error { w.Write(make([]byte, 3<<20)); return nil }
	var kept *Writer
	for what, c := range map[string]struct {
		name  string
		write func(*Writer) error
		opts  []Option
		is    error
	}{
		"write":         {name, func(w *Writer) error { half(w); kept = w; return failure }, nil, failure},
		"no write":      {name, nil, nil, os.ErrInvalid},
		"no name":       {"", half, nil, os.ErrInvalid},
		"a dot":         {dir + "/.", half, nil, os.ErrInvalid},
		"a slash":       {name + "/", half, nil, os.ErrInvalid},
		"a folder":      {folder, half, nil, os.ErrInvalid},
		"no folder":     {filepath.Join(dir, "no", "name"), half, nil, fs.ErrNotExist},
		"options":       {name, half, []Option{WithQueueDepth(-1)}, os.ErrInvalid},
		"closed Ring":   {name, half, []Option{WithRing(closedRing(t))}, fs.ErrClosed},
		"folder is one": {filepath.Join(name, "name"), half, nil, syscall.ENOTDIR},
		"a moved target": {name, func(w *Writer) error {
			return os.Remove(w.file.Name()) // by somebody else
		}, nil, fs.ErrNotExist},
	} {
		err := ReplaceFile(c.name, 0o666, c.write, c.opts...)
		if !errors.Is(err, c.is) {
			t.Errorf("%s: %v, want %v", what, err, c.is)
		}
		if got := tree(t, dir); !maps.Equal(got, want) {
			t.Errorf("%s: leaves %v, want %v", what, got, want)
		}
	}
	if _, err := kept.Write([]byte("late")); err == nil {
		t.Error("the Writer writes after ReplaceFile")
	}
	for what, leave := range map[string]func(){"panic": func() { panic("in write") }, "Goexit": runtime.Goexit} {
		var all sync.WaitGroup
		all.Go(func() {
			defer func() {
				if recover() == nil && what == "panic" {
					t.Error("the panic does not come through")
				}
			}()
			ReplaceFile(name, 0o666, func(w *Writer) error { half(w); leave(); return nil })
		})
		all.Wait()
		if got := tree(t, dir); !maps.Equal(got, want) {
			t.Errorf("%s leaves %v, want %v", what, got, want)
		}
	}
}

func closedRing(t *testing.T) *Ring {
	ring, err := NewRing(WithBackend(BackendPool))
	if err != nil {
		t.Fatal(err)
	}
	ring.Close()
	return ring
}

// TestReplaceFileDeviceFails has the kernel refuse one operation after the other: a
// write, or the fsync.
func TestReplaceFileDeviceFails(t *testing.T) {
	kernel := aiotest.New(64)
	s := newScripted(t, kernel)
	name := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(name, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	want := tree(t, filepath.Dir(name))
	kernel.AttachAny(aiotest.NewMem(nil))
	const operations = 4 + 1 // of as many blocks, and a Sync
	for bad := range operations + 1 {
		n := 0
		kernel.OnOp(func(*aiotest.Op) aiotest.Verdict {
			if n++; n-1 == bad {
				return aiotest.Fail(syscall.EIO)
			}
			return aiotest.Do()
		})
		err := ReplaceFile(name, 0o666, writes(make([]byte, 4*defaultBlockSize)), WithRing(s.ring), WithBackend(BackendAIO))
		if bad == operations {
			if err != nil || n != operations {
				t.Errorf("%d operations, %v", n, err)
			}
			break
		}
		var pathError *fs.PathError
		if !errors.Is(err, syscall.EIO) || !errors.As(err, &pathError) && pathError.Path != name {
			t.Errorf("operation %d fails: %v", bad, err)
		}
		if got := tree(t, filepath.Dir(name)); !maps.Equal(got, want) {
			t.Errorf("operation %d fails: leaves %v, want %v", bad, got, want)
		}
	}
	kernel.OnOp(nil)
	kernel.AttachAny(nil)
}

// TestReplaceFileKeepsOwner needs root, who may give files away.
func TestReplaceFileKeepsOwner(t *testing.T) {
	name := putFile(t, []byte("old"))
	if err := errors.Join(os.Chown(name, 1234, 4321), os.Chmod(name, 0o604)); err != nil {
		t.Skip(err)
	}
	if err := ReplaceFile(name, 0o777, writes([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if uid, gid, ok := aio.Owner(info); ok && (uid != 1234 || gid != 4321) || info.Mode() != 0o604 {
		t.Errorf("user %d, group %d, %v; want 1234, 4321, 0604", uid, gid, info.Mode())
	}
}

// TestReplaceFileAtOnce has many replace one file, and others read it.
func TestReplaceFileAtOnce(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	if err := ReplaceFile(name, 0o666, generation(0)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 20 {
				if err := ReplaceFile(name, 0o666, generation(g*1000+i)); err != nil {
					t.Error(err)
				}
				if _, err := generationOf(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := slices.Collect(maps.Keys(tree(t, dir))); !slices.Equal(got, []string{"name"}) {
		t.Errorf("left are %v", got)
	}
}

// TestReplaceFileLeftovers has temporary files there that nobody writes any more, and
// one that somebody writes.
func TestReplaceFileLeftovers(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "name")
	r := &replacement{base: "name"}
	leave := func(n int) {
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, r.tempName(i)), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	leave(5)
	other := filepath.Join(dir, ".other.0.replace")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used, err := os.Open(filepath.Join(dir, r.tempName(2)))
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	if err := tryLock(used); err != nil {
		t.Skip(err)
	}
	for _, want := range [][]string{
		{r.tempName(2), ".other.0.replace", "name"}, // somebody writes one of them
		{".other.0.replace", "name"},
	} {
		if err := ReplaceFile(name, 0o666, writes(nil)); err != nil {
			t.Fatal(err)
		}
		if left := slices.Sorted(maps.Keys(tree(t, dir))); !slices.Equal(left, want) {
			t.Errorf("left are %v, want %v", left, want)
		}
		used.Close()
		leave(2)
	}
}

// generation writes contents that tell which they are, and whether they are whole.
func generation(id int) func(*Writer) error {
	return func(w *Writer) error {
		if _, err := fmt.Fprintln(w, id); err != nil {
			return err
		}
		_, err := w.Write(generationBody(id))
		return err
	}
}

func generationBody(id int) []byte { return testPattern(1+id*7919%600_000, uint64(id)) }

// generationOf returns the id of what the file holds, or an error if that is not whole.
func generationOf(name string) (int, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	line, body, _ := bytes.Cut(data, []byte("\n"))
	id, err := strconv.Atoi(string(line))
	if err != nil || !bytes.Equal(body, generationBody(id)) {
		return 0, fmt.Errorf("%d bytes that begin with %.20q are not whole: %v", len(data), data, err)
	}
	return id, nil
}

// TestReplaceFileKilled kills a process that replaces a file again and again, hundreds of
// times: the file is the one that it told of last, or the next, and whole. What it was
// writing is gone when the next has replaced the file.
func TestReplaceFileKilled(t *testing.T) {
	const firstEnv, nameEnv = "ASYNCFILE_TEST_FIRST", "ASYNCFILE_TEST_NAME"
	if os.Getenv(childEnv) == t.Name() {
		opts := []Option{WithDirect(DirectMode(os.Getpid() % 2))}
		for id, _ := strconv.Atoi(os.Getenv(firstEnv)); ; id++ {
			if err := ReplaceFile(os.Getenv(nameEnv), 0o666, generation(id), opts...); err != nil {
				fmt.Println("failed:", err)
				os.Exit(1)
			}
			fmt.Println("replaced", id)
		}
	}
	kills := 300
	if testing.Short() {
		kills = 10
	}
	name := filepath.Join(t.TempDir(), "name")
	if err := ReplaceFile(name, 0o666, generation(0)); err != nil {
		t.Fatal(err)
	}
	acked, caught := 0, 0
	for kill := range kills {
		cmd := childCommand(t)
		cmd.Env = append(cmd.Env, firstEnv+"="+strconv.Itoa(acked+1), nameEnv+"="+name)
		before := acked
		acked = killAtRandom(t, cmd, acked)
		id, err := generationOf(name)
		if err != nil || id != acked && id != acked+1 {
			t.Fatalf("kill %d: generation %d, %v; the child told of %d", kill, id, err, acked)
		}
		acked = id
		names := slices.Sorted(maps.Keys(tree(t, filepath.Dir(name))))
		if len(names) > 1 {
			caught++
		}
		if want := []string{".name.0.replace", ".name.1.replace", "name"}; len(names) > 2 || !slices.Contains(want, names[0]) {
			t.Fatalf("kill %d, after %d to %d: left are %v", kill, before, acked, names)
		}
	}
	t.Logf("%d kills, %d of them with a temporary file there; %d generations", kills, caught, acked)
	if caught == 0 && !testing.Short() {
		t.Error("no kill came while a file was written")
	}
	if err := ReplaceFile(name, 0o666, generation(acked)); err != nil {
		t.Fatal(err)
	}
	if err := ReplaceFile(name, 0o666, generation(acked)); err != nil {
		t.Fatal(err)
	}
	if names := slices.Collect(maps.Keys(tree(t, filepath.Dir(name)))); len(names) != 1 {
		t.Errorf("at the end there are %v", names)
	}
}

// killAtRandom starts cmd, kills it after some lines, and returns the number in the last.
func killAtRandom(t *testing.T, cmd *exec.Cmd, last int) int {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	after := 1 + rand.IntN(3)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "replaced ")
		if !ok {
			if strings.HasPrefix(text, "failed") {
				t.Errorf("the child %s", text)
			}
			continue
		}
		if last, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		if after--; after == 0 {
			// Not a wait for anything: it moves the kill away from the line.
			time.AfterFunc(time.Duration(rand.IntN(4000))*time.Microsecond, func() { cmd.Process.Kill() })
		}
	}
	cmd.Wait()
	return last
}
