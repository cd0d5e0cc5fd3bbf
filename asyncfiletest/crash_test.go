package asyncfiletest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/asyncfiletest"
)

// TestCrashFollowsFiles: what is not durable is known of a file that was closed,
// renamed, opened twice, or unlinked with its number given to another.
func TestCrashFollowsFiles(t *testing.T) {
	ring := asyncfiletest.NewRing(t)
	dir := t.TempDir()
	want := map[string]string{}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, sync bool, opts ...asyncfile.Option) *asyncfile.AsyncFile {
		t.Helper()
		f, err := asyncfile.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600, append(opts, asyncfile.WithRing(ring.Ring))...)
		must(err)
		_, err = f.WriteAt([]byte("new"), 0).Wait()
		must(err)
		if sync {
			must(waited(f.Sync()))
		}
		return f
	}

	must(os.WriteFile(filepath.Join(dir, "stranger"), []byte("as it is"), 0o600))
	want["stranger"] = "as it is"

	must(write("closed", false).Close())
	want["closed"] = ""

	must(write("synced", true).Close())
	want["synced"] = "new"

	f := write("renamed", false)
	must(os.Rename(f.Name(), filepath.Join(dir, "renamed.now")))
	defer f.Close()
	want["renamed.now"] = ""

	first, second := write("twice", false), write("twice", false)
	must(waited(first.Sync())) // fsync(2) is of the file, whoever calls it
	must(first.Close())
	must(second.Close())
	want["twice"] = "new"

	reading := write("read", false)
	must(reading.Close())
	reading, err := asyncfile.Open(filepath.Join(dir, "read"), asyncfile.WithRing(ring.Ring))
	must(err)
	must(reading.File().Sync())
	must(reading.Close())
	want["read"] = "new"

	must(write("unlinked", false).Close())
	must(os.Remove(filepath.Join(dir, "unlinked")))
	must(os.WriteFile(filepath.Join(dir, "another"), []byte("whose number it is not"), 0o600))
	want["another"] = "whose number it is not"

	durable, err := asyncfile.OpenFile(filepath.Join(dir, "osync"), os.O_RDWR|os.O_CREATE|os.O_SYNC, 0o600, asyncfile.WithRing(ring.Ring))
	must(err)
	_, err = durable.WriteAt([]byte("durable"), 0).Wait()
	must(err)
	must(durable.Close())
	want["osync"] = "durable"

	must(os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	must(write("folder/inside", true).Close())
	want["folder/inside"] = "new"
	f = write("truncated", true)
	must(f.Close())
	f, err = asyncfile.Create(f.Name(), asyncfile.WithRing(ring.Ring)) // O_TRUNC
	must(err)
	must(f.Close())
	want["truncated"] = "new"
	must(os.Symlink("synced", filepath.Join(dir, "link")))
	want["link"] = "new"

	clone := ring.CrashClone(dir, asyncfiletest.Crash{})
	for name, content := range want {
		if got, err := os.ReadFile(filepath.Join(clone, name)); string(got) != content || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, content)
		}
	}
	if _, err := os.Stat(filepath.Join(clone, "unlinked")); !os.IsNotExist(err) {
		t.Errorf("unlinked: %v", err)
	}
	kept := ring.CrashClone(dir, asyncfiletest.Crash{Keep: 1})
	if got, err := os.ReadFile(filepath.Join(kept, "truncated")); len(got) != 0 || err != nil {
		t.Errorf("with everything kept the truncated file has %q, %v", got, err)
	}
}

// TestAccess: a file allows what it was opened for, as without this package.
func TestAccess(t *testing.T) {
	for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY} {
			name := filepath.Join(t.TempDir(), "a")
			if err := os.WriteFile(name, pattern(100), 0o600); err != nil {
				t.Fatal(err)
			}
			ring := asyncfiletest.NewRing(t, asyncfile.WithBackend(backend))
			text := func(on ...asyncfile.Option) (list [4]string) {
				f, err := asyncfile.OpenFile(name, flag, 0, append(on, asyncfile.WithBackend(backend))...)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for i, err := range []error{
					waited(f.ReadAt(make([]byte, 10), 0)),
					waited(f.WriteAt(make([]byte, 10), 0)),
					f.Truncate(50),
					f.Preallocate(200),
				} {
					if err != nil {
						list[i] = err.Error()
					}
				}
				return list
			}
			if got, want := text(asyncfile.WithRing(ring.Ring)), text(); got != want {
				t.Errorf("%v, flags %#x: %q, want %q", backend, flag, got, want)
			}
		}
	}
}
