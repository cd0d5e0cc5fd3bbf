package vec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/vec/vectest"
)

// number gives the bytes of bufs, taken as one run, the values 1 to 255 again
// and again, and returns the run.
func number(bufs [][]byte) (run []byte) {
	for _, p := range bufs {
		for i := range p {
			p[i] = byte(1 + len(run)%255)
			run = append(run, p[i])
		}
	}
	return run
}

func cursor(tb testing.TB, bufs [][]byte) Cursor {
	tb.Helper()
	c, err := Buffers(bufs)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// smallLayouts calls yield with every list of at most four buffers of at most two
// bytes each.
func smallLayouts(yield func(lengths []int) bool) {
	var more func(lengths []int) bool
	more = func(lengths []int) bool {
		if !yield(lengths) {
			return false
		}
		for n := 0; n <= 2 && len(lengths) < 4; n++ {
			if !more(append(lengths[:len(lengths):len(lengths)], n)) {
				return false
			}
		}
		return true
	}
	more(nil)
}

// A naive model, that of all buffers joined, agrees with every step from every
// position of every small layout.
func TestSmallLayouts(t *testing.T) {
	for lengths := range smallLayouts {
		bufs := make([][]byte, len(lengths))
		for i, n := range lengths {
			bufs[i] = make([]byte, n)
		}
		run := number(bufs)
		starts := []Cursor{cursor(t, bufs)}
		if len(bufs) == 1 {
			starts = append(starts, Bytes(bufs[0]))
		}
		for _, start := range starts {
			for skip := range len(run) + 2 {
				c := start
				if n := c.Skip(skip); n != min(skip, len(run)) {
					t.Fatalf("%v: Skip(%d) = %d", lengths, skip, n)
				}
				rest := run[min(skip, len(run)):]
				if err := checkLooks(c, rest); err != nil {
					t.Fatalf("%v from %d: %v", lengths, skip, err)
				}
				for n := range len(rest) + 2 {
					if err := checkCopies(c, bufs, rest, n); err != nil {
						t.Fatalf("%v from %d: %v", lengths, skip, err)
					}
				}
			}
		}
	}
}

// checkLooks checks what does not move a cursor with rest before it.
func checkLooks(c Cursor, rest []byte) error {
	if c.Left() != int64(len(rest)) {
		return fmt.Errorf("Left() = %d of %d", c.Left(), len(rest))
	}
	if p := c.Head(); !bytes.HasPrefix(rest, p) || len(p) == 0 && len(rest) > 0 {
		return fmt.Errorf("Head() = %v of %v", p, rest)
	}
	for unit := 1; unit <= 3; unit++ {
		if err := checkVectors(c, rest, unit); err != nil {
			return err
		}
	}
	if c.Left() != int64(len(rest)) {
		return errors.New("looking moved the cursor")
	}
	return nil
}

// checkVectors checks what one vectored operation gets, where it gets all of rest
// or as many units as there are.
func checkVectors(c Cursor, rest []byte, unit int) error {
	want := rest[:len(rest)/unit*unit]
	old := []byte("before")
	bufs, n := c.AppendBuffers([][]byte{old}, unit)
	if got := bytes.Join(bufs[1:], nil); n != len(want) || !bytes.Equal(got, want) {
		return fmt.Errorf("AppendBuffers with unit %d: %d bytes, %v, of %v", unit, n, got, rest)
	}
	v, m := c.AppendIovecs([]aio.Iovec{aio.MakeIovec(old)}, unit)
	if m != n || len(v) != len(bufs) {
		return fmt.Errorf("AppendIovecs with unit %d: %d iovecs of %d bytes; AppendBuffers: %d of %d", unit, len(v), m, len(bufs), n)
	}
	for i, p := range bufs {
		if len(p) == 0 || v[i].Base != &p[0] || v[i].Len != uintptr(len(p)) {
			return fmt.Errorf("unit %d: iovec %d is not buffer %v", unit, i, p)
		}
	}
	return nil
}

// checkCopies checks copies of n bytes from c, with rest before it, a place in
// bufs.
func checkCopies(c Cursor, bufs [][]byte, rest []byte, n int) error {
	want := rest[:min(n, len(rest))]
	g, s := c, c
	dst := bytes.Repeat([]byte{'?'}, n)
	m, err := g.Gather(dst)
	if m != len(want) || err != nil || !bytes.Equal(dst[:m], want) || bytes.Trim(dst[m:], "?") != nil {
		return fmt.Errorf("Gather of %d: %d, %v, and %v", n, m, err, dst)
	}
	tail := make([]byte, len(rest))
	if m, err := g.Gather(tail); m != len(rest)-len(want) || err != nil || !bytes.Equal(tail[:m], rest[len(want):]) {
		return fmt.Errorf("Gather after %d: %d, %v, %v", n, m, err, tail)
	}

	before := bytes.Join(bufs, nil)
	at := len(before) - len(rest)
	src := bytes.Repeat([]byte{'!'}, n)
	m, err = s.Scatter(src)
	after := bytes.Join(bufs, nil)
	if copy(before[at:], src) != m || err != nil || !bytes.Equal(before, after) {
		return fmt.Errorf("Scatter of %d: %d, %v, and %v", n, m, err, after)
	}
	if s.Left() != int64(len(rest)-m) {
		return fmt.Errorf("Scatter of %d leaves %d", n, s.Left())
	}
	number(bufs)
	return nil
}

// Every layout goes through in pieces of any size, copied or handed to the
// kernel, with whatever short counts that answers.
func TestLayouts(t *testing.T) {
	const size = 3*4096 + 5
	for name, bufs := range vectest.Layouts(size) {
		run := number(bufs)
		if len(run) != size {
			t.Fatalf("%s: %d bytes", name, len(run))
		}
		for _, step := range []int{97, 1024, 4096, 5120, size} {
			c, got := cursor(t, bufs), []byte(nil)
			for c.Left() > 0 {
				dst := make([]byte, step)
				n, err := c.Gather(dst)
				if want := min(step, size-len(got)); n != want || err != nil {
					t.Fatalf("%s: Gather of %d: %d, %v; want %d", name, step, n, err, want)
				}
				got = append(got, dst[:n]...)
			}
			if !bytes.Equal(got, run) {
				t.Errorf("%s: Gather by %d bytes went wrong", name, step)
			}
			c, got = cursor(t, bufs), nil
			for c.Left() > 0 {
				v, n := c.AppendBuffers(nil, 1)
				if n == 0 || len(v) > aio.MaxIovecs {
					t.Fatalf("%s: AppendBuffers: %d buffers of %d bytes", name, len(v), n)
				}
				n = min(n, step)
				got = append(got, bytes.Join(v, nil)[:n]...)
				c.Skip(n)
			}
			if !bytes.Equal(got, run) {
				t.Errorf("%s: AppendBuffers, of which %d bytes are done, went wrong", name, step)
			}
		}
	}
}

func TestVectorsAreLimited(t *testing.T) {
	one := func(n int) [][]byte { return slices.Repeat([][]byte{{1}}, n) }
	quarter := vectest.Reserved(t, 1<<29)
	huge := func(n int) [][]byte { return [][]byte{quarter, quarter, quarter, quarter[:n-3<<29]} }
	const most = aio.MaxTransfer
	for _, tt := range []struct {
		name    string
		bufs    [][]byte
		unit    int
		n, vecs int
	}{
		{"none", nil, 1, 0, 0},
		{"empty ones", make([][]byte, 5000), 1, 0, 0},
		{"as many as go", one(aio.MaxIovecs), 1, aio.MaxIovecs, aio.MaxIovecs},
		{"one too many", one(aio.MaxIovecs + 1), 1, aio.MaxIovecs, aio.MaxIovecs},
		{"empty ones do not count", append(make([][]byte, 5000), one(2)...), 1, 2, 2},
		{"whole units", one(5120), 1000, 1000, 1000},
		{"half a unit in the last buffer", [][]byte{{1}, {1, 2, 3, 4}}, 3, 3, 2},
		{"two buffers less", [][]byte{{1, 2, 3}, {1}, {1}}, 3, 3, 1},
		{"less than a unit", one(5120), aio.MaxIovecs + 1, 0, 0},
		{"the most bytes", huge(most), 1, most, 4},
		{"the most bytes, and one", append(huge(most), []byte{1}), 1, most, 4},
		{"more bytes in two buffers", append(huge(most-1), []byte{1, 2}), 1, most, 5},
		{"more bytes in one buffer", huge(most + 1), 1, most, 4},
		{"more bytes, in units", huge(most + 1), 1 << 20, most &^ (1<<20 - 1), 4},
	} {
		c := cursor(t, tt.bufs)
		v, n := c.AppendBuffers(nil, tt.unit)
		if n != tt.n || len(v) != tt.vecs {
			t.Errorf("%s: %d bytes in %d buffers; want %d in %d", tt.name, n, len(v), tt.n, tt.vecs)
		}
		if v, n := c.AppendIovecs(nil, tt.unit); n != tt.n || len(v) != tt.vecs {
			t.Errorf("%s: %d bytes in %d iovecs; want %d in %d", tt.name, n, len(v), tt.n, tt.vecs)
		}
	}
}

// Sums beyond an int, 2 GiB where it has 32 bits, neither wrap nor are cut.
func TestTotal(t *testing.T) {
	big := vectest.Reserved(t, 1<<(bits.UintSize*3/4-3)) // 2 MiB, or 32 TiB
	count := math.MaxInt / len(big)
	fits := slices.Repeat([][]byte{big}, count)
	full := append(fits[:count:count], big[:math.MaxInt-count*len(big)])
	over := append(full[:len(full):len(full)], []byte{1})
	for _, tt := range []struct {
		name string
		bufs [][]byte
		want int64
		err  error
	}{
		{"none", nil, 0, nil},
		{"empty", [][]byte{nil, {}}, 0, nil},
		{"some", [][]byte{{1}, nil, {2, 3}}, 3, nil},
		{"the most", full, math.MaxInt, nil},
		{"a byte more", over, 0, syscall.EINVAL},
		{"what wraps to 1", append(slices.Repeat(full, 2), []byte{1, 2, 3}), 0, syscall.EINVAL},
	} {
		if n, err := Total(tt.bufs); n != tt.want || err != tt.err {
			t.Errorf("%s: Total = %d, %v; want %d, %v", tt.name, n, err, tt.want, tt.err)
		}
		if c, err := Buffers(tt.bufs); c.Left() != tt.want || err != tt.err {
			t.Errorf("%s: Buffers: %d left, %v; want %d, %v", tt.name, c.Left(), err, tt.want, tt.err)
		}
	}
}

func TestAligned(t *testing.T) {
	const page, sector = 4096, 512
	p := aio.AlignedSlice(4*page, page)
	for _, tt := range []struct {
		name string
		bufs [][]byte
		skip int
		want bool
	}{
		{"none", nil, 0, true},
		{"one", [][]byte{p}, 0, true},
		{"odd address", [][]byte{p[1:][:page]}, 0, false},
		{"odd length", [][]byte{p[:page+1]}, 0, false},
		{"odd lengths that make a block", [][]byte{p[:100], p[page:][:sector-100]}, 0, false},
		{"the last is odd", [][]byte{p[:page], p[page:][:sector], p[2*page+1:][:sector]}, 0, false},
		{"empty at an odd address", [][]byte{p[:page], p[1:1], nil, p[page:]}, 0, true},
		{"from a page on", [][]byte{p[:2*page], p[2*page:]}, page, true},
		{"from a sector on", [][]byte{p[:2*page], p[2*page:]}, sector, false},
		{"behind what is odd", [][]byte{p[:1], p[page:]}, 1, true},
		{"at the end", [][]byte{p[1:]}, 4 * page, true},
	} {
		c := cursor(t, tt.bufs)
		c.Skip(tt.skip)
		if got := c.Aligned(page, sector); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	for name, bufs := range vectest.Layouts(2 * page) {
		c := cursor(t, bufs)
		if got, want := c.Aligned(page, sector), strings.HasPrefix(name, "aligned"); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Five million buffers are gone through one at a time. Were it from the start
// each time, this would not end.
func TestEveryStepGoesOn(t *testing.T) {
	const count = 5_000_000
	bufs := slices.Repeat([][]byte{{1}}, count)
	b := make([]byte, 1)
	gathered, scattered, skipped := cursor(t, bufs), cursor(t, bufs), cursor(t, bufs)
	for range count {
		gathered.Gather(b)
		scattered.Scatter(b)
		skipped.Head()
		skipped.Skip(1)
	}
	var v []aio.Iovec
	part, n := cursor(t, bufs), 0
	for calls := 0; part.Left() > 0; calls++ {
		v, n = part.AppendIovecs(v[:0], 1)
		if part.Skip(n/2+1) == 0 {
			t.Fatalf("call %d takes nothing of %d", calls, part.Left())
		}
	}
	for _, c := range []Cursor{gathered, scattered, skipped, part} {
		if c.Left() != 0 {
			t.Errorf("%d left", c.Left())
		}
	}
}

func TestNoAllocations(t *testing.T) {
	bufs := slices.Repeat([][]byte{make([]byte, 10), nil}, 500)
	dst := make([]byte, 5000)
	v, w := make([]aio.Iovec, 0, 500), make([][]byte, 0, 500)
	for _, start := range []Cursor{cursor(t, bufs), Bytes(make([]byte, 5000))} {
		if n := testing.AllocsPerRun(10, func() {
			c := start
			c.Gather(dst)
			c = start
			c.Scatter(dst)
			c = start
			c.Skip(100)
			c.Aligned(512, 512)
			c.Head()
			v, _ = c.AppendIovecs(v[:0], 512)
			w, _ = c.AppendBuffers(w[:0], 512)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

// A Cursor whose slice of buffers has been changed says so, and does not go round
// for ever or deliver less.
func TestChangedBuffersPanic(t *testing.T) {
	for name, use := range map[string]func(c *Cursor){
		"Gather":  func(c *Cursor) { c.Gather(make([]byte, 4)) },
		"Scatter": func(c *Cursor) { c.Scatter(make([]byte, 4)) },
		"Skip":    func(c *Cursor) { c.Skip(4) },
	} {
		bufs := [][]byte{{1, 2}, {3, 4}}
		c := cursor(t, bufs)
		bufs[1] = nil
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			use(&c)
		}()
	}
}

// What guarding a copy and going through many buffers cost beside copy itself.
func BenchmarkGather(b *testing.B) {
	src, dst := make([]byte, 4096), make([]byte, 4096)
	ones := slices.Repeat([][]byte{{1}}, 4096)
	b.Run("copy", func(b *testing.B) {
		for b.Loop() {
			copy(dst, src)
		}
	})
	for name, c := range map[string]Cursor{"one buffer": Bytes(src), "one-byte buffers": cursor(b, ones)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c := c
				c.Gather(dst)
			}
		})
	}
}

// FuzzCursor takes the first bytes as the lengths of buffers and the others as
// steps through them.
func FuzzCursor(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte{3, 0, 1}, []byte{0, 2, 1, 2})
	f.Add([]byte{0, 0, 0, 9}, []byte{2, 3, 3, 4, 0, 200})
	f.Add(bytes.Repeat([]byte{1}, 1500), []byte{3, 1, 2, 255, 3, 7, 1, 255, 0, 255, 4, 0, 0, 255})
	f.Fuzz(func(t *testing.T, lengths, steps []byte) {
		bufs := make([][]byte, len(lengths))
		for i, n := range lengths {
			bufs[i] = make([]byte, n)
		}
		run := number(bufs)
		c, at := cursor(t, bufs), 0
		for i := 0; i+1 < len(steps); i += 2 {
			n := int(steps[i+1])
			done := min(n, len(run)-at)
			switch steps[i] % 5 {
			case 0:
				dst := make([]byte, n)
				if m, err := c.Gather(dst); m != done || err != nil || !bytes.Equal(dst[:m], run[at:at+m]) {
					t.Fatalf("Gather of %d at %d: %d, %v", n, at, m, err)
				}
				at += done
			case 1:
				src := bytes.Repeat(steps[i:i+1], n)
				if m, err := c.Scatter(src); m != done || err != nil {
					t.Fatalf("Scatter of %d at %d: %d, %v", n, at, m, err)
				}
				at += copy(run[at:], src)
			case 2:
				if m := c.Skip(n); m != done {
					t.Fatalf("Skip of %d at %d: %d", n, at, m)
				}
				at += done
			case 3:
				unit := n + 1
				v, m := c.AppendBuffers(nil, unit)
				if !bytes.Equal(bytes.Join(v, nil), run[at:at+m]) || m%unit != 0 ||
					len(v) < aio.MaxIovecs-unit && m != (len(run)-at)/unit*unit {
					t.Fatalf("AppendBuffers at %d of %d by %d: %d in %d", at, len(run), unit, m, len(v))
				}
				at += c.Skip(m)
			default:
				c, at = cursor(t, bufs), 0
			}
			if c.Left() != int64(len(run)-at) {
				t.Fatalf("%d left of %d", c.Left(), len(run)-at)
			}
		}
		if !bytes.Equal(bytes.Join(bufs, nil), run) {
			t.Fatal("the buffers are not as the steps left them")
		}
	})
}
