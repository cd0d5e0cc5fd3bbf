package asyncfiletest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
	"github.com/seed-39be8cca/asyncfile/asyncfiletest"
)

// A wal is a log whose Commit promises that the record outlives a loss of power.
type wal struct {
	file  *asyncfile.AsyncFile
	syncs bool // or the author has forgotten it
}

func (w *wal) Commit(record string) error {
	if _, err := w.file.Append([]byte(record + "\n")).Wait(); err != nil {
		return err
	}
	if !w.syncs {
		return nil
	}
	_, err := w.file.Datasync().Wait()
	return err
}

// replay returns what of the records a wal has after a restart.
func replay(name string) ([]string, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var records []string
	for line := range bytes.Lines(content) {
		records = append(records, string(bytes.TrimSuffix(line, []byte("\n"))))
	}
	return records, nil
}

// keepsPromise is the test: power is lost after each Commit, and what was committed is
// to be there.
func keepsPromise(t testing.TB, syncs bool) error {
	ring := asyncfiletest.NewRing(t)
	dir := t.TempDir()
	file, err := asyncfile.Create(filepath.Join(dir, "0001.wal"), asyncfile.WithRing(ring.Ring))
	if err != nil {
		return err
	}
	defer file.Close()
	log := &wal{file: file, syncs: syncs}
	for i := range 3 {
		record := fmt.Sprintf("record %d", i)
		if err := log.Commit(record); err != nil {
			return err
		}
		crashed := ring.CrashClone(dir, asyncfiletest.Crash{})
		records, err := replay(filepath.Join(crashed, "0001.wal"))
		if err != nil {
			return err
		}
		if len(records) != i+1 || records[i] != record {
			return fmt.Errorf("%q was committed, and is lost: the log has %q", record, records)
		}
	}
	return nil
}

// A write-ahead log that forgets its Sync passes every test that only reads back what
// it wrote. It fails where power is lost.
func Example() {
	t := newT() // the *testing.T of a test
	defer t.finish()
	fmt.Println("without a Sync:", keepsPromise(t, false))
	fmt.Println("with a Sync:", keepsPromise(t, true))
	// Output:
	// without a Sync: "record 0" was committed, and is lost: the log has []
	// with a Sync: <nil>
}

// The third write to a log fails, whoever makes it.
func ExampleRing_Inject() {
	t := newT()
	defer t.finish()
	ring := asyncfiletest.NewRing(t)
	ring.Inject(asyncfiletest.Fault{File: "*.wal", Op: asyncfiletest.Write, After: 2, Times: 1, Err: syscall.EIO})

	file, err := asyncfile.Create(filepath.Join(t.TempDir(), "0001.wal"), asyncfile.WithRing(ring.Ring))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	log := &wal{file: file, syncs: true}
	for i := range 4 {
		err := log.Commit("a record")
		fmt.Println(i, err == nil, errors.Is(err, syscall.EIO))
	}
	// Output:
	// 0 true false
	// 1 true false
	// 2 false true
	// 3 true false
}

// A disk that stops answering, until the test lets it go on.
func ExampleInjection_Release() {
	t := newT()
	defer t.finish()
	ring := asyncfiletest.NewRing(t)
	hung := ring.Inject(asyncfiletest.Fault{Op: asyncfiletest.Sync, Hold: true})

	file, err := asyncfile.Create(filepath.Join(t.TempDir(), "0001.wal"), asyncfile.WithRing(ring.Ring))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	sync := file.Sync()
	_, _, done := sync.Result()
	hung.AwaitHeld(1)
	fmt.Println(done)
	hung.Release()
	fmt.Println(sync.Wait())
	// Output:
	// false
	// 0 <nil>
}
