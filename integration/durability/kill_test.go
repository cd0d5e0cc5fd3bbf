package durability

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// kinds are the file systems.
var kinds = []disks.FS{
	{Name: "ext4", Mkfs: []string{"mkfs.ext4", "-q", "-F"}, Size: 256 << 20},
	{Name: "xfs", Mkfs: []string{"mkfs.xfs", "-q", "-f"}, Size: 320 << 20},
	{Name: "btrfs", Mkfs: []string{"mkfs.btrfs", "-q", "-f"}, Size: 256 << 20},
}

// TestKill kills writers with SIGKILL at random moments. The page cache stays: so
// this shows that nothing is reported before the kernel has it.
func TestKill(t *testing.T) {
	for _, fs := range kinds {
		t.Run(fs.Name, func(t *testing.T) {
			dir := fs.Mount(t)
			r, _ := seeded(t)
			records, count := 0, times(t, 4, 40)
			for i := range count {
				n, problems := killed(t, r, filepath.Join(dir, fmt.Sprint("life", i)), none)
				records += n
				for _, problem := range problems {
					t.Error(problem)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("%d kills, %d records reported, none missing", count, records)
		})
	}
}

// TestKillFinds has writers that report too early, which has to come out.
func TestKillFinds(t *testing.T) {
	dir := kinds[0].Mount(t)
	r, _ := seeded(t)
	for i := range 200 {
		if _, problems := killed(t, r, filepath.Join(dir, fmt.Sprint("life", i)), unwritten); len(problems) > 0 {
			t.Logf("found with kill %d: %s", i+1, problems[0])
			return
		}
	}
	t.Error("writers that report what is not written were not found out")
}

// killed has one life, and returns how many records it has reported, and what is
// wrong.
func killed(t *testing.T, r *rand.Rand, dir string, broken breach) (records int, problems []string) {
	t.Helper()
	l := newLife(t, r, dir, broken)
	defer os.RemoveAll(dir)
	l.start(t)
	for range r.IntN(200) {
		if more, err := l.take(<-l.lines); err != nil {
			t.Fatal(err)
		} else if !more {
			break
		}
	}
	// Not a wait for anything: it moves the kill away from a report.
	moment := time.After(time.Duration(r.IntN(3000)) * time.Microsecond)
	for waiting := true; waiting; {
		select {
		case line := <-l.lines:
			if _, err := l.take(line); err != nil {
				t.Fatal(err)
			}
		case <-moment:
			waiting = false
		}
	}
	l.kill(t, func(line string) {
		if _, err := l.take(line); err != nil {
			problems = append(problems, err.Error())
		}
	})
	return l.count(), append(problems, l.missing(filepath.Dir(dir))...)
}
