//go:build !linux

package aio

import (
	"errors"
	"testing"
)

func TestUnsupported(t *testing.T) {
	errOf := func(_ any, err error) error { return err }
	var e EventFD
	_, _, limits := Limits()
	_, _, data := NextData(0, 0)
	for name, err := range map[string]error{
		"Setup":          errOf(Setup(1)),
		"NewEventFD":     errOf(NewEventFD()),
		"EventFD.Wait":   e.Wait(),
		"EventFD.Signal": e.Signal(),
		"EventFD.Close":  e.Close(),
		"PreadNoWait":    errOf(PreadNoWait(0, nil, 0)),
		"Preadv":         errOf(Preadv(0, nil, 0)),
		"Pwritev":        errOf(Pwritev(0, nil, 0)),
		"Fdatasync":      Fdatasync(0),
		"Allocate":       Allocate(0, 0, 1),
		"StatusFlags":    errOf(StatusFlags(0)),
		"SetDirect":      SetDirect(0, true),
		"FileSystem":     errOf(FileSystem(0)),
		"Limits":         limits,
		"Flush":          Flush(0, 0, 1),
		"WriteBack":      WriteBack(0, 0, 1),
		"Size":           errOf(Size(0)),
		"PunchHole":      PunchHole(0, 0, 1),
		"ZeroRange":      ZeroRange(0, 0, 1),
		"NextData":       data,
		"Prefetch":       Prefetch(0, 0, 1),
		"TryLock":        TryLock(0),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s returns %v, want errors.ErrUnsupported", name, err)
		}
	}
	if _, ok := DirectAlignment(0); ok || BlockSize(0) != 0 || e.FD() >= 0 || ODirect|OPath|OTmpfile != 0 {
		t.Error("something claims to be there")
	}
}
