package aio

import (
	"structs"
	"unsafe"
)

// An Iovec is a struct iovec of the native word size: one buffer of a vectored
// operation. Unlike an IOCB it holds a real pointer, so a reachable Iovec keeps
// its buffer reachable.
type Iovec struct {
	_ structs.HostLayout

	Base *byte
	Len  uintptr
}

// MakeIovec returns the Iovec that names p.
func MakeIovec(p []byte) Iovec {
	return Iovec{Base: unsafe.SliceData(p), Len: uintptr(len(p))}
}
