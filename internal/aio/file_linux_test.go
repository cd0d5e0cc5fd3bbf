package aio

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestBadFD: each call reports the errno, and a count of 0 beside it.
func TestBadFD(t *testing.T) {
	p := AlignedSlice(1, 1)
	for name, call := range map[string]func() (any, error){
		"PreadNoWait": func() (any, error) { return PreadNoWait(-1, p, 0) },
		"Preadv":      func() (any, error) { return Preadv(-1, [][]byte{p}, 0) },
		"Pwritev":     func() (any, error) { return Pwritev(-1, [][]byte{p}, 0) },
		"Fdatasync":   func() (any, error) { return 0, Fdatasync(-1) },
		"Allocate":    func() (any, error) { return 0, Allocate(-1, 0, 1) },
		"StatusFlags": func() (any, error) { return StatusFlags(-1) },
		"SetDirect":   func() (any, error) { return 0, SetDirect(-1, true) },
		"Flush":       func() (any, error) { return 0, Flush(-1, 0, 1) },
		"PunchHole":   func() (any, error) { return 0, PunchHole(-1, 0, 1) },
		"ZeroRange":   func() (any, error) { return 0, ZeroRange(-1, 0, 1) },
		"Prefetch":    func() (any, error) { return 0, Prefetch(-1, 0, 1) },
		"TryLock":     func() (any, error) { return 0, TryLock(-1) },
		"NextData": func() (any, error) {
			from, to, err := NextData(-1, 0)
			return int(from | to), err
		},
		"WriteBack": func() (any, error) { return 0, WriteBack(-1, 0, 1) },
		"Unwritten": func() (any, error) {
			unwritten, err := Unwritten(-1, 0)
			return map[bool]int{true: 1}[unwritten], err
		},
		"FileSystem": func() (any, error) {
			fs, err := FileSystem(-1)
			return int(fs), err
		},
	} {
		n, err := call()
		if name == "PreadNoWait" && errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if n != 0 || err != syscall.EBADF {
			t.Errorf("%s of a bad descriptor = %v, %v, want 0, EBADF", name, n, err)
		}
	}
	if a, ok := DirectAlignment(-1); ok || a != (Alignment{}) {
		t.Errorf("DirectAlignment of a bad descriptor = %+v, %v", a, ok)
	}
}

func TestPreadNoWait(t *testing.T) {
	f := tempFile(t, "in the page cache")
	fd := int(f.Fd())
	// Above 4 GB, so that an offset in the wrong halves would show.
	const far = 1<<33 + 5
	if _, err := f.WriteAt([]byte("far away"), far); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off  int64
		want string
	}{{0, "in the page"}, {7, "page cache"}, {far, "far away"}, {far + 100, ""}} {
		p := AlignedSlice(max(len(c.want), 1), 1)
		n, err := PreadNoWait(fd, p, c.off)
		if errors.Is(err, errors.ErrUnsupported) || err == syscall.EAGAIN {
			t.Skipf("nothing to be had without waiting here: %v", err)
		}
		if err != nil || string(p[:n]) != c.want {
			t.Errorf("PreadNoWait at %d = %q, %v, want %q", c.off, p[:n], err, c.want)
		}
	}
	if n, err := PreadNoWait(fd, nil, 0); n != 0 || err != nil {
		t.Errorf("PreadNoWait of nothing = %d, %v", n, err)
	}
	if n, err := PreadNoWait(fd, AlignedSlice(1, 1), -1); n != 0 || err != syscall.EINVAL {
		t.Errorf("PreadNoWait at -1 = %d, %v, want EINVAL", n, err)
	}
	p := AlignedSlice(8, 1)
	if n := testing.AllocsPerRun(100, func() { PreadNoWait(fd, p, 0) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestSplitOffset(t *testing.T) {
	for _, off := range []int64{0, 1, 1<<32 - 1, 1 << 32, 1<<62 + 12345} {
		low, high := splitOffset(off)
		// pos_from_hilo of fs/read_write.c, for either size of a long.
		got := int64(uint64(high)<<(bitsPerWord/2)<<(bitsPerWord/2) | uint64(low))
		if got != off {
			t.Errorf("the kernel makes %#x of %#x", got, off)
		}
	}
}

func TestVectored(t *testing.T) {
	fd := int(tempFile(t, "").Fd())
	if n, err := Pwritev(fd, [][]byte{[]byte("ab"), nil, []byte("cde")}, 1); n != 5 || err != nil {
		t.Fatalf("Pwritev = %d, %v", n, err)
	}
	p, q := make([]byte, 3), make([]byte, 9)
	if n, err := Preadv(fd, [][]byte{p, {}, q}, 0); n != 6 || err != nil {
		t.Fatalf("Preadv = %d, %v", n, err)
	}
	if got := string(p) + string(q[:3]); got != "\x00abcde" {
		t.Errorf("read %q", got)
	}
	// More buffers than one call takes: it takes those it can.
	many := make([][]byte, MaxIovecs+10)
	for i := range many {
		many[i] = []byte{byte(i)}
	}
	if n, err := Pwritev(fd, many, 0); n != MaxIovecs || err != nil {
		t.Errorf("Pwritev of %d buffers = %d, %v", len(many), n, err)
	}
	if n, err := Preadv(fd, many, 0); n != MaxIovecs || err != nil {
		t.Errorf("Preadv of %d buffers = %d, %v", len(many), n, err)
	}
	if n, err := Preadv(fd, many, -1); n != 0 || err != syscall.EINVAL {
		t.Errorf("Preadv at -1 = %d, %v, want EINVAL", n, err)
	}
	if n, err := Pwritev(fd, many, -1); n != 0 || err != syscall.EINVAL {
		t.Errorf("Pwritev at -1 = %d, %v, want EINVAL", n, err)
	}
	if n, err := Preadv(fd, nil, 0); n != 0 || err != nil {
		t.Errorf("Preadv of nothing = %d, %v", n, err)
	}
}

func TestAllocate(t *testing.T) {
	f := tempFile(t, "x")
	fd := int(f.Fd())
	if err := Allocate(fd, 4096, 8192); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no fallocate on the temporary directory: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 4096+8192 {
		t.Errorf("size is %d, %v, want %d", info.Size(), err, 4096+8192)
	}
	if err := Fdatasync(fd); err != nil {
		t.Errorf("Fdatasync: %v", err)
	}
	if err := Allocate(fd, -1, 1); err != syscall.EINVAL {
		t.Errorf("Allocate at -1: %v, want EINVAL", err)
	}
}

func TestSetDirect(t *testing.T) {
	fd := int(tempFile(t, "").Fd())
	before, err := StatusFlags(fd)
	if err != nil || before&ODirect != 0 || before&syscall.O_ACCMODE != os.O_RDWR {
		t.Fatalf("StatusFlags = %#o, %v", before, err)
	}
	if err := SetDirect(fd, true); err == syscall.EINVAL {
		t.Skip("no direct I/O on the temporary directory")
	} else if err != nil {
		t.Fatal(err)
	}
	if flags, err := StatusFlags(fd); flags != before|ODirect || err != nil {
		t.Errorf("StatusFlags = %#o, %v, want %#o", flags, err, before|ODirect)
	}
	if err := SetDirect(fd, false); err != nil {
		t.Fatal(err)
	}
	if flags, err := StatusFlags(fd); flags != before || err != nil {
		t.Errorf("StatusFlags = %#o, %v, want %#o", flags, err, before)
	}
}

func TestFileSystem(t *testing.T) {
	if f, err := os.Open("/proc/filesystems"); err == nil {
		defer f.Close()
		if fs, err := FileSystem(int(f.Fd())); fs != Proc || err != nil {
			t.Errorf("FileSystem of /proc = %v, %v", fs, err)
		}
	}
	fs, err := FileSystem(int(tempFile(t, "").Fd()))
	if fs <= 0 || err != nil {
		t.Errorf("FileSystem = %v, %v", fs, err)
	}
	t.Logf("the temporary directory is on %v", fs)
}

func TestDirectAlignment(t *testing.T) {
	a, ok := DirectAlignment(int(tempFile(t, "").Fd()))
	t.Logf("the temporary directory wants %+v, %v", a, ok)
	powerOfTwo := func(n int) bool { return n > 0 && n&(n-1) == 0 }
	if ok && !(powerOfTwo(a.Memory) && powerOfTwo(a.Offset) && powerOfTwo(a.ReadOffset)) {
		t.Errorf("%+v is no alignment", a)
	}
	if !ok && a != (Alignment{}) {
		t.Errorf("%+v is not zero", a)
	}
}

func TestStatxAlignment(t *testing.T) {
	const dio, read = unix.STATX_DIOALIGN, unix.STATX_DIO_READ_ALIGN
	for _, c := range []struct {
		name                    string
		mask, mem, off, readOff uint32
		want                    Alignment
	}{
		{"not reported", unix.STATX_BASIC_STATS, 512, 512, 512, Alignment{}},
		{"no direct I/O", dio | read, 0, 0, 0, Alignment{}},
		{"one for all", dio, 4, 512, 0, Alignment{4, 512, 512}},
		{"noise without its bit", dio, 4, 512, 1, Alignment{4, 512, 512}},
		{"reads are finer", dio | read, 4, 4096, 512, Alignment{4, 4096, 512}},
		{"bit without a value", dio | read, 4, 4096, 0, Alignment{4, 4096, 4096}},
	} {
		st := unix.Statx_t{Mask: c.mask, Dio_mem_align: c.mem, Dio_offset_align: c.off, Dio_read_offset_align: c.readOff}
		if a, ok := statxAlignment(&st); a != c.want || ok != (c.want != Alignment{}) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, a, ok, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	nr, limit, err := Limits()
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no native AIO here: %v", err)
	}
	if err != nil || nr < 0 || limit <= 0 {
		t.Errorf("Limits() = %d, %d, %v", nr, limit, err)
	}
}

func TestReadNumber(t *testing.T) {
	for text, want := range map[string]int64{"65536\n": 65536, "1048576000000": 1048576000000} {
		name := filepath.Join(t.TempDir(), "number")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := readNumber(name); n != want || err != nil {
			t.Errorf("readNumber(%q) = %d, %v", text, n, err)
		}
	}
	if _, err := readNumber(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("readNumber of no file: %v", err)
	}
}

func TestIgnoringEINTR(t *testing.T) {
	for _, want := range []error{nil, syscall.EIO} {
		calls := 0
		err := ignoringEINTR(func() error {
			if calls++; calls < 3 {
				return syscall.EINTR
			}
			return want
		})
		if err != want || calls != 3 {
			t.Errorf("%v after %d calls, want %v after 3", err, calls, want)
		}
	}
}

func BenchmarkPreadNoWait(b *testing.B) {
	f := tempFile(b, string(bytes.Repeat([]byte("x"), 4096)))
	fd, p := int(f.Fd()), AlignedSlice(4096, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := PreadNoWait(fd, p, 0); err != nil {
			b.Skip(err)
		}
	}
}

func TestSize(t *testing.T) {
	f := tempFile(t, "twelve bytes")
	fd := int(f.Fd())
	if n, err := Size(fd); n != 12 || err != nil {
		t.Errorf("Size = %d, %v, want 12", n, err)
	}
	if err := f.Truncate(1<<33 + 1); err != nil {
		t.Fatal(err)
	}
	if n, err := Size(fd); n != 1<<33+1 || err != nil {
		t.Errorf("Size = %d, %v, want %d", n, err, int64(1<<33+1))
	}
	if n, err := Size(-1); n != 0 || err != syscall.EBADF {
		t.Errorf("Size of a bad descriptor = %d, %v, want EBADF", n, err)
	}
	if n := testing.AllocsPerRun(100, func() { Size(fd) }); n != 0 && runtime.GOARCH != "loong64" {
		t.Errorf("%v allocations, want 0", n)
	}
	if n := BlockSize(fd); n <= 0 || n&(n-1) != 0 {
		t.Errorf("BlockSize = %d", n)
	}
	if n := BlockSize(-1); n != 0 {
		t.Errorf("BlockSize of a bad descriptor = %d, want 0", n)
	}
}

// TestReopenNameless: a file that never had a name is opened, not another one.
func TestReopenNameless(t *testing.T) {
	dir := t.TempDir()
	for what, open := range map[string]func() (int, error){
		"O_TMPFILE": func() (int, error) { return unix.Open(dir, unix.O_RDWR|unix.O_TMPFILE, 0o600) },
		"memfd":     func() (int, error) { return unix.MemfdCreate("memfd", 0) },
	} {
		t.Run(what, func(t *testing.T) {
			fd, err := open()
			if err != nil {
				t.Skip(err)
			}
			defer unix.Close(fd)
			again, err := Reopen(fd)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(again)
			if _, err := Pwrite(again, []byte("text"), 0); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 5)
			if n, err := Pread(fd, p, 0); n != 4 || err != nil || string(p[:n]) != "text" {
				t.Errorf("read %q, %v", p[:n], err)
			}
		})
	}
}

// TestReopenFlags: what is opened may write if the first may, writes as that
// does, and asks for nothing else.
func TestReopenFlags(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const all = unix.O_ACCMODE | unix.O_APPEND | unix.O_DSYNC | unix.O_SYNC | unix.O_NONBLOCK |
		ODirect | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CREAT | unix.O_TRUNC
	for _, c := range []struct{ flags, want int }{
		{unix.O_RDONLY, unix.O_RDONLY},
		{unix.O_WRONLY, unix.O_WRONLY},
		{unix.O_RDWR, unix.O_WRONLY},
		{unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_NONBLOCK, unix.O_WRONLY},
		{unix.O_WRONLY | unix.O_APPEND, unix.O_WRONLY | unix.O_APPEND},
		{unix.O_RDWR | unix.O_DSYNC, unix.O_WRONLY | unix.O_DSYNC},
		{unix.O_RDWR | unix.O_SYNC | unix.O_CREAT | unix.O_TRUNC, unix.O_WRONLY | unix.O_SYNC},
		{unix.O_RDWR | ODirect, unix.O_WRONLY},
	} {
		fd, err := unix.Open(name, c.flags, 0)
		if err != nil {
			t.Logf("flags %#x: %v", c.flags, err)
			continue
		}
		again, err := Reopen(fd)
		unix.Close(fd)
		if err != nil {
			t.Errorf("flags %#x: %v", c.flags, err)
			continue
		}
		if got, err := StatusFlags(again); got&all != c.want || err != nil {
			t.Errorf("flags %#x are reopened with %#x, %v; want %#x", c.flags, got, err, c.want)
		}
		if got, err := unix.FcntlInt(uintptr(again), unix.F_GETFD, 0); got != unix.FD_CLOEXEC || err != nil {
			t.Errorf("flags %#x: a child process would inherit it: %d, %v", c.flags, got, err)
		}
		unix.Close(again)
	}
}

// TestFlush: dirty pages are clean afterwards, which dropping clean ones shows.
func TestFlush(t *testing.T) {
	f := tempFile(t, "")
	fd := int(f.Fd())
	const size = 64 << 10
	if _, err := f.WriteAt(bytes.Repeat([]byte("x"), size), 0); err != nil {
		t.Fatal(err)
	}
	switch err := Flush(fd, 0, size); {
	case errors.Is(err, errors.ErrUnsupported):
		t.Skip("the file system cannot")
	case err != nil:
		t.Fatal(err)
	}
	Uncache(fd, 0, size)
	p, err := unix.Mmap(fd, 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(p)
	cached := make([]byte, size/os.Getpagesize()) // a byte a page
	if _, _, errno := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&p[0])), size, uintptr(unsafe.Pointer(&cached[0]))); errno != 0 {
		t.Fatal(errno)
	}
	if bytes.Contains(cached, []byte{1}) {
		t.Errorf("pages that are not clean: %v", cached)
	}
	if err := Flush(fd, 1<<40, 1); err != nil {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestUnwritten: blocks that are only allocated are not written, whatever the page
// cache holds for them, and however many extents they are.
func TestUnwritten(t *testing.T) {
	f := tempFile(t, strings.Repeat("x", 64<<10))
	fd := int(f.Fd())
	const block = 4096
	want := func(off int64, want bool) {
		t.Helper()
		switch got, err := Unwritten(fd, off); {
		case errors.Is(err, errors.ErrUnsupported):
			t.Skip("the file system cannot tell")
		case got != want || err != nil:
			t.Errorf("from %d on: %v, %v; want %v", off, got, err, want)
		}
	}
	if err := f.Truncate(1000); err != nil { // which leaves zeros in the page cache
		t.Fatal(err)
	}
	want(0, false)
	want(2*block, true)
	for i := range 50 {
		if err := Allocate(fd, int64(2+2*i)*block, block); err != nil {
			t.Skip(err)
		}
	}
	want(0, false)
	want(2*block, true)
	want(1<<40, true)
	if _, err := f.WriteAt([]byte("x"), 98*block); err != nil {
		t.Fatal(err)
	}
	want(2*block, false)
	want(98*block, false)
	want(99*block, true)
}

// TestKeepAccessTime: the flag is set for so long, and left as it was found.
func TestKeepAccessTime(t *testing.T) {
	fd := int(tempFile(t, "text").Fd())
	for _, already := range []bool{false, true} {
		if err := setStatusFlag(fd, unix.O_NOATIME, already); err != nil {
			t.Fatal(err)
		}
		before, _ := StatusFlags(fd)
		KeepAccessTime(fd, func() {
			if flags, err := StatusFlags(fd); flags != before|unix.O_NOATIME || err != nil {
				t.Errorf("flags %#x, %v; want O_NOATIME beside %#x", flags, err, before)
			}
		})
		if flags, err := StatusFlags(fd); flags != before || err != nil {
			t.Errorf("flags %#x are left, %v; want %#x", flags, err, before)
		}
	}
}
