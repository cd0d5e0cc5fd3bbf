package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what is printed now to testdata, for its author to read")

// golden compares what was printed with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(name, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// cli carries out a command line, in a process of its own as far as it can tell.
func cli(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	return cliIn(t, t.Context(), "", args...)
}

func cliIn(t *testing.T, ctx context.Context, in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(ctx, args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

// interrupted is a context that a signal has ended.
func interrupted() context.Context {
	ctx, stop := context.WithCancelCause(context.Background())
	stop(signalled{syscall.SIGINT})
	return ctx
}

func TestUsage(t *testing.T) {
	if code, out, _ := cli(t, "--help"); code != 0 || !strings.Contains(out, "probe") {
		t.Errorf("--help: %d, %s", code, out)
	}
	for _, args := range [][]string{nil, {"pong"}, {"probe", "--pong"}, {"--color=blue", "probe"}} {
		if code, out, errOut := cli(t, args...); code != exitUsage || out != "" || !strings.Contains(errOut, "--help") {
			t.Errorf("%q: %d, %q, %q", args, code, out, errOut)
		}
	}
}

// Each command has examples in its help.
func TestExamples(t *testing.T) {
	line := reflect.TypeFor[commands]()
	for i := range line.NumField() {
		field := line.Field(i)
		if _, ok := field.Tag.Lookup("cmd"); !ok {
			continue
		}
		name := strings.ToLower(field.Name)
		code, out, _ := cli(t, name, "--help")
		if code != 0 || strings.Count(out, "\n    asyncfile ") < 3 {
			t.Errorf("%s --help: %d, %s", name, code, out)
		}
	}
}
