package vec

import (
	"runtime"
	"runtime/debug"
	"syscall"
)

// Gather copies the next bytes of the buffers into dst and moves the cursor past
// them: len(dst), or all that are left where these are fewer. It copies less only
// with an error, which is EFAULT: the n+1st byte cannot be read. What dst holds
// from n on is then undefined.
func (c *Cursor) Gather(dst []byte) (n int, err error) { return c.copy(dst, gather) }

// Scatter copies the first bytes of src into the buffers and moves the cursor
// past them: len(src), or as many as are left where these are fewer. It copies
// less only with an error, which is EFAULT: the n+1st byte cannot be written.
// Bytes after it may have changed too.
func (c *Cursor) Scatter(src []byte) (n int, err error) { return c.copy(src, scatter) }

// A direction says where bytes go, seen from the library's own memory.
type direction bool

const (
	gather  direction = false // into it, from the caller's buffers
	scatter direction = true  // out of it
)

// copy copies between own and the buffers. Where memory faults it halves the
// step until that is the byte that faults: n is then exact, as the kernel's is,
// after some thirty faults in a whole GiB.
func (c *Cursor) copy(own []byte, to direction) (n int, err error) {
	own = own[:min(int64(len(own)), c.left)]
	for step := len(own); n < len(own); {
		step = min(step, len(own)-n)
		m, ok := c.guard(own[n:n+step], to)
		n += m
		if ok {
			continue
		}
		if step == 1 {
			return n, syscall.EFAULT
		}
		step /= 2
	}
	return n, nil
}

// A fault is what the runtime panics with under [debug.SetPanicOnFault] where an
// address that is not near zero cannot be accessed.
type fault interface {
	runtime.Error
	Addr() uintptr
}

// guard copies between own and the buffers. Where memory faults, ok is false,
// and n and the cursor are those of the copies that ended before. Without it a
// fault would end the process. It costs some 10 ns a call.
//
// The runtime's memmove may be left anywhere, as own and the buffers do not overlap:
// only for what overlaps does it go backward, with the processor's direction flag
// set meanwhile (runtime/memmove_amd64.s).
func (c *Cursor) guard(own []byte, to direction) (n int, ok bool) {
	defer func(was bool) {
		debug.SetPanicOnFault(was)
		switch e := recover().(type) {
		case nil, fault:
		default:
			panic(e)
		}
	}(debug.SetPanicOnFault(true))
	for n < len(own) {
		p := c.peek(len(own) - n)
		if to == gather {
			copy(own[n:], p)
		} else {
			copy(p, own[n:])
		}
		c.pass(len(p))
		n += len(p)
	}
	return n, true
}
