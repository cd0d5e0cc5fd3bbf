package aiotest

import (
	"io"
	"syscall"
	"testing"
)

func TestMem(t *testing.T) {
	data := []byte("abc")
	m := NewMem(data)
	data[0] = 'X'
	p := make([]byte, 4)
	if n, err := m.ReadAt(p, 0); n != 3 || err != io.EOF || string(p[:n]) != "abc" {
		t.Errorf("ReadAt = %d, %v, %q", n, err, p)
	}
	if n, err := m.ReadAt(p[:3], 0); n != 3 || err != nil {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	if n, err := m.ReadAt(p, 9); n != 0 || err != io.EOF {
		t.Errorf("ReadAt past the end = %d, %v", n, err)
	}
	if n, err := m.WriteAt([]byte("yz"), 5); n != 2 || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if n, err := m.WriteAt([]byte("B"), 1); n != 1 || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if n, err := m.WriteAt(nil, 50); n != 0 || err != nil {
		t.Errorf("WriteAt of nothing = %d, %v", n, err)
	}
	m.Bytes()[0] = 'X' // a copy
	if got := string(m.Bytes()); got != "aBc\x00\x00yz" {
		t.Errorf("Bytes = %q", got)
	}
	if _, err := m.ReadAt(p, -1); err != syscall.EINVAL {
		t.Errorf("ReadAt(-1) = %v", err)
	}
	if _, err := m.WriteAt(p, -1); err != syscall.EINVAL {
		t.Errorf("WriteAt(-1) = %v", err)
	}
	if _, err := m.WriteAt(p, 1<<62); err != syscall.EFBIG {
		t.Errorf("WriteAt far out = %v", err)
	}
}
