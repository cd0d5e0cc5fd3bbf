package file

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/ring"
	"github.com/seed-39be8cca/asyncfile/internal/seam"
)

// A Handle is an open file that operations are in flight on. New makes one, and Attach
// makes it fit for use. Its methods are safe for concurrent use from then on.
type Handle struct {
	// Owner is whose Handle it is: for who gets outcomes of several files.
	Owner any

	osf  *os.File
	name string
	fd   int // valid until osf is closed, which waits for users
	raw  syscall.RawConn

	kernel seam.File // makes the system calls on the contents; nil, but in tests: the running one does

	Traits
	refuse error       // what os.File answers WriteAt with in append mode
	cached atomic.Bool // whether a read may try the page cache without a wait

	directSet  bool // O_DIRECT was set here, and is to be taken back
	misaligned Misaligned
	// Companion is how a direct file comes at the page cache.
	Companion Companion
	// Seeker is for NextData, with a cursor that nobody else uses.
	Seeker Companion

	group *Group
	// Lane is what the Ring has for the file's device.
	Lane    *ring.Lane
	release func() error // gives back what Attach was given
	cleanup runtime.Cleanup

	drained chan struct{} // signalled when users of a closed file end; has room for one

	_     cacheLine    // what is above is mostly read
	users atomic.Int64 // operations begun and not ended; negative once closed
	_     cacheLine

	sequence sequence

	// Cursor is where calls that have no offset go.
	Cursor Cursor
}

// A cacheLine keeps what many processors write off the lines of what they read.
type cacheLine [64]byte

// closedBit in Handle.users says that Shut was called.
const closedBit = -1 << 63

// A Misaligned makes the error of a write that O_DIRECT does not allow: of its what,
// "offset" or "length", have bytes are no multiple of need. why says why the page cache
// could not take it.
type Misaligned func(what string, have int64, need int, why error) error

// New returns a Handle of osf, of which info is what Stat says.
func New(osf *os.File, info os.FileInfo, misaligned Misaligned) (*Handle, error) {
	f := &Handle{
		osf:        osf,
		name:       osf.Name(),
		misaligned: misaligned,
		drained:    make(chan struct{}, 1),
	}
	f.Align = aio.Alignment{Memory: 1, Offset: 1, ReadOffset: 1}
	mode := info.Mode()
	f.OnDisk = mode.IsRegular() || mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
	f.Companion.Reopen, f.Companion.SetDirect = aio.Reopen, aio.SetDirect
	f.Seeker.Reopen = aio.Reopen
	var err error
	if f.raw, err = osf.SyscallConn(); err != nil {
		return nil, err
	}
	if err := f.raw.Control(func(fd uintptr) { f.fd = int(fd) }); err != nil {
		return nil, err
	}
	_, f.refuse = osf.WriteAt(nil, 0)
	f.Cursor.init(osf, f.refuse != nil)
	return f, nil
}

// A Place is what a Handle runs on.
type Place struct {
	Group   *Group
	Kernel  bool         // operations go to the kernel context, if the Ring has one
	Alone   bool         // what the file waits for may never come: it shares no lane
	Release func() error // gives it back
	// KeepDirect leaves O_DIRECT set when the file is closed.
	KeepDirect bool
}

// Attach makes the Handle fit for use. info is what Stat says now.
func (f *Handle) Attach(p Place, info os.FileInfo) {
	f.directSet = f.directSet && !p.KeepDirect
	f.group, f.release = p.Group, p.Release
	f.OnKernel = p.Kernel && p.Group.ring.OnKernel()
	device, err := aio.Device(f.fd)
	f.Lane = p.Group.ring.LaneOf(device, !p.Alone && err == nil)
	f.learn(info)
	f.cleanup = runtime.AddCleanup(f, leftBehind.release, leftBehind{f.raw, f.directSet, f.Lane, f.release})
}

// leftBehind is what remains of a Handle that was dropped without Close.
type leftBehind struct {
	raw       syscall.RawConn // keeps the file open until then
	directSet bool
	lane      *ring.Lane
	ring      func() error // gives the Ring back
}

func (l leftBehind) release() {
	if l.directSet {
		l.raw.Control(func(fd uintptr) { aio.SetDirect(int(fd), false) })
	}
	l.lane.Release()
	go l.ring()
}

// Enter counts an operation in, and returns how many there are then. It reports false,
// and has counted nothing, if the file is closed.
func (f *Handle) Enter() (users int64, open bool) {
	if users = f.users.Add(1); users < 0 {
		f.Leave()
		return 0, false
	}
	return users, true
}

// Leave counts an operation out, and tells Close when it was the last.
func (f *Handle) Leave() {
	if f.users.Add(-1) == closedBit {
		select {
		case f.drained <- struct{}{}:
		default:
		}
	}
}

// Shut refuses new operations. It reports false if that was so before.
func (f *Handle) Shut() bool { return f.users.Or(closedBit) >= 0 }

// Close waits for those in flight after Shut, and closes the file.
func (f *Handle) Close() error {
	f.group.ring.Count(1)
	for f.users.Load() != closedBit {
		f.Lane.Ask()
		<-f.drained
	}
	f.group.ring.Count(-1)
	f.cleanup.Stop()
	f.UnsetDirect()
	f.Lane.Release()
	return Joined(f.LeaveKernel(), f.osf.Close(), f.Companion.close(), f.Seeker.close(), f.release())
}

// Joined is errors.Join, but for one error, which it returns as it is.
func Joined(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// Users returns how many operations have begun and not ended; once Shut was called it is
// less than 0.
func (f *Handle) Users() int64 { return f.users.Load() }

// Closed reports whether Shut was called.
func (f *Handle) Closed() bool { return f.users.Load() < 0 }

// Name returns the name that the file was opened with.
func (f *Handle) Name() string { return f.name }

// OS returns the os.File beneath.
func (f *Handle) OS() *os.File { return f.osf }

// Fd returns the descriptor, which is valid until Close, or while Enter counts.
func (f *Handle) Fd() int { return f.fd }

// Appends reports whether the file is in append mode.
func (f *Handle) Appends() bool { return f.refuse != nil }

// Size returns the size of the file in bytes, or 0 where it has none.
func (f *Handle) Size() int64 {
	if size, err := aio.Size(f.fd); err == nil {
		return size
	}
	info, err := f.osf.Stat() // not Linux
	if err != nil {
		return 0
	}
	return info.Size()
}

// PathError wraps err as os.File does: io.EOF bare, everything else with the
// operation and the path.
func (f *Handle) PathError(kind Kind, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: kind.ErrorOp(), Path: f.name, Err: err}
}
