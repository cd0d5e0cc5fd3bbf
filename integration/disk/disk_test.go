package disk

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	size   = 4 << 20
	sector = 512
)

// open opens the device so that each write(2) is a write of the disk.
func open(t *testing.T, d *Disk) *os.File {
	t.Helper()
	f, err := os.OpenFile(d.Device, os.O_RDWR|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// aligned returns n bytes of one value, fit for O_DIRECT.
func aligned(t *testing.T, n int, with byte) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(p) })
	for i := range p {
		p[i] = with
	}
	return p
}

// TestPower writes over the same places again and again, flushes now and then, and
// turns the power off. Then each sector has what it had at the last flush, or
// anything that was written there later. Over many times it is each of these
// sometimes.
func TestPower(t *testing.T) {
	const blocks, block, cycles = 8, 4 * sector, 60
	d := New(t, size, sector, 1)
	r := rand.New(rand.NewPCG(2, 0))
	var kept, lost, between, torn int
	for range cycles {
		f := open(t, d)
		before := aligned(t, blocks*block, 0)
		if _, err := f.ReadAt(before, 0); err != nil {
			t.Fatal(err)
		}
		// For each block, what was written to it since the flush, that included.
		var versions [blocks][]byte
		for i := range blocks {
			versions[i] = []byte{before[i*block]}
		}
		value := byte(0)
		for range 40 {
			i := r.IntN(blocks)
			value++
			if _, err := f.WriteAt(aligned(t, block, value), int64(i*block)); err != nil {
				t.Fatal(err)
			}
			if versions[i] = append(versions[i], value); r.IntN(10) > 0 {
				continue
			}
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			for i := range versions {
				versions[i] = versions[i][len(versions[i])-1:]
			}
		}
		d.Cut()
		if _, err := f.ReadAt(before, 0); !errors.Is(err, syscall.EIO) {
			t.Fatalf("without power: %v", err)
		}
		f.Close()
		d.Detach()
		d.Restore()
		d.Attach()
		f = open(t, d)
		after := aligned(t, blocks*block, 0)
		if _, err := f.ReadAt(after, 0); err != nil {
			t.Fatal(err)
		}
		for i, v := range versions {
			now := after[i*block:][:block]
			for at := 0; at < block; at += sector {
				if !bytes.Equal(now[at:at+sector], bytes.Repeat(now[at:at+1], sector)) {
					t.Fatal("a sector was torn")
				}
				switch at := bytes.IndexByte(v, now[at]); {
				case at < 0:
					t.Errorf("block %d has %d of %d", i, now[0], v)
				case len(v) == 1:
				case at == 0:
					lost++
				case at == len(v)-1:
					kept++
				default:
					between++
				}
			}
			if !bytes.Equal(now, bytes.Repeat(now[:1], block)) {
				torn++
			}
			// The next cycle takes a block as of one value.
			if _, err := f.WriteAt(aligned(t, block, now[0]), int64(i*block)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	t.Logf("of sectors not flushed %d had the last write, %d none, %d one between; %d blocks were torn", kept, lost, between, torn)
	if kept == 0 || lost == 0 || between == 0 || torn == 0 {
		t.Error("one of these never was")
	}
}

// TestFlush counts flushes, and has one lost.
func TestFlush(t *testing.T) {
	d := New(t, size, sector, 1)
	f := open(t, d)
	put := func(value byte) {
		t.Helper()
		if _, err := f.WriteAt(aligned(t, sector, value), 0); err != nil {
			t.Fatal(err)
		}
		before := d.Count(Flush)
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if n := d.Count(Flush) - before; n != 1 {
			t.Errorf("%d flushes for one fsync(2)", n)
		}
	}
	if put(1); d.Unflushed() != 0 {
		t.Errorf("%d writes unflushed", d.Unflushed())
	}
	d.Script(t, "flush lost")
	if put(2); d.Unflushed() != 1 {
		t.Errorf("%d writes unflushed, of 1", d.Unflushed())
	}
}

// TestFaults has a script, and looks at what becomes of requests.
func TestFaults(t *testing.T) {
	d := New(t, size, sector, 1)
	f := open(t, d)
	d.Script(t, `
		read 4096+512 eio
		write 8192+4096 torn 512    # the first sector is written
		write 16384+512 after 1 times 1 enospc
		write 20480+512 lost
	`)
	for _, try := range []struct {
		write  bool
		off, n int64
		want   error
	}{
		{false, 0, 4096, nil}, {false, 4096 + 512, 4096, nil}, {false, 4096, 512, syscall.EIO}, {false, 0, 8192, syscall.EIO},
		{true, 4096, 512, nil}, {true, 8192, 4096, syscall.EIO}, {true, 16384, 512, nil}, {true, 16384, 512, syscall.ENOSPC},
		{true, 16384, 512, nil}, {true, 20480, 512, nil},
	} {
		var err error
		if p := aligned(t, int(try.n), 7); try.write {
			_, err = f.WriteAt(p, try.off)
		} else {
			_, err = f.ReadAt(p, try.off)
		}
		if !errors.Is(err, try.want) || err != nil && try.want == nil {
			t.Errorf("%+v: %v", try, err)
		}
	}
	d.Inject(nil)
	p := aligned(t, 4096, 0)
	if _, err := f.ReadAt(p, 8192); err != nil || bytes.Count(p, []byte{7}) != 512 || p[0] != 7 {
		t.Errorf("of a torn write %d bytes are there, want 512: %v", bytes.Count(p, []byte{7}), err)
	}
	if _, err := f.ReadAt(p[:512], 20480); err != nil || p[0] != 0 {
		t.Errorf("a write that was lost is there: %v", err)
	}
}

// TestHang has one place hang. Others are as before, and that one when it does not
// hang any more.
func TestHang(t *testing.T) {
	d := New(t, size, sector, 1)
	f := open(t, d)
	d.Script(t, "any 4096+512 hang")
	var all sync.WaitGroup
	const count = 20 // more than a loop device has workers, or FUSE requests in the background by default
	hung, good := aligned(t, sector, 0), aligned(t, sector, 0)
	for range count {
		all.Go(func() {
			if _, err := f.ReadAt(hung, 4096); err != nil {
				t.Error(err)
			}
		})
	}
	for d.Held() < count {
		if _, err := f.ReadAt(good, 8192); err != nil {
			t.Fatal(err)
		}
	}
	d.Inject(nil)
	all.Wait()
}

// TestPull has a disk go away while requests hang, which then fail.
func TestPull(t *testing.T) {
	d := New(t, size, sector, 1)
	f := open(t, d)
	d.Script(t, "any 4096+512 hang")
	ended := make(chan error)
	go func() {
		_, err := f.ReadAt(aligned(t, sector, 0), 4096)
		ended <- err
	}()
	for d.Held() == 0 {
		if _, err := f.ReadAt(aligned(t, sector, 0), 0); err != nil {
			t.Fatal(err)
		}
	}
	d.Pull()
	if err := <-ended; !errors.Is(err, syscall.EIO) {
		t.Errorf("what hung: %v", err)
	}
	if _, err := f.WriteAt(aligned(t, sector, 0), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("what came later: %v", err)
	}
}

// TestDelay has requests wait in the cache, where the power goes.
func TestDelay(t *testing.T) {
	d := New(t, size, sector, 1)
	f := open(t, d)
	d.Script(t, "read 4096+512 delay 1ms\nread 8192+512 throttle 1000\nwrite 0+512 after 1 cut")
	for _, off := range []int64{0, 4096, 8192, 8192} {
		if _, err := f.ReadAt(aligned(t, sector, 0), off); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.WriteAt(aligned(t, sector, 1), 0); err != nil {
		t.Error(err)
	}
	if _, err := f.WriteAt(aligned(t, sector, 1), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("with this write the power went: %v", err)
	}
	<-d.Off()
}

func TestScript(t *testing.T) {
	for _, line := range []string{
		"", "write", "wrote eio", "write 1+ eio", "write +1 eio", "write -1+1 eio", "write 4096 eio", "write eio eio", "write after eio",
		"write times x eio", "read delay 5", "any throttle 0", "write torn", "flush after 3",
	} {
		if rule, err := parse(strings.Fields(line)); err == nil {
			t.Errorf("%q is a rule: %v", line, rule(&Request{}))
		}
	}
}

// TestThrottle has a rule count what passes, without a disk.
func TestThrottle(t *testing.T) {
	rule := Throttle(10)
	var last time.Duration
	for i := range 20 {
		fault := rule(&Request{})
		if fault.Delay < last || fault.Delay > time.Duration(i+1)*time.Second/10 {
			t.Fatalf("request %d is later by %v", i, fault.Delay)
		}
		last = fault.Delay
	}
	if last < time.Second {
		t.Errorf("20 requests of 10 a second pass in %v", last)
	}
}

// TestFiles has files on a server, and one of its answers fail.
func TestFiles(t *testing.T) {
	files := NewFiles(t)
	f, err := os.Create(files.Dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("hello"), 3); err != nil {
		t.Fatal(err)
	}
	files.Script(t, "write times 1 eio")
	if _, err := f.WriteAt([]byte("lost"), 4); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if p, err := io.ReadAll(io.NewSectionReader(f, 0, 100)); err != nil || string(p) != "\x00\x00\x00hello" {
		t.Errorf("%q, %v", p, err)
	}
}
