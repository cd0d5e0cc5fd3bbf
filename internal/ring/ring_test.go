package ring

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"testing/synctest"
)

// Where there is no kernel context nothing but its slots tells what is in flight.
func TestCloseWaitsForEverySlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{T: t, Ring: New(Config{Depth: 3, Workers: 1})}
		r.lane = r.LaneOf(1, true)
		taken := []*reading{r.newReading(1), r.newReading(2), r.newReading(3)}
		closed := make(chan error, 1)
		go func() { closed <- r.Close() }()
		for _, c := range taken {
			synctest.Wait()
			if len(closed) != 0 {
				t.Error("closed with a slot in use")
			}
			c.request.Load().Finish()
		}
		if err := <-closed; err != nil {
			t.Errorf("Close: %v", err)
		}
		if c := r.newReading(4); c != nil {
			t.Error("a slot of a closed Ring")
		}
		if _, err := r.Acquire(r.lane, nil); !errors.Is(err, fs.ErrClosed) || !r.Closed() || r.OnKernel() || r.Depth() != 3 {
			t.Errorf("Acquire = %v", err)
		}
		if err := r.Close(); err != ErrClosed {
			t.Errorf("second Close: %v", err)
		}
	})
}

func TestCloseTellsTheErrorOfDestroy(t *testing.T) {
	inRig(t, 1, func(r *rig) {
		r.closed = true
		r.kernel.OnDestroy(func() error { return syscall.EIO })
		if err := r.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("Close = %v, want the error of io_destroy", err)
		}
		r.kernel.OnDestroy(nil)
		r.kernel.Destroy()
	})
}
