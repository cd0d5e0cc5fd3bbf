package asyncfile

import (
	"bytes"
	"errors"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// openGated opens a file with a gate on a scripted kernel. The file that the
// gate extends is a real one, of size bytes.
func openGated(t *testing.T, size int64) (*aiotest.Kernel, *AsyncFile) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs fallocate(2)")
	}
	kernel, f := openScripted(t, 16)
	if err := f.osf.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.gate = &gate{file: f, size: size}
	return kernel, f
}

// heldBy returns how many requests a gate holds.
func heldBy(f *AsyncFile) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q := f.gate.held.head; q != nil; q = q.next {
		n++
	}
	return n
}

func wantSize(t *testing.T, f *AsyncFile, want int64) {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != want {
		t.Errorf("the file has %d bytes, want %d", info.Size(), want)
	}
}

func TestGateNil(t *testing.T) {
	var g *gate
	q := &request{op: Op{Kind: OpWrite, Offset: 1 << 40}, want: 1}
	if !g.pass(q) || q.gated {
		t.Error("no gate holds something")
	}
}

// TestGateHolds follows one turn: an extending write waits for what is in
// flight, what comes after it waits with it, and all are in flight together
// afterwards.
func TestGateHolds(t *testing.T) {
	kernel, f := openGated(t, 2*testBlock)
	p := make([]byte, testBlock)
	inside := f.WriteAt(p, 0)
	extending, read, more := f.WriteAt(p, 2*testBlock), f.ReadAt(make([]byte, testBlock), 0), f.WriteAt(p, 4*testBlock)
	if n := heldBy(f); n != 3 {
		t.Fatalf("the gate holds %d, want 3", n)
	}
	if n := len(kernel.Await(1)); n != 1 {
		t.Fatalf("the kernel has %d, want the one that does not extend", n)
	}
	wantSize(t, f, 2*testBlock) // nothing is done while one is in flight
	kernel.Held()[0].Complete()
	wantResult(t, inside, testBlock, nil)
	held := kernel.Await(3)
	wantSize(t, f, 5*testBlock) // before the writes are under way
	for _, op := range held {
		op.Complete()
	}
	for _, future := range []*Future{extending, read, more} {
		wantResult(t, future, testBlock, nil)
	}
	again := f.WriteAt(p, 4*testBlock)
	if n := heldBy(f); n != 0 {
		t.Error("a write within the new size is held")
	}
	kernel.Await(1)[0].Complete()
	wantResult(t, again, testBlock, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gate.closed || f.gate.active != 0 || f.gate.size != 5*testBlock {
		t.Errorf("at the end the gate is %+v", f.gate)
	}
}

// TestGateRun extends for a list of writes, and tells how many fallocates that
// takes by which of them fail when one is for more than any file may have.
func TestGateRun(t *testing.T) {
	_, f := openGated(t, testBlock)
	write := func(off int64, n int) *request {
		return &request{op: Op{Kind: OpWrite, Offset: off}, want: n}
	}
	list := func(all ...*request) (l requestQueue) {
		for _, q := range all {
			l.push(q)
		}
		return l
	}
	read := &request{op: Op{Kind: OpRead, Offset: 1 << 50}, want: testBlock}
	inside, first, second := write(0, testBlock), write(testBlock, testBlock), write(2*testBlock, testBlock)
	ready, refused := f.gate.extend(list(read, inside, first, second))
	wantList(t, "extended", ready, read, inside, first, second)
	wantList(t, "refused", refused)
	wantSize(t, f, 3*testBlock)

	third, huge := write(3*testBlock, testBlock), write(4*testBlock, math.MaxInt/2)
	apart, after := write(6*testBlock, testBlock), write(5*testBlock, testBlock)
	ready, refused = f.gate.extend(list(third, huge, apart, read, after))
	wantList(t, "extended", ready, apart, read, after)
	wantList(t, "refused, one run and so one fallocate", refused, third, huge)
	wantSize(t, f, 7*testBlock)
	if f.gate.size != 7*testBlock {
		t.Errorf("the gate knows of %d bytes", f.gate.size)
	}
}

// TestGateRefused has a write that no fallocate makes room for find its error in
// an ordinary write.
func TestGateRefused(t *testing.T) {
	kernel, f := openGated(t, testBlock)
	p := make([]byte, testBlock)
	huge, next := f.WriteAt(p, 1<<62), f.WriteAt(p, testBlock)
	if n, err := huge.Wait(); n != 0 || !errors.Is(err, syscall.EFBIG) && !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a write beyond any file: %d, %v", n, err)
	}
	ops := kernel.Await(1)
	if len(ops) != 1 || ops[0].Offset != testBlock {
		t.Errorf("the kernel has %d, the first at %d", len(ops), ops[0].Offset)
	}
	ops[0].Complete()
	wantResult(t, next, testBlock, nil)
	wantSize(t, f, 2*testBlock)
}

// TestGateTruncate truncates with operations in flight and others held: it
// comes after all that were called before it and before all that are called
// after it.
func TestGateTruncate(t *testing.T) {
	kernel, f := openGated(t, 2*testBlock)
	p := make([]byte, testBlock)
	inside, extending := f.WriteAt(p, 0), f.WriteAt(p, 7*testBlock)
	truncated := make(chan error, 1)
	go func() { truncated <- f.Truncate(testBlock) }()
	eventually(t, "Truncate is at the gate", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.gate.tasks) == 1
	})
	late := f.WriteAt(p, 3*testBlock)
	kernel.Await(1)[0].Complete()
	wantResult(t, inside, testBlock, nil)

	ops := kernel.Await(1)
	if len(ops) != 1 || ops[0].Offset != 7*testBlock {
		t.Fatalf("the kernel has %d, the first at %d; want the write that came before Truncate", len(ops), ops[0].Offset)
	}
	select {
	case err := <-truncated:
		t.Fatalf("Truncate is back (%v) while a write that came before it is in flight", err)
	default:
	}
	ops[0].Complete()
	wantResult(t, extending, testBlock, nil)
	if err := <-truncated; err != nil {
		t.Fatal(err)
	}
	ops = kernel.Await(1)
	if ops[0].Offset != 3*testBlock {
		t.Fatalf("the kernel has a write at %d, want the one that came after Truncate", ops[0].Offset)
	}
	wantSize(t, f, 4*testBlock)
	ops[0].Complete()
	wantResult(t, late, testBlock, nil)
}

// TestTruncateAfterWrite truncates at once behind writes that extend the file.
func TestTruncateAfterWrite(t *testing.T) {
	f := openDirect(t, putFile(t, nil), os.O_RDWR)
	p := testPattern(testBlock, 1)
	for range 50 {
		writes := []*Future{f.WriteAt(p, 0), f.WriteAt(p, 5*testBlock), f.Append(p)}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		wantSize(t, f, 0)
		for _, w := range writes {
			wantResult(t, w, testBlock, nil)
		}
		wantSize(t, f, 0) // no write came after it
	}
}

// TestGateAtOnce extends a direct file from many goroutines, which read what
// they wrote, while others read and truncate the far end.
func TestGateAtOnce(t *testing.T) {
	for _, mode := range []WaitMode{WaitGetEvents, WaitEventFD} {
		t.Run(mode.String(), func(t *testing.T) {
			const writers, each, far = 8, 40, 1000 // in blocks
			name := putFile(t, nil)
			f := openDirect(t, name, os.O_RDWR, WithWaitMode(mode))
			var all, others sync.WaitGroup
			stop := make(chan struct{})
			for g := range writers {
				all.Go(func() {
					p, got := AlignedBuffer(testBlock), AlignedBuffer(testBlock)
					for i := g; i < writers*each; i += writers {
						copy(p, testPattern(testBlock, uint64(i)))
						if err := WaitAll(f.WriteAt(p, int64(i)*testBlock)); err != nil {
							t.Errorf("WriteAt: %v", err)
						}
						if err := WaitAll(f.ReadAt(got, int64(i)*testBlock)); err != nil || !bytes.Equal(got, p) {
							t.Errorf("block %d reads otherwise: %v", i, err)
						}
						f.WriteAt(p, int64(far+i)*testBlock).Wait() // to be cut off, or not
					}
				})
			}
			others.Go(func() {
				for n := int64(0); ; n++ {
					select {
					case <-stop:
						return
					default:
						if err := f.Truncate((far + n%7) * testBlock); err != nil {
							t.Errorf("Truncate: %v", err)
							return
						}
					}
				}
			})
			all.Wait()
			close(stop)
			others.Wait()
			if err := f.Truncate((far + writers*each) * testBlock); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != (far+writers*each)*testBlock {
				t.Fatalf("the file has %d bytes", len(got))
			}
			zero := make([]byte, testBlock)
			for i := range far + writers*each {
				block := got[i*testBlock:][:testBlock]
				switch {
				case i < writers*each:
					if !bytes.Equal(block, testPattern(testBlock, uint64(i))) {
						t.Fatalf("block %d has other data", i)
					}
				case i < far:
					if !bytes.Equal(block, zero) {
						t.Fatalf("block %d, a hole, has data", i)
					}
				default:
					if !bytes.Equal(block, zero) && !bytes.Equal(block, testPattern(testBlock, uint64(i-far))) {
						t.Fatalf("block %d is neither cut off nor whole", i)
					}
				}
			}
		})
	}
}

// TestGateSize has only extending writes, of many sizes, and the exact size
// afterwards.
func TestGateSize(t *testing.T) {
	name := putFile(t, nil)
	f := openDirect(t, name, os.O_RDWR)
	data := testPattern(300*testBlock, 2)
	var futures []*Future
	for off, n := 0, 1; off < len(data); n = n%7 + 1 {
		p := data[off:min(off+n*testBlock, len(data))]
		futures = append(futures, f.WriteAt(p, int64(off)))
		off += len(p)
	}
	if err := WaitAll(futures...); err != nil {
		t.Fatal(err)
	}
	wantContent(t, name, data)
}

// TestGateLeavesOthersAlone has another handle extend the file behind the
// gate's back, before and while the gate does: no byte of it may be lost.
func TestGateLeavesOthersAlone(t *testing.T) {
	const blocks = 200
	name := putFile(t, nil)
	f := openDirect(t, name, os.O_RDWR)
	other, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := testPattern(blocks*testBlock, 3)
	block := func(i int) []byte { return want[i*testBlock:][:testBlock] }
	for i := 50; i < 100; i++ { // the gate believes that the file is empty
		if _, err := other.WriteAt(block(i), int64(i)*testBlock); err != nil {
			t.Fatal(err)
		}
	}
	wantResult(t, f.WriteAt(block(10), 10*testBlock), testBlock, nil)
	wantResult(t, f.WriteAt(block(99), 99*testBlock), testBlock, nil)
	wantSize(t, f, 100*testBlock)
	var all sync.WaitGroup
	all.Go(func() {
		for i := 100; i < blocks; i += 2 {
			if _, err := other.WriteAt(block(i), int64(i)*testBlock); err != nil {
				t.Error(err)
			}
		}
	})
	for i := 101; i < blocks; i += 2 {
		wantResult(t, f.WriteAt(block(i), int64(i)*testBlock), testBlock, nil)
	}
	all.Wait()
	for i := range 50 {
		if i != 10 {
			clear(block(i))
		}
	}
	wantContent(t, name, want)
}
