package isolation

import (
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/integration/disk"
)

// TestHungServer has loads on a file system whose server does not answer.
func TestHungServer(t *testing.T) {
	server := disk.NewFiles(t)
	w := &world{a: server.Dir, b: kinds[0].Mount(t), server: server}
	for _, l := range loads {
		t.Run(l.name, func(t *testing.T) {
			w.traffic(t, &l, newFile(t, w.a, 0, direct...), newFile(t, w.b, 0, direct...))
		})
		t.Run(l.name+", buffered", func(t *testing.T) {
			w.traffic(t, &l, newFile(t, w.a, 0), newFile(t, w.b, 0))
		})
	}
}

// TestHungSize has a server that does not say how large a file is, as an Append
// has to know, while a write to that file completes. Neither the caller of Append
// nor who takes the completion may wait for the server.
func TestHungSize(t *testing.T) {
	server := disk.NewFiles(t)
	w := &world{b: kinds[0].Mount(t)}
	for _, opts := range [][]asyncfile.Option{direct, with(direct, pool), buffered, with(buffered, aio)} {
		fa, fb := newFile(t, server.Dir, 0, opts...), newFile(t, w.b, 0, opts...)
		server.Hang()
		t.Cleanup(server.Answer)
		cold := &winter{t, server.Answer, func() bool { return server.Held() > 0 }}
		var writes []*asyncfile.Future
		cold.must("WriteAt", func() { writes = append(writes, fa.WriteAt(block, 0)) })
		cold.hasSleeper()
		var appended *asyncfile.Future
		called := make(chan struct{})
		go func() {
			defer close(called)
			appended = fa.Append(block)
		}()
		await(func() bool { return done(called) || server.Held() > 1 })
		server.HangSize() // and answer the write
		cold.must("B", func() {
			for i := range enough {
				if err := operate(fb, i); err != nil {
					t.Error(err)
				}
			}
		})
		cold.must("the write", func() { asyncfile.WaitAll(writes...) })
		cold.must("another write", func() { writes = append(writes, fa.WriteAt(block, 2*blockSize)) })
		cold.thaw() // an Append asks for the size, and waits as long as stat(2) does
		<-called
		if err := asyncfile.WaitAll(writes...); err != nil {
			t.Error(err)
		}
		if _, err := appended.Wait(); err != nil {
			t.Error(err)
		}
		if off := appended.Offset(); off != fileSize {
			t.Errorf("appended at %d of %d bytes", off, fileSize)
		}
		holds(t, fa, fileSize, block)
		holds(t, fa, 0, block)
	}
}

func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
