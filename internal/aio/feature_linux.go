package aio

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TryIOURing calls io_uring_setup(2) for one entry and closes what it returns. The
// error is the errno of the call.
func TryIOURing() error {
	var params [120]byte // struct io_uring_params of linux/io_uring.h, all zero
	fd, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

// AtomicWrites wraps statx(2) with STATX_WRITE_ATOMIC (Linux 6.11). It reports false
// where the kernel does not say.
func AtomicWrites(fd int) (AtomicLimits, bool) {
	st, err := statx(fd, unix.STATX_WRITE_ATOMIC)
	if err != nil || st.Mask&unix.STATX_WRITE_ATOMIC == 0 {
		return AtomicLimits{}, false
	}
	return AtomicLimits{
		Min:      int(st.Atomic_write_unit_min),
		Max:      int(st.Atomic_write_unit_max),
		Segments: int(st.Atomic_write_segments_max),
	}, true
}

// MountID wraps statx(2) with STATX_MNT_ID (Linux 5.8): the number of the mount in
// /proc/self/mountinfo. It reports false where the kernel does not say.
func MountID(fd int) (uint64, bool) {
	st, err := statx(fd, unix.STATX_MNT_ID)
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, false
	}
	return st.Mnt_id, true
}

func statx(fd, mask int) (st unix.Statx_t, err error) {
	err = ignoringEINTR(func() error { return unix.Statx(fd, "", unix.AT_EMPTY_PATH, mask, &st) })
	return st, err
}

// SplitDevice returns the major and minor number of a device.
func SplitDevice(device uint64) (major, minor uint32) {
	return unix.Major(device), unix.Minor(device)
}

// KernelRelease returns the release of the kernel, as uname(2) has it, or "".
func KernelRelease() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// OpenScratch opens a new file in dir, which has no name, for reading and writing:
// O_TMPFILE of open(2), or where the file system has none a file that is unlinked at
// once.
func OpenScratch(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|unix.O_EXCL|os.O_RDWR, 0o600)
	if err == nil {
		return f, nil
	}
	if f, err = os.CreateTemp(dir, ".asyncfile-*"); err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
