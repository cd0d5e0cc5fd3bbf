package file

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile/internal/order"
)

// newVerified returns the bounce buffers of a Ring that verifies.
func newVerified() *BouncePool { return &BouncePool{verifier: testVerifier()} }

// testVerifier returns a verifier that panics where a test can recover.
func testVerifier() *verifier {
	return newVerifier(func(message string) { panic(message) })
}

func canaries(n int) []byte { return bytes.Repeat([]byte{Canary}, n) }

func TestVerifyIsOfTheEnvironment(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv(VerifyEnv, value)
		g := newRig(t).group
		if got := g.Bounces.Get(4)[0] == Canary; got != want || g.verifier != nil != want {
			t.Errorf("%s=%q: verifies %v, canaries %v; want %v", VerifyEnv, value, g.verifier != nil, got, want)
		}
	}
}

// A bounce buffer comes full of canaries, whoever had it before.
func TestCanaryFillsBuffers(t *testing.T) {
	pools := newVerified()
	for _, n := range []int{1, 512, 4096, 5000, MaxBounce, MaxBounce + 4096} {
		for range 2 { // new, and reused
			b := pools.Get(n)
			if !bytes.Equal(b[:cap(b)], canaries(cap(b))) {
				t.Errorf("a buffer of %d bytes holds something else", n)
			}
			clear(b)
			pools.Put(b)
		}
	}
}

func TestCanaryFindsStrayWrites(t *testing.T) {
	panics := func(call func()) (yes bool) {
		defer func() { yes = recover() != nil }()
		call()
		return false
	}
	pools := newVerified()
	b := pools.Get(512)
	b[:cap(b)][512] = 0
	if !panics(func() { pools.Put(b) }) {
		t.Error("a byte behind the transfer was written, and nobody saw it")
	}
	seen := false
	for range 100 { // under the race detector a sync.Pool drops some
		pools = newVerified()
		b = pools.Get(512)
		pools.Put(b)
		b[511] = 0
		seen = seen || panics(func() { pools.Get(1) })
	}
	if !seen {
		t.Error("a byte of an idle buffer was written, and nobody saw it")
	}
	pools = newVerified()
	b = pools.Get(512)
	clear(b)
	if panics(func() { pools.Put(b); pools.Get(512) }) {
		t.Error("a buffer was used as it should be, and somebody complained")
	}
}

// Each rule of the order is broken once, and found where the library itself looks.
func TestVerifyFindsOrder(t *testing.T) {
	for _, tt := range []struct {
		want   string
		breaks func(r *rig)
	}{
		{
			"the order of a file contradicts itself: order: the open epoch has -1 writes.",
			func(r *rig) {
				s := &r.file.sequence
				settle := func(times int) {
					s.mu.Lock()
					defer s.mu.Unlock()
					e := new(order.Entry[turn])
					s.order.Enter(e, order.Write, 0, 512)
					_, owed := s.order.Release(e)
					for range times {
						s.order.Settle(owed)
					}
				}
				settle(3)
				r.do(Op{Kind: Write, Buf: make([]byte, 512)})
				settle(0)
				settle(0)
			},
		},
		{
			"#0 sync may go, but is behind writes: 1 are not delivered.",
			func(r *rig) {
				write, sync := r.begin(Op{Kind: Write, Buf: make([]byte, 512)}), r.begin(Op{Kind: Sync})
				if !r.file.enterSequence(write) || r.file.enterSequence(sync) {
					r.Fatal("a Sync does not wait for a write")
				}
				s := &r.file.sequence
				s.mu.Lock()
				r.group.verifier.sequence(s.order, &sync.entry)
				s.mu.Unlock()
				told := sync.sink.(slip)
				write.slot.Finish() // lets the Sync go
				if o := <-told; o.Err != nil {
					r.Errorf("a Sync that waited = %v", o.Err)
				}
			},
		},
	} {
		r := newRig(t)
		var found []string
		r.group.Verify(func(message string) { found = append(found, message) })
		tt.breaks(r)
		if len(found) == 0 {
			t.Errorf("nothing is found, want %q", tt.want)
			continue
		}
		got, rest, _ := strings.Cut(strings.TrimPrefix(found[0], "asyncfile: ASYNCFILE_VERIFY: "), ".\n")
		if got += "."; got != tt.want {
			t.Errorf("found %q\n want %q", got, tt.want)
		}
		if lines := strings.Split(rest, "\n"); len(lines) != 2 {
			t.Errorf("%q says not what it means and what to do", found[0])
		}
		found = nil
		if o := r.do(Op{Kind: Write, Buf: make([]byte, 512)}); o.N != 512 || o.Err != nil {
			t.Errorf("afterwards: %d, %v", o.N, o.Err)
		}
		if len(found) != 0 {
			t.Errorf("afterwards: %s", found[0])
		}
	}
}
