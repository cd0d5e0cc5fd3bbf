//go:build !linux

package aio

// Dup returns ENOSYS.
func Dup(int) (int, error) { return -1, errUnsupported }
