package copying

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// problems collects what Copy tells of.
type problems struct {
	mu   sync.Mutex
	list []error
}

func (p *problems) add(_ string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, err)
}

// copied copies src to dst, which is to be exactly the copy, without a problem.
func copied(t *testing.T, src, dst string, o Options) Summary {
	t.Helper()
	var p problems
	o.Problem, o.Exactly = p.add, true
	s, err := Copy(t.Context(), src, dst, o)
	if err != nil || len(p.list) > 0 {
		t.Fatal(err, p.list)
	}
	return s
}

// describe writes down all that a copy is to keep of a tree: a line a name.
func describe(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%q mode %o owner %d:%d modified %d", rel, st.Mode, st.Uid, st.Gid, st.Mtim.Nano())
		if names, _ := listXattrs(name); len(names) > 0 {
			for _, n := range names {
				value, _ := getXattr(name, n)
				fmt.Fprintf(&b, " %s=%q", n, value)
			}
		}
		switch {
		case st.Nlink > 1 && !d.IsDir() && first[st.Ino] != "":
			fmt.Fprintf(&b, " is %q", first[st.Ino])
		case d.Type()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(name)
			fmt.Fprintf(&b, " to %q", to)
		case d.Type().IsRegular():
			first[st.Ino] = rel
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d bytes, hash %x", len(content), hash(string(content)))
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// randomTree makes a tree of everything that there may be in one.
func randomTree(t *testing.T, root string, random *rand.Rand) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(os.Mkdir(root, 0o755))
	dirs, files := []string{root}, []string{}
	name := func() string {
		odd := []string{"a", "line\nbreak", "sp ace", "-dash", "\xff\xfe", "ü", strings.Repeat("n", 250), ".asyncfile-part", "'\""}
		return filepath.Join(dirs[random.IntN(len(dirs))], fmt.Sprint(random.IntN(1000))+odd[random.IntN(len(odd))])
	}
	for range 60 {
		to := name()
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		switch random.IntN(8) {
		case 0:
			must(os.Mkdir(to, fs.FileMode(0o700|random.IntN(0o77))))
			dirs = append(dirs, to)
		case 1:
			must(os.Symlink(name(), to))
		case 2:
			if len(files) > 0 {
				must(os.Link(files[random.IntN(len(files))], to))
			}
		case 3:
			must(unix.Mkfifo(to, 0o640))
		default:
			content := make([]byte, random.IntN(3)*random.IntN(300_000))
			for i := range content {
				content[i] = byte(random.Uint32())
			}
			must(os.WriteFile(to, content, 0o600))
			if random.IntN(3) == 0 { // a hole
				must(os.Truncate(to, int64(len(content)+random.IntN(1_000_000))))
			}
			if err := unix.Setxattr(to, "user.note", []byte("kept\x00"), 0); err != nil && err != unix.ENOTSUP {
				t.Fatal(err)
			}
			must(os.Chmod(to, fs.FileMode(0o400|random.IntN(0o400))))
			if random.IntN(3) == 0 {
				must(os.Chmod(to, 0o755|fs.ModeSetuid))
			}
			files = append(files, to)
		}
	}
	for _, name := range append(dirs, files...) {
		must(os.Chtimes(name, time.Unix(random.Int64N(1e9), 1), time.Unix(random.Int64N(1e9), random.Int64N(1e9))))
	}
}

// Everything that there may be in a tree is copied, whatever the options; and copied once
// more over itself, and resumed, it stays.
func TestTrees(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 5))
		dir := t.TempDir()
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		randomTree(t, src, random)
		want := describe(t, src)
		for _, o := range []Options{{}, {Direct: Always, Block: 64 << 10, Depth: 3}, {Resume: true}, {Reflink: Never, Verify: true, Sync: true, AtOnce: 1}, {Direct: Never}} {
			s := copied(t, src, dst, o)
			if got := describe(t, dst); got != want {
				t.Fatalf("seed %d, %+v: got\n%s\nwant\n%s", seed, o, got, want)
			}
			if o.Resume && s.Files > 0 {
				t.Errorf("seed %d: %d files were copied once more", seed, s.Files)
			}
		}
	}
}

// fileOf makes a file of data and holes: each letter is a piece of so many bytes, '-' a hole.
func fileOf(t *testing.T, name, plan string, piece int) []byte {
	t.Helper()
	var want []byte
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, c := range plan {
		p := make([]byte, piece)
		if c != '-' {
			for k := range p {
				p[k] = byte(c) + byte(k>>9)
			}
			if _, err := f.WriteAt(p, int64(i*piece)); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, p...)
	}
	if err := errors.Join(f.Truncate(int64(len(want))), f.Sync()); err != nil {
		t.Fatal(err)
	}
	return want
}

// Holes stay holes, in small files and large ones, by every way.
func TestHoles(t *testing.T) {
	for _, piece := range []int{64 << 10, 1 << 20} {
		for _, plan := range []string{"-", "--a", "a--", "-a-b-c-", "abcde"} {
			for _, o := range []Options{{}, {Direct: Always}, {Direct: Always, Block: 4096 * 5, Depth: 2}, {Direct: Never}} {
				dir := t.TempDir()
				src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
				want := fileOf(t, src, plan, piece)
				uncache(t, src)
				s := copied(t, src, dst, o)
				if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%q of %d, %+v: the copy differs, %v", plan, piece, o, err)
				}
				holes := int64(strings.Count(plan, "-") * piece)
				if s.Cloned == 0 && (s.Holes != holes || s.Bytes != int64(len(want))-holes) {
					t.Errorf("%q of %d, %+v: %+v, want %d bytes of holes", plan, piece, o, s, holes)
				}
				var a, b unix.Stat_t
				unix.Stat(src, &a)
				unix.Stat(dst, &b)
				if b.Blocks > a.Blocks+16 {
					t.Errorf("%q of %d, %+v: %d blocks of 512 bytes, and the source has %d", plan, piece, o, b.Blocks, a.Blocks)
				}
			}
		}
	}
}

func uncache(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// A copy that is interrupted, at any place, leaves no file under its name, and a part that
// Resume continues; what it continues is right even where the source has changed.
func TestResume(t *testing.T) {
	const size = 21 << 20
	resumed := int64(0)
	for _, o := range []Options{{}, {Direct: Always, Depth: 2}} {
		for _, stop := range []int64{1, 17 << 20, size - 1} {
			for _, change := range []bool{false, true} {
				dir := t.TempDir()
				src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
				want := fileOf(t, src, strings.Repeat("abc", size/3>>20), 1<<20)
				uncache(t, src)
				ctx, cancel := context.WithCancel(t.Context())
				interrupted := o
				var moved int64
				var mu sync.Mutex
				interrupted.Progress = func(n int64) {
					mu.Lock()
					defer mu.Unlock()
					if moved += n; moved >= stop {
						cancel()
					}
				}
				if _, err := Copy(ctx, src, dst, interrupted); !errors.Is(err, context.Canceled) {
					t.Fatalf("%+v, at %d: %v", o, stop, err)
				}
				if _, err := os.Lstat(dst); err == nil && moved < size {
					t.Fatalf("%+v: a half-written file under its name", o)
				}
				if change {
					want[0]++
					os.WriteFile(src, want, 0o600)
				}
				again := o
				again.Resume = true
				s := copied(t, src, dst, again)
				if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%+v, at %d, changed %v: the copy differs, %v, %+v", o, stop, change, err, s)
				}
				resumed += s.Resumed
				if change && s.Resumed > 0 {
					t.Errorf("%+v, at %d: the part of another file was continued", o, stop)
				}
				if left, _ := os.ReadDir(dir); len(left) != 2 {
					t.Errorf("%+v, at %d: %v", o, stop, left)
				}
			}
		}
	}
	if resumed == 0 {
		t.Error("nothing was ever continued")
	}
}

// What was killed leaves a part that nobody can trust: it is written anew.
func TestKilledPart(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	want := fileOf(t, src, "abcdefgh", 1<<20)
	if err := os.WriteFile(partName(dst), make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := copied(t, src, dst, Options{Resume: true}); s.Resumed != 0 {
		t.Errorf("%+v", s)
	}
	if got, _ := os.ReadFile(dst); !bytes.Equal(got, want) {
		t.Error("the copy differs")
	}
}

// Two copies to the same place at once do not mix.
func TestBusy(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	fileOf(t, src, "ab", 4096)
	held, err := os.Create(partName(dst))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var p problems
	if s, err := Copy(t.Context(), src, dst, Options{Problem: p.add}); err != nil || s.Problems != 1 || !errors.Is(p.list[0], ErrBusy) {
		t.Errorf("%+v, %v, %v", s, err, p.list)
	}
}

// What cannot be copied at all is refused before anything is touched.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	os.MkdirAll(in("tree/sub"), 0o755)
	os.WriteFile(in("file"), []byte("x"), 0o600)
	os.Symlink("file", in("link"))
	for _, c := range []struct {
		src, dst string
		want     error
	}{
		{"absent", "new", fs.ErrNotExist},
		{"file", "file", ErrSameFile},
		{"file", "link", ErrSameFile},
		{"tree", "tree/sub", ErrInside},
		{"tree", "tree/sub/new", ErrInside},
		{"tree", "tree", ErrInside},
		{"file", "new/", syscall.ENOTDIR},
	} {
		dst := dir + "/" + c.dst
		if _, err := Copy(t.Context(), in(c.src), dst, Options{}); !errors.Is(err, c.want) {
			t.Errorf("%s to %s: %v, want %v", c.src, c.dst, err, c.want)
		}
	}
}

// Into a directory a name is added, as cp does; a device is not replaced.
func TestTargets(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	os.MkdirAll(in("tree/sub"), 0o755)
	os.Mkdir(in("into"), 0o755)
	os.WriteFile(in("file"), []byte("x"), 0o600)
	for _, c := range [][3]string{{"file", "into", "into/file"}, {"tree", "into", "into/tree/sub"}, {"tree/.", "into", "into/sub"}, {"tree", "new", "new/sub"}} {
		if _, err := Copy(t.Context(), dir+"/"+c[0], in(c[1]), Options{}); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(in(c[2])); err != nil {
			t.Errorf("%s to %s: %v", c[0], c[1], err)
		}
	}
	for name, want := range map[string]error{"fifo": ErrSpecial, "dir": syscall.EISDIR} {
		if name == "fifo" {
			unix.Mkfifo(in(name), 0o600)
		} else {
			os.Mkdir(in(name), 0o700)
		}
		var p problems
		if _, err := Copy(t.Context(), in("file"), in(name), Options{Problem: p.add, Exactly: true}); err != nil || len(p.list) != 1 || !errors.Is(p.list[0], want) {
			t.Errorf("%s: %v, %v", name, err, p.list)
		}
	}
}

// What happens to the source meanwhile is told, and the other files are copied.
func TestMovingSource(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(file string) error
		want    error
		copied  bool
	}{
		"grows":    {func(file string) error { return os.Truncate(file, 20<<20) }, ErrChanged, true},
		"shrinks":  {func(file string) error { return os.Truncate(file, 5<<20) }, ErrShrank, false},
		"vanishes": {os.Remove, nil, true}, // it is open, and is read to its end
		"replaced": {func(file string) error { return os.Rename(file+".other", file) }, nil, true},
	} {
		for _, o := range []Options{{AtOnce: 1}, {AtOnce: 1, Direct: Always, Depth: 2}} {
			dir := t.TempDir()
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			os.Mkdir(src, 0o755)
			file := filepath.Join(src, "a")
			fileOf(t, file, strings.Repeat("abcd", 5), 1<<20) // more than kernelChunk
			fileOf(t, file+".other", "z", 1000)
			var once sync.Once
			var p problems
			o.Problem = p.add
			o.Progress = func(n int64) {
				if n > 1000 {
					once.Do(func() {
						if err := c.happens(file); err != nil {
							t.Error(err)
						}
					})
				}
			}
			if _, err := Copy(t.Context(), src, dst, o); err != nil {
				t.Fatal(err)
			}
			if c.want == nil && len(p.list) > 1 || c.want != nil && (len(p.list) != 1 || !errors.Is(p.list[0], c.want)) {
				t.Errorf("%s, %+v: %v, want %v", name, o.Direct, p.list, c.want)
			}
			if _, err := os.Lstat(filepath.Join(dst, "a")); (err == nil) != c.copied {
				t.Errorf("%s, %+v: %v", name, o.Direct, err)
			}
		}
	}
}

// A file that goes before its turn, and one that may not be read, are told; the rest is copied.
func TestVanishedAndUnreadable(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	os.Mkdir(src, 0o755)
	for i := range 20 {
		fileOf(t, filepath.Join(src, fmt.Sprintf("%02d", i)), "x", 5000)
	}
	os.Mkdir(filepath.Join(src, "closed"), 0)
	secret := filepath.Join(src, "05")
	os.Chmod(secret, 0)
	var p problems
	o := Options{AtOnce: 1, Problem: p.add}
	var once sync.Once
	o.Progress = func(int64) { once.Do(func() { os.Remove(filepath.Join(src, "15")) }) }
	if _, err := Copy(t.Context(), src, dst, o); err != nil {
		t.Fatal(err)
	}
	want := []error{fs.ErrNotExist}
	if os.Geteuid() != 0 {
		want = append(want, fs.ErrPermission, fs.ErrPermission)
	}
	if len(p.list) != len(want) {
		t.Fatalf("%v, want %v", p.list, want)
	}
	all := errors.Join(p.list...)
	for _, w := range want {
		if !errors.Is(all, w) {
			t.Errorf("%v, want %v", p.list, w)
		}
	}
	if left, _ := os.ReadDir(dst); len(left) != 21-len(want)+max(len(want)-2, 0) {
		t.Errorf("%d names in the copy, and these problems: %v", len(left), p.list)
	}
}

// A full file system fails the file that does not fit, and leaves no part of it.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	small := filepath.Join(dir, "small")
	os.Mkdir(small, 0o755)
	if err := unix.Mount("none", small, "tmpfs", 0, "size=2m"); err != nil {
		t.Skip("no file system can be mounted: ", err)
	}
	defer unix.Unmount(small, 0)
	src := filepath.Join(dir, "src")
	os.Mkdir(src, 0o755)
	fileOf(t, filepath.Join(src, "large"), "abcdefgh", 1<<20)
	fileOf(t, filepath.Join(src, "medium"), "abc", 1<<20)
	fileOf(t, filepath.Join(src, "tiny"), "a", 1000)
	for _, o := range []Options{{AtOnce: 1}, {AtOnce: 1, Direct: Always}} {
		var p problems
		o.Problem = p.add
		if _, err := Copy(t.Context(), src, small, o); err != nil {
			t.Fatal(err)
		}
		if len(p.list) != 2 || !errors.Is(p.list[0], syscall.ENOSPC) || !errors.Is(p.list[1], syscall.ENOSPC) {
			t.Errorf("%+v: %v", o, p.list)
		}
		if left, _ := os.ReadDir(filepath.Join(small, "src")); len(left) != 1 || left[0].Name() != "tiny" {
			t.Errorf("%+v: %v", o, left)
		}
	}
}
