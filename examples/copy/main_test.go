package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

func TestCopy(t *testing.T) {
	for _, size := range []int{0, 1, 4096, blockSize - 1, blockSize, blockSize + 1, (buffers+2)*blockSize + 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
			want := make([]byte, size)
			rand.NewChaCha8([32]byte{2}).Read(want)
			if err := os.WriteFile(source, want, 0o600); err != nil {
				t.Fatal(err)
			}
			if n, err := copyFile(source, target); n != int64(size) || err != nil {
				t.Fatalf("copyFile = %d, %v", n, err)
			}
			if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the copy has %d bytes and is not the same, %v", len(got), err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	file, target := filepath.Join(dir, "file"), filepath.Join(dir, "target")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := copyFile(file, file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("copy onto itself: error %v, want fs.ErrExist", err)
	}
	if got, err := os.ReadFile(file); string(got) != "precious" || err != nil {
		t.Errorf("copy onto itself left %q, %v", got, err)
	}
	if _, err := copyFile(dir, target); err == nil {
		t.Error("a directory was copied")
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused copy left a target behind: %v", err)
	}
}
