package file

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A directDevice does what a file with O_DIRECT does, in memory, and takes
// nothing that is not aligned.
type directDevice struct {
	t     *testing.T
	data  []byte // the file
	align aio.Alignment
	short func(n int) int // what becomes of a transfer of n bytes; less than zero is an errno
	parts [][]byte        // the memory of each transfer
}

// transfer carries out what o planned and returns the result of its event.
func (d *directDevice) transfer(o *operation) int64 {
	d.t.Helper()
	unit := d.align.Offset
	if !o.op.Kind.Writes() {
		unit = d.align.ReadOffset
	}
	p, at := o.slot.Plan.Buf, o.slot.Plan.Off
	d.parts = append(d.parts, p)
	if at%int64(unit) != 0 || len(p)%unit != 0 || !aio.IsAligned(p, d.align.Memory) || len(p) != o.slot.Plan.Asked || len(p) == 0 {
		d.t.Fatalf("planned %d (asked %d) at %d, aligned in memory %v, for a unit of %d", len(p), o.slot.Plan.Asked, at, aio.IsAligned(p, d.align.Memory), unit)
	}
	n := len(p)
	if d.short != nil {
		if n = d.short(n); n < 0 {
			return int64(n)
		}
		n -= n % unit
	}
	if o.op.Kind.Writes() {
		if end := int(at) + n; end > len(d.data) {
			d.data = append(d.data, make([]byte, end-len(d.data))...)
		}
		return int64(copy(d.data[at:], p[:n]))
	}
	return int64(copy(p[:n], d.data[min(int(at), len(d.data)):]))
}

// run carries out op as a bounced request.
func (d *directDevice) run(op Op) (n int, err error, copied uint64) {
	d.t.Helper()
	d.parts = nil
	g := new(Group)
	f := &Handle{name: "device", group: g, Traits: Traits{Direct: true, Align: d.align}}
	o := new(operation)
	o.set(f, &Call{Op: op, To: make(slip, 1)}, new(ring.Request), 0)
	o.way = bounced
	for step := ring.Again; step == ring.Again && o.way == bounced; {
		if !f.makePlan(o) {
			break
		}
		step = o.Advance(d.transfer(o), nil)
	}
	o.dropBounce()
	return o.done, o.err, g.Counts.BytesCopied.Load()
}

var bounceAlignments = []aio.Alignment{
	{Memory: 512, Offset: 512, ReadOffset: 512},
	{Memory: 4, Offset: 4096, ReadOffset: 4096},
	{Memory: 4096, Offset: 4096, ReadOffset: 512},
	{Memory: 1, Offset: 1024, ReadOffset: 1024},
	{Memory: 512, Offset: 1, ReadOffset: 1},
}

func deviceBytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

// TestBounceRead reads every kind of window of files of every kind of size.
func TestBounceRead(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, align := range bounceAlignments {
		for _, size := range []int{0, 1, 511, 512, 513, 10_000, 12_288, 100_000} {
			d := &directDevice{t: t, data: deviceBytes(size), align: align}
			for i := range 400 {
				off, n, shift := rng.IntN(size+5000), 1+rng.IntN(9000), rng.IntN(600)
				if rng.IntN(4) == 0 {
					off = max(size-rng.IntN(600), 0)
				}
				d.short = nil
				if i%2 == 1 {
					d.short = func(n int) int {
						if rng.IntN(3) == 0 {
							return -int(syscall.EINTR)
						}
						return max(1+rng.IntN(n), align.ReadOffset)
					}
				}
				p := aio.Buffer(n + 1000)[shift:][: n+1 : n+1]
				p[n] = 0xee
				op := Op{Kind: Read, Buf: p[:n], Offset: int64(off)}
				if rng.IntN(2) == 0 {
					cut := rng.IntN(n + 1)
					op = Op{Kind: Readv, Bufs: [][]byte{p[:cut], nil, p[cut:n]}, Offset: int64(off)}
				}
				got, err, copied := d.run(op)
				want, wantErr := max(min(n, size-off), 0), error(nil)
				if want < n {
					wantErr = io.EOF
				}
				what := fmt.Sprintf("%+v: read %d at %d of %d", align, n, off, size)
				if got != want || err != wantErr || copied != uint64(want) || p[n] != 0xee {
					t.Fatalf("%s = %d, %v, copied %d; want %d, %v", what, got, err, copied, want, wantErr)
				}
				if want > 0 && !bytes.Equal(p[:got], d.data[off:off+got]) {
					t.Fatalf("%s: other bytes", what)
				}
			}
		}
	}
}

// TestBounceWrite writes whole blocks from memory that does not fit.
func TestBounceWrite(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	for _, align := range bounceAlignments {
		if align.Memory == 1 {
			continue // all memory fits
		}
		for i := range 300 {
			d := &directDevice{t: t, data: deviceBytes(20_000), align: align}
			if i%2 == 1 {
				d.short = func(n int) int { return max(1+rng.IntN(n), align.Offset) }
			}
			off, n := rng.IntN(20_000), 1+rng.IntN(20_000)
			off, n = off/align.Offset*align.Offset, (n+align.Offset-1)/align.Offset*align.Offset
			p := aio.Buffer(n + 1)[1:]
			copy(p, deviceBytes(n + 5)[5:])
			want := append([]byte(nil), d.data...)
			if end := off + n; end > len(want) {
				want = append(want, make([]byte, end-len(want))...)
			}
			copy(want[off:], p)
			op := Op{Kind: Write, Buf: p, Offset: int64(off)}
			if rng.IntN(2) == 0 {
				cut := rng.IntN(n + 1)
				op = Op{Kind: Writev, Bufs: [][]byte{p[:cut], p[cut:]}, Offset: int64(off)}
			}
			got, err, _ := d.run(op)
			if got != n || err != nil || !bytes.Equal(d.data, want) {
				t.Fatalf("%+v: write %d at %d = %d, %v, or other bytes", align, n, off, got, err)
			}
		}
	}
}

// TestBounceStraight: of a long read that begins inside a block, into memory
// that fits from the next block on, only the ends are copied.
func TestBounceStraight(t *testing.T) {
	const n = straightMin + 5*aio.BufferAlign
	for _, align := range bounceAlignments[:2] {
		d := &directDevice{t: t, data: deviceBytes(2 * n), align: align}
		unit := align.ReadOffset
		p := aio.Buffer(n + aio.BufferAlign)[unit-100:][:n] // off 100 before a boundary
		off := 8*unit - 100                                 // as far from a boundary as the memory
		got, err, copied := d.run(Op{Kind: Read, Buf: p, Offset: int64(off)})
		if got != n || err != nil || !bytes.Equal(p, d.data[off:off+n]) {
			t.Fatalf("%+v: = %d, %v, or other bytes", align, got, err)
		}
		if copied >= uint64(2*unit) || len(d.parts) != 3 || first(d.parts[1]) != &p[100] {
			t.Errorf("%+v: %d bytes copied in %d parts, want less than two blocks in 3", align, copied, len(d.parts))
		}
	}
}

// TestBounceLong goes in parts where memory does not fit at all.
func TestBounceLong(t *testing.T) {
	const n = 3*MaxBounce + 1234
	d := &directDevice{t: t, data: deviceBytes(n + 100), align: bounceAlignments[0]}
	p := aio.Buffer(n + 1)[1:]
	got, err, copied := d.run(Op{Kind: Read, Buf: p, Offset: 77})
	if got != n || err != nil || copied != n || !bytes.Equal(p, d.data[77:77+n]) {
		t.Fatalf("= %d, %v, copied %d, or other bytes", got, err, copied)
	}
	for _, part := range d.parts {
		if len(part) > MaxBounce {
			t.Errorf("a part of %d bytes", len(part))
		}
	}
}

func TestBounceErrors(t *testing.T) {
	d := &directDevice{t: t, data: deviceBytes(100_000), align: bounceAlignments[0]}
	d.short = func(int) int { return -int(syscall.EIO) }
	if n, err, _ := d.run(Op{Kind: Read, Buf: make([]byte, 100), Offset: 3}); n != 0 || err == nil {
		t.Errorf("a read that fails = %d, %v", n, err)
	}
	calls := 0
	d.short = func(n int) int {
		if calls++; calls > 1 {
			return -int(syscall.EIO)
		}
		return 512
	}
	if n, err, _ := d.run(Op{Kind: Read, Buf: make([]byte, 5000), Offset: 3}); n != 509 || err == nil {
		t.Errorf("a read that fails in its second part = %d, %v", n, err)
	}
	d.short = func(int) int { return 0 }
	if n, err, _ := d.run(Op{Kind: Write, Buf: aio.Buffer(513)[1:], Offset: 0}); n != 0 || err == nil {
		t.Errorf("a write that stops = %d, %v", n, err)
	}
}

// TestBouncePool: a buffer is of the smallest class that holds what is asked, and
// is used again.
func TestBouncePool(t *testing.T) {
	var pool BouncePool
	for n, want := range map[int]int{
		1: 4 << 10, 4 << 10: 4 << 10, 4<<10 + 1: 8 << 10, 8 << 10: 8 << 10, 8<<10 + 1: 16 << 10, 64 << 10: 64 << 10,
		64<<10 + 1: 128 << 10, MaxBounce/2 + 1: MaxBounce, MaxBounce: MaxBounce, MaxBounce + 1: 2 * MaxBounce,
		maxPooled: maxPooled, maxPooled + 1: maxPooled + 1,
	} {
		reused := false
		for range max(3, min(100, maxPooled/4/n)) { // under the race detector a sync.Pool drops some
			b := pool.Get(n)
			if len(b) != n || cap(b) != want || !aio.IsAligned(b, aio.BufferAlign) {
				t.Fatalf("get(%d) has %d bytes of %d, want %d", n, len(b), cap(b), want)
			}
			pool.Put(b)
			c := pool.Get(n)
			reused = reused || first(b) == first(c)
			pool.Put(c)
		}
		if reused != (want <= maxPooled) {
			t.Errorf("what get(%d) gave is used again: %v", n, reused)
		}
	}
	if n := testing.AllocsPerRun(100, func() { pool.Put(pool.Get(5000)) }); n >= 1 && !aio.RaceEnabled {
		t.Errorf("%v allocations", n)
	}
}
