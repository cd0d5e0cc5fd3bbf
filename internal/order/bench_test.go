package order

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

const page = 4096

// A flow keeps depth entries in a Sequence: each step ends one of those that go
// and has another come.
type flow struct {
	s     *Sequence[int]
	going []*Entry[int]
	spare []*Entry[int]
	rng   *rand.Rand
	next  func(rng *rand.Rand) (Kind, int64, int64)
}

func newFlow(depth int, next func(rng *rand.Rand) (Kind, int64, int64)) *flow {
	f := &flow{s: New[int](page), rng: rand.New(rand.NewPCG(1, 2)), next: next}
	for i := range depth {
		f.spare = append(f.spare, &Entry[int]{Of: i})
	}
	for len(f.spare) > 0 {
		f.enter()
	}
	return f
}

func (f *flow) enter() {
	last := len(f.spare) - 1
	e := f.spare[last]
	f.spare = f.spare[:last]
	kind, from, to := f.next(f.rng)
	if f.s.Enter(e, kind, from, to) {
		f.going = append(f.going, e)
	}
}

// end ends one of those that go, any of them.
func (f *flow) end() {
	i, last := f.rng.IntN(len(f.going)), len(f.going)-1
	e := f.going[i]
	f.going[i] = f.going[last]
	f.going = f.going[:last]
	ready, owed := f.s.Release(e)
	f.going = append(f.going, ready...)
	f.going = append(f.going, f.s.Settle(owed)...)
	f.spare = append(f.spare, e)
}

func (f *flow) step() {
	f.end()
	f.enter()
}

// What comes: kinds and ranges.
var flows = []struct {
	name   string
	depths []int
	next   func(rng *rand.Rand) (Kind, int64, int64)
}{
	{"nothing conflicts", []int{32, 128, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := rng.Int64N(1<<20) * page
		return Kind(rng.IntN(2)), at, at + page
	}},
	{"64 pages mixed", []int{128, 4096, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := rng.Int64N(64) * page
		return []Kind{Read, Cached}[rng.IntN(2)], at, at + 100
	}},
	{"1 GiB mixed", []int{128, 4096, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := rng.Int64N(1<<18) * page
		return []Kind{Read, Write, Cached}[rng.IntN(3)], at, at + 100
	}},
	{"one in a hundred cached", []int{128, 4096}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := rng.Int64N(1<<18) * page
		if rng.IntN(100) == 0 {
			return Cached, at, at + 100
		}
		return Read, at, at + page
	}},
	{"1 MiB mixed", []int{128, 4096}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := rng.Int64N(1<<18) * page
		return []Kind{Read, Write, Cached}[rng.IntN(3)], at, at + 1<<20
	}},
	{"tails and reads", []int{128, 4096, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		if rng.IntN(2) == 0 {
			return Cached, 1<<30 - rng.Int64N(1<<20), End
		}
		at := rng.Int64N(1<<18-1<<8) * page
		return Read, at, at + page
	}},
	{"tails and reads at the end", []int{128, 4096, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := 1<<30 + rng.Int64N(8)*page
		if rng.IntN(2) == 0 {
			return Cached, at, End
		}
		return Read, at, at + page
	}},
	{"appends and syncs", []int{128, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		return []Kind{Append, Append, Append, Sync}[rng.IntN(4)], 1 << 30, End
	}},
	{"writes and syncs", []int{128, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		return []Kind{Write, Write, Write, Sync}[rng.IntN(4)], 0, page
	}},
	{"all exclusive", []int{128, 16384}, func(rng *rand.Rand) (Kind, int64, int64) { return Exclusive, 0, End }},
	{"some exclusive", []int{128, 16384}, func(rng *rand.Rand) (Kind, int64, int64) {
		at := rng.Int64N(64) * page
		return []Kind{Read, Write, Read, Write, Cached, Read, Write, Exclusive}[rng.IntN(8)], at, at + page
	}},
}

// BenchmarkFlow: what one request costs, which is not to grow with the depth.
func BenchmarkFlow(b *testing.B) {
	for _, test := range flows {
		for _, depth := range test.depths {
			b.Run(fmt.Sprintf("%s/%d", test.name, depth), func(b *testing.B) {
				f := newFlow(depth, test.next)
				for b.Loop() {
					f.step()
				}
			})
		}
	}
}

// BenchmarkAlone is Enter and Release by themselves, without the choice of a request.
func BenchmarkAlone(b *testing.B) {
	for _, kind := range []Kind{Read, Write, Cached, Append, Exclusive, Sync} {
		b.Run(kind.String(), func(b *testing.B) {
			s := New[*int](page)
			var e Entry[*int]
			for b.Loop() {
				s.Enter(&e, kind, 0, page)
				_, owed := s.Release(&e)
				s.Settle(owed)
			}
		})
	}
}

// TestNoAllocations: a flow that has found its size allocates nothing.
func TestNoAllocations(t *testing.T) {
	for _, test := range flows {
		f := newFlow(128, test.next)
		for range 20_000 {
			f.step()
		}
		if n := testing.AllocsPerRun(20_000, f.step); n != 0 {
			t.Errorf("%s: %v allocations a request", test.name, n)
		}
	}
}
