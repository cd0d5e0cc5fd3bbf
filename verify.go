package asyncfile

import (
	"fmt"
	"slices"
)

// verifyEnv is the environment variable that, set to 1 when a Ring is made, has
// the Ring check itself at work. What it checks is what a fault of the library
// would break and no result would show; it panics where that happened.
const verifyEnv = "ASYNCFILE_VERIFY"

// canaryByte fills the bounce buffers of a Ring that verifies wherever nothing
// was put. In a file or in what was read it is a byte that was never asked for.
const canaryByte = 0xdb

// A canary says whether buffers are filled with canaryByte and checked for it.
type canary bool

// fill is called when a buffer is new, and when it is given back.
func (c canary) fill(b []byte) {
	if !c {
		return
	}
	for n := copy(b, []byte{canaryByte}); n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}

// check panics if a byte of b has changed that nobody had the right to write:
// behind the end of a transfer, or in a buffer that had been given back.
func (c canary) check(b []byte) {
	if !c {
		return
	}
	if at := slices.IndexFunc(b, func(v byte) bool { return v != canaryByte }); at >= 0 {
		panic(fmt.Sprintf("asyncfile: %s: byte %d of %d in a bounce buffer was written by someone who did not have it", verifyEnv, at, len(b)))
	}
}
