package aio

import (
	"bytes"
	"testing"
	"unsafe"
)

// TestLayout compares every size and offset with the C structures. It is meant
// to run on each architecture, 32-bit and big-endian ones included.
func TestLayout(t *testing.T) {
	var (
		b IOCB
		e Event
		v Iovec
		r ringHeader
		k keyFlags
	)
	word := unsafe.Sizeof(uintptr(0))
	// aio_key and aio_rw_flags trade places with the byte order.
	key, rwFlags := uintptr(0), uintptr(4)
	if bigEndian() {
		key, rwFlags = 4, 0
	}
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"sizeof iocb", unsafe.Sizeof(b), 64},
		{"iocb.aio_data", unsafe.Offsetof(b.data), 0},
		{"iocb.aio_key/aio_rw_flags", unsafe.Offsetof(b.keyRWFlag), 8},
		{"sizeof aio_key/aio_rw_flags", unsafe.Sizeof(k), 8},
		{"aio_key", unsafe.Offsetof(k.key), key},
		{"aio_rw_flags", unsafe.Offsetof(k.rwFlags), rwFlags},
		{"iocb.aio_lio_opcode", unsafe.Offsetof(b.opcode), 16},
		{"iocb.aio_reqprio", unsafe.Offsetof(b.priority), 18},
		{"iocb.aio_fildes", unsafe.Offsetof(b.fd), 20},
		{"iocb.aio_buf", unsafe.Offsetof(b.buf), 24},
		{"iocb.aio_nbytes", unsafe.Offsetof(b.nbytes), 32},
		{"iocb.aio_offset", unsafe.Offsetof(b.offset), 40},
		{"iocb.aio_reserved2", unsafe.Offsetof(b.reserved), 48},
		{"iocb.aio_flags", unsafe.Offsetof(b.flags), 56},
		{"iocb.aio_resfd", unsafe.Offsetof(b.eventFD), 60},

		{"sizeof io_event", unsafe.Sizeof(e), 32},
		{"io_event.data", unsafe.Offsetof(e.Data), 0},
		{"io_event.obj", unsafe.Offsetof(e.Obj), 8},
		{"io_event.res", unsafe.Offsetof(e.Res), 16},
		{"io_event.res2", unsafe.Offsetof(e.Res2), 24},

		{"sizeof iovec", unsafe.Sizeof(v), 2 * word},
		{"iovec.iov_base", unsafe.Offsetof(v.Base), 0},
		{"iovec.iov_len", unsafe.Offsetof(v.Len), word},

		{"sizeof aio_ring", unsafe.Sizeof(r), minRingHeader},
		{"aio_ring.id", unsafe.Offsetof(r.id), 0},
		{"aio_ring.nr", unsafe.Offsetof(r.nr), 4},
		{"aio_ring.head", unsafe.Offsetof(r.head), 8},
		{"aio_ring.tail", unsafe.Offsetof(r.tail), 12},
		{"aio_ring.magic", unsafe.Offsetof(r.magic), 16},
		{"aio_ring.compat_features", unsafe.Offsetof(r.compat), 20},
		{"aio_ring.incompat_features", unsafe.Offsetof(r.incompat), 24},
		{"aio_ring.header_length", unsafe.Offsetof(r.headerLength), 28},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.name, c.got, c.want)
		}
	}
}

// TestGolden compares the bytes of an iocb, field by field, with those that a
// C program on a machine of either byte order would pass to the kernel.
func TestGolden(t *testing.T) {
	b := IOCB{
		data:      0x0102030405060708,
		keyRWFlag: keyFlags{key: 0x11121314, rwFlags: 0x21222324},
		opcode:    OpPwritev,
		priority:  0x3132,
		fd:        0x41424344,
		buf:       0x5152535455565758,
		nbytes:    0x6162636465666768,
		offset:    0x7172737475767778,
		reserved:  0x0a0b0c0d0e0f1011,
		flags:     flagEventFD,
		eventFD:   0x25262728,
	}
	little := []byte{
		0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, // aio_data
		0x14, 0x13, 0x12, 0x11, // aio_key
		0x24, 0x23, 0x22, 0x21, // aio_rw_flags
		0x08, 0x00, // aio_lio_opcode
		0x32, 0x31, // aio_reqprio
		0x44, 0x43, 0x42, 0x41, // aio_fildes
		0x58, 0x57, 0x56, 0x55, 0x54, 0x53, 0x52, 0x51, // aio_buf
		0x68, 0x67, 0x66, 0x65, 0x64, 0x63, 0x62, 0x61, // aio_nbytes
		0x78, 0x77, 0x76, 0x75, 0x74, 0x73, 0x72, 0x71, // aio_offset
		0x11, 0x10, 0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, // aio_reserved2
		0x01, 0x00, 0x00, 0x00, // aio_flags
		0x28, 0x27, 0x26, 0x25, // aio_resfd
	}
	big := []byte{
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, // aio_data
		0x21, 0x22, 0x23, 0x24, // aio_rw_flags
		0x11, 0x12, 0x13, 0x14, // aio_key
		0x00, 0x08, // aio_lio_opcode
		0x31, 0x32, // aio_reqprio
		0x41, 0x42, 0x43, 0x44, // aio_fildes
		0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, // aio_buf
		0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, // aio_nbytes
		0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, // aio_offset
		0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, // aio_reserved2
		0x00, 0x00, 0x00, 0x01, // aio_flags
		0x25, 0x26, 0x27, 0x28, // aio_resfd
	}
	want := little
	if bigEndian() {
		want = big
	}
	got := (*[64]byte)(unsafe.Pointer(&b))[:]
	if !bytes.Equal(got, want) {
		t.Errorf("iocb is\n% x, want\n% x", got, want)
	}
}

// bigEndian asks the machine, not the build constraints under test.
func bigEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 0
}
