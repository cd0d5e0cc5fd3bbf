//go:build !linux

package aio

import (
	"math"
	"os"
	"syscall"
)

// There are no such flags here.
const (
	ODirect  = 0
	OPath    = 0
	OTmpfile = 0
)

// errUnsupported is errors.ErrUnsupported, as syscall.Errno matches it.
const errUnsupported = syscall.ENOSYS

// Setup returns ENOSYS: native AIO is a Linux interface.
func Setup(int) (Context, error) { return nil, errUnsupported }

// An EventFD cannot be made here.
type EventFD struct{}

// NewEventFD returns ENOSYS.
func NewEventFD() (*EventFD, error) { return nil, errUnsupported }

// FD returns -1.
func (*EventFD) FD() int { return -1 }

// Wait returns ENOSYS.
func (*EventFD) Wait() error { return errUnsupported }

// Signal returns ENOSYS.
func (*EventFD) Signal() error { return errUnsupported }

// Close returns ENOSYS.
func (*EventFD) Close() error { return errUnsupported }

// PreadNoWait returns ENOSYS.
func PreadNoWait(int, []byte, int64) (int, error) { return 0, errUnsupported }

// Preadv returns ENOSYS.
func Preadv(int, [][]byte, int64) (int, error) { return 0, errUnsupported }

// Pwritev returns ENOSYS.
func Pwritev(int, [][]byte, int64) (int, error) { return 0, errUnsupported }

// Fdatasync returns ENOSYS.
func Fdatasync(int) error { return errUnsupported }

// Allocate returns ENOSYS.
func Allocate(int, int64, int64) error { return errUnsupported }

// FileSizeLimit returns the largest number.
func FileSizeLimit() int64 { return math.MaxInt64 }

// StatusFlags returns ENOSYS.
func StatusFlags(int) (int, error) { return 0, errUnsupported }

// SetDirect returns ENOSYS.
func SetDirect(int, bool) error { return errUnsupported }

// KeepAccessTime calls read.
func KeepAccessTime(_ int, read func()) { read() }

// FileSystem returns ENOSYS.
func FileSystem(int) (FSType, error) { return 0, errUnsupported }

// DirectAlignment reports false.
func DirectAlignment(int) (Alignment, bool) { return Alignment{}, false }

// Limits returns ENOSYS.
func Limits() (nr, max int64, err error) { return 0, 0, errUnsupported }

// BlockSize returns 0.
func BlockSize(int) int64 { return 0 }

// Reserve returns ENOSYS.
func Reserve(int, int64, int64) error { return errUnsupported }

// Device returns ENOSYS.
func Device(int) (uint64, error) { return 0, errUnsupported }

// Size returns ENOSYS.
func Size(int) (int64, error) { return 0, errUnsupported }

// Pread returns ENOSYS.
func Pread(int, []byte, int64) (int, error) { return 0, errUnsupported }

// Pwrite returns ENOSYS.
func Pwrite(int, []byte, int64) (int, error) { return 0, errUnsupported }

// Reopen returns ENOSYS.
func Reopen(int) (int, error) { return -1, errUnsupported }

// Unwritten returns ENOSYS.
func Unwritten(int, int64) (bool, error) { return false, errUnsupported }

// Flush returns ENOSYS.
func Flush(int, int64, int64) error { return errUnsupported }

// WriteBack returns ENOSYS.
func WriteBack(int, int64, int64) error { return errUnsupported }

// Uncache does nothing.
func Uncache(int, int64, int64) {}

func adviseHuge([]byte) {}

// PunchHole returns ENOSYS.
func PunchHole(int, int64, int64) error { return errUnsupported }

// ZeroRange returns ENOSYS.
func ZeroRange(int, int64, int64) error { return errUnsupported }

// NextData returns ENOSYS.
func NextData(int, int64) (from, to int64, err error) { return 0, 0, errUnsupported }

// MaxPrefetch is how much one Prefetch would read.
const MaxPrefetch = 128 << 10

// Prefetch returns ENOSYS.
func Prefetch(int, int64, int64) error { return errUnsupported }

// TryLock returns ENOSYS.
func TryLock(int) error { return errUnsupported }

// Owner reports false.
func Owner(os.FileInfo) (uid, gid int, ok bool) { return 0, 0, false }
