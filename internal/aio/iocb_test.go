package aio

import (
	"errors"
	"reflect"
	"syscall"
	"testing"
	"unsafe"
)

func TestPrepare(t *testing.T) {
	p := AlignedSlice(16, 8)
	v := []Iovec{MakeIovec(p[:3]), MakeIovec(nil), MakeIovec(p[3:10])}
	plain, vector := address(p), uint64(uintptr(unsafe.Pointer(&v[0])))

	for _, c := range []struct {
		name    string
		prepare func(*IOCB)
		want    IOCB
		buffers [][]byte
	}{
		{"PrepareRead", func(b *IOCB) { b.PrepareRead(5, p, 1<<40) },
			IOCB{opcode: OpPread, fd: 5, buf: plain, nbytes: 16, offset: 1 << 40}, [][]byte{p}},
		{"PrepareWrite", func(b *IOCB) { b.PrepareWrite(6, p[:7], 9) },
			IOCB{opcode: OpPwrite, fd: 6, buf: plain, nbytes: 7, offset: 9}, [][]byte{p[:7]}},
		{"PrepareReadv", func(b *IOCB) { b.PrepareReadv(7, v, 10) },
			IOCB{opcode: OpPreadv, fd: 7, buf: vector, nbytes: 3, offset: 10}, [][]byte{p[:3], nil, p[3:10]}},
		{"PrepareWritev", func(b *IOCB) { b.PrepareWritev(8, v[:1], 11) },
			IOCB{opcode: OpPwritev, fd: 8, buf: vector, nbytes: 1, offset: 11}, [][]byte{p[:3]}},
		{"PrepareFsync", func(b *IOCB) { b.PrepareFsync(9) },
			IOCB{opcode: OpFsync, fd: 9}, nil},
		{"PrepareFdatasync", func(b *IOCB) { b.PrepareFdatasync(10) },
			IOCB{opcode: OpFdsync, fd: 10}, nil},
		{"empty buffer", func(b *IOCB) { b.PrepareRead(5, nil, 0) },
			IOCB{opcode: OpPread, fd: 5}, [][]byte{nil}},
		{"no buffers", func(b *IOCB) { b.PrepareReadv(5, nil, 0) },
			IOCB{opcode: OpPreadv, fd: 5}, [][]byte{}},
		{"bad descriptor", func(b *IOCB) { b.PrepareFsync(-1) },
			IOCB{opcode: OpFsync, fd: 0xffffffff}, nil},
	} {
		// Every byte is set before, so whatever is left over shows.
		var b IOCB
		stale := (*[unsafe.Sizeof(b)]byte)(unsafe.Pointer(&b))
		for i := range stale {
			stale[i] = 0xa5
		}
		c.prepare(&b)
		if b != c.want {
			t.Errorf("%s: iocb is %+v, want %+v", c.name, b, c.want)
		}
		if b.Opcode() != c.want.opcode || b.FD() != int(int32(c.want.fd)) || b.Offset() != c.want.offset {
			t.Errorf("%s: accessors return %v %d %d", c.name, b.Opcode(), b.FD(), b.Offset())
		}
		buffers := b.Buffers()
		if !reflect.DeepEqual(buffers, c.buffers) {
			t.Errorf("%s: Buffers() = %v, want %v", c.name, buffers, c.buffers)
		}
		for i, buf := range buffers {
			if address(buf) != address(c.buffers[i]) {
				t.Errorf("%s: Buffers()[%d] is other memory", c.name, i)
			}
		}
	}
}

func TestDataAndEventFD(t *testing.T) {
	var b IOCB
	b.PrepareFsync(3)
	if fd, ok := b.EventFD(); fd != 0 || ok {
		t.Errorf("EventFD() = %d, %v before SetEventFD", fd, ok)
	}
	b.SetData(1<<63 | 42)
	b.SetEventFD(7)
	if fd, ok := b.EventFD(); fd != 7 || !ok {
		t.Errorf("EventFD() = %d, %v, want 7, true", fd, ok)
	}
	if b.Data() != 1<<63|42 {
		t.Errorf("Data() = %#x", b.Data())
	}
	b.PrepareFsync(3)
	if _, ok := b.EventFD(); ok || b.Data() != 0 {
		t.Error("Prepare kept the eventfd or the data of the operation before")
	}
}

// TestPrepareEscapes: a buffer on the stack of the caller would move with it,
// so Prepare must have made the compiler put it on the heap.
func TestPrepareEscapes(t *testing.T) {
	var b IOCB
	if n := testing.AllocsPerRun(10, func() {
		var local [64]byte
		b.PrepareRead(0, local[:], 0)
	}); n != 1 {
		t.Errorf("%v allocations for a local buffer, want 1", n)
	}
	if n := testing.AllocsPerRun(10, func() {
		var local [64]byte
		vector := [1]Iovec{MakeIovec(local[:])}
		b.PrepareReadv(0, vector[:], 0)
	}); n != 2 {
		t.Errorf("%v allocations for a local vector and its buffer, want 2", n)
	}
}

func TestPrepareAllocs(t *testing.T) {
	b, p := new(IOCB), AlignedSlice(64, 1)
	v := []Iovec{MakeIovec(p)}
	if n := testing.AllocsPerRun(100, func() {
		b.PrepareRead(0, p, 0)
		b.PrepareWritev(0, v, 0)
		b.SetData(1)
		b.SetEventFD(1)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestOpcodeString(t *testing.T) {
	for op, want := range map[Opcode]string{
		0: "pread", 1: "pwrite", 2: "fsync", 3: "fdsync", 7: "preadv", 8: "pwritev", 5: "opcode(5)",
	} {
		if got := op.String(); got != want {
			t.Errorf("Opcode(%d).String() = %q, want %q", uint16(op), got, want)
		}
	}
}

func TestResult(t *testing.T) {
	for _, c := range []struct {
		res int64
		n   int
		err error
	}{
		{0, 0, nil},
		{1, 1, nil},
		{MaxTransfer, MaxTransfer, nil},
		{-int64(syscall.EIO), 0, syscall.EIO},
		{-int64(syscall.EAGAIN), 0, syscall.EAGAIN},
	} {
		n, err := Result(c.res)
		if n != c.n || err != c.err {
			t.Errorf("Result(%d) = %d, %v, want %d, %v", c.res, n, err, c.n, c.err)
		}
	}
	if _, err := Result(-int64(syscall.EOPNOTSUPP)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v is not errors.ErrUnsupported", err)
	}
}

func address(p []byte) uint64 {
	return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
}
