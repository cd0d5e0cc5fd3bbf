package failures

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// deviceSize and goodSize are the size of a device in bytes, and how much of it,
// from its beginning, can be written: the rest has no blocks in the full file
// system beneath.
const (
	deviceSize  = 2 << 20
	goodSize    = 1 << 20
	requestSize = 64 << 10 // the most that the device is given at once
)

// badDevice makes such a device.
func badDevice(t *testing.T) string {
	t.Helper()
	dir := disks.FS{Name: "tmpfs", Size: goodSize}.Mount(t)
	image := filepath.Join(dir, "image")
	if err := os.WriteFile(image, stretch(0, goodSize, old), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, deviceSize); err != nil {
		t.Fatal(err)
	}
	device, _ := disks.Attach(t, image)
	// A loop device takes a short write for a whole one. So no request may be half
	// good.
	limit := filepath.Join("/sys/block", filepath.Base(device), "queue/max_sectors_kb")
	before, err := os.ReadFile(limit)
	if err == nil {
		err = os.WriteFile(limit, []byte(fmt.Sprint(requestSize>>10)), 0)
	}
	if err != nil {
		disks.Unable(t, "%v", err)
	}
	t.Cleanup(func() { os.WriteFile(limit, before, 0) })
	return device
}

// TestDeviceFails writes to a device across where it begins to fail.
func TestDeviceFails(t *testing.T) {
	name := badDevice(t)
	for _, ring := range ringKinds {
		on, err := asyncfile.NewRing(ring.opts...)
		if err != nil {
			t.Fatal(err)
		}
		defer on.Close()
		for _, route := range routes {
			for _, deadline := range []bool{false, true} {
				tr := &trial{route: route, ring: ring.name, direct: true, deadline: deadline, size: deviceSize}
				if tr.appends() { // to a device nothing is
					continue
				}
				for _, at := range []struct{ off, n int64 }{
					{goodSize - requestSize, 2 * requestSize}, {goodSize, 4096}, {0, deviceSize}, {goodSize - 2*requestSize, 2*requestSize + 4096},
				} {
					tr.off, tr.n = at.off, int(at.n)
					t.Run(fmt.Sprint(tr), func(t *testing.T) {
						f := open(t, name, tr, on)
						n, err := f.put(stretch(tr.off, tr.n, fresh), tr.off)
						cursor, _ := f.cursor()
						f.close()
						osf := plain(t, name, &trial{route: tr.route, direct: true, size: deviceSize, off: tr.off, n: tr.n})
						wantN, wantErr := osf.put(stretch(tr.off, tr.n, fresh), tr.off)
						osf.close()
						good := max(int(min(goodSize-tr.off, int64(tr.n))), 0)
						if errnoOf(err) != errnoOf(wantErr) {
							t.Errorf("error %v, want %v", err, wantErr)
						}
						if n < 0 || n > good || n != wantN && !tr.inParts() && !(tr.route == "File.WriteAt" && n == 0) {
							t.Errorf("n = %d, want %d", n, wantN)
						}
						if tr.atCursor() && cursor != tr.off+int64(n) {
							t.Errorf("cursor at %d, want %d", cursor, tr.off+int64(n))
						}
					})
				}
			}
		}
	}
}

// TestLateError writes through the page cache to what fails, with a direct file.
// The write tells, or else Sync does.
func TestLateError(t *testing.T) {
	for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			name := badDevice(t)
			f, err := asyncfile.OpenFile(name, os.O_RDWR, 0, asyncfile.WithDirect(asyncfile.DirectRequire), asyncfile.WithBackend(backend))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			const off, length = goodSize + 100, 1000
			plain, err := os.OpenFile(name, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = plain.WriteAt(stretch(off, length, fresh), off)
			if late := plain.Sync(); err == nil && late == nil {
				t.Fatal("the device does not fail")
			}
			plain.Close()
			_, err = f.WriteAt(stretch(off, length, fresh), off).Wait()
			if _, late := f.Sync().Wait(); err == nil && late == nil {
				t.Error("neither the write nor Sync tells that the device has failed")
			}
		})
	}
}

// TestDeviceReadFails reads across where a device begins to fail.
func TestDeviceReadFails(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		disks.Unable(t, "%v", err)
	}
	image := filepath.Join(disks.FS{Name: "tmpfs", Size: 2 * deviceSize}.Mount(t), "image")
	if err := os.WriteFile(image, stretch(0, deviceSize, old), 0o600); err != nil {
		t.Fatal(err)
	}
	name, _ := disks.Attach(t, image)
	if err := os.Truncate(image, goodSize); err != nil { // under the device
		t.Fatal(err)
	}
	plain, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, backend := range []asyncfile.Backend{asyncfile.BackendAIO, asyncfile.BackendPool} {
		for _, mode := range []asyncfile.WaitMode{asyncfile.WaitGetEvents, asyncfile.WaitEventFD} {
			f, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectRequire), asyncfile.WithBackend(backend), asyncfile.WithWaitMode(mode))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, at := range []struct{ off, n int64 }{
				{goodSize - 64<<10, 128 << 10}, {goodSize, 4096}, {0, deviceSize}, {goodSize - 4096, 8192}, {goodSize - 600, 1000}, {goodSize - 1000, 1000},
			} {
				want := asyncfile.AlignedBuffer(int(at.n))
				wantN, wantErr := 0, error(nil)
				for wantN < len(want) && wantErr == nil { // as far as pread(2) comes
					var m int
					if m, wantErr = syscall.Pread(int(plain.Fd()), want[wantN:], at.off+int64(wantN)); m <= 0 {
						break
					}
					wantN += m
				}
				unaligned := (at.off|at.n)%512 != 0
				check := func(route string, p []byte, n int, err error) {
					t.Helper()
					if unaligned {
						if int64(n) > max(goodSize-at.off, 0) || n < len(p) != (err != nil) || n == len(p) != (at.off+at.n <= goodSize) {
							t.Errorf("%v %v, %s of %d at %d: %d, %v", backend, mode, route, at.n, at.off, n, err)
						}
					} else if n != wantN || errnoOf(err) != errnoOf(wantErr) {
						t.Errorf("%v %v, %s of %d at %d: %d, %v; want %d, %v", backend, mode, route, at.n, at.off, n, err, wantN, wantErr)
					}
					if n = min(n, len(p)); n > 0 && !bytes.Equal(p[:n], stretch(at.off, n, old)) {
						t.Errorf("%v %v, %s of %d at %d: other bytes", backend, mode, route, at.n, at.off)
					}
				}
				p := asyncfile.AlignedBuffer(int(at.n))
				n, err := f.ReadAt(p, at.off).Wait()
				check("ReadAt", p, n, err)
				clear(p)
				n, err = f.ReadvAt([][]byte{p[:len(p)/2], p[len(p)/2:]}, at.off).Wait()
				check("ReadvAt", p, n, err)
				clear(p)
				n, err = f.File().ReadAt(p, at.off)
				if n != 0 || errors.Is(err, syscall.EIO) == (wantErr == nil) { // os.File.ReadAt drops what came before an error
					check("File.ReadAt", p, n, err)
				}
			}
		}
	}
}
