package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Every operation is a whole block inside the file, whatever the pattern, and
// mixed work has its share of reads.
func TestNext(t *testing.T) {
	const blocks, count = 100, 20_000
	for _, pat := range []pattern{randRead, randWrite, randMixed, seqRead, seqWrite} {
		w := newWork(job{Size: blocks*kib4 + 17, Cell: cell{Pattern: pat, Block: kib4, Depth: 2}})
		seen, writes := map[int64]bool{}, 0
		for i := range count {
			off, write := w.lanes[i%2].next()
			if off%kib4 != 0 || off < 0 || off+kib4 > w.Size {
				t.Fatalf("%s: offset %d in a file of %d bytes", pat, off, w.Size)
			}
			if !pat.random() && off != int64(i%blocks)*kib4 {
				t.Fatalf("%s: operation %d at offset %d", pat, i, off)
			}
			seen[off] = true
			if write {
				writes++
			}
		}
		if len(seen) != blocks {
			t.Errorf("%s: %d of %d blocks were used", pat, len(seen), blocks)
		}
		share := 100 * writes / count
		switch {
		case pat == randMixed && (share < 28 || share > 32):
			t.Errorf("%s: %d %% writes", pat, share)
		case pat != randMixed && pat.writes() != (writes == count), pat != randMixed && !pat.writes() && writes > 0:
			t.Errorf("%s: %d of %d are writes", pat, writes, count)
		}
	}
}

// Reads at odd offsets are inside the file, and odd.
func TestNextOdd(t *testing.T) {
	for _, size := range []int64{4101, 4102, 8192, 1 << 20} {
		w := newWork(job{Size: size, Cell: cell{Pattern: oddRead, Block: 4100, Depth: 1}})
		for range 1000 {
			off, write := w.lanes[0].next()
			if off%2 != 1 || off < 0 || off+4100 > size || write {
				t.Fatalf("offset %d in a file of %d bytes, write %v", off, size, write)
			}
		}
	}
}

func TestDoneCountsOnlyWhatIsMeasured(t *testing.T) {
	w := newWork(job{Size: 1 << 20, Cell: cell{Pattern: randRead, Block: kib4, Depth: 1}})
	l := w.lanes[0]
	for _, phase := range []int32{warming, measuring, over} {
		w.phase.Store(phase)
		l.next()
		if err := l.done(kib4); err != nil {
			t.Fatal(err)
		}
	}
	if l.ops != 1 || l.latencies.histogram.TotalCount() != 1 {
		t.Errorf("%d operations, %d latencies; want 1 of each", l.ops, l.latencies.histogram.TotalCount())
	}
	if err := l.done(kib4 - 1); err == nil {
		t.Error("a short operation went unnoticed")
	}
}

// Every contender of this binary reads and writes a small file, in the way in
// which a child does.
func TestContenders(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range contenders() {
		if c.run == nil || c.tag != "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, pat := range []pattern{randMixed, seqRead, seqWrite} {
				on := cell{"here", true, pat, kib4, 20}
				if !c.can(on) {
					continue
				}
				r := asChild(t, job{Contender: c.name, Cell: on, File: name, Size: 1 << 20, Time: 20 * time.Millisecond})
				if c.name == goaioLoop && !r.ok() {
					t.Skip("goaio:", r.Err)
				}
				if c.name == bareLoop && !r.ok() && bareMissing() != "" {
					t.Skip(bareMissing())
				}
				if !r.ok() || r.Ops == 0 || r.Bytes != r.Ops*kib4 || r.Seconds <= 0 || r.P50 <= 0 || r.P50 > r.P999 {
					t.Errorf("%v: result = %+v", on, r)
				}
			}
		})
	}
}

func TestResultTellsOfALongWindow(t *testing.T) {
	for took, notes := range map[time.Duration]int{1100 * time.Millisecond: 0, 18 * time.Second: 1} {
		w := newWork(job{Cell: cell{Block: kib4, Depth: 1}, Time: time.Second})
		w.lanes[0].ops, w.usage.Elapsed = 1, took
		if r, err := w.result(); err != nil || len(r.Notes) != notes {
			t.Errorf("%v: result = %+v, %v; want %d notes", took, r, err, notes)
		}
	}
}

func TestChildReportsItsError(t *testing.T) {
	text, _ := json.Marshal(job{Contender: osFile, Cell: cell{"here", false, randRead, kib4, 1}, File: filepath.Join(t.TempDir(), "none")})
	var out bytes.Buffer
	if err := runChild(string(text), &out); err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.ok() {
		t.Errorf("result = %+v, %v; want the error of the missing file", r, err)
	}
}

// asChild does a job as a child process would, from its text to the text of the
// result.
func asChild(t *testing.T, j job) (r result) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := runChild(string(text), &out); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}
