package asyncfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/file"
)

// TestOpFields submits every Kind with every combination of fields. An
// operation moves every byte that it was handed, or it is refused, with a hint,
// and moves none.
func TestOpFields(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(name string, flag int) *AsyncFile) {
		size := 4 * testBlock
		name := putFile(t, testPattern(size, 1))
		f := open(name, os.O_RDWR)
		q := NewQueue(1)
		defer closeQueue(t, q)
		p := AlignedBuffer(2 * testBlock)
		moved := 0
		for kind := range math.MaxUint8 + 1 {
			for _, buf := range [][]byte{nil, p[:0], p[:testBlock]} {
				for _, bufs := range [][][]byte{nil, {}, {nil, p[:0]}, {p[:testBlock], p[testBlock:]}} {
					for _, off := range []int64{0, testBlock} {
						op := Op{OpKind(kind), buf, bufs, off}
						handed := len(buf)
						for _, b := range bufs {
							handed += len(b)
						}
						known := op.Kind <= OpDatasync
						n, err := f.Submit(op)[0].Wait()
						switch {
						case err == nil:
							if !known || n != handed {
								t.Fatalf("%+v: %d, nil", op, n)
							}
							moved += n
						case known && len(buf)+len(bufs) == 0:
							t.Fatalf("%+v: %v", op, err)
						default:
							wantOpRefused(t, f, op, n, err)
						}
						if err := q.Submit(f, op, nil); err != nil {
							t.Fatal(err)
						}
						c := <-q.C()
						if c.N != n || (c.Err == nil) != (err == nil) {
							t.Fatalf("%+v: a Queue has %d, %v; a Future %d, %v", op, c.N, c.Err, n, err)
						}
						if err != nil {
							wantOpRefused(t, f, op, c.N, c.Err)
						}
					}
				}
			}
		}
		// 2 offsets, of each kind that moves bytes: a buffer beside 2 empty lists of
		// buffers, or a list beside 2 empty buffers.
		if want := 2 * (3*2*testBlock + 2*2*2*testBlock); moved != want {
			t.Errorf("%d bytes moved, want %d", moved, want)
		}
	})
}

func wantOpRefused(t *testing.T, f *AsyncFile, op Op, n int, err error) {
	t.Helper()
	var pe *fs.PathError
	if n != 0 || !errors.Is(err, os.ErrInvalid) || !errors.As(err, &pe) || pe.Path != f.Name() || pe.Op != file.Kind(op.Kind).ErrorOp() ||
		!strings.Contains(err.Error(), ": use ") && !strings.Contains(err.Error(), ": leave ") {
		t.Fatalf("%+v: %d, %v", op, n, err)
	}
}

// TestOpOfClosedFile has the file looked at before the operation, as os.File does.
func TestOpOfClosedFile(t *testing.T) {
	f := openTest(t, putFile(t, nil), os.O_RDWR)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Submit(Op{Kind: 99})[0].Wait(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("on a closed file: %v", err)
	}
}

// TestOpTooLarge has buffers whose sum no int holds.
func TestOpTooLarge(t *testing.T) {
	if strconv.IntSize > 32 {
		t.Skip("no list of buffers in memory has more bytes than 64 bits count")
	}
	bufs := make([][]byte, 1<<11)
	for i := range bufs {
		bufs[i] = AlignedBuffer(1 << 20)
		if i > 0 {
			bufs[i] = bufs[0]
		}
	}
	f := openTest(t, putFile(t, nil), os.O_RDWR)
	for _, kind := range []OpKind{OpReadv, OpWritev} {
		n, err := f.Submit(Op{Kind: kind, Bufs: bufs})[0].Wait()
		wantOpRefused(t, f, Op{Kind: kind}, n, err)
	}
	if n, err := f.ReadvAt(bufs[1:], 0).Wait(); n != 0 || err != io.EOF {
		t.Errorf("one buffer fewer: %d, %v", n, err)
	}
}

// TestErrorOps has the operations in os.File's words.
func TestErrorOps(t *testing.T) {
	var got []string
	for kind := range OpDatasync + 2 {
		got = append(got, file.Kind(kind).ErrorOp())
	}
	if got := fmt.Sprint(got); got != "[read write read write write sync datasync OpKind(7)]" {
		t.Error(got)
	}
}
