package file

import (
	"errors"
	"io"
	"io/fs"
	"reflect"
	"syscall"
	"testing"
)

// An operation that has ended keeps nothing reachable in its pool: not in what is left
// of a list of buffers that was longer once, either.
func TestEndedOperationForgets(t *testing.T) {
	r := newRig(t)
	bufs := make([][]byte, 20)
	for i := range bufs {
		bufs[i] = make([]byte, 2)
	}
	if o := r.do(Op{Kind: Writev, Bufs: bufs}); o.N != 40 || o.Err != nil {
		t.Fatalf("= %d, %v", o.N, o.Err)
	}
	if o := r.do(Op{Kind: Readv, Bufs: bufs[:18], Offset: 1}); o.N != 36 || o.Err != nil {
		t.Fatalf("= %d, %v", o.N, o.Err)
	}
	o := r.operation(Op{Kind: Writev, Bufs: bufs})
	o.err = errors.New("something")
	r.group.operations.put(o)
	for i, p := range o.op.Bufs[:cap(o.op.Bufs)] {
		if p != nil {
			t.Errorf("buffer %d of %d is still there", i, cap(o.op.Bufs))
		}
	}
	if o.op.Bufs = nil; !reflect.DeepEqual(o, new(operation)) {
		t.Errorf("left over: %+v", o)
	}
}

func TestPathError(t *testing.T) {
	f := &Handle{name: "some/file"}
	if err := f.PathError(Read, nil); err != nil {
		t.Errorf("of nil: %v", err)
	}
	if err := f.PathError(Read, io.EOF); err != io.EOF {
		t.Errorf("of io.EOF: %v", err)
	}
	err := f.PathError(Writev, syscall.EIO)
	var pe *fs.PathError
	if !errors.As(err, &pe) || pe.Op != "write" || pe.Path != "some/file" || pe.Err != syscall.EIO {
		t.Errorf("of EIO: %#v", err)
	}
}
