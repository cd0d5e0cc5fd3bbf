package asyncfile

import (
	"sync"
	"time"
)

// lingerTime is how long a shared Ring outlives its last file, so that a program
// that opens one file after the other does not make and destroy a kernel
// context, at tens of milliseconds, for each.
const lingerTime = 100 * time.Millisecond

// The Rings of all files that name none: one on native AIO and one on the pool.
// Each is made for its first file and closed, in the background, after its last.
var (
	sharedAIO  = sharedRing{backend: BackendAIO}
	sharedPool = sharedRing{backend: BackendPool}
)

// A sharedRing counts the files of a Ring that none of them owns.
type sharedRing struct {
	backend Backend

	mu     sync.Mutex
	ring   *Ring
	files  int
	linger *time.Timer // closes the Ring when no file came back to it
}

// acquire returns the Ring, made if there is none, for one more file.
func (s *sharedRing) acquire() (*Ring, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring == nil {
		c, err := newRingConfig([]Option{WithBackend(s.backend)})
		if err != nil {
			return nil, err
		}
		if s.ring, err = newRing(c); err != nil {
			return nil, err
		}
	}
	s.files++
	return s.ring, nil
}

// release gives back what acquire took.
func (s *sharedRing) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files--; s.files > 0 {
		return
	}
	if s.linger != nil {
		s.linger.Stop()
	}
	s.linger = time.AfterFunc(lingerTime, s.closeUnused)
}

func (s *sharedRing) closeUnused() {
	s.mu.Lock()
	ring := s.ring
	if s.files > 0 || ring == nil {
		s.mu.Unlock()
		return
	}
	s.ring = nil
	s.mu.Unlock()
	ring.core.Close()
}
