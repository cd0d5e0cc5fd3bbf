package copying

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/pagecache"
)

// kernelChunk is how much the kernel copies before the context is looked at, in bytes.
const kernelChunk = 16 << 20

// byKernel has the kernel copy from page to page: copy_file_range(2). Where it does not, the
// file goes by blocks, or if it is small through memory.
func (j *job) byKernel(sparse bool) error {
	unix.Fadvise(int(j.in.Fd()), 0, 0, unix.FADV_SEQUENTIAL) // twice the read-ahead
	return j.ranges(sparse, func(off, end int64) error {
		for off < end {
			if j.ctx.Err() != nil {
				return context.Cause(j.ctx)
			}
			n, err := copyRange(j.part, j.in, off, min(end-off, kernelChunk))
			if err != nil {
				return pathError("copy_file_range", j.src, err)
			}
			if n == 0 {
				return pathError("copy", j.src, ErrShrank)
			}
			off += n
			j.done = off
			j.moved(n)
		}
		return nil
	})
}

// copyRange copies up to n bytes at off.
func copyRange(to, from *os.File, off, n int64) (int64, error) {
	in, out := off, off
	for {
		m, err := unix.CopyFileRange(int(from.Fd()), &in, int(to.Fd()), &out, int(n), 0)
		switch err {
		case nil:
			return int64(m), nil
		case unix.EINTR:
		case unix.EXDEV, unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL, unix.EPERM:
			return io.Copy(io.NewOffsetWriter(to, off), io.NewSectionReader(from, off, n))
		default:
			return 0, err
		}
	}
}

// byBlocks copies with many blocks in flight: what was read is written from the same buffer.
func (j *job) byBlocks(sparse bool) error {
	in, out, err := j.open()
	if err != nil {
		return err
	}
	if !sparse { // fails now, and not at the end, where there is no room
		err = out.Preallocate(j.size)
		if errors.Is(err, errors.ErrUnsupported) {
			err = nil
		}
	}
	if err == nil {
		p := &pump{job: j, in: in, out: out, queue: asyncfile.NewQueue(j.Depth), flying: map[int64]bool{}, next: j.from}
		err = j.ranges(sparse, p.span)
		err = errors.Join(err, p.drain())
		p.queue.Close()
	}
	return errors.Join(err, in.Close(), out.Close())
}

// open returns both sides as AsyncFiles, on descriptors of their own.
func (j *job) open() (in, out *asyncfile.AsyncFile, err error) {
	source, target := asyncfile.DirectPrefer, asyncfile.DirectOff
	switch {
	case j.Direct == Always:
		target = asyncfile.DirectPrefer
	case j.Direct == Never || pagecache.Holds(j.in, j.size):
		source = asyncfile.DirectOff
	}
	ring, err := j.ring()
	if err != nil {
		return nil, nil, err
	}
	in, err = asyncfile.Open(j.src, asyncfile.WithRing(ring), asyncfile.WithDirect(source))
	if err != nil {
		return nil, nil, err
	}
	if same, err := sameFile(in, j.in); err != nil || !same {
		return nil, nil, errors.Join(err, pathError("copy", j.src, ErrChanged), in.Close())
	}
	out, err = asyncfile.OpenFile(j.name, os.O_WRONLY, 0, asyncfile.WithRing(ring), asyncfile.WithDirect(target))
	if err != nil {
		in.Close()
	}
	return in, out, err
}

func sameFile(a interface{ Stat() (os.FileInfo, error) }, b *os.File) (bool, error) {
	first, err := a.Stat()
	if err != nil {
		return false, err
	}
	second, err := b.Stat()
	return err == nil && os.SameFile(first, second), err
}

// A pump moves the blocks of one file.
type pump struct {
	*job
	in, out *asyncfile.AsyncFile
	queue   *asyncfile.Queue
	idle    [][]byte       // buffers with nothing to do
	made    int            // buffers
	flying  map[int64]bool // offsets of blocks that are not written yet
	next    int64          // all before it is in flight or done
	done    []asyncfile.Completion
	err     error
}

// span copies the data from off to end.
func (p *pump) span(off, end int64) error {
	for off < end && p.err == nil {
		if p.ctx.Err() != nil {
			return context.Cause(p.ctx)
		}
		buf := p.buffer()
		if buf == nil {
			p.settle()
			continue
		}
		stop := min(off-off%int64(p.Block)+int64(p.Block), end)
		p.flying[off] = true
		p.next = stop
		p.submit(p.in, asyncfile.Op{Kind: asyncfile.OpRead, Buf: buf[:stop-off], Offset: off})
		off = stop
	}
	return p.err
}

func (p *pump) buffer() []byte {
	if n := len(p.idle); n > 0 {
		buf := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return buf
	}
	if p.made == p.Depth {
		return nil
	}
	p.made++
	return asyncfile.AlignedBuffer(p.Block)
}

func (p *pump) submit(f *asyncfile.AsyncFile, op asyncfile.Op) {
	if err := p.queue.Submit(f, op, nil); err != nil {
		p.fail(err)
		p.idle = append(p.idle, op.Buf[:cap(op.Buf)])
	}
}

// settle waits for completions: a block that was read is written, one that was written is
// done.
func (p *pump) settle() {
	if p.done == nil {
		p.done = make([]asyncfile.Completion, p.Depth)
	}
	n, err := p.queue.Receive(context.Background(), p.done)
	if err != nil {
		p.fail(err)
	}
	for _, c := range p.done[:n] {
		switch {
		case c.Err == io.EOF:
			p.fail(pathError("copy", p.src, ErrShrank))
		case c.Err != nil:
			p.fail(c.Err)
		case c.Op == asyncfile.OpRead:
			p.submit(p.out, asyncfile.Op{Kind: asyncfile.OpWrite, Buf: c.Buf, Offset: c.Offset})
			continue
		default:
			delete(p.flying, c.Offset)
			p.moved(int64(c.N))
		}
		p.idle = append(p.idle, c.Buf[:cap(c.Buf)])
	}
}

func (p *pump) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// drain waits for what is in flight, and notes how far the part is complete.
func (p *pump) drain() error {
	for len(p.idle) < p.made {
		p.settle()
	}
	p.job.done = p.next
	for off := range p.flying { // what failed
		p.job.done = min(p.job.done, off)
	}
	return p.err
}

// verify reads the copy back, from the device where that can be, and compares.
func (j *job) verify() error {
	if err := j.part.Sync(); err != nil {
		return err
	}
	unix.Fadvise(int(j.part.Fd()), 0, 0, unix.FADV_DONTNEED)
	ring, err := j.ring()
	if err != nil {
		return err
	}
	back, err := asyncfile.Open(j.name, asyncfile.WithRing(ring), asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		return err
	}
	defer back.Close()
	r, err := asyncfile.NewReader(back, 0, asyncfile.WithBlockSize(j.Block), asyncfile.WithStreamDepth(4))
	if err != nil {
		return err
	}
	defer r.Close()
	d := &comparer{job: j, with: io.NewSectionReader(j.in, 0, 1<<62), buf: make([]byte, j.Block)}
	if _, err := r.WriteTo(d); err != nil {
		return err
	}
	if d.size < j.size {
		return pathError("verify", j.dst, ErrDiffers)
	}
	return nil
}

// A comparer is a writer that compares what it is given with the source.
type comparer struct {
	*job
	with io.Reader
	buf  []byte
	size int64
}

func (d *comparer) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if d.ctx.Err() != nil {
			return n, context.Cause(d.ctx)
		}
		m, err := io.ReadFull(d.with, d.buf[:min(len(d.buf), len(p)-n)])
		if err != nil || string(d.buf[:m]) != string(p[n:n+m]) {
			return n, pathError("verify", d.dst, ErrDiffers)
		}
		n, d.size = n+m, d.size+int64(m)
	}
	return n, nil
}
