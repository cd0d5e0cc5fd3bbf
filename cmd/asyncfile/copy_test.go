package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/copying"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
)

func TestCopyReport(t *testing.T) {
	d := &copyDocument{copySchema, "src", "dst", copying.Summary{Files: 3, Dirs: 1, Symlinks: 1, Links: 2, Specials: 1, Skipped: 4, Cloned: 1, Resumed: 1, Bytes: 5 << 30, Holes: 1 << 20, Problems: 1},
		2.5e9, true, []string{"open src/a: permission denied"}}
	var b bytes.Buffer
	a := &app{Screen: term.Screen{Out: &b}}
	c := &copyCommand{}
	if err := c.report(a, d); err != nil {
		t.Fatal(err)
	}
	golden(t, "copy.txt", b.Bytes())
	b.Reset()
	a.json = true
	if err := c.report(a, d); err != nil {
		t.Fatal(err)
	}
	golden(t, "copy.json", b.Bytes())
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	os.MkdirAll(in("src/sub"), 0o755)
	odd := in("src/sub/line\nbreak")
	if err := os.WriteFile(odd, bytes.Repeat([]byte("x"), 100_000), 0o640); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := cli(t, "--json", "copy", in("src"), in("dst"))
	var d copyDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 {
		t.Fatal(code, err, errOut)
	}
	if d.Schema != copySchema || d.Files != 1 || d.Dirs != 2 || d.Bytes != 100_000 {
		t.Errorf("%+v", d)
	}
	if code, out, _ := cli(t, "copy", "--resume", "-T", in("src"), in("dst")); code != 0 || !strings.Contains(out, "1 files there already") {
		t.Errorf("%d, %s", code, out)
	}
	// A name that would break the line of a terminal is quoted.
	os.RemoveAll(in("dst/sub/line\nbreak"))
	os.Mkdir(in("dst/sub/line\nbreak"), 0o755)
	if code, _, errOut := cli(t, "copy", "-T", in("src"), in("dst")); code != exitFailed || strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, `line\nbreak`) {
		t.Errorf("%d, %s", code, errOut)
	}
	if code, out, _ := cliIn(t, interrupted(), "", "copy", in("src"), in("other")); code != 130 || !strings.Contains(out, "--resume") {
		t.Errorf("interrupted: %d, %s", code, out)
	}
	if code, _, errOut := cli(t, "copy", in("absent"), in("x")); code != exitFailed || !strings.Contains(errOut, "no such file") {
		t.Errorf("%d, %s", code, errOut)
	}
	for _, args := range [][]string{{"--block=1000"}, {"--block=0"}, {"--depth=0"}, {"-j", "-1"}} {
		if code, _, errOut := cli(t, append([]string{"copy", in("src"), in("x")}, args...)...); code != exitUsage {
			t.Errorf("%q: %d, %s", args, code, errOut)
		}
	}
}
