package disk

import (
	"context"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Files is a file system of files in memory, whose server, this process, may fail
// or leave requests unanswered, as a server of NFS does that has gone away.
type Files struct {
	Faults
	Dir string // where it is mounted
}

// NewFiles mounts an empty file system, until the test ends.
func NewFiles(t testing.TB) *Files {
	t.Helper()
	f := &Files{}
	f.Dir = serve(t, &folder{faults: &f.Faults}, &f.Faults)
	return f
}

// Hang has reads, writes, fsync and questions for a file's size wait for Answer.
func (f *Files) Hang() { f.Inject(On(Fault{Hang: true}, Read, Write, Flush, Stat)) }

// HangSize has only questions for a file's size wait for Answer.
func (f *Files) HangSize() { f.Inject(On(Fault{Hang: true}, Stat)) }

// Answer has the server answer everything.
func (f *Files) Answer() { f.Inject(nil) }

type folder struct {
	fs.Inode
	faults *Faults
}

func (d *folder) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child := d.NewInode(ctx, &file{faults: d.faults}, fs.StableAttr{Mode: syscall.S_IFREG})
	return child, nil, 0, 0
}

func (d *folder) Unlink(ctx context.Context, name string) syscall.Errno { return 0 }

// A file meets faults before anything else.
type file struct {
	fs.MemRegularFile
	faults *Faults
	mu     sync.Mutex // of Data
}

func (f *file) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (f *file) Read(ctx context.Context, h fs.FileHandle, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if met := f.faults.meet(Request{Kind: Read, Offset: off, Length: len(p)}); met.Err != 0 {
		return nil, met.Err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := copy(p, f.Data[min(off, int64(len(f.Data))):])
	return fuse.ReadResultData(p[:n]), 0
}

func (f *file) Write(ctx context.Context, h fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	if met := f.faults.meet(Request{Kind: Write, Offset: off, Length: len(p), Data: p}); met.Err != 0 {
		return 0, met.Err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MemRegularFile.Write(ctx, h, p, off)
}

func (f *file) Fsync(ctx context.Context, h fs.FileHandle, flags uint32) syscall.Errno {
	return f.faults.meet(Request{Kind: Flush}).Err
}

func (f *file) Getattr(ctx context.Context, h fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if met := f.faults.meet(Request{Kind: Stat}); met.Err != 0 {
		return met.Err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MemRegularFile.Getattr(ctx, h, out)
}

func (f *file) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.MemRegularFile.Setattr(ctx, h, in, out)
}

// Allocate is what this server has not.
func (f *file) Allocate(ctx context.Context, h fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	return syscall.ENOSYS
}
