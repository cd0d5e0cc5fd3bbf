package file

import (
	"os"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// Traits is what an open file is like, as far as it matters to what is in flight on it.
// It does not change once the Handle is in use.
type Traits struct {
	OnDisk   bool // a regular file or a block device: it has offsets, and native AIO a meaning
	OnKernel bool // operations go to the kernel context, not to workers
	Seekless bool // not a regular file: it has no end to append at
	InMemory bool // on tmpfs: there is nothing to wait for

	Direct bool          // it bypasses the page cache
	Align  aio.Alignment // which then asks for this; otherwise for 1
	Mixed  bool          // direct and open for writing: even reads have to keep off others

	ResizesAlone bool     // Truncate and Preallocate wait for what is in flight: see internal/order
	Blocks       Blocking // on native AIO
}

// Blocking says which direct writes block in io_submit.
type Blocking struct {
	All    bool
	Unit   int64 // those that are not of whole units of so many bytes
	Beyond bool  // those that end beyond the end of the file, for which it is extended first
}

// learn finds out from the file system which operations block where.
func (f *Handle) learn(info os.FileInfo) {
	regular := info.Mode().IsRegular()
	f.Seekless = !regular
	var writable bool
	var block int64
	if f.Direct {
		flags, err := aio.StatusFlags(f.fd)
		writable = err != nil || flags&(os.O_WRONLY|os.O_RDWR) != 0
		block = aio.BlockSize(f.fd)
	}
	f.sequence.init(f.group, max(block, int64(os.Getpagesize())))
	f.Mixed = writable // a block device, too
	system, err := aio.FileSystem(f.fd)
	if err != nil || !regular {
		return
	}
	f.sequence.resized(info.Size())
	f.InMemory = system == aio.Tmpfs
	f.cached.Store(!f.Direct && !f.InMemory)
	f.ResizesAlone = writable
	if !f.OnKernel || !writable {
		return
	}
	switch system {
	case aio.Tmpfs: // copies memory, whatever the offset
	case aio.Btrfs: // falls back to buffered writes, and flushes them
		f.Blocks.All = true
	case aio.XFS: // extends without waiting
		f.Blocks.Unit = block
	default: // ext4, and what is not known to do better
		f.Blocks.Unit = block
		f.Blocks.Beyond = true
	}
}
