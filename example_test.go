package asyncfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/seed-39be8cca/asyncfile"
)

// blockSize is a multiple of what O_DIRECT asks of offsets and lengths.
const blockSize = 4096

// tempName returns the name of a file to be made in a directory of its own, and
// what removes both.
func tempName() (name string, remove func()) {
	dir, err := os.MkdirTemp("", "asyncfile")
	check(err)
	return filepath.Join(dir, "data"), func() { os.RemoveAll(dir) }
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Write and read with Futures.
func Example() {
	dir, err := os.MkdirTemp("", "asyncfile")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file, err := asyncfile.Create(filepath.Join(dir, "data"))
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()

	written := file.WriteAt([]byte("hello, world"), 0) // returns at once
	if _, err := written.Wait(); err != nil {
		log.Fatal(err)
	}

	buf := make([]byte, 100)
	n, err := file.ReadAt(buf, 7).Wait()
	fmt.Printf("%q, %v\n", buf[:n], err) // fewer than 100 bytes: the file ends
	// Output: "world", EOF
}

// Many operations are in flight together, and complete in any order.
func ExampleWaitAll() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	var writes, reads []*asyncfile.Future
	for i := range 64 {
		block := asyncfile.AlignedBuffer(blockSize) // not to be touched until the write is done
		block[0] = byte(i)
		writes = append(writes, file.WriteAt(block, int64(i)*blockSize))
	}
	check(asyncfile.WaitAll(writes...))

	data := asyncfile.AlignedBuffer(64 * blockSize)
	for off := 0; off < len(data); off += blockSize {
		reads = append(reads, file.ReadAt(data[off:off+blockSize], int64(off)))
	}
	check(asyncfile.WaitAll(reads...))
	fmt.Println(data[0], data[blockSize], data[63*blockSize])
	// Output: 0 1 63
}

// Done is a channel for a select. It bounds the wait, not the operation.
func ExampleFuture_Done() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name)
	check(err)
	defer file.Close()

	future := file.WriteAt([]byte("hello"), 0)
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	select {
	case <-future.Done():
		n, err, _ := future.Result()
		fmt.Println("written:", n, err)
	case <-timer.C:
		fmt.Println("still in flight")
	}
	// Output: written: 5 <nil>
}

// A context ends the wait, not the operation: the buffer is in use until Done.
func ExampleFuture_WaitContext() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name)
	check(err)
	defer file.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	future := file.WriteAt([]byte("hello"), 0)
	n, err := future.WaitContext(ctx)
	if errors.Is(err, asyncfile.ErrAbandoned) {
		// Keep the buffer. What becomes of the write can still be learned.
		n, err = future.Wait()
	}
	fmt.Println(n, err)
	// Output: 5 <nil>
}

// A Queue delivers completions, in any order, on one channel.
func ExampleQueue() {
	name, remove := tempName()
	defer remove()
	check(os.WriteFile(name, bytes.Repeat([]byte("x"), 8*blockSize+100), 0o600))
	file, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	queue := asyncfile.NewQueue(16)
	for block := range 9 {
		// Whole blocks; the last read is short, with io.EOF.
		check(queue.ReadAt(file, asyncfile.AlignedBuffer(blockSize), int64(block)*blockSize, block))
	}
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	var sizes [9]int // by tag
	for left := len(sizes); left > 0; {
		select {
		case c := <-queue.C():
			if c.Err != nil && c.Err != io.EOF {
				log.Fatal(c.Err)
			}
			sizes[c.Tag.(int)] = c.N
			left--
		case <-ticker.C:
			log.Print(left, " reads to go")
		}
	}
	check(queue.Close())
	fmt.Println(sizes)
	// Output: [4096 4096 4096 4096 4096 4096 4096 4096 100]
}

// Appends land in the order of the calls, without a wait in between.
// The cheapest way to keep many operations in flight: submit, receive what has
// ended, submit again. All that is submitted between two calls of Receive goes to
// the kernel at once.
func ExampleQueue_Receive() {
	const blocks, depth = 100, 8
	name, remove := tempName()
	defer remove()
	check(os.WriteFile(name, make([]byte, blocks*blockSize), 0o600))
	file, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	queue := asyncfile.NewQueue(depth)
	next := int64(0)
	for ; next < depth; next++ {
		check(queue.ReadAt(file, asyncfile.AlignedBuffer(blockSize), next*blockSize, nil))
	}
	var bytes int
	ended := make([]asyncfile.Completion, depth)
	for received := 0; received < blocks; {
		n, err := queue.Receive(context.Background(), ended)
		check(err)
		for _, c := range ended[:n] {
			check(c.Err)
			bytes += c.N
			if next < blocks {
				check(queue.ReadAt(file, c.Buf, next*blockSize, nil))
				next++
			}
		}
		received += n
	}
	check(queue.Close())
	fmt.Println(bytes)
	// Output: 409600
}

func ExampleQueue_All() {
	name, remove := tempName()
	defer remove()
	check(os.WriteFile(name, bytes.Repeat([]byte("x"), 4*blockSize), 0o600))
	file, err := asyncfile.Open(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	queue := asyncfile.NewQueue(4)
	for block := range 4 {
		check(queue.ReadAt(file, asyncfile.AlignedBuffer(blockSize), int64(block)*blockSize, block))
	}
	check(queue.Close()) // waits; what has ended is still there
	total := 0
	for c := range queue.All(context.Background()) {
		check(c.Err)
		total += c.N
	}
	fmt.Println(total)
	// Output: 16384
}

func ExampleAsyncFile_Append() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name)
	check(err)
	defer file.Close()

	first := file.Append([]byte("one, "))
	second := file.Append([]byte("two, "))
	third := file.Append([]byte("three"))
	check(asyncfile.WaitAll(first, second, third))
	fmt.Println(first.Offset(), second.Offset(), third.Offset())

	data, err := os.ReadFile(name)
	check(err)
	fmt.Printf("%s\n", data)
	// Output:
	// 0 5 10
	// one, two, three
}

// Sync covers the writes before it: nobody needs to wait for them first.
func ExampleAsyncFile_Sync() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name, asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	var writes []*asyncfile.Future
	for i := range 32 {
		writes = append(writes, file.WriteAt(asyncfile.AlignedBuffer(blockSize), int64(i)*blockSize))
	}
	_, err = file.Sync().Wait()
	check(err)
	check(asyncfile.WaitAll(writes...)) // whether each write succeeded, its own Future tells
	fmt.Println(len(writes), "writes on stable storage")
	// Output: 32 writes on stable storage
}

// The classic AIO program: O_DIRECT, an aligned buffer, io_getevents with a
// timeout.
func ExampleWithTimeout() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name,
		asyncfile.WithDirect(asyncfile.DirectPrefer),
		asyncfile.WithTimeout(10*time.Millisecond)) // of one io_getevents, not of the write
	check(err)
	defer file.Close()

	buf := asyncfile.AlignedBuffer(1024)
	for i := range buf {
		buf[i] = '@'
	}
	fmt.Println(file.WriteAt(buf, 0).Wait())
	// Output: 1024 <nil>
}

// The same with completions announced through an eventfd: no thread waits.
func ExampleWithWaitMode() {
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name,
		asyncfile.WithDirect(asyncfile.DirectPrefer),
		asyncfile.WithWaitMode(asyncfile.WaitEventFD))
	check(err)
	defer file.Close()

	buf := asyncfile.AlignedBuffer(1024)
	for i := range buf {
		buf[i] = '@'
	}
	fmt.Println(file.WriteAt(buf, 0).Wait())
	// Output: 1024 <nil>
}

// Files share a Ring: one kernel context, one completer, one queue.
func ExampleNewRing() {
	ring, err := asyncfile.NewRing(asyncfile.WithQueueDepth(32))
	check(err)
	defer ring.Close() // after the files

	var futures []*asyncfile.Future
	for i := range 3 {
		name, remove := tempName()
		defer remove()
		file, err := asyncfile.Create(name, asyncfile.WithRing(ring))
		check(err)
		defer file.Close()
		futures = append(futures, file.WriteAt([]byte("hello"), int64(i)))
	}
	check(asyncfile.WaitAll(futures...))
	fmt.Println(ring.Stats().Completed, "writes on one Ring")
	// Output: 3 writes on one Ring
}

// Stats tells what a Ring has done.
func ExampleRing_Stats() {
	ring, err := asyncfile.NewRing()
	check(err)
	defer ring.Close()
	name, remove := tempName()
	defer remove()
	file, err := asyncfile.Create(name, asyncfile.WithRing(ring), asyncfile.WithDirect(asyncfile.DirectPrefer))
	check(err)
	defer file.Close()

	buf := asyncfile.AlignedBuffer(2 * blockSize)
	_, err = file.WriteAt(buf, 0).Wait()
	check(err)
	_, err = file.ReadAt(buf[:blockSize], 0).Wait()
	check(err)
	s := ring.Stats()
	fmt.Println("operations:", s.Submitted, "begun,", s.Completed, "ended,", s.Errors, "failed")
	fmt.Println("bytes:", s.BytesWritten, "written,", s.BytesRead, "read")
	// Output:
	// operations: 2 begun, 2 ended, 0 failed
	// bytes: 8192 written, 4096 read
}
