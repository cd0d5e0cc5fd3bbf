package model

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
	"golang.org/x/sys/unix"
)

// childEnv names, in a child process of a test, what it is to work on.
const childEnv = "ASYNCFILE_FILTER_CHILD"

// TestFilteredLate has a process install a system call filter that refuses
// io_getevents and io_destroy while reads of a throttled device are in flight.
// Their buffers stay with the kernel, which writes into them when the throttle is
// lifted: into nobody else's memory.
func TestFilteredLate(t *testing.T) {
	if child := os.Getenv(childEnv); child != "" {
		device, group, _ := strings.Cut(child, ":")
		filteredChild(t, device, group)
		return
	}
	fs := disks.FS{Name: "filter", Sector: 512, Size: 1 << 20}
	disks.NeedsRoot(t)
	group := filepath.Join("/sys/fs/cgroup/blkio", fmt.Sprint("asyncfile-", os.Getpid()))
	if _, err := os.Stat(filepath.Join(filepath.Dir(group), "blkio.throttle.read_bps_device")); err != nil {
		t.Skipf("no throttle of block devices: %v", err)
	}
	device := fs.Loop(t)
	if err := os.WriteFile(device, filterData(), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(group)
	cmd := exec.Command(os.Args[0], "-test.run=^TestFilteredLate$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+device+":"+group, "ASYNCFILE_VERIFY=1")
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

func filterData() []byte { return bytes.Repeat([]byte("0123456789abcde\n"), 16<<10) }

func filteredChild(t *testing.T, device, group string) {
	throttle := func(bps int) {
		var st unix.Stat_t
		if err := unix.Stat(device, &st); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d:%d %d", unix.Major(st.Rdev), unix.Minor(st.Rdev), bps)
		if err := os.WriteFile(filepath.Join(group, "blkio.throttle.read_bps_device"), []byte(text), 0); err != nil {
			t.Skipf("no throttle: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(filepath.Join(filepath.Dir(group), "cgroup.procs"), []byte("0"), 0)
	ring, err := asyncfile.NewRing(asyncfile.WithBackend(asyncfile.BackendAIO), asyncfile.WithTimeout(time.Millisecond))
	if err != nil {
		t.Skip(err)
	}
	f, err := asyncfile.OpenFile(device, os.O_RDWR, 0, asyncfile.WithRing(ring), asyncfile.WithDirect(asyncfile.DirectRequire))
	if err != nil {
		t.Fatal(err)
	}
	const long = 64 << 10 // at 8 KiB a second
	throttle(8 << 10)
	defer throttle(0)
	straight, odd := asyncfile.AlignedBuffer(long), asyncfile.AlignedBuffer(4097)[1:]
	futures := f.Submit(
		asyncfile.Op{Kind: asyncfile.OpRead, Buf: straight},
		asyncfile.Op{Kind: asyncfile.OpRead, Buf: odd, Offset: long})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := asyncfile.WaitAny(ctx, futures...); !errors.Is(err, context.DeadlineExceeded) {
		t.Skipf("the throttle lets reads pass: %v", err)
	}
	refuse(t, unix.SYS_IO_GETEVENTS, unix.SYS_IO_DESTROY)
	for i, future := range futures {
		if n, err := future.Wait(); n != 0 || !errors.Is(err, asyncfile.ErrBufferLost) || !errors.Is(err, syscall.EPERM) {
			t.Errorf("read %d = %d, %v; want %v", i, n, err, asyncfile.ErrBufferLost)
		}
	}
	throttle(0)
	// The kernel writes, late. Until then others take bounce buffers, which
	// panic if the kernel has written into one.
	for deadline := time.Now().Add(30 * time.Second); !bytes.Equal(straight, filterData()[:long]); {
		if time.Now().After(deadline) {
			t.Fatal("the kernel did not write after all: this test shows nothing")
		}
		runtime.GC()
		if _, err := f.ReadAt(make([]byte, 100), 1).Wait(); !errors.Is(err, syscall.EPERM) {
			t.Errorf("a later read: %v", err)
		}
	}
	for range 20 {
		f.ReadAt(make([]byte, 100), 1).Wait()
	}
	if !bytes.Equal(odd, make([]byte, len(odd))) {
		t.Error("a bounced read was copied to the caller after it had failed")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := ring.Close(); err != nil && !errors.Is(err, syscall.EPERM) {
		t.Error(err)
	}
}

// refuse has these system calls answer EPERM in every thread, for good.
func refuse(t *testing.T, calls ...uint32) {
	t.Helper()
	const loadWord, jumpIfEqual, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	filter := []unix.SockFilter{{Code: loadWord}} // the number is first in struct seccomp_data
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: jumpIfEqual, Jt: uint8(len(calls) - i), K: call})
	}
	filter = append(filter,
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)})
	program := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	_, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, reflect.ValueOf(program).Pointer())
	runtime.KeepAlive(program)
	if errno != 0 {
		t.Skipf("seccomp: %v", errno)
	}
}
