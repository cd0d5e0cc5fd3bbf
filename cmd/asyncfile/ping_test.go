package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/latency"
	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/term"
)

// pinged runs a pinger whose requests are carried out by send, on a fake clock.
func pinged(t *testing.T, ctx context.Context, c *pingCommand, send func(n int) (int, error)) (*pinger, string) {
	t.Helper()
	var out bytes.Buffer
	n := 0
	p := &pinger{app: &app{Screen: term.Screen{Out: &out}, ctx: ctx}, c: c, place: "data (ext4 on sda)", blocks: 4, took: latency.New(),
		ran: backing{"aio", "direct"}}
	p.send = func(int64) (int, error) { n++; return send(n) }
	p.run()
	return p, out.String()
}

// What is printed, and when, on a disk that takes longer each time, fails, and hangs for a
// while.
func TestPingLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &pingCommand{Path: "data", Count: 5, Interval: 100 * time.Millisecond, Size: 4096, Slow: time.Second}
		begun := time.Now()
		p, out := pinged(t, t.Context(), c, func(n int) (int, error) {
			switch n {
			case 3:
				return 0, syscall.EIO
			case 4:
				time.Sleep(2500 * time.Millisecond)
			}
			time.Sleep(time.Duration(n) * time.Millisecond)
			return 4096, nil
		})
		// The fifth is late already when the fourth ends.
		if got, want := time.Since(begun), 300*time.Millisecond+2504*time.Millisecond+5*time.Millisecond; got != want {
			t.Errorf("took %v of the fake clock, want %v", got, want)
		}
		var b bytes.Buffer
		p.Out = &b
		if err := p.summary(); !errors.Is(err, errReported) {
			t.Errorf("a request failed, and the command says %v", err)
		}
		golden(t, "ping.txt", []byte(out+b.String()))
		b.Reset()
		p.json = true
		p.summary()
		golden(t, "ping.json", b.Bytes())
	})
}

// A disk that never answers does not keep the command from ending with its summary.
func TestPingHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancelCause(t.Context())
		time.AfterFunc(3500*time.Millisecond, func() { stop(signalled{syscall.SIGINT}) })
		hung := make(chan struct{})
		p, out := pinged(t, ctx, &pingCommand{Interval: time.Second, Size: 4096, Slow: time.Second}, func(n int) (int, error) {
			if n == 2 {
				<-hung
			}
			return 4096, nil
		})
		if !p.hangs || strings.Count(out, "has been hanging") != 2 || p.document().Requests != 2 {
			t.Errorf("hangs %v, %+v:\n%s", p.hangs, p.document(), out)
		}
		if code := p.exitCode(p.summary()); code != 130 {
			t.Errorf("exit code %d, want 130", code)
		}
		close(hung)
	})
}

func TestPing(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{}, {"--write"}, {"--cached", "--sequential"}, {"--backend=pool"}, {"--write", "--backend=aio", "-s", "1000"}} {
		code, out, errOut := cli(t, append([]string{"--json", "ping", "-c", "5", "-i", "0", "-S", "64k", dir}, args...)...)
		var d pingDocument
		if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 {
			t.Fatalf("%q: %d, %s, %v", args, code, errOut, err)
		}
		if d.Schema != pingSchema || d.Requests != 5 || d.Latency.Count != 4 || d.Bytes != 4*d.Size {
			t.Errorf("%q: %+v", args, d)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("ping leaves %d names behind", len(left))
	}
}

// Nothing that is stored is written over by mistake.
func TestPingIsSafe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	stored := bytes.Repeat([]byte("precious"), 1024)
	if err := os.WriteFile(name, stored, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-w"}, {"--destroy-contents"}, {"-s", "0"}, {"-s", "x"}, {"-i", "-1s"}} {
		code, _, errOut := cli(t, append([]string{"ping", "-c", "3", "-i", "0", name}, args...)...)
		if code != exitUsage {
			t.Errorf("%q: %d, %s", args, code, errOut)
		}
	}
	if code, _, errOut := cli(t, "ping", "-c", "3", "-i", "0", name); code != 0 {
		t.Errorf("reads: %d, %s", code, errOut)
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, stored) {
		t.Fatal("the file has changed: ", err)
	}
	if code, _, errOut := cli(t, "ping", "-c", "3", "-i", "0", "-w", "--destroy-contents", name); code != 0 {
		t.Errorf("writes: %d, %s", code, errOut)
	}
	if got, _ := os.ReadFile(name); bytes.Equal(got, stored) || len(got) != len(stored) {
		t.Error("nothing was written")
	}
}

func TestPingInterrupted(t *testing.T) {
	code, out, _ := cliIn(t, interrupted(), "", "ping", "-S", "64k", t.TempDir())
	if code != 130 {
		t.Errorf("%d, %s", code, out)
	}
}
