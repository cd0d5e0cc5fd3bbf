package aio

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRanges: each call does what its name says, and nothing to the rest of the file.
func TestRanges(t *testing.T) {
	const block = 64 << 10 // no file system here has larger ones
	f := tempFile(t, "")
	fd := int(f.Fd())
	data := bytes.Repeat([]byte{0xaa}, 4*block)
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	want := bytes.Clone(data)
	if err := PunchHole(fd, block, block); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no holes on the temporary directory: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	clear(want[block : 2*block])
	for _, c := range []struct{ off, from, to int64 }{
		{0, 0, block}, {5, 5, block}, {block, 2 * block, 4 * block}, {3 * block, 3 * block, 4 * block},
	} {
		if from, to, err := NextData(fd, c.off); from != c.from || to != c.to || err != nil {
			t.Errorf("NextData from %d on: %d to %d, %v; want %d to %d", c.off, from, to, err, c.from, c.to)
		}
	}
	if _, _, err := NextData(fd, 4*block); err != syscall.ENXIO {
		t.Errorf("NextData at the end: %v", err)
	}
	if err := ZeroRange(fd, 4*block-1, 2); err == nil {
		want = append(want[:4*block-1], 0, 0)
	} else if !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if err := Prefetch(fd, 0, MaxPrefetch); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has %d bytes, %v, want %d, or others", len(got), err, len(want))
	}
}

// TestTryLock: one open file has it, and a duplicate of it; who closes it gives it up.
func TestTryLock(t *testing.T) {
	f := tempFile(t, "")
	other, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for range 2 {
		if err := TryLock(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	if err := TryLock(int(other.Fd())); err != syscall.EWOULDBLOCK {
		t.Errorf("the second lock: %v", err)
	}
	f.Close()
	if err := TryLock(int(other.Fd())); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestOwner(t *testing.T) {
	f := tempFile(t, "")
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if uid, gid, ok := Owner(info); uid != int(st.Uid) || gid != int(st.Gid) || !ok {
		t.Errorf("Owner: %d, %d, %v", uid, gid, ok)
	}
}
