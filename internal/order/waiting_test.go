package order

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// What Waiting says is what the specification has: who waits, and for whom.
func TestWaiting(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		r := newTrial(4, fanoutBits)
		for range 60 {
			if ended := r.ended(); len(ended) > 0 && rnd.IntN(2) == 0 {
				if err := r.end(ended[rnd.IntN(len(ended))]); err != nil {
					t.Fatal(err)
				}
			} else {
				from := rnd.Int64N(40)
				to := from + 1 + rnd.Int64N(10)
				if rnd.IntN(4) == 0 {
					to = End
				}
				if err := r.enter(Kind(rnd.IntN(int(Exclusive)+1)), from, to); err != nil {
					t.Fatal(err)
				}
			}
			var want []Wait[*member]
			for i, b := range r.list {
				if b.goes {
					continue
				}
				w := Wait[*member]{Of: b}
				for _, a := range r.list[:i] {
					if !a.released && r.conflict(a, b) {
						w.Ahead = append(w.Ahead, a)
					}
				}
				want = append(want, w)
			}
			got := r.s.Waiting()
			if !slices.EqualFunc(got, want, func(a, b Wait[*member]) bool { return a.Of == b.Of && slices.Equal(a.Ahead, b.Ahead) }) {
				t.Fatalf("seed %d: %d wait, want %d, or for others", seed, len(got), len(want))
			}
		}
	}
}
