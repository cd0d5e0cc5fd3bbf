package failures

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// TestThrottled has a cgroup let a few operations a second pass to a device, in a
// process of its own. None fails; waits can be given up; another device goes on.
func TestThrottled(t *testing.T) {
	const slow, fast, procs = "ASYNCFILE_SLOW", "ASYNCFILE_FAST", "ASYNCFILE_PROCS"
	if os.Getenv("ASYNCFILE_CHILD") == "" {
		fs := disks.FS{Name: "device", Size: 1 << 20}
		device := fs.Loop(t)
		t.Setenv(slow, device)
		t.Setenv(fast, fs.Loop(t))
		t.Setenv(procs, disks.Throttle(t, device, 20))
		inChild(t)
		return
	}
	if err := os.WriteFile(os.Getenv(procs), fmt.Append(nil, os.Getpid()), 0); err != nil {
		t.Fatal(err)
	}
	for _, kind := range ringKinds {
		ring, err := asyncfile.NewRing(kind.opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer ring.Close()
		open := func(name string) *asyncfile.AsyncFile {
			f, err := asyncfile.OpenFile(os.Getenv(name), os.O_RDWR, 0,
				asyncfile.WithRing(ring), asyncfile.WithBackend(ring.Backend()), asyncfile.WithDirect(asyncfile.DirectRequire))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		a, b := open(slow), open(fast)
		defer a.Close()
		defer b.Close()
		const count, size = 12, 4096
		var writes, others []*asyncfile.Future
		for i := range int64(count) {
			writes = append(writes, a.WriteAt(stretch(i*size, size, fresh), i*size))
			others = append(others, transferAt(b, i, size))
		}
		if err := asyncfile.WaitAll(others...); err != nil {
			t.Errorf("%s: on the other device: %v", kind.name, err)
		}
		over, cancel := context.WithCancel(context.Background())
		cancel()
		read := a.ReadAt(asyncfile.AlignedBuffer(size), 0)
		if _, err := read.WaitContext(over); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: a wait that was given up: %v", kind.name, err)
		}
		if err := asyncfile.WaitAll(append(writes, read)...); err != nil {
			t.Errorf("%s: %v", kind.name, err)
		}
		p := asyncfile.AlignedBuffer(count * size)
		if _, err := a.ReadAt(p, 0).Wait(); err != nil || !bytes.Equal(p, stretch(0, len(p), fresh)) {
			t.Errorf("%s: other bytes: %v", kind.name, err)
		}
	}
}
