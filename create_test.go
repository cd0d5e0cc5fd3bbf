package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// backendOptions are the options to compare with os's functions.
func backendOptions(t *testing.T) map[string][]Option {
	t.Helper()
	all := map[string][]Option{"none": nil, "pool": {WithBackend(BackendPool)}}
	f, err := Open(os.DevNull, WithBackend(BackendAIO), WithQueueDepth(8))
	if err == nil {
		f.Close()
		if ring, err := NewRing(WithBackend(BackendAIO), WithQueueDepth(8)); err == nil {
			t.Cleanup(func() { ring.Close() })
			all["aio"] = []Option{WithRing(ring), WithBackend(BackendAIO)}
		}
	}
	return all
}

// TestReadFile compares with os.ReadFile, on all sorts of names.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	names := []string{
		filepath.Join(dir, "is not there"), dir, "", "/dev/null", "a\x00b",
		"/proc/version", "/proc/self/cmdline", "/proc/filesystems", "/proc/sys/kernel/ostype",
	}
	for _, size := range []int{0, 1, 511, 512, 513, defaultBlockSize - 1, defaultBlockSize, defaultBlockSize + 1, 3<<20 + 5} {
		name := filepath.Join(dir, fmt.Sprint(size))
		if err := os.WriteFile(name, testPattern(size, uint64(size)), 0o666); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	os.Symlink("513", filepath.Join(dir, "link"))
	names = append(names, filepath.Join(dir, "link"))
	for which, opts := range backendOptions(t) {
		for _, name := range names {
			t.Run(which+name, func(t *testing.T) {
				want, wantErr := os.ReadFile(name)
				got, err := ReadFile(name, opts...)
				sameError(t, err, wantErr)
				if !bytes.Equal(got, want) {
					t.Errorf("%d bytes, os.ReadFile has %d", len(got), len(want))
				}
			})
		}
	}
}

// TestReadFileOfFIFO: what has no offsets is read as well.
func TestReadFileOfFIFO(t *testing.T) {
	name := filepath.Join(t.TempDir(), "fifo")
	if err := exec.Command("mkfifo", name).Run(); err != nil {
		t.Skipf("no FIFO: %v", err)
	}
	content := testPattern(300_000, 1)
	var writer sync.WaitGroup
	writer.Go(func() {
		if err := os.WriteFile(name, content, 0); err != nil {
			t.Error(err)
		}
	})
	got, err := ReadFile(name)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(content))
	}
	writer.Wait()
}

// TestReadFileWhileItChanges: the size is no promise.
func TestReadFileWhileItChanges(t *testing.T) {
	name := putFile(t, nil)
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for size := int64(0); ; size = (size + 70_001) % 2_000_000 {
			select {
			case <-stop:
				return
			default:
				if err := os.Truncate(name, size); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 200 {
		data, err := ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		if i := slices.IndexFunc(data, func(b byte) bool { return b != 0 }); i >= 0 {
			t.Errorf("byte %d is not from the file", i)
		}
	}
	close(stop)
	writer.Wait()
}

// TestWriteFile compares with os.WriteFile.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	for which, opts := range backendOptions(t) {
		for _, size := range []int{0, 1, 513, defaultBlockSize + 1, 3<<20 + 5} {
			for _, state := range []string{"new", "longer", "read-only", "directory", "no directory"} {
				t.Run(fmt.Sprintf("%s/%s/%d", which, state, size), func(t *testing.T) {
					data := testPattern(size, uint64(size))
					name := filepath.Join(dir, "file")
					run := func(write func(string, []byte, os.FileMode) error) (error, []byte, os.FileMode) {
						os.RemoveAll(name)
						name := name
						switch state {
						case "longer":
							os.WriteFile(name, make([]byte, 4<<20), 0o640)
						case "read-only":
							os.WriteFile(name, nil, 0o400)
						case "directory":
							os.Mkdir(name, 0o777)
						case "no directory":
							name = filepath.Join(dir, "nowhere", "file")
						}
						err := write(name, data, 0o604)
						content, _ := os.ReadFile(name)
						var mode os.FileMode
						if info, err := os.Stat(name); err == nil {
							mode = info.Mode()
						}
						return err, content, mode
					}
					wantErr, want, wantMode := run(os.WriteFile)
					err, got, mode := run(func(name string, data []byte, perm os.FileMode) error {
						return WriteFile(name, data, perm, opts...)
					})
					sameError(t, err, wantErr)
					if !bytes.Equal(got, want) || mode != wantMode {
						t.Errorf("%d bytes, %v; os.WriteFile leaves %d, %v", len(got), mode, len(want), wantMode)
					}
				})
			}
		}
	}
}

// TestCreateTemp compares with os.CreateTemp.
func TestCreateTemp(t *testing.T) {
	dir := t.TempDir()
	for which, opts := range backendOptions(t) {
		for _, pattern := range []string{"", "name", "a*b", "*.txt", "x*y*z"} {
			f, err := CreateTemp(dir, pattern, opts...)
			if err != nil {
				t.Fatalf("%s: %q: %v", which, pattern, err)
			}
			base := filepath.Base(f.Name())
			prefix, suffix := pattern, ""
			if i := strings.LastIndex(pattern, "*"); i >= 0 {
				prefix, suffix = pattern[:i], pattern[i+1:]
			}
			if filepath.Dir(f.Name()) != dir || !strings.HasPrefix(base, prefix) || !strings.HasSuffix(base, suffix) || len(base) <= len(prefix)+len(suffix) {
				t.Errorf("%q: the name is %s", pattern, f.Name())
			}
			if n, err := f.File().WriteString("to be read"); n != 10 || err != nil {
				t.Errorf("WriteString = %d, %v", n, err)
			}
			f.File().Seek(0, io.SeekStart)
			if data, err := io.ReadAll(f.File()); err != nil || string(data) != "to be read" {
				t.Errorf("%q, %v", data, err)
			}
			osf, err := os.CreateTemp(dir, pattern)
			if err != nil {
				t.Fatal(err)
			}
			info, _ := f.Stat()
			want, _ := osf.Stat()
			if info.Mode() != want.Mode() {
				t.Errorf("the mode is %v, os.CreateTemp has %v", info.Mode(), want.Mode())
			}
			osf.Close()
			f.Close()
		}
		for _, c := range []struct{ dir, pattern string }{
			{filepath.Join(dir, "nowhere"), "x"}, {dir, "a/b"}, {dir, "a/*"},
		} {
			f, err := CreateTemp(c.dir, c.pattern, opts...)
			_, wantErr := os.CreateTemp(c.dir, c.pattern)
			if f != nil || err == nil || errors.Is(err, fs.ErrNotExist) != errors.Is(wantErr, fs.ErrNotExist) {
				t.Errorf("CreateTemp(%q, %q): %v, os has %v", c.dir, c.pattern, err, wantErr)
			}
		}
	}
}

// TestCreateLeavesNothing: who is given bad options touches no file, and who
// cannot have them removes what he made.
func TestCreateLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	bad := WithQueueDepth(-1)
	name := filepath.Join(dir, "file")
	if _, err := CreateTemp(dir, "", bad); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("CreateTemp: %v", err)
	}
	if err := WriteFile(name, []byte("x"), 0o666, bad); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("WriteFile: %v", err)
	}
	if _, err := ReadFile(name, bad); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("ReadFile: %v", err)
	}
	ring := newTestRing(t, WithBackend(BackendPool), WithQueueDepth(8))
	closed, err := NewRing(WithBackend(BackendPool), WithQueueDepth(8))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, opts := range [][]Option{{WithRing(closed)}, {WithRing(ring), WithBackend(BackendAIO)}} {
		if f, err := CreateTemp(dir, "", opts...); err == nil {
			f.Close()
			t.Error("CreateTemp on a Ring that cannot serve it succeeds")
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
