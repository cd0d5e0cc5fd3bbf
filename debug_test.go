package asyncfile

import (
	"bytes"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/internal/aiotest"
)

// What is traced of a program, on a clock that stands still unless the program
// sleeps.
func TestTrace(t *testing.T) {
	const block = 512
	for _, tt := range []struct {
		name string
		run  func(s *scripted)
		want string
	}{
		{"direct write", func(s *scripted) {
			s.direct.WriteAt(make([]byte, block), 1024).Wait()
		}, `
asyncfile 0.000000 ring #1 write 1024+512 3.-: begun, on FILE
asyncfile 0.000000 ring #1 write 1024+512 3.-: pending
asyncfile 0.000000 ring #1 write 1024+512 3.1: io_submit 1 of 1: pwrite 1024+512
asyncfile 0.000000 ring #1 write 1024+512 3.1: in flight
asyncfile 0.000000 ring #1 write 1024+512 3.1: event 512
asyncfile 0.000000 ring #1 write 1024+512 3.1: ended 512
asyncfile 0.000000 ring #1 write 1024+512 3.1: delivered
`},
		{"unaligned write", func(s *scripted) {
			s.direct.core.Align.Offset = block
			s.direct.WriteAt(make([]byte, 100), 7).Wait()
		}, `
asyncfile 0.000000 ring #1 write 7+100 3.-: begun, on FILE
asyncfile 0.000000 ring #1 write 7+100 3.-: to a worker, to carry it out
asyncfile 0.000000 ring #1 write 7+100 3.-: with a worker
asyncfile 0.000000 ring #1 write 7+100 3.-: ended 100
asyncfile 0.000000 ring #1 write 7+100 3.-: delivered
`},
		{"Sync behind a write", func(s *scripted) {
			s.hold()
			write, sync := s.direct.WriteAt(make([]byte, block), 0), s.direct.Sync()
			ask(sync)
			s.settle()
			time.Sleep(1234567 * time.Microsecond) // of the bubble
			s.kernel.OnOp(nil)
			s.kernel.Held()[0].Complete()
			WaitAll(write, sync)
		}, `
asyncfile 0.000000 ring #1 write 0+512 3.-: begun, on FILE
asyncfile 0.000000 ring #1 write 0+512 3.-: pending
asyncfile 0.000000 ring #2 sync 2.-: begun, on FILE
asyncfile 0.000000 ring #2 sync 2.-: waits in sequence behind writes: 1 are not delivered
asyncfile 0.000000 ring #1 write 0+512 3.1: io_submit 1 of 1: pwrite 0+512
asyncfile 0.000000 ring #1 write 0+512 3.1: in flight
asyncfile 1.234567 ring #1 write 0+512 3.1: event 512
asyncfile 1.234567 ring #1 write 0+512 3.1: ended 512
asyncfile 1.234567 ring #1 write 0+512 3.1: delivered
asyncfile 1.234567 ring #2 sync 2.-: may go
asyncfile 1.234567 ring #2 sync 2.-: pending
asyncfile 1.234567 ring #2 sync 2.1: io_submit 1 of 1: fsync
asyncfile 1.234567 ring #2 sync 2.1: in flight
asyncfile 1.234567 ring #2 sync 2.1: event 0
asyncfile 1.234567 ring #2 sync 2.1: ended 0
asyncfile 1.234567 ring #2 sync 2.1: delivered
`},
		{"no room, short, refused and failed", func(s *scripted) {
			s.answers(takes(1), saysAgain, refuses(syscall.EIO))
			s.script(aiotest.Short(block), aiotest.Fail(syscall.ENOMEM))
			s.submit(s.direct, readOps(2, 2*block)...)
			s.settle()
			time.Sleep(time.Second) // of the bubble
		}, `
asyncfile 0.000000 ring #1 read 0+1024 3.-: begun, on FILE
asyncfile 0.000000 ring #2 read 1024+1024 2.-: begun, on FILE
asyncfile 0.000000 ring #1 read 0+1024 3.-: pending
asyncfile 0.000000 ring #2 read 1024+1024 2.-: pending
asyncfile 0.000000 ring #1 read 0+1024 3.1: io_submit 1 of 2: pread 0+1024
asyncfile 0.000000 ring #2 read 1024+1024 2.1: io_submit 2 of 2: pread 1024+1024
asyncfile 0.000000 ring #1 read 0+1024 3.1: in flight
asyncfile 0.000000 ring #2 read 1024+1024 2.1: pending, since io_submit took 1 of 2: resource temporarily unavailable
asyncfile 0.000000 ring #1 read 0+1024 3.1: event 512
asyncfile 0.000000 ring #1 read 0+1024 3.1: short, 512 of 1024, and continued
asyncfile 0.000000 ring #1 read 0+1024 3.1: pending
asyncfile 0.000000 ring #2 read 1024+1024 2.2: io_submit 1 of 2: pread 1024+1024
asyncfile 0.000000 ring #1 read 0+1024 3.2: io_submit 2 of 2: pread 512+512
asyncfile 0.000000 ring #1 read 0+1024 3.2: pending, since io_submit took 0 of 2: input/output error
asyncfile 0.000000 ring #2 read 1024+1024 2.2: ended 0, read FILE: input/output error
asyncfile 0.000000 ring #2 read 1024+1024 2.2: delivered
asyncfile 0.000000 ring #1 read 0+1024 3.3: io_submit 1 of 1: pread 512+512
asyncfile 0.000000 ring #1 read 0+1024 3.3: in flight
asyncfile 0.000000 ring #1 read 0+1024 3.3: event 0, cannot allocate memory
asyncfile 0.000000 ring #1 read 0+1024 3.3: ended 512, read FILE: cannot allocate memory
asyncfile 0.000000 ring #1 read 0+1024 3.3: delivered
`},
		{"read behind a write through the page cache", func(s *scripted) {
			s.direct.core.Mixed, s.direct.core.Align.Offset, s.direct.core.Align.ReadOffset = true, block, block
			free := make(chan struct{})
			for range defaultWorkers {
				s.direct.core.Lane.Go(jobFunc(func() { <-free }))
			}
			write, read := s.direct.WriteAt(make([]byte, 100), 7), s.direct.ReadAt(AlignedBuffer(block), 0)
			close(free)
			WaitAll(write, read)
		}, `
asyncfile 0.000000 ring #1 write 7+100 3.-: begun, on FILE
asyncfile 0.000000 ring #1 write 7+100 3.-: to a worker, to carry it out
asyncfile 0.000000 ring #2 read 0+512 2.-: begun, on FILE
asyncfile 0.000000 ring #2 read 0+512 2.-: waits in sequence behind #1 write
asyncfile 0.000000 ring #1 write 7+100 3.-: with a worker
asyncfile 0.000000 ring #1 write 7+100 3.-: ended 100
asyncfile 0.000000 ring #2 read 0+512 2.-: may go
asyncfile 0.000000 ring #1 write 7+100 3.-: delivered
asyncfile 0.000000 ring #2 read 0+512 2.-: pending
asyncfile 0.000000 ring #2 read 0+512 2.1: io_submit 1 of 1: pread 0+512
asyncfile 0.000000 ring #2 read 0+512 2.1: in flight
asyncfile 0.000000 ring #2 read 0+512 2.1: event 512
asyncfile 0.000000 ring #2 read 0+512 2.1: ended 512
asyncfile 0.000000 ring #2 read 0+512 2.1: delivered
`},
		{"what needs no request", func(s *scripted) {
			s.direct.ReadAt(nil, 0)
			s.direct.Close()
			s.direct.ReadAt(make([]byte, 1), 5)
		}, `
asyncfile 0.000000 ring #1 read 0+0: answered 0
asyncfile 0.000000 ring #2 read 5+1: answered 0, read FILE: file already closed
`},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				boundBubble(t)
				s := newScripted(t, aiotest.New(4), WithQueueDepth(4))
				s.inBubble = true
				s.settle()
				var out bytes.Buffer
				s.ring.files.Trace(&out)
				tt.run(s)
				s.settle()
				got := strings.ReplaceAll(out.String(), s.direct.Name(), "FILE")
				if got = strings.ReplaceAll(got, fmt.Sprintf("%p", s.ring.core), "ring"); got != tt.want[1:] {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want[1:])
				}
			})
		})
	}
}
