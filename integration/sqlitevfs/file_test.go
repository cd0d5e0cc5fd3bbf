package sqlitevfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3/vfs"
)

// Reads anywhere in a file, whose end is not on a block, answer with what is
// there; io.EOF says that it is less than was asked.
func TestFileReadAt(t *testing.T) {
	const size = 3*block + 1000
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			m.setup(t)
			name := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(name, want, 0o666); err != nil {
				t.Fatal(err)
			}
			f := openFile(t, m, name, os.O_RDWR)
			for _, c := range []struct{ off, size int }{
				{0, 100}, {24, 16}, {0, block}, {block, 2 * block}, {block - 1, 2}, {1, 3 * block},
				{3 * block, 1000}, {3 * block, block}, {size - 1, 1}, {size - 10, 20},
				{size, 1}, {size, block}, {size + 1, 10}, {4 * block, block}, {9 * block, 1}, {5, 0},
			} {
				p := make([]byte, c.size)
				n, err := f.ReadAt(p, int64(c.off))
				expect := min(c.size, max(0, size-c.off))
				if n != expect || !bytes.Equal(p[:n], want[min(c.off, size):min(c.off, size)+n]) {
					t.Errorf("%d bytes at %d: %d, want %d; or not the right ones", c.size, c.off, n, expect)
				}
				if short := expect < c.size; short && err != io.EOF || !short && err != nil {
					t.Errorf("%d bytes at %d: %v", c.size, c.off, err)
				}
			}
		})
	}
}

// What was written is seen by Size, Truncate and ReadAt, whether or not it was
// waited for, and of two writes to one place the later one counts.
func TestFileWriteAt(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			m.setup(t)
			f := openFile(t, m, filepath.Join(t.TempDir(), "file"), os.O_RDWR|os.O_CREATE)
			const blocks = 3 * maxPending
			p := make([]byte, block)
			for round := range 3 {
				for i := range blocks {
					for j := range p {
						p[j] = byte(i ^ round)
					}
					if _, err := f.WriteAt(p, int64(i)*block); err != nil {
						t.Fatal(err)
					}
					if round > 0 { // again, at once
						p[0] = 'x'
						if _, err := f.WriteAt(p, int64(i)*block); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if size, err := f.Size(); size != blocks*block || err != nil {
				t.Errorf("size %d, %v; want %d", size, err, blocks*block)
			}
			for i := range blocks {
				if _, err := f.ReadAt(p, int64(i)*block); err != nil {
					t.Fatal(err)
				}
				if p[0] != 'x' || p[1] != byte(i^2) || p[block-1] != byte(i^2) {
					t.Fatalf("block %d: %x %x %x", i, p[0], p[1], p[block-1])
				}
			}
			if err := errors.Join(f.Sync(vfs.SYNC_NORMAL), f.Sync(vfs.SYNC_FULL|vfs.SYNC_DATAONLY), f.Truncate(block)); err != nil {
				t.Error(err)
			}
			if err := errors.Join(f.SizeHint(7*block), f.SizeHint(2*block)); err != nil {
				t.Error(err)
			}
			if size, err := f.Size(); size != 7*block || err != nil {
				t.Errorf("size %d, %v; want %d", size, err, 7*block)
			}
		})
	}
}

// An error that a write came to after WriteAt had returned is not lost, and is
// reported once.
func TestFileReportsWriteBehind(t *testing.T) {
	m := modeNamed("pool-async")
	m.setup(t)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, block), 0o666); err != nil {
		t.Fatal(err)
	}
	for what, report := range map[string]func(f *File) error{
		"SyncSuper": func(f *File) error {
			f.Pragma("synchronous", "off")
			return f.SyncSuper("")
		},
		"Sync":     func(f *File) error { return f.Sync(vfs.SYNC_NORMAL) },
		"Datasync": func(f *File) error { return f.Sync(vfs.SYNC_NORMAL | vfs.SYNC_DATAONLY) },
		"Unlock":   func(f *File) error { return f.Unlock(vfs.LOCK_NONE) },
		"ReadAt":   func(f *File) error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		"Size":     func(f *File) error { _, err := f.Size(); return err },
		"Close":    (*File).Close,
	} {
		f := openFile(t, m, name, os.O_RDONLY)
		if _, err := f.WriteAt(make([]byte, block), 0); err != nil {
			t.Errorf("%s: the write was waited for: %v", what, err)
		}
		if err := report(f); !errors.Is(err, syscall.EBADF) {
			t.Errorf("%s: %v, want EBADF", what, err)
		}
		if err := f.settle(); err != nil {
			t.Errorf("%s: reported twice: %v", what, err)
		}
	}
}
