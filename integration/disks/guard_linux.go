package disks

import (
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// guard starts a shell that runs script, which reads its standard input to the
// end first. That comes with the first call of undo, the end of the test or of
// this process.
func guard(t testing.TB, script string, args ...string) (undo func()) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", script}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of the reach of who kills the tests
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	undo = sync.OnceFunc(func() {
		stdin.Close()
		cmd.Wait() // it has failed if there was nothing to undo
	})
	t.Cleanup(undo)
	return undo
}
