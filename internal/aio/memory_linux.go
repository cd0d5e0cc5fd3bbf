package aio

import "golang.org/x/sys/unix"

// adviseHuge asks for huge pages beneath p, by madvise(2). It is a hint: a kernel
// without them answers EINVAL, and where the administrator has turned them off
// (/sys/kernel/mm/transparent_hugepage/enabled) it does nothing.
func adviseHuge(p []byte) { unix.Madvise(p, unix.MADV_HUGEPAGE) }
