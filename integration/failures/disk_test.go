package failures

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disk"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// onDisk are file systems on a disk that fails. Not btrfs: it leaves a file as large
// as a direct write would have made it that has failed, whoever made it.
var onDisk = []disks.FS{
	{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Size: 64 << 20},
	{Name: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-f"}, Size: 320 << 20},
}

// mount makes the file system on a disk of its own.
func mount(t *testing.T, fs disks.FS) (*disk.Disk, string) {
	t.Helper()
	d := disk.New(t, fs.Size, 512, 1)
	fs.Format(t, d.Device)
	dir, _, err := fs.MountDevice(t, d.Device)
	if err != nil {
		disks.Unable(t, "%v", err)
	}
	return d, dir
}

// TestFailingDisk has file systems on disks that fail writes of some of the bytes,
// the same ones for os.File and for the library. What goes through the page cache
// does not belong here: see TestOddWrites.
func TestFailingDisk(t *testing.T) {
	for _, fs := range onDisk {
		t.Run(fs.Name, func(t *testing.T) {
			r, _ := random(t)
			on := make(map[string]*disk.Disk)
			bad := byte(0)
			s := &shortage{
				room: 32 << 10, // somewhere in the first of what is written
				only: func(tr *trial) bool {
					bad = fresh(r.Int64N(100) << 9)
					return tr.aligned() && tr.flag()&os.O_APPEND == 0
				},
				arm: func(t *testing.T, dir string) {
					syncfs(t, dir) // may tell of a failure of before
					on[dir].Inject(failsOn(bad))
				},
				heal: func(t *testing.T, dir string) { on[dir].Inject(nil) },
			}
			for i := range s.twin {
				d, dir := mount(t, fs)
				s.twin[i], on[dir] = dir, d
			}
			compare(t, s)
			for _, d := range on {
				if d.Count(disk.Write) == 0 {
					t.Error("nothing was written")
				}
			}
		})
	}
}

// failsOn returns the Rule that fails writes of sectors that are full of bad.
func failsOn(bad byte) disk.Rule {
	sector := bytes.Repeat([]byte{bad}, 512)
	return func(r *disk.Request) (f disk.Fault) {
		for at := 0; at < len(r.Data); at += len(sector) {
			if bytes.Equal(r.Data[at:min(at+len(sector), len(r.Data))], sector) {
				f.Err = syscall.EIO
			}
		}
		return f
	}
}

// TestPulledDisk pulls a disk out under operations that hang in it. All of them
// fail, and whatever comes after; those on another disk, on the same Ring, do not.
func TestPulledDisk(t *testing.T) {
	const count, size = 48, 4096
	for _, kind := range ringKinds {
		t.Run(kind.name, func(t *testing.T) {
			pulled, other := disk.New(t, 1<<20, 512, 1), disk.New(t, 1<<20, 512, 1)
			before := resources()
			ring, err := asyncfile.NewRing(kind.opts...)
			if err != nil {
				t.Fatal(err)
			}
			files := make([]*asyncfile.AsyncFile, 2)
			for i, d := range []*disk.Disk{pulled, other} {
				files[i], err = asyncfile.OpenFile(d.Device, os.O_RDWR, 0,
					asyncfile.WithRing(ring), asyncfile.WithBackend(ring.Backend()), asyncfile.WithDirect(asyncfile.DirectRequire))
				if err != nil {
					t.Fatal(err)
				}
			}
			pulled.Script(t, "any hang")
			var lost, good []*asyncfile.Future
			for i := range int64(count) {
				lost = append(lost, transferAt(files[0], i, size))
				good = append(good, transferAt(files[1], i, size))
			}
			lost = append(lost, files[0].Sync())
			if err := asyncfile.WaitAll(good...); err != nil {
				t.Errorf("on the other disk: %v", err)
			}
			for _, future := range lost {
				if _, _, over := future.Result(); over {
					t.Error("an operation has ended that the disk has not answered")
				}
			}
			pulled.Pull()
			lost = append(lost, transferAt(files[0], 0, size), transferAt(files[0], 1, size))
			for i, future := range lost {
				if n, err := future.Wait(); n != 0 || errnoOf(err) != syscall.EIO {
					t.Errorf("operation %d: %d, %v", i, n, err)
				}
			}
			if _, err := transferAt(files[1], 0, size).Wait(); err != nil {
				t.Errorf("on the other disk: %v", err)
			}
			for _, c := range []io.Closer{files[0], files[1], ring} {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
			after := extra(before)
			for end := time.Now().Add(time.Minute); len(after) > 0 && time.Now().Before(end); after = extra(before) {
				runtime.Gosched() // a goroutine that has done everything still has to end
			}
			if len(after) > 0 {
				t.Errorf("is left: %q", after)
			}
		})
	}
}

// transferAt reads block i, or writes it if i is odd.
func transferAt(f *asyncfile.AsyncFile, i, size int64) *asyncfile.Future {
	if i%2 == 0 {
		return f.ReadAt(asyncfile.AlignedBuffer(int(size)), i*size)
	}
	return f.WriteAt(stretch(i*size, int(size), fresh), i*size)
}

// extra returns what the process has more than before.
func extra(before []string) []string {
	now := resources()
	for _, was := range before {
		if i := slices.Index(now, was); i >= 0 {
			now = slices.Delete(now, i, i+1)
		}
	}
	return now
}

// resources returns what this process has of Rings and files: goroutines of the
// library, descriptors of disks, and what has no name, as eventfd(2).
func resources() (list []string) {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for line := range strings.Lines(string(stacks)) {
		if by, ok := strings.CutPrefix(line, "created by "+module); ok && !strings.HasPrefix(by, "/integration") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	open, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range open {
		name, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err == nil && (strings.HasPrefix(name, "/dev/loop") || strings.HasPrefix(name, "anon_inode:")) {
			list = append(list, name)
		}
	}
	return list
}

const module = "github.com/seed-39be8cca/asyncfile"

// TestFlush has flushes of a disk hang and fail. Syncs wait and tell; reads and
// writes do neither.
func TestFlush(t *testing.T) {
	for _, kind := range ringKinds {
		for _, sync := range []func(*asyncfile.AsyncFile) *asyncfile.Future{(*asyncfile.AsyncFile).Sync, (*asyncfile.AsyncFile).Datasync} {
			d := disk.New(t, 1<<20, 512, 1)
			f, err := asyncfile.OpenFile(d.Device, os.O_RDWR, 0, append(kind.opts, asyncfile.WithDirect(asyncfile.DirectRequire))...)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			d.Script(t, "flush hang")
			write := transferAt(f, 1, 4096)
			hung := sync(f)
			behind := []*asyncfile.Future{write, transferAt(f, 2, 4096)}
			if err := asyncfile.WaitAll(behind...); err != nil {
				t.Errorf("%s: beside a Sync: %v", kind.name, err)
			}
			if _, _, over := hung.Result(); over {
				t.Errorf("%s: Sync has ended, and the disk has not flushed", kind.name)
			}
			d.Script(t, "flush eio")
			if _, err := hung.Wait(); errnoOf(err) != syscall.EIO {
				t.Errorf("%s: Sync: %v", kind.name, err)
			}
			d.Inject(nil)
			before := d.Count(disk.Flush)
			if err := asyncfile.WaitAll(transferAt(f, 3, 4096), sync(f)); err != nil {
				t.Errorf("%s: %v", kind.name, err)
			}
			if d.Count(disk.Flush) == before || d.Unflushed() > 0 {
				t.Errorf("%s: Sync has not flushed the disk", kind.name)
			}
		}
	}
}

// TestSlowDisk has places of a disk be slow, and the whole of it take few requests
// a second. That changes no result.
func TestSlowDisk(t *testing.T) {
	const count, size = 64, 4096
	for _, kind := range ringKinds {
		d := disk.New(t, 1<<20, 512, 1)
		d.Script(t, "any 0+16384 delay 20ms\nany throttle 1000")
		f, err := asyncfile.OpenFile(d.Device, os.O_RDWR, 0, append(kind.opts, asyncfile.WithDirect(asyncfile.DirectRequire))...)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var writes, reads []*asyncfile.Future
		var got [][]byte
		for i := range int64(count) {
			writes = append(writes, f.WriteAt(stretch(i*size, size, fresh), i*size))
		}
		if err := asyncfile.WaitAll(append(writes, f.Sync())...); err != nil {
			t.Error(err)
		}
		for i := range int64(count) {
			got = append(got, asyncfile.AlignedBuffer(size))
			reads = append(reads, f.ReadAt(got[i], i*size))
		}
		if err := asyncfile.WaitAll(reads...); err != nil {
			t.Error(err)
		}
		for i, p := range got {
			if !bytes.Equal(p, stretch(int64(i)*size, size, fresh)) {
				t.Errorf("%s: block %d has other bytes", kind.name, i)
			}
		}
	}
}
