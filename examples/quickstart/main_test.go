package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
)

// quickstart runs the program and returns its status and what it wrote.
func quickstart(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// checkSums fails t unless both passes printed the sum of data.
func checkSums(t *testing.T, stdout string, data []byte) {
	t.Helper()
	for _, pass := range []string{"futures", "queue"} {
		want := fmt.Sprintf("\n%-9s%x  %d bytes in ", pass, sha256.Sum256(data), len(data))
		if !strings.Contains(stdout, want) {
			t.Errorf("no line that begins %q in:\n%s", want[1:], stdout)
		}
	}
}

func TestSums(t *testing.T) {
	sizes := []int{0, 1, 511, 512, 513, 4095, 4096, 4097, blockSize - 1, blockSize, blockSize + 1,
		1<<20 + 1, inFlight * blockSize, (inFlight+3)*blockSize + 77}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			data := make([]byte, size)
			rand.NewChaCha8([32]byte{1}).Read(data)
			name := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			status, stdout, stderr := quickstart(t.Context(), name)
			if status != 0 || stderr != "" {
				t.Fatalf("status %d, stderr %q, want 0 and nothing", status, stderr)
			}
			checkSums(t, stdout, data)
			if !strings.Contains(stdout, "Stats of the Ring") {
				t.Errorf("no Stats in:\n%s", stdout)
			}
		})
	}
}

// tempDir has the program make its sample in a directory of the test.
func tempDir(t *testing.T) string {
	dir := t.TempDir()
	for _, variable := range []string{"TMPDIR", "TMP", "TEMP"} {
		t.Setenv(variable, dir)
	}
	return dir
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSample(t *testing.T) {
	dir := tempDir(t)
	defer func(size int64) { sampleSize = size }(sampleSize)
	sampleSize = 3<<20 + 5
	status, stdout, stderr := quickstart(t.Context())
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q, want 0 and nothing", status, stderr)
	}
	if n := strings.Count(stdout, fmt.Sprintf(" %d bytes in ", sampleSize)); n != 2 {
		t.Errorf("%d passes over the whole sample, want 2, in:\n%s", n, stdout)
	}
	checkEmpty(t, dir)
}

func TestInterrupted(t *testing.T) {
	dir := tempDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	status, _, stderr := quickstart(ctx)
	if status != 1 || stderr != "quickstart: interrupted\n" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	checkEmpty(t, dir)
}

func TestInterruptedPass(t *testing.T) {
	const size = 2 * inFlight * blockSize
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := asyncfile.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := hashFutures(ctx, file, size, &progress{}); err != context.Canceled {
		t.Errorf("hashFutures: error %v", err)
	}
	// A select between two that are ready takes either: 128 times the other is
	// out of the question.
	if _, _, err := hashQueue(ctx, file, size, &progress{}); err != context.Canceled {
		t.Errorf("hashQueue: error %v", err)
	}
}

func TestProcFile(t *testing.T) {
	const name = "/proc/version" // whose size is said to be 0
	data, err := os.ReadFile(name)
	if err != nil {
		t.Skip(err)
	}
	status, stdout, stderr := quickstart(t.Context(), name)
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q, want 0 and nothing", status, stderr)
	}
	checkSums(t, stdout, data)
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent")

	fifo := filepath.Join(dir, "fifo")
	if mkfifo, err := exec.LookPath("mkfifo"); err != nil || runtime.GOOS == "windows" || exec.Command(mkfifo, fifo).Run() != nil {
		fifo = ""
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(secret); err == nil {
		f.Close()
		secret = ""
	}

	for _, test := range []struct {
		name   string
		file   string
		advice string
	}{
		{"nonexistent", absent, "check the path"},
		{"directory", dir, "is a directory: name a regular file"},
		{"fifo", fifo, "neither a regular file nor a block device"},
		{"null device", os.DevNull, "neither a regular file nor a block device"},
		{"permission", secret, "choose a file that you may read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.file == "" {
				t.Skip("cannot be made here, or by this user")
			}
			status, stdout, stderr := quickstart(t.Context(), test.file)
			if status != 1 || stdout != "" {
				t.Errorf("status %d, stdout %q, want 1 and nothing", status, stdout)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.advice) {
				t.Errorf("stderr %q, want one line that says %q", stderr, test.advice)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"a", "b"}, {"-unknown"}} {
		status, stdout, stderr := quickstart(t.Context(), args...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, "usage: quickstart [FILE]") {
			t.Errorf("%q: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
}

func TestProgress(t *testing.T) {
	var line bytes.Buffer
	bar := &progress{w: &line}
	bar.begin("pass", 2000)
	bar.show(1500)
	bar.end()
	text := line.String()
	if !strings.HasPrefix(text, "\rpass: 1.50 kB of 2.00 kB ") || !strings.HasSuffix(text, " \r") || strings.Contains(text, "\n") {
		t.Errorf("progress line %q", text)
	}
}
