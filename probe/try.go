package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

const (
	scratchSize = 256 << 10 // bytes of the file that is written
	page        = 4096      // bytes of one read or write
	repeats     = 9         // of what is timed
	patience    = 10 * time.Second
)

// A Submission is what io_submit(2) does with one kind of operation, of 4096 bytes.
// Times are medians of several.
type Submission struct {
	Kind   string        // "direct read", "buffered write", ...
	Inline bool          // io_submit carried the operation out before it returned, most times
	Inside time.Duration // that io_submit took
	Total  time.Duration // until the result was there
	Err    error         // nil; what the operation answered; or ErrNotTried in an error that says why
}

// A trial is a file, or two descriptors of it, and a context to try on it.
type trial struct {
	ctx     context.Context
	context aio.Context // nil where there is no native AIO
	why     error       // then
	file    *os.File    // to be read
	scratch *os.File    // to be written, and read; nil where there is none
	noWrite error       // then
	buf     []byte      // aligned
	stuck   bool        // an operation did not end: the context and buf stay with it
}

// try finds out what works on f, and on a file in dir, and notes it in p.
func (p *Place) try(ctx context.Context, f *os.File, dir string) error {
	t := &trial{ctx: ctx, file: f, buf: aio.AlignedSlice(2*page, page)}
	if t.context, t.why = aio.Setup(4); t.why != nil {
		t.why = readSandbox().refusal("io_setup", t.why)
	}
	defer t.close()
	p.Scratch = t.makeScratch(dir)
	if p.Kind == "directory" || t.empty() {
		t.file = t.scratch
	}
	if t.file == nil {
		p.nothing(p.Scratch)
		return ctx.Err()
	}
	p.tryDirect(t)
	p.tryFeatures(t)
	p.trySubmit(t)
	return ctx.Err()
}

// empty reports whether a read of the file would be at its end.
func (t *trial) empty() bool {
	size, err := aio.Size(int(t.file.Fd()))
	return err != nil || size < 2*page
}

// makeScratch makes the file that is written, in dir.
func (t *trial) makeScratch(dir string) error {
	if dir == "" {
		t.noWrite = fmt.Errorf("%w: a device is not written to", ErrNotTried)
		return t.noWrite
	}
	f, err := aio.OpenScratch(dir)
	if err == nil {
		if _, err = f.Write(make([]byte, scratchSize)); err == nil {
			err = f.Sync()
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		t.noWrite = fmt.Errorf("%w: no file can be written in %s: %w", ErrNotTried, dir, err)
		return t.noWrite
	}
	t.scratch = f
	return nil
}

func (t *trial) close() {
	if t.scratch != nil {
		t.scratch.Close()
	}
	switch {
	case t.context == nil:
	case t.stuck: // io_destroy would wait for it
		go func() { t.context.Destroy(); runtime.KeepAlive(t.buf) }()
	default:
		t.context.Destroy()
	}
}

// nothing notes that nothing could be tried.
func (p *Place) nothing(why error) {
	p.Direct, p.Atomic.Err = why, why
	for _, f := range features() {
		p.Features = append(p.Features, Feature{f.name, why})
	}
	for _, s := range timedKinds() {
		p.Submit = append(p.Submit, Submission{Kind: s.kind, Err: why})
	}
}

// tryDirect finds out whether there is direct I/O, and what it asks for.
func (p *Place) tryDirect(t *trial) {
	fd := int(t.file.Fd())
	if err := t.direct(t.file, true); err != nil {
		p.Direct = &Refusal{Call: "O_DIRECT", Err: err, Reason: p.FileSystem + " has no direct I/O for this file"}
		return
	}
	defer t.direct(t.file, false)
	if a, ok := aio.DirectAlignment(fd); ok {
		p.Alignment = Alignment{a.Memory, a.Offset, a.ReadOffset, true}
	}
	if _, err := aio.Pread(fd, t.buf[:page], 0); err != nil {
		p.Direct = &Refusal{Call: "O_DIRECT", Err: err, Reason: "a direct read of 4096 bytes fails"}
		return
	}
	if !p.Alignment.FromKernel {
		p.Alignment = t.align(fd)
	}
}

// align finds by reading what a direct file asks for.
func (t *trial) align(fd int) (a Alignment) {
	try := func(buf []byte, off int64) bool { _, err := aio.Pread(fd, buf, off); return err == nil }
	for _, a.ReadOffset = range []int{1, 512, 1024, 2048, page} {
		if try(t.buf[:a.ReadOffset], int64(a.ReadOffset)) {
			break
		}
	}
	for _, a.Memory = range []int{1, 4, 512, 1024, 2048, page} {
		if try(t.buf[a.Memory%page:][:page], 0) {
			break
		}
	}
	a.Offset = a.ReadOffset
	return a
}

// direct turns O_DIRECT on or off. The file was opened here, and nobody else has it.
func (t *trial) direct(f *os.File, on bool) error { return aio.SetDirect(int(f.Fd()), on) }

// once carries one operation out. over says that it was over when io_submit returned.
func (t *trial) once(op *aio.IOCB) (inside, total time.Duration, over bool, err error) {
	switch {
	case t.context == nil:
		return 0, 0, false, fmt.Errorf("%w: %w", ErrNotTried, t.why)
	case t.stuck:
		return 0, 0, false, fmt.Errorf("%w: an operation before it did not end", ErrNotTried)
	case t.ctx.Err() != nil:
		return 0, 0, false, fmt.Errorf("%w: %w", ErrNotTried, t.ctx.Err())
	}
	begun := time.Now()
	if _, err := t.context.Submit([]*aio.IOCB{op}); err != nil {
		return 0, 0, false, err
	}
	inside = time.Since(begun)
	var events [1]aio.Event
	n, err := t.context.GetEvents(0, events[:], 0)
	over = n == 1
	if !over {
		events[0], err = wait(t.context, patience)
		if err != nil {
			t.stuck = true
			return 0, 0, false, err
		}
	}
	total = time.Since(begun)
	if res := events[0].Res; res < 0 {
		err = syscall.Errno(-res)
	}
	return inside, total, over, err
}

// A featureTrial is one operation that needs the feature.
type featureTrial struct {
	name    string
	flags   uint32
	writes  bool
	prepare func(op *aio.IOCB, fd int, buf []byte)
}

// features are what is tried of native AIO on a direct file, or a buffered one where there
// are none.
func features() []featureTrial {
	return []featureTrial{
		{"IOCB_CMD_FSYNC", 0, true, func(op *aio.IOCB, fd int, _ []byte) { op.PrepareFsync(fd) }},
		{"IOCB_CMD_FDSYNC", 0, true, func(op *aio.IOCB, fd int, _ []byte) { op.PrepareFdatasync(fd) }},
		{"RWF_NOWAIT", aio.RWFNoWait, false, prepareRead},
		{"RWF_DSYNC", aio.RWFDsync, true, prepareWrite},
		{"RWF_SYNC", aio.RWFSync, true, prepareWrite},
		{"RWF_APPEND", aio.RWFAppend, true, prepareWrite},
		{"RWF_NOAPPEND", aio.RWFNoAppend, true, prepareWrite},
		{"RWF_DONTCACHE", aio.RWFDontCache, true, prepareWrite},
		{"RWF_ATOMIC", aio.RWFAtomic, true, prepareWrite},
	}
}

func prepareRead(op *aio.IOCB, fd int, buf []byte)  { op.PrepareRead(fd, buf, 0) }
func prepareWrite(op *aio.IOCB, fd int, buf []byte) { op.PrepareWrite(fd, buf, 0) }

// tryFeatures tries each feature once. RWF_DONTCACHE is for buffered files.
func (p *Place) tryFeatures(t *trial) {
	for _, f := range features() {
		file := t.file
		if f.writes {
			file = t.scratch
		}
		feature := Feature{Name: f.name, Err: t.noWrite}
		if file != nil {
			on := p.Direct == nil && f.flags != aio.RWFDontCache && t.direct(file, true) == nil
			op := new(aio.IOCB)
			f.prepare(op, int(file.Fd()), t.buf[:page])
			op.SetRWFlags(f.flags)
			_, _, _, err := t.once(op)
			feature.Err = refused(f.name, err, p.FileSystem)
			if on {
				t.direct(file, false)
			}
		}
		p.Features = append(p.Features, feature)
		if f.flags == aio.RWFAtomic {
			p.tryAtomic(t, feature.Err)
		}
	}
}

// tryAtomic asks for the limits of atomic writes, where there are any.
func (p *Place) tryAtomic(t *trial, err error) {
	file := t.scratch
	if file == nil {
		file = t.file
	}
	limits, ok := aio.AtomicWrites(int(file.Fd()))
	if !ok || limits.Max == 0 {
		p.Atomic.Err = &Refusal{Call: "RWF_ATOMIC", Err: syscall.EOPNOTSUPP, Reason: "statx tells of no atomic writes on this file"}
		return
	}
	p.Atomic = Atomic{Err: err, Min: limits.Min, Max: limits.Max}
}

// refused explains what an operation answered.
func refused(name string, err error, fs string) error {
	switch {
	case err == nil, errors.Is(err, ErrNotTried):
		return err
	case errors.Is(err, syscall.EAGAIN): // it works, and would have had to wait
		return nil
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.EINVAL):
		return &Refusal{Call: name, Err: err, Reason: "this kernel does not have it for " + fs}
	}
	return &Refusal{Call: name, Err: err}
}

// A timedKind is a kind of operation that is timed.
type timedKind struct {
	kind           string
	direct, writes bool
	grows          bool // each makes the file larger
}

func timedKinds() []timedKind {
	return []timedKind{
		{kind: "direct read", direct: true},
		{kind: "direct write", direct: true, writes: true},
		{kind: "direct write beyond the end", direct: true, writes: true, grows: true},
		{kind: "buffered read"},
		{kind: "buffered write", writes: true},
	}
}

// trySubmit times each kind.
func (p *Place) trySubmit(t *trial) {
	for _, kind := range timedKinds() {
		s := Submission{Kind: kind.kind}
		switch {
		case kind.direct && p.Direct != nil:
			s.Err = fmt.Errorf("%w: %w", ErrNotTried, p.Direct)
		case kind.writes && t.scratch == nil:
			s.Err = t.noWrite
		default:
			t.time(&s, kind)
		}
		p.Submit = append(p.Submit, s)
	}
}

// time fills in what one kind of submission takes.
func (t *trial) time(s *Submission, kind timedKind) {
	file := t.file
	if kind.writes {
		file = t.scratch
	}
	fd := int(file.Fd())
	if kind.direct {
		if s.Err = t.direct(file, true); s.Err != nil {
			return
		}
		defer t.direct(file, false)
	}
	var inside, total []time.Duration
	inline := 0
	for i := range repeats {
		op := new(aio.IOCB)
		switch {
		case kind.grows:
			op.PrepareWrite(fd, t.buf[:page], scratchSize+int64(i)*page)
		case kind.writes:
			op.PrepareWrite(fd, t.buf[:page], int64(i%4)*page)
		default:
			aio.Uncache(fd, 0, 0)
			op.PrepareRead(fd, t.buf[:page], 0)
		}
		in, all, over, err := t.once(op)
		if s.Err = err; err != nil {
			return
		}
		inside, total = append(inside, in), append(total, all)
		if over {
			inline++
		}
	}
	s.Inside, s.Total, s.Inline = median(inside), median(total), inline > repeats/2
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
