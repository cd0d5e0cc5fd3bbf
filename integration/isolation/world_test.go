package isolation

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disk"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// kinds are the file systems that a test freezes.
var kinds = []disks.FS{
	{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Size: 64 << 20},
	{Name: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-f"}, Size: 320 << 20},
	{Name: "btrfs", Mkfs: []string{"mkfs.btrfs", "-q", "-f"}, Size: 256 << 20},
}

// A world is two file systems, on a device each. Tests freeze A, or what its
// device is an image in, or its server.
type world struct {
	a, b, beneath string
	server        *disk.Files
}

// each runs test on every kind of file system.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	for _, kind := range kinds {
		t.Run(kind.Name, func(t *testing.T) {
			test(t, &world{a: kind.Mount(t), b: kind.Mount(t)})
		})
	}
}

// patience is for how long what must not wait for the thaw may take. It is there
// to fail instead of hanging: nothing else depends on it.
const patience = 4 * time.Second

// A winter is a time in which A is frozen.
type winter struct {
	t      *testing.T
	thaw   func()
	sleeps func() bool // reports whether something waits for the thaw
}

func (w *world) freeze(t *testing.T) *winter {
	t.Helper()
	sleeps := func() bool { return disks.Sleepers() > 0 }
	switch {
	case w.server != nil:
		w.server.Hang()
		t.Cleanup(w.server.Answer)
		return &winter{t, w.server.Answer, func() bool { return w.server.Held() > 0 }}
	case w.beneath == "":
		return &winter{t, disks.Freeze(t, w.a), sleeps}
	}
	// Of what comes to the device, only writes sleep in what is beneath, and the
	// rest behind them. So there is one, of a file of nobody's.
	f, err := os.CreateTemp(w.a, "hang-*")
	if err != nil {
		t.Fatal(err)
	}
	thaw := disks.Freeze(t, w.beneath)
	ended := make(chan error, 1)
	go func() {
		_, err := f.Write(block)
		ended <- errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	}()
	thawed := sync.OnceFunc(func() {
		thaw()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(thawed)
	return &winter{t, thawed, sleeps}
}

// must runs do, which has to end while A is frozen, and thaws A if it does not.
func (w *winter) must(what string, do func()) bool {
	w.t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); do() }()
	select {
	case <-ended:
		return true
	case <-time.After(patience):
		w.t.Errorf("%s waited for the other file system to be thawed", what)
		w.thaw()
		<-ended
		return false
	}
}

// hasSleeper waits until something in the kernel waits for A.
func (w *winter) hasSleeper() {
	w.t.Helper()
	if !await(w.sleeps) {
		w.t.Error("nothing sleeps in the kernel, but it should")
	}
}

// await waits until a condition that nothing tells of is met, with patience.
func await(met func() bool) bool {
	for end := time.Now().Add(patience); !met(); runtime.Gosched() {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// fileSize is what files have in the beginning, in bytes.
const fileSize = 4 << 20

// direct and buffered are how a file is opened.
var (
	direct   = []asyncfile.Option{asyncfile.WithDirect(asyncfile.DirectRequire)}
	buffered = []asyncfile.Option{}
)

func with(opts []asyncfile.Option, more ...asyncfile.Option) []asyncfile.Option {
	return append(slices.Clip(opts), more...)
}

// newFile makes a file in dir that is written and synced, and opens it.
func newFile(t *testing.T, dir string, flag int, opts ...asyncfile.Option) *asyncfile.AsyncFile {
	t.Helper()
	osf, err := os.CreateTemp(dir, "file-*")
	if err != nil {
		t.Fatal(err)
	}
	defer osf.Close()
	t.Cleanup(func() { os.Remove(osf.Name()) })
	if _, err := osf.Write(pattern(fileSize)); err != nil {
		t.Fatal(err)
	}
	if err := osf.Sync(); err != nil {
		t.Fatal(err)
	}
	f, err := asyncfile.OpenFile(osf.Name(), os.O_RDWR|flag, 0, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// pattern returns the first n bytes of every file.
func pattern(n int) []byte {
	p := asyncfile.AlignedBuffer(n)
	rand.NewChaCha8([32]byte{}).Read(p)
	return p
}

// filled returns n bytes of one value.
func filled(n int, with byte) []byte {
	p := asyncfile.AlignedBuffer(n)
	for i := range p {
		p[i] = with
	}
	return p
}

// holds checks that f has want at off, by a plain read.
func holds(t *testing.T, f *asyncfile.AsyncFile, off int64, want []byte) {
	t.Helper()
	osf, err := os.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer osf.Close()
	got := make([]byte, len(want))
	if _, err := osf.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s does not hold what was written at %d: %v", filepath.Base(f.Name()), off, err)
	}
}

// A traffic is one operation after the other, on B, for as long as it runs.
type traffic struct {
	measures chan measure
	quit     func()
	ended    chan struct{}
	err      error // the first, once ended
}

// A measure asks for the times of the next n operations.
type measure struct {
	n  int
	to chan []time.Duration
}

// begin begins traffic of which op is the i-th operation.
func begin(t *testing.T, op func(i int) error) *traffic {
	quit := make(chan struct{})
	tr := &traffic{measures: make(chan measure), quit: sync.OnceFunc(func() { close(quit) }), ended: make(chan struct{})}
	go func() {
		defer close(tr.ended)
		var m measure
		var times []time.Duration
		for i := 0; tr.err == nil; i++ {
			select {
			case <-quit:
				return
			case m = <-tr.measures:
				times = nil
			default:
			}
			start := time.Now()
			tr.err = op(i)
			if times = append(times, time.Since(start)); len(times) == m.n {
				m.to <- times
				m.n = 0
			}
		}
	}()
	t.Cleanup(tr.quit)
	return tr
}

// take returns how long each of the next n operations took.
func (tr *traffic) take(n int) (d durations) {
	to := make(chan []time.Duration, 1)
	select {
	case tr.measures <- measure{n, to}:
	case <-tr.ended:
		return nil
	}
	select {
	case d = <-to:
	case <-tr.ended:
	}
	return d
}

// end ends the traffic and returns its first error.
func (tr *traffic) end() error {
	tr.quit()
	<-tr.ended
	return tr.err
}

type durations []time.Duration

func (d durations) median() time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(d))[len(d)/2]
}

func (d durations) String() string {
	if len(d) == 0 {
		return "none"
	}
	return fmt.Sprintf("p50 %v max %v", d.median().Round(time.Microsecond), slices.Max(d).Round(time.Microsecond))
}
