package asyncfile

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/vec/vectest"
)

// TestFaultingMemory: memory that cannot be read or written answers EFAULT, as for
// an os.File, also where the library copies: what is bounced, and what has a
// deadline.
func TestFaultingMemory(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		for _, deadline := range []bool{false, true} {
			f := open(putFile(t, testPattern(16*testBlock, 1)), os.O_RDWR)
			v := f.File()
			if deadline {
				v.SetDeadline(time.Now().Add(time.Hour))
			}
			readOnly := vectest.ReadOnly(t, make([]byte, 2*testBlock))
			reserved := vectest.Reserved(t, 2*testBlock)
			for name, call := range map[string]func() (int, error){
				"File.ReadAt":        func() (int, error) { return v.ReadAt(readOnly, 0) },
				"File.ReadAt, odd":   func() (int, error) { return v.ReadAt(readOnly[:100], 7) },
				"File.Read":          func() (int, error) { return v.Read(readOnly[1:]) },
				"File.WriteAt":       func() (int, error) { return v.WriteAt(reserved[:testBlock], 0) },
				"File.WriteAt, odd":  func() (int, error) { return v.WriteAt(reserved[:100], 7) },
				"File.Write":         func() (int, error) { return v.Write(reserved[1:]) },
				"AsyncFile.ReadAt":   func() (int, error) { return f.ReadAt(readOnly[1:], 3).Wait() },
				"AsyncFile.WriteAt":  func() (int, error) { return f.WriteAt(reserved[1:], 3).Wait() },
				"AsyncFile.WritevAt": func() (int, error) { return f.WritevAt([][]byte{reserved[1:9], reserved[9:]}, 0).Wait() },
			} {
				if n, err := call(); n != 0 || !errors.Is(err, syscall.EFAULT) {
					t.Errorf("%s, deadline %v: %d, %v; want 0, EFAULT", name, deadline, n, err)
				}
			}
			if at, err := v.Seek(0, io.SeekCurrent); at != 0 || err != nil {
				t.Errorf("the cursor is at %d, %v", at, err)
			}
			wantContent(t, f.Name(), testPattern(16*testBlock, 1))
		}
	})
}
