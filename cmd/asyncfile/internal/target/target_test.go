package target

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestScratch(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(t.Context(), Request{Path: dir, Size: 3<<20 + 512, Write: true})
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d names are seen", len(left))
	}
	if info, err := r.File.Stat(); err != nil || info.Size() != r.Size || !r.Scratch {
		t.Errorf("%v, %v", info, err)
	}
	if n, err := r.Blocks(4096); n != 768 || err != nil {
		t.Errorf("Blocks = %d, %v", n, err)
	}
	if _, err := r.Blocks(4 << 20); err == nil {
		t.Error("a block larger than the file fits")
	}
	f, err := r.Async()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt([]byte("seen"), 100).Wait(); n != 4 || err != nil {
		t.Error(n, err)
	}
	if err := errors.Join(f.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}

// What somebody has stored is written only where that was asked for.
func TestOverwrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Request{Path: name, Write: true}); !errors.Is(err, ErrOverwrite) {
		t.Errorf("to be written: %v", err)
	}
	read, err := Open(t.Context(), Request{Path: name})
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if _, err := read.File.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a file that is to be read can be written")
	}
	written, err := Open(t.Context(), Request{Path: name, Write: true, Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	defer written.Close()
	if written.Size != 8 || written.Scratch {
		t.Errorf("%+v", written)
	}
}

func TestRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Request{Path: t.TempDir(), Size: 1 << 20}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %v", err)
	}
	if _, err := Open(t.Context(), Request{Path: os.DevNull}); err == nil {
		t.Error("the null device is opened")
	}
	if _, err := Open(t.Context(), Request{Path: filepath.Join(t.TempDir(), "absent")}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
