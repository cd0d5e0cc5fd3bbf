package main

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// uringTag is the build tag of the files with the peers on io_uring. They reach
// into package syscall with go:linkname, which the linker refuses unless told
// -checklinkname=0. So that plain "go run ." works the runner builds a second
// binary for them, with this tag and that flag: see buildTagged.
const uringTag = "uring"

// uringMissing tries io_uring_setup(2): many sandboxes refuse it.
func uringMissing() string {
	var params [120]byte // struct io_uring_params
	fd, _, errno := syscall.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return fmt.Sprintf("io_uring_setup: %v", errno)
	}
	syscall.Close(int(fd))
	return ""
}
