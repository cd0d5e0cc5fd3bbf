package asyncfile

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// failingDevice mounts, where no other process sees it, an ext4 on a loop device
// whose file cannot grow: metadata, which has been written there before, can be
// written again, and data cannot. Without a journal it goes on after that.
const failingDevice = `
{ mkdir "$D/tmpfs" "$D/disk" && mount -t tmpfs -o size=24m none "$D/tmpfs" && truncate -s 64M "$D/tmpfs/image" &&
  mkfs.ext4 -q -b 4096 -O ^has_journal -E lazy_itable_init=0,nodiscard -N 1024 "$D/tmpfs/image" && mount -o loop "$D/tmpfs/image" "$D/disk"
} >/dev/null 2>&1 || { echo "cannot mount"; exit; }
echo >"$D/disk/first"
sync
dd if=/dev/zero of="$D/tmpfs/rest" bs=4k 2>/dev/null
"$0" "$@"; status=$?
umount "$D/disk" "$D/tmpfs"
exit $status`

// TestWriteBackErrors has the device lose data that was written to the page
// cache. The kernel tells each open file once, with fsync(2): so each Sync fails
// where that of an os.File does that was opened beside it, whatever the library
// did in between.
func TestWriteBackErrors(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("needs Linux and root, to mount")
	}
	script := `export D; exec unshare -m sh -c '` + failingDevice + `' "$0" "$@"`
	inShell(t, script, func(t *testing.T, dir string) {
		lost, calls := 0, 0
		for seed := range uint64(100) {
			for _, opts := range [][]Option{
				{WithDirect(DirectRequire)},
				{WithDirect(DirectRequire), WithBackend(BackendPool)},
				{WithDirect(DirectOff)},
			} {
				failed := lossy(t, seed, filepath.Join(dir, "disk", "file"), opts...)
				for _, f := range failed {
					if calls++; f {
						lost++
					}
				}
			}
		}
		if lost == 0 || lost == calls {
			t.Errorf("%d of %d calls of Sync failed: that proves nothing", lost, calls)
		}
	})
}

// lossy makes calls that depend on seed alone, and returns which of those of
// Sync failed.
func lossy(t *testing.T, seed uint64, name string, opts ...Option) (failed []bool) {
	t.Helper()
	a, err := Create(name, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(name)
	defer a.Close()
	other, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if seed%2 == 1 {
		a.core.Companion.Reopen = refuseReopen
	}
	f := a.File()
	rng := rand.New(rand.NewPCG(seed, 1))
	for step := range 40 {
		off := rng.Int64N(11_000) // of so few blocks that the file needs none for their list
		switch rng.IntN(8) {
		case 0, 1: // by somebody else, so that only the page cache has it
			if _, err := other.WriteAt(make([]byte, 1+rng.IntN(5000)), off); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := f.Truncate(off); err != nil {
				t.Fatal(err)
			}
		case 3: // of a direct file, these may say at once that the device refuses it
			f.WriteAt(make([]byte, 1+rng.IntN(100)), off)
		case 4:
			f.WriteAt(AlignedBuffer(4096), off&^4095)
		case 5:
			f.ReadAt(make([]byte, 100), off)
		default:
			sync := []func() error{
				f.Sync,
				func() error { _, err := a.Sync().Wait(); return err },
				func() error { _, err := a.Datasync().Wait(); return err },
			}[rng.IntN(3)]
			err, want := sync(), other.Sync()
			if (err == nil) != (want == nil) || errors.Is(err, syscall.ENOSPC) != errors.Is(want, syscall.ENOSPC) {
				t.Fatalf("direct %v, seed %d, step %d: Sync: %v; of another file: %v", a.Direct(), seed, step, err, want)
			}
			failed = append(failed, err != nil)
		}
	}
	return failed
}
