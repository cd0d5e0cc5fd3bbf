package model

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
	"golang.org/x/sys/unix"
)

// TestRanges carries out random holes, zeroed ranges, preallocations, truncations and
// writes twice, through an AsyncFile and by plain system calls on an os.File: errors,
// sizes and bytes are the same on each file system, and so are the ranges of data on
// buffered files.
func TestRanges(t *testing.T) {
	files := 60
	if testing.Short() {
		files = 6
	}
	seed := env(t, "ASYNCFILE_SEED", rand.Uint64N(1<<62)|1)
	t.Logf("seed %d", seed)
	for _, fs := range disks.All {
		t.Run(fs.Name, func(t *testing.T) {
			dir := fs.Mount(t)
			random := rand.New(rand.NewPCG(seed, 1))
			for i := range files {
				for _, mode := range []asyncfile.DirectMode{asyncfile.DirectOff, asyncfile.DirectPrefer} {
					testRanges(t, filepath.Join(dir, fmt.Sprint(mode, i)), mode, random)
				}
			}
		})
	}
}

func testRanges(t *testing.T, name string, mode asyncfile.DirectMode, random *rand.Rand) {
	t.Helper()
	f, err := asyncfile.Create(name, asyncfile.WithDirect(mode))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	twin, err := os.Create(name + ".twin")
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close()
	fd := int(twin.Fd())
	var history []string
	for range 12 {
		const limit = 96 << 10
		off, n := random.Int64N(limit), 1+random.Int64N(limit/2)
		if random.IntN(2) == 0 {
			off, n = off&^4095, (n+4095)&^4095
		}
		what, got, want := "", error(nil), error(nil)
		switch random.IntN(6) {
		case 0:
			what, got, want = "punch", f.PunchHole(off, n), unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		case 1:
			what, got, want = "zero", f.ZeroRange(off, n), unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, off, n)
		case 2:
			what, got, want = "allocate", f.Preallocate(n), unix.Fallocate(fd, 0, 0, n)
		case 3:
			what, got, want = "truncate", f.Truncate(off), twin.Truncate(off)
		default:
			p := bytes.Repeat([]byte{byte(1 + len(history))}, int(n))
			what = "write"
			_, got = f.WriteAt(p, off).Wait()
			_, want = twin.WriteAt(p, off)
		}
		history = append(history, fmt.Sprintf("%s(%d, %d)", what, off, n))
		var gotErrno, wantErrno syscall.Errno
		errors.As(got, &gotErrno)
		errors.As(want, &wantErrno)
		if (got == nil) != (want == nil) || gotErrno != wantErrno {
			t.Fatalf("%v, %v: %v, want %v", mode, history, got, want)
		}
	}
	a, errA := os.ReadFile(name)
	b, errB := os.ReadFile(name + ".twin")
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%v, %v: %d bytes, %v; want %d, %v; or others", mode, history, len(a), errA, len(b), errB)
	}
	if _, err := f.Sync().Wait(); err != nil {
		t.Fatal(err)
	}
	if err := twin.Sync(); err != nil {
		t.Fatal(err)
	}
	// What a direct write leaves differs from what a buffered one does: the latter
	// fills its page.
	if want := dataOf(t, twin); mode == asyncfile.DirectOff && !slices.Equal(rangesOf(f), want) {
		t.Fatalf("%v: data %v, want %v", history, rangesOf(f), want)
	}
}

// rangesOf returns offsets and lengths of the data in f, one after the other.
func rangesOf(f *asyncfile.AsyncFile) (list []int64) {
	for off, n := range f.DataRanges() {
		list = append(list, off, n)
	}
	return list
}

func dataOf(t *testing.T, f *os.File) (list []int64) {
	t.Helper()
	for at := int64(0); ; {
		from, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			return list
		}
		if err == nil {
			at, err = f.Seek(from, unix.SEEK_HOLE)
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, from, at-from)
	}
}

// TestFilesPage measures what docs/files.md tells: with -v it prints a line a fact.
func TestFilesPage(t *testing.T) {
	for _, fs := range disks.All {
		switch fs.Name {
		case "ext4", "xfs-4096", "btrfs", "tmpfs":
			fs.Size = 1 << 30 // ext4 has blocks of 1 KiB on small devices
			t.Run(fs.Name, func(t *testing.T) { filesPage(t, fs.Mount(t)) })
		}
	}
}

func filesPage(t *testing.T, dir string) {
	const size, part = 64 << 20, 16 << 20
	make := func(name string, opts ...asyncfile.Option) *asyncfile.AsyncFile {
		f, err := asyncfile.Create(filepath.Join(dir, name), opts...)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	full := func(name string, opts ...asyncfile.Option) *asyncfile.AsyncFile {
		f := make(name, opts...)
		if _, err := f.WriteAt(bytes.Repeat([]byte{1}, size), 0).Wait(); err != nil {
			t.Fatal(err)
		}
		f.Sync().Wait()
		return f
	}
	tell := func(what string, f *asyncfile.AsyncFile, call func() error) {
		start := time.Now()
		err := call()
		took := time.Since(start)
		f.Sync().Wait()
		info, statErr := f.Stat()
		if statErr != nil {
			t.Fatal(statErr)
		}
		t.Logf("%s: %v, %v; then size %d, allocated %d, data %v", what, err, took.Round(time.Microsecond),
			info.Size(), info.Sys().(*syscall.Stat_t).Blocks*512, rangesOf(f))
		if err != nil && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", what, err)
		}
		f.Close()
		os.Remove(f.Name())
	}
	f := full("punch")
	tell("punch 16 MiB", f, func() error { return f.PunchHole(0, part) })
	f = full("punch-odd")
	tell("punch 12 KiB from offset 1 on", f, func() error { return f.PunchHole(1, 12<<10) })
	f = full("punch-direct", asyncfile.WithDirect(asyncfile.DirectPrefer))
	tell("punch 12 KiB from offset 1 on, direct", f, func() error { return f.PunchHole(1, 12<<10) })
	f = full("zero")
	tell("zero 16 MiB", f, func() error { return f.ZeroRange(0, part) })
	f = full("zeros")
	tell("write 16 MiB of zeros and sync", f, func() error {
		f.WriteAt(bytes.Repeat([]byte{0}, part), 0)
		_, err := f.Sync().Wait()
		return err
	})
	f = make("zero-beyond")
	tell("zero beyond the end", f, func() error { return f.ZeroRange(0, part) })
	f = make("preallocate")
	tell("preallocate 64 MiB", f, func() error { return f.Preallocate(size) })
	f = make("sparse")
	tell("one byte at 16 MiB", f, func() error { _, err := f.WriteAt([]byte{1}, part).Wait(); return err })
	f = make("end")
	tell("append behind what was preallocated", f, func() error {
		f.Preallocate(1 << 20)
		_, err := f.Append([]byte{1}).Wait()
		return err
	})
	f = make("replaced")
	tell("ReplaceFile of 4 KiB", f, func() error {
		return asyncfile.ReplaceFile(f.Name(), 0o666, func(w *asyncfile.Writer) error {
			_, err := w.Write(bytes.Repeat([]byte{1}, 4096))
			return err
		})
	})
}
