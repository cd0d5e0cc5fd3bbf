package model

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
	"pgregory.net/rapid"
)

// TestModel runs random operations, many at once, through direct handles of a
// file, and buffered ones in between, on each file system. ASYNCFILE_STEPS sets
// how many operations on each; ASYNCFILE_SEED repeats a run; ASYNCFILE_MIXED has
// other handles of the file read, one of them buffered, while one writes.
func TestModel(t *testing.T) {
	steps := 2000
	if testing.Short() {
		steps = 300
	}
	steps = int(env(t, "ASYNCFILE_STEPS", uint64(steps)))
	seed := env(t, "ASYNCFILE_SEED", rand.Uint64N(1<<62)|1)
	t.Logf("seed %d", seed)
	flag.Set("rapid.nofailfile", "true")
	for _, fs := range disks.All {
		t.Run(fs.Name, func(t *testing.T) {
			dir := fs.Mount(t)
			m := newMachine(t, dir)
			// On XFS a direct read past the end fails with EIO where a direct write
			// has gone into space that a buffered one has only reserved.
			m.flushes = strings.HasPrefix(fs.Name, "xfs")
			start := time.Now()
			flag.Set("rapid.checks", strconv.Itoa(min(max(steps/100, 10), 1000)))
			for i := uint64(0); m.done.Load() < int64(steps) && !t.Failed(); i++ {
				before := m.done.Load()
				flag.Set("rapid.seed", fmt.Sprint(seed+i))
				rapid.Check(t, m.property)
				if m.done.Load() == before {
					t.Fatal("rapid makes no checks any more: is the time of the test up?")
				}
			}
			t.Logf("%s: %d operations in %v, seed %d; stats of the Rings:", fs.Name, m.done.Load(), time.Since(start), seed)
			for _, v := range m.variants {
				t.Logf("%s: %+v", v.name, v.ring.Stats())
			}
		})
	}
}

// TestModelHere is TestModel where the temporary files are, for who is not root.
func TestModelHere(t *testing.T) {
	flag.Set("rapid.nofailfile", "true")
	flag.Set("rapid.checks", "10")
	flag.Set("rapid.seed", "0")
	rapid.Check(t, newMachine(t, t.TempDir()).property)
}

func env(t *testing.T, name string, otherwise uint64) uint64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hangs is how long a round may take before it counts as hung.
const hangs = 2 * time.Minute

// A machine carries out properties in one folder.
type machine struct {
	dir      string
	flushes  bool // see run.flushes
	variants []variant
	files    atomic.Int64
	done     atomic.Int64 // operations
}

// A variant is a Ring on which files are opened.
type variant struct {
	name    string
	ring    *asyncfile.Ring
	backend asyncfile.Backend
}

func newMachine(t *testing.T, dir string) *machine {
	m := &machine{dir: dir}
	add := func(name string, backend asyncfile.Backend, opts ...asyncfile.Option) {
		ring, err := asyncfile.NewRing(append(opts, asyncfile.WithBackend(backend))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ring.Close() })
		m.variants = append(m.variants, variant{name, ring, backend})
	}
	add("default", asyncfile.BackendAuto)
	add("pool", asyncfile.BackendPool)
	add("narrow", asyncfile.BackendAuto, asyncfile.WithQueueDepth(8), asyncfile.WithWorkers(1),
		asyncfile.WithWaitMode(asyncfile.WaitEventFD))
	return m
}

// pick draws a number below n, 0 more often than others, the rest evenly.
func pick(t *rapid.T, label string, n int) int {
	v := rapid.Uint32().Draw(t, label)
	return int(uint64(v*2654435761) * uint64(n) >> 32)
}

// A run is one file and its model.
type run struct {
	t       *rapid.T
	async   [2]*asyncfile.AsyncFile // two direct handles
	osf     *os.File                // and a buffered one
	appends bool                    // the handles are in append mode
	mixed   bool                    // others read while one writes
	limit   int                     // of offsets
	most    int                     // of lengths
	flushes bool                    // what is written buffered is flushed before it is used otherwise
	clock   atomic.Int64
	cursor  sync.Mutex // of osf
	model   []byte
}

func (m *machine) property(t *rapid.T) {
	v := m.variants[pick(t, "variant", len(m.variants))]
	name := filepath.Join(m.dir, fmt.Sprint("file", m.files.Add(1)))
	r := &run{t: t, flushes: m.flushes, limit: 64 << 10, most: 12 << 10}
	flags := os.O_RDWR | os.O_CREATE
	switch pick(t, "mode", 16) {
	case 1:
		r.appends, flags = true, flags|os.O_APPEND
	case 2:
		r.limit, r.most = 3<<20, 5<<19 // parts, and what goes straight behind them
	case 3, 4:
		r.limit, r.most = 8<<10, 4<<10 // everything in two pages
	}
	r.mixed = os.Getenv("ASYNCFILE_MIXED") != ""
	var err error
	if r.osf, err = os.OpenFile(name, flags, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(name)
	defer r.osf.Close()
	for i := range r.async {
		r.async[i], err = asyncfile.OpenFile(name, flags, 0o600,
			asyncfile.WithRing(v.ring), asyncfile.WithBackend(v.backend), asyncfile.WithDirect(asyncfile.DirectRequire))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := r.async[i].Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}()
		if pick(t, "deadline", 8) == 1 {
			r.async[i].File().SetDeadline(time.Now().Add(time.Hour))
		}
	}
	for range 1 + pick(t, "rounds", 8) {
		m.done.Add(int64(r.round()))
	}
}

// round draws a few clients, each with a list of steps, carries them all out at
// once and checks what came of it. It returns the number of steps.
func (r *run) round() int {
	t := r.t
	if len(r.model) > 2*r.limit {
		r.resize(int64(pick(t, "size", r.limit)))
	}
	clients := make([][]*step, 1+pick(t, "clients", 6))
	// Writes go through one handle in a round. What others write to the same
	// block at the same time nobody can put in order.
	writer := 0
	switch pick(t, "writer", 8) {
	case 1:
		writer = 1
	case 2:
		writer = 2
	}
	h := &history{base: r.model}
	for i := range clients {
		for range 1 + pick(t, "steps", 10) {
			s := r.draw(len(h.steps) + 1)
			s.handle = writer
			if writer == 2 && s.kind == appends && !r.appends {
				s.kind = write // os.File has no Append
			}
			if r.mixed && s.kind.reads() && pick(t, "reader", 6) == 1 {
				s.handle = pick(t, "other", 3)
			}
			clients[i] = append(clients[i], s)
			h.steps = append(h.steps, s)
		}
	}
	hung := time.AfterFunc(hangs, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("a round hangs: %v", h.steps))
	})
	var wg sync.WaitGroup
	for _, steps := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.client(steps)
		}()
	}
	wg.Wait()
	hung.Stop()
	for _, s := range h.steps {
		if err := h.check(s); err != nil {
			t.Fatalf("%v\n%v", err, h)
		}
	}
	if writer == 2 && r.flushes {
		if err := r.osf.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	r.settle(h)
	return len(h.steps)
}

// draw draws one step, the id-th of its round.
func (r *run) draw(id int) *step {
	t := r.t
	kinds := []kind{read, write, write, write, write, writev, writev, read, read, readv, appends, appends, stat, syncs, datasyncs}
	s := &step{via: pick(t, "via", 4), later: pick(t, "later", 2) == 1}
	s.kind = kinds[pick(t, "kind", len(kinds))]
	switch pick(t, "rare", 64) {
	case 1:
		s.kind = truncate
	case 2:
		s.kind = preallocate
	}
	if r.appends && (s.kind == write || s.kind == writev) {
		s.kind = appends
	}
	s.off = int64(pick(t, "offset", r.limit))
	n := pick(t, "length", r.most)
	switch pick(t, "align", 6) {
	case 1:
		s.off, n = s.off&^511, n&^511
	case 2:
		s.off, n = s.off&^4095, n&^4095
	case 3: // near the end of the file
		s.off = max(int64(len(r.model)-n/2), 0)
	case 4:
		n = pick(t, "short", 600)
	}
	switch s.kind {
	case preallocate:
		s.off++ // fallocate takes no 0
	case read, readv, write, writev, appends:
		shift := []int{0, 0, 0, 512, 1, 4, 100}[pick(t, "shift", 7)]
		s.buf = asyncfile.AlignedBuffer(n + 512)[shift:][:n]
		if s.kind.writes() {
			for i := range s.buf {
				s.buf[i] = byte(id) + byte(i>>9)*3 + byte(i)
			}
		}
	}
	if s.kind == readv || s.kind == writev {
		for at := 0; at < n && len(s.cuts) < 40; {
			at += pick(t, "cut", n+1)
			if pick(t, "even", 2) == 1 {
				at &^= 511
			}
			s.cuts = append(s.cuts, min(at, n))
		}
	}
	return s
}

// op returns what Submit takes for s.
func (s *step) op() asyncfile.Op {
	op := asyncfile.Op{Buf: s.buf, Offset: s.off}
	switch s.kind {
	case read:
		op.Kind = asyncfile.OpRead
	case write:
		op.Kind = asyncfile.OpWrite
	case readv, writev:
		op.Kind, op.Buf = asyncfile.OpReadv, nil
		if s.kind == writev {
			op.Kind = asyncfile.OpWritev
		}
		from := 0
		for _, cut := range append(s.cuts, len(s.buf)) {
			cut = max(cut, from)
			op.Bufs = append(op.Bufs, s.buf[from:cut])
			from = cut
		}
	case appends:
		op.Kind = asyncfile.OpAppend
	case syncs:
		op.Kind = asyncfile.OpSync
	case datasyncs:
		op.Kind = asyncfile.OpDatasync
	}
	return op
}

// client carries out steps in order, those marked later while the next ones are
// begun.
func (r *run) client(steps []*step) {
	type pending struct {
		s *step
		f *asyncfile.Future
	}
	var waiting []pending
	drain := func() {
		for _, p := range waiting {
			p.s.n, p.s.err = p.f.Wait()
			if p.s.kind == appends {
				p.s.off = p.f.Offset()
			}
			p.s.end = r.clock.Add(1)
		}
		waiting = waiting[:0]
	}
	for _, s := range steps {
		s.start = r.clock.Add(1)
		f := r.async[min(s.handle, 1)]
		switch {
		case s.handle == 2:
			r.buffered(s)
			s.end = r.clock.Add(1)
		case s.kind == stat && s.via == 0:
			s.n, s.size, s.err = 0, 0, nil
			var info os.FileInfo
			if info, s.err = os.Stat(f.Name()); s.err == nil {
				s.size = info.Size()
			}
			s.end = r.clock.Add(1)
		case s.kind == stat:
			var info os.FileInfo
			if info, s.err = f.Stat(); s.err == nil {
				s.size = info.Size()
			}
			s.end = r.clock.Add(1)
		case s.kind == truncate:
			s.err = f.Truncate(s.off)
			s.end = r.clock.Add(1)
		case s.kind == preallocate:
			if s.err = f.Preallocate(s.off); errors.Is(s.err, errors.ErrUnsupported) {
				s.kind, s.err = stat, nil // no such thing here
				s.size = -1
				if info, err := f.Stat(); err == nil {
					s.size = info.Size()
				}
			}
			s.end = r.clock.Add(1)
		case s.kind == read && s.via == 1:
			s.n, s.err = f.File().ReadAt(s.buf, s.off)
			s.end = r.clock.Add(1)
		case s.kind == write && s.via == 1:
			s.n, s.err = f.File().WriteAt(s.buf, s.off)
			s.end = r.clock.Add(1)
		default:
			waiting = append(waiting, pending{s, f.Submit(s.op())[0]})
		}
		if !s.later {
			drain()
		}
	}
	drain()
}

// buffered carries out s with an ordinary buffered os.File.
func (r *run) buffered(s *step) {
	switch s.kind {
	case read, readv:
		s.n, s.err = r.osf.ReadAt(s.buf, s.off)
	case write, writev:
		s.n, s.err = r.osf.WriteAt(s.buf, s.off)
	case appends:
		r.cursor.Lock() // to know where it went
		defer r.cursor.Unlock()
		s.n, s.err = r.osf.Write(s.buf)
		at, _ := r.osf.Seek(0, 1)
		s.off = at - int64(s.n)
	case syncs, datasyncs:
		s.err = r.osf.Sync()
	case truncate, preallocate:
		s.kind = truncate
		s.err = r.osf.Truncate(s.off)
	case stat:
		var info os.FileInfo
		if info, s.err = r.osf.Stat(); s.err == nil {
			s.size = info.Size()
		}
	}
}

// settle reads the whole file after a round, checks it, and makes it the model.
func (r *run) settle(h *history) {
	t := r.t
	end := r.clock.Add(2)
	look := &step{kind: stat, start: end - 1, end: end}
	which := pick(t, "look", 4)
	info, err := os.Stat(r.osf.Name())
	if err != nil {
		t.Fatal(err)
	}
	look.size = info.Size()
	if err := h.check(look); err != nil {
		t.Fatalf("%v\n%v", err, h)
	}
	all := &step{kind: read, via: which, start: end - 1, end: end, buf: asyncfile.AlignedBuffer(int(info.Size()) + 1)}
	switch which {
	case 0:
		all.n, all.err = r.async[0].ReadAt(all.buf, 0).Wait()
	case 1:
		all.n, all.err = r.async[1].File().ReadAt(all.buf, 0)
	default:
		all.n, all.err = r.osf.ReadAt(all.buf, 0)
	}
	if err := h.check(all); err != nil {
		t.Fatalf("%v\n%v", err, h)
	}
	r.model = all.buf[:all.n:all.n]
}

// resize truncates the file between two rounds.
func (r *run) resize(size int64) {
	if err := r.async[0].Truncate(size); err != nil {
		r.t.Fatal(err)
	}
	r.model = r.model[:min(int(size), len(r.model))]
}
