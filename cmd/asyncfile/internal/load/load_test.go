package load

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/cmd/asyncfile/internal/target"
)

// Every contender does the job in every way, and says what it did.
func TestContenders(t *testing.T) {
	all := Contenders()
	if fio, ok := Fio(); ok {
		all = append(all, fio)
	}
	for _, write := range []bool{false, true} {
		to, err := target.Open(t.Context(), target.Request{Path: t.TempDir(), Size: 1 << 20, Write: write})
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		for _, c := range all {
			for _, depth := range []int{1, 20} {
				j := Job{Target: to, Block: 4096, Depth: depth, Write: write, For: 30 * time.Millisecond}
				r, err := c.Run(t.Context(), j)
				if err != nil && c.Name == "os.File" && errors.Is(err, os.ErrInvalid) {
					t.Skip("no direct I/O: ", err)
				}
				if err != nil {
					t.Fatalf("%s: %v", c.Name, err)
				}
				if r.Ops == 0 || r.Elapsed <= 0 || r.IOPS() <= 0 || r.CPUPerOp() < 0 {
					t.Errorf("%s, depth %d: %+v", c.Name, depth, r)
				}
				l := r.Latency()
				if l.Count == 0 || l.P50 > l.P99 || l.P99 > l.P9999 {
					t.Errorf("%s, depth %d: %+v", c.Name, depth, l)
				}
			}
		}
	}
}

// A job ends with its context, with what is steady, and with an error of the file.
func TestEnds(t *testing.T) {
	dir := t.TempDir()
	to, err := target.Open(t.Context(), target.Request{Path: dir, Size: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	name := filepath.Join(dir, "file")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	short, err := target.Open(t.Context(), target.Request{Path: name})
	if err != nil {
		t.Fatal(err)
	}
	defer short.Close()
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range Contenders() {
		j := Job{Target: to, Block: 4096, Depth: 4, For: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := c.Run(ctx, j); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		cancel()
		j.Each, j.Steady = 5*time.Millisecond, func(w []int64) bool { return len(w) == 3 }
		if r, err := c.Run(t.Context(), j); err != nil || len(r.Windows) < 3 {
			t.Errorf("%s: %v, windows %v", c.Name, err, r.Windows)
		}
		j.Target, j.Steady, j.Each = short, nil, 0
		if _, err := c.Run(t.Context(), j); err == nil {
			t.Errorf("%s reads a file that is empty", c.Name)
		}
		j.Block = 1 << 21
		if _, err := c.Run(t.Context(), j); err == nil {
			t.Errorf("%s reads blocks that are larger than the file", c.Name)
		}
	}
}

func TestParseFio(t *testing.T) {
	r, err := parseFio([]byte(`fio: a warning
{"jobs": [{"read": {"total_ios": 0}, "write": {"total_ios": 1000, "runtime": 500, "slat_ns": {"mean": 2000.4},
"clat_ns": {"min": 10, "max": 90000, "mean": 50000.5, "percentile": {"50.000000": 40000, "99.000000": 80000, "99.900000": 85000, "99.990000": 89000}}},
"usr_cpu": 10, "sys_cpu": 30}]}`))
	if err != nil {
		t.Fatal(err)
	}
	l := r.Latency()
	if r.IOPS() != 2000 || r.CPUPerOp() != 200*time.Microsecond || r.SubmitPerOp() != 2000*time.Nanosecond || l.P50 != 40000 || l.P999 != 85000 || l.Max != 90000 {
		t.Errorf("%+v, %+v", r, l)
	}
	for _, text := range []string{"", "{", `{"jobs": []}`} {
		if _, err := parseFio([]byte(text)); err == nil {
			t.Errorf("%q is taken for fio's output", text)
		}
	}
}
