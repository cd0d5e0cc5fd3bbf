package order

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// The specification: a list in order, in which an entry may go if none ahead of
// it that is still there conflicts with it.
type model struct {
	unit int64
	list []*member
}

type member struct {
	kind     Kind
	from, to int64
	goes     bool
	released bool // only Syncs still wait for it
	entry    *Entry[*member]
	owed     *Epoch[*member]
}

func (m *model) conflict(a, b *member) bool {
	switch {
	case b.kind == Sync:
		return a.writes()
	case a.kind == Sync, a.released:
		return false
	case a.kind == Exclusive, b.kind == Exclusive, a.kind == Append && b.kind == Append:
		return true
	}
	return a.direct() != b.direct() && a.from/m.unit <= (b.to-1)/m.unit && b.from/m.unit <= (a.to-1)/m.unit
}

func (a *member) direct() bool { return a.kind == Read || a.kind == Write }
func (a *member) writes() bool { return a.kind == Write || a.kind == Cached || a.kind == Append }

// ready returns those that may go and do not yet.
func (m *model) ready() (ready []*member) {
	for i, b := range m.list {
		if !b.goes && !slices.ContainsFunc(m.list[:i], func(a *member) bool { return m.conflict(a, b) }) {
			b.goes = true
			ready = append(ready, b)
		}
	}
	return ready
}

// A trial runs a Sequence beside the specification.
type trial struct {
	model
	s     *Sequence[*member]
	known bool              // these steps have been checked
	spare []*Entry[*member] // a slot serves the next request as soon as it is released
}

func newTrial(unit int64, bits uint) *trial {
	s := New[*member](unit)
	s.lines.bits = bits
	return &trial{model: model{unit: unit}, s: s}
}

func (r *trial) enter(kind Kind, from, to int64) error {
	e := new(Entry[*member])
	if last := len(r.spare) - 1; last >= 0 {
		e, r.spare = r.spare[last], r.spare[:last]
	}
	x := &member{kind: kind, from: from, to: to, entry: e}
	e.Of = x
	r.list = append(r.list, x)
	if goes, want := r.s.Enter(e, kind, from, to), len(r.ready()) == 1; goes != want {
		return fmt.Errorf("Enter(%v, %d, %d) = %v", kind, from, to, goes)
	}
	return r.check()
}

func (r *trial) check() error {
	if r.known {
		return nil
	}
	for i, b := range r.list {
		if b.entry == nil {
			continue // only Syncs still wait for it
		}
		var want []*member
		writes := 0
		for _, a := range r.list[:i] {
			if !r.conflict(a, b) {
				continue
			}
			if b.kind == Sync {
				writes++
			} else {
				want = append(want, a)
			}
		}
		if ahead, unsettled := r.s.Behind(b.entry); !slices.Equal(membersOf(ahead), want) || unsettled != writes {
			return fmt.Errorf("a %v is behind %d and %d writes, want %d and %d", b.kind, len(ahead), unsettled, len(want), writes)
		}
	}
	return r.s.Check()
}

// release ends x, which goes; a write is to be settled afterwards.
func (r *trial) release(x *member) error {
	ready, owed := r.s.Release(x.entry)
	got := membersOf(ready)
	r.spare = append(r.spare, x.entry)
	x.entry, x.owed, x.released = nil, owed, true
	if (owed != nil) != x.writes() {
		return fmt.Errorf("Release of a %v owes %v", x.kind, owed)
	}
	if owed == nil {
		r.remove(x)
	}
	return r.compare("Release", got)
}

func (r *trial) settle(x *member) error {
	got := membersOf(r.s.Settle(x.owed))
	r.remove(x)
	return r.compare("Settle", got)
}

func (r *trial) remove(x *member) {
	i := slices.Index(r.list, x)
	r.list = slices.Delete(r.list, i, i+1)
}

func (r *trial) compare(what string, got []*member) error {
	if want := r.ready(); !slices.Equal(got, want) {
		return fmt.Errorf("%s lets %d go, want %d, or others", what, len(got), len(want))
	}
	return r.check()
}

// end ends x as far as it has not ended.
func (r *trial) end(x *member) error {
	if x.released {
		return r.settle(x)
	}
	return r.release(x)
}

// ended returns those that may end, or be settled.
func (r *trial) ended() (list []*member) {
	for _, x := range r.list {
		if x.goes {
			list = append(list, x)
		}
	}
	return list
}

func membersOf(entries []*Entry[*member]) (list []*member) {
	for _, e := range entries {
		list = append(list, e.Of)
	}
	return list
}

// A letter is a request to enter.
type letter struct {
	kind     Kind
	from, to int64
}

// TestEveryState reaches every state of up to so many requests that are there at
// the same time, however they got there, and tries everything that may happen
// next: another one comes, or one of those that go ends. A state is what the
// specification says and which entries stand in lines; the fewest steps that lead
// to it are repeated for each trial.
func TestEveryState(t *testing.T) {
	every := []letter{{Write, 0, 4}, {Sync, 0, 0}, {Exclusive, 0, 0}}
	for from := range int64(4) {
		for to := from + 1; to <= 4; to++ {
			every = append(every, letter{Read, from, to}, letter{Cached, from, to})
		}
		every = append(every, letter{Cached, from, End}, letter{Append, from, End})
	}
	ranges := []letter{
		{Read, 0, 1}, {Read, 1, 3}, {Read, 0, 4}, {Read, 3, 4}, {Read, 2, End},
		{Cached, 0, 1}, {Cached, 1, 4}, {Cached, 2, 3}, {Cached, 1, End}, {Append, 3, End},
	}
	kinds := []letter{{Read, 1, 2}, {Write, 0, 2}, {Cached, 1, 4}, {Append, 0, End}, {Sync, 0, 0}, {Exclusive, 0, 0}}
	for _, test := range []struct {
		name           string
		alphabet       []letter
		present, short int
	}{
		{"three of every kind and range", every, 3, 2},
		{"four of many ranges", ranges, 4, 3},
		{"five of every kind", kinds, 5, 4},
		{"six that share a block or not", []letter{{Read, 0, 2}, {Cached, 1, 3}, {Append, 2, End}}, 6, 5},
		{"six around Syncs", []letter{{Write, 0, 1}, {Cached, 0, 4}, {Sync, 0, 0}}, 6, 4},
		{"six around one that is alone", []letter{{Read, 0, 2}, {Read, 3, 4}, {Cached, 1, End}, {Exclusive, 0, 0}}, 6, 4},
		{"six of one block", []letter{{Read, 0, 1}, {Cached, 0, 1}, {Append, 0, End}}, 6, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			present := test.present
			if testing.Short() {
				present = test.short
			}
			explore(t, test.alphabet, present)
		})
	}
}

// explore does the work of TestEveryState. A step is a letter, or which of those
// that may end does.
func explore(t *testing.T, alphabet []letter, present int) {
	seen := map[string]bool{"": true}
	for queue := [][]byte{{}}; len(queue) > 0; queue = queue[1:] {
		steps := queue[0]
		r := replay(t, alphabet, steps)
		next := len(alphabet) + len(r.ended())
		first := 0
		if len(r.list) == present {
			first = len(alphabet)
		}
		for step := first; step < next; step++ {
			longer := append(slices.Clip(steps), byte(step))
			if state := replay(t, alphabet, longer).state(); !seen[state] {
				seen[state] = true
				queue = append(queue, longer)
			}
		}
	}
	t.Logf("%d states", len(seen))
}

func replay(t *testing.T, alphabet []letter, steps []byte) *trial {
	r := newTrial(1, 1)
	for i, step := range steps {
		var err error
		r.known = i < len(steps)-1
		if n := int(step) - len(alphabet); n < 0 {
			l := alphabet[step]
			err = r.enter(l.kind, l.from, l.to)
		} else {
			err = r.end(r.ended()[n])
		}
		if err != nil {
			t.Fatalf("after steps %d of %v: %v", steps[:i+1], alphabet, err)
		}
	}
	return r
}

func (r *trial) state() string {
	b := []byte{byte(r.s.lines.height)}
	for _, x := range r.list {
		b = append(b, byte(x.kind), byte(x.from), byte(x.to))
		switch {
		case x.released:
			b = append(b, 0)
		case x.entry.inLines:
			b = append(b, 1)
		default:
			b = append(b, 2)
		}
	}
	return string(b)
}

// TestMisuse: an entry is in one place at a time, and leaves when it has gone.
func TestMisuse(t *testing.T) {
	s := New[int](1)
	var write, sync, never Entry[int]
	s.Enter(&write, Write, 0, 1)
	s.Enter(&sync, Sync, 0, 0)
	for name, misuse := range map[string]func(){
		"Enter twice":         func() { s.Enter(&write, Write, 0, 1) },
		"Release of a waiter": func() { s.Release(&sync) },
		"Release of nothing":  func() { s.Release(&never) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s does not panic", name)
				}
			}()
			misuse()
		}()
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

// TestCheck: Check sees what has been damaged.
func TestCheck(t *testing.T) {
	for name, damage := range map[string]func(s *Sequence[int], goes, waits *Entry[int]){
		"one goes too soon":    func(_ *Sequence[int], _, waits *Entry[int]) { waits.state = going },
		"one waits for ever":   func(_ *Sequence[int], _, waits *Entry[int]) { waits.missing++ },
		"a forgotten entry":    func(s *Sequence[int], goes, _ *Entry[int]) { s.unlink(goes) },
		"an empty line":        func(s *Sequence[int], _, _ *Entry[int]) { s.lines.get(key{node: 7}) },
		"a line lost":          func(s *Sequence[int], _, _ *Entry[int]) { s.lines.drop(s.lines.find(key{})) },
		"a holder too many":    func(s *Sequence[int], _, _ *Entry[int]) { s.lines.get(key{}).holders++ },
		"a wall that is not":   func(s *Sequence[int], goes, _ *Entry[int]) { s.wall = goes },
		"a write counted less": func(s *Sequence[int], _, _ *Entry[int]) { s.oldest.writes = 0 },
	} {
		s := New[int](1)
		var write, cached, sync Entry[int]
		s.Enter(&write, Write, 0, 1)
		s.Enter(&cached, Cached, 0, 2)
		s.Enter(&sync, Sync, 0, 0)
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		if damage(s, &write, &cached); s.Check() == nil {
			t.Errorf("%s: Check does not see it", name)
		}
	}
}

// FuzzProgram runs programs of any length over ranges of any size. With -fuzz use
// -fuzzminimizetime 10x, or most of the time goes into making programs shorter.
func FuzzProgram(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(program(seed, 600))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := run(p); err != nil {
			t.Error(err)
		}
	})
}

// TestRandomPrograms runs longer ones.
func TestRandomPrograms(t *testing.T) {
	n := 60
	if testing.Short() {
		n = 5
	}
	for range n {
		seed := rand.Uint64()
		if err := run(program(seed, 10_000)); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

func program(seed uint64, n int) []byte {
	p := make([]byte, n)
	rng := rand.NewPCG(seed, 1)
	for i := range p {
		p[i] = byte(rng.Uint64())
	}
	return p
}

// run carries out p, five bytes a step, and ends what is left.
func run(p []byte) error {
	if len(p) < 4 {
		return nil
	}
	unit := []int64{1, 512, 4096, 12288}[p[0]%4]
	r := newTrial(unit, uint(1+p[1]%6))
	most, span := 1+int(p[2]), uint(p[3]%50)
	for p = p[4:]; len(p) >= 5; p = p[5:] {
		list := r.ended()
		if len(r.list) < most && (len(list) == 0 || p[0]%2 == 0) {
			kind, from, to := aRequest(p, span)
			if err := r.enter(kind, from, to); err != nil {
				return err
			}
		} else if err := r.end(list[int(p[1])%len(list)]); err != nil {
			return err
		}
	}
	for list := r.ended(); len(list) > 0; list = r.ended() {
		if err := r.end(list[0]); err != nil {
			return err
		}
	}
	if len(r.list) > 0 || r.s.first != nil || r.s.lines.n != 0 || r.s.turns.holders != 0 || !r.s.frontEmpty() {
		return fmt.Errorf("%d are left, and %d lines", len(r.list), r.s.lines.n)
	}
	return nil
}

// aRequest makes a request of five bytes, somewhere in 2^span blocks of 256 bytes.
func aRequest(p []byte, span uint) (Kind, int64, int64) {
	kinds := []Kind{Read, Write, Cached, Cached, Append, Read, Write, Cached, Read, Sync, Write, Exclusive}
	kind := kinds[int(p[1])%len(kinds)]
	if kind == Exclusive && p[2] > 60 {
		kind = Cached
	}
	from := (int64(p[2])<<span | int64(p[3])) &^ (int64(p[4]&3) << 7)
	to := from + 1 + int64(p[4])<<(uint(p[3])%(span+1))
	if kind == Append || kind == Cached && p[3]%8 == 0 || p[3] == 1 {
		to = End
	}
	return kind, from, to
}
