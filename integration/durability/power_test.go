package durability

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-39be8cca/asyncfile/integration/disk"
	"github.com/seed-39be8cca/asyncfile/integration/disks"
)

// A machine is a file system on a disk that loses its power now and then.
type machine struct {
	fs      disks.FS
	disk    *disk.Disk
	random  *rand.Rand
	dir     string
	unmount func()
	lives   int
	last    *life // the one before, which is to be there still
	loses   bool  // the disk loses flushes
	records int
}

func newMachine(t *testing.T, fs disks.FS) *machine {
	t.Helper()
	disks.NeedsRoot(t)
	r, seed := seeded(t)
	m := &machine{fs: fs, random: r, disk: disk.New(t, fs.Size, 512, seed)}
	fs.Format(t, m.disk.Device)
	var err error
	if m.dir, m.unmount, err = fs.MountDevice(t, m.disk.Device); err != nil {
		disks.Unable(t, "%v", err)
	}
	return m
}

// live has one life, which ends with the power, and returns what is missing when
// that is back.
func (m *machine) live(t *testing.T, broken breach) (problems []string) {
	t.Helper()
	m.lives++
	l := newLife(t, m.random, filepath.Join(m.dir, fmt.Sprint("life", m.lives)), broken)
	m.disk.Inject(m.fate())
	off := m.disk.Off()
	l.start(t)
	// What is said without power does not count: nobody would be there to hear it.
	for alive := true; alive; {
		select {
		case line := <-l.lines:
			if dark(off) {
				break
			}
			more, err := l.take(line)
			if err != nil && !dark(off) {
				t.Fatalf("with power: %v", err)
			}
			alive = more
		case <-off:
			alive = false
		}
	}
	m.disk.Cut()
	l.kill(t, func(string) {})
	if err := m.reboot(t); err != nil {
		return []string{err.Error()}
	}
	m.records += l.count()
	problems = l.missing(m.dir)
	if m.last != nil {
		for _, problem := range m.last.missing(m.dir) {
			problems = append(problems, "of the life before: "+problem)
		}
		if err := os.RemoveAll(filepath.Join(m.dir, filepath.Base(m.last.Dir))); err != nil {
			problems = append(problems, err.Error())
		}
	}
	m.last = l
	return problems
}

// fate draws with which request the power goes. A few are slow, so that it finds
// requests on their way.
func (m *machine) fate() disk.Rule {
	left, loses := 1+m.random.IntN(300), m.loses
	slow := rand.New(rand.NewPCG(m.random.Uint64(), 0))
	return func(r *disk.Request) disk.Fault {
		if left--; left == 0 {
			return disk.Fault{Cut: true}
		}
		fault := disk.Fault{Lost: loses && r.Kind == disk.Flush}
		if slow.IntN(16) == 0 {
			fault.Delay = time.Duration(slow.IntN(1000)) * time.Microsecond
		}
		return fault
	}
}

func dark(off <-chan struct{}) bool {
	select {
	case <-off:
		return true
	default:
		return false
	}
}

// reboot has the power come back, and everything that the kernel knew be gone.
func (m *machine) reboot(t *testing.T) (err error) {
	t.Helper()
	m.unmount()
	m.disk.Detach()
	m.disk.Inject(nil)
	m.disk.Restore()
	m.disk.Attach()
	m.dir, m.unmount, err = m.fs.MountDevice(t, m.disk.Device)
	return err
}

// TestPower has the power go at random moments: with any request to the disk, of
// which what was not flushed is there in part, in any order.
func TestPower(t *testing.T) {
	for _, fs := range kinds {
		t.Run(fs.Name, func(t *testing.T) {
			m := newMachine(t, fs)
			for range times(t, 4, 40) {
				for _, problem := range m.live(t, none) {
					t.Error(problem)
				}
				if t.Failed() {
					t.FailNow()
				}
			}
			t.Logf("%d losses of power, %d records reported, none missing; %d flushes of %d writes",
				m.lives, m.records, m.disk.Count(disk.Flush), m.disk.Count(disk.Write))
		})
	}
}

// TestPowerFinds has writers that report before their Sync, and disks that do not
// flush. Both have to come out.
func TestPowerFinds(t *testing.T) {
	for _, fs := range kinds {
		for _, broken := range []breach{unsynced, none} {
			name := fs.Name + "/a writer"
			if broken == none {
				name = fs.Name + "/a disk"
			}
			t.Run(name, func(t *testing.T) {
				m := newMachine(t, fs)
				m.loses = broken == none
				for range 100 {
					if problems := m.live(t, broken); len(problems) > 0 {
						t.Logf("found with loss %d: %s", m.lives, problems[0])
						return
					}
				}
				t.Error("was not found out")
			})
		}
	}
}
