package failures

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
	"golang.org/x/sys/unix"
)

// A shortage is why writes fail.
type shortage struct {
	room  int64                          // bytes that fit, about
	vague bool                           // how many differs from time to time
	only  func(tr *trial) bool           // what is tried; everything if nil
	arm   func(t *testing.T, dir string) // makes it so
	heal  func(t *testing.T, dir string) // lets writes succeed again
	twin  [2]string                      // folders: of os.File, and of the subject
}

// fullDisks are file systems to be filled.
var fullDisks = []disks.FS{
	{Name: "tmpfs", Size: 8 << 20},
	{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-m", "0"}, Size: 24 << 20},
	{Name: "ext4-1k", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-m", "0", "-b", "1024"}, Size: 24 << 20},
	{Name: "ext4-indirect", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^extent,^64bit,^has_journal"}, Size: 8 << 20}, // has no fallocate
	{Name: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-f"}, Size: 320 << 20},
}

// TestFullDisk writes to file systems with little room.
func TestFullDisk(t *testing.T) {
	for _, fs := range fullDisks {
		t.Run(fs.Name, func(t *testing.T) {
			const room = 512 << 10
			compare(t, &shortage{
				room:  room,
				vague: fs.Name == "xfs", // which reserves blocks ahead
				arm:   func(t *testing.T, dir string) { fill(t, dir, room) },
				heal:  func(t *testing.T, dir string) { empty(t, dir) },
				twin:  [2]string{fs.Mount(t), fs.Mount(t)},
			})
		})
	}
}

// TestFileSizeLimit writes beyond RLIMIT_FSIZE, in a process of its own.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv("ASYNCFILE_CHILD") == "" {
		inChild(t)
		return
	}
	const room = 512 << 10
	limit := func(t *testing.T, n uint64) {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { limit(t, unix.RLIM_INFINITY) })
	compare(t, &shortage{
		room: room,
		arm:  func(t *testing.T, dir string) { limit(t, room+2048) },
		heal: func(t *testing.T, dir string) { limit(t, unix.RLIM_INFINITY) },
		twin: [2]string{t.TempDir(), t.TempDir()},
	})
}

// TestQuota writes beyond a quota: that of a subvolume of btrfs, which holds for
// root, too.
func TestQuota(t *testing.T) {
	const room = 512 << 10
	btrfs := func(t *testing.T, args ...string) {
		t.Helper()
		if out, err := exec.Command("btrfs", args...).CombinedOutput(); err != nil {
			disks.Unable(t, "btrfs %v: %v: %s", args, err, out)
		}
	}
	s := &shortage{
		room:  room,
		vague: true, // metadata counts, too
		arm: func(t *testing.T, dir string) {
			flush(t, dir)
			btrfs(t, "qgroup", "limit", fmt.Sprint(room+32<<10), dir)
		},
		heal: func(t *testing.T, dir string) { btrfs(t, "qgroup", "limit", "none", dir) },
	}
	for i := range s.twin {
		dir := disks.FS{Name: "btrfs", Mkfs: []string{"mkfs.btrfs", "-q", "-f"}, Size: 128 << 20}.Mount(t)
		s.twin[i] = filepath.Join(dir, "sub")
		btrfs(t, "quota", "enable", dir)
		btrfs(t, "subvolume", "create", s.twin[i])
	}
	compare(t, s)
}

// TestOsFile compares os.File with itself: where it differs, so may others.
func TestOsFile(t *testing.T) {
	for _, fs := range fullDisks {
		t.Run(fs.Name, func(t *testing.T) {
			const room = 512 << 10
			s := &shortage{
				room:  room,
				vague: fs.Name == "xfs", // which reserves blocks ahead
				arm:   func(t *testing.T, dir string) { fill(t, dir, room) },
				heal:  func(t *testing.T, dir string) { empty(t, dir) },
				twin:  [2]string{fs.Mount(t), fs.Mount(t)},
			}
			r, seed := random(t)
			for range 24 {
				tr := &trial{route: []string{"WriteAt", "File.Write"}[r.IntN(2)], ring: "os.File", direct: r.IntN(2) == 0}
				tr.draw(r, s.room)
				s.try(t, tr, plain)
				if t.Failed() {
					t.Fatalf("ASYNCFILE_SEED=%d", seed)
				}
			}
		})
	}
}

func random(t *testing.T) (*rand.Rand, uint64) {
	seed := rand.Uint64()
	if text := os.Getenv("ASYNCFILE_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// ringKinds are the Rings on which files are tried.
var ringKinds = []struct {
	name string
	opts []asyncfile.Option
}{
	{"AIO", []asyncfile.Option{asyncfile.WithBackend(asyncfile.BackendAIO)}},
	{"AIO with an eventfd", []asyncfile.Option{asyncfile.WithBackend(asyncfile.BackendAIO), asyncfile.WithWaitMode(asyncfile.WaitEventFD)}},
	{"the pool", []asyncfile.Option{asyncfile.WithBackend(asyncfile.BackendPool)}},
}

// compare tries every route on every kind of Ring, with sizes drawn at random.
func compare(t *testing.T, s *shortage) {
	r, seed := random(t)
	for _, ring := range ringKinds {
		on, err := asyncfile.NewRing(ring.opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer on.Close()
		draws := 4
		if on.Backend() == asyncfile.BackendAIO && ring.name != "AIO" {
			draws = 2 // it differs in how it waits
		}
		for _, route := range routes {
			for i := range draws {
				tr := &trial{route: route, ring: ring.name, direct: i%2 == 0, deadline: i >= 2}
				if tr.draw(r, s.room); i < 2 { // far beyond the end
					tr.size, tr.n = 4096, 4<<20
					if tr.off = 1 << 30; tr.appends() {
						tr.off = tr.size
					}
				}
				if s.only != nil && !s.only(tr) {
					continue
				}
				s.try(t, tr, func(t *testing.T, name string, tr *trial) *subject { return open(t, name, tr, on) })
			}
		}
	}
	if t.Failed() {
		t.Logf("ASYNCFILE_SEED=%d", seed)
	}
}

// try makes one trial on both twins.
func (s *shortage) try(t *testing.T, tr *trial, open func(*testing.T, string, *trial) *subject) {
	t.Helper()
	var first, rest [2]*outcome
	for i, dir := range s.twin {
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, stretch(0, int(tr.size), old), 0o600); err != nil {
			t.Fatal(err)
		}
		s.arm(t, dir)
		opener := plain
		if i == 1 {
			opener = open
		}
		f := opener(t, name, tr)
		first[i] = f.write(t, tr, 0)
		s.heal(t, dir)
		if done := first[i].n; done >= 0 && done < tr.n {
			rest[i] = f.write(t, tr, done)
		}
		if err := f.close(); err != nil {
			t.Errorf("%v: Close: %v", tr, err)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if s.vague {
		tr.true(t, first[1], first[1].n)
	} else {
		tr.check(t, first[1], first[0])
	}
	if rest := rest[1]; rest != nil {
		if rest.errno != nil || first[1].n+rest.n != tr.n {
			t.Errorf("%v: after %v the rest, with room: %v", tr, first[1], rest)
		} else {
			tr.true(t, rest, tr.n)
		}
	}
}

// fill leaves room bytes in the file system of dir.
func fill(t *testing.T, dir string, room int64) {
	t.Helper()
	flush(t, dir)
	f, err := os.OpenFile(filepath.Join(dir, "filler"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := int64(0); ; {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		more := int64(st.Bavail)*st.Bsize - room
		if more < st.Bsize {
			return
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, size, more); err != nil {
			if _, err := f.WriteAt(make([]byte, more), size); err != nil {
				t.Fatal(err)
			}
		}
		size += more
		flush(t, dir)
	}
}

// empty takes away what fill has put there.
func empty(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	flush(t, dir)
}

// flush has the file system of dir write everything, which gives it back the
// blocks of what was removed.
func flush(t *testing.T, dir string) {
	t.Helper()
	if err := syncfs(t, dir); err != nil {
		t.Fatal(err)
	}
}

func syncfs(t *testing.T, dir string) error {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
