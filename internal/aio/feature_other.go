//go:build !linux

package aio

import "os"

// TryIOURing returns ENOSYS: io_uring is a Linux interface.
func TryIOURing() error { return errUnsupported }

// AtomicWrites reports false.
func AtomicWrites(int) (AtomicLimits, bool) { return AtomicLimits{}, false }

// MountID reports false.
func MountID(int) (uint64, bool) { return 0, false }

// SplitDevice returns zeros.
func SplitDevice(uint64) (major, minor uint32) { return 0, 0 }

// KernelRelease returns "".
func KernelRelease() string { return "" }

// OpenScratch returns ENOSYS.
func OpenScratch(string) (*os.File, error) { return nil, errUnsupported }
