package aio

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A flag reaches the kernel: one that no kernel knows is refused, and one that all
// know is not.
func TestRWFlags(t *testing.T) {
	c, err := Setup(1)
	if err != nil {
		t.Skip("no native AIO: ", err)
	}
	defer c.Destroy()
	f := tempFile(t, "flags")
	submit := func(flags uint32) error {
		b := new(IOCB)
		b.PrepareRead(int(f.Fd()), AlignedSlice(5, 1), 0)
		b.SetRWFlags(flags)
		n, err := c.Submit([]*IOCB{b})
		if n == 1 {
			if n, err := c.GetEvents(1, make([]Event, 1), time.Minute); n != 1 || err != nil {
				t.Fatal("the event does not come: ", err)
			}
		}
		return err
	}
	if err := submit(RWFUnknown); err != syscall.EOPNOTSUPP {
		t.Errorf("a flag that no kernel knows: %v, want EOPNOTSUPP", err)
	}
	if err := submit(RWFDsync); err != nil {
		t.Errorf("RWF_DSYNC: %v", err)
	}
}

func TestRWFlagValues(t *testing.T) {
	for name, pair := range map[string][2]int{
		"HIPRI": {RWFHiPri, unix.RWF_HIPRI}, "DSYNC": {RWFDsync, unix.RWF_DSYNC}, "SYNC": {RWFSync, unix.RWF_SYNC},
		"NOWAIT": {RWFNoWait, unix.RWF_NOWAIT}, "APPEND": {RWFAppend, unix.RWF_APPEND}, "NOAPPEND": {RWFNoAppend, unix.RWF_NOAPPEND},
		"ATOMIC": {RWFAtomic, unix.RWF_ATOMIC}, "DONTCACHE": {RWFDontCache, unix.RWF_DONTCACHE},
	} {
		if pair[0] != pair[1] {
			t.Errorf("RWF_%s is %#x, want %#x", name, pair[0], pair[1])
		}
	}
}

// What the kernel says agrees with /proc/self/mountinfo.
func TestMountID(t *testing.T) {
	f := tempFile(t, "")
	id, ok := MountID(int(f.Fd()))
	if !ok {
		t.Skip("the kernel does not tell")
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		var mount uint64
		if _, err := fmt.Sscan(line, &mount); err == nil && mount == id {
			return
		}
	}
	t.Errorf("mount %d is not in /proc/self/mountinfo", id)
}

func TestOpenScratch(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenScratch(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d names in the folder, want none", len(left))
	}
	if _, err := OpenScratch(dir + "/absent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestKernelRelease(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Skip(err)
	}
	if got, want := KernelRelease(), strings.TrimSpace(string(text)); got != want {
		t.Errorf("KernelRelease() = %q, want %q", got, want)
	}
}

// The descriptor is closed again.
func TestTryIOURing(t *testing.T) {
	if err := TryIOURing(); err != nil {
		t.Skip("refused here: ", err)
	}
	before := descriptors(t)
	for range 10 {
		TryIOURing()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(list)
}
