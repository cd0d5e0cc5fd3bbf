package failures

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disk"
)

// Each operation of these tests has a stretch of the disk for itself.
const (
	stretchSize = 64 << 10
	stretches   = 64
	pageSize    = 4096
)

// A fate is what becomes of requests for some sectors of a stretch.
type fate struct {
	kind     disk.Kind
	off, end int64 // on the disk
	hang     bool  // or else fail
}

// strike draws what is wrong with the disk. In a third of the stretches reads or
// writes of some sectors fail, or now and then hang.
func strike(r *rand.Rand, sector int64) (fates []fate) {
	for s := range int64(stretches) {
		if r.IntN(3) > 0 {
			continue
		}
		off := s*stretchSize + r.Int64N(stretchSize/sector)*sector
		end := min(off+(1+r.Int64N(8))*sector, (s+1)*stretchSize)
		fates = append(fates, fate{kind: pick(r, disk.Read, disk.Write), off: off, end: end, hang: r.IntN(6) == 0})
	}
	return fates
}

func rule(fates []fate) disk.Rule {
	return func(r *disk.Request) (f disk.Fault) {
		for _, bad := range fates {
			if r.Kind == bad.kind && r.Overlaps(bad.off, bad.end-bad.off) {
				if f.Hang = bad.hang; !bad.hang {
					f.Err = syscall.EIO
				}
			}
		}
		return f
	}
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// A shot is an operation on a stretch, and what is wrong with that.
type shot struct {
	kind   disk.Kind
	op     asyncfile.Op
	p      []byte // its memory, in one piece
	bad    *fate
	future *asyncfile.Future
}

func (s *shot) String() string {
	return fmt.Sprintf("%v of %d at %d, where %+v", s.op.Kind, len(s.p), s.op.Offset, s.bad)
}

// aim draws an operation.
func aim(r *rand.Rand, place int64, fates []fate) *shot {
	off, n := r.Int64N(stretchSize), 1+r.IntN(stretchSize/2)
	if r.IntN(2) == 0 {
		off, n = off&^(pageSize-1), max(n&^(pageSize-1), pageSize)
	}
	n = min(n, int(stretchSize-off))
	s := &shot{kind: pick(r, disk.Read, disk.Write), p: asyncfile.AlignedBuffer(n)}
	s.op = asyncfile.Op{Kind: asyncfile.OpReadv, Offset: place*stretchSize + off}
	if s.kind == disk.Write {
		s.op.Kind = asyncfile.OpWritev
		copy(s.p, stretch(s.op.Offset, n, fresh))
	}
	half := n / 2 &^ (pageSize - 1)
	s.op.Bufs = [][]byte{s.p[:half], s.p[half:]}
	if r.IntN(2) == 0 { // or in one piece
		s.op.Kind, s.op.Buf, s.op.Bufs = s.op.Kind-asyncfile.OpReadv, s.p, nil
	}
	for i, f := range fates {
		if f.off/stretchSize == place {
			s.bad = &fates[i]
		}
	}
	return s
}

// meets reports whether the operation needs the sectors with which something is
// wrong, and whether it may need them: what is not of whole pages goes through the
// page cache, which writes and reads whole ones.
func (s *shot) meets() (must, may bool) {
	if s.bad == nil {
		return false, false
	}
	from, to := s.op.Offset, s.op.Offset+int64(len(s.p))
	must = s.bad.kind == s.kind && s.bad.off < to && from < s.bad.end
	if from, to = from&^(pageSize-1), (to+pageSize-1)&^(pageSize-1); s.bad.off < to && from < s.bad.end {
		may = s.bad.kind == s.kind || s.odd()
	}
	return must, may
}

// check looks at what came of the operation, where what hung does not any more.
func (s *shot) check(t *testing.T) {
	t.Helper()
	n, err := s.future.Wait()
	must, may := s.meets()
	if may && s.bad.hang {
		must, may = false, false
	}
	switch {
	case err != nil && (!may || errnoOf(err) != syscall.EIO), err == nil && must,
		(n == len(s.p)) != (err == nil), must && n > int(max(s.bad.off-s.op.Offset, 0)), s.future.Offset() != s.op.Offset:
		t.Errorf("%v: %d at %d, %v", s, n, s.future.Offset(), err)
	}
	if n = max(min(n, len(s.p)), 0); s.kind == disk.Read && !bytes.Equal(s.p[:n], stretch(s.op.Offset, n, old)) {
		t.Errorf("%v: other bytes", s)
	}
}

// left looks at what the disk has: what was written, and around it what was there.
func (s *shot) left(t *testing.T, image []byte) {
	t.Helper()
	_, err := s.future.Wait()
	from, to := s.op.Offset, s.op.Offset+int64(len(s.p))
	if s.kind == disk.Write && err == nil && !bytes.Equal(image[from:to], s.p) {
		t.Errorf("%v: was not written", s)
	}
	first := from &^ (stretchSize - 1)
	if s.kind == disk.Read {
		to = from
	}
	if !bytes.Equal(image[first:from], stretch(first, int(from-first), old)) ||
		!bytes.Equal(image[to:first+stretchSize], stretch(to, int(first+stretchSize-to), old)) {
		t.Errorf("%v: bytes beside it have changed", s)
	}
}

// TestBadSectors has operations in flight on a disk of which some sectors fail and
// some hang. Those that need them fail, or wait; all others do not.
func TestBadSectors(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		for _, kind := range ringKinds {
			t.Run(fmt.Sprintf("sectors of %d, %s", sector, kind.name), func(t *testing.T) {
				r, seed := random(t)
				d := disk.New(t, stretches*stretchSize, int(sector), seed)
				ring, err := asyncfile.NewRing(kind.opts...)
				if err != nil {
					t.Fatal(err)
				}
				defer ring.Close()
				for range 4 {
					shootAt(t, r, d, sector, ring)
					if t.Failed() {
						t.Fatalf("ASYNCFILE_SEED=%d", seed)
					}
				}
			})
		}
	}
}

func shootAt(t *testing.T, r *rand.Rand, d *disk.Disk, sector int64, ring *asyncfile.Ring) {
	t.Helper()
	plain, err := os.OpenFile(d.Device, os.O_RDWR|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close() // with its last user the page cache of the device goes
	if _, err := plain.WriteAt(stretch(0, stretches*stretchSize, old), 0); err != nil {
		t.Fatal(err)
	}
	f, err := asyncfile.OpenFile(d.Device, os.O_RDWR, 0,
		asyncfile.WithRing(ring), asyncfile.WithBackend(ring.Backend()), asyncfile.WithDirect(asyncfile.DirectRequire))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The first write that is not of whole blocks opens a second descriptor, and is
	// alone on the file for it.
	if _, err := f.WriteAt(stretch(1, 1, old), 1).Wait(); err != nil {
		t.Fatal(err)
	}
	fates := strike(r, sector)
	d.Inject(rule(fates))
	defer d.Inject(nil)
	var all, together, odd, hung []*shot
	for place := range int64(stretches) {
		s := aim(r, place, fates)
		all = append(all, s)
		switch _, may := s.meets(); {
		case may && s.bad.hang:
			hung = append(hung, s)
		case s.odd():
			odd = append(odd, s)
		default:
			together = append(together, s)
		}
		if !s.odd() {
			s.future = f.Submit(s.op)[0]
		}
	}
	for _, s := range together {
		s.check(t)
	}
	for _, s := range odd { // alone, since they share failures
		s.future = f.Submit(s.op)[0]
		s.check(t)
	}
	for _, s := range hung { // these do not fail
		if s.odd() {
			s.future = f.Submit(s.op)[0]
		}
	}
	for _, s := range hung {
		if must, _ := s.meets(); must {
			if _, _, over := s.future.Result(); over {
				t.Errorf("%v: has ended", s)
			}
		}
	}
	d.Inject(nil)
	for _, s := range hung {
		s.check(t)
	}
	image := asyncfile.AlignedBuffer(stretches * stretchSize)
	if _, err := plain.ReadAt(image, 0); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		s.left(t, image)
	}
}

// odd reports whether the operation goes through the page cache. In that a failure
// is the whole file's, and whoever looks first is told: see TestOddWrites.
func (s *shot) odd() bool { return s.kind == disk.Write && (s.op.Offset|int64(len(s.p)))%pageSize != 0 }

// TestOddWrites has writes in flight together that are not of whole blocks, of
// which some cannot be written. Each of those says so, or else Sync does.
func TestOddWrites(t *testing.T) {
	d := disk.New(t, stretches*stretchSize, 512, 1)
	for _, kind := range ringKinds {
		t.Run(kind.name, func(t *testing.T) {
			r, seed := random(t)
			f, err := asyncfile.OpenFile(d.Device, os.O_RDWR, 0, append(kind.opts, asyncfile.WithDirect(asyncfile.DirectRequire))...)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for range 10 {
				fates := strike(r, 512)
				for i := range fates {
					fates[i].kind, fates[i].hang = disk.Write, false
				}
				d.Inject(rule(fates))
				var shots []*shot
				for place := range int64(stretches) {
					if s := aim(r, place, fates); s.odd() {
						shots = append(shots, s)
						s.future = f.Submit(s.op)[0]
					}
				}
				_, late := f.Sync().Wait()
				for _, s := range shots {
					must, _ := s.meets()
					if _, err := s.future.Wait(); must && err == nil && errnoOf(late) != syscall.EIO {
						t.Errorf("%v: neither the write nor Sync tells that it has failed, ASYNCFILE_SEED=%d", s, seed)
					}
				}
				d.Inject(nil)
			}
		})
	}
}
