package order_test

import (
	"fmt"

	"github.com/seed-39be8cca/asyncfile/internal/order"
)

// A file of 8 KiB on ext4. Two writes beyond its end wait for one extension, which
// waits for what is in flight, and the Sync for all three writes.
func Example() {
	s := order.New[string](4096)
	enter := func(of string, kind order.Kind, from, to int64) *order.Entry[string] {
		e := &order.Entry[string]{Of: of}
		if s.Enter(e, kind, from, to) {
			fmt.Println(of, "goes")
		} else {
			fmt.Println(of, "waits")
		}
		return e
	}
	end := func(e *order.Entry[string]) {
		fmt.Println(e.Of, "ends")
		ready, owed := s.Release(e)
		for _, next := range ready {
			fmt.Println(" ", next.Of, "goes")
		}
		// ... its result is delivered ...
		for _, next := range s.Settle(owed) {
			fmt.Println(" ", next.Of, "goes")
		}
	}
	inside := enter("write inside", order.Write, 0, 4096)
	extension := enter("extension", order.Exclusive, 0, 0) // to 12 KiB
	first := enter("first write behind", order.Write, 8192, 12288)
	second := enter("second write behind", order.Write, 12288, 16384) // the extension is to 16 KiB now
	sync := enter("sync", order.Sync, 0, 0)
	end(inside)
	end(extension)
	end(second)
	end(first)
	end(sync)
	// Output:
	// write inside goes
	// extension waits
	// first write behind waits
	// second write behind waits
	// sync waits
	// write inside ends
	//   extension goes
	// extension ends
	//   first write behind goes
	//   second write behind goes
	// second write behind ends
	// first write behind ends
	//   sync goes
	// sync ends
}
