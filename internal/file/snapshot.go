package file

import "github.com/seed-39be8cca/asyncfile/internal/ring"

// What is to be seen from above of the operations of a file.

// A Turn is what has a place in the order of a file, as it is seen from above.
type Turn struct {
	Task Task
	Tag  any   // of the operation, or of the one that is undone
	Runs []Run // that the file is extended by
}

// A Task is what one that has a Turn does.
type Task uint8

const (
	Operates Task = iota // it is an operation
	Extends              // it makes the file larger for writes to come
	CutsBack             // it undoes that after an operation that has failed
	Resizes              // it is Truncate, or Preallocate
)

// A Run is the bytes of a file from one offset up to another.
type Run struct{ From, To int64 }

// A Held is what may not go yet.
type Held struct {
	Turn
	Behind []Turn // which it waits for, where that is no result
}

// Held returns what waits in the order of the file, from the first on.
func (f *Handle) Held() (list []Held) {
	s := &f.sequence
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.order.Waiting() {
		h := Held{Turn: seen(w.Of)}
		for _, t := range w.Ahead {
			h.Behind = append(h.Behind, seen(t))
		}
		list = append(list, h)
	}
	return list
}

// TagOf returns the tag of an operation.
func TagOf(c ring.Client) any { return c.(*operation).tag }

func seen(t turn) Turn {
	switch t := t.(type) {
	case *operation:
		return Turn{Tag: t.tag}
	case *extension:
		return Turn{Task: Extends, Runs: t.runs}
	case *cutBack:
		return Turn{Task: CutsBack, Tag: t.o.tag}
	}
	return Turn{Task: Resizes}
}
