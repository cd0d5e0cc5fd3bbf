package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
)

// A Place is where a file is, and what can be done with files there.
type Place struct {
	Name       string // as it was given to Path
	Kind       string // "directory", "file" or "device"
	FileSystem string // its type, as mount(8) has it: "ext4"; this and the next two are empty for a device
	BlockSize  int64  // of the file system, in bytes (statfs(2), f_bsize)
	Mount      Mount
	Device     *Device    // below the file system; nil where it has none: tmpfs, NFS
	Throttles  []Throttle // of the device, that the cgroups of this process set

	Direct    error        // nil: O_DIRECT works
	Alignment Alignment    // what O_DIRECT asks for; zeros where it does not work, or nobody tells
	Features  []Feature    // of native AIO on such a file
	Atomic    Atomic       // torn-write protection
	Submit    []Submission // what io_submit(2) does on such a file
	Scratch   error        // nil: writes were tried on a file without a name; or why they were not
}

// A Mount is a line of proc_pid_mountinfo(5). All fields are empty where the kernel
// does not tell.
type Mount struct{ Point, Source, Options string }

// A Feature is something that native AIO may be able to do with a file.
type Feature struct {
	Name string // of the kernel: "IOCB_CMD_FSYNC", "RWF_DSYNC"
	Err  error  // nil: it works; a *Refusal; or ErrNotTried in an error that says why
}

// An Alignment is what O_DIRECT asks for, in bytes.
type Alignment struct {
	Memory     int  // of the address of a buffer
	Offset     int  // of the offset and length of a write
	ReadOffset int  // of those of a read
	FromKernel bool // statx(2) has told it, with STATX_DIOALIGN
}

// Atomic is what statx(2) says of writes with RWF_ATOMIC (STATX_WRITE_ATOMIC): all or
// nothing, whatever happens. Min and Max are in bytes, powers of two.
type Atomic struct {
	Err      error // nil: there are such writes
	Min, Max int
}

// Path tries what can be done with the file or device name, or with files in the
// directory name. Of a file or device it only reads; for what writes, it makes a file
// without a name in the directory, or beside the file. Where that cannot be, Scratch
// says why, and what needs it answers ErrNotTried.
//
// The error is that of os.Open, one that answers errors.Is for
// errors.ErrUnsupported where name is a pipe or a socket, or ctx.Err(): Path looks at
// ctx between any two calls, and a device that does not answer may hold up each.
func Path(ctx context.Context, name string) (*Place, error) {
	p, f, err := locate(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dir := name // for what is written
	switch p.Kind {
	case "file":
		dir = filepath.Dir(name)
	case "device":
		dir = ""
	}
	return p, p.try(ctx, f, dir)
}

// Locate is Path without the trials: it reads what is known of the place, and neither
// reads nor writes files there. Direct and what follows it in the Place stay zero. The
// error is that of Path.
func Locate(name string) (*Place, error) {
	p, f, err := locate(name)
	if err != nil {
		return nil, err
	}
	return p, f.Close()
}

func locate(name string) (*Place, *os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	p := &Place{Name: name}
	switch mode := info.Mode(); {
	case mode.IsDir():
		p.Kind = "directory"
	case mode.IsRegular():
		p.Kind = "file"
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		p.Kind = "device"
	default:
		return nil, nil, &fs.PathError{Op: "probe", Path: name, Err: fmt.Errorf("neither a file, a directory nor a block device: %w", errors.ErrUnsupported)}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	p.look(f)
	return p, f, nil
}

// look fills in what can be read, without trying anything.
func (p *Place) look(f *os.File) {
	fd := int(f.Fd())
	if p.Kind != "device" {
		if fs, err := aio.FileSystem(fd); err == nil {
			p.FileSystem = fs.String()
		}
		p.BlockSize = aio.BlockSize(fd)
		p.Mount = mountOf(fd)
	}
	number, err := aio.Device(fd)
	if err != nil {
		return
	}
	if p.Device = deviceOf(number, p.Mount.Source); p.Device != nil {
		p.Throttles = throttlesOf(p.Device.disk)
	}
}
