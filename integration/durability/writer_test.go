package durability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-39be8cca/asyncfile"
)

// A work is what a child of the test binary does until it is killed.
type work struct {
	Dir  string
	Jobs []*job
}

// childWork names the environment variable that makes such a child.
const childWork = "ASYNCFILE_WORK"

func TestMain(m *testing.M) {
	text := os.Getenv(childWork)
	if text == "" {
		os.Exit(m.Run())
	}
	var w work
	err := json.Unmarshal([]byte(text), &w)
	if err == nil {
		err = w.do()
	}
	if err != nil {
		fmt.Println("error", err)
	}
	io.Copy(io.Discard, os.Stdin) // until it is killed, or the test is
}

// do does all jobs at once, and says so.
func (w *work) do() error {
	var all sync.WaitGroup
	errs := make([]error, len(w.Jobs))
	for i, j := range w.Jobs {
		all.Go(func() { errs[i] = j.do(w.Dir) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := fmt.Println("done")
	return err
}

// do writes all records of a job, a group at a time.
func (j *job) do(dir string) error {
	f, err := j.open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, j.Loops)
	for l := range errs {
		all.Go(func() {
			for errs[l] == nil {
				end := int(next.Add(int64(j.Group)))
				if end > j.count() {
					return
				}
				errs[l] = j.writeGroup(f, end-j.Group)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// A record is one that is being written.
type record struct {
	i   int
	buf []byte
	off int64
}

// writeGroup writes records from first on, makes them durable, and reports them.
func (j *job) writeGroup(f *asyncfile.AsyncFile, first int) (err error) {
	records := make([]record, j.Group)
	for k := range records {
		r := &records[k]
		r.i = first + k
		r.buf, r.off = j.record(r.i)
	}
	switch j.Via {
	case futures, submit:
		err = j.byFutures(f, records)
	case queue:
		err = j.byQueue(f, records)
	case file:
		err = j.byFile(f.File(), records)
	case stream:
		err = j.byStream(f, records)
	}
	if err != nil || j.Broken != none {
		return err
	}
	return j.report(records)
}

// report reports records as durable, with one write(2).
func (j *job) report(records []record) error {
	var text bytes.Buffer
	for _, r := range records {
		fmt.Fprintln(&text, j.Name, r.i, r.off)
	}
	_, err := os.Stdout.Write(text.Bytes())
	return err
}

func (j *job) op(r *record) asyncfile.Op {
	if j.appends() {
		return asyncfile.Op{Kind: asyncfile.OpAppend, Buf: r.buf}
	}
	return asyncfile.Op{Kind: asyncfile.OpWrite, Buf: r.buf, Offset: r.off}
}

// sync is the operation that makes a group durable, if it takes one.
func (j *job) sync() (ops []asyncfile.Op) {
	switch j.Durable {
	case bySync:
		ops = append(ops, asyncfile.Op{Kind: asyncfile.OpSync})
	case byDatasync:
		ops = append(ops, asyncfile.Op{Kind: asyncfile.OpDatasync})
	}
	return ops
}

// byFutures does not wait for the writes before it calls Sync, which covers them.
// Where Sync has resolved, so have they.
func (j *job) byFutures(f *asyncfile.AsyncFile, records []record) error {
	var ops []asyncfile.Op
	for i := range records {
		ops = append(ops, j.op(&records[i]))
	}
	if j.Broken != none {
		return j.breach(f, ops, records)
	}
	ops = append(ops, j.sync()...)
	var all []*asyncfile.Future
	if j.Via == submit {
		all = f.Submit(ops...)
	} else {
		for _, op := range ops {
			all = append(all, f.Submit(op)...)
		}
	}
	if len(ops) > len(records) {
		if _, err := all[len(records)].Wait(); err != nil {
			return err
		}
	}
	for i := range records {
		n, err, ok := all[i].Result()
		if !ok && len(ops) > len(records) {
			return errors.New("Sync has resolved before a write that it covers")
		}
		if n, err = all[i].Wait(); err != nil || n != len(records[i].buf) {
			return fmt.Errorf("%d of %d bytes: %w", n, len(records[i].buf), err)
		}
		records[i].off = all[i].Offset()
	}
	return nil
}

// breach reports too early.
func (j *job) breach(f *asyncfile.AsyncFile, writes []asyncfile.Op, records []record) error {
	all := f.Submit(writes...)
	wait := func() error {
		err := asyncfile.WaitAll(all...)
		for i := range records {
			records[i].off = all[i].Offset()
		}
		return err
	}
	if j.Broken == unsynced {
		if err := wait(); err != nil {
			return err
		}
	}
	if err := j.report(records); err != nil {
		return err
	}
	if err := wait(); err != nil {
		return err
	}
	_, err := f.Sync().Wait()
	return err
}

func (j *job) byQueue(f *asyncfile.AsyncFile, records []record) error {
	q := asyncfile.NewQueue(len(records) + 1)
	defer q.Close()
	for i := range records {
		if err := q.Submit(f, j.op(&records[i]), &records[i]); err != nil {
			return err
		}
	}
	syncs := j.sync()
	for _, op := range syncs {
		if err := q.Submit(f, op, nil); err != nil {
			return err
		}
	}
	for range len(records) + len(syncs) {
		c := <-q.C()
		if c.Err != nil {
			return c.Err
		}
		if r, ok := c.Tag.(*record); ok {
			r.off = c.Offset
		}
	}
	return nil
}

func (j *job) byFile(f *asyncfile.File, records []record) error {
	for i := range records {
		r := &records[i]
		var err error
		if !j.appends() {
			_, err = f.WriteAt(r.buf, r.off)
		} else {
			// Write does not tell where it went, with several at it.
			future := f.Async().Append(r.buf)
			_, err = future.Wait()
			r.off = future.Offset()
		}
		if err != nil {
			return err
		}
	}
	if j.Durable == byDsync {
		return nil
	}
	return f.Sync()
}

func (j *job) byStream(f *asyncfile.AsyncFile, records []record) error {
	w, err := asyncfile.NewWriter(f, records[0].off)
	if err != nil {
		return err
	}
	for _, r := range records {
		if _, err := w.Write(r.buf); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return asyncfile.WaitAll(f.Submit(j.sync()...)...)
}
