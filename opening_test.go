package asyncfile

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// bygone is how old the files are that are opened: what is younger was changed.
var bygone = time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)

// openStates are the states in which the name may be that is opened.
var openStates = map[string]func(name string) error{
	"absent":   func(string) error { return nil },
	"empty":    func(name string) error { return os.WriteFile(name, nil, 0o644) },
	"full":     func(name string) error { return os.WriteFile(name, testPattern(10_001, 1), 0o644) },
	"one page": func(name string) error { return os.WriteFile(name, testPattern(4096, 1), 0o666) },
	"allocated behind the end": func(name string) error {
		return errors.Join(os.WriteFile(name, []byte("short"), 0o644), keepSize(name))
	},
	"empty, allocated": func(name string) error {
		return errors.Join(os.WriteFile(name, nil, 0o644), keepSize(name))
	},
	"sparse": func(name string) error { return errors.Join(os.WriteFile(name, nil, 0o644), os.Truncate(name, 1<<20)) },
	"set-user-ID": func(name string) error {
		return errors.Join(os.WriteFile(name, []byte("#!"), 0o644), os.Chmod(name, 0o755|fs.ModeSetuid|fs.ModeSetgid))
	},
	"read-only":  func(name string) error { return os.WriteFile(name, []byte("text"), 0o444) },
	"write-only": func(name string) error { return os.WriteFile(name, []byte("text"), 0o222) },
	"no mode":    func(name string) error { return os.WriteFile(name, []byte("text"), 0) },
	"directory":  func(name string) error { return os.Mkdir(name, 0o755) },
	"link": func(name string) error {
		return errors.Join(os.WriteFile(name+".to", testPattern(5000, 1), 0o644), os.Symlink(filepath.Base(name)+".to", name))
	},
	"link to nothing": func(name string) error { return os.Symlink(filepath.Base(name)+".to", name) },
	"link to itself":  func(name string) error { return os.Symlink(filepath.Base(name), name) },
	"link to a directory": func(name string) error {
		return errors.Join(os.Mkdir(name+".to", 0o755), os.Symlink(filepath.Base(name)+".to", name))
	},
	"second name": func(name string) error {
		return errors.Join(os.WriteFile(name+".to", testPattern(5000, 1), 0o644), os.Link(name+".to", name))
	},
	"FIFO":                func(name string) error { return exec.Command("mkfifo", name).Run() },
	"another's, readable": func(name string) error { return os.Symlink(theirs("0644"), name) },
	"another's, closed":   func(name string) error { return os.Symlink(theirs("0600"), name) },
	"another's, writable": func(name string) error {
		os.WriteFile(theirs("0666"), testPattern(5000, 2), 0) // if there is one
		return os.Symlink(theirs("0666"), name)
	},
	"null": func(name string) error { return os.Symlink(os.DevNull, name) },
	"proc": func(name string) error { return os.Symlink("/proc/self/limits", name) },
}

// asNobodyAmongOthers begins a process without privileges, for which there are
// files of somebody else's, with the modes that their names say.
const asNobodyAmongOthers = `mkdir "$D/theirs"
for mode in 0644 0600 0666; do
  echo theirs >"$D/theirs/$mode"
  chmod $mode "$D/theirs/$mode"
done
umask 027; ` + asNobody

// theirs is the file of somebody else with such a mode.
func theirs(mode string) string { return filepath.Join(os.Getenv("D"), "theirs", mode) }

// keepSize allocates blocks for a file behind its end.
func keepSize(name string) error {
	if err := exec.Command("fallocate", "-n", "-l", "65536", name).Run(); err != nil {
		return fmt.Errorf("fallocate: %w", err)
	}
	return nil
}

// openFlags are what an opening may have. Where the system has no such flag, or
// this does not know its number, it is 0.
var openFlags = []int{
	os.O_CREATE, os.O_TRUNC, os.O_EXCL, os.O_APPEND, os.O_SYNC, syscall.O_NONBLOCK, aio.OPath, aio.ODirect,
	linuxFlag(0o400000),   // O_NOFOLLOW
	linuxFlag(0o200000),   // O_DIRECTORY
	linuxFlag(0o20200000), // O_TMPFILE
	linuxFlag(0o1000000),  // O_NOATIME
}

// linuxFlag returns a number of asm-generic/fcntl.h, where it is right.
func linuxFlag(flag int) int {
	if runtime.GOOS == "linux" && slices.Contains([]string{"amd64", "386", "riscv64", "loong64", "s390x"}, runtime.GOARCH) {
		return flag
	}
	return 0
}

// An opening is one case: what is there, how it is opened, and what is done then.
type opening struct {
	state string
	flag  int
	perm  fs.FileMode
	opts  string
	calls []int // of openCalls
}

// openOptions are the options to open with; what they are called begins with
// "direct" where they ask for O_DIRECT.
var openOptions = map[string][]Option{
	"none":        nil,
	"pool":        {WithBackend(BackendPool)},
	"AIO":         {WithBackend(BackendAIO)},
	"direct":      {WithDirect(DirectPrefer)},
	"direct pool": {WithDirect(DirectPrefer), WithBackend(BackendPool)},
}

// openCalls are made on what was opened.
var openCalls = []func(f osMethods) []any{
	func(f osMethods) []any { n, err := f.Read(make([]byte, 7)); return list(n, err) },
	func(f osMethods) []any { n, err := f.Write([]byte("seven.")); return list(n, err) },
	func(f osMethods) []any { n, err := f.ReadAt(make([]byte, 100), 9_950); return list(n, err) },
	func(f osMethods) []any { n, err := f.WriteAt([]byte("at"), 4_095); return list(n, err) },
	func(f osMethods) []any { return list(f.Truncate(4_100)) },
	func(f osMethods) []any { return list(f.Truncate(0)) },
	func(f osMethods) []any { return list(f.Sync()) },
	func(f osMethods) []any { n, err := f.Seek(0, io.SeekEnd); return list(n, err) },
	func(f osMethods) []any { names, err := f.Readdirnames(1); return list(names, err) },
	func(f osMethods) []any { return list(f.Chmod(0o640)) }, // the last
}

// sorted returns the keys of m in order, so that a seed means the same.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func randomOpening(rng *rand.Rand) (o opening) {
	pick := func(keys []string) string { return keys[rng.IntN(len(keys))] }
	o.state, o.opts = pick(sorted(openStates)), pick(sorted(openOptions))
	o.flag = []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_RDWR}[min(rng.IntN(10), 9)%10*4/10]
	for _, flag := range openFlags {
		likely := 10
		if flag == os.O_CREATE || flag == os.O_TRUNC {
			likely = 2
		}
		if rng.IntN(likely) == 0 {
			o.flag |= flag
		}
	}
	o.perm = []fs.FileMode{0o666, 0o600, 0o444, 0o755, 0, 0o4755, 0o666 | fs.ModeSticky, 0o700 | fs.ModeSetuid}[rng.IntN(8)]
	for range rng.IntN(4) {
		o.calls = append(o.calls, rng.IntN(len(openCalls)))
	}
	switch o.state {
	case "FIFO":
		o.flag |= syscall.O_NONBLOCK
		o.calls = nil // they would wait for its other end
	case "null", "proc":
		// These are everybody's: no call may change them.
		o.calls = slices.DeleteFunc(o.calls, func(call int) bool { return call == len(openCalls)-1 })
	}
	if aio.ODirect != 0 && o.flag&aio.ODirect != 0 {
		o.calls = nil // os.File leaves alignment to its caller
	}
	return o
}

func (o opening) String() string {
	return fmt.Sprintf("%s, flags %#o, mode %v, options %s, calls %v", o.state, o.flag, o.perm, o.opts, o.calls)
}

// TestDifferentialOpen opens files in all states with all flags, with os.OpenFile and
// with OpenFile, and compares the errors, and what there is of and about the file
// then, and after some calls, and after Close.
func TestDifferentialOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the states are those of Linux")
	}
	home := t.TempDir()
	t.Chdir(home) // and back at the end
	differentialOpen(t, home)
}

// TestDifferentialOpenUnprivileged is TestDifferentialOpen for whom permissions are for.
func TestDifferentialOpenUnprivileged(t *testing.T) {
	needRoot(t)
	inShell(t, asNobodyAmongOthers, func(t *testing.T, dir string) {
		t.Chdir(dir)
		differentialOpen(t, dir)
	})
}

func differentialOpen(t *testing.T, home string) {
	seed := differentialSeed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	opened, steps := 0, differentialSteps(t)/8
	for step := range steps {
		o := randomOpening(rng)
		want := in(t, home, o.state, func() []any {
			return o.run(t, func() (osMethods, error) { return os.OpenFile("f", o.flag, o.perm) })
		})
		got := in(t, home, o.state, func() []any {
			return o.run(t, func() (osMethods, error) {
				f, err := OpenFile("f", o.flag, o.perm, openOptions[o.opts]...)
				return f.File(), err
			})
		})
		if want[0] == nil {
			opened++
		}
		if o.compare(t, got, want); t.Failed() {
			t.Fatalf("step %d: %v", step, o)
		}
	}
	t.Logf("%d of %d openings succeeded, without a difference", opened, steps)
}

// in runs body in a directory, with f in the given state there, that is gone
// afterwards.
func in(t *testing.T, home, state string, body func() []any) []any {
	t.Helper()
	dir := filepath.Join(home, "here")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chdir(dir), openStates[state]("f")); err != nil {
		t.Fatalf("%s: %v", state, err)
	}
	defer func() {
		if err := errors.Join(os.Chdir(home), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	}()
	return body()
}

// run opens f and makes the calls, and returns all that can be seen.
func (o opening) run(t *testing.T, open func() (osMethods, error)) (seen []any) {
	accessed := age(t)
	f, err := open()
	seen = append(list(err), look(t)...)
	for _, e := range accessed { // later calls read
		seen = append(seen, e())
	}
	if err != nil {
		return seen
	}
	if info, err := f.Stat(); err == nil {
		seen = append(seen, info.Name(), info.Mode(), info.Size(), statField(info, "Blocks"))
	}
	cursor, err := f.Seek(0, io.SeekCurrent)
	seen = append(seen, cursor, err)
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			flags, err := aio.StatusFlags(int(fd))
			if strings.HasPrefix(o.opts, "direct") {
				flags &^= aio.ODirect
			}
			seen = append(seen, flags, err)
		})
	}
	for _, call := range o.calls {
		seen = append(seen, results(f, openCalls[call])...)
	}
	seen = append(seen, look(t)...)
	seen = append(seen, f.Close(), f.Close())
	seen = append(seen, look(t)...)
	if info, err := os.Stat("f"); err == nil && info.Mode().IsRegular() {
		data, err := os.ReadFile("f")
		seen = append(seen, len(data), crc32.ChecksumIEEE(data), err)
	}
	return seen
}

// age makes what is in the current directory old, and returns functions that
// tell whether it was read since.
func age(t *testing.T) (accessed []func() bool) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			continue // would age what it leads to
		}
		if err := os.Chtimes(e.Name(), bygone, bygone); err != nil {
			t.Fatal(err)
		}
		before, err := os.Lstat(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		accessed = append(accessed, func() bool {
			info, err := os.Lstat(e.Name())
			return err == nil && !reflect.DeepEqual(statField(info, "Atim"), statField(before, "Atim"))
		})
	}
	return accessed
}

// madeUp is what CreateTemp puts into a name.
var madeUp = regexp.MustCompile("[0-9]{2,}")

// look returns what there is to see in the current directory.
func look(t *testing.T) (seen []any) {
	t.Helper()
	entries, err := os.ReadDir(".")
	seen = list(len(entries), err)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, madeUp.ReplaceAllString(e.Name(), "#"), info.Mode(), info.Size(), info.ModTime().Equal(bygone),
			statField(info, "Nlink"), statField(info, "Uid"), statField(info, "Gid"))
	}
	return seen
}

// statField returns a field of what stat(2) says, nil where it has no such.
func statField(info fs.FileInfo, name string) any {
	v := reflect.ValueOf(info.Sys())
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil
	}
	if v = v.Elem().FieldByName(name); !v.IsValid() {
		return nil
	}
	return v.Interface()
}

// compare compares what was seen.
func (o opening) compare(t *testing.T, got, want []any) {
	gotErr, _ := got[0].(error)
	wantErr, _ := want[0].(error)
	if aio.ODirect != 0 && o.flag&aio.ODirect != 0 && errors.Is(gotErr, errors.ErrUnsupported) && errors.Is(gotErr, syscall.EINVAL) {
		// Refused with more words than EINVAL, and also a pipe, to which the flag
		// means something else.
		if !errors.Is(wantErr, syscall.EINVAL) && o.state != "FIFO" {
			t.Errorf("error %v, os.OpenFile has %v", gotErr, wantErr)
		}
		return
	}
	sameResults(t, got, want)
}

// TestDifferentialFiles compares WriteFile, ReadFile, CreateTemp and what DirFS
// has with package os, on files in all states.
func TestDifferentialFiles(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the states are those of Linux")
	}
	home := t.TempDir()
	t.Chdir(home) // and back at the end
	differentialFiles(t, home)
}

// TestDifferentialFilesUnprivileged is TestDifferentialFiles for whom permissions
// are for.
func TestDifferentialFilesUnprivileged(t *testing.T) {
	needRoot(t)
	inShell(t, asNobodyAmongOthers, func(t *testing.T, dir string) {
		t.Chdir(dir)
		differentialFiles(t, dir)
	})
}

func differentialFiles(t *testing.T, home string) {
	rng := rand.New(rand.NewPCG(differentialSeed(t), 1))
	steps := differentialSteps(t) / 16
	for step := range steps {
		o := randomOpening(rng)
		if o.state == "FIFO" {
			continue // has no second end
		}
		size := []int{0, 1, 511, 4096, 4097, 10_001, 100_000, 300_001}[rng.IntN(8)]
		name := []string{"f", "f", "f", "f/g", "nowhere/f", "", ".", "f\x00"}[rng.IntN(8)]
		pattern := []string{"made", "made*", "made*.txt", "f/made*", ""}[rng.IntN(5)]
		theirs, ours := os.DirFS("."), DirFS(".", openOptions[o.opts]...)
		fsys := func(fsys fs.FS, f func(fsys fs.FS, name string) []any) func() []any {
			return func() []any { return f(fsys, name) }
		}
		readDir := func(fsys fs.FS, name string) []any {
			entries, err := fs.ReadDir(fsys, name)
			return list(fmt.Sprint(entries), err)
		}
		readFile := func(fsys fs.FS, name string) []any {
			data, err := fs.ReadFile(fsys, name)
			return list(data, err)
		}
		walk := func(fsys fs.FS, name string) []any {
			seen := list()
			err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
				seen = append(seen, path, fmt.Sprint(d), err)
				return nil
			})
			return append(seen, err)
		}
		made := func(f osMethods, err error) []any {
			if err != nil {
				return list("", errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR))
			}
			defer f.Close()
			n, err := f.Write(make([]byte, 100))
			dir, base := filepath.Split(f.Name())
			return list(dir, madeUp.ReplaceAllString(base, "#"), n, err)
		}
		pairs := [][2]func() []any{
			{
				func() []any { return list(os.WriteFile(name, testPattern(size, 1), o.perm)) },
				func() []any { return list(WriteFile(name, testPattern(size, 1), o.perm, openOptions[o.opts]...)) },
			}, {
				func() []any { data, err := os.ReadFile(name); return list(data, err) },
				func() []any { data, err := ReadFile(name, openOptions[o.opts]...); return list(data, err) },
			}, {
				func() []any { f, err := os.CreateTemp(".", pattern); return made(f, err) },
				func() []any { f, err := CreateTemp(".", pattern, openOptions[o.opts]...); return made(f.File(), err) },
			},
			{fsys(theirs, readDir), fsys(ours, readDir)},
			{fsys(theirs, readFile), fsys(ours, readFile)},
			{fsys(theirs, walk), fsys(ours, walk)},
		}
		which := rng.IntN(len(pairs))
		var seen [2][]any
		for i, call := range pairs[which] {
			seen[i] = in(t, home, o.state, func() []any {
				age(t)
				return append(call(), look(t)...)
			})
		}
		if sameResults(t, seen[1], seen[0]); t.Failed() {
			t.Fatalf("step %d: pair %d of %q, %q, %d bytes; %v", step, which, name, pattern, size, o)
		}
	}
	t.Logf("%d calls without a difference", steps)
}
