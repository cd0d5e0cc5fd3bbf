package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClassic(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	var out strings.Builder
	if err := run(name, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"getevents: wrote 1024 bytes", "eventfd: wrote 1024 bytes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	got, err := os.ReadFile(name)
	if want := bytes.Repeat([]byte("@"), 1024); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file holds %d bytes that are not 1024 times '@', %v", len(got), err)
	}
}

func TestNoDirectory(t *testing.T) {
	var out strings.Builder
	if err := run(filepath.Join(t.TempDir(), "absent", "file"), &out); !os.IsNotExist(err) {
		t.Errorf("error %v, want one that says that it does not exist", err)
	}
}
