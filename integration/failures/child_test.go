package failures

import (
	"os"
	"os/exec"
	"testing"
)

// inChild runs the test again, in a process of its own.
func inChild(t *testing.T) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v=true")
	cmd.Env = append(os.Environ(), "ASYNCFILE_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}
