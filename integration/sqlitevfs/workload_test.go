package sqlitevfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"github.com/seed-39be8cca/asyncfile"
)

// rowSize is the largest payload in bytes: some rows fit a page, others need a
// chain of overflow pages.
const rowSize = 9000

const schema = `CREATE TABLE IF NOT EXISTS rows (worker INT, seq INT, body BLOB, PRIMARY KEY (worker, seq)) WITHOUT ROWID;
	CREATE TABLE IF NOT EXISTS total (n INT);
	INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM total);`

var errRollback = errors.New("rolled back on purpose")

// work runs transactions on a connection of its own: rows are inserted, replaced
// and deleted, every fifth transaction is rolled back, and each that is not adds
// one to a total, which would show a write lost between connections. It returns
// how many were committed.
func work(vfsName, name, journal string, worker, transactions int) (committed int, err error) {
	c, err := open(vfsName, name, journal)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for i := range transactions {
		err := transact(c, func() error {
			steps := []error{
				run(c, "UPDATE total SET n = n+1"),
				run(c, "INSERT INTO rows VALUES (?, ?, ?)", worker, 3*i, payload(worker, 3*i, rowSize)),
				run(c, "INSERT INTO rows VALUES (?, ?, ?)", worker, 3*i+1, payload(worker, 3*i+1, rowSize)),
				run(c, "INSERT INTO rows VALUES (?, ?, ?)", worker, 3*i+2, payload(worker, 3*i+2, rowSize)),
				run(c, "DELETE FROM rows WHERE worker = ? AND seq = ?", worker, 3*(i-2)),
				run(c, "UPDATE rows SET body = ? WHERE worker = ? AND seq = ?", payload(-worker, 3*(i-1)+1, rowSize), worker, 3*(i-1)+1),
			}
			if err := errors.Join(steps...); err != nil {
				return err
			}
			if i%5 == 4 {
				return errRollback
			}
			return nil
		})
		switch {
		case err == nil:
			committed++
		case err != errRollback:
			return committed, fmt.Errorf("worker %d, transaction %d: %w", worker, i, err)
		}
	}
	return committed, nil
}

const allRows = "SELECT worker, seq, body FROM rows ORDER BY worker, seq"

// expected is what the table rows holds after work: the key and body of each.
func expected(workers, transactions int) map[[2]int][]byte {
	rows := map[[2]int][]byte{}
	for w := range workers {
		for i := range transactions {
			if i%5 == 4 {
				continue
			}
			for _, seq := range []int{3 * i, 3*i + 1, 3*i + 2} {
				rows[[2]int{w, seq}] = payload(w, seq, rowSize)
			}
			delete(rows, [2]int{w, 3 * (i - 2)})
			if seq := 3*(i-1) + 1; rows[[2]int{w, seq}] != nil {
				rows[[2]int{w, seq}] = payload(-w, seq, rowSize)
			}
		}
	}
	return rows
}

// checkRows compares the table rows with what work is to leave.
func checkRows(t *testing.T, c *sqlite3.Conn, workers, transactions int) {
	t.Helper()
	want := expected(workers, transactions)
	err := query(c, allRows, nil, func(s *sqlite3.Stmt) error {
		key := [2]int{s.ColumnInt(0), s.ColumnInt(1)}
		body, ok := want[key]
		if got := s.ColumnBlob(2, nil); !ok || string(got) != string(body) {
			return fmt.Errorf("row %v: known %v, %d bytes, want %d", key, ok, len(got), len(body))
		}
		delete(want, key)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) > 0 {
		t.Fatalf("%d rows are missing", len(want))
	}
}

// fill creates a database and has several connections work on it at once.
func fill(t *testing.T, vfsNames []string, name, journal string, workers, transactions int) (committed int) {
	t.Helper()
	c, err := open(vfsNames[0], name, journal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // last: the WAL is there until then
	if err := c.Exec(schema); err != nil {
		t.Fatal(err)
	}
	if got := text(t, c, "PRAGMA journal_mode"); got != journal {
		t.Fatalf("journal mode %q, want %q", got, journal)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for w := range workers {
		wg.Go(func() {
			n, err := work(vfsNames[w%len(vfsNames)], name, journal, w, transactions)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			committed += n
			mu.Unlock()
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return committed
}

// scale returns how many connections work, and how many transactions each runs.
func scale() (workers, transactions int) {
	if testing.Short() {
		return 4, 10
	}
	return 8, 15
}

// Many connections fill a database; then it is whole, holds what it should, and
// is the same as one that the library's own VFS made, for either VFS to read.
func TestWorkload(t *testing.T) {
	workers, transactions := scale()
	for _, journal := range journals {
		t.Run(journal, func(t *testing.T) {
			own := filepath.Join(t.TempDir(), "own.db")
			fill(t, []string{""}, own, journal, workers, transactions)
			reference := func() string {
				c, err := open("", own, journal)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				return digest(t, c, allRows)
			}()
			for _, m := range modes {
				t.Run(m.name, func(t *testing.T) {
					ring := m.setup(t)
					name := filepath.Join(t.TempDir(), "test.db")
					committed := fill(t, []string{m.name}, name, journal, workers, transactions)
					for _, reader := range []string{m.name, ""} {
						c, err := open(reader, name, journal)
						if err != nil {
							t.Fatal(err)
						}
						verify(t, c)
						if n := number(t, c, "SELECT n FROM total"); n != committed {
							t.Errorf("vfs %q: %d transactions in the total, %d committed", reader, n, committed)
						}
						checkRows(t, c, workers, transactions)
						if got := digest(t, c, allRows); got != reference {
							t.Errorf("vfs %q: not what the library's own VFS made", reader)
						}
						if err := c.Close(); err != nil {
							t.Error(err)
						}
					}
					m.checkStats(t, ring.Stats())
				})
			}
		})
	}
}

// checkStats fails if the work went another way than m says.
func (m mode) checkStats(t *testing.T, s asyncfile.Stats) {
	t.Helper()
	t.Logf("submitted %d, io_submit %d, offloaded %d, inline %d, written %d KiB", s.Submitted, s.Submits, s.Offloaded, s.Inline, s.BytesWritten>>10)
	if aio := m.backend == asyncfile.BackendAIO && m.async; aio && s.Submits == 0 {
		t.Error("nothing went through io_submit")
	}
	if m.async && s.BytesWritten == 0 {
		t.Error("nothing was written through Futures")
	}
	if s.Errors != 0 {
		t.Errorf("%d operations failed", s.Errors)
	}
}

// Connections of both VFSs and of several processes share a database.
func TestShared(t *testing.T) {
	workers, transactions := scale()
	for _, journal := range []string{"delete", "wal"} {
		for _, m := range []mode{modeNamed("pool-async"), modeNamed("aio-direct-async")} {
			t.Run(journal+"/"+m.name, func(t *testing.T) {
				m.setup(t)
				name := filepath.Join(t.TempDir(), "test.db")
				c, err := open("", name, journal)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.Exec(schema); err != nil {
					t.Fatal(err)
				}
				const children = 2
				var kids []*kid
				for i := range children {
					kids = append(kids, startKid(t, kidJob{Kind: kindWork, Mode: m.name, Journal: journal, Name: name, First: workers + i, Transactions: transactions}))
				}
				committed := fill(t, []string{m.name, ""}, name, journal, workers, transactions)
				for _, k := range kids {
					lines := k.finish(t)
					if len(lines) != 1 {
						t.Fatalf("child said %v", lines)
					}
					committed += lines[0]
				}
				verify(t, c)
				if n := number(t, c, "SELECT n FROM total"); n != committed {
					t.Errorf("%d transactions in the total, %d committed", n, committed)
				}
				checkRows(t, c, workers+children, transactions)
			})
		}
	}
}

// With synchronous=OFF nothing is synced, and what is written behind has to be
// waited for elsewhere.
func TestSynchronousOff(t *testing.T) {
	m := modeNamed("aio-direct-async")
	m.setup(t)
	for _, journal := range []string{"delete", "wal"} {
		name := filepath.Join(t.TempDir(), "test.db")
		c, err := open(m.name, name, journal)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Exec("PRAGMA synchronous=OFF;" + schema); err != nil {
			t.Fatal(err)
		}
		const rows = 300
		err = transact(c, func() error {
			for i := range rows {
				if err := run(c, "INSERT INTO rows VALUES (1, ?, ?)", i, payload(1, i, rowSize)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		other, err := open("", name, journal)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		verify(t, other)
		if n := number(t, other, "SELECT count(*) FROM rows"); n != rows {
			t.Errorf("%s: %d rows, want %d", journal, n, rows)
		}
	}
}

// VACUUM goes through a temporary database, and shrinks the file.
func TestVacuumAndTemporaryFiles(t *testing.T) {
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			m.setup(t)
			temp := t.TempDir()
			t.Setenv("SQLITE_TMPDIR", temp)
			name := filepath.Join(t.TempDir(), "test.db")
			c, err := open(m.name, name, "delete")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Exec("PRAGMA temp_store=FILE;" + schema + "CREATE TEMP TABLE t AS SELECT 1 AS n"); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				body := payload(0, i, rowSize)
				if err := errors.Join(
					run(c, "INSERT INTO rows VALUES (0, ?, ?)", i, body),
					run(c, "INSERT INTO t VALUES (?)", body)); err != nil {
					t.Fatal(err)
				}
			}
			before, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Exec("DELETE FROM rows WHERE seq % 2; VACUUM"); err != nil {
				t.Fatal(err)
			}
			after, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if after.Size() >= before.Size() {
				t.Errorf("%d bytes after VACUUM, %d before", after.Size(), before.Size())
			}
			verify(t, c)
			if n := number(t, c, "SELECT count(*) FROM rows, t"); n != 25*51 {
				t.Errorf("%d rows, want %d", n, 25*51)
			}
			left, err := os.ReadDir(temp)
			if err != nil {
				t.Fatal(err)
			}
			if len(left) != 0 {
				t.Errorf("temporary files have names: %v", left)
			}
		})
	}
}

// A page that is no whole number of blocks cannot be written to a direct file,
// and the error is SQLite's for a write.
func TestDirectWantsWholeBlocks(t *testing.T) {
	m := modeNamed("pool-direct-async")
	m.setup(t)
	c, err := open(m.name, filepath.Join(t.TempDir(), "test.db"), "delete")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("PRAGMA page_size=1024; CREATE TABLE t (n)"); !errors.Is(err, sqlite3.IOERR_WRITE) {
		t.Errorf("pages of 1024 bytes: %v", err)
	}
}

// openFile opens a file as the main database of m.
func openFile(t *testing.T, m mode, name string, access int) *File {
	t.Helper()
	s := &system{o: Options{Direct: m.direct, Async: m.async, File: []asyncfile.Option{asyncfile.WithBackend(m.backend)}}}
	f, err := s.open(name, access, vfs.OPEN_MAIN_DB)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
