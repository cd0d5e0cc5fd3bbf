package aio

import "golang.org/x/sys/unix"

// PunchHole wraps fallocate(2) with FALLOC_FL_PUNCH_HOLE: it frees the whole blocks of
// the range, and writes zeros, in the page cache, into those that it covers in part.
// The size of the file stays. EOPNOTSUPP says that the file system has no such thing.
func PunchHole(fd int, off, size int64) error {
	return ignoringEINTR(func() error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size)
	})
}

// ZeroRange wraps fallocate(2) with FALLOC_FL_ZERO_RANGE: the whole blocks of the range
// are allocated and marked as never written, the rest as in PunchHole. It makes the
// file at least off+size long. EOPNOTSUPP as there.
func ZeroRange(fd int, off, size int64) error {
	return ignoringEINTR(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, off, size) })
}

// NextData returns the first range of data that ends behind off, cut off there, by
// lseek(2) with SEEK_DATA and SEEK_HOLE. It moves the cursor of the open file. ENXIO
// says that there is none, EINVAL that the file system does not tell.
func NextData(fd int, off int64) (from, to int64, err error) {
	if from, err = unix.Seek(fd, off, unix.SEEK_DATA); err != nil {
		return 0, 0, err
	}
	if to, err = unix.Seek(fd, from, unix.SEEK_HOLE); err != nil {
		return 0, 0, err
	}
	return from, to, nil
}

// MaxPrefetch is how many bytes the kernel reads ahead for one Prefetch at least: no
// more than the larger of the read-ahead window and the device's largest request
// (force_page_cache_ra, mm/readahead.c), which are this where nobody has set them
// (VM_READAHEAD_PAGES, linux/pagemap.h).
const MaxPrefetch = 128 << 10

// Prefetch wraps posix_fadvise(2) with POSIX_FADV_WILLNEED: it begins to read the first
// MaxPrefetch bytes of the range into the page cache, size at least 1, and does not
// wait for them.
func Prefetch(fd int, off, size int64) error {
	return ignoringEINTR(func() error { return unix.Fadvise(fd, off, size, unix.FADV_WILLNEED) })
}
