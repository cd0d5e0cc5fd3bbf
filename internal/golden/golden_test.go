package golden

import (
	"slices"
	"strings"
	"testing"
)

const sample = `# A title.
#
# A story.

read a 0+512
wait a
----
a: 512 bytes
  token: free

# Nothing comes of it.
time 2ms
----

close
----
closed

# The end.
`

func TestParse(t *testing.T) {
	s, err := Parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.String(); got != sample {
		t.Errorf("written as\n%s", got)
	}
	if got := s.Prose(); got != "A title.\n\nA story." {
		t.Errorf("the prose is %q", got)
	}
	if len(s.Steps) != 3 {
		t.Fatalf("%d steps, want 3", len(s.Steps))
	}
	first := s.Steps[0]
	if first.Line != 5 || len(first.Commands) != 2 || first.Commands[0].Verb != "read" ||
		!slices.Equal(first.Commands[0].Args, []string{"a", "0+512"}) || first.Commands[1].Line != 6 {
		t.Errorf("the first step is %+v", first)
	}
	if want := []string{"a: 512 bytes", "  token: free"}; !slices.Equal(first.Want, want) {
		t.Errorf("it wants %q", first.Want)
	}
	if second := s.Steps[1]; len(second.Want) != 0 || second.Line != 12 {
		t.Errorf("the second step is %+v", second)
	}
}

func TestParseRewritten(t *testing.T) {
	s, err := Parse(sample)
	if err != nil {
		t.Fatal(err)
	}
	s.Steps[0].Want, s.Steps[1].Want = nil, []string{"more"}
	again, err := Parse(s.String())
	if err != nil || len(again.Steps) != 3 {
		t.Fatalf("%v, or not 3 steps", err)
	}
	for i, want := range [][]string{nil, {"more"}, {"closed"}} {
		if !slices.Equal(again.Steps[i].Want, want) {
			t.Errorf("step %d wants %q, want %q", i, again.Steps[i].Want, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"----\n":           "line 1",
		"read\n":           "line 1",
		"read\n\n----\n":   "line 2",
		"# x\nread\n# y\n": "line 3",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error of %s", text, err, want)
		}
	}
	for _, text := range []string{"", "# nothing\n"} {
		if s, err := Parse(text); err != nil || len(s.Steps) > 0 {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDiff(t *testing.T) {
	list := func(s string) []string { return strings.Fields(s) }
	for _, test := range []struct{ want, got, diff string }{
		{"", "", ""},
		{"a b", "a b", ""},
		{"a b c", "a c", "  a\n- b\n  c\n"},
		{"a c", "a b c d", "  a\n+ b\n  c\n+ d\n"},
		{"a", "b", "- a\n+ b\n"},
		{"a", "", "- a\n"},
		{"a a", "a", "  a\n- a\n"},
	} {
		if got := Diff(list(test.want), list(test.got)); got != test.diff {
			t.Errorf("%q to %q is %q, want %q", test.want, test.got, got, test.diff)
		}
	}
}
