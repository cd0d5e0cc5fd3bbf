//go:build race

package aio

import (
	"runtime"
	"sync"
	"unsafe"
)

// RaceEnabled is whether the race detector watches.
const RaceEnabled = true

// A Loan tells the race detector of memory that the kernel has from Lend to
// Return. The detector knows goroutines, so a goroutine stands for the kernel: it
// reads, or writes, the memory at a moment that is ordered after Lend and before
// Return, and with nothing between. So whatever a program does to the memory
// meanwhile, in any goroutine, is a race with it, and the report says where that
// goroutine, and so the operation, began. What it does when the operation has in
// fact ended may go unseen: some lock on the way then orders it after Return.
//
// In a program that was not built with -race it is nothing.
type Loan struct {
	mu sync.Mutex // held by the kernel's goroutine
}

// Lend lends p and bufs, to be written where written, and else to be read.
func (l *Loan) Lend(written bool, p []byte, bufs [][]byte) {
	l.mu.Lock()
	go func() {
		defer l.mu.Unlock()
		touch(written, p)
		for _, p := range bufs {
			touch(written, p)
		}
	}()
	// It has to be over when Lend returns, since the detector has room for 8,128
	// goroutines, but the caller is not to be ordered after it: what
	// it does next is what shall be seen.
	runtime.RaceDisable()
	l.mu.Lock()
	l.mu.Unlock() // the wait is all
	runtime.RaceEnable()
}

// Return orders the calling goroutine after what the kernel did. It is called
// before the library touches the memory, and before it says that the operation
// has ended; once or more.
func (l *Loan) Return() {
	l.mu.Lock()
	l.mu.Unlock() // the order is all
}

// Written tells the race detector that a system call which it does not know has
// written p.
func Written(p []byte) { touch(true, p) }

// touch has the calling goroutine read or write p, as the race detector sees
// it. The memory itself is left alone, so it may be unmapped, or the kernel's.
func touch(written bool, p []byte) {
	switch at := unsafe.Pointer(unsafe.SliceData(p)); {
	case len(p) == 0:
	case written:
		runtime.RaceWriteRange(at, len(p))
	default:
		runtime.RaceReadRange(at, len(p))
	}
}
