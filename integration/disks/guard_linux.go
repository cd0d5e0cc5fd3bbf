package disks

import (
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// await is a function for the scripts of Guard. It returns when there is something
// to undo, or this process has been killed: what sleeps in it for something that
// it serves itself keeps it, and its end of the pipe, for as long as that is there.
const await = `await() {
	while timeout 5 cat; [ $? = 124 ] && ! grep -qE '^State:.Z|^SigPnd:.*[13579bdf]..$' /proc/$parent/status; do :; done
}
`

// Guard starts a shell that runs script, which first calls await, or reads its
// standard input to the end. That comes with the first call of undo, the end of the
// test or of this process.
func Guard(t testing.TB, script string, args ...string) (undo func()) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", "parent=" + strconv.Itoa(os.Getpid()) + "\n" + await + script}, args...)...)
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
