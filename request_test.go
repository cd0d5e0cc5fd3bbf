package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// routes are the ways to io_submit.
func (s *scripted) routes() map[string]*AsyncFile {
	return map[string]*AsyncFile{"direct": s.direct, "worker": s.worker}
}

func TestShortTransfersAreContinued(t *testing.T) {
	short := aiotest.Short
	verdicts := []aiotest.Verdict{short(1), short(4), short(10), aiotest.Fail(syscall.EINTR), short(2)}
	wantOffsets := []int64{100, 101, 105, 115, 115, 117} // EINTR: the same again
	wantLens := []int{40, 39, 35, 25, 25, 23}
	// Short counts that end inside a buffer, at its end, and beyond an empty one.
	split := func(p []byte) [][]byte { return [][]byte{p[:3], nil, p[3:5], p[5:25], {}, p[25:]} }
	for _, test := range []struct {
		kind  OpKind
		write bool
		op    func(p []byte) Op
	}{
		{OpRead, false, func(p []byte) Op { return Op{Kind: OpRead, Buf: p, Offset: 100} }},
		{OpReadv, false, func(p []byte) Op { return Op{Kind: OpReadv, Bufs: split(p), Offset: 100} }},
		{OpWrite, true, func(p []byte) Op { return Op{Kind: OpWrite, Buf: p, Offset: 100} }},
		{OpWritev, true, func(p []byte) Op { return Op{Kind: OpWritev, Bufs: split(p), Offset: 100} }},
	} {
		t.Run(fmt.Sprintf("%v/%d", test.kind, test.kind), func(t *testing.T) {
			eachWait(t, 4, func(s *scripted) {
				shorts := uint64(0)
				for name, f := range s.routes() {
					log := s.script(verdicts...)
					p := make([]byte, 40)
					if test.write {
						p = patternBytes(40, 9)
					}
					n, err := f.Submit(test.op(p))[0].Wait()
					if n != 40 || err != nil {
						s.Errorf("%s: = %d, %v", name, n, err)
					}
					if !bytes.Equal(p, s.mem.Bytes()[100:140]) {
						s.Errorf("%s: the bytes of buffer and file differ", name)
					}
					if !slices.Equal(log.offsets(), wantOffsets) || !slices.Equal(log.lens(), wantLens) {
						s.Errorf("%s: submitted %v of %v, want %v of %v", name, log.offsets(), log.lens(), wantOffsets, wantLens)
					}
					shorts += 4
					if got := s.ring.Stats().ShortTransfers; got != shorts {
						s.Errorf("%s: %d short transfers counted, want %d", name, got, shorts)
					}
				}
			})
		})
	}
}

func TestShortAppendIsContinued(t *testing.T) {
	eachWait(t, 2, func(s *scripted) {
		own := aiotest.NewMem(nil)
		f := s.openOwn(own)
		log := s.script(aiotest.Short(3), aiotest.Short(1))
		future := f.Append([]byte("appended"))
		if n, err := future.Wait(); n != 8 || err != nil || future.Offset() != 0 {
			s.Errorf("Append = %d, %v at %d", n, err, future.Offset())
		}
		if got := string(own.Bytes()); got != "appended" {
			s.Errorf("the file holds %q", got)
		}
		if want := []int64{0, 3, 4}; !slices.Equal(log.offsets(), want) {
			s.Errorf("written at %v, want %v", log.offsets(), want)
		}
	})
}

// What a read at the end of the file answers, and how often it asks.
func TestEndOfFile(t *testing.T) {
	for _, test := range []struct {
		name  string
		align int
		off   int64
		size  int
		n     int
		err   error
		asked int
	}{
		{"within", 1, 0, 4096, 4096, nil, 1},
		{"across", 1, 4000, 200, 96, io.EOF, 2},
		{"at", 1, 4096, 10, 0, io.EOF, 1},
		{"beyond", 1, 9999, 10, 0, io.EOF, 1},
		// A direct read cannot go on from within a block, and has no need to.
		{"across, off a block boundary", 1000, 4000, 200, 96, io.EOF, 1},
		{"across, on a block boundary", 32, 4000, 200, 96, io.EOF, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachWait(t, 1, func(s *scripted) {
				for name, f := range s.routes() {
					f.core.Align.ReadOffset = test.align
					log := s.script()
					p := make([]byte, test.size)
					n, err := f.ReadAt(p, test.off).Wait()
					if n != test.n || err != test.err { // bare: not wrapped
						s.Errorf("%s: = %d, %v; want %d, %v", name, n, err, test.n, test.err)
					}
					if !bytes.Equal(p[:n], s.mem.Bytes()[min(test.off, 4096):min(test.off, 4096)+int64(n)]) {
						s.Errorf("%s: other bytes", name)
					}
					if len(log.offsets()) != test.asked {
						s.Errorf("%s: asked %d times, want %d", name, len(log.offsets()), test.asked)
					}
				}
				if got := s.ring.Stats().Errors; got != 0 {
					s.Errorf("%d errors counted", got)
				}
			})
		})
	}
}

func TestWriteOfNothing(t *testing.T) {
	eachWait(t, 1, func(s *scripted) {
		for name, f := range s.routes() {
			for _, op := range []Op{
				{Kind: OpWrite, Buf: make([]byte, 8)},
				{Kind: OpWritev, Bufs: [][]byte{make([]byte, 8)}},
				{Kind: OpAppend, Buf: make([]byte, 8)},
			} {
				log := s.script(aiotest.Short(2), aiotest.Short(0))
				s.wantError(f.Submit(op)[0], f, "write", 2, io.ErrUnexpectedEOF)
				if len(log.offsets()) != 2 {
					s.Errorf("%s: asked %d times, want 2", name, len(log.offsets()))
				}
			}
		}
	})
}

func TestErrorsOfEvents(t *testing.T) {
	eachWait(t, 2, func(s *scripted) {
		errs := uint64(0)
		for _, f := range s.routes() {
			for _, test := range []struct {
				op   Op
				name string
			}{
				{Op{Kind: OpRead, Buf: make([]byte, 8)}, "read"},
				{Op{Kind: OpReadv, Bufs: [][]byte{make([]byte, 8)}}, "read"},
				{Op{Kind: OpWrite, Buf: make([]byte, 8)}, "write"},
				{Op{Kind: OpWritev, Bufs: [][]byte{make([]byte, 8)}}, "write"},
			} {
				s.script(aiotest.Short(5), aiotest.Fail(syscall.EIO))
				s.wantError(f.Submit(test.op)[0], f, test.name, 5, syscall.EIO) // what was moved counts
				s.script(aiotest.Fail(syscall.ENOSPC))
				s.wantError(f.Submit(test.op)[0], f, test.name, 0, syscall.ENOSPC)
				errs += 2
			}
			s.script(aiotest.Fail(syscall.EIO), aiotest.Fail(syscall.EIO))
			s.wantError(f.Sync(), f, "sync", 0, syscall.EIO)
			s.wantError(f.Datasync(), f, "datasync", 0, syscall.EIO)
			errs += 2
		}
		if got := s.ring.Stats().Errors; got != errs {
			s.Errorf("%d errors counted, want %d", got, errs)
		}
	})
}

func TestEventsThatWereInterrupted(t *testing.T) {
	eachWait(t, 1, func(s *scripted) {
		for name, f := range s.routes() {
			eintr := aiotest.Fail(syscall.EINTR)
			log := s.script(eintr, eintr, eintr)
			p := make([]byte, 10)
			s.wantRead(f.ReadAt(p, 5), p, 5)
			if want := []int64{5, 5, 5, 5}; !slices.Equal(log.offsets(), want) {
				s.Errorf("%s: submitted at %v", name, log.offsets())
			}
			s.script(eintr)
			if n, err := f.Sync().Wait(); n != 0 || err != nil {
				s.Errorf("%s: Sync = %d, %v", name, n, err)
			}
		}
		if got := s.ring.Stats().ShortTransfers; got != 0 {
			s.Errorf("%d short transfers counted", got)
		}
	})
}

func TestEveryKindIsPrepared(t *testing.T) {
	eachWait(t, 2, func(s *scripted) {
		p, q := patternBytes(6, 3), patternBytes(5, 4)
		for _, test := range []struct {
			op     Op
			opcode aio.Opcode
			len    int
		}{
			{Op{Kind: OpRead, Buf: p, Offset: 7}, aio.OpPread, 6},
			{Op{Kind: OpWrite, Buf: p, Offset: 7}, aio.OpPwrite, 6},
			{Op{Kind: OpReadv, Bufs: [][]byte{p, nil, q}, Offset: 7}, aio.OpPreadv, 11},
			{Op{Kind: OpWritev, Bufs: [][]byte{p, nil, q}, Offset: 7}, aio.OpPwritev, 11},
			{Op{Kind: OpSync}, aio.OpFsync, 0},
			{Op{Kind: OpDatasync}, aio.OpFdsync, 0},
		} {
			log := s.script()
			if n, err := s.direct.Submit(test.op)[0].Wait(); n != test.len || err != nil {
				s.Errorf("%v = %d, %v; want %d", test.opcode, n, err, test.len)
			}
			op := log.ops[0]
			if op.Opcode != test.opcode || op.Offset != test.op.Offset || op.Len != test.len || op.FD != s.direct.core.Fd() {
				s.Errorf("submitted %+v, want %v of %d bytes at %d", op, test.opcode, test.len, test.op.Offset)
			}
		}
		if got := s.mem.Syncs(); got != 2 {
			s.Errorf("%d syncs, want 2", got)
		}
	})
}

func TestManyBuffers(t *testing.T) {
	eachWait(t, 2, func(s *scripted) {
		const count, size = 2*aio.MaxIovecs + 100, 3
		data := patternBytes(count*size, 5)
		var bufs [][]byte
		for i := range count {
			bufs = append(bufs, data[i*size:(i+1)*size])
			if i%10 == 0 {
				bufs = append(bufs, nil)
			}
		}
		want := []int{aio.MaxIovecs * size, aio.MaxIovecs * size, 100 * size}
		log := s.script()
		if n, err := s.direct.WritevAt(bufs, 50).Wait(); n != len(data) || err != nil {
			s.Errorf("WritevAt = %d, %v", n, err)
		}
		if !bytes.Equal(s.mem.Bytes()[50:50+len(data)], data) {
			s.Error("other bytes in the file")
		}
		if !slices.Equal(log.lens(), want) {
			s.Errorf("written %v, want %v", log.lens(), want)
		}
		clear(data)
		log = s.script(aiotest.Short(aio.MaxIovecs*size - 1)) // inside the last buffer
		if n, err := s.direct.ReadvAt(bufs, 50).Wait(); n != len(data) || err != nil {
			s.Errorf("ReadvAt = %d, %v", n, err)
		}
		if !bytes.Equal(data, patternBytes(len(data), 5)) {
			s.Error("other bytes in the buffers")
		}
		if lens := log.lens(); len(lens) != 3 || lens[1] != aio.MaxIovecs*size-2 {
			s.Errorf("read %v", log.lens())
		}
		if got := s.ring.Stats().ShortTransfers; got != 1 { // parts of a whole are not short
			s.Errorf("%d short transfers counted, want 1", got)
		}
	})
}

// A hole moves any number of bytes without touching them.
type hole struct{ moved atomic.Int64 }

func (h *hole) move(p []byte) (int, error) {
	h.moved.Add(int64(len(p)))
	return len(p), nil
}

func (h *hole) ReadAt(p []byte, _ int64) (int, error)  { return h.move(p) }
func (h *hole) WriteAt(p []byte, _ int64) (int, error) { return h.move(p) }

// wantSplit carries out op, of size bytes in two parts, and checks where they are.
func wantSplit(t *testing.T, op Op, size int) {
	t.Helper()
	contents := new(hole)
	s := newScripted(t, aiotest.New(2))
	f := s.openOwn(contents)
	log := s.script()
	if n, err := f.Submit(op)[0].Wait(); n != size || err != nil {
		t.Errorf("%v = %d, %v; want %d", op.Kind, n, err, size)
	}
	if got := contents.moved.Load(); got != int64(size) {
		t.Errorf("%v moved %d bytes, want %d", op.Kind, got, size)
	}
	if want := []int{aio.MaxTransfer, size - aio.MaxTransfer}; !slices.Equal(log.lens(), want) {
		t.Errorf("%v in parts of %v, want %v", op.Kind, log.lens(), want)
	}
	if want := []int64{op.Offset, op.Offset + aio.MaxTransfer}; !slices.Equal(log.offsets(), want) {
		t.Errorf("%v at %v, want %v", op.Kind, log.offsets(), want)
	}
	if got := s.ring.Stats().ShortTransfers; got != 0 {
		t.Errorf("%d short transfers counted", got)
	}
}

func TestLongTransfersAreSplit(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("such a transfer does not fit into a 32-bit address space")
	}
	// In a process with a fresh heap the buffer is memory that nobody touches.
	// In one with a past it would be cleared first, which makes it real.
	inChild(t, func(t *testing.T) {
		size := aio.MaxTransfer
		size += 4096 // at run time: as a constant it would not fit into 32 bits
		p := make([]byte, size)
		wantSplit(t, Op{Kind: OpRead, Buf: p, Offset: 512}, size)
		wantSplit(t, Op{Kind: OpWrite, Buf: p, Offset: 512}, size)
	})
}

func TestLongVectorsAreSplit(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("such a transfer is more than an int")
	}
	p := make([]byte, 4<<20)
	bufs := slices.Repeat([][]byte{p}, 600) // of the same memory
	wantSplit(t, Op{Kind: OpReadv, Bufs: bufs, Offset: 512}, 600*len(p))
	wantSplit(t, Op{Kind: OpWritev, Bufs: bufs, Offset: 512}, 600*len(p))
}

// A Future whose wait was abandoned keeps its place and its buffer until its
// event has come.
func TestAbandonedOperationKeepsItsPlace(t *testing.T) {
	inBubble(t, 1, func(s *scripted) {
		s.hold()
		p := make([]byte, 16)
		abandoned := s.direct.ReadAt(p, 8)
		ctx, cancel := deadContext()
		defer cancel()
		if n, err := abandoned.WaitContext(ctx); n != 0 || !errors.Is(err, ErrAbandoned) || !errors.Is(err, ctx.Err()) {
			s.Errorf("WaitContext = %d, %v", n, err)
		}
		second := make(chan *Future, 1)
		q := make([]byte, 16)
		go func() { second <- s.direct.ReadAt(q, 40) }()
		s.settle()
		if len(second) != 0 || s.ring.Stats().InFlight != 1 || s.kernel.Counts().InFlight != 1 {
			s.Fatal("the place of an abandoned operation was given away")
		}
		if _, _, ok := abandoned.Result(); ok || !bytes.Equal(p, make([]byte, 16)) {
			s.Error("done before its event")
		}
		s.kernel.Held()[0].Complete()
		s.wantRead(abandoned, p, 8)
		s.kernel.Await(1)[0].Complete()
		s.wantRead(<-second, q, 40)
	})
}

// TestEveryPartIsSubmittedByAWorker has a write of several parts, which would each
// sleep in io_submit, and whose results are taken by workers, too.
func TestEveryPartIsSubmittedByAWorker(t *testing.T) {
	eachWait(t, 8, func(s *scripted) {
		f := s.openOwn(aiotest.NewMem(nil))
		f.core.Align = aio.Alignment{Memory: 512, Offset: 512, ReadOffset: 512}
		f.core.Blocks.All = true
		var calls, workers atomic.Int32
		s.kernel.OnSubmit(func(int, int) (int, error) {
			calls.Add(1)
			if bytes.Contains(debug.Stack(), []byte("submitAlone")) {
				workers.Add(1)
			}
			return -1, nil
		})
		p := AlignedBuffer(3*file.MaxBounce + 1)[1:]
		wantResult(t, f.WriteAt(p, 0), len(p), nil)
		if calls.Load() != 3 || workers.Load() != 3 {
			s.Errorf("%d of %d calls by workers, want 3 of 3", workers.Load(), calls.Load())
		}
	})
}
