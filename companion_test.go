package asyncfile

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// errNoCompanion is why a test refuses the second descriptor.
var errNoCompanion = errors.New("no second descriptor")

func refuseReopen(int) (int, error) { return -1, errNoCompanion }

// wantDirect checks that O_DIRECT is set, or not, on the open file.
func wantDirect(t *testing.T, f *AsyncFile, want bool) {
	t.Helper()
	flags, err := aio.StatusFlags(f.core.Fd())
	if err != nil || flags&aio.ODirect != 0 != want {
		t.Errorf("O_DIRECT is set: %v, want %v (%v)", flags&aio.ODirect != 0, want, err)
	}
}

// writeEverywhere writes f in all ways at once, aligned and not, from goroutines
// that share blocks but no bytes, reads back what f can read, and returns what the
// file has to hold.
func writeEverywhere(t *testing.T, f *AsyncFile, rounds int) (want []byte) {
	t.Helper()
	const writers, area = 8, 2 << 10
	want = testPattern(writers*area, 5)
	if n, err := f.WriteAt(want, 0).Wait(); n != len(want) || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	flags, err := aio.StatusFlags(f.core.Fd())
	if err != nil {
		t.Fatal(err)
	}
	readable := flags&(os.O_WRONLY|os.O_RDWR) != os.O_WRONLY
	var all sync.WaitGroup
	for w := range writers {
		mine := want[w*area:][:area] // nobody else touches it
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for r := range rounds {
				off, n := rng.IntN(area-1), 0
				if w%2 == 0 {
					off, n = off&^511, 512
				} else {
					n = 1 + rng.IntN(area-off)
				}
				p := testPattern(n, uint64(r))
				if rng.IntN(2) == 0 {
					p = append(AlignedBuffer(n)[:0], p...)
				}
				op := Op{Kind: OpWrite, Buf: p, Offset: int64(w*area + off)}
				if rng.IntN(3) == 0 {
					op = Op{Kind: OpWritev, Bufs: cut(p, 1, 100, 1000, 512), Offset: op.Offset}
				}
				if got, err := f.Submit(op)[0].Wait(); got != n || err != nil {
					t.Errorf("%v of %d at %d = %d, %v", op.Kind, n, op.Offset, got, err)
					return
				}
				copy(mine[off:], p)
				if !readable {
					continue
				}
				got := make([]byte, area)
				if n, err := f.ReadAt(got, int64(w*area)).Wait(); n != area || err != nil || !bytes.Equal(got, mine) {
					t.Errorf("writer %d reads back %d bytes, %v, or others than it wrote", w, n, err)
					return
				}
			}
		})
	}
	all.Wait()
	for _, n := range []int{100, 4096, 5000} {
		p := testPattern(n, uint64(n))
		future := f.Append(p)
		wantResult(t, future, n, nil)
		if future.Offset() != int64(len(want)) {
			t.Errorf("Append at %d, want %d", future.Offset(), len(want))
		}
		want = append(want, p...)
	}
	if readable {
		got := make([]byte, len(want)+1)
		if n, _ := f.ReadAt(got, 0).Wait(); !bytes.Equal(got[:n], want) {
			t.Errorf("%d bytes, or others than were written; want %d", n, len(want))
		}
	}
	if err := f.Truncate(777); err != nil {
		t.Error(err)
	}
	if n, err := f.WriteAt([]byte("over"), 775).Wait(); n != 4 || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	want = append(want[:775], "over"...)
	if _, err := f.Sync().Wait(); err != nil {
		t.Error(err)
	}
	return want
}

// eachEngine runs test with the options for AIO and for the pool.
func eachEngine(t *testing.T, test func(t *testing.T, opts ...Option)) {
	for _, backend := range []Backend{BackendAuto, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) { test(t, WithDirect(DirectPrefer), WithBackend(backend)) })
	}
}

// TestNoCompanion: where there is no second descriptor everything is written all
// the same, and O_DIRECT is set as before. When there can be one, it is used.
func TestNoCompanion(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		f := createDirect(t, opts...)
		f.core.Companion.Reopen = refuseReopen
		wantContents(t, f, writeEverywhere(t, f, 50))
		wantDirect(t, f, true)
		if f.core.Companion.Ready() {
			t.Error("there is a second descriptor")
		}
		f.core.Companion.Reopen = aio.Reopen
		wantContents(t, f, writeEverywhere(t, f, 20))
		if f.core.Align.Offset > 1 && !f.core.Companion.Ready() {
			t.Error("there is no second descriptor")
		}
	})
}

// TestCompanionComesAndGoes: refusals that pass, as those of a process with too
// many open files do.
func TestCompanionComesAndGoes(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		for range 10 {
			f := createDirect(t, opts...)
			tries := 0 // guarded by companion.mu
			f.core.Companion.Reopen = func(fd int) (int, error) {
				if tries++; tries < 10 {
					return -1, syscall.EMFILE
				}
				return aio.Reopen(fd)
			}
			wantContents(t, f, writeEverywhere(t, f, 10))
			wantDirect(t, f, true)
			if f.core.Align.Offset > 1 && tries != 10 {
				t.Errorf("%d tries, want 10", tries)
			}
			f.Close()
		}
	})
}

// TestNoWayToPageCache: where O_DIRECT cannot be turned off either, an unaligned
// write says what of it does not fit, and why. Aligned ones and reads go on.
func TestNoWayToPageCache(t *testing.T) {
	f := createDirect(t)
	if f.core.Align.Offset == 1 {
		t.Skip("everything is aligned here")
	}
	if _, err := f.WriteAt(AlignedBuffer(8192), 0).Wait(); err != nil {
		t.Fatal(err)
	}
	f.core.Companion.Reopen = refuseReopen
	f.core.Companion.SetDirect = func(int, bool) error { return syscall.EPERM }
	for _, test := range []struct {
		off  int64
		n    int
		want AlignmentError
	}{
		{5, 512, AlignmentError{What: "offset", Have: 5, Need: f.core.Align.Offset}},
		{0, 10, AlignmentError{What: "length", Have: 10, Need: f.core.Align.Offset}},
	} {
		n, err := f.WriteAt(AlignedBuffer(test.n), test.off).Wait()
		var align *AlignmentError
		var path *fs.PathError
		if n != 0 || !errors.As(err, &align) || !errors.As(err, &path) || path.Op != "write" {
			t.Fatalf("%d at %d: %d, %v", test.n, test.off, n, err)
		}
		if test.want.Err = align.Err; *align != test.want {
			t.Errorf("%d at %d: %+v, want %+v", test.n, test.off, *align, test.want)
		}
		for _, target := range []error{syscall.EINVAL, syscall.EPERM, errNoCompanion} {
			if !errors.Is(err, target) {
				t.Errorf("%v does not answer for %v", err, target)
			}
		}
		if text := err.Error(); !strings.Contains(text, test.want.What) || !strings.Contains(text, errNoCompanion.Error()) {
			t.Errorf("the error does not say what and why: %v", err)
		}
	}
	if n, err := f.WriteAt(AlignedBuffer(4097)[1:], 0).Wait(); n != 4096 || err != nil {
		t.Errorf("a write of whole blocks = %d, %v", n, err)
	}
	if n, err := f.ReadAt(make([]byte, 100), 3).Wait(); n != 100 || err != nil {
		t.Errorf("a read = %d, %v", n, err)
	}
	f.core.Companion.Reopen, f.core.Companion.SetDirect = aio.Reopen, aio.SetDirect
	if n, err := f.WriteAt(make([]byte, 10), 5).Wait(); n != 10 || err != nil {
		t.Errorf("when it can be used again: %d, %v", n, err)
	}
}

// inShell runs body in a process that a shell script becomes, which has set
// limits, or opened files, for it. In the script, and in body's environment, D is
// a directory that everybody may use, and $test begins the process.
func inShell(t *testing.T, script string, body func(t *testing.T, dir string)) {
	t.Helper()
	const dirEnv = "D"
	if _, err := exec.LookPath("sh"); err != nil || runtime.GOOS != "linux" {
		t.Skip("needs Linux and a shell")
	}
	if os.Getenv(childEnv) == "" {
		dir := t.TempDir()
		for _, d := range []string{filepath.Dir(dir), dir} {
			if err := os.Chmod(d, 0o777); err != nil {
				t.Fatal(err)
			}
		}
		// The test's own file may be where only this user can go.
		exe, err := os.Executable()
		if err == nil {
			err = exec.Command("cp", exe, filepath.Join(dir, "test")).Run()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(dirEnv, dir)
	}
	inChild(t, func(t *testing.T) { body(t, os.Getenv(dirEnv)) }, "sh", "-c", script)
}

// asNobody is how a script begins a process without privileges.
const asNobody = `exec setpriv --reuid=65534 --regid=65534 --clear-groups -- "$D/test" "$@"`

// needRoot skips a test, in the parent, that gives up privileges.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getenv(childEnv) != "" {
		return
	}
	if _, err := exec.LookPath("setpriv"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root, and setpriv to give it up")
	}
}

// TestNoCompanionDuplicates: two AsyncFiles on duplicates of one descriptor turn
// the flag that they share off and on under each other's feet.
func TestNoCompanionDuplicates(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		inShell(t, `exec 3<>"$D/file" 4<&3; exec "$0" "$@"`, func(t *testing.T, dir string) {
			var all sync.WaitGroup
			want := make([]byte, 2*100*1000)
			for i := range 2 {
				f := adopt(t, 3+i, filepath.Join(dir, "file"), opts...)
				f.core.Companion.Reopen = refuseReopen
				all.Go(func() {
					for r := range 100 {
						off := (2*r + i) * 1000
						p := testPattern(1000, uint64(off))
						copy(want[off:], p)
						if n, err := f.WriteAt(p, int64(off)).Wait(); n != len(p) || err != nil {
							t.Errorf("WriteAt(%d) = %d, %v", off, n, err)
						}
					}
				})
			}
			all.Wait()
			wantContent(t, filepath.Join(dir, "file"), want)
		})
	})
}

// adopt makes an AsyncFile of an inherited descriptor.
func adopt(t *testing.T, fd int, name string, opts ...Option) *AsyncFile {
	t.Helper()
	f, err := New(os.NewFile(uintptr(fd), name), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if !f.Direct() {
		t.Skipf("not direct: %v", f.DirectReason())
	}
	return f
}

// TestCompanionRefused: a file that is open for writing is written, aligned or
// not, whatever opening it once more would meet.
func TestCompanionRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		check := func(t *testing.T, f *AsyncFile, companion bool) {
			t.Helper()
			if !f.Direct() {
				t.Skipf("not direct: %v", f.DirectReason())
			}
			want := writeEverywhere(t, f, 20)
			wantDirect(t, f, true)
			if f.core.Align.Offset > 1 && f.core.Companion.Ready() != companion {
				t.Errorf("a second descriptor: %v, want %v", f.core.Companion.Ready(), companion)
			}
			if got, err := os.ReadFile(f.Name()); err == nil && !bytes.Equal(got, want) {
				t.Errorf("the file has %d bytes, want %d, or others", len(got), len(want))
			}
		}
		t.Run("O_NOFOLLOW", func(t *testing.T) {
			root, err := os.OpenRoot(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			osf, err := root.Create("file")
			if err != nil {
				t.Fatal(err)
			}
			f, err := New(osf, opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			check(t, f, true)
		})
		t.Run("unlinked", func(t *testing.T) {
			f := createDirect(t, opts...)
			if err := os.Remove(f.Name()); err != nil {
				t.Fatal(err)
			}
			check(t, f, true)
		})
		t.Run("O_TMPFILE", func(t *testing.T) {
			if aio.OTmpfile == 0 {
				t.Skip("there is no O_TMPFILE")
			}
			f, err := OpenFile(t.TempDir(), os.O_RDWR|aio.OTmpfile, 0o600, opts...)
			if err != nil {
				t.Skip(err)
			}
			defer f.Close()
			check(t, f, true)
		})
		t.Run("write-only", func(t *testing.T) {
			f, err := OpenFile(filepath.Join(t.TempDir(), "file"), os.O_WRONLY|os.O_CREATE, 0o600, opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			check(t, f, true)
		})
		t.Run("chmod", func(t *testing.T) {
			needRoot(t)
			inShell(t, asNobody, func(t *testing.T, dir string) {
				f, err := Create(filepath.Join(dir, "file"), opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := os.Chmod(f.Name(), 0o400); err != nil {
					t.Fatal(err)
				}
				check(t, f, false)
			})
		})
		t.Run("read-only mode", func(t *testing.T) {
			needRoot(t)
			inShell(t, asNobody, func(t *testing.T, dir string) {
				name, want := filepath.Join(dir, "file"), testPattern(10_001, 1)
				if err := WriteFile(name, want, 0o444, opts...); err != nil {
					t.Fatal(err)
				}
				wantContent(t, name, want)
			})
		})
		for _, how := range []string{"<>", ">"} {
			t.Run("inherited "+how, func(t *testing.T) {
				needRoot(t)
				inShell(t, `umask 077; exec 3`+how+`"$D/file"; `+asNobody, func(t *testing.T, dir string) {
					name := filepath.Join(dir, "file")
					if f, err := os.Open(name); err == nil {
						f.Close()
						t.Fatal("the file can be opened")
					}
					check(t, adopt(t, 3, name, opts...), false)
				})
			})
		}
		t.Run("too many open files", func(t *testing.T) {
			inShell(t, `ulimit -n 40; exec "$0" "$@"`, func(t *testing.T, dir string) {
				f, err := Create(filepath.Join(dir, "file"), opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				// The others of the process: what it opens when the first of them closes.
				var others []*os.File
				for err == nil {
					var other *os.File
					if other, err = os.Open(os.DevNull); err == nil {
						others = append(others, other)
					}
				}
				if !errors.Is(err, syscall.EMFILE) {
					t.Fatal(err)
				}
				writeEverywhere(t, f, 20)
				if f.core.Companion.Ready() {
					t.Error("there is a second descriptor")
				}
				others[0].Close()
				others[1].Close()
				check(t, f, true)
			})
		})
		t.Run("no proc", func(t *testing.T) {
			if os.Getenv(childEnv) == "" && os.Getuid() != 0 {
				t.Skip("needs root, to mount")
			}
			inShell(t, `exec unshare -m sh -c 'mount -t tmpfs none /proc || { echo "cannot mount"; exit; }; exec "$0" "$@"' "$0" "$@"`,
				func(t *testing.T, dir string) {
					f, err := Create(filepath.Join(dir, "file"), opts...)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					check(t, f, false)
				})
		})
	})
}

// TestNoCompanionAppendMode: appends that only the kernel can place, without a
// second descriptor.
func TestNoCompanionAppendMode(t *testing.T) {
	eachEngine(t, func(t *testing.T, opts ...Option) {
		f, err := OpenFile(filepath.Join(t.TempDir(), "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600, opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.core.Companion.Reopen = refuseReopen
		var want []byte
		for i := range 50 {
			p := testPattern(100+i*37, uint64(i))
			future := f.Append(p)
			wantResult(t, future, len(p), nil)
			if future.Offset() != int64(len(want)) {
				t.Errorf("Append at %d, want %d", future.Offset(), len(want))
			}
			want = append(want, p...)
		}
		wantContents(t, f, want)
		wantDirect(t, f, f.Direct())
	})
}

// TestNoCompanionAlone: a write through the page cache without a second
// descriptor waits for what is in flight on the file, and what comes meanwhile
// waits for it. When there is a descriptor neither is so.
func TestNoCompanionAlone(t *testing.T) {
	inBubble(t, 8, func(s *scripted) {
		f := s.openOwn(aiotest.NewMem(testPattern(64*testBlock, 1)))
		f.core.Align = aio.Alignment{Memory: 512, Offset: 512, ReadOffset: 512}
		f.core.Mixed = true
		if err := f.core.OS().Truncate(64 * testBlock); err != nil {
			s.Fatal(err)
		}
		read := func(block int64) *Future { return f.ReadAt(AlignedBuffer(testBlock), block*testBlock) }
		done := func(future *Future) bool { _, _, ok := future.Result(); return ok }

		tries, refuse := 0, make(chan struct{})
		f.core.Companion.Reopen = func(int) (int, error) {
			tries++
			<-refuse
			return -1, errNoCompanion
		}
		s.hold()
		before := read(1)
		alone := f.WriteAt([]byte("inside a block"), 9*testBlock+1)
		s.pass()
		if tries != 0 {
			s.Error("the write did not wait for the read in flight")
		}
		release(s.kernel)
		s.pass()
		if !done(before) || tries != 1 {
			s.Errorf("the read before is done: %v; %d tries to open a descriptor, want 1", done(before), tries)
		}
		after := read(20)
		s.pass()
		if done(after) {
			s.Error("a read did not wait for the write")
		}
		close(refuse)
		wantResult(s.T, alone, 14, nil)
		wantResult(s.T, after, testBlock, nil)

		f.core.Companion.Reopen = aio.Reopen
		wantResult(s.T, f.WriteAt([]byte("inside a block"), 9*testBlock+1), 14, nil)
		s.hold()
		before = read(1)
		wantResult(s.T, f.WriteAt([]byte("inside a block"), 9*testBlock+1), 14, nil)
		release(s.kernel)
		wantResult(s.T, before, testBlock, nil)
	})
}
