package disks

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// frozenAtMost is for how many seconds a file system stays frozen if nobody
// thaws it. What sleeps in it cannot be killed, and so could not end either.
const frozenAtMost = "45"

// Freeze freezes the file system that is mounted on dir, as fsfreeze(8) does
// for a snapshot: what writes to it sleeps in the kernel until thaw, which may be
// called more than once. The test's end thaws it, and so does a process of its
// own when this one dies or takes too long.
func Freeze(t testing.TB, dir string) (thaw func()) {
	t.Helper()
	if _, err := exec.LookPath("fsfreeze"); err != nil {
		Unable(t, "%v", err)
	}
	thaw = guard(t, `timeout `+frozenAtMost+` cat; exec fsfreeze --unfreeze "$0"`, dir)
	if out, err := exec.Command("fsfreeze", "--freeze", dir).CombinedOutput(); err != nil {
		Unable(t, "fsfreeze %s: %v: %s", dir, err, out)
	}
	return thaw
}

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

// Sleepers returns how many threads of this process sleep in a write to a frozen
// file system.
func Sleepers() (n int) {
	tasks, _ := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		if where, err := os.ReadFile(task + "/wchan"); err == nil && strings.HasPrefix(string(where), "percpu_rwsem") {
			n++
		}
	}
	return n
}
