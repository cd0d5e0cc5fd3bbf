package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// A layout is the buffers of one vectored operation, which lie in an arena with
// bytes between them that belong to no buffer.
type layout struct {
	name  string
	arena []byte
	bufs  [][]byte
}

const (
	gapByte  = 0xee // between the buffers of a layout
	restByte = 0x55 // in a buffer before it is read into
)

// A bufferSpec is count buffers of size bytes each, that begin shift bytes behind
// a block boundary; or, if that is less than zero, wherever the last one ended.
type bufferSpec struct{ count, size, shift int }

// newLayout makes a layout of specs, one buffer of each in turn, so that those of
// different kinds are mixed; those of which there are few come in the middle.
func newLayout(name string, specs ...bufferSpec) *layout {
	room, most := bufferAlign, 0
	for _, s := range specs {
		room += s.count * (s.size + 1)
		if s.shift >= 0 {
			room += s.count * bufferAlign
		}
		most = max(most, s.count)
	}
	l := &layout{name: name, arena: AlignedBuffer(room)}
	at := 1
	for i := range most {
		for _, s := range specs {
			if first := (most - s.count) / 2; i < first || i >= first+s.count {
				continue
			}
			if s.shift >= 0 {
				at = (at+bufferAlign-1)/bufferAlign*bufferAlign + s.shift
			}
			l.bufs = append(l.bufs, l.arena[at:][:s.size:s.size])
			at += s.size + min(s.size, 1) // behind a gap
		}
	}
	l.arena = l.arena[:at]
	return l
}

func (l *layout) size() (n int) {
	for _, p := range l.bufs {
		n += len(p)
	}
	return n
}

// fill sets the arena to gaps, and its buffers to what from holds, one after the
// other, as far as that goes.
func (l *layout) fill(from []byte) {
	fillBytes(l.arena, gapByte)
	for _, p := range l.bufs {
		n := copy(p, from)
		from = from[n:]
		fillBytes(p[n:], restByte)
	}
}

// take returns what the buffers hold, one after the other, and whether the gaps
// between them are as fill left them.
func (l *layout) take() (all []byte, gaps bool) {
	for _, p := range l.bufs {
		all = append(all, p...)
		fillBytes(p, gapByte)
	}
	return all, bytes.Count(l.arena, []byte{gapByte}) == len(l.arena)
}

func fillBytes(p []byte, b byte) {
	for n := copy(p, []byte{b}); n < len(p); n *= 2 {
		copy(p[n:], p[:n])
	}
}

// layouts are what a vectored operation may look like: on each side of what the
// kernel takes in one call (1,024 buffers), of what a bounce buffer holds (1 MiB),
// and of what O_DIRECT takes in place.
func layouts() []*layout {
	return []*layout{
		newLayout("one", bufferSpec{1, 1, 0}),
		newLayout("nothing", bufferSpec{2000, 0, -1}),
		newLayout("5120 of 1", bufferSpec{5120, 1, -1}),
		newLayout("5000 of 1", bufferSpec{5000, 1, -1}),
		newLayout("8192 of 1", bufferSpec{8192, 1, -1}),
		newLayout("1024 of 1", bufferSpec{aio.MaxIovecs, 1, -1}),
		newLayout("1025 of 1", bufferSpec{aio.MaxIovecs + 1, 1, -1}),
		newLayout("6144 of 1 among 3000 of 0", bufferSpec{6144, 1, -1}, bufferSpec{3000, 0, -1}),
		newLayout("2000 of 13 among 900 of 0", bufferSpec{2000, 13, -1}, bufferSpec{900, 0, -1}),
		newLayout("1500 of 512", bufferSpec{1500, 512, -1}), // no address is even
		newLayout("1100 of 512 in place", bufferSpec{1100, 512, 512}),
		newLayout("1024 of 512 and 3 of 1", bufferSpec{aio.MaxIovecs, 512, 0}, bufferSpec{3, 1, -1}),
		newLayout("300 of 4096", bufferSpec{300, 4096, -1}),
		newLayout("1 of 1200000 among 1448 of 1", bufferSpec{1, 1_200_000, 1}, bufferSpec{1448, 1, -1}),
		newLayout("1 of 1048576 in place among 2048 of 1", bufferSpec{1, 1 << 20, 0}, bufferSpec{2048, 1, -1}),
	}
}

// A vectoredFile is a file, the descriptor by which it is set up and looked at,
// and one of the ways to carry out an operation on it.
type vectoredFile struct {
	*testing.T
	async *AsyncFile
	plain *os.File
	queue *Queue
	turn  int
	noise []byte // no two stretches of it are alike, and no byte is a canary
}

// data returns n bytes, others for each of a few thousand seeds.
func (f *vectoredFile) data(n, seed int) []byte { return f.noise[seed%4000:][:n:n] }

func noise(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, n)
	for i := range p {
		if p[i] = byte(rnd.Uint32()); p[i] == file.Canary {
			p[i]++
		}
	}
	return p
}

// do carries op out, through each of the doors in turn. The list of buffers is
// the caller's again at once, and is cleared.
func (f *vectoredFile) do(op Op) (n int, err error) {
	f.Helper()
	op.Bufs = slices.Clone(op.Bufs)
	var future *Future
	switch f.turn++; f.turn % 4 {
	case 0:
		future = f.async.Submit(op)[0]
	case 1:
		if err := f.queue.Submit(f.async, op, f.turn); err != nil {
			f.Fatal(err)
		}
		clear(op.Bufs)
		c := <-f.queue.C()
		if c.Tag != f.turn || c.Op != op.Kind || c.Offset != op.Offset {
			f.Errorf("%+v is the completion of %v at %d", c, op.Kind, op.Offset)
		}
		return c.N, c.Err
	default:
		if op.Kind == OpReadv {
			future = f.async.ReadvAt(op.Bufs, op.Offset)
		} else {
			future = f.async.WritevAt(op.Bufs, op.Offset)
		}
	}
	clear(op.Bufs)
	return future.Wait()
}

// check reads into l and writes from it at off of a file of size bytes, and
// compares all of it with a slice.
func (f *vectoredFile) check(l *layout, off, size int) error {
	model, want := slices.Clone(f.data(size, size)), l.size()
	if err := f.plain.Truncate(0); err != nil {
		return err
	}
	if _, err := f.plain.WriteAt(model, 0); err != nil {
		return err
	}
	if err := f.read(l, off, model); err != nil {
		return err
	}

	data := f.data(want, off+1)
	l.fill(data)
	if n, err := f.do(Op{Kind: OpWritev, Bufs: l.bufs, Offset: int64(off)}); n != want || err != nil {
		return fmt.Errorf("WritevAt = %d, %v; want %d", n, err, want)
	}
	if kept, gaps := l.take(); !gaps || !bytes.Equal(kept, data) {
		return errors.New("WritevAt has changed the caller's memory")
	}
	if end := off + want; want > 0 && end > len(model) {
		model = append(model, make([]byte, end-len(model))...)
	}
	copy(model[min(off, len(model)):], data)
	disk, err := os.ReadFile(f.plain.Name())
	if err != nil {
		return err
	}
	if err := sameBytes("the file after WritevAt", disk, model); err != nil {
		return err
	}
	return f.read(l, off, model)
}

// read reads into l at off of a file that holds model.
func (f *vectoredFile) read(l *layout, off int, model []byte) error {
	l.fill(nil)
	asked := l.size()
	want, wantErr := min(asked, max(len(model)-off, 0)), error(nil)
	if want < asked {
		wantErr = io.EOF
	}
	if n, err := f.do(Op{Kind: OpReadv, Bufs: l.bufs, Offset: int64(off)}); n != want || err != wantErr {
		return fmt.Errorf("ReadvAt = %d, %v; want %d, %v", n, err, want, wantErr)
	}
	got, gaps := l.take()
	if !gaps {
		return errors.New("ReadvAt has written between the buffers")
	}
	if bytes.IndexByte(got, file.Canary) >= 0 {
		return errors.New("ReadvAt gives bytes of a bounce buffer that no read put there")
	}
	if want == 0 {
		return nil
	}
	return sameBytes("what ReadvAt gives", got[:want], model[off:][:want])
}

// sameBytes tells where got first differs from want.
func sameBytes(what string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] == file.Canary {
			return fmt.Errorf("%s: byte %d of %d was never put into the bounce buffer", what, i, len(got))
		}
		if got[i] != want[i] {
			return fmt.Errorf("%s: byte %d of %d is %#x, want %#x", what, i, len(got), got[i], want[i])
		}
	}
	return nil
}

// TestVectoredModel has every layout read and written at every kind of offset of a
// file in every state, on every backend.
func TestVectoredModel(t *testing.T) {
	t.Setenv(file.VerifyEnv, "1")
	for _, variant := range []struct {
		name string
		opts []Option
	}{
		{"direct/aio", []Option{WithDirect(DirectPrefer), WithBackend(BackendAIO)}},
		{"direct/eventfd", []Option{WithDirect(DirectPrefer), WithBackend(BackendAIO), WithWaitMode(WaitEventFD)}},
		{"direct/pool", []Option{WithDirect(DirectPrefer), WithBackend(BackendPool)}},
		{"buffered/aio", []Option{WithBackend(BackendAIO)}},
		{"buffered/auto", nil},
		{"buffered/pool", []Option{WithBackend(BackendPool)}},
	} {
		t.Run(variant.name, func(t *testing.T) {
			f := openVectored(t, variant.opts...)
			for _, l := range layouts() {
				t.Run(l.name, func(t *testing.T) {
					f.T = t
					f.checkAll(l)
				})
			}
		})
	}
}

// openVectored opens a file, and skips the test where the machine does not have
// what it asks for.
func openVectored(t *testing.T, opts ...Option) *vectoredFile {
	t.Helper()
	// A Ring of its own, made here: one that is shared may have been made before
	// the environment said to verify.
	async, err := Create(filepath.Join(t.TempDir(), "file"), append(opts, WithQueueDepth(4))...)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { async.Close() })
	if async.DirectReason() != nil {
		t.Skip(async.DirectReason())
	}
	plain, err := os.OpenFile(async.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() })
	queue := NewQueue(1)
	t.Cleanup(func() { queue.Close() })
	return &vectoredFile{T: t, async: async, plain: plain, queue: queue, noise: noise(2 << 20)}
}

// checkAll checks l at every offset, each in files that are empty, end before it,
// end inside of what is asked, with it, and behind it.
func (f *vectoredFile) checkAll(l *layout) {
	f.Helper()
	offsets := []int{0, 1, 511, 512, 4095, 4096, 12_345}
	if testing.Short() {
		offsets = []int{0, 511, 4096}
	}
	for _, off := range offsets {
		want := l.size()
		for _, size := range []int{0, off / 2, off + want/3, off + want - 1, off + want, off + want + 5000} {
			if err := f.check(l, off, max(size, 0)); err != nil {
				f.Fatalf("%d bytes at %d of a file of %d: %v", want, off, size, err)
			}
		}
	}
}

// A block may be larger than the largest bounce buffer that is kept: what goes
// through one then takes a buffer of its own.
func TestBounceOfLargeBlocks(t *testing.T) {
	for _, unit := range []int{file.MaxBounce, 2 * file.MaxBounce, 8 * file.MaxBounce} {
		inBubble(t, 4, func(s *scripted) {
			contents := aiotest.NewMem(patternBytes(2*unit+1000, 3))
			f := s.openOwn(contents)
			f.core.Align = aio.Alignment{Memory: 512, Offset: unit, ReadOffset: unit}
			calls := 0
			s.kernel.OnOp(func(op *aiotest.Op) aiotest.Verdict {
				if calls++; calls > 10 || op.Len == 0 || op.Len%unit != 0 || op.Offset%int64(unit) != 0 {
					return aiotest.Fail(syscall.EIO) // it would go on for ever
				}
				return aiotest.Do()
			})
			for _, bufs := range [][][]byte{
				{make([]byte, 100)},
				{AlignedBuffer(unit + 1)[1:]}, // one block, or two
				slices.Repeat([][]byte{make([]byte, 1)}, 3000),
			} {
				for _, off := range []int{0, 1, unit - 50, unit} {
					calls = 0
					l := &layout{bufs: bufs}
					n, err := f.ReadvAt(bufs, int64(off)).Wait()
					if want := l.size(); n != want || err != nil {
						s.Errorf("unit %d: %d buffers at %d: ReadvAt = %d, %v; want %d", unit, len(bufs), off, n, err, want)
					} else if len(bufs) == 1 && !bytes.Equal(bufs[0], contents.Bytes()[off:][:n]) {
						s.Errorf("unit %d: %d bytes at %d: other bytes", unit, n, off)
					}
				}
			}
			calls = 0
			block := AlignedBuffer(unit + 1)[1:]
			copy(block, patternBytes(unit, 9))
			n, err := f.WritevAt([][]byte{block[:unit/2], block[unit/2:]}, int64(unit)).Wait()
			if n != unit || err != nil || !bytes.Equal(contents.Bytes()[unit:2*unit], block) {
				s.Errorf("unit %d: WritevAt of one block = %d, %v, or other bytes", unit, n, err)
			}
		})
	}
}

// A vector of more bytes than an int has no count to be told by, and is refused.
func TestVectorOfTooMuch(t *testing.T) {
	if strconv.IntSize > 32 {
		t.Skip("no address space holds so much")
	}
	s := newScripted(t, aiotest.New(2))
	f := s.openOwn(new(hole))
	bufs := slices.Repeat([][]byte{make([]byte, 4<<20)}, 512) // of the same memory: 2 GiB
	for _, more := range []int{0, 1, 512, 1024} {
		bufs := append(slices.Clone(bufs), slices.Repeat(bufs[:1], more)...)
		for _, kind := range []OpKind{OpReadv, OpWritev} {
			if n, err := f.Submit(Op{Kind: kind, Bufs: bufs})[0].Wait(); n != 0 || !errors.Is(err, os.ErrInvalid) {
				t.Errorf("%v of %d times 4 MiB = %d, %v; want os.ErrInvalid", kind, len(bufs), n, err)
			}
		}
	}
}
