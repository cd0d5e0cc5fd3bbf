package asyncfile

import (
	"os"
	"sync"
	"testing"
)

// sharedRingOf returns the Ring of s, nil where there is none.
func sharedRingOf(s *sharedRing) *Ring {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring
}

// TestSharedRing has files that name no Ring share one, which outlives the last
// of them by a moment.
func TestSharedRing(t *testing.T) {
	for _, backend := range []Backend{BackendAIO, BackendPool} {
		t.Run(backend.String(), func(t *testing.T) {
			newTestRing(t, WithBackend(backend)) // or skip
			shared := map[Backend]*sharedRing{BackendAIO: &sharedAIO, BackendPool: &sharedPool}[backend]
			name := putFile(t, testPattern(testBlock, 1))
			open := func() *AsyncFile { return openTest(t, name, os.O_RDONLY, WithBackend(backend)) }
			one, two := open(), open()
			if one.ring != two.ring || one.ring != sharedRingOf(shared) || one.Backend() != backend {
				t.Fatal("they share no Ring")
			}
			if err := one.Close(); err != nil {
				t.Fatal(err)
			}
			if one.ring.core.Closed() {
				t.Fatal("the Ring is closed while a file has it")
			}
			wantResult(t, two.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil)
			if err := two.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the shared Ring is released", func() bool {
				return two.ring.core.Closed() && sharedRingOf(shared) != two.ring
			})
			again := open()
			if again.ring == two.ring {
				t.Fatal("a file gets a Ring that is closed")
			}
			wantResult(t, again.ReadAt(AlignedBuffer(testBlock), 0), testBlock, nil)
		})
	}
}

// TestSharedRingLingers opens one file after the other, which must not make and
// destroy a Ring for each.
func TestSharedRingLingers(t *testing.T) {
	name := putFile(t, testPattern(testBlock, 1))
	s := &sharedRing{backend: BackendPool}
	first, err := s.acquire()
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		s.release()
		if s.linger == nil {
			t.Fatal("the Ring is not going to be released")
		}
		r, err := s.acquire()
		if err != nil {
			t.Fatal(err)
		}
		s.closeUnused() // the time is up, and a file came back
		if r != sharedRingOf(s) || r.core.Closed() {
			t.Fatal("the Ring is released while a file has it")
		}
	}
	s.release()
	s.linger.Stop()
	last := sharedRingOf(s)
	s.closeUnused()
	s.closeUnused() // a second time finds nothing
	if sharedRingOf(s) != nil || !last.core.Closed() {
		t.Error("the Ring outlives its last file")
	}
	if !first.core.Closed() {
		t.Error("the first Ring is open")
	}
	f := openTest(t, name, os.O_RDONLY)
	wantResult(t, f.ReadAt(make([]byte, testBlock), 0), testBlock, nil)
}

// TestSharedRingAtOnce opens and closes from many goroutines, with the Ring
// released as often as can be.
func TestSharedRingAtOnce(t *testing.T) {
	name := putFile(t, testPattern(testBlock, 1))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				f, err := Open(name, WithBackend(BackendPool))
				if err != nil {
					t.Error(err)
					return
				}
				if n, err := f.ReadAt(make([]byte, testBlock), 0).Wait(); n != testBlock || err != nil {
					t.Errorf("ReadAt: %d, %v", n, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				sharedPool.closeUnused()
			}
		})
	}
	all.Wait()
}

// TestSharedRingFails has the Ring be refused: nothing is counted.
func TestSharedRingFails(t *testing.T) {
	s := &sharedRing{backend: Backend(7)}
	if r, err := s.acquire(); err == nil {
		r.Close()
		t.Fatal("a Ring of no backend")
	}
	if s.files != 0 || s.ring != nil {
		t.Errorf("a failure counts %d files", s.files)
	}
}
