package vec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/vec/vectest"
)

var page = os.Getpagesize()

// Of five buffers the third cannot be accessed: n is that of the two before, the
// cursor stands there, and copies go on being possible.
func TestFaultInOneOfFive(t *testing.T) {
	readOnly := vectest.ReadOnly(t, []byte("constant"))
	pastEnd := vectest.PastEnd(t, 1)[page:]
	hole := vectest.Hole(t, 1)[page : 2*page]
	for _, tt := range []struct {
		name    string
		p       []byte
		gather  error
		scatter error
	}{
		{"memory", make([]byte, page), nil, nil},
		{"read-only", readOnly, nil, syscall.EFAULT},
		{"past the end of the file", pastEnd, syscall.EFAULT, syscall.EFAULT},
		{"a hole", hole, syscall.EFAULT, syscall.EFAULT},
	} {
		bufs := [][]byte{make([]byte, 100), make([]byte, 1), tt.p, make([]byte, 7), make([]byte, 3)}
		before := number(bufs[:2])
		for to, want := range map[direction]error{gather: tt.gather, scatter: tt.scatter} {
			c := cursor(t, bufs)
			size := int(c.Left())
			own := make([]byte, size)
			copy(own, before)
			n, err := c.copy(own, to)
			wantN := size
			if want != nil {
				wantN = len(before)
			}
			if n != wantN || err != want || c.Left() != int64(size-n) {
				t.Errorf("%s, %v: %d, %v, %d left; want %d, %v", tt.name, to, n, err, c.Left(), wantN, want)
			}
			if !bytes.Equal(own[:101], before) || !bytes.Equal(bytes.Join(bufs[:2], nil), before) {
				t.Errorf("%s, %v: what was copied is wrong", tt.name, to)
			}
			if n, err := c.copy(own, to); want != nil && (n != 0 || err != want) {
				t.Errorf("%s, %v again: %d, %v", tt.name, to, n, err)
			}
			c.Skip(n)
			c = cursor(t, bufs)
			c.Skip(101 + page)
			if n, err := c.copy(own, to); n != 10 || err != nil {
				t.Errorf("%s, %v behind: %d, %v", tt.name, to, n, err)
			}
		}
	}
}

// Wherever in a buffer memory ends, and whatever part of memmove comes upon that,
// n tells the byte.
func TestFaultsAreExact(t *testing.T) {
	const pages = 512 // from 1 MiB on memmove goes past the cache
	size := pages * page
	src, got := make([]byte, 2*size), make([]byte, 2*size)
	number([][]byte{src})
	for name, p := range map[string][]byte{
		"hole":     vectest.Hole(t, pages)[:2*size],
		"past end": vectest.PastEnd(t, pages),
	} {
		for _, n := range []int{0, 1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 33, 64, 65, 127, 129, 255, 256, 257, 511, 1000,
			2047, 2048, 2049, 3000, page - 1, page, page + 1, 3*page + 5, 100_000, 1<<20 - 1, 1 << 20, 1<<20 + 33, size} {
			for _, beyond := range []int{1, 2, 15, 16, 100, 2048, page, 100_000} {
				for shift := range 2 { // of own against p
					where := fmt.Sprintf("%s: %d bytes and %d beyond", name, n, beyond)
					p, own, got := p[size-n:size+beyond], slices.Clip(src[shift:][:n+beyond]), got[shift:][:n+beyond]
					c := Bytes(p)
					if m, err := c.Scatter(own); m != n || err != syscall.EFAULT || c.Left() != int64(beyond) {
						t.Fatalf("%s: Scatter: %d, %v, %d left", where, m, err, c.Left())
					}
					c = Bytes(p)
					if m, err := c.Gather(got); m != n || err != syscall.EFAULT || c.Left() != int64(beyond) {
						t.Fatalf("%s: Gather: %d, %v, %d left", where, m, err, c.Left())
					}
					if !bytes.Equal(own[:n], got[:n]) {
						t.Fatalf("%s: what was copied is wrong", where)
					}
				}
			}
		}
	}
}

// os.File is the model: the kernel's own copy ends at the same byte, with the
// same error. (Write, since WriteAt answers 0 where an error follows.)
func TestFaultsAsFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data := make([]byte, 4*page)
	number([][]byte{data})
	hole := vectest.Hole(t, 1)
	readOnly := vectest.ReadOnly(t, nil)
	for _, p := range [][]byte{hole[:2*page], hole[1:][:2*page], hole[page-1:][:page], hole[page:][:page], readOnly, readOnly[5:]} {
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		read, readErr := f.ReadAt(p, 0)
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		wrote, writeErr := f.Write(p)
		c := Bytes(p)
		if n, err := c.Scatter(data); n != read || !sameError(readErr, err) {
			t.Errorf("Scatter: %d, %v; ReadAt: %d, %v", n, err, read, readErr)
		}
		c = Bytes(p)
		if n, err := c.Gather(data); n != wrote || !sameError(writeErr, err) {
			t.Errorf("Gather: %d, %v; Write: %d, %v", n, err, wrote, writeErr)
		}
	}
}

func sameError(file, err error) bool { return (file == nil) == (err == nil) && errors.Is(file, err) }

// A copy leaves the goroutine's setting as it was, fault or not.
func TestPanicOnFaultIsRestored(t *testing.T) {
	hole := vectest.Hole(t, 1)
	for _, was := range []bool{false, true} {
		old := debug.SetPanicOnFault(was)
		for _, p := range [][]byte{hole[:page], hole[page:]} {
			c := Bytes(p)
			c.Scatter(make([]byte, page))
			if is := debug.SetPanicOnFault(was); is != was {
				t.Errorf("%v has become %v", was, is)
			}
		}
		debug.SetPanicOnFault(old)
	}
}

// Faults of many goroutines at once do not get in each other's way.
func TestFaultsTogether(t *testing.T) {
	hole := vectest.Hole(t, 1)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			mine := make([]byte, 10+i)
			for range 200 {
				c := cursor(t, slices.Concat([][]byte{mine}, [][]byte{hole[page-i : 2*page]}))
				if n, err := c.Gather(make([]byte, page)); n != 10+2*i || err != syscall.EFAULT {
					t.Errorf("%d, %v; want %d", n, err, 10+2*i)
				}
			}
		})
	}
	wg.Wait()
}
