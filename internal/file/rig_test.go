package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/ring"
)

// A rig is an ordinary file on a Ring without a kernel context.
type rig struct {
	*testing.T
	ring  *ring.Ring
	group *Group
	file  *Handle
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t}
	r.ring = ring.New(ring.Config{Depth: 4, Workers: 2, Timeout: time.Second, Complete: func(s *ring.Seat) {
		s.Begin()
		for s.Park() {
		}
		s.End()
	}})
	r.group = NewGroup(r.ring)
	osf, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := osf.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if r.file, err = New(osf, info, nil); err != nil {
		t.Fatal(err)
	}
	r.file.Attach(Place{Group: r.group, Release: r.ring.Close}, info)
	t.Cleanup(func() {
		if !r.file.Shut() {
			t.Error("it is closed already")
		}
		if err := r.file.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// A slip is a Sink that keeps the outcome.
type slip chan Outcome

// Follow implements Sink.
func (s slip) Follow(*ring.Request) {}

// Deliver implements Sink.
func (s slip) Deliver(o Outcome) { s <- o }

// do carries out op.
func (r *rig) do(op Op) Outcome {
	r.Helper()
	s := make(slip, 1)
	r.file.Submit(&Call{Op: op, To: s})
	return <-s
}

// begin returns an operation that has a request, for a test that does the rest.
func (r *rig) begin(op Op) *operation {
	r.Helper()
	o, slot := new(operation), r.ring.TryAcquire(r.file.Lane)
	if _, open := r.file.Enter(); !open || slot == nil {
		r.Fatal("the file is closed, or there is no place")
	}
	o.set(r.file, &Call{Op: op, To: make(slip, 1)}, slot, 0)
	slot.Begin(o)
	return o
}

// operation returns one that has not begun, for a test that carries it out itself.
func (r *rig) operation(op Op) *operation {
	o := new(operation)
	o.set(r.file, &Call{Op: op, To: make(slip, 1)}, new(ring.Request), 0)
	return o
}

func first(p []byte) *byte { return &p[:1][0] }
