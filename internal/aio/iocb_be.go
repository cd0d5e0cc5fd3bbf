//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package aio

import "structs"

// keyFlags is the pair aio_key, aio_rw_flags. It once was the halves of a
// single u64 (PADDED in aio_abi.h), so its order follows the byte order.
type keyFlags struct {
	_ structs.HostLayout

	rwFlags uint32 // RWF_* (Linux 4.13; must be 0 before)
	key     uint32 // set to 0 by io_submit, which fails with EFAULT if it cannot
}
