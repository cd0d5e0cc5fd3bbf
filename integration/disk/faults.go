package disk

import (
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Kind is what a request asks for.
type Kind uint8

const (
	Read  Kind = iota
	Write      // what is to be zeros, too
	Flush      // fsync(2) of the image: a flush of the disk's cache
	Stat       // how large a file is; a disk is never asked
	kinds
)

// A Request is what the kernel asks of the disk, or of Files.
type Request struct {
	Kind   Kind
	Offset int64  // in bytes
	Length int    // likewise
	Data   []byte // of a Write, valid during the call of the Rule
}

// Overlaps reports whether r reads or writes any of the n bytes at off.
func (r *Request) Overlaps(off, n int64) bool {
	return r.Kind <= Write && r.Offset < off+n && off < r.Offset+int64(r.Length)
}

// A Fault is what becomes of a request. Of several things wrong the request
// meets all, in this order. The zero Fault is none.
type Fault struct {
	Hang  bool          // no answer until the next Inject, whose Rule is asked again
	Delay time.Duration // later
	Cut   bool          // the power goes: see [Disk.Cut]
	Err   syscall.Errno // fails
	Torn  int           // of a Write that fails: how many bytes are written nevertheless
	Lost  bool          // is answered as if it was carried out, and is not
}

// A Rule says what becomes of a request. It is called for one at a time.
type Rule func(*Request) Fault

// First returns the Rule that asks rules in order until one has a Fault.
func First(rules ...Rule) Rule {
	return func(r *Request) Fault {
		for _, rule := range rules {
			if fault := rule(r); fault != (Fault{}) {
				return fault
			}
		}
		return Fault{}
	}
}

// On returns the Rule that fault becomes of requests of these kinds.
func On(fault Fault, of ...Kind) Rule {
	return func(r *Request) (f Fault) {
		if slices.Contains(of, r.Kind) {
			f = fault
		}
		return f
	}
}

// Throttle returns the Rule that lets so many requests a second pass.
func Throttle(perSecond int) Rule {
	var next time.Time
	return func(*Request) Fault {
		now := time.Now()
		next = later(next, now).Add(time.Second / time.Duration(perSecond))
		return Fault{Delay: next.Sub(now)}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Faults has requests meet what a Rule says. Its methods may be called at any
// time, by several goroutines.
type Faults struct {
	mu      sync.Mutex
	changed sync.Cond // rule is another
	rule    Rule
	held    int
	counts  [kinds]int
}

func (f *Faults) init() { f.changed.L = &f.mu }

// Inject puts rule in place of the one before; nil has no faults. Requests that
// hang meet what it says.
func (f *Faults) Inject(rule Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rule = rule
	f.changed.Broadcast()
}

// Held returns how many requests hang.
func (f *Faults) Held() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held
}

// Count returns how many requests of a kind have come.
func (f *Faults) Count(k Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[k]
}

// meet returns what becomes of r, after all waits.
func (f *Faults) meet(r Request) Fault {
	f.mu.Lock()
	f.counts[r.Kind]++
	fault := f.ask(&r)
	for fault.Hang {
		f.held++
		f.changed.Wait()
		f.held--
		fault = f.ask(&r)
	}
	f.mu.Unlock()
	if fault.Delay > 0 {
		<-time.After(fault.Delay)
	}
	return fault
}

func (f *Faults) ask(r *Request) Fault {
	if f.rule == nil {
		return Fault{}
	}
	return f.rule(r)
}
