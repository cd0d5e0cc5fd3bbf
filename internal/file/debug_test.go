package file

import (
	"os"
	"testing"
)

func TestDebugIsOfTheEnvironment(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "1": true} {
		t.Setenv(DebugEnv, value)
		g := newRig(t).group
		if got := g.tracer != nil; got != want || got && g.tracer.out != os.Stderr {
			t.Errorf("%s=%q: traces %v, want %v", DebugEnv, value, got, want)
		}
	}
}
