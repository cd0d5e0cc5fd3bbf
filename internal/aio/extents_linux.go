package aio

import (
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flush writes the dirty pages of the range to the device and waits for them, as
// the kernel does before direct I/O. It is no promise of durability: the device's
// cache and the metadata stay as they are. A file system that cannot do it
// returns EOPNOTSUPP.
//
// What fails is left for fsync(2) of fd to tell, too. WriteBack would take it
// away, since the kernel tells each open file of each failure once
// (file_check_and_advance_wb_err, mm/filemap.c). So this is FIEMAP_FLAG_SYNC of
// ioctl_fiemap(2), whose own purpose, to list extents, is of no interest here.
// Before Linux 5.8 it flushes the whole file and returns no failure.
func Flush(fd int, off, size int64) error {
	request := fiemap{start: uint64(off), length: uint64(size), flags: fiemapFlagSync}
	return mapExtents(fd, unsafe.Pointer(&request))
}

// Unwritten reports whether nobody has written to the blocks from off on, which are
// holes or only allocated. The error says that the file system cannot tell. Dirty
// pages are written first, and count. lseek(2) with SEEK_DATA would not do: it takes
// a clean page of zeros, as a truncation leaves, for data.
func Unwritten(fd int, off int64) (bool, error) {
	for {
		var request struct {
			fiemap
			extents [16]fiemapExtent
		}
		request.fiemap = fiemap{start: uint64(off), length: math.MaxInt64 - uint64(off), flags: fiemapFlagSync, count: uint32(len(request.extents))}
		if err := mapExtents(fd, unsafe.Pointer(&request)); err != nil {
			return false, err
		}
		mapped := request.extents[:min(int(request.mapped), len(request.extents))]
		for _, x := range mapped {
			if x.flags&fiemapExtentUnwritten == 0 {
				return false, nil
			}
			if x.flags&fiemapExtentLast != 0 {
				return true, nil
			}
			off = int64(x.logical + x.length)
		}
		if len(mapped) == 0 {
			return true, nil
		}
	}
}

// mapExtents wraps ioctl_fiemap(2). The error is EOPNOTSUPP where there is no such
// thing.
func mapExtents(fd int, request unsafe.Pointer) error {
	err := ioctl(fd, fiemapRequest, request)
	switch err {
	case unix.ENOTTY, unix.EBADR, unix.EPERM: // no such ioctl, not with this flag, a sandbox
		return unix.EOPNOTSUPP
	}
	return err
}

// fiemap is struct fiemap of linux/fiemap.h, without room for extents.
type fiemap struct {
	start, length                  uint64
	flags, mapped, count, reserved uint32
}

// fiemapExtent is struct fiemap_extent of linux/fiemap.h.
type fiemapExtent struct {
	logical, physical, length uint64
	reserved64                [2]uint64
	flags                     uint32
	reserved                  [3]uint32
}

const (
	fiemapFlagSync        = 1     // FIEMAP_FLAG_SYNC
	fiemapExtentLast      = 1     // FIEMAP_EXTENT_LAST
	fiemapExtentUnwritten = 0x800 // FIEMAP_EXTENT_UNWRITTEN

	// fiemapRequest is FS_IOC_FIEMAP, _IOWR('f', 11, struct fiemap). Architectures
	// encode read and write in two ways, which are the same bits for both together.
	fiemapRequest = 0xc0000000 | unsafe.Sizeof(fiemap{})<<16 | 'f'<<8 | 11
)
