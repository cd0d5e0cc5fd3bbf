// Quickstart reads a file with 64 reads in flight, in the two ways that the
// library has, and prints what that came to.
//
//	go run ./examples/quickstart        makes a file of 256 MiB, and removes it
//	go run ./examples/quickstart FILE   reads yours, and changes nothing
//
// The first pass holds a Future for every read and waits for them in order. The
// second sends the reads through a Queue and takes completions, in whatever order
// they come, from a channel in a select. Both print the SHA-256 that sha256sum
// prints. Memory stays at 64 blocks whatever the size of the file.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

const (
	inFlight  = 64        // reads
	blockSize = 256 << 10 // bytes of a read: a multiple of what O_DIRECT asks for
)

// sampleSize is the size in bytes of the file that is made where none is named.
// The test makes a smaller one.
var sampleSize int64 = 256 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: quickstart [FILE]\n\nReads FILE, or a file of 256 MiB that it makes and removes, with 64 reads in flight.")
	}
	if flags.Parse(args) != nil {
		return 2
	}
	if flags.NArg() > 1 {
		flags.Usage()
		return 2
	}
	err := readTwice(ctx, flags.Args(), stdout, newProgress(stderr))
	if err != nil {
		fmt.Fprintln(stderr, "quickstart:", explain(err))
		return 1
	}
	return 0
}

// readTwice reads the file that args name, or a sample, in both ways.
func readTwice(ctx context.Context, args []string, stdout io.Writer, bar *progress) error {
	var name string
	if len(args) > 0 {
		name = args[0]
	} else {
		dir, err := os.MkdirTemp("", "quickstart")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		name = filepath.Join(dir, "sample")
		if err := makeSample(ctx, name, bar); err != nil {
			return err
		}
	}
	size, err := checkedSize(name)
	if err != nil {
		return err
	}

	ring, err := asyncfile.NewRing(asyncfile.WithQueueDepth(inFlight))
	if err != nil {
		return err
	}
	defer ring.Close()
	file, err := asyncfile.Open(name, asyncfile.WithRing(ring), asyncfile.WithDirect(asyncfile.DirectPrefer))
	if err != nil {
		return err
	}
	defer file.Close() // before the Ring; waits for the reads that an error left in flight
	describe(stdout, file, size)

	var sums [2][]byte
	for i, pass := range []struct {
		name string
		hash func(context.Context, *asyncfile.AsyncFile, int64, *progress) ([]byte, int64, error)
	}{{"futures", hashFutures}, {"queue", hashQueue}} {
		bar.begin(pass.name, size)
		start := time.Now()
		sum, n, err := pass.hash(ctx, file, size, bar)
		took := time.Since(start)
		bar.end()
		if err != nil {
			return err
		}
		sums[i] = sum
		fmt.Fprintf(stdout, "%-9s%x  %d bytes in %v, %s/s\n",
			pass.name, sum, n, took.Round(10*time.Microsecond), bytesText(rate(n, took)))
	}
	printStats(stdout, ring)
	if string(sums[0]) != string(sums[1]) {
		return fmt.Errorf("%s: the two sums differ, so the file changed while it was read: choose one that nobody writes", name)
	}
	return nil
}

// checkedSize returns the size in bytes of a file that has offsets to read at.
// It looks before it opens: to open a FIFO would block until somebody writes.
func checkedSize(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return info.Size(), nil
	case mode.IsDir():
		return 0, fmt.Errorf("%s is a directory: name a regular file or a block device", name)
	case mode&os.ModeDevice == 0 || mode&os.ModeCharDevice != 0:
		return 0, fmt.Errorf("%s is neither a regular file nor a block device (%v): name one that is", name, mode.Type())
	}
	device, err := os.Open(name) // whose size Stat does not know
	if err != nil {
		return 0, err
	}
	defer device.Close()
	return device.Seek(0, io.SeekEnd)
}

// hashFutures has up to inFlight Futures in a sliding window: it waits for the
// oldest, hashes its block, and begins the next read into the same buffer.
func hashFutures(ctx context.Context, f *asyncfile.AsyncFile, size int64, bar *progress) (sum []byte, total int64, err error) {
	var window [inFlight]struct {
		buf  []byte
		read *asyncfile.Future
	}
	hash := sha256.New()
	for oldest, next := int64(0), int64(0); ; oldest++ {
		for mayRead(oldest, next, size) {
			w := &window[next%inFlight]
			if w.buf == nil {
				w.buf = asyncfile.AlignedBuffer(blockSize)
			}
			w.read = f.ReadAt(w.buf, next*blockSize)
			next++
		}
		if err := ctx.Err(); err != nil { // a result that is there wins over a dead context
			return nil, total, err
		}
		w := &window[oldest%inFlight]
		n, err := w.read.WaitContext(ctx)
		hash.Write(w.buf[:n])
		total += int64(n)
		bar.update(total)
		if err == io.EOF { // and n bytes before it: whole blocks were asked for
			return hash.Sum(nil), total, nil
		}
		if err != nil {
			return nil, total, err
		}
	}
}

// hashQueue receives completions in a select, beside a ticker and Ctrl-C. They
// come in any order, so each waits in arrived until its turn to be hashed.
func hashQueue(ctx context.Context, f *asyncfile.AsyncFile, size int64, bar *progress) (sum []byte, total int64, err error) {
	queue := asyncfile.NewQueue(inFlight)
	defer queue.Close()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()

	var buffers [inFlight][]byte
	var arrived [inFlight]*asyncfile.Completion
	hash := sha256.New()
	for oldest, next := int64(0), int64(0); ; {
		for mayRead(oldest, next, size) {
			buf := &buffers[next%inFlight]
			if *buf == nil {
				*buf = asyncfile.AlignedBuffer(blockSize)
			}
			if err := queue.ReadAt(f, *buf, next*blockSize, next); err != nil {
				return nil, total, err
			}
			next++
		}
		select {
		case c := <-queue.C():
			arrived[c.Tag.(int64)%inFlight] = &c
		case <-ticker.C:
			bar.show(total)
		case <-ctx.Done():
			return nil, total, ctx.Err()
		}
		for {
			c := arrived[oldest%inFlight]
			if c == nil {
				break
			}
			arrived[oldest%inFlight] = nil
			oldest++
			hash.Write(c.Buf[:c.N])
			total += int64(c.N)
			if c.Err == io.EOF {
				return hash.Sum(nil), total, nil
			}
			if c.Err != nil {
				return nil, total, c.Err
			}
		}
	}
}

// mayRead reports whether to begin the read of block next while oldest is the
// first block that is not hashed. It reads ahead as far as the size that was
// looked up, and beyond it, where files of /proc say 0, one block at a time until
// io.EOF. Blocks are whole, also at the end, which spares a direct read the copying.
func mayRead(oldest, next, size int64) bool {
	return next == oldest || next-oldest < inFlight && next*blockSize <= size
}

// describe says what the reads will run on.
func describe(w io.Writer, f *asyncfile.AsyncFile, size int64) {
	cache := "O_DIRECT"
	if !f.Direct() {
		cache = "buffered, since there is no O_DIRECT here"
	}
	fmt.Fprintf(w, "%-9s%s (%d bytes; %s)\n", "file", f.Name(), size, cache)
	fmt.Fprintf(w, "%-9s%v\n", "backend", f.Backend())
	if reason := f.Reason(); reason != nil {
		fmt.Fprintf(w, "%-9s%v\n", "", reason)
	}
}

func printStats(w io.Writer, ring *asyncfile.Ring) {
	s := ring.Stats()
	fmt.Fprintf(w, "\nStats of the Ring (queue depth %d)\n", ring.Depth())
	row := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-11s%s\n", label, fmt.Sprintf(format, args...))
	}
	row("operations", "%d begun, %d ended, %d in flight, %d failed", s.Submitted, s.Completed, s.InFlight, s.Errors)
	row("bytes", "%s read, %s written", bytesText(float64(s.BytesRead)), bytesText(float64(s.BytesWritten)))
	row("io_submit", "%d calls, %v inside them, %d found no room", s.Submits, s.SubmitTime.Round(10*time.Microsecond), s.Stalls)
	row("workers", "%d operations", s.Offloaded)
	row("page cache", "%d operations answered on the spot", s.Inline)
	row("kernel", "%d short transfers continued, %d stray events", s.ShortTransfers, s.Strays)
}

// makeSample writes sampleSize bytes that do not compress.
func makeSample(ctx context.Context, name string, bar *progress) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	bar.begin("sample", sampleSize)
	defer bar.end()
	source := rand.NewChaCha8([32]byte{})
	buf := make([]byte, 1<<20)
	for done := int64(0); done < sampleSize; {
		if err := ctx.Err(); err != nil {
			return err
		}
		source.Read(buf)
		n, err := f.Write(buf[:min(int64(len(buf)), sampleSize-done)])
		if err != nil {
			return err
		}
		done += int64(n)
		bar.update(done)
	}
	return f.Sync() // or the direct reads would wait for the page cache to be written
}

// explain turns err into one line that says what to do.
func explain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	var path *fs.PathError
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, fs.ErrNotExist):
		return text + ": check the path"
	case errors.Is(err, fs.ErrPermission):
		return text + ": choose a file that you may read"
	case errors.As(err, &path) && path.Op == "write":
		return text + ": set TMPDIR to a directory with room for the sample, or name a file to read"
	case errors.As(err, &path):
		return text + ": choose another file, or check the disk"
	}
	return text
}

func rate(n int64, took time.Duration) float64 {
	return float64(n) / max(took, time.Microsecond).Seconds()
}

// bytesText writes a number of bytes with a decimal unit.
func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for ; n >= 1000 && i < len(units)-1; i++ {
		n /= 1000
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.2f %s", n, units[i])
}

// A progress is one line on a terminal. On anything else it writes nothing.
type progress struct {
	w     io.Writer // nil where it is not a terminal
	label string
	size  int64 // bytes
	shown time.Time
}

func newProgress(w io.Writer) *progress {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return &progress{w: w}
		}
	}
	return &progress{}
}

func (p *progress) begin(label string, size int64) {
	p.label, p.size, p.shown = label, size, time.Now()
}

// update shows that done bytes are done, at most ten times a second.
func (p *progress) update(done int64) {
	if p.w != nil && time.Since(p.shown) >= 100*time.Millisecond {
		p.show(done)
	}
}

func (p *progress) show(done int64) {
	if p.w == nil {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.w, "\r%-40s", fmt.Sprintf("%s: %s of %s", p.label, bytesText(float64(done)), bytesText(float64(p.size))))
}

// end erases the line.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r%40s\r", "")
	}
}
