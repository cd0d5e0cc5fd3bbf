package failures

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// A piece is a write among others. It does not share a byte with any of them.
type piece struct {
	op     asyncfile.Op
	future *asyncfile.Future
}

// TestFailuresAmongOthers has writes for which there is no room in flight with
// others, all of which make the file larger. What the former added to it goes, and
// what the latter wrote stays.
func TestFailuresAmongOthers(t *testing.T) {
	const room, small, large, rounds = 512 << 10, 4 << 10, 900 << 10, 12
	for _, fs := range fullDisks[:3] {
		t.Run(fs.Name, func(t *testing.T) {
			dir := fs.Mount(t)
			r, seed := random(t)
			for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
				for _, direct := range []asyncfile.DirectMode{asyncfile.DirectOff, asyncfile.DirectRequire} {
					for range rounds {
						fill(t, dir, room)
						name := filepath.Join(dir, "file")
						f, err := asyncfile.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600, asyncfile.WithBackend(backend), asyncfile.WithDirect(direct))
						if err != nil {
							t.Fatal(err)
						}
						var pieces []*piece
						var ops []asyncfile.Op
						for i := range 16 {
							op := asyncfile.Op{Kind: asyncfile.OpWrite, Offset: int64(1+i) << 20}
							if r.IntN(3) == 0 {
								op.Kind = asyncfile.OpAppend
							}
							n := small
							if r.IntN(4) == 0 {
								n = large
							}
							op.Buf = bytes.Repeat([]byte{byte(1 + i)}, n)
							if direct != asyncfile.DirectOff {
								op.Buf = append(asyncfile.AlignedBuffer(n)[:0], op.Buf...)
							}
							ops = append(ops, op)
						}
						for i, future := range f.Submit(ops...) {
							pieces = append(pieces, &piece{ops[i], future})
						}
						var end int64
						for i, p := range pieces {
							n, err := p.future.Wait()
							if n == len(p.op.Buf) != (err == nil) || err != nil && errnoOf(err) != syscall.ENOSPC {
								t.Errorf("%v of %d bytes: %d, %v", p.op.Kind, len(p.op.Buf), n, err)
							}
							if at := p.future.Offset(); n > 0 {
								end = max(end, at+int64(n))
							}
							if p.op.Kind != asyncfile.OpAppend && p.future.Offset() != p.op.Offset {
								t.Errorf("write %d at %d says that it was at %d", i, p.op.Offset, p.future.Offset())
							}
						}
						info, err := f.Stat()
						if err != nil {
							t.Fatal(err)
						}
						if info.Size() != end {
							t.Errorf("%v, direct %v: the file has %d bytes; what was written ends at %d", backend, direct, info.Size(), end)
						}
						checkPieces(t, name, pieces)
						f.Close()
						os.Remove(name)
						empty(t, dir)
					}
				}
			}
			if t.Failed() {
				t.Logf("ASYNCFILE_SEED=%d", seed)
			}
		})
	}
}

// checkPieces checks that what was written is there.
func checkPieces(t *testing.T, name string, pieces []*piece) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i, p := range pieces {
		n, _ := p.future.Wait()
		got := make([]byte, n)
		if _, err := f.ReadAt(got, p.future.Offset()); n > 0 && (err != nil || !bytes.Equal(got, p.op.Buf[:n])) {
			t.Errorf("write %d of %d bytes at %d is not there: %v", i, n, p.future.Offset(), err)
		}
	}
}

// TestFailureBesideAnotherHandle appends through another handle while a write far
// beyond the end fails for want of room. To take back what that added must not
// take back what was appended.
func TestFailureBesideAnotherHandle(t *testing.T) {
	const room, record, rounds = 1 << 20, 512, 20
	// A write that fails leaves in its own stretch what it likes. So a record that
	// went there may have been overwritten, but is not to vanish.
	const ours = 0xEE
	p := asyncfile.AlignedBuffer(4 << 20)
	for i := range p {
		p[i] = ours
	}
	text := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%07d\n", i), record/8) }
	dir := disks.FS{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F", "-m", "0"}, Size: 24 << 20}.Mount(t)
	fill(t, dir, room)
	round := func(name string) (failed bool, appended []int64) {
		f, err := asyncfile.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600, asyncfile.WithBackend(asyncfile.BackendAIO), asyncfile.WithDirect(asyncfile.DirectRequire))
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(name)
		defer f.Close()
		log, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		started, stop, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			for i := 0; ; i++ {
				if n, err := log.Write(text(i)); err != nil || n < record {
					appended = append(appended, -1)
				} else if end, err := log.Seek(0, io.SeekCurrent); err == nil {
					appended = append(appended, end-record)
				}
				if i == 0 {
					close(started)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		<-started
		n, err := f.WriteAt(p, 1<<30).Wait()
		close(stop)
		<-ended
		got := make([]byte, record)
		lost := 0
		for i, off := range appended {
			clear(got)
			f.File().ReadAt(got, max(off, 0))
			for j, want := range text(i) {
				if off >= 0 && got[j] != want && got[j] != ours {
					lost++
					break
				}
			}
		}
		if lost > 0 {
			t.Errorf("%d of %d records are lost", lost, len(appended))
		}
		return err != nil && n == 0, appended
	}
	failed, appended := 0, 0
	for i := range rounds {
		f, a := round(filepath.Join(dir, fmt.Sprint("file", i)))
		if appended += len(a); f {
			failed++
		}
		flush(t, dir)
	}
	t.Logf("%d records were appended beside %d writes, of which %d failed without a byte", appended, rounds, failed)
}
