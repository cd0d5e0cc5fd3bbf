package ring

import (
	"slices"

	"github.com/seed-39be8cca/asyncfile/internal/aio"
	"github.com/seed-39be8cca/asyncfile/internal/workers"
)

// A Lane is what a Ring has for one device. io_submit may sleep: for a file system
// that is frozen, metadata that is not in memory, a device whose queue is full, a
// server that does not answer. Whoever sleeps there sleeps for one device only,
// since each has its own list of pending requests, its own senders, workers of its
// own, and no right to the last slots (see slots). So that nobody sleeps who has
// something else to do:
//
//   - A submission only adds to pending. It never calls io_submit.
//   - What is pending is sent by a goroutine that is going to wait for it anyway
//     (Lend), by the completer, or by a goroutine that was started for it (spawn).
//   - Nobody goes into io_submit with the token, the right to reap.
//   - The watchdog finds senders that sleep. The lane gets another, up to
//     maxSenders of them, and a completer that sleeps there is replaced.
//
// Ring.mu guards it.
type Lane struct {
	ring    *Ring
	alone   [1]*Lane // this one
	apart   func()   // sendApart, bound once so that spawn allocates nothing
	device  uint64   // st_dev
	shared  bool     // by all files of the device
	files   int
	workers *workers.Pool
	line    slotLine

	// What is registered nowhere yet, to be sent by the next io_submit: reads, and
	// all else. They go in this order, and only writes sleep for a frozen file system.
	reads, writes Requests

	urgent   bool      // what is pending is not to wait for a goroutine that comes to wait
	seen     bool      // by the watchdog: it has been pending since its last turn
	senders  []*driver // goroutines that send, in no order
	starting int       // those of them that have been started and do not run yet
	asleep   int       // those of them that the watchdog found asleep in io_submit
}

const (
	// MaxBatch is the most requests of one io_submit, and events of one reap.
	// On virtio the cost of a request falls until about 32 in one call.
	MaxBatch = 64

	// maxSenders is how many goroutines, and so threads, of a lane may sleep in
	// io_submit, the last of them with nothing but reads. Of those that are awake
	// there is one: what comes while it is in the kernel makes its next batch.
	maxSenders = 4

	// maxRounds is how many batches a goroutine sends that others have added to
	// meanwhile, before it leaves them to another.
	maxRounds = 8
)

// A driver is a goroutine at the Ring's work, and its scratch memory: it sends,
// reaps, and ends what has come back.
type driver struct {
	requests [MaxBatch]*Request
	gens     [MaxBatch]uint32
	iocbs    [MaxBatch]*aio.IOCB
	events   [MaxBatch]aio.Event
	ended    []outcome

	call   uint64 // numbers its io_submit calls; 0 between them
	seen   uint64 // the call in which the watchdog saw it last
	asleep bool   // the watchdog saw it twice in one call
}

// A Load is what a goroutine may send.
type Load uint8

const (
	Nothing Load = iota // at all
	Reads               // and nothing that a frozen file system has sleep
	All                 // that is pending
)

// takeDriver returns scratch memory. Called with mu held.
func (r *Ring) takeDriver() *driver {
	last := len(r.spare) - 1
	if last < 0 {
		return new(driver)
	}
	d := r.spare[last]
	r.spare = r.spare[:last]
	return d
}

func (r *Ring) putDriver(d *driver) { r.spare = append(r.spare, d) }

// LaneOf returns the lane of a device, for one more file. Files that are on no
// device, such as pipes, have one each: their other end may keep an operation
// waiting for as long as it likes.
func (r *Ring) LaneOf(device uint64, shared bool) *Lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lanes {
		if shared && l.files > 0 && l.shared && l.device == device {
			l.files++
			return l
		}
	}
	l := &Lane{ring: r, device: device, shared: shared, files: 1, workers: workers.New(r.workers)}
	l.alone[0], l.apart = l, l.sendApart
	r.lanes = append(r.lanes, l)
	r.slots.lanes = r.lanes
	return l
}

// Ring returns the Ring of l.
func (l *Lane) Ring() *Ring { return l.ring }

// Used reports whether l has files.
func (l *Lane) Used() bool {
	l.ring.mu.Lock()
	defer l.ring.mu.Unlock()
	return l.files > 0
}

// Release counts a file out whose operations have ended.
func (l *Lane) Release() {
	r := l.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	l.files--
	l.retire()
}

// Go has a worker of the lane do j, which may block.
func (l *Lane) Go(j workers.Job) { l.workers.Go(j) }

// retire takes the lane off the Ring when nobody uses it: no file, and no sender
// that the watchdog has to look after. Called with mu held.
func (l *Lane) retire() {
	if l.files > 0 || len(l.senders) > 0 {
		return
	}
	r := l.ring
	r.lanes = slices.DeleteFunc(r.lanes, func(other *Lane) bool { return other == l })
	r.slots.lanes = r.lanes
	r.slots.serve()
}
