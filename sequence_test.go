package asyncfile

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// openExtended opens a direct file of which the scripted kernel transfers the
// bytes, and the library changes the size with real system calls. It is on a file
// system where writes beyond the end of a file need an extension.
func (s *scripted) openExtended() (f *AsyncFile, other *os.File) {
	s.Helper()
	name := filepath.Join(s.TempDir(), "extended")
	f, err := OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666, WithRing(s.ring), WithBackend(BackendAIO), WithDirect(DirectRequire))
	if err != nil {
		s.Fatal(err)
	}
	s.files = append(s.files, f)
	if !f.core.Blocks.Beyond {
		s.Skip("files are not extended on this file system")
	}
	other, err = os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { other.Close() })
	s.kernel.Attach(f.core.Fd(), other)
	return f, other
}

func (s *scripted) wantSize(f *AsyncFile, want int64) {
	s.Helper()
	if got := f.core.Size(); got != want {
		s.Errorf("the file has %d bytes, want %d", got, want)
	}
}

func aligned(blocks int) []byte { return AlignedBuffer(blocks * testBlock) }

// TestExtensionOfFailedWrite: the file is as large afterwards as without an
// extension.
func TestExtensionOfFailedWrite(t *testing.T) {
	needDirect(t)
	eachWait(t, 16, func(s *scripted) {
		f, _ := s.openExtended()
		s.script(aiotest.Fail(syscall.EIO))
		s.wantError(f.WriteAt(aligned(2), 0), f, "write", 0, syscall.EIO)
		s.wantSize(f, 0)
		s.script(aiotest.Short(testBlock), aiotest.Fail(syscall.EIO))
		s.wantError(f.WriteAt(aligned(2), 0), f, "write", testBlock, syscall.EIO)
		s.wantSize(f, testBlock)
	})
}

// TestExtensionKeepsOthersData: what another has written into an extension is not
// cut off with it.
func TestExtensionKeepsOthersData(t *testing.T) {
	needDirect(t)
	eachWait(t, 16, func(s *scripted) {
		f, other := s.openExtended()
		s.hold()
		far := f.WriteAt(aligned(1), 100*testBlock)
		far.ask()
		op := s.kernel.Await(1)[0]
		theirs := bytes.Repeat([]byte("theirs"), 100)
		if _, err := other.WriteAt(theirs, 50*testBlock); err != nil {
			t.Fatal(err)
		}
		op.Fail(syscall.EIO)
		s.wantError(far, f, "write", 0, syscall.EIO)
		got := make([]byte, len(theirs))
		if _, err := other.ReadAt(got, 50*testBlock); err != nil || !bytes.Equal(got, theirs) {
			s.Errorf("what another wrote is gone: %v", err)
		}
	})
}

// TestExtensionAfterWriteBeyondAnyFile: a write that no file has room for keeps no
// other from being sped up.
func TestExtensionAfterWriteBeyondAnyFile(t *testing.T) {
	needDirect(t)
	eachWait(t, 16, func(s *scripted) {
		f, _ := s.openExtended()
		for _, off := range []int64{math.MaxInt64 - testBlock + 1, math.MaxInt64 - 2*testBlock + 1} {
			if _, err := f.WriteAt(aligned(1), off).Wait(); err == nil {
				t.Fatal("written")
			}
			if _, err := f.WriteAt(aligned(2), off).Wait(); err == nil {
				t.Fatal("written")
			}
		}
		s.wantSize(f, 0)
		wantResult(t, f.WriteAt(aligned(1), 0), testBlock, nil)
		if n := s.ring.Stats().Extensions; n != 1 {
			s.Errorf("%d extensions, want 1", n)
		}
	})
}

// TestExtensionModel has writes and appends, beyond the end and not, fail and
// succeed, whole and in part, end in any order, and be followed by changes of the
// size. The file is then as large as it would be without extensions.
func TestExtensionModel(t *testing.T) {
	needDirect(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := newScripted(t, aiotest.New(16), WithQueueDepth(16))
	f, _ := s.openExtended()
	size := int64(0)
	for range 100 {
		s.hold()
		futures := make([]*Future, 1+rnd.IntN(8))
		for i := range futures {
			p := aligned(1 + rnd.IntN(3))
			switch rnd.IntN(8) {
			case 0:
				futures[i] = f.Append(p)
			case 1:
				futures[i] = f.Append(p[:1+rnd.IntN(len(p))])
			default:
				futures[i] = f.WriteAt(p, int64(rnd.IntN(40))*testBlock)
			}
			futures[i].ask()
		}
		resize, to, resized := rnd.IntN(4), 1+int64(rnd.IntN(60*testBlock)), make(chan error, 1)
		go func() {
			switch resize {
			case 0:
				resized <- f.Truncate(to)
			case 1:
				resized <- f.Preallocate(to)
			default:
				resized <- nil
			}
		}()
		s.endAtRandom(futures, rnd)
		if err := <-resized; err != nil {
			t.Fatal(err)
		}
		for _, future := range futures {
			if n, _ := future.Wait(); n > 0 {
				size = max(size, future.Offset()+int64(n))
			}
		}
		switch resize {
		case 0:
			size = to
		case 1:
			size = max(size, to)
		}
		if s.wantSize(f, size); s.Failed() {
			return
		}
	}
}

// endAtRandom ends what the kernel holds, well and otherwise, until futures are done.
func (s *scripted) endAtRandom(futures []*Future, rnd *rand.Rand) {
	for _, future := range futures {
		for !future.isDone() {
			held := s.kernel.Held()
			if len(held) == 0 {
				runtime.Gosched()
				continue
			}
			op := held[rnd.IntN(len(held))]
			switch rnd.IntN(4) {
			case 0:
				op.Fail(syscall.EIO)
			case 1:
				op.Short(rnd.IntN(op.Len/testBlock+1) * testBlock)
			default:
				op.Complete()
			}
		}
	}
}
