package asyncfile

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// What fmt prints of the types of the package: one line, without a buffer's
// bytes, and safe while operations are in flight. But for Reader and Writer, it may
// be called at any time, by any goroutine.

// String describes the operation, as "write 4096 bytes at 8192".
func (op Op) String() string {
	var b strings.Builder
	fmt.Fprint(&b, op.Kind)
	if !op.Kind.syncs() {
		if size, err := op.size(); err == nil {
			fmt.Fprintf(&b, " %d bytes", size)
		}
	}
	if op.Kind.vectored() {
		fmt.Fprintf(&b, " in %d buffers", len(op.Bufs))
	}
	if !op.Kind.syncs() && op.Kind != OpAppend {
		fmt.Fprintf(&b, " at %d", op.Offset)
	}
	return b.String()
}

// String describes the outcome, as `read "data" at 8192: 512 bytes, EOF`.
func (c Completion) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %q", c.Op, c.File.Name())
	if !c.Op.syncs() {
		fmt.Fprintf(&b, " at %d", c.Offset)
	}
	fmt.Fprintf(&b, ": %s", outcomeString(c.N, c.Err))
	return b.String()
}

// String describes the outcome, as "Future(512 bytes, EOF)", or says that the
// operation has not ended: "Future(not done)".
func (f *Future) String() string {
	n, err, ok := f.Result()
	switch {
	case f == nil || !f.begun:
		return "Future(none)"
	case !ok:
		return "Future(not done)"
	}
	return fmt.Sprintf("Future(%s)", outcomeString(n, err))
}

func outcomeString(n int, err error) string {
	if err != nil {
		return fmt.Sprintf("%d bytes, %v", n, err)
	}
	return fmt.Sprintf("%d bytes", n)
}

// String describes the file, as `AsyncFile("data", aio, direct)`.
func (f *AsyncFile) String() string { return "AsyncFile" + f.traits() }

func (f *AsyncFile) traits() string {
	if !f.opened() {
		return "(none)"
	}
	traits := fmt.Sprintf("(%q, %v", f.Name(), f.Backend())
	if f.Direct() {
		traits += ", direct"
	}
	if f.core.Closed() {
		traits += ", closed"
	}
	return traits + ")"
}

// Format describes the file to package fmt, as `File("data", aio, direct)`. It is no
// String, which an *os.File does not have.
func (f *File) Format(s fmt.State, _ rune) { io.WriteString(s, "File"+f.Async().traits()) }

// String describes the Ring, as "Ring(aio, depth 128, 3 in flight)".
func (r *Ring) String() string {
	switch {
	case !r.made():
		return "Ring(none)"
	case r.core.Closed():
		return fmt.Sprintf("Ring(%v, depth %d, closed)", r.Backend(), r.Depth())
	}
	return fmt.Sprintf("Ring(%v, depth %d, %d in flight)", r.Backend(), r.Depth(), r.Stats().InFlight)
}

// String describes the Queue, as "Queue(depth 32, 3 to receive)".
func (q *Queue) String() string {
	switch {
	case !q.made():
		return "Queue(none)"
	case q.closing.Err() != nil:
		return fmt.Sprintf("Queue(depth %d, %d to receive, closed)", cap(q.ready), len(q.ready))
	}
	return fmt.Sprintf("Queue(depth %d, %d to receive)", cap(q.ready), len(q.ready))
}

// String tells the counts that are not 0, by name, as "Stats(Submitted 3, Completed 3)".
func (s Stats) String() string {
	var counts []string
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		if count := v.Field(i); !count.IsZero() {
			counts = append(counts, fmt.Sprintf("%s %v", v.Type().Field(i).Name, count))
		}
	}
	return "Stats(" + cmp.Or(strings.Join(counts, ", "), "nothing yet") + ")"
}

// String describes the pool, as "BufferPool(4096 bytes, 3 idle)".
func (p *BufferPool) String() string {
	if p == nil {
		return "BufferPool(none)"
	}
	return fmt.Sprintf("BufferPool(%d bytes, %d idle)", p.size, len(p.idle))
}

// String describes the Reader, as `Reader("data" at 4096)`. It is not safe for
// concurrent use with the other methods.
func (r *Reader) String() string {
	if !r.made() {
		return "Reader(none)"
	}
	return fmt.Sprintf("Reader(%q at %d)", r.file.Name(), r.Offset())
}

// String describes the Writer, as `Writer("data" at 4096)`. It is not safe for
// concurrent use with the other methods.
func (w *Writer) String() string {
	if !w.made() {
		return "Writer(none)"
	}
	return fmt.Sprintf("Writer(%q at %d)", w.file.Name(), w.Offset())
}

// String describes the Range, as "512 bytes at 8192".
func (r Range) String() string { return fmt.Sprintf("%d bytes at %d", r.Length, r.Offset) }

// String describes the Chunk, as "Chunk(3, 100 of 512 bytes at 8192)".
func (c Chunk) String() string {
	return fmt.Sprintf("Chunk(%d, %d of %v)", c.Index, len(c.Data), c.Range)
}

// String describes the ReaderAt, as `ReaderAt("data", 524288 bytes ahead)`.
func (r *ReaderAt) String() string {
	if !r.made() {
		return "ReaderAt(none)"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Sprintf("ReaderAt(%q, closed)", r.file.Name())
	}
	return fmt.Sprintf("ReaderAt(%q, %d bytes ahead)", r.file.Name(), r.taken)
}
