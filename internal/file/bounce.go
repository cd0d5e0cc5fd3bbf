package file

import (
	"cmp"
	"io"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// straightMin is how much of a bounced request, in bytes, has to fit O_DIRECT
// by itself to be worth a submission of its own instead of copying.
const straightMin = 256 << 10

// planBounced plans a part of a request that O_DIRECT does not take as it is:
// the blocks that hold it, by way of an aligned buffer; or, where what is left
// begins on a block boundary in memory that fits, whole blocks of it straight. A
// bounced write is of whole blocks: others go through the page cache.
func (f *Handle) planBounced(o *operation) error {
	o.dropBounce()
	p, unit := &o.slot.Plan, int64(f.unit(o.op.Kind))
	rest := o.cursor.Left()
	before := p.Off % unit // bytes of the first block that are not asked for
	toBoundary := (unit - before) % unit
	if rest-toBoundary >= straightMin {
		c := o.cursor
		c.Skip(int(toBoundary))
		if head := c.Head(); len(head) >= straightMin && aio.IsAligned(head, f.Align.Memory) {
			if before == 0 {
				o.planBuf(head[:int64(min(len(head), aio.MaxTransfer))/unit*unit])
				return nil
			}
			rest = toBoundary // up to where it can go straight
		}
	}
	span := min(before+rest+unit-1, max(MaxBounce, unit)) / unit * unit
	if o.end() >= 0 && p.Off-before+span < 0 {
		return io.EOF // the block ends beyond every offset, and so behind every file
	}
	o.bounce = f.group.Bounces.Get(int(span))
	p.Copies = len(o.bounce)
	if !o.op.Kind.Writes() {
		p.Off, o.skip = p.Off-before, int(before)
		o.planBuf(o.bounce)
		return nil
	}
	// What is sent is what was copied. Memory that faults ends the operation, but
	// for the whole blocks before it, as in the kernel.
	c := o.cursor
	n, err := c.Gather(o.bounce)
	f.group.Counts.BytesCopied.Add(uint64(n))
	if n -= n % int(unit); n == 0 {
		return cmp.Or[error](err, syscall.EIO) // EIO cannot be: there is at least a block left
	}
	o.planBuf(o.bounce[:n])
	return nil
}

func (o *operation) dropBounce() {
	if o.bounce != nil {
		o.file.group.Bounces.Put(o.bounce)
		o.bounce, o.slot.Plan.Buf = nil, nil
	}
}

// performBounced carries the request out with ordinary system calls on the
// calling goroutine.
func (f *Handle) performBounced(o *operation) {
	for planned := f.makePlan(o); planned; {
		n, err := transferOne(f, f.osf, f.fd, o.op.Kind, o.slot.Plan.Buf, o.slot.Plan.Off)
		planned = f.proceed(o, int64(n), err) == ring.Again
	}
}
