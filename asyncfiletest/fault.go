package asyncfiletest

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// An Op is a set of kinds of system calls. The zero Op stands for all of them.
type Op uint8

const (
	Read     Op = 1 << iota // read(2), and its kind
	Write                   // write(2), and its kind, appends included
	Sync                    // fsync(2) and fdatasync(2)
	Truncate                // ftruncate(2), that of O_TRUNC included
	Allocate                // fallocate(2): Preallocate, PunchHole, ZeroRange, and direct writes that make a file larger
)

const allOps = Read | Write | Sync | Truncate | Allocate

// String returns the names of the kinds, such as "read|sync", or "any".
func (op Op) String() string {
	if op == 0 {
		return "any"
	}
	var names []string
	for i, name := range []string{"read", "write", "sync", "truncate", "allocate"} {
		if op&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if op&^allOps != 0 {
		names = append(names, fmt.Sprintf("Op(%#x)", uint8(op&^allOps)))
	}
	return strings.Join(names, "|")
}

// A Fault is what is to happen to which system calls. The first group of fields says
// which: a call has to be as each of them has it. The second says what happens, in the
// order of the fields: it needs at least one of them.
type Fault struct {
	// File is a pattern of filepath.Match for the last element of the name that the
	// file was opened with, or for all of the name where the pattern has a separator.
	// "" is every file.
	File string
	// Op is the kinds of calls. 0 is all.
	Op Op
	// From and To are a range in bytes, which the bytes of the call have to touch.
	// To 0 is without end. A Truncate touches what is behind the new size, a Sync
	// everything.
	From, To int64
	// After is how many such calls go first as ever, 0 or more.
	After int
	// Times is to how many calls it happens then. 0 is all.
	Times int
	// Chance is the part of the calls that it happens to, of those after After: above
	// 0 and up to 1. 0 is 1. Which they are follows from Seed, the file's name and how
	// many there were of that file: it is the same in each run.
	Chance float64
	Seed   uint64

	// Hold keeps the call waiting until Injection.Release.
	Hold bool
	// Delay keeps it waiting for so long, by the clock of package time: in a bubble of
	// testing/synctest that takes no time.
	Delay time.Duration
	// Short has a Read or a Write move so many bytes at most. 0 is no limit. Without
	// Err the library goes on with the rest, in another call; on a direct file a call
	// that stopped inside a block is not continued as a rule.
	Short int
	// Err is what the call answers. Without Short it does nothing. With Short it moves
	// so many bytes before, as a device does that fails on its way: the operation does
	// not tell of them.
	//
	// A Sync that fails has the pages that it would have covered forsaken, as Linux
	// does: a later Sync succeeds and does not cover them, unless they were written
	// again.
	Err syscall.Errno
}

// check says what of the Fault makes no sense, and what to do.
func (f *Fault) check() error {
	_, err := filepath.Match(f.File, "")
	switch {
	case err != nil:
		return fmt.Errorf("Fault.File %q: %w", f.File, err)
	case f.Op&^allOps != 0:
		return fmt.Errorf("Fault.Op %v: use Read, Write, Sync, Truncate and Allocate, or 0 for all", f.Op)
	case f.From < 0 || f.To != 0 && f.To <= f.From:
		return fmt.Errorf("Fault.From %d, To %d: pass a range of at least one byte, or To 0 for no end", f.From, f.To)
	case f.After < 0 || f.Times < 0:
		return fmt.Errorf("Fault.After %d, Times %d: use 0 or more", f.After, f.Times)
	case !(f.Chance >= 0 && f.Chance <= 1):
		return fmt.Errorf("Fault.Chance %v: use 0 to 1", f.Chance)
	case f.Delay < 0 || f.Short < 0:
		return fmt.Errorf("Fault.Delay %v, Short %d: use 0 or more", f.Delay, f.Short)
	case f.Short > 0 && f.Op != 0 && f.Op&(Read|Write) == 0:
		return fmt.Errorf("Fault.Short %d with Op %v: only a Read or a Write moves bytes", f.Short, f.Op)
	case !f.Hold && f.Delay == 0 && f.Short == 0 && f.Err == 0:
		return fmt.Errorf("a Fault in which nothing happens: set Hold, Delay, Short or Err")
	}
	return nil
}

// A call is a system call on a file, of n bytes at off.
type call struct {
	op   Op
	name string
	off  int64
	n    int64
}

// concerns reports whether the Fault is about c, but for counting.
func (f *Fault) concerns(c call) bool {
	if f.Op != 0 && f.Op&c.op == 0 {
		return false
	}
	if c.op != Sync && (f.To != 0 && c.off >= f.To || c.off+c.n <= f.From) {
		return false
	}
	name := c.name
	if !strings.ContainsRune(f.File, filepath.Separator) {
		name = filepath.Base(name)
	}
	matches, err := filepath.Match(f.File, name)
	return f.File == "" || matches && err == nil
}

// drawn reports whether chance has it happen to the nth call on a file.
func (f *Fault) drawn(name string, nth int) bool {
	if f.Chance == 0 || f.Chance == 1 {
		return true
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", filepath.Base(name), nth)
	return rand.New(rand.NewPCG(f.Seed, h.Sum64())).Float64() < f.Chance
}

// An Injection is a Fault at work on a Ring. It is safe for concurrent use.
type Injection struct {
	fault Fault
	over  <-chan struct{} // closed at the end of the test

	mu       sync.Mutex
	changed  sync.Cond      // hits, held
	calls    map[string]int // that it was about, by name of the file
	total    int            // of these
	hits     int
	held     int
	released chan struct{} // closed by Release
	removed  bool
}

func newInjection(f Fault, over <-chan struct{}) *Injection {
	i := &Injection{fault: f, over: over, calls: map[string]int{}, released: make(chan struct{})}
	i.changed.L = &i.mu
	return i
}

// meets counts c, if it is about it, and reports whether it is to happen to it.
func (i *Injection) meets(c call) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := &i.fault
	if i.removed || !f.concerns(c) {
		return false
	}
	nth := i.calls[c.name]
	i.calls[c.name]++
	i.total++
	if i.total <= f.After || f.Times > 0 && i.hits >= f.Times || !f.drawn(c.name, nth) {
		return false
	}
	i.hits++
	i.changed.Broadcast()
	return true
}

// wait keeps a call waiting.
func (i *Injection) wait() {
	if i.fault.Hold {
		i.count(1)
		select {
		case <-i.released:
		case <-i.over:
		}
		i.count(-1)
	}
	if i.fault.Delay > 0 {
		timer := time.NewTimer(i.fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-i.over:
		}
	}
}

func (i *Injection) count(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held += n
	i.changed.Broadcast()
}

// Hits returns to how many calls it has happened so far.
func (i *Injection) Hits() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hits
}

// Held returns how many calls Hold keeps waiting now.
func (i *Injection) Held() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.held
}

// AwaitHeld waits until Hold keeps at least n calls waiting.
func (i *Injection) AwaitHeld(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for i.held < n {
		i.changed.Wait()
	}
}

// Release lets go the calls that Hold keeps waiting, and has it keep no more.
func (i *Injection) Release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.release()
}

func (i *Injection) release() {
	select {
	case <-i.released:
	default:
		close(i.released)
	}
}

// Remove ends the Fault: it happens to no more calls, and those that it keeps waiting
// are released.
func (i *Injection) Remove() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.removed = true
	i.release()
}
