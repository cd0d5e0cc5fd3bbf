package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// sumTree makes files with all sorts of names, and goes to their folder.
func sumTree(t *testing.T) (names []string) {
	t.Helper()
	t.Chdir(t.TempDir())
	names = []string{"a", "line\nbreak", `back\slash`, "sp ace", "-dash", "\xff", "ret\rurn", "*star"}
	for i, name := range names {
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, i*1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// Output is sha256sum's to the byte, and each checks what the other wrote.
func TestSumAsSha256sum(t *testing.T) {
	tool, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Skip(err)
	}
	names := sumTree(t)
	for _, flags := range [][]string{nil, {"--tag"}, {"-z"}} {
		args := append(append(flags, "--"), names...)
		want, err := exec.Command(tool, args...).Output()
		if err != nil {
			t.Skip(err)
		}
		code, got, errOut := cli(t, append([]string{"sum"}, args...)...)
		if code != 0 || got != string(want) {
			t.Errorf("%q: %d, %s\n%q, want\n%q", flags, code, errOut, got, want)
		}
		if len(flags) > 0 && flags[0] == "-z" {
			continue
		}
		if code, out, errOut := cliIn(t, t.Context(), string(want), "sum", "-c"); code != 0 || strings.Count(out, ": OK\n") != len(names) {
			t.Errorf("%q, of sha256sum: %d, %s%s", flags, code, out, errOut)
		}
		check := exec.Command(tool, "--quiet", "-c")
		check.Stdin = strings.NewReader(got)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("sha256sum says of %q: %v, %s", flags, err, out)
		}
	}
}

func TestSumCheck(t *testing.T) {
	names := sumTree(t)
	for _, algorithm := range []string{"sha256", "blake3", "xxh3", "crc32c"} {
		code, list, _ := cli(t, append([]string{"sum", "--tag", "-a", algorithm, "--"}, names...)...)
		if code != 0 {
			t.Fatal(code)
		}
		if code, out, errOut := cliIn(t, t.Context(), list, "sum", "-c", "--quiet"); code != 0 || out != "" || errOut != "" {
			t.Errorf("%s: %d, %q, %q", algorithm, code, out, errOut)
		}
	}
	_, list, _ := cli(t, append([]string{"sum", "--"}, names...)...)
	os.WriteFile("a", []byte("other"), 0o600)
	os.Remove("sp ace")
	list += "no sum\n"
	for _, c := range []struct {
		flags         string
		code          int
		out, errOut   string
		quiet, silent bool
	}{
		{"", 1, "a: FAILED\n", "1 files could not be read", false, false},
		{"--quiet", 1, "a: FAILED\n", "1 sums do not match", true, false},
		{"--status", 1, "", "no such file", true, true},
		{"--ignore-missing", 1, "a: FAILED\n", "1 lines are no sums", false, false},
	} {
		code, out, errOut := cliIn(t, t.Context(), list, append([]string{"sum", "-c"}, strings.Fields(c.flags)...)...)
		if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errOut, c.errOut) || strings.Contains(out, "OK") == c.quiet || c.silent && out != "" {
			t.Errorf("%s: %d, %s, %s", c.flags, code, out, errOut)
		}
	}
	if code, _, errOut := cliIn(t, t.Context(), "nothing\n", "sum", "-c"); code != 1 || !strings.Contains(errOut, "no line of it") {
		t.Errorf("%d, %s", code, errOut)
	}
}

func TestSumJSON(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	names := sumTree(t)
	code, out, _ := cli(t, append([]string{"--json", "sum", "--", "absent"}, names[:4]...)...)
	if code != 1 {
		t.Errorf("a file is not there, and the code is %d", code)
	}
	var d sumDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Schema != sumSchema || len(d.Results) != 5 {
		t.Fatalf("%v, %+v", err, d)
	}
	t.Chdir(here)
	golden(t, "sum.json", []byte(out))
}

func TestSumTrees(t *testing.T) {
	sumTree(t)
	os.MkdirAll("tree/sub", 0o755)
	os.WriteFile("tree/sub/x", nil, 0o600)
	os.Symlink("x", "tree/sub/link")
	if code, out, errOut := cli(t, "sum", "-r", "tree"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("%d, %s, %s", code, out, errOut)
	}
	if code, _, errOut := cli(t, "sum", "tree", "a"); code != 1 || !strings.Contains(errOut, "is a directory") {
		t.Errorf("%d, %s", code, errOut)
	}
	if code, _, _ := cliIn(t, interrupted(), "", "sum", "a"); code != 130 {
		t.Errorf("interrupted: %d", code)
	}
	for _, args := range [][]string{{"--quiet"}, {"-c", "-r"}, {"-a", "md5"}, {"-j", "-1"}} {
		if code, _, errOut := cli(t, append([]string{"sum", "a"}, args...)...); code != exitUsage {
			t.Errorf("%q: %d, %s", args, code, errOut)
		}
	}
}

// Who reads the sums may go away.
func TestSumBrokenPipe(t *testing.T) {
	names := sumTree(t)
	var errOut bytes.Buffer
	code := run(t.Context(), append([]string{"sum", "--"}, names...), strings.NewReader(""), brokenPipe{}, &errOut)
	if code != exitFailed || !strings.Contains(errOut.String(), "broken pipe") {
		t.Errorf("%d, %s", code, errOut.String())
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }
