package sqlitevfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/seed-39be8cca/asyncfile"
)

// childJob names the environment variable that makes a child of the test binary.
const childJob = "SQLITEVFS_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childJob); job != "" {
		if err := child(job); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A mode is a way to run SQLite's files on asyncfile.
type mode struct {
	name    string
	backend asyncfile.Backend
	direct  asyncfile.DirectMode
	async   bool
}

var modes = []mode{
	{"pool", asyncfile.BackendPool, asyncfile.DirectOff, false},
	{"pool-async", asyncfile.BackendPool, asyncfile.DirectOff, true},
	{"pool-direct-async", asyncfile.BackendPool, asyncfile.DirectRequire, true},
	{"aio", asyncfile.BackendAIO, asyncfile.DirectOff, false},
	{"aio-async", asyncfile.BackendAIO, asyncfile.DirectOff, true},
	{"aio-direct", asyncfile.BackendAIO, asyncfile.DirectRequire, false},
	{"aio-direct-async", asyncfile.BackendAIO, asyncfile.DirectRequire, true},
}

func modeNamed(name string) mode {
	for _, m := range modes {
		if m.name == name {
			return m
		}
	}
	panic("no mode " + name)
}

// journals are journal modes. TRUNCATE and PERSIST keep the journal's file and
// so overwrite it, which DELETE and WAL do not in the same way.
var journals = []string{"delete", "truncate", "persist", "wal"}

// start makes a Ring for m and registers m as a VFS that uses it.
func (m mode) start() (*asyncfile.Ring, error) {
	ring, err := asyncfile.NewRing(asyncfile.WithBackend(m.backend))
	if err != nil {
		return nil, err
	}
	Register(m.name, Options{
		Direct: m.direct,
		Async:  m.async,
		File:   []asyncfile.Option{asyncfile.WithRing(ring), asyncfile.WithBackend(m.backend)},
	})
	return ring, nil
}

// setup starts m for a test, which it skips where the machine has no such mode.
func (m mode) setup(t *testing.T) *asyncfile.Ring {
	t.Helper()
	ring, err := m.start()
	if err != nil && m.backend == asyncfile.BackendAIO {
		t.Skip("no native AIO:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := ring.Stats().InFlight; n != 0 {
			t.Errorf("%d requests in flight when every file is closed", n)
		}
		if n := ring.Stats().Strays; n != 0 {
			t.Errorf("%d stray events", n)
		}
		if err := ring.Close(); err != nil {
			t.Error(err)
		}
	})
	if m.direct == asyncfile.DirectRequire {
		f, err := asyncfile.CreateTemp(t.TempDir(), "probe", asyncfile.WithDirect(m.direct))
		if err != nil {
			t.Skip("no direct I/O in the directory of temporary files:", err)
		}
		f.Close()
	}
	return ring
}

// open opens a connection to the database name through VFS m ("" is the
// library's own). A small cache makes a transaction write pages before its end.
func open(m, name, journal string) (*sqlite3.Conn, error) {
	q := url.Values{"_pragma": {"busy_timeout(60000)", "journal_mode(" + journal + ")", "cache_size(16)"}}
	if m != "" {
		q.Set("vfs", m)
	}
	return sqlite3.Open("file:" + filepath.ToSlash(name) + "?" + q.Encode())
}

// transact runs do in a transaction that takes the write lock at its beginning.
func transact(c *sqlite3.Conn, do func() error) error {
	if err := c.Exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err := do(); err != nil {
		c.Exec("ROLLBACK")
		return err
	}
	return c.Exec("COMMIT")
}

// run runs one statement with args, which are int or []byte.
func run(c *sqlite3.Conn, sql string, args ...any) error {
	return query(c, sql, args, func(*sqlite3.Stmt) error { return nil })
}

// query calls row for each row of the answer.
func query(c *sqlite3.Conn, sql string, args []any, row func(*sqlite3.Stmt) error) error {
	stmt, _, err := c.Prepare(sql)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	defer stmt.Close()
	for i, arg := range args {
		switch arg := arg.(type) {
		case int:
			err = stmt.BindInt(i+1, arg)
		case []byte:
			err = stmt.BindBlob(i+1, arg)
		default:
			panic("bad argument")
		}
		if err != nil {
			return err
		}
	}
	for stmt.Step() {
		if err := row(stmt); err != nil {
			return err
		}
	}
	if err := stmt.Err(); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// number returns the one integer that sql answers with.
func number(t *testing.T, c *sqlite3.Conn, sql string) (n int) {
	t.Helper()
	if err := query(c, sql, nil, func(s *sqlite3.Stmt) error { n = s.ColumnInt(0); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// text returns the one text that sql answers with.
func text(t *testing.T, c *sqlite3.Conn, sql string) (s string) {
	t.Helper()
	if err := query(c, sql, nil, func(st *sqlite3.Stmt) error { s = st.ColumnText(0); return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

// verify runs PRAGMA integrity_check, which answers one row, "ok".
func verify(t *testing.T, c *sqlite3.Conn) {
	t.Helper()
	var said []string
	err := query(c, "PRAGMA integrity_check", nil, func(s *sqlite3.Stmt) error { said = append(said, s.ColumnText(0)); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || said[0] != "ok" {
		t.Fatalf("integrity_check: %q", said)
	}
}

// payload is what belongs to a pair of numbers: at most max bytes.
func payload(a, b, max int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(a))
	binary.LittleEndian.PutUint64(seed[8:], uint64(b))
	src := rand.NewChaCha8(seed)
	p := make([]byte, 1+src.Uint64()%uint64(max))
	src.Read(p)
	return p
}

// isPayload reports whether p belongs to the pair.
func isPayload(p []byte, a, b, max int) bool { return bytes.Equal(p, payload(a, b, max)) }

// digest sums up the answer to sql, whose columns are blobs or integers.
func digest(t *testing.T, c *sqlite3.Conn, sql string) string {
	t.Helper()
	h := sha256.New()
	err := query(c, sql, nil, func(s *sqlite3.Stmt) error {
		for i := range s.ColumnCount() {
			p := s.ColumnBlob(i, nil)
			fmt.Fprintf(h, "%d:", len(p))
			h.Write(p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
