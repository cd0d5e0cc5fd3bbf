package asyncfile

import (
	"bytes"
	"testing"
)

// newVerified returns the bounce buffers of a Ring that verifies.
func newVerified() *bouncePool { return &bouncePool{canary: true} }

func canaries(n int) []byte { return bytes.Repeat([]byte{canaryByte}, n) }

func TestVerifyIsOfTheEnvironment(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv(verifyEnv, value)
		r, err := NewRing(WithBackend(BackendPool))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.bounces.get(4)[0] == canaryByte; got != want || r.verify != want {
			t.Errorf("%s=%q: verifies %v, canaries %v; want %v", verifyEnv, value, r.verify, got, want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A bounce buffer comes full of canaries, whoever had it before.
func TestCanaryFillsBuffers(t *testing.T) {
	pools := newVerified()
	for _, n := range []int{1, 512, 4096, 5000, maxBounce, maxBounce + 4096} {
		for range 2 { // new, and reused
			b := pools.get(n)
			if !bytes.Equal(b[:cap(b)], canaries(cap(b))) {
				t.Errorf("a buffer of %d bytes holds something else", n)
			}
			clear(b)
			pools.put(b)
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
	b := pools.get(512)
	b[:cap(b)][512] = 0
	if !panics(func() { pools.put(b) }) {
		t.Error("a byte behind the transfer was written, and nobody saw it")
	}
	seen := false
	for range 100 { // under the race detector a sync.Pool drops some
		pools = newVerified()
		b = pools.get(512)
		pools.put(b)
		b[511] = 0
		seen = seen || panics(func() { pools.get(1) })
	}
	if !seen {
		t.Error("a byte of an idle buffer was written, and nobody saw it")
	}
	pools = newVerified()
	b = pools.get(512)
	clear(b)
	if panics(func() { pools.put(b); pools.get(512) }) {
		t.Error("a buffer was used as it should be, and somebody complained")
	}
}
