package term

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A size that is written is read back, with any suffix.
func TestSize(t *testing.T) {
	for i, suffix := range []string{"", "k", "m", "g", "t"} {
		for _, text := range []string{"3" + suffix, "3" + strings.ToUpper(suffix)} {
			var s Size
			if err := s.UnmarshalText([]byte(text)); err != nil || s != 3<<(10*i) {
				t.Errorf("%q is %d, %v", text, s, err)
			}
			var again Size
			if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
				t.Errorf("%v is read as %v, %v", s, again, err)
			}
		}
	}
	for _, text := range []string{"", "x", "-1", "4kk", "1e999"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %v", text, s)
		}
	}
}

// Three digits are kept of a duration, and it is not off by more.
func TestShort(t *testing.T) {
	random := rand.New(rand.NewPCG(15, 16))
	for range 1000 {
		d := time.Duration(random.Int64N(1 << (1 + random.IntN(45))))
		got, err := time.ParseDuration(Short(d))
		if err != nil || got-d > d/100 || d-got > d/100 {
			t.Fatalf("%d is %s", d, Short(d))
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	(&Screen{Out: &b}).Table([]string{">n", "name"}, [][]string{{"1", "a"}, {"100", "b"}})
	if got, want := b.String(), "  n  name\n  1  a\n100  b\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// On what is no terminal nothing is shown.
func TestBar(t *testing.T) {
	var b bytes.Buffer
	bar := (&Screen{Err: &b}).Progress(10, "copy")
	bar.Describe("x")
	bar.Total(20)
	bar.Add(5)
	bar.Clear()
	if b.Len() > 0 {
		t.Errorf("%q", b.String())
	}
}
