package asyncfiletest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/asyncfiletest"
)

const (
	blockSize = 4096
	fileSize  = 4 * blockSize
)

// A setting is what a file is on.
type setting struct {
	name    string
	ring    []asyncfile.Option
	file    []asyncfile.Option
	appends bool
}

// settings are all that there are.
func settings() (list []setting) {
	for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
		for _, direct := range []asyncfile.DirectMode{asyncfile.DirectOff, asyncfile.DirectPrefer} {
			for _, appends := range []bool{false, true} {
				s := setting{
					name:    fmt.Sprintf("%v, direct %v, append %v", backend, direct, appends),
					ring:    []asyncfile.Option{asyncfile.WithBackend(backend)},
					file:    []asyncfile.Option{asyncfile.WithBackend(backend), asyncfile.WithDirect(direct)},
					appends: appends,
				}
				list = append(list, s)
			}
		}
	}
	events := list[2]
	events.name += ", eventfd"
	events.ring = append(events.ring, asyncfile.WithWaitMode(asyncfile.WaitEventFD))
	return append(list, events)
}

// open opens a file of the contents on a new Ring.
func (s *setting) open(t *testing.T, content []byte) (*asyncfiletest.Ring, *asyncfile.AsyncFile) {
	t.Helper()
	ring := asyncfiletest.NewRing(t, s.ring...)
	name := filepath.Join(t.TempDir(), "file.wal")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	flag := os.O_RDWR
	if s.appends {
		flag |= os.O_APPEND
	}
	f, err := asyncfile.OpenFile(name, flag, 0, append(s.file, asyncfile.WithRing(ring.Ring))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return ring, f
}

// A path is a way to have the library make a system call.
type path struct {
	name string
	op   asyncfiletest.Op
	at   bool // writes at an offset: not for a file in append mode
	do   func(f *asyncfile.AsyncFile) error
}

func pattern(n int) []byte {
	p := asyncfile.AlignedBuffer(n)
	for i := range p {
		p[i] = byte(i*7 + i>>8)
	}
	return p
}

func waited(f *asyncfile.Future) error {
	_, err := f.Wait()
	return err
}

func queued(f *asyncfile.AsyncFile, op asyncfile.Op) error {
	q := asyncfile.NewQueue(4)
	defer q.Close()
	if err := q.Submit(f, op, nil); err != nil {
		return err
	}
	return (<-q.C()).Err
}

// paths are every method that moves bytes, commits them or changes the size, with
// requests that go each of the library's ways.
func paths() (list []path) {
	read := func(name string, do func(f *asyncfile.AsyncFile) error) {
		list = append(list, path{name, asyncfiletest.Read, false, do})
	}
	write := func(name string, at bool, do func(f *asyncfile.AsyncFile) error) {
		list = append(list, path{name, asyncfiletest.Write, at, do})
	}
	// Straight, in odd memory, inside a block, beyond the end.
	for _, r := range []struct {
		name string
		buf  []byte
		off  int64
	}{
		{"aligned", pattern(blockSize), blockSize},
		{"odd memory", pattern(2 * blockSize)[1:][:blockSize], blockSize},
		{"inside a block", pattern(700), 7},
		{"at the end", pattern(blockSize), fileSize - blockSize},
	} {
		read("ReadAt "+r.name, func(f *asyncfile.AsyncFile) error { return waited(f.ReadAt(make([]byte, len(r.buf)), r.off)) })
		read("File.ReadAt "+r.name, func(f *asyncfile.AsyncFile) error {
			_, err := f.File().ReadAt(make([]byte, len(r.buf)), r.off)
			return err
		})
		read("File.ReadAt with deadline "+r.name, func(f *asyncfile.AsyncFile) error {
			f.File().SetDeadline(time.Now().Add(time.Hour))
			_, err := f.File().ReadAt(make([]byte, len(r.buf)), r.off)
			return err
		})
		read("Queue "+r.name, func(f *asyncfile.AsyncFile) error {
			return queued(f, asyncfile.Op{Kind: asyncfile.OpRead, Buf: make([]byte, len(r.buf)), Offset: r.off})
		})
		read("ReadvAt "+r.name, func(f *asyncfile.AsyncFile) error {
			p := make([]byte, len(r.buf))
			return waited(f.ReadvAt([][]byte{p[:512], p[512:]}, r.off))
		})
		for _, off := range []int64{r.off, fileSize + r.off} {
			name := fmt.Sprintf(" %s, %d", r.name, off)
			write("WriteAt"+name, true, func(f *asyncfile.AsyncFile) error { return waited(f.WriteAt(r.buf, off)) })
			write("File.WriteAt"+name, true, func(f *asyncfile.AsyncFile) error {
				_, err := f.File().WriteAt(r.buf, off)
				return err
			})
			write("File.WriteAt with deadline"+name, true, func(f *asyncfile.AsyncFile) error {
				f.File().SetDeadline(time.Now().Add(time.Hour))
				_, err := f.File().WriteAt(r.buf, off)
				return err
			})
			write("Queue"+name, true, func(f *asyncfile.AsyncFile) error {
				return queued(f, asyncfile.Op{Kind: asyncfile.OpWrite, Buf: r.buf, Offset: off})
			})
			write("WritevAt"+name, true, func(f *asyncfile.AsyncFile) error {
				return waited(f.WritevAt([][]byte{r.buf[:512], r.buf[512:]}, off))
			})
		}
		write("Append "+r.name, false, func(f *asyncfile.AsyncFile) error { return waited(f.Append(r.buf)) })
		write("File.Write "+r.name, false, func(f *asyncfile.AsyncFile) error {
			_, err := f.File().Write(r.buf)
			return err
		})
	}
	read("File.Read", func(f *asyncfile.AsyncFile) error {
		_, err := f.File().Read(make([]byte, 1000))
		return err
	})
	read("File.WriteTo memory", func(f *asyncfile.AsyncFile) error {
		_, err := f.File().WriteTo(io.Discard)
		return err
	})
	read("File.WriteTo os.File", func(f *asyncfile.AsyncFile) error {
		other, err := os.Create(f.Name() + ".copy")
		if err != nil {
			return err
		}
		defer other.Close()
		_, err = f.File().WriteTo(other)
		return err
	})
	read("Reader", func(f *asyncfile.AsyncFile) error {
		r, err := asyncfile.NewReader(f, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(io.Discard, r)
		return err
	})
	write("Writer", true, func(f *asyncfile.AsyncFile) error {
		w, err := asyncfile.NewWriter(f, 0)
		if err != nil {
			return err
		}
		_, err = w.Write(pattern(3000))
		return errors.Join(err, w.Close())
	})
	write("File.WriteString", false, func(f *asyncfile.AsyncFile) error {
		_, err := f.File().WriteString(strings.Repeat("s", 1000))
		return err
	})
	write("File.ReadFrom memory", false, func(f *asyncfile.AsyncFile) error {
		_, err := f.File().ReadFrom(bytes.NewReader(pattern(1000)))
		return err
	})
	write("File.ReadFrom os.File", false, func(f *asyncfile.AsyncFile) error {
		name := f.Name() + ".from"
		if err := os.WriteFile(name, pattern(5000), 0o600); err != nil {
			return err
		}
		other, err := os.Open(name)
		if err != nil {
			return err
		}
		defer other.Close()
		_, err = f.File().ReadFrom(other)
		return err
	})
	for op, calls := range map[asyncfiletest.Op]map[string]func(f *asyncfile.AsyncFile) error{
		asyncfiletest.Sync: {
			"Sync":      func(f *asyncfile.AsyncFile) error { return waited(f.Sync()) },
			"Datasync":  func(f *asyncfile.AsyncFile) error { return waited(f.Datasync()) },
			"File.Sync": func(f *asyncfile.AsyncFile) error { return f.File().Sync() },
			"File.Sync with deadline": func(f *asyncfile.AsyncFile) error {
				f.File().SetDeadline(time.Now().Add(time.Hour))
				return f.File().Sync()
			},
			"Queue sync": func(f *asyncfile.AsyncFile) error { return queued(f, asyncfile.Op{Kind: asyncfile.OpSync}) },
		},
		asyncfiletest.Truncate: {
			"Truncate":      func(f *asyncfile.AsyncFile) error { return f.Truncate(1000) },
			"File.Truncate": func(f *asyncfile.AsyncFile) error { return f.File().Truncate(9000) },
		},
		asyncfiletest.Allocate: {
			"PunchHole":   func(f *asyncfile.AsyncFile) error { return f.PunchHole(100, blockSize) },
			"ZeroRange":   func(f *asyncfile.AsyncFile) error { return f.ZeroRange(fileSize-100, blockSize) },
			"Preallocate": func(f *asyncfile.AsyncFile) error { return f.Preallocate(2 * fileSize) },
		},
	} {
		for name, do := range calls {
			list = append(list, path{name, op, false, do})
		}
	}
	return list
}

// eachPath calls test for every path in every setting that it is for.
func eachPath(t *testing.T, test func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path)) {
	for _, s := range settings() {
		t.Run(s.name, func(t *testing.T) {
			for _, p := range paths() {
				if s.appends && p.at {
					continue
				}
				t.Run(p.name, func(t *testing.T) {
					ring, f := s.open(t, pattern(fileSize))
					test(t, ring, f, p)
				})
			}
		})
	}
}

// TestErrorsReachEveryPath: whatever makes a system call has its error.
func TestErrorsReachEveryPath(t *testing.T) {
	eachPath(t, func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path) {
		others := ring.Inject(asyncfiletest.Fault{File: "*.sst", Err: syscall.ENOSPC})
		i := ring.Inject(asyncfiletest.Fault{File: "*.wal", Op: p.op, Err: syscall.EIO})
		if err := p.do(f); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v, want EIO", err)
		}
		if i.Hits() == 0 || others.Hits() != 0 {
			t.Errorf("%d hits, and %d of another file", i.Hits(), others.Hits())
		}
		i.Remove()
		f.File().SetDeadline(time.Time{})
		if err := p.do(f); err != nil {
			t.Errorf("after Remove: %v", err)
		}
	})
}

// TestTornTransfersReachEveryPath: a call that fails on its way has moved what it was
// told to, and no more.
func TestTornTransfersReachEveryPath(t *testing.T) {
	eachPath(t, func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path) {
		if p.op != asyncfiletest.Write {
			return
		}
		before := contentOf(t, f)
		ring.Inject(asyncfiletest.Fault{Op: p.op, Short: 100, Err: syscall.EIO, Times: 1})
		ring.Inject(asyncfiletest.Fault{Op: p.op, Err: syscall.EIO})
		if err := p.do(f); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v, want EIO", err)
		}
		differ := 0
		after := contentOf(t, f)
		for i := range after {
			if i >= len(before) && after[i] != 0 || i < len(before) && after[i] != before[i] {
				differ++
			}
		}
		if differ > 100 {
			t.Errorf("%d bytes differ, want 100 at the most", differ)
		}
	})
}

func contentOf(t *testing.T, f *asyncfile.AsyncFile) []byte {
	t.Helper()
	content, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestShortTransfersReachEveryPath: the library goes on after a short transfer, and
// nothing is missing.
func TestShortTransfersReachEveryPath(t *testing.T) {
	eachPath(t, func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path) {
		if p.op&(asyncfiletest.Read|asyncfiletest.Write) == 0 {
			return
		}
		_, well := (&setting{file: []asyncfile.Option{asyncfile.WithBackend(f.Backend())}, appends: strings.Contains(t.Name(), "append_true")}).open(t, pattern(fileSize))
		i := ring.Inject(asyncfiletest.Fault{Op: p.op, Short: 512, Times: 1})
		err := p.do(f)
		if i.Hits() != 1 {
			t.Errorf("%d hits", i.Hits())
		}
		if f.Direct() { // whose device stops at the end of a block, but at the end of the file
			return
		}
		if wantErr := p.do(well); err != nil || wantErr != nil {
			t.Errorf("%v; without the fault %v", err, wantErr)
		}
		if !bytes.Equal(contentOf(t, f), contentOf(t, well)) {
			t.Error("not the same file as without the fault")
		}
	})
}

// TestHoldReachesEveryPath: nothing ends that is held, and all of it when it is released.
func TestHoldReachesEveryPath(t *testing.T) {
	eachPath(t, func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path) {
		i := ring.Inject(asyncfiletest.Fault{Op: p.op, Hold: true})
		done := make(chan error, 1)
		go func() { done <- p.do(f) }()
		i.AwaitHeld(1)
		if len(done) > 0 {
			t.Error("ended while it was held")
		}
		i.Release()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if i.Held() != 0 {
			t.Errorf("%d held at the end", i.Held())
		}
	})
}

// TestDelayReachesEveryPath: no call ends before its time.
func TestDelayReachesEveryPath(t *testing.T) {
	eachPath(t, func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path) {
		i := ring.Inject(asyncfiletest.Fault{Op: p.op, Delay: time.Millisecond, Times: 1})
		start := time.Now()
		if err := p.do(f); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < time.Millisecond || i.Hits() != 1 {
			t.Errorf("%v, %d hits", took, i.Hits())
		}
	})
}

// TestCrashReachesEveryPath: what any path changed is lost without a Sync, kept with
// one, and lost for good where the Sync failed.
func TestCrashReachesEveryPath(t *testing.T) {
	eachPath(t, func(t *testing.T, ring *asyncfiletest.Ring, f *asyncfile.AsyncFile, p path) {
		if p.op == asyncfiletest.Sync {
			return
		}
		crashed := func() []byte {
			t.Helper()
			content, err := os.ReadFile(filepath.Join(ring.CrashClone(filepath.Dir(f.Name()), asyncfiletest.Crash{}), "file.wal"))
			if err != nil {
				t.Fatal(err)
			}
			return content
		}
		before := contentOf(t, f)
		if err := p.do(f); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(crashed(), before) {
			t.Error("without a Sync something was kept")
		}
		i := ring.Inject(asyncfiletest.Fault{Op: asyncfiletest.Sync, Err: syscall.EIO})
		if err := waited(f.Sync()); !errors.Is(err, syscall.EIO) || !bytes.Equal(crashed(), before) {
			t.Errorf("after a Sync that failed (%v) something was kept", err)
		}
		i.Remove()
		if p.op != asyncfiletest.Write {
			return
		}
		if err := waited(f.Sync()); err != nil {
			t.Fatal(err)
		}
		if left, lost := bytes.CutPrefix(crashed(), before); !lost || len(bytes.Trim(left, "\x00")) > 0 {
			t.Error("a Sync covered what one before it had failed for")
		}
		if !p.at { // and another would go elsewhere
			return
		}
		if err := errors.Join(p.do(f), waited(f.Sync())); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(crashed(), contentOf(t, f)) {
			t.Error("what was written again, and synced, was lost")
		}
	})
}
