package main

import (
	"os"
	"runtime"

	"github.com/seed-39be8cca/asyncfile"
)

// Names of the contenders.
const (
	fioOne       = "fio libaio"
	fioBatch     = "fio libaio, batches of 16"
	bareLoop     = "native AIO, bare loop"
	osFile       = "os.File"
	future       = "asyncfile future"
	futureEvent  = "asyncfile future, eventfd"
	submit       = "asyncfile Submit"
	submitEvent  = "asyncfile Submit, eventfd"
	queue        = "asyncfile Queue"
	queueEvent   = "asyncfile Queue, eventfd"
	queuePulled  = "asyncfile Queue, pulled"
	stream       = "asyncfile Reader, Writer"
	file         = "asyncfile File"
	iouringGo    = "iouring-go"
	futureOne    = "asyncfile future, GOMAXPROCS 1"
	queueOne     = "asyncfile Queue, GOMAXPROCS 1"
	giouringLoop = "giouring"
	goaioLoop    = "goaio"
)

// A contender is one way to do the work.
type contender struct {
	name    string
	about   string
	tag     string              // build tag of the binary that has it, "" for this one
	args    []string            // of fio: it is no child of ours
	missing func() string       // why it cannot run on this machine, "" if it can
	run     func(w *work) error // nil where another binary has it
	named   bool                // it takes part only in plans that name it

	sequential bool // it does sequential patterns only
}

// can reports whether c knows how to do a cell.
func (c contender) can(on cell) bool { return !c.sequential || !on.Pattern.random() }

// contenders are in the order of the report.
func contenders() []contender {
	list := []contender{
		{name: fioOne, about: "C, one thread, one iocb an io_submit", args: []string{}, missing: fioMissing},
		{name: fioBatch, about: "C, one thread, up to 16 iocbs an io_submit", args: []string{
			"--iodepth_batch_submit=16", "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max=16"}, missing: fioMissing},
		{name: bareLoop, about: "one goroutine, hand-written loop over io_submit and io_getevents, no library", run: runBare, missing: bareMissing},
		{name: osFile, about: "a goroutine per operation in flight, each in os.File.ReadAt or WriteAt", run: runOSFile},
		{name: future, about: "a goroutine per operation in flight, each in f.ReadAt(p, off).Wait()", run: runFuture(asyncfile.WaitGetEvents)},
		{name: futureEvent, about: "the same with WaitEventFD", run: runFuture(asyncfile.WaitEventFD)},
		{name: submit, about: "a goroutine per 16 operations in flight, each in WaitAll(f.Submit(16 ops)...)", run: runSubmit(asyncfile.WaitGetEvents)},
		{name: submitEvent, about: "the same with WaitEventFD", run: runSubmit(asyncfile.WaitEventFD)},
		{name: queue, about: "one goroutine, a Queue, <-q.C()", run: runQueue(asyncfile.WaitGetEvents)},
		{name: queueEvent, about: "the same with WaitEventFD", run: runQueue(asyncfile.WaitEventFD)},
		{name: queuePulled, about: "one goroutine, a Queue, q.Receive", run: runPulled},
		{name: futureOne, about: "asyncfile future on one processor", run: onOneProcessor(runFuture(asyncfile.WaitGetEvents)), named: true},
		{name: queueOne, about: "asyncfile Queue on one processor", run: onOneProcessor(runQueue(asyncfile.WaitGetEvents)), named: true},
		{name: file, about: "a goroutine per operation in flight, each in File.ReadAt or WriteAt", run: runFile},
		{name: stream, about: "one goroutine, Reader.WriteTo or Writer.ReadFrom with as many blocks in flight, nothing copied", run: runStream, sequential: true},
		{name: iouringGo, about: "a goroutine per operation in flight, each on its Request.Done()", tag: uringTag, run: runIouringGo, missing: uringMissing},
		{name: giouringLoop, about: "io_uring, one goroutine, hand-written loop over SQEs and CQEs", tag: uringTag, run: runGiouring, missing: uringMissing},
		{name: goaioLoop, about: "native AIO, one goroutine, WaitAny", run: runGoaio},
	}
	return list
}

func contenderNamed(name string) (contender, bool) {
	for _, c := range contenders() {
		if c.name == name {
			return c, true
		}
	}
	return contender{}, false
}

// onOneProcessor shows what a contender's goroutines cost each other by being on
// several.
func onOneProcessor(run func(w *work) error) func(w *work) error {
	return func(w *work) error {
		runtime.GOMAXPROCS(1)
		return run(w)
	}
}

func runOSFile(w *work) error {
	f, err := os.OpenFile(w.File, w.flags(), 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return w.goroutines(f.ReadAt, f.WriteAt)
}

// open opens the file with this library. A user who needs no more than the
// default queue depth names no option, and shares the default Ring.
func (w *work) open(mode asyncfile.WaitMode) (*asyncfile.AsyncFile, error) {
	var opts []asyncfile.Option
	if d := w.Cell.Depth; d > 128 && d <= 256 {
		opts = append(opts, asyncfile.WithQueueDepth(d))
	}
	if mode != asyncfile.WaitGetEvents {
		opts = append(opts, asyncfile.WithWaitMode(mode))
	}
	f, err := asyncfile.OpenFile(w.File, w.flags(), 0, opts...)
	if err != nil {
		return nil, err
	}
	if f.Reason() != nil {
		w.notes = append(w.notes, "on the pool: "+f.Reason().Error())
	}
	return f, nil
}

func runFuture(mode asyncfile.WaitMode) func(w *work) error {
	return func(w *work) error {
		f, err := w.open(mode)
		if err != nil {
			return err
		}
		defer f.Close()
		return w.goroutines(
			func(p []byte, off int64) (int, error) { return f.ReadAt(p, off).Wait() },
			func(p []byte, off int64) (int, error) { return f.WriteAt(p, off).Wait() })
	}
}

// submitBatch is how many operations one Submit takes.
const submitBatch = 16

func runSubmit(mode asyncfile.WaitMode) func(w *work) error {
	return func(w *work) error {
		f, err := w.open(mode)
		if err != nil {
			return err
		}
		defer f.Close()
		w.begin()
		batches := (len(w.lanes) + submitBatch - 1) / submitBatch
		return w.each(batches, func(first *lane) error {
			i := 0
			for w.lanes[i] != first {
				i++
			}
			lanes := w.lanes[i*submitBatch : min((i+1)*submitBatch, len(w.lanes))]
			return submitAndWait(w, f, lanes)
		})
	}
}

func submitAndWait(w *work, f *asyncfile.AsyncFile, lanes []*lane) error {
	ops := make([]asyncfile.Op, len(lanes))
	for w.more() {
		for i, l := range lanes {
			off, write := l.next()
			ops[i] = asyncfile.Op{Kind: asyncfile.OpRead, Buf: l.buf, Offset: off}
			if write {
				ops[i].Kind = asyncfile.OpWrite
			}
		}
		futures := f.Submit(ops...)
		if err := asyncfile.WaitAll(futures...); err != nil {
			return err
		}
		for i, fut := range futures {
			n, _ := fut.Wait()
			if err := lanes[i].done(n); err != nil {
				return err
			}
		}
	}
	return nil
}
