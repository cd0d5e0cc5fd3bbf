package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// A fuzzInput is the bytes from which a fuzzer draws what it does. Past the end
// all are 0, which is the plainest choice wherever one is drawn.
type fuzzInput []byte

// below draws a number below n, 0 when the input is at its end.
func (in *fuzzInput) below(n int) int {
	v := 0
	for range (bits.Len(uint(n-1)) + 7) / 8 {
		v <<= 8
		if len(*in) > 0 {
			v, *in = v|int((*in)[0]), (*in)[1:]
		}
	}
	return v % n
}

func (in *fuzzInput) of(list ...int) int { return list[in.below(len(list))] }

// A fuzzer has one file do what an input says, many operations at once that do
// not touch each other, and keeps what the file must hold.
type fuzzer struct {
	*scripted
	in    fuzzInput
	file  *AsyncFile
	mode  fuzzMode
	unit  int // of direct I/O in bytes
	model []byte
	queue *Queue

	flying []*flight
	batch  []*flight // of them, not submitted yet
	count  int
	faults bool
	dying  bool
}

type fuzzMode int

const (
	fuzzDirect fuzzMode = iota
	fuzzBuffered
	fuzzDirectAppend // opened with O_APPEND
	fuzzModes
)

// A flight is one operation, begun and not waited for.
type flight struct {
	op       Op
	data     []byte // of a write
	from, to int64  // what it touches, up to the end of everything where it may move the end of the file
	future   *Future
	queued   *Completion // instead
	after    []*Future   // of a Sync: the writes that it covers
	least    int64       // of an Append: where it may go
	most     int64
}

// A fuzzContents is a file for the scripted kernel. It takes of a direct file only
// what O_DIRECT would.
type fuzzContents struct {
	*os.File
	t     *testing.T
	align aio.Alignment
}

func (c fuzzContents) check(p []byte, off int64, unit int) {
	// Under the race detector the scripted kernel has copies of the buffers.
	aligned := aio.RaceEnabled || aio.IsAligned(p, c.align.Memory)
	if off%int64(unit) != 0 || len(p)%unit != 0 || !aligned {
		c.t.Errorf("a buffer of %d bytes at %d, aligned in memory %v, for a unit of %d", len(p), off, aligned, unit)
	}
}

func (c fuzzContents) ReadAt(p []byte, off int64) (int, error) {
	c.check(p, off, c.align.ReadOffset)
	return c.File.ReadAt(p, off)
}

func (c fuzzContents) WriteAt(p []byte, off int64) (int, error) {
	c.check(p, off, c.align.Offset)
	return c.File.WriteAt(p, off)
}

func (c fuzzContents) Sync() error { return nil } // it is about the order

// FuzzAsyncFile has a file carry out random operations on a kernel that behaves
// badly in every way it may, and compares results and contents with a slice. The
// kernel may fail operations, and die.
func FuzzAsyncFile(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		in := make([]byte, 40+rnd.IntN(400))
		for i := range in {
			in[i] = byte(rnd.Uint32())
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := fuzzInput(data)
		kind := waitKinds[in.below(len(waitKinds))]
		mode := fuzzMode(in.below(int(fuzzModes)))
		depth := 1 + in.below(12)
		kernel := aiotest.Random(uint64(in.below(256)), depth)
		faults := in.of(0, 0, 5, 20)
		workers := 1 + in.below(3)
		kind.run(t, kernel, depth, func(s *scripted) {
			z := &fuzzer{scripted: s, in: in, mode: mode, faults: faults > 0, queue: NewQueue(fuzzFlying)}
			z.open()
			if z.faults {
				kernel.SetFaults(faults, syscall.EIO, syscall.ENOSPC, syscall.EINTR)
			}
			for range 400 {
				if len(z.in) == 0 || s.Failed() {
					break
				}
				z.step()
			}
			z.wait()
			z.compare()
			z.queue.Close()
		}, WithWorkers(workers), WithTimeout(time.Millisecond))
	})
}

// fuzzFlying is the most operations in flight.
const fuzzFlying = 24

func (z *fuzzer) open() {
	z.ring.files.Verify(func(message string) { panic(message) })
	name := filepath.Join(z.TempDir(), "file")
	flag, direct := os.O_RDWR|os.O_CREATE, DirectPrefer
	switch z.mode {
	case fuzzBuffered:
		direct = DirectOff
	case fuzzDirectAppend:
		flag |= os.O_APPEND
	}
	// What the file holds at first tells what the device asks of direct I/O.
	z.model = z.data(z.in.of(0, 0, 1, 8192, 70_001))
	if err := os.WriteFile(name, z.model, 0o666); err != nil {
		z.Fatal(err)
	}
	var err error
	if z.file, err = OpenFile(name, flag, 0, WithRing(z.ring), WithBackend(BackendAIO), WithDirect(direct)); err != nil {
		z.Fatal(err)
	}
	z.files = append(z.files, z.file)
	plain, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		z.Fatal(err)
	}
	z.Cleanup(func() { plain.Close() })
	z.Logf("mode %d, depth %d, faults %v, %d bytes, %+v", z.mode, z.ring.Depth(), z.faults, len(z.model), z.file.core.Align)
	z.unit = max(z.file.core.Align.Offset, z.file.core.Align.ReadOffset)
	z.kernel.SetUnit(z.unit)
	z.kernel.Attach(z.file.core.Fd(), fuzzContents{plain, z.T, z.file.core.Align})
}

// data returns n bytes that are not those of another call, and no canaries.
func (z *fuzzer) data(n int) []byte {
	z.count++
	p := make([]byte, n)
	for i := range p {
		if p[i] = byte(i*7) ^ byte(i>>8)*31 ^ byte(z.count*101); p[i] == file.Canary {
			p[i] = byte(z.count)%64 + 1
		}
	}
	return p
}

// length draws how much an operation moves.
func (z *fuzzer) length() int {
	switch z.in.below(6) {
	case 0:
		return z.in.below(256)
	case 1:
		return z.unit * z.in.below(16)
	case 2:
		return z.in.below(6000)
	case 3:
		return z.unit*z.in.below(16) + 1
	case 4:
		return z.unit * (100 + z.in.below(64))
	}
	return z.in.below(100_000)
}

// offset draws where.
func (z *fuzzer) offset() int64 {
	switch z.in.below(3) {
	case 0:
		return int64(z.unit * z.in.below(40))
	case 1:
		return int64(z.in.below(30_000))
	}
	return max(0, int64(len(z.model)-z.in.below(1000)))
}

// memory draws memory for n bytes, and for a vectored operation how it is cut.
func (z *fuzzer) memory(n int, vectored bool) (p []byte, bufs [][]byte) {
	p = AlignedBuffer(n + 600)[z.in.of(0, 0, 1, 512, 77):][:n:n]
	if !vectored {
		return p, nil
	}
	piece, empty := 0, z.in.below(4) == 1
	switch z.in.below(4) {
	case 0:
		piece = 1 + n/2
	case 1:
		piece = 1 + n/6000 // thousands
	case 2:
		piece = z.unit
	case 3:
		piece = 1 + z.in.below(600)
	}
	for rest := p; len(rest) > 0; {
		m := min(piece, len(rest))
		bufs = append(bufs, rest[:m:m])
		if rest = rest[m:]; empty && len(bufs)%5 == 0 {
			bufs = append(bufs, nil)
		}
	}
	return p, bufs
}

// step draws one operation, or a wait for all.
func (z *fuzzer) step() {
	switch z.in.below(16) {
	case 0, 1:
		z.write(false)
	case 2, 3:
		z.write(true)
	case 4, 5:
		z.read(false)
	case 6, 7:
		z.read(true)
	case 8, 9:
		z.append()
	case 10, 11:
		z.sync()
	case 12:
		z.wait()
		z.resize(z.offset(), z.file.Truncate)
	case 13:
		z.wait()
		z.resize(max(1, int64(len(z.model)), z.offset()), z.file.Preallocate)
	case 14:
		z.wait()
	case 15:
		if z.in.below(8) == 1 {
			z.die()
		}
	}
}

func (z *fuzzer) write(vectored bool) {
	if z.mode == fuzzDirectAppend {
		z.append()
		return
	}
	op := Op{Kind: OpWrite, Offset: z.offset()}
	data := z.data(z.length())
	op.Buf, op.Bufs = z.memory(len(data), vectored)
	copy(op.Buf, data)
	if vectored {
		op.Kind, op.Buf = OpWritev, nil
	}
	z.begin(&flight{op: op, data: data})
}

func (z *fuzzer) read(vectored bool) {
	op := Op{Kind: OpRead, Offset: z.offset()}
	buf, bufs := z.memory(z.length(), vectored)
	op.Buf = buf
	if vectored {
		op.Kind, op.Buf, op.Bufs = OpReadv, nil, bufs
	}
	z.begin(&flight{op: op, data: buf})
}

func (z *fuzzer) append() {
	data := z.data(1 + z.length())
	buf, _ := z.memory(len(data), false)
	copy(buf, data)
	z.begin(&flight{op: Op{Kind: OpAppend, Buf: buf}, data: data})
}

func (z *fuzzer) sync() {
	z.begin(&flight{op: Op{Kind: OpSync + OpKind(z.in.below(2))}})
}

// end returns where the file ends when all that is in flight succeeds.
func (z *fuzzer) end() int64 {
	end := int64(len(z.model))
	for _, fl := range z.flying {
		switch {
		case fl.op.Kind == OpAppend:
			end += int64(len(fl.data))
		case fl.op.Kind.writes() && len(fl.data) > 0:
			end = max(end, fl.op.Offset+int64(len(fl.data)))
		}
	}
	return end
}

// begin waits for what fl must not be in flight with, and begins it.
func (z *fuzzer) begin(fl *flight) {
	if len(z.flying) == fuzzFlying {
		z.wait()
	}
	size := int64(len(z.model))
	if kind := fl.op.Kind; !kind.syncs() && kind != OpAppend {
		fl.from, fl.to = fl.op.Offset, fl.op.Offset+int64(len(fl.data))
		if fl.to > size { // it makes the file larger, or sees where it ends
			fl.from, fl.to = min(fl.from, size), 1<<62
		}
		if slices.ContainsFunc(z.flying, fl.clashes) {
			z.wait()
		}
	} else if kind == OpAppend {
		fl.from, fl.to = size, 1<<62
		// Appends follow each other, and may be in flight together. Beside any
		// other write that moves the end it is not sure where an append goes.
		if slices.ContainsFunc(z.flying, func(o *flight) bool { return o.op.Kind != OpAppend && fl.clashes(o) }) {
			z.wait()
		}
		fl.least, fl.most = int64(len(z.model)), z.end()
	}
	if fl.op.Kind.syncs() {
		for _, o := range z.flying {
			if o.op.Kind.writes() && o.future != nil {
				fl.after = append(fl.after, o.future)
			}
		}
	}
	z.Logf("%v %d at %d of %d buffers, beside %d", fl.op.Kind, len(fl.data), fl.op.Offset, len(fl.op.Bufs), len(z.flying))
	z.flying = append(z.flying, fl)
	if z.batch = append(z.batch, fl); z.in.below(3) != 1 {
		z.submit()
	}
}

// clashes reports whether a write is among fl and o that the other would see, or
// share a byte with.
func (fl *flight) clashes(o *flight) bool {
	return (fl.op.Kind.writes() || o.op.Kind.writes()) && fl.from < o.to && o.from < fl.to
}

// submit begins the operations of the batch, through one of the doors.
func (z *fuzzer) submit() {
	batch := z.batch
	z.batch = nil
	if z.in.below(3) == 1 {
		for _, fl := range batch {
			if err := z.queue.Submit(z.file, fl.op, fl); err != nil {
				z.Fatal(err)
			}
			fl.queued = new(Completion)
		}
		return
	}
	ops := make([]Op, len(batch))
	for i, fl := range batch {
		ops[i] = fl.op
	}
	for i, future := range z.file.Submit(ops...) {
		batch[i].future = future
	}
}

// wait waits for everything in flight, and checks what came of it.
func (z *fuzzer) wait() {
	z.submit()
	for _, fl := range z.flying {
		if fl.queued != nil {
			c := <-z.queue.C()
			*c.Tag.(*flight).queued = c
		}
	}
	list := z.flying
	z.flying = nil
	failed := 0
	for _, fl := range list {
		n, err, off := 0, error(nil), int64(0)
		if fl.queued != nil {
			n, err, off = fl.queued.N, fl.queued.Err, fl.queued.Offset
		} else {
			n, err = fl.future.Wait()
			off = fl.future.Offset()
		}
		if err != nil && err != io.EOF {
			failed++
		}
		what := fmt.Sprintf("%v %d at %d of %d buffers = %d, %v", fl.op.Kind, len(fl.data), fl.op.Offset, len(fl.op.Bufs), n, err)
		z.Log(what)
		if e := z.check(fl, n, err, off); e != nil {
			z.Errorf("%s: %v", what, e)
		}
	}
	if failed > 0 {
		z.adopt(len(list) == 1)
	}
}

// check compares the outcome of fl with the model, which a write changes.
func (z *fuzzer) check(fl *flight, n int, err error, off int64) error {
	want := len(fl.data)
	if err != nil && err != io.EOF {
		var pe *fs.PathError
		if !errors.As(err, &pe) || pe.Path != z.file.Name() || pe.Op != file.Kind(fl.op.Kind).ErrorOp() {
			return errors.New("not a PathError of this operation")
		}
		if !(z.faults && (errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC)) || z.dying && errors.Is(err, syscall.EPERM)) {
			return errors.New("an error that nobody caused")
		}
		if n >= want && want > 0 {
			return errors.New("all was moved, and yet it failed")
		}
		want = n
	}
	switch {
	case z.dying: // what the kernel has done of it is not known
		return nil
	case fl.op.Kind.syncs():
		for _, future := range fl.after {
			if _, _, ok := future.Result(); !ok {
				return errors.New("a write that came before goes on")
			}
		}
		return nil
	case fl.op.Kind.writes():
		if n != want || err == io.EOF {
			return errors.New("short")
		}
		if fl.op.Kind == OpAppend {
			if off < fl.least || off > fl.most || off != fl.most && !z.faults {
				return fmt.Errorf("went to %d, want %d to %d", off, fl.least, fl.most)
			}
			fl.op.Offset = off
		}
		z.put(fl.data[:n], fl.op.Offset)
		return nil
	}
	there := max(0, min(want, len(z.model)-int(fl.op.Offset)))
	if err == nil || err == io.EOF {
		if n != there || (err == io.EOF) != (n < want) {
			return fmt.Errorf("want %d of a file of %d", there, len(z.model))
		}
	} else if n > there {
		return fmt.Errorf("want at most %d of a file of %d", there, len(z.model))
	}
	if n > 0 {
		return sameBytes("what was read", fl.data[:n], z.model[fl.op.Offset:][:n])
	}
	return nil
}

func (z *fuzzer) put(data []byte, off int64) {
	if len(data) == 0 {
		return
	}
	if end := int(off) + len(data); end > len(z.model) {
		z.model = append(z.model, make([]byte, end-len(z.model))...)
	}
	copy(z.model[off:], data)
}

// adopt takes over the size that the file has after something failed. With alone
// nothing else was in flight, which could have used what the failed one added.
func (z *fuzzer) adopt(alone bool) {
	if z.dying {
		return
	}
	info, err := z.file.Stat()
	if err != nil {
		z.Fatal(err)
	}
	if more := int(info.Size()) - len(z.model); more < 0 || alone && more != 0 {
		z.Errorf("a file of %d bytes after a failure, want %d", info.Size(), len(z.model))
	} else {
		z.model = append(z.model, make([]byte, more)...)
	}
}

func (z *fuzzer) resize(size int64, call func(int64) error) {
	err := call(size)
	z.Logf("size %d, %v", size, err)
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	if err != nil {
		z.Errorf("to %d bytes: %v", size, err)
		return
	}
	z.model = append(z.model, make([]byte, max(0, int(size)-len(z.model)))...)[:size]
}

// die has the kernel context die, if its io_getevents is called at all.
func (z *fuzzer) die() {
	if !z.dying && (z.eventfd == nil || !z.kernel.Mapped()) {
		z.Log("the context dies")
		z.dying = true
		z.failing(closedChan)
	}
}

// compare compares the file with the model.
func (z *fuzzer) compare() {
	disk, err := os.ReadFile(z.file.Name())
	if err != nil {
		z.Fatal(err)
	}
	if z.dying {
		if at := bytes.IndexByte(disk, file.Canary); at >= 0 {
			z.Errorf("byte %d of the file was never put into a bounce buffer", at)
		}
		return
	}
	if err := sameBytes("the file", disk, z.model); err != nil {
		z.Error(err)
	}
}
