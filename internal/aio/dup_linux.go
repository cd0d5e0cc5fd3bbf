package aio

import "golang.org/x/sys/unix"

// Dup wraps fcntl(2) with F_DUPFD_CLOEXEC: another descriptor of the open file, which
// no child inherits by chance.
func Dup(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}
