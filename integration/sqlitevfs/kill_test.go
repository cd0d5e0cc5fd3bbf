package sqlitevfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// A kidJob is what a child of the test binary does.
type kidJob struct {
	Kind          string
	Mode, Journal string
	Name          string
	First         int // id, or worker
	Transactions  int
}

const (
	kindWork   = "work"   // runs work, and says how many transactions were committed
	kindLedger = "ledger" // runs ledger on several connections until it is killed
)

const (
	// writers is how many connections a child that is to be killed writes with.
	writers = 4

	// entries is how many rows a transaction of the ledger adds, spots how many
	// of the fixed places it overwrites, places how many of those there are.
	entries, spots, places = 12, 8, 200
	entrySize              = 5000
)

func child(job string) error {
	var j kidJob
	if err := json.Unmarshal([]byte(job), &j); err != nil {
		return err
	}
	ring, err := modeNamed(j.Mode).start()
	if err != nil {
		return err
	}
	defer ring.Close()
	if j.Kind == kindWork {
		n, err := work(j.Mode, j.Name, j.Journal, j.First, j.Transactions)
		if err != nil {
			return err
		}
		_, err = fmt.Println(n)
		return err
	}
	failed := make(chan error)
	for w := range writers {
		go func() { failed <- ledger(j, w) }()
	}
	return <-failed
}

// ledger commits one transaction after the other, with ids First+w, First+w+writers
// and so on, and says each id when it is committed, not before.
func ledger(j kidJob, w int) error {
	c, err := open(j.Mode, j.Name, j.Journal)
	if err != nil {
		return err
	}
	// Some do not wait for the disk at each commit in WAL mode, so that more of
	// the time goes into writing.
	if w%2 == 1 {
		if err := c.Exec("PRAGMA synchronous=NORMAL"); err != nil {
			return err
		}
	}
	for id := j.First + w; ; id += writers {
		err := transact(c, func() error {
			for k := range entries {
				if err := run(c, "INSERT INTO entries VALUES (?, ?, ?)", id, k, payload(id, k, entrySize)); err != nil {
					return err
				}
			}
			for k := range spots {
				place := (id*31 + k*spots*3) % places
				if err := run(c, "UPDATE places SET id = ?, body = ? WHERE place = ?", id, payload(id, -place, entrySize), place); err != nil {
					return err
				}
			}
			return run(c, "INSERT INTO ids VALUES (?)", id)
		})
		if err != nil {
			return fmt.Errorf("transaction %d: %w", id, err)
		}
		if _, err := fmt.Println(id); err != nil { // one write(2), of a line
			return err
		}
	}
}

// A kid is a child of the test binary at its work.
type kid struct {
	cmd    *exec.Cmd
	lines  chan int // what it says; closed at the end
	stderr strings.Builder
}

func startKid(t *testing.T, j kidJob) *kid {
	t.Helper()
	job, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	k := &kid{cmd: exec.Command(os.Args[0]), lines: make(chan int)}
	k.cmd.Env = append(os.Environ(), childJob+"="+string(job))
	k.cmd.Stderr = &k.stderr
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go k.read(out)
	return k
}

// read passes on what the child says. A line that was cut off is nothing said.
func (k *kid) read(out io.Reader) {
	defer close(k.lines)
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if n, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			k.lines <- n
		}
	}
}

// rest returns what the child says from now on, and when it has ended how.
func (k *kid) rest() (lines []int, err error) {
	for n := range k.lines {
		lines = append(lines, n)
	}
	return lines, k.cmd.Wait()
}

// finish waits for a child that ends by itself.
func (k *kid) finish(t *testing.T) []int {
	t.Helper()
	lines, err := k.rest()
	if err != nil {
		t.Fatalf("child: %v: %s", err, k.stderr.String())
	}
	return lines
}

// A child that commits transactions on several connections is killed at a random
// moment, again and again, on one database. Each time the database is whole,
// has every transaction that the child said it had committed, and of each
// transaction all or nothing.
//
// SIGKILL leaves the page cache alone, so this shows that nothing is
// acknowledged before the kernel has it, and that what was in flight in any
// order is undone; not what a loss of power would do.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 3
	}
	for _, m := range []string{"pool", "aio-async", "aio-direct-async"} {
		for _, journal := range []string{"delete", "wal"} {
			t.Run(m+"/"+journal, func(t *testing.T) {
				modeNamed(m).setup(t)
				testKill(t, m, journal, kills)
			})
		}
	}
}

func testKill(t *testing.T, m, journal string, kills int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	name := filepath.Join(t.TempDir(), "test.db")
	prepareLedger(t, m, name, journal)

	acked := map[int]bool{}
	next, hot, kill := 0, 0, 0
	for ; kill < kills || hot == 0 && kill < 3*kills; kill++ {
		k := startKid(t, kidJob{Kind: kindLedger, Mode: m, Journal: journal, Name: name, First: next})
		for range 1 + random.IntN(25) {
			id, ok := <-k.lines
			if !ok {
				_, err := k.rest()
				t.Fatalf("kill %d: the child ended by itself: %v: %s", kill, err, k.stderr.String())
			}
			acked[id] = true
		}
		// Not a wait for anything: it moves the kill away from a commit.
		moment := time.After(time.Duration(random.IntN(8000)) * time.Microsecond)
		for waiting := true; waiting; {
			select {
			case id, ok := <-k.lines:
				if !ok {
					_, err := k.rest()
					t.Fatalf("kill %d: the child ended by itself: %v: %s", kill, err, k.stderr.String())
				}
				acked[id] = true
			case <-moment:
				waiting = false
			}
		}
		k.cmd.Process.Kill()
		late, err := k.rest()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("kill %d: the child was not killed: %v: %s", kill, err, k.stderr.String())
		}
		for _, id := range late {
			acked[id] = true
		}
		if unfinished(name) {
			hot++
		}
		reader := m
		if kill%4 == 3 {
			reader = "" // the library's own VFS recovers just as well
		}
		next = checkLedger(t, reader, name, journal, acked)
	}
	t.Logf("%d kills, %d transactions acknowledged; %d kills left an unfinished one in the files", kill, len(acked), hot)
	if hot == 0 && !testing.Short() {
		t.Error("no kill came in the middle of a transaction")
	}
}

// unfinished reports whether the files hold a part of a transaction: a rollback
// journal, which is gone after a commit, or a WAL that goes on behind its last
// commit (https://sqlite.org/fileformat2.html#walformat).
func unfinished(name string) bool {
	if info, err := os.Stat(name + "-journal"); err == nil && info.Size() > 0 {
		return true
	}
	wal, err := os.ReadFile(name + "-wal")
	if err != nil || len(wal) < 32 {
		return false
	}
	frame := 24 + int(binary.BigEndian.Uint32(wal[8:]))
	open := false
	for at := 32; at+frame <= len(wal) && bytes.Equal(wal[at+8:at+16], wal[16:24]); at += frame {
		open = binary.BigEndian.Uint32(wal[at+4:]) == 0 // the size of the database, at a commit
	}
	return open
}

func prepareLedger(t *testing.T, m, name, journal string) {
	t.Helper()
	c, err := open(m, name, journal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Exec(`CREATE TABLE ids (id INTEGER PRIMARY KEY);
		CREATE TABLE entries (id INT, k INT, body BLOB, PRIMARY KEY (id, k));
		CREATE TABLE places (place INTEGER PRIMARY KEY, id INT, body BLOB);`)
	if err != nil {
		t.Fatal(err)
	}
	err = transact(c, func() error {
		for place := range places {
			if err := run(c, "INSERT INTO places VALUES (?, -1, ?)", place, payload(-1, -place, entrySize)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkLedger opens the database, by which SQLite recovers it, and returns the
// first id that it has not seen.
func checkLedger(t *testing.T, vfsName, name, journal string, acked map[int]bool) (next int) {
	t.Helper()
	c, err := open(vfsName, name, journal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	verify(t, c)
	have := map[int]int{} // entries of each transaction
	err = query(c, "SELECT id FROM ids", nil, func(s *sqlite3.Stmt) error {
		have[s.ColumnInt(0)] = 0
		next = max(next, s.ColumnInt(0)+1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id := range acked {
		if _, ok := have[id]; !ok {
			t.Errorf("transaction %d was acknowledged and is not there", id)
		}
	}
	err = query(c, "SELECT id, k, body FROM entries", nil, func(s *sqlite3.Stmt) error {
		id, k := s.ColumnInt(0), s.ColumnInt(1)
		if _, ok := have[id]; !ok {
			return fmt.Errorf("entry of transaction %d, which is not there", id)
		}
		if !isPayload(s.ColumnBlob(2, nil), id, k, entrySize) {
			return fmt.Errorf("entry %d of transaction %d is not what was written", k, id)
		}
		have[id]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range have {
		if n != entries {
			t.Errorf("transaction %d has %d entries of %d", id, n, entries)
		}
	}
	found := 0
	err = query(c, "SELECT place, id, body FROM places", nil, func(s *sqlite3.Stmt) error {
		place, id := s.ColumnInt(0), s.ColumnInt(1)
		if _, ok := have[id]; !ok && id != -1 {
			return fmt.Errorf("place %d is of transaction %d, which is not there", place, id)
		}
		if !isPayload(s.ColumnBlob(2, nil), id, -place, entrySize) {
			return fmt.Errorf("place %d is not what transaction %d wrote", place, id)
		}
		found++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found != places {
		t.Errorf("%d places of %d", found, places)
	}
	if t.Failed() {
		t.FailNow()
	}
	return next
}
