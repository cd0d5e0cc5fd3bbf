package durability

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"github.com/seed-39be8cca/asyncfile"
)

// A job is a file, and how records are written to it.
type job struct {
	Name    string
	Seed    uint64
	Place   place
	Length  int  // of a record in bytes; of one that is appended, at most
	Direct  bool // with O_DIRECT
	Backend asyncfile.Backend
	Durable durable
	Via     via
	Group   int // records that become durable together
	Loops   int // groups that are under way
	Broken  breach
}

// A place is where records go.
type place string

const (
	appends      place = "appended"
	appendsO     place = "appended with O_APPEND"
	extends      place = "written at the end"
	overwrites   place = "written over others"
	preallocated place = "written to preallocated blocks"
	sparse       place = "written into a hole"
)

// durable is what makes records durable.
type durable string

const (
	bySync     durable = "Sync"
	byDatasync durable = "Datasync"
	byDsync    durable = "O_DSYNC"
)

// via is how operations are given to the library.
type via string

const (
	futures via = "futures"
	submit  via = "Submit"
	queue   via = "a Queue"
	file    via = "a File"
	stream  via = "a Writer"
)

// A breach is what a writer does wrong that is to be found out.
type breach string

const (
	none      breach = ""
	unsynced  breach = "reports before its Sync"
	unwritten breach = "reports before its writes have ended"
)

func (j *job) String() string {
	return fmt.Sprintf("%s (records of %d, %s, direct %v, on %v, durable by %s, via %s, %d in a group, %d groups)",
		j.Name, j.Length, j.Place, j.Direct, j.Backend, j.Durable, j.Via, j.Group, j.Loops)
}

// draw draws a job.
func draw(r *rand.Rand, name string, broken breach) *job {
	j := &job{
		Name:    name,
		Seed:    r.Uint64(),
		Place:   pick(r, appends, appendsO, extends, overwrites, preallocated, sparse),
		Length:  pick(r, 33, 512, 1000, 4096, 4097, 10001, 16384, 65536),
		Direct:  r.IntN(2) == 0,
		Backend: pick(r, asyncfile.BackendAuto, asyncfile.BackendAIO, asyncfile.BackendPool),
		Durable: pick(r, bySync, byDatasync, byDsync),
		Via:     pick(r, futures, submit, queue, file, stream),
		Group:   1 + r.IntN(8),
		Loops:   1 + r.IntN(3),
		Broken:  broken,
	}
	if j.Via == stream { // writes one record behind the other
		j.Place, j.Loops = extends, 1
	}
	if broken != none { // as obvious as can be
		j.Durable, j.Via, j.Group, j.Loops = bySync, futures, 8, 3
	}
	if broken == unwritten && j.appends() { // it does not know yet where that goes
		j.Place = extends
	}
	return j
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// count is how many records the file takes: a prime, so that any step comes by all
// places.
func (j *job) count() int {
	switch {
	case j.Length > 16384:
		return 127
	case j.Length > 4097:
		return 509
	}
	return 1021
}

// size is that of the file which is written over, or preallocated, in bytes.
func (j *job) size() int64 { return int64(j.count() * j.Length) }

// record returns record i, and where it goes; nowhere if it is appended.
func (j *job) record(i int) (p []byte, off int64) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], j.Seed)
	binary.LittleEndian.PutUint64(seed[8:], uint64(i))
	n := j.Length
	if j.appends() {
		n -= int(j.Seed>>8+uint64(i)*7919) % (n/2 + 1) & 0xffff
	}
	p = asyncfile.AlignedBuffer(n)
	rand.NewChaCha8(seed).Read(p)
	step := int(j.Seed%uint64(j.count()-1)) + 1
	switch j.Place {
	case extends:
		return p, int64(i * j.Length)
	case overwrites, preallocated:
		return p, int64(i * step % j.count() * j.Length)
	case sparse: // not in order, with holes between
		return p, int64(i*step%j.count()) * (int64(j.Length) + 8192)
	}
	return p, -1
}

func (j *job) appends() bool { return j.Place == appends || j.Place == appendsO }

// prepare makes the file as it is to be before the first record.
func (j *job) prepare(dir string) error {
	f, err := os.Create(filepath.Join(dir, j.Name))
	if err != nil {
		return err
	}
	defer f.Close()
	if j.Place == overwrites {
		p := make([]byte, j.size())
		rand.NewChaCha8([32]byte{}).Read(p)
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
	return f.Sync()
}

// open opens the file as its writer does.
func (j *job) open(dir string) (*asyncfile.AsyncFile, error) {
	flag, direct := os.O_RDWR, asyncfile.DirectOff
	if j.Place == appendsO {
		flag |= os.O_APPEND
	}
	if j.Durable == byDsync {
		flag |= syscall.O_DSYNC
	}
	if j.Direct {
		direct = asyncfile.DirectRequire
	}
	f, err := asyncfile.OpenFile(filepath.Join(dir, j.Name), flag, 0, asyncfile.WithDirect(direct), asyncfile.WithBackend(j.Backend))
	if err == nil && j.Place == preallocated {
		err = f.Preallocate(j.size())
	}
	return f, err
}
