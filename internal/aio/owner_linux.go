package aio

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// TryLock wraps flock(2) with LOCK_EX and LOCK_NB: the open file has the lock until it is
// closed, which the end of the process does, too. EWOULDBLOCK says that another open
// file has it.
func TryLock(fd int) error {
	return ignoringEINTR(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
}

// Owner returns the user and the group that own a file.
func Owner(info os.FileInfo) (uid, gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}
