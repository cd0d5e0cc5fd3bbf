package aio

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Flags of open(2) that package os has no name for; they have other values on
// almost every architecture.
const (
	ODirect  = unix.O_DIRECT
	OPath    = unix.O_PATH
	OTmpfile = unix.O_TMPFILE // more than one bit
)

// PreadNoWait wraps preadv2(2) with RWF_NOWAIT: it reads what the page cache
// has and returns EAGAIN where that is nothing. EOPNOTSUPP says that the file
// system cannot tell, ENOSYS that the kernel is older than 4.6; both are
// errors.ErrUnsupported.
//
// A count of 0 does not prove the end of the file: Linux 5.9 and 5.10 return it
// for a page that is not cached (readv(2), BUGS). Neither does a short count.
func PreadNoWait(fd int, p []byte, off int64) (int, error) {
	// preadv2 takes -1 for the position of the open file.
	if off < 0 {
		return 0, syscall.EINVAL
	}
	v := MakeIovec(p)
	low, high := splitOffset(off)
	for {
		// A Syscall, since ext4 sleeps for cold metadata in spite of the flag.
		n, _, errno := syscall.Syscall6(unix.SYS_PREADV2, uintptr(fd),
			uintptr(unsafe.Pointer(&v)), 1, low, high, unix.RWF_NOWAIT)
		if errno == syscall.EINTR {
			continue
		}
		runtime.KeepAlive(p)
		return count(n, errno)
	}
}

// splitOffset returns the pos_l and pos_h of preadv2. Each is an unsigned long;
// where one holds the whole offset the kernel shifts the other out. Shifting
// by the word size in two steps is that shift for either size.
func splitOffset(off int64) (low, high uintptr) {
	return uintptr(off), uintptr(uint64(off) >> (bitsPerWord / 2) >> (bitsPerWord / 2))
}

const bitsPerWord = 8 * unsafe.Sizeof(uintptr(0))

// Preadv wraps one preadv(2) into the first MaxIovecs of bufs.
func Preadv(fd int, bufs [][]byte, off int64) (n int, err error) {
	bufs = bufs[:min(len(bufs), MaxIovecs)]
	err = ignoringEINTR(func() (err error) {
		n, err = unix.Preadv(fd, bufs, off)
		return err
	})
	return max(n, 0), err // n is -1 beside an error
}

// Pwritev wraps one pwritev(2) of the first MaxIovecs of bufs.
func Pwritev(fd int, bufs [][]byte, off int64) (n int, err error) {
	bufs = bufs[:min(len(bufs), MaxIovecs)]
	err = ignoringEINTR(func() (err error) {
		n, err = unix.Pwritev(fd, bufs, off)
		return err
	})
	return max(n, 0), err
}

// Fdatasync wraps fdatasync(2).
func Fdatasync(fd int) error {
	return ignoringEINTR(func() error { return unix.Fdatasync(fd) })
}

// Allocate wraps fallocate(2) with mode 0: it allocates the range and makes the
// file at least off+size long. Only with the length does an ext4 direct write
// into the range stop being one that extends the file, and so a blocking one.
func Allocate(fd int, off, size int64) error {
	return ignoringEINTR(func() error { return unix.Fallocate(fd, 0, off, size) })
}

// Reserve wraps fallocate(2) with FALLOC_FL_KEEP_SIZE: it allocates the range and
// leaves the size of the file alone.
func Reserve(fd int, off, size int64) error {
	return ignoringEINTR(func() error { return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, size) })
}

// FileSizeLimit returns how large the process may make a file, in bytes:
// RLIMIT_FSIZE of getrlimit(2).
func FileSizeLimit() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil || limit.Cur > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(limit.Cur)
}

// StatusFlags wraps fcntl(2) with F_GETFL: the access mode and the O_ flags.
func StatusFlags(fd int) (int, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return 0, err
	}
	return flags, nil
}

// SetDirect turns O_DIRECT on or off, for everyone who shares the open file.
// EINVAL says that the file system has no direct I/O.
func SetDirect(fd int, on bool) error { return setStatusFlag(fd, ODirect, on) }

// setStatusFlag wraps fcntl(2) with F_SETFL. It reads the flags and writes them
// back: two callers at once may lose each other's change.
func setStatusFlag(fd, flag int, on bool) error {
	flags, err := StatusFlags(fd)
	if err != nil {
		return err
	}
	if on {
		flags |= flag
	} else {
		flags &^= flag
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	return err
}

// KeepAccessTime calls read, which reads from fd, with O_NOATIME set, so that
// nobody can tell from the file's access time. The kernel lets only its owner, and
// who is privileged, set the flag.
func KeepAccessTime(fd int, read func()) {
	flags, err := StatusFlags(fd)
	if err == nil && flags&unix.O_NOATIME == 0 && setStatusFlag(fd, unix.O_NOATIME, true) == nil {
		defer setStatusFlag(fd, unix.O_NOATIME, false)
	}
	read()
}

// FileSystem wraps fstatfs(2): the type of the file system that fd is on.
func FileSystem(fd int) (FSType, error) {
	var st unix.Statfs_t
	err := ignoringEINTR(func() error { return unix.Fstatfs(fd, &st) })
	if err != nil {
		return 0, err
	}
	// A word that is signed on most 32-bit architectures: a magic with the top
	// bit set (btrfs) would not compare equal there without the detour.
	return FSType(uint32(st.Type)), nil
}

// DirectAlignment wraps statx(2) with STATX_DIOALIGN (Linux 6.1) and
// STATX_DIO_READ_ALIGN. It reports false where the kernel does not say, as for
// btrfs and tmpfs, and where it says that the file has no direct I/O.
func DirectAlignment(fd int) (Alignment, bool) {
	var st unix.Statx_t
	err := ignoringEINTR(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH,
			unix.STATX_DIOALIGN|unix.STATX_DIO_READ_ALIGN, &st)
	})
	if err != nil {
		return Alignment{}, false
	}
	return statxAlignment(&st)
}

func statxAlignment(st *unix.Statx_t) (Alignment, bool) {
	if st.Mask&unix.STATX_DIOALIGN == 0 ||
		st.Dio_mem_align == 0 || st.Dio_offset_align == 0 {
		return Alignment{}, false
	}
	a := Alignment{
		Memory:     int(st.Dio_mem_align),
		Offset:     int(st.Dio_offset_align),
		ReadOffset: int(st.Dio_offset_align),
	}
	if st.Mask&unix.STATX_DIO_READ_ALIGN != 0 && st.Dio_read_offset_align != 0 {
		a.ReadOffset = int(st.Dio_read_offset_align)
	}
	return a, true
}

// Limits reads /proc/sys/fs/aio-nr and /proc/sys/fs/aio-max-nr: how many
// requests the contexts of the machine were set up for, and how many they may.
func Limits() (nr, max int64, err error) {
	if nr, err = readNumber("/proc/sys/fs/aio-nr"); err != nil {
		return 0, 0, err
	}
	if max, err = readNumber("/proc/sys/fs/aio-max-nr"); err != nil {
		return 0, 0, err
	}
	return nr, max, nil
}

func readNumber(name string) (int64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
}

// ignoringEINTR repeats a call that a signal cut short. The Go runtime's
// handlers ask for SA_RESTART, which not every file system honours.
func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

// BlockSize returns the block size of fd's file system in bytes, or 0 where it
// cannot be told (fstatfs(2), f_bsize).
func BlockSize(fd int) int64 {
	var st unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return 0
	}
	return int64(st.Bsize)
}

// Size returns the size of the file in bytes (fstat(2)), or that of the device
// where it is a block device, for which stat(2) has 0 (BLKGETSIZE64: moving a
// cursor to the end would move that of everyone who shares the open file). It
// does not allocate, except on loong64: x/sys has to go through statx(2) and its
// path there.
func Size(fd int) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return st.Size, nil
	}
	var size uint64
	if err := ioctl(fd, unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return 0, err
	}
	return int64(size), nil
}

// ioctl wraps ioctl(2) with a pointer, which x/sys has for its own types only.
func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	return ignoringEINTR(func() error {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		if errno != 0 {
			return errno
		}
		return nil
	})
}

// Pread wraps pread(2), repeated while it is interrupted.
func Pread(fd int, p []byte, off int64) (n int, err error) {
	err = ignoringEINTR(func() (err error) {
		n, err = unix.Pread(fd, p, off)
		return err
	})
	return max(n, 0), err
}

// Pwrite wraps pwrite(2), repeated while it is interrupted.
func Pwrite(fd int, p []byte, off int64) (n int, err error) {
	err = ignoringEINTR(func() (err error) {
		n, err = unix.Pwrite(fd, p, off)
		return err
	})
	return max(n, 0), err
}

// Reopen opens the file that fd is open on once more, for writing only if that
// may write, without O_DIRECT, and with those of the other status flags that
// writes obey. It goes through /proc/self/fd, which works for files that have no
// name any more, but asks for permission as any open(2) does.
func Reopen(fd int) (int, error) {
	flags, err := StatusFlags(fd)
	if err != nil {
		return -1, err
	}
	// The rest would ask for something else here: O_NOFOLLOW refuses a link, which
	// the name is, O_TMPFILE makes another file, O_NOATIME is for owners.
	flags &= unix.O_ACCMODE | unix.O_APPEND | unix.O_DSYNC | unix.O_SYNC
	if flags&unix.O_ACCMODE == unix.O_RDWR {
		flags ^= unix.O_RDWR ^ unix.O_WRONLY
	}
	name := "/proc/self/fd/" + strconv.Itoa(fd)
	fd = -1
	err = ignoringEINTR(func() (err error) {
		fd, err = unix.Open(name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// WriteBack is Flush with sync_file_range(2), or where there is none with
// fdatasync(2). It takes failures away from a later fsync(2) of fd, so it is for a
// descriptor whose fsync nobody relies on. It returns also a failure of before that
// the open file was not told yet.
func WriteBack(fd int, off, size int64) error {
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	call := func() error { return unix.SyncFileRange(fd, off, size, flags) }
	err := ignoringEINTR(call)
	switch err {
	case nil:
	case unix.ENOSYS, unix.EPERM, unix.EINVAL:
		return Fdatasync(fd)
	default:
		ignoringEINTR(call) // a failure of before has ended it before it wrote
	}
	return err
}

// Uncache drops the clean pages of the range from the page cache: a hint. It
// waits for nothing, and tells of nothing.
func Uncache(fd int, off, size int64) { unix.Fadvise(fd, off, size, unix.FADV_DONTNEED) }

// Device returns the number of the device that the file is on (fstat(2), st_dev),
// or for a block device its own.
func Device(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return uint64(st.Rdev), nil
	}
	return uint64(st.Dev), nil
}
