package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
)

func pages(n int, fill byte) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = asyncfile.AlignedBuffer(pageSize)
		for j := range list[i] {
			list[i][j] = fill + byte(i)
		}
	}
	return list
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "checkpoint")
	// The second replaces the first, and is shorter.
	for _, want := range [][][]byte{pages(5*groupSize+3, 1), pages(groupSize-1, 100)} {
		if err := save(name, want); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, bytes.Join(want, nil)) {
			t.Errorf("the checkpoint has %d bytes and is not the same, %v", len(got), err)
		}
	}
	checkAlone(t, dir, "checkpoint")
}

func TestSaveFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "checkpoint")
	// A directory with something in it is not replaced by any rename.
	if err := os.MkdirAll(filepath.Join(name, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := save(name, pages(1, 1)); err == nil {
		t.Error("a directory was replaced")
	}
	checkAlone(t, dir, "checkpoint")
}

// checkAlone fails t unless name is all that dir holds.
func checkAlone(t *testing.T, dir, name string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != name {
		t.Errorf("the directory holds %v, %v, want only %s", list, err, name)
	}
}
