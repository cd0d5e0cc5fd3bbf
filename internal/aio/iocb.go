package aio

import (
	"fmt"
	"structs"
	"unsafe"
)

// An Opcode is what an iocb asks for (enum IOCB_CMD_* of aio_abi.h).
type Opcode uint16

// The opcodes that work on a regular file. The gaps are commands that never
// reached a released kernel (PREADX, NOOP) and POLL, which says nothing about
// a file.
const (
	OpPread   Opcode = 0
	OpPwrite  Opcode = 1
	OpFsync   Opcode = 2 // Linux 4.18; io_submit answers EINVAL before
	OpFdsync  Opcode = 3 // Linux 4.18; io_submit answers EINVAL before
	OpPreadv  Opcode = 7
	OpPwritev Opcode = 8
)

// Reads reports whether o reads a file.
func (o Opcode) Reads() bool { return o == OpPread || o == OpPreadv }

// String returns the name of the kernel's command in lower case.
func (o Opcode) String() string {
	switch o {
	case OpPread:
		return "pread"
	case OpPwrite:
		return "pwrite"
	case OpFsync:
		return "fsync"
	case OpFdsync:
		return "fdsync"
	case OpPreadv:
		return "preadv"
	case OpPwritev:
		return "pwritev"
	}
	return fmt.Sprintf("opcode(%d)", uint16(o))
}

// flagEventFD is IOCB_FLAG_RESFD: iocb.eventFD is an eventfd to signal.
const flagEventFD = 1

// An IOCB is a struct iocb, the submission record of one operation. It is
// 64 bytes on every architecture: the kernel spells each pointer as a u64.
//
// The Prepare methods overwrite the whole of it, so that a reused IOCB carries
// nothing over from its last operation; call SetData and SetEventFD after them.
//
// An IOCB holds the address of its buffer as an integer, which the garbage
// collector does not see and does not follow. Until the event is consumed, or
// Submit has refused the iocb, the caller keeps the buffer reachable through a
// Go pointer, in an object that lives as long as the operation; otherwise the
// memory is given to another object while the kernel still writes there. Being
// on the heap, where an address stays what it is, is the other half: the
// Prepare methods force that on whatever they are given.
//
// io_submit copies the IOCB itself and the Iovec array of a vectored operation:
// both need to be reachable only until Submit returns.
type IOCB struct {
	_ structs.HostLayout

	data      uint64   // echoed as Event.Data
	keyRWFlag keyFlags // aio_key and aio_rw_flags, in the order of the byte order
	opcode    Opcode
	priority  int16
	fd        uint32
	buf       uint64 // address of the bytes, or of the iovecs; 0 for a sync
	nbytes    uint64 // length in bytes, or in iovecs; 0 for a sync
	offset    int64  // 0 for a sync
	reserved  uint64 // EINVAL unless 0
	flags     uint32
	eventFD   uint32 // with flagEventFD only
}

// PrepareRead makes b a pread(2) of len(p) bytes at off into p.
func (b *IOCB) PrepareRead(fd int, p []byte, off int64) {
	b.prepare(OpPread, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), len(p), off)
}

// PrepareWrite makes b a pwrite(2) of p at off.
func (b *IOCB) PrepareWrite(fd int, p []byte, off int64) {
	b.prepare(OpPwrite, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), len(p), off)
}

// PrepareReadv makes b a preadv(2) into the buffers of v, at most MaxIovecs.
// v is needed until Submit returns, the buffers until the event is consumed.
func (b *IOCB) PrepareReadv(fd int, v []Iovec, off int64) {
	b.prepare(OpPreadv, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v))), len(v), off)
}

// PrepareWritev makes b a pwritev(2) of the buffers of v, at most MaxIovecs.
// v is needed until Submit returns, the buffers until the event is consumed.
func (b *IOCB) PrepareWritev(fd int, v []Iovec, off int64) {
	b.prepare(OpPwritev, fd, uintptr(unsafe.Pointer(unsafe.SliceData(v))), len(v), off)
}

// PrepareFsync makes b an fsync(2). It does not wait for direct writes that are
// in flight: only those whose events were consumed before are made durable.
func (b *IOCB) PrepareFsync(fd int) {
	b.prepare(OpFsync, fd, 0, 0, 0)
}

// PrepareFdatasync makes b an fdatasync(2), with the limits of PrepareFsync.
func (b *IOCB) PrepareFdatasync(fd int) {
	b.prepare(OpFdsync, fd, 0, 0, 0)
}

// prepare fills b. The directive, which is for exactly such calls (cmd/compile),
// makes the compiler treat memory whose address is converted in the argument
// list as escaping: a buffer that would have been on a stack, which moves when
// it grows, is allocated on the heap instead.
//
//go:uintptrescapes
func (b *IOCB) prepare(op Opcode, fd int, buf uintptr, n int, off int64) {
	*b = IOCB{
		opcode: op,
		fd:     uint32(int32(fd)),
		buf:    uint64(buf),
		nbytes: uint64(n),
		offset: off,
	}
}

// SetData sets the number that the kernel echoes as Event.Data.
func (b *IOCB) SetData(data uint64) { b.data = data }

// SetEventFD makes the kernel add one to the eventfd fd after it has put the
// operation's event into the ring. A refused iocb signals nothing.
func (b *IOCB) SetEventFD(fd int) {
	b.flags |= flagEventFD
	b.eventFD = uint32(int32(fd))
}

// Data returns what SetData set.
func (b *IOCB) Data() uint64 { return b.data }

// Opcode returns what the iocb asks for.
func (b *IOCB) Opcode() Opcode { return b.opcode }

// FD returns the file descriptor that the operation works on.
func (b *IOCB) FD() int { return int(int32(b.fd)) }

// Offset returns the file offset of a read or a write.
func (b *IOCB) Offset() int64 { return b.offset }

// EventFD returns what SetEventFD set, and whether it did.
func (b *IOCB) EventFD() (int, bool) {
	if b.flags&flagEventFD == 0 {
		return 0, false
	}
	return int(int32(b.eventFD)), true
}

// Buffers rebuilds the memory that the iocb names: what the kernel does at
// io_submit, for a scripted kernel to do the same. It returns one slice for a
// plain read or write, one per iovec for a vectored one and nil for a sync.
// It trusts the addresses: the caller holds up its side of the bargain above.
func (b *IOCB) Buffers() [][]byte {
	switch b.opcode {
	case OpPread, OpPwrite:
		return [][]byte{unsafe.Slice((*byte)(pointer(b.buf)), int(b.nbytes))}
	case OpPreadv, OpPwritev:
		v := unsafe.Slice((*Iovec)(pointer(b.buf)), int(b.nbytes))
		bufs := make([][]byte, len(v))
		for i := range v {
			bufs[i] = unsafe.Slice(v[i].Base, int(v[i].Len))
		}
		return bufs
	}
	return nil
}

// pointer turns an address of the ABI back into a pointer. Reading the bits of
// the integer as a pointer says that on purpose; plain unsafe.Pointer(addr) is
// the mistake that vet and checkptr look for.
func pointer(addr uint64) unsafe.Pointer {
	native := uintptr(addr)
	return *(*unsafe.Pointer)(unsafe.Pointer(&native))
}
