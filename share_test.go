package asyncfile

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// TestDirectTakenBack: duplicates of a descriptor share O_DIRECT. What an
// AsyncFile set, its Close takes back, and a New that fails; what it found set, and
// what its caller asked for by the flag, stays.
func TestDirectTakenBack(t *testing.T) {
	if aio.ODirect == 0 {
		t.Skip("there is no O_DIRECT")
	}
	for _, found := range []bool{false, true} {
		for _, mode := range []DirectMode{DirectOff, DirectPrefer, DirectRequire} {
			t.Run(fmt.Sprintf("found %v, %v", found, mode), func(t *testing.T) {
				inShell(t, `exec 3<>"$D/file" 4<&3; exec "$0" "$@"`, func(t *testing.T, dir string) {
					shared := os.NewFile(4, "shared")
					defer shared.Close()
					if err := aio.SetDirect(4, found); err != nil {
						t.Skip(err)
					}
					check := func(when string, want bool) {
						t.Helper()
						flags, err := aio.StatusFlags(4)
						if err != nil || flags&aio.ODirect != 0 != want {
							t.Errorf("found %v, %v: O_DIRECT is set %s: %v, want %v (%v)", found, mode, when, !want, want, err)
						}
					}
					closed, err := NewRing(WithBackend(BackendPool), WithQueueDepth(8))
					if err != nil {
						t.Fatal(err)
					}
					closed.Close()
					osf := os.NewFile(3, filepath.Join(dir, "file"))
					if _, err := New(osf, WithDirect(mode), WithRing(closed)); err == nil {
						t.Error("New on a closed Ring succeeds")
					}
					check("after New has failed", found)
					f, err := New(osf, WithDirect(mode))
					if err != nil {
						t.Fatal(err)
					}
					check("while it is open", found || mode != DirectOff)
					f.core.Companion.Reopen = refuseReopen
					if _, err := f.WriteAt([]byte("unaligned"), 5).Wait(); err != nil {
						t.Error(err)
					}
					check("while it is open, and was written", found || mode != DirectOff)
					if err := f.Close(); err != nil {
						t.Error(err)
					}
					check("after Close", found)
				})
			})
		}
	}
}

// TestDirectTakenBackFromDropped: an AsyncFile that nobody closed leaves no trace
// either, once it is collected.
func TestDirectTakenBackFromDropped(t *testing.T) {
	inShell(t, `exec 3<>"$D/file" 4<&3; exec "$0" "$@"`, func(t *testing.T, dir string) {
		func() {
			f, err := New(os.NewFile(3, "dropped"), WithDirect(DirectPrefer))
			if err != nil || !f.Direct() {
				t.Skip(err)
			}
			wantDirect(t, f, true)
		}()
		eventually(t, "O_DIRECT is taken back", func() bool {
			runtime.GC()
			flags, err := aio.StatusFlags(4)
			return err == nil && flags&aio.ODirect == 0
		})
	})
}

// TestDirectFlagStays: who opens a file with O_DIRECT in the flags has it, as with
// os.OpenFile, for as long as anybody has the file.
func TestDirectFlagStays(t *testing.T) {
	f, err := OpenFile(filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE|aio.ODirect, 0o600)
	if err != nil || !f.Direct() {
		t.Skip(err)
	}
	fd, err := aio.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	other := os.NewFile(uintptr(fd), f.Name())
	defer other.Close()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if flags, err := aio.StatusFlags(fd); err != nil || flags&aio.ODirect == 0 {
		t.Errorf("Close has taken it back (%v)", err)
	}
}

// TestDirectDuplicates: of two AsyncFiles on duplicates of one descriptor the one
// that set O_DIRECT is closed first. The other goes on, and leaves what was found.
func TestDirectDuplicates(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		inShell(t, `exec 3<>"$D/file" 4<&3 5<&3; exec "$0" "$@"`, func(t *testing.T, dir string) {
			name := filepath.Join(dir, "file")
			first, second := adopt(t, 3, name, opts...), adopt(t, 4, name, opts...)
			wantDirect(t, second, true)
			wantContents(t, first, writeEverywhere(t, first, 5))
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			wantDirect(t, second, false)
			second.core.Companion.Reopen = refuseReopen // O_DIRECT is off already when it looks
			want := writeEverywhere(t, second, 5)
			wantContents(t, second, want)
			if err := second.Close(); err != nil {
				t.Fatal(err)
			}
			flags, err := aio.StatusFlags(5)
			if err != nil || flags&aio.ODirect != 0 {
				t.Errorf("flags %#x are left, %v", flags, err)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the file has %d bytes, want %d, %v", len(got), len(want), err)
			}
		})
	})
}

// TestSizeOfDevice: a block device has the size that stat(2) does not tell, so
// that a Reader reads ahead from the start, and an unaligned write does not count
// as one that makes the file larger.
func TestSizeOfDevice(t *testing.T) {
	needRoot(t)
	script := `
truncate -s 1M "$D/image" && device=$(losetup -f --show "$D/image" 2>/dev/null) || { echo "no loop device"; exit; }
export device
"$0" "$@"; status=$?
losetup -d "$device"
exit $status`
	inShell(t, script, func(t *testing.T, dir string) {
		for _, mode := range []DirectMode{DirectOff, DirectPrefer} {
			f, err := OpenFile(os.Getenv("device"), os.O_RDWR, 0, WithDirect(mode))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeDevice == 0 {
				t.Fatalf("%v, %v is no device", info.Mode(), err)
			}
			if size := f.core.Size(); size != 1<<20 {
				t.Errorf("direct %v: the size is %d, want %d", f.Direct(), size, 1<<20)
			}
			r, err := NewReader(f, 0, WithBlockSize(64<<10), WithStreamDepth(8))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if len(r.ahead) < 7 {
				t.Errorf("direct %v: %d reads ahead after the first byte", f.Direct(), len(r.ahead))
			}
			r.Close()
		}
	})
}
