package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/probe"
)

// since are the kernels that have a feature of native AIO on ext4 and XFS. A kernel that
// is new enough and does not have it fails the test; one that is older skips it.
var since = map[string][2]int{
	"IOCB_CMD_FSYNC": {4, 18}, "IOCB_CMD_FDSYNC": {4, 18}, "RWF_NOWAIT": {4, 14}, "RWF_DSYNC": {4, 13}, "RWF_SYNC": {4, 13},
	"RWF_APPEND": {4, 16}, "RWF_NOAPPEND": {6, 9}, "RWF_DONTCACHE": {6, 14},
}

func kernel(t *testing.T) (version [2]int) {
	t.Helper()
	if _, err := fmt.Sscanf(aio.KernelRelease(), "%d.%d", &version[0], &version[1]); err != nil {
		t.Skip("not Linux: ", err)
	}
	return version
}

func older(a, b [2]int) bool { return a[0] < b[0] || a[0] == b[0] && a[1] < b[1] }

func place(t *testing.T, name string) *probe.Place {
	t.Helper()
	p, err := probe.Path(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFeatures(t *testing.T) {
	if err := probe.AIO(); err != nil {
		t.Skip(err)
	}
	version := kernel(t)
	dir := t.TempDir()
	p := place(t, dir)
	if p.Scratch != nil {
		t.Fatal(p.Scratch)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("Path leaves %d names behind", len(left))
	}
	if p.FileSystem != "ext4" && p.FileSystem != "xfs" {
		t.Skip("what there is on ", p.FileSystem, " is not known")
	}
	seen := map[string]bool{}
	for _, f := range p.Features {
		seen[f.Name] = true
		t.Run(f.Name, func(t *testing.T) {
			want, known := since[f.Name]
			switch {
			case f.Err == nil:
			case !known:
				if refusal := new(probe.Refusal); !errors.As(f.Err, &refusal) || !errors.Is(f.Err, errors.ErrUnsupported) {
					t.Errorf("%v: neither there nor refused", f.Err)
				}
			case older(version, want):
				t.Skip(f.Err)
			default:
				t.Errorf("Linux %v has had it since %v: %v", version, want, f.Err)
			}
		})
	}
	for name := range since {
		if !seen[name] {
			t.Errorf("%s was not tried", name)
		}
	}
}

// What Path says of a file is what the library finds when it opens it.
func TestPlaceAgreesWithTheLibrary(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	p := place(t, name)
	if p.Kind != "file" {
		t.Errorf("Kind %q", p.Kind)
	}
	f, err := asyncfile.Open(name, probe.Advise(probe.System(), p).Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if direct := p.Direct == nil; f.Direct() != direct && p.FileSystem != "tmpfs" {
		t.Errorf("the file is direct: %v; Path says %v", f.Direct(), p.Direct)
	}
	if p.Direct == nil && p.Alignment.Offset == 0 {
		t.Error("no alignment")
	}
	for _, s := range p.Submit {
		if s.Err == nil && (s.Inside <= 0 || s.Total < s.Inside) {
			t.Errorf("%s: %v inside io_submit, %v in all", s.Kind, s.Inside, s.Total)
		}
	}
}

func TestPathRefuses(t *testing.T) {
	if _, err := probe.Path(t.Context(), filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	if _, err := probe.Path(t.Context(), os.DevNull); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the null device: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := probe.Path(ctx, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %v", err)
	}
}

// Where nothing can be written what needs it was not tried, and says why.
func TestReadOnly(t *testing.T) {
	const dir = "/proc"
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	p := place(t, dir)
	if !errors.Is(p.Scratch, probe.ErrNotTried) || !errors.Is(p.Direct, probe.ErrNotTried) {
		t.Errorf("Scratch %v, Direct %v", p.Scratch, p.Direct)
	}
	for _, f := range p.Features {
		if !errors.Is(f.Err, probe.ErrNotTried) {
			t.Errorf("%s: %v", f.Name, f.Err)
		}
	}
}

func TestSystem(t *testing.T) {
	m := probe.System()
	if (m.AIO == nil) != (probe.AIO() == nil) || (m.IOUring == nil) != (probe.IOUring() == nil) {
		t.Error("asked twice, answered otherwise")
	}
	if kernel(t); m.Kernel == "" || m.LimitsErr == nil && m.Limits.Max <= 0 {
		t.Errorf("%+v", m)
	}
}

// Advice keeps within what the machine and the device have, gives a reason for each of
// its parts, and makes options that the library takes.
func TestAdvise(t *testing.T) {
	refused := &probe.Refusal{Call: "x", Err: errors.ErrUnsupported}
	for _, used := range []int64{0, 65500, 65536, 70000} {
		for _, requests := range []int{0, 4, 64, 1024} {
			for bits := range 16 {
				m := &probe.Machine{Limits: probe.Limits{Used: used, Max: 65536}}
				p := &probe.Place{Device: &probe.Device{Disk: "sda", Model: "M", Requests: requests, Rotational: bits&4 != 0}}
				if bits&1 != 0 {
					m.AIO = refused
				}
				if bits&2 != 0 {
					p.Direct = refused
				}
				p.Submit = []probe.Submission{{Kind: "direct read", Inline: bits&8 != 0}}
				a := probe.Advise(m, p)
				if want := bits&(1|2|8) == 0; (a.Backend == asyncfile.BackendAIO) != want {
					t.Errorf("%b: backend %v", bits, a.Backend)
				}
				if a.QueueDepth < 8 || a.QueueDepth > 128 || requests > 8 && a.QueueDepth > requests || bits&4 != 0 && a.QueueDepth > 32 {
					t.Errorf("depth %d for nr_requests %d, %+v", a.QueueDepth, requests, m.Limits)
				}
				if len(a.Reasons) < 2 {
					t.Errorf("reasons: %q", a.Reasons)
				}
			}
		}
	}
	f, err := asyncfile.Open(os.Args[0], probe.Advise(&probe.Machine{AIO: refused}, &probe.Place{}).Options()...)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func ExampleAIO() {
	if err := probe.AIO(); err != nil {
		fmt.Println("no native AIO:", err)
		return
	}
	fmt.Println("native AIO works")
}

// Locate says what Path says, and tries nothing.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	p, err := probe.Locate(dir)
	if err != nil {
		t.Fatal(err)
	}
	tried := place(t, dir)
	if p.FileSystem != tried.FileSystem || p.Mount != tried.Mount || p.Kind != tried.Kind || len(p.Features) != 0 {
		t.Errorf("%+v, and Path says %+v", p, tried)
	}
	if _, err := probe.Locate(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
