package asyncfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
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
	"time"
)

// createDirect creates a direct file in a temporary folder, or skips the test.
func createDirect(t *testing.T, opts ...Option) *AsyncFile {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "direct"), append([]Option{WithDirect(DirectPrefer)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if !f.Direct() {
		t.Skipf("not direct: %v", f.DirectReason())
	}
	return f
}

// TestDirectModel runs random requests, aligned in no way, against a slice.
func TestDirectModel(t *testing.T) {
	for _, backend := range []Backend{BackendAuto, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			f := createDirect(t, WithBackend(backend))
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 1))
			const limit = 200_000
			var model []byte
			write := func(off int64, p []byte) {
				if end := int(off) + len(p); end > len(model) {
					model = append(model, make([]byte, end-len(model))...)
				}
				copy(model[off:], p)
			}
			fresh := func(n int) []byte {
				p := AlignedBuffer(n + 1024)[rng.IntN(3)*rng.IntN(513):][:n]
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				return p
			}
			cut := func(p []byte) (bufs [][]byte) {
				for len(p) > 0 {
					n := rng.IntN(len(p) + 1)
					bufs = append(bufs, p[:n])
					p = p[n:]
				}
				return bufs
			}
			size := func() int {
				if rng.IntN(3) == 0 {
					return rng.IntN(16) * 512
				}
				return rng.IntN(20_000)
			}
			for step := range 3000 {
				off, n := int64(rng.IntN(limit)), size()
				if rng.IntN(3) == 0 {
					off &^= 511
				}
				what := ""
				switch rng.IntN(8) {
				case 0, 1:
					p := fresh(n)
					what = fmt.Sprintf("write %d at %d", n, off)
					if got, err := f.WriteAt(p, off).Wait(); got != n || err != nil {
						t.Fatal(step, what, got, err)
					}
					if n > 0 {
						write(off, p)
					}
				case 2:
					p := fresh(n)
					what = fmt.Sprintf("writev %d at %d", n, off)
					if got, err := f.WritevAt(cut(p), off).Wait(); got != n || err != nil {
						t.Fatal(step, what, got, err)
					}
					if n > 0 {
						write(off, p)
					}
				case 3:
					if len(model) > limit*2 {
						continue
					}
					p := fresh(n)
					a := f.Append(p)
					what = fmt.Sprintf("append %d", n)
					if got, err := a.Wait(); got != n || err != nil || n > 0 && a.Offset() != int64(len(model)) {
						t.Fatal(step, what, got, err, a.Offset(), len(model))
					}
					write(int64(len(model)), p)
				case 4:
					if rng.IntN(10) == 0 {
						what = fmt.Sprintf("truncate %d", off)
						if err := f.Truncate(off); err != nil {
							t.Fatal(step, what, err)
						}
						write(off, nil)
						model = model[:off]
					}
				default:
					p := fresh(n)
					what = fmt.Sprintf("read %d at %d of %d", n, off, len(model))
					var got int
					var err error
					if rng.IntN(2) == 0 {
						got, err = f.ReadAt(p, off).Wait()
					} else {
						got, err = f.ReadvAt(cut(p), off).Wait()
					}
					want := max(min(n, len(model)-int(off)), 0)
					var wantErr error
					if want < n {
						wantErr = io.EOF
					}
					if got != want || err != wantErr || want > 0 && !bytes.Equal(p[:got], model[off:][:got]) {
						t.Fatal(step, what, got, err, "want", want, wantErr)
					}
				}
				if info, err := f.Stat(); err != nil || info.Size() != int64(len(model)) {
					t.Fatal(step, what, "size", info.Size(), "want", len(model), err)
				}
			}
			disk, err := os.ReadFile(f.Name())
			if err != nil || !bytes.Equal(disk, model) {
				t.Fatal("file differs from the model", err)
			}
			t.Logf("%+v", f.ring.Stats())
		})
	}
}

// TestDirectNeighbours has goroutines write each its own bytes of shared blocks,
// in every way at once, and expects all of them.
func TestDirectNeighbours(t *testing.T) {
	f := createDirect(t)
	const writers, rounds, size = 16, 100, 64 << 10
	want := make([]byte, size)
	if _, err := f.WriteAt(want, 0).Wait(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			// Of each 2048 bytes the even writers own 512 whole ones, the odd ones
			// some in between.
			off, n := w/2*4096, 2048
			if w%2 == 1 {
				off, n = off+2048+rng.IntN(100), 1500
			}
			p := AlignedBuffer(n)
			for r := range rounds {
				for i := range p {
					p[i] = byte(w*rounds + r)
				}
				if _, err := f.WriteAt(p, int64(off)).Wait(); err != nil {
					t.Error(err)
				}
				got := AlignedBuffer(n)
				if _, err := f.ReadAt(got, int64(off)).Wait(); err != nil || !bytes.Equal(got, p) {
					t.Errorf("writer %d round %d reads back something else: %v", w, r, err)
				}
			}
			copy(want[off:], p)
		}()
	}
	wg.Wait()
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatal("bytes of some writers were lost", err)
	}
}

// TestDirectAligned: of aligned requests nothing is copied, and none goes another
// way.
func TestDirectAligned(t *testing.T) {
	for _, backend := range []Backend{BackendAuto, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			ring, err := NewRing(WithBackend(backend))
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			f := createDirect(t, WithRing(ring), WithBackend(backend))
			defer f.Close()
			page := func(n int) []byte { return AlignedBuffer(n * bufferAlign) }
			ops := []Op{
				{Kind: OpWrite, Buf: page(4)},
				{Kind: OpWritev, Bufs: [][]byte{page(1), nil, page(2)}, Offset: 2 * bufferAlign},
				{Kind: OpAppend, Buf: page(1)},
				{Kind: OpWrite, Buf: page(1), Offset: 100 * bufferAlign}, // behind a hole
				{Kind: OpSync},
				{Kind: OpRead, Buf: page(4), Offset: bufferAlign},
				{Kind: OpReadv, Bufs: [][]byte{page(1), page(2)}, Offset: bufferAlign},
				{Kind: OpRead, Buf: page(512)},
				{Kind: OpRead, Buf: page(1), Offset: 200 * bufferAlign},
			}
			for _, op := range ops {
				if _, err := f.Submit(op)[0].Wait(); err != nil && err != io.EOF {
					t.Fatalf("%v at %d: %v", op.Kind, op.Offset, err)
				}
			}
			view := f.File()
			if _, err := view.WriteAt(page(2), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := view.ReadAt(page(2), bufferAlign); err != nil {
				t.Fatal(err)
			}
			if s := ring.Stats(); s.BouncedReads+s.BouncedWrites+s.ReadModifyWrites+s.BytesCopied != 0 {
				t.Errorf("aligned requests were bounced: %+v", s)
			}
			if f.core.Companion.Ready() {
				t.Error("a second descriptor was opened")
			}
		})
	}
}

// TestDirectCounts: what is not aligned is counted.
func TestDirectCounts(t *testing.T) {
	ring, err := NewRing()
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	f := createDirect(t, WithRing(ring))
	defer f.Close()
	if f.core.Align.Offset == 1 || f.core.Align.Memory == 1 {
		t.Skip("everything is aligned here")
	}
	for _, op := range []Op{
		{Kind: OpWrite, Buf: AlignedBuffer(8192)},                // straight
		{Kind: OpWrite, Buf: AlignedBuffer(8193)[1:]},            // memory
		{Kind: OpWrite, Buf: AlignedBuffer(100), Offset: 5},      // read-modify-write
		{Kind: OpRead, Buf: AlignedBuffer(300), Offset: 7},       // offset and length
		{Kind: OpReadv, Bufs: [][]byte{AlignedBuffer(4097)[1:]}}, // memory
	} {
		if _, err := f.Submit(op)[0].Wait(); err != nil {
			t.Fatal(err)
		}
	}
	s := ring.Stats()
	if s.BouncedReads != 2 || s.BouncedWrites != 2 || s.ReadModifyWrites != 1 || s.BytesCopied != 8192+100+300+4096 {
		t.Errorf("%+v", s)
	}
}

// TestDirectAppendMode: in append mode each write goes where the file ends then.
func TestDirectAppendMode(t *testing.T) {
	name := filepath.Join(t.TempDir(), "append")
	f, err := OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600, WithDirect(DirectPrefer))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	var want []byte
	for i := range 30 {
		p := deviceBytes(i*311 + 1)
		if i%3 == 0 {
			p = AlignedBuffer(4096)
		}
		var future *Future
		switch i % 4 {
		case 0:
			if _, err := other.Write(p); err != nil {
				t.Fatal(err)
			}
		case 1:
			if n, err := f.File().Write(p); n != len(p) || err != nil {
				t.Fatalf("Write = %d, %v", n, err)
			}
		default:
			future = f.Append(p)
			if n, err := future.Wait(); n != len(p) || err != nil || future.Offset() != int64(len(want)) {
				t.Fatalf("Append = %d, %v at %d, want %d", n, err, future.Offset(), len(want))
			}
		}
		want = append(want, p...)
		if info, err := f.Stat(); err != nil || info.Size() != int64(len(want)) {
			t.Fatalf("%d bytes, want %d: %v", info.Size(), len(want), err)
		}
		got := make([]byte, len(want)+1)
		if n, err := f.ReadAt(got, 0).Wait(); n != len(want) || err != io.EOF || !bytes.Equal(got[:n], want) {
			t.Fatalf("ReadAt = %d, %v, or other bytes", n, err)
		}
	}
	if n, err := f.WriteAt([]byte("x"), 0).Wait(); n != 0 || err == nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
}

// TestDirectOneWay: files that are open for writing only, and for reading only.
func TestDirectOneWay(t *testing.T) {
	name := filepath.Join(t.TempDir(), "one-way")
	want := deviceBytes(10_000)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := OpenFile(name, os.O_WRONLY, 0, WithDirect(DirectPrefer))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, op := range []Op{
		{Kind: OpWrite, Buf: []byte("inside a block"), Offset: 5000},
		{Kind: OpWrite, Buf: []byte("across the end"), Offset: 9995},
		{Kind: OpWrite, Buf: AlignedBuffer(4097)[1:], Offset: 4096},
	} {
		if n, err := w.Submit(op)[0].Wait(); n != len(op.Buf) || err != nil {
			t.Fatalf("write at %d = %d, %v", op.Offset, n, err)
		}
		want = append(want, make([]byte, max(int(op.Offset)+len(op.Buf)-len(want), 0))...)
		copy(want[op.Offset:], op.Buf)
	}
	wantContents(t, w, want)
	if n, err := w.ReadAt(make([]byte, 10), 3).Wait(); n != 0 || !errors.Is(err, syscall.EBADF) && runtime.GOOS == "linux" || err == nil {
		t.Errorf("ReadAt = %d, %v", n, err)
	}

	r, err := Open(name, WithDirect(DirectPrefer))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, len(want)+10)
	if n, err := r.ReadAt(got, 0).Wait(); n != len(want) || err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Errorf("ReadAt = %d, %v, or other bytes", n, err)
	}
	for _, p := range [][]byte{[]byte("unaligned"), AlignedBuffer(4096), AlignedBuffer(4097)[1:]} {
		if n, err := r.WriteAt(p, 0).Wait(); n != 0 || err == nil {
			t.Errorf("WriteAt of %d = %d, %v", len(p), n, err)
		}
	}
	wantContents(t, r, want)
}

// TestDirectDeadline: under a deadline unaligned requests go the same ways.
func TestDirectDeadline(t *testing.T) {
	f := createDirect(t)
	view := f.File()
	if err := view.SetDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	want := deviceBytes(10_000)
	if n, err := view.WriteAt(want, 3); n != len(want) || err != nil {
		t.Fatalf("WriteAt = %d, %v", n, err)
	}
	got := make([]byte, 20_000)
	if n, err := view.ReadAt(got, 3); n != len(want) || err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Fatalf("ReadAt = %d, %v, or other bytes", n, err)
	}
	view.SetDeadline(time.Now().Add(-time.Hour))
	if n, err := view.WriteAt([]byte("late"), 3); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("WriteAt when it is past = %d, %v", n, err)
	}
	if n, err := view.ReadAt(got, 3); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadAt when it is past = %d, %v", n, err)
	}
}

// TestDirectReason: a file system that has no O_DIRECT is named, in either mode.
func TestDirectReason(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	const name = "/proc/self/status"
	f, err := Open(name, WithDirect(DirectRequire))
	if err == nil {
		f.Close()
		t.Skipf("%s takes O_DIRECT", name)
	}
	var path *fs.PathError
	if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &path) || path.Path != name || !strings.Contains(err.Error(), "file system proc") {
		t.Errorf("DirectRequire: %v", err)
	}
	f, err = Open(name, WithDirect(DirectPrefer), WithBackend(BackendPool)) // native AIO has no reads of /proc
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if reason := f.DirectReason(); f.Direct() || !errors.Is(reason, errors.ErrUnsupported) || !strings.Contains(reason.Error(), "file system proc") {
		t.Errorf("DirectPrefer: direct %v, %v", f.Direct(), reason)
	}
	if n, err := f.ReadAt(make([]byte, 3), 1).Wait(); n != 3 || err != nil {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
}

// TestDirectSparse: what was never written reads as zeros, beside what was.
func TestDirectSparse(t *testing.T) {
	f := createDirect(t)
	const size = 1 << 20
	want := make([]byte, size)
	if err := f.Preallocate(size / 2); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{1, 100, 512, 4096, 5000, 8192} {
		for _, off := range []int{i * 20_001, i * 16_384, size/2 + i*20_001, size/2 + i*16_384} {
			p := AlignedBuffer(n)
			copy(p, deviceBytes(n + i)[i:])
			if _, err := f.WriteAt(p, int64(off)).Wait(); err != nil {
				t.Fatal(err)
			}
			copy(want[off:], p)
		}
	}
	got := AlignedBuffer(size + 4096)
	if n, err := f.ReadAt(got, 0).Wait(); n != size || err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Errorf("ReadAt = %d, %v, or other bytes", n, err)
	}
	wantContents(t, f, want)
}

// TestDirectChild is the other process of TestDirectProcesses: it answers for a
// file, which it opens buffered, as it is told.
func TestDirectChild(t *testing.T) {
	name := os.Getenv("ASYNCFILE_DIRECT_CHILD")
	if name == "" {
		t.Skip("for TestDirectProcesses")
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var what string
		var off, n, seed int
		fmt.Sscan(in.Text(), &what, &off, &n, &seed)
		answer := "ok"
		switch what {
		case "size":
			if info, err := f.Stat(); err != nil || info.Size() != int64(n) {
				answer = fmt.Sprint(info.Size(), " bytes ", err)
			}
		case "read":
			p := make([]byte, n)
			if _, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, deviceBytes(n + seed)[seed:]) {
				answer = fmt.Sprint("other bytes ", err)
			}
		case "write":
			if _, err := f.WriteAt(deviceBytes(n + seed)[seed:], int64(off)); err != nil {
				answer = err.Error()
			}
		}
		fmt.Println("child:", answer)
	}
}

// TestDirectProcesses: at every moment at which a write has ended, another
// process sees its bytes and a size that is exact; and what that one has written
// is seen here.
func TestDirectProcesses(t *testing.T) {
	f := createDirect(t)
	child := exec.Command(os.Args[0], "-test.run=^TestDirectChild$")
	child.Env = append(os.Environ(), "ASYNCFILE_DIRECT_CHILD="+f.Name())
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer in.Close()
	lines := bufio.NewScanner(out)
	ask := func(what string, args ...int) {
		t.Helper()
		fmt.Fprintln(in, what, strings.Trim(fmt.Sprint(args), "[]"))
		for lines.Scan() {
			if answer, ok := strings.CutPrefix(lines.Text(), "child: "); ok {
				if answer != "ok" {
					t.Fatalf("%s %v: %s", what, args, answer)
				}
				return
			}
		}
		t.Fatal("the other process ended")
	}
	rng := rand.New(rand.NewPCG(5, 1))
	size := 0
	for i := range 200 {
		off, n, seed := rng.IntN(60_000), 1+rng.IntN(9000), rng.IntN(1000)
		if i%4 == 0 {
			off, n = off&^4095, (n+4095)&^4095
		}
		p := AlignedBuffer(n)
		copy(p, deviceBytes(n + seed)[seed:])
		switch i % 3 {
		case 0:
			off = size
			if _, err := f.Append(p).Wait(); err != nil {
				t.Fatal(err)
			}
		case 1:
			if _, err := f.WriteAt(p, int64(off)).Wait(); err != nil {
				t.Fatal(err)
			}
		case 2:
			ask("write", off, n, seed)
			got := AlignedBuffer(n)
			if _, err := f.ReadAt(got, int64(off)).Wait(); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("what the other process wrote is not seen: %v", err)
			}
		}
		size = max(size, off+n)
		ask("size", 0, size)
		ask("read", off, n, seed)
		if size > 200_000 {
			size = rng.IntN(50_000)
			if err := f.Truncate(int64(size)); err != nil {
				t.Fatal(err)
			}
			ask("size", 0, size)
		}
	}
}

// TestDirectExtendTogether: writes beyond the end, aligned and not, many at
// once: the file is as large as the farthest, and holds them all.
func TestDirectExtendTogether(t *testing.T) {
	for _, backend := range []Backend{BackendAuto, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			f := createDirect(t, WithBackend(backend))
			var want []byte
			for round := range 10 {
				var futures []*Future
				for i := range 40 {
					n := 4096
					if i%3 == 1 {
						n = 1000 + i + round
					}
					p := AlignedBuffer(n)
					for j := range p {
						p[j] = byte(i + round + j>>8)
					}
					futures = append(futures, f.Append(p))
					want = append(want, p...)
				}
				if err := WaitAll(futures...); err != nil {
					t.Fatal(err)
				}
				if info, err := f.Stat(); err != nil || info.Size() != int64(len(want)) {
					t.Fatalf("%d bytes, want %d: %v", info.Size(), len(want), err)
				}
			}
			wantContents(t, f, want)
		})
	}
}

// TestDirectReadGrowing reads across the end of a file that grows meanwhile.
func TestDirectReadGrowing(t *testing.T) {
	for _, backend := range []Backend{BackendAuto, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			f := createDirect(t, WithBackend(backend))
			if f.core.Align.ReadOffset == 1 {
				t.Skip("everything is aligned here")
			}
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for i := range 4 {
				wg.Add(1)
				go func() {
					defer wg.Done()
					p := AlignedBuffer(1 << 20)
					for {
						select {
						case <-stop:
							return
						default:
						}
						var err error
						if i%2 == 0 {
							_, err = f.ReadAt(p, 0).Wait()
						} else {
							_, err = f.File().ReadAt(p, 0)
						}
						if err != nil && err != io.EOF {
							t.Error(err)
							return
						}
					}
				}()
			}
			for range 300 {
				if _, err := f.Append(deviceBytes(777)).Wait(); err != nil {
					t.Error(err)
				}
			}
			close(stop)
			wg.Wait()
		})
	}
}
