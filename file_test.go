package asyncfile

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"text/template"
	"time"
)

// osMethods are the methods of *os.File, as far as every Go that can build this
// has them. TestMethodSet has the complete list.
type osMethods interface {
	fs.File
	fs.ReadDirFile
	io.ReadWriteSeeker
	io.ReaderAt
	io.WriterAt
	io.ReaderFrom
	io.WriterTo
	io.StringWriter
	syscall.Conn
	Name() string
	Fd() uintptr
	Sync() error
	Truncate(size int64) error
	Chdir() error
	Chmod(mode os.FileMode) error
	Chown(uid, gid int) error
	Readdir(n int) ([]os.FileInfo, error)
	Readdirnames(n int) ([]string, error)
	SetDeadline(t time.Time) error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

var (
	_ osMethods = (*os.File)(nil)
	_ osMethods = (*File)(nil)
)

// TestMethodSet compares *File with the *os.File of the Go that runs it, by name
// and by signature, and with the interfaces that *os.File is passed as.
func TestMethodSet(t *testing.T) {
	osFile, file := reflect.TypeFor[*os.File](), reflect.TypeFor[*File]()
	for i := range osFile.NumMethod() {
		want := osFile.Method(i)
		got, ok := file.MethodByName(want.Name)
		switch {
		case !ok:
			t.Errorf("File has no %s", want.Name)
		case signature(got) != signature(want):
			t.Errorf("File: %s%s; os.File: %s%s", want.Name, signature(got), want.Name, signature(want))
		default:
			t.Logf("the same: %s%s", want.Name, signature(want))
		}
	}
	for _, face := range []reflect.Type{
		reflect.TypeFor[fs.File](), reflect.TypeFor[fs.ReadDirFile](),
		reflect.TypeFor[io.Reader](), reflect.TypeFor[io.Writer](), reflect.TypeFor[io.Closer](), reflect.TypeFor[io.Seeker](),
		reflect.TypeFor[io.ReadWriteCloser](), reflect.TypeFor[io.ReadWriteSeeker](), reflect.TypeFor[io.ReadSeekCloser](),
		reflect.TypeFor[io.ReaderAt](), reflect.TypeFor[io.WriterAt](), reflect.TypeFor[io.ReaderFrom](), reflect.TypeFor[io.WriterTo](),
		reflect.TypeFor[io.StringWriter](), reflect.TypeFor[io.ByteReader](), reflect.TypeFor[io.ByteWriter](),
		reflect.TypeFor[syscall.Conn](), reflect.TypeFor[fmt.Stringer](),
		reflect.TypeFor[osMethods](),
	} {
		if got, want := file.Implements(face), osFile.Implements(face); got != want {
			t.Errorf("File implements %v: %v, os.File: %v", face, got, want)
		} else if want {
			t.Logf("both implement %v", face)
		}
	}
}

// signature is the type of a method without its receiver.
func signature(m reflect.Method) string {
	var in, out []string
	for i := 1; i < m.Type.NumIn(); i++ {
		in = append(in, m.Type.In(i).String())
	}
	for i := range m.Type.NumOut() {
		out = append(out, m.Type.Out(i).String())
	}
	return fmt.Sprintf("(%s) (%s)", strings.Join(in, ", "), strings.Join(out, ", "))
}

// fileKinds are what an os.File can be of. open returns one, fresh, under a name
// that is the same each time, or an error where the system has no such thing.
var fileKinds = []struct {
	name string
	open func(t *testing.T, dir string) (*os.File, error)
}{
	{"regular", openKind(os.O_RDWR)},
	{"read-only", openKind(os.O_RDONLY)},
	{"write-only", openKind(os.O_WRONLY)},
	{"append", openKind(os.O_RDWR | os.O_APPEND)},
	{"directory", func(t *testing.T, dir string) (*os.File, error) {
		name := filepath.Join(dir, "directory")
		os.RemoveAll(name)
		for _, sub := range []string{"a", "b", "c/d"} {
			if err := os.MkdirAll(filepath.Join(name, sub), 0o777); err != nil {
				return nil, err
			}
		}
		return os.Open(name)
	}},
	{"pipe to read", func(t *testing.T, dir string) (*os.File, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		w.WriteString("what the pipe holds")
		w.Close()
		return r, nil
	}},
	{"pipe to write", func(t *testing.T, dir string) (*os.File, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { r.Close() })
		return w, nil
	}},
	{"FIFO", func(t *testing.T, dir string) (*os.File, error) {
		name := filepath.Join(dir, "fifo")
		os.Remove(name)
		if err := exec.Command("mkfifo", name).Run(); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0) // which waits for nobody
		if err != nil {
			return nil, err
		}
		_, err = f.WriteString("what the FIFO holds")
		return f, err
	}},
	{"null", func(t *testing.T, dir string) (*os.File, error) { return os.OpenFile("/dev/null", os.O_RDWR, 0) }},
	{"zero", func(t *testing.T, dir string) (*os.File, error) { return os.Open("/dev/zero") }},
	{"proc", func(t *testing.T, dir string) (*os.File, error) { return os.Open("/proc/version") }},
	{"proc/sys", func(t *testing.T, dir string) (*os.File, error) { return os.Open("/proc/sys/kernel/ostype") }},
}

func openKind(flag int) func(t *testing.T, dir string) (*os.File, error) {
	return func(t *testing.T, dir string) (*os.File, error) {
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, []byte("0123456789abcdefghijklmnopqrstuvwxyz"), 0o666); err != nil {
			return nil, err
		}
		return os.OpenFile(name, flag, 0)
	}
}

func list(results ...any) []any { return results }

// fileCalls are calls, each of which returns everything that it learned.
var fileCalls = []struct {
	name string
	call func(f osMethods) []any
}{
	{"Name", func(f osMethods) []any { return list(f.Name()) }},
	{"Fd", func(f osMethods) []any { return list(f.Fd() == ^uintptr(0)) }},
	{"Stat", func(f osMethods) []any {
		info, err := f.Stat()
		if err != nil {
			return list(err)
		}
		return list(info.Name(), info.Size(), info.Mode(), info.IsDir())
	}},
	{"SyscallConn", func(f osMethods) []any {
		raw, err := f.SyscallConn()
		if err != nil {
			return list(err)
		}
		return list(raw.Control(func(uintptr) {}))
	}},
	{"Read", func(f osMethods) []any { p := make([]byte, 8); n, err := f.Read(p); return list(n, err, p) }},
	{"Read twice", func(f osMethods) []any {
		p, q := make([]byte, 8), make([]byte, 64)
		n, err := f.Read(p)
		if n == 0 {
			return list(err)
		}
		m, err2 := io.ReadAtLeast(f, q, 1)
		return list(n, err, p, m, err2, q)
	}},
	{"Read of nothing", func(f osMethods) []any { n, err := f.Read(nil); return list(n, err) }},
	{"ReadAt", func(f osMethods) []any { p := make([]byte, 8); n, err := f.ReadAt(p, 3); return list(n, err, p) }},
	{"ReadAt across the end", func(f osMethods) []any { p := make([]byte, 8); n, err := f.ReadAt(p, 32); return list(n, err, p) }},
	{"ReadAt behind the end", func(f osMethods) []any { n, err := f.ReadAt(make([]byte, 8), 1<<40); return list(n, err) }},
	{"ReadAt before the file", func(f osMethods) []any { n, err := f.ReadAt(make([]byte, 8), -1); return list(n, err) }},
	{"ReadAt of nothing", func(f osMethods) []any { n, err := f.ReadAt(nil, 0); return list(n, err) }},
	{"Write", func(f osMethods) []any {
		n, err := f.Write([]byte("written"))
		pos, posErr := f.Seek(0, io.SeekCurrent)
		return list(n, err, pos, posErr)
	}},
	{"Write of nothing", func(f osMethods) []any { n, err := f.Write(nil); return list(n, err) }},
	{"WriteString", func(f osMethods) []any { n, err := f.WriteString("written"); return list(n, err) }},
	{"WriteString of nothing", func(f osMethods) []any { n, err := f.WriteString(""); return list(n, err) }},
	{"WriteAt", func(f osMethods) []any { n, err := f.WriteAt([]byte("written"), 3); return list(n, err) }},
	{"WriteAt behind the end", func(f osMethods) []any { n, err := f.WriteAt([]byte("written"), 100); return list(n, err) }},
	{"WriteAt before the file", func(f osMethods) []any { n, err := f.WriteAt([]byte("written"), -1); return list(n, err) }},
	{"WriteAt beyond all files", func(f osMethods) []any { n, err := f.WriteAt([]byte("written"), 1<<62); return list(n, err) }},
	{"WriteAt of nothing", func(f osMethods) []any { n, err := f.WriteAt(nil, 3); return list(n, err) }},
	{"Seek to the start", func(f osMethods) []any { n, err := f.Seek(5, io.SeekStart); return list(n, err) }},
	{"Seek from here", func(f osMethods) []any { n, err := f.Seek(5, io.SeekCurrent); return list(n, err) }},
	{"Seek to the end", func(f osMethods) []any {
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return nil // where that is the file system decides
		}
		n, err := f.Seek(-5, io.SeekEnd)
		return list(n, err)
	}},
	{"Seek before the file", func(f osMethods) []any { n, err := f.Seek(-5, io.SeekStart); return list(n, err) }},
	{"Seek from nowhere", func(f osMethods) []any { n, err := f.Seek(5, 77); return list(n, err) }},
	{"Truncate", func(f osMethods) []any { return list(f.Truncate(3)) }},
	{"Truncate to less than nothing", func(f osMethods) []any { return list(f.Truncate(-1)) }},
	{"Sync", func(f osMethods) []any { return list(f.Sync()) }},
	{"Chmod", func(f osMethods) []any {
		if strings.HasPrefix(nameOf(f), "/") && !strings.HasPrefix(nameOf(f), os.TempDir()) {
			return nil // the system's
		}
		return list(f.Chmod(0o700))
	}},
	{"Chown", func(f osMethods) []any { return list(f.Chown(-1, -1)) }},
	{"Chdir", func(f osMethods) []any { return list(f.Chdir()) }},
	{"ReadDir", func(f osMethods) []any {
		entries, err := f.ReadDir(-1)
		names := []string{}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return list(names, err)
	}},
	{"ReadDir of one", func(f osMethods) []any {
		results := list()
		for range 4 {
			entries, err := f.ReadDir(1)
			results = append(results, len(entries), err)
		}
		_, err := f.Seek(3, io.SeekStart) // os.File minds
		return append(results, err)
	}},
	{"Readdir", func(f osMethods) []any { entries, err := f.Readdir(2); return list(len(entries), err) }},
	{"Readdirnames", func(f osMethods) []any {
		names, err := f.Readdirnames(0)
		slices.Sort(names)
		return list(names, err)
	}},
	{"ReadFrom", func(f osMethods) []any { n, err := f.ReadFrom(strings.NewReader("read from")); return list(n, err) }},
	{"ReadFrom of nothing", func(f osMethods) []any { n, err := f.ReadFrom(strings.NewReader("")); return list(n, err) }},
	{"ReadFrom of a failure", func(f osMethods) []any {
		n, err := f.ReadFrom(io.MultiReader(strings.NewReader("then"), iotest.ErrReader(errors.New("it fails"))))
		return list(n, err)
	}},
	{"ReadFrom limited", func(f osMethods) []any {
		r := &io.LimitedReader{R: strings.NewReader("read from"), N: 4}
		n, err := f.ReadFrom(r)
		return list(n, err, r.N)
	}},
	{"WriteTo", func(f osMethods) []any {
		if nameOf(f) == "/dev/zero" {
			return nil // never ends
		}
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeNamedPipe != 0 && nameOf(f) != "|0" {
			return nil // neither does this, nor a pipe that one writes to
		}
		var b bytes.Buffer
		n, err := f.WriteTo(&b)
		return list(n, err, b.String())
	}},
	{"SetDeadline", func(f osMethods) []any {
		if hasDeadlines(f) {
			return nil // more than os.File can
		}
		return list(f.SetDeadline(time.Time{}), f.SetReadDeadline(longAgo), f.SetWriteDeadline(longAgo))
	}},
	{"Close", func(f osMethods) []any { return list(f.Close()) }},
	{"Close twice", func(f osMethods) []any { return list(f.Close(), f.Close()) }},
}

// nameOf is Name, of a nil file too.
func nameOf(f osMethods) string {
	if reflect.ValueOf(f).IsNil() {
		return ""
	}
	return f.Name()
}

// hasDeadlines reports whether f is one of the files on which a File has
// deadlines and an os.File has none.
func hasDeadlines(f osMethods) bool {
	return nameOf(f) != "" && !strings.HasPrefix(nameOf(f), "|") && !slices.Contains([]string{"directory", "fifo", "null", "zero"}, filepath.Base(nameOf(f)))
}

// results makes a call and notes a panic as a result.
func results(f osMethods, call func(osMethods) []any) (all []any) {
	defer func() {
		if recover() != nil {
			all = list("it panics")
		}
	}()
	return call(f)
}

// sameResults compares what two calls returned.
func sameResults(t *testing.T, got, want []any) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%v, os.File has %v", got, want)
		return
	}
	for i := range want {
		wantErr, isErr := want[i].(error)
		if gotErr, gotIs := got[i].(error); isErr && gotIs {
			sameError(t, gotErr, wantErr)
		} else if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("result %d is %v, os.File has %v", i, got, want)
		}
	}
}

// TestFileOfEveryKind makes every call on an os.File and on a File of everything
// that can be opened, and compares what they return.
func TestFileOfEveryKind(t *testing.T) {
	home := t.TempDir()
	t.Chdir(home) // and back at the end: some calls change it
	for _, backend := range []Backend{BackendPool, BackendAIO} {
		ring := func(t *testing.T) *Ring { return newTestRing(t, WithBackend(backend)) }
		t.Run(backend.String(), func(t *testing.T) {
			ring := ring(t)
			for _, kind := range fileKinds {
				t.Run(kind.name, func(t *testing.T) {
					dir := t.TempDir()
					for _, state := range []string{"open", "closed"} {
						for _, c := range fileCalls {
							t.Run(state+" "+c.name, func(t *testing.T) {
								run := func(wrap func(*os.File) osMethods) []any {
									osf, err := kind.open(t, dir)
									if err != nil {
										t.Skipf("the system has none: %v", err)
									}
									f := wrap(osf)
									defer f.Close()
									if state == "closed" {
										if err := f.Close(); err != nil {
											t.Errorf("Close: %v", err)
										}
									}
									got := results(f, c.call)
									if err := os.Chdir(home); err != nil {
										t.Fatal(err)
									}
									f.Close()
									data, err := os.ReadFile(filepath.Join(dir, "file"))
									return append(got, data, err)
								}
								got := run(func(osf *os.File) osMethods {
									f, err := New(osf, WithRing(ring), WithBackend(backend))
									if err != nil {
										t.Fatal(err)
									}
									return f.File()
								})
								want := run(func(osf *os.File) osMethods { return osf })
								sameResults(t, got, want)
							})
						}
					}
				})
			}
		})
	}
	t.Run("nil", func(t *testing.T) {
		for _, c := range fileCalls {
			t.Run(c.name, func(t *testing.T) {
				sameResults(t, results((*File)(nil), c.call), results((*os.File)(nil), c.call))
			})
		}
	})
}

func TestFileAndAsync(t *testing.T) {
	f := openTest(t, putFile(t, []byte("content")), os.O_RDWR)
	v := f.File()
	if v != f.File() || v.Async() != f {
		t.Error("File and Async do not lead to each other")
	}
	if _, err := v.Seek(3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4)
	if n, err := v.Read(p); n != 4 || err != nil || string(p) != "tent" {
		t.Errorf("Read = %d, %v, %q", n, err, p)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(p, 0).Wait(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after File.Close, AsyncFile.ReadAt: %v", err)
	}
}

// TestCursorAtOnce has many goroutines read, and write, records at one cursor:
// each record is had by one of them, and none is lost.
func TestCursorAtOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
			const goroutines, each = 8, 8
			content := make([]byte, 0, goroutines*each*testBlock)
			for i := range goroutines * each {
				content = append(content, bytes.Repeat([]byte{byte(i)}, testBlock)...)
			}
			in := open(putFile(t, content), os.O_RDONLY).File()
			outName := putFile(t, nil)
			out := open(outName, os.O_RDWR).File()
			in.SetDeadline(until)
			out.SetDeadline(until)
			var mu sync.Mutex
			var all sync.WaitGroup
			seen := map[byte]int{}
			for range goroutines {
				all.Go(func() {
					for {
						p := AlignedBuffer(testBlock)
						n, err := in.Read(p)
						if err == io.EOF {
							return
						}
						if n != testBlock || err != nil || !bytes.Equal(p, bytes.Repeat(p[:1], testBlock)) {
							t.Errorf("Read = %d, %v, or it is torn", n, err)
							return
						}
						mu.Lock()
						seen[p[0]]++
						mu.Unlock()
						if n, err := out.Write(p); n != testBlock || err != nil {
							t.Errorf("Write = %d, %v", n, err)
							return
						}
					}
				})
			}
			all.Wait()
			for i := range goroutines * each {
				if seen[byte(i)] != 1 {
					t.Errorf("record %d was read %d times", i, seen[byte(i)])
				}
			}
			data, err := os.ReadFile(outName)
			if err != nil || len(data) != len(content) {
				t.Fatalf("%d bytes were written, %v; want %d", len(data), err, len(content))
			}
			written := map[byte]int{}
			for i := 0; i < len(data); i += testBlock {
				if !bytes.Equal(data[i:i+testBlock], bytes.Repeat(data[i:i+1], testBlock)) {
					t.Fatalf("the record at %d is torn", i)
				}
				written[data[i]]++
			}
			if len(written) != goroutines*each {
				t.Errorf("%d records were written, want %d", len(written), goroutines*each)
			}
		}
	})
}

// TestFileAppend writes through two handles in append mode at once.
func TestFileAppend(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		name := putFile(t, nil)
		const each = 20
		var all sync.WaitGroup
		for g := range 4 {
			v := open(name, os.O_WRONLY|os.O_APPEND).File()
			if g == 3 {
				v.SetDeadline(time.Now().Add(time.Hour))
			}
			all.Go(func() {
				p := AlignedBuffer(testBlock)
				for i := range each {
					for j := range p {
						p[j] = byte(g*each + i)
					}
					if n, err := v.Write(p); n != len(p) || err != nil {
						t.Errorf("Write = %d, %v", n, err)
					}
				}
			})
		}
		all.Wait()
		data, err := os.ReadFile(name)
		if err != nil || len(data) != 4*each*testBlock {
			t.Fatalf("%d bytes, %v", len(data), err)
		}
		last := [4]int{-1, -1, -1, -1}
		for i := 0; i < len(data); i += testBlock {
			if !bytes.Equal(data[i:i+testBlock], bytes.Repeat(data[i:i+1], testBlock)) {
				t.Fatalf("the record at %d is torn", i)
			}
			g, k := int(data[i])/each, int(data[i])%each
			if k != last[g]+1 {
				t.Fatalf("record %d of writer %d follows its %d", k, g, last[g])
			}
			last[g] = k
		}
	})
}

// TestPipeDeadlines: a pipe has the deadlines of an os.File.
func TestPipeDeadlines(t *testing.T) {
	rf, wf, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := pipeEnd(t, rf), pipeEnd(t, wf)
	if err := r.SetReadDeadline(soon()); err != nil {
		t.Fatal(err)
	}
	_, err = r.Read(make([]byte, 1))
	wantTimeout(t, err, "read", "|0")

	// A Read that waits already sees the deadline move.
	r.SetReadDeadline(time.Now().Add(time.Hour))
	done := goCall(func() (int64, error) { return count(r.Read(make([]byte, 1))) })
	r.SetDeadline(longAgo)
	wantTimeout(t, (<-done).err, "read", "|0")
	r.SetDeadline(time.Time{})

	w.SetWriteDeadline(time.Now().Add(time.Hour))
	full := make([]byte, 16<<20) // more than a pipe holds
	done = goCall(func() (int64, error) { return count(w.Write(full)) })
	if _, err := io.ReadFull(r, make([]byte, 1)); err != nil { // so it has begun
		t.Fatal(err)
	}
	w.SetWriteDeadline(longAgo)
	wrote := <-done
	wantTimeout(t, wrote.err, "write", "|1")
	if wrote.n == 0 || wrote.n == int64(len(full)) {
		t.Errorf("Write = %d of %d", wrote.n, len(full))
	}
	w.SetDeadline(time.Time{})
	got, err := io.CopyN(io.Discard, r, wrote.n-1)
	if got != wrote.n-1 || err != nil {
		t.Errorf("read back %d of %d, %v", got, wrote.n-1, err)
	}
	if _, err := w.WriteString("on"); err != nil {
		t.Error(err)
	}
	p := make([]byte, 2)
	if _, err := io.ReadFull(r, p); err != nil || string(p) != "on" {
		t.Errorf("%q, %v", p, err)
	}
	w.Close()
	if n, err := r.Read(p); n != 0 || err != io.EOF {
		t.Errorf("Read at the end = %d, %v", n, err)
	}
}

// TestCloseWakesRead: as of os.File.
func TestCloseWakesRead(t *testing.T) {
	rf, wf, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := pipeEnd(t, rf), pipeEnd(t, wf)
	defer w.Close()
	began := make(chan struct{})
	done := goCall(func() (int64, error) {
		close(began)
		return count(r.Read(make([]byte, 1)))
	})
	<-began
	runtime.Gosched()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.n != 0 || !errors.Is(got.err, fs.ErrClosed) {
		t.Errorf("Read = %d, %v", got.n, got.err)
	}
}

// pipeEnd makes a File of a pipe, or skips the test where the system has no
// deadlines for pipes.
func pipeEnd(t *testing.T, osf *os.File) *File {
	t.Helper()
	if err := osf.SetDeadline(time.Time{}); err != nil {
		t.Skipf("no deadlines on pipes: %v", err)
	}
	f, err := New(osf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.File()
}

// TestTerminal runs in a process that has a terminal.
func TestTerminal(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("no way to make a terminal: script(1) is not installed")
	}
	if os.Getenv(childEnv) != t.Name() {
		cmd := childCommand(t)
		line := "'" + strings.Join(cmd.Args, "' '") + "'"
		wrapped := exec.Command(script, "-qec", line, os.DevNull)
		wrapped.Env = cmd.Env
		// Its end would be the end of what is typed at the terminal.
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		wrapped.Stdin = r
		out, err := wrapped.CombinedOutput()
		checkChild(t, string(out), err)
		return
	}
	osf, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal: %v", err)
	}
	deadlines := osf.SetDeadline(time.Time{})
	f, err := New(osf)
	if err != nil {
		t.Fatal(err)
	}
	v := f.File()
	if n, err := v.WriteString("to the terminal\r\n"); n != 17 || err != nil {
		t.Errorf("WriteString = %d, %v", n, err)
	}
	sameError(t, v.SetDeadline(longAgo), deadlines)
	if deadlines == nil {
		_, err := v.Read(make([]byte, 1))
		wantTimeout(t, err, "read", "/dev/tty")
		v.SetDeadline(time.Time{})
		began := make(chan struct{})
		done := goCall(func() (int64, error) { close(began); return count(v.Read(make([]byte, 1))) })
		<-began
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		if got := <-done; got.n != 0 || !errors.Is(got.err, fs.ErrClosed) {
			t.Errorf("Read = %d, %v", got.n, got.err)
		}
	}
	fmt.Println(childDone)
	t.SkipNow()
}

// TestIotest has testing/iotest read a File by its rules.
func TestIotest(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		for _, size := range []int{0, 1, 511, testBlock + 3} {
			content := testPattern(size, uint64(size))
			f := open(putFile(t, content), os.O_RDONLY)
			if err := iotest.TestReader(f.File(), content); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			f.File().Seek(0, io.SeekStart)
			f.File().SetDeadline(time.Now().Add(time.Hour))
			if err := iotest.TestReader(f.File(), content); err != nil {
				t.Errorf("%d bytes, under a deadline: %v", size, err)
			}
		}
	})
}

// TestStandardLibrary hands Files to packages that take an os.File.
func TestStandardLibrary(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		create := func(t *testing.T) *File {
			f := open(filepath.Join(t.TempDir(), "new"), os.O_RDWR|os.O_CREATE)
			return f.File()
		}
		must := func(t *testing.T, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		rewind := func(t *testing.T, f *File) {
			t.Helper()
			_, err := f.Seek(0, io.SeekStart)
			must(t, err)
		}
		text := strings.Repeat("the quick brown fox jumps over the lazy dog\n", 9000)

		t.Run("archive/zip", func(t *testing.T) {
			f := create(t)
			zw := zip.NewWriter(f)
			for i := range 5 {
				w, err := zw.Create(fmt.Sprintf("dir/%d.txt", i))
				must(t, err)
				_, err = io.WriteString(w, text[i:])
				must(t, err)
			}
			must(t, zw.Close())
			info, err := f.Stat()
			must(t, err)
			zr, err := zip.NewReader(f, info.Size())
			must(t, err)
			if len(zr.File) != 5 {
				t.Fatalf("%d files", len(zr.File))
			}
			for i, zf := range zr.File {
				r, err := zf.Open()
				must(t, err)
				data, err := io.ReadAll(r)
				if must(t, err); string(data) != text[i:] {
					t.Errorf("%s differs", zf.Name)
				}
			}
		})
		t.Run("compress/gzip", func(t *testing.T) {
			f := create(t)
			zw := gzip.NewWriter(f)
			_, err := io.WriteString(zw, text)
			must(t, err)
			must(t, zw.Close())
			rewind(t, f)
			zr, err := gzip.NewReader(f)
			must(t, err)
			data, err := io.ReadAll(zr)
			if must(t, err); string(data) != text {
				t.Error("the text differs")
			}
		})
		t.Run("encoding/csv", func(t *testing.T) {
			f := create(t)
			cw := csv.NewWriter(f)
			rows := [][]string{}
			for i := range 3000 {
				rows = append(rows, []string{fmt.Sprint(i), "a \"quoted\", text", text[i : i+20]})
			}
			must(t, cw.WriteAll(rows))
			rewind(t, f)
			got, err := csv.NewReader(f).ReadAll()
			if must(t, err); !reflect.DeepEqual(got, rows) {
				t.Error("the rows differ")
			}
		})
		t.Run("bufio", func(t *testing.T) {
			f := create(t)
			bw := bufio.NewWriter(f)
			_, err := bw.ReadFrom(strings.NewReader(text))
			must(t, err)
			must(t, bw.Flush())
			rewind(t, f)
			lines := 0
			for s := bufio.NewScanner(f); s.Scan(); lines++ {
				if s.Text()+"\n" != text[:44] {
					t.Fatalf("line %d is %q", lines, s.Text())
				}
			}
			if lines != 9000 {
				t.Errorf("%d lines", lines)
			}
		})
		t.Run("text/template", func(t *testing.T) {
			f := create(t)
			must(t, template.Must(template.New("").Parse(`{{range .}}<{{.}}>{{end}}`)).Execute(f, []int{1, 2, 3}))
			rewind(t, f)
			data, err := io.ReadAll(f)
			if must(t, err); string(data) != "<1><2><3>" {
				t.Errorf("%q", data)
			}
		})
		t.Run("fmt", func(t *testing.T) {
			f := create(t)
			fmt.Fprintf(f, "%d %s", 42, "words")
			rewind(t, f)
			var i int
			var s string
			if n, err := fmt.Fscan(f, &i, &s); n != 2 || err != nil || i != 42 || s != "words" {
				t.Errorf("%d, %v, %d, %q", n, err, i, s)
			}
		})
		t.Run("os/exec", func(t *testing.T) {
			in, out := create(t), create(t)
			_, err := in.WriteString(text)
			must(t, err)
			rewind(t, in)
			exe, err := os.Executable()
			if err != nil {
				t.Skip(err)
			}
			cmd := exec.Command(exe, "-test.run=^TestUpperCase$")
			cmd.Env = append(os.Environ(), childEnv+"=TestUpperCase")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, os.Stderr
			must(t, cmd.Run())
			rewind(t, out)
			data, err := io.ReadAll(out)
			if must(t, err); string(data) != strings.ToUpper(text) {
				t.Errorf("the child wrote %d bytes, want %d in upper case", len(data), len(text))
			}
		})
	})
}

// TestUpperCase is the child process of TestStandardLibrary.
func TestUpperCase(t *testing.T) {
	if os.Getenv(childEnv) != t.Name() {
		t.Skip("is run by TestStandardLibrary, in a process of its own")
	}
	data, err := io.ReadAll(os.Stdin)
	if err == nil {
		_, err = os.Stdout.WriteString(strings.ToUpper(string(data)))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0) // before the test framework adds words of its own
}
