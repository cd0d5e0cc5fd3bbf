package aio

// Flags of one operation, aio_rw_flags of an iocb (include/uapi/linux/fs.h). A
// kernel that does not know one answers io_submit with EOPNOTSUPP.
const (
	RWFHiPri     = 0x1     // poll for the completion; native AIO takes it and does not
	RWFDsync     = 0x2     // the data is durable when the write ends
	RWFSync      = 0x4     // and so is all metadata
	RWFNoWait    = 0x8     // EAGAIN in place of sleeping
	RWFAppend    = 0x10    // write at the end of the file
	RWFNoAppend  = 0x20    // write at the offset in spite of O_APPEND
	RWFAtomic    = 0x40    // all or nothing, across a power failure
	RWFDontCache = 0x80    // drop the pages afterwards
	RWFUnknown   = 1 << 30 // no kernel knows it
)

// SetRWFlags sets the RWF flags of the operation (Linux 4.13). Call it after Prepare.
func (b *IOCB) SetRWFlags(flags uint32) { b.keyRWFlag.rwFlags = flags }

// AtomicLimits is what the kernel says of writes with RWFAtomic, in bytes: stx_atomic_*
// of statx(2). All are 0 where the file takes none.
type AtomicLimits struct {
	Min, Max int // of one write; powers of two
	Segments int // the most buffers of one
}
