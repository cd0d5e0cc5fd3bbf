package asyncfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A cursorFile is what many goroutines use the cursor of: an os.File, to see that
// the test asks for no more than that has, or a File.
type cursorFile struct {
	t    *testing.T
	file osMethods
	dir  string
	ids  atomic.Uint32 // of records
}

// record returns a record of size bytes: its number, its size, and bytes that are
// like no other record's.
func record(id uint32, size int) []byte {
	p := AlignedBuffer(size)
	binary.LittleEndian.PutUint32(p, id)
	binary.LittleEndian.PutUint32(p[4:], uint32(size))
	for i := 8; i < size; i++ {
		p[i] = byte(id) + byte(i)*7 | 1
	}
	return p
}

// records cuts data into records and returns their numbers, in order.
func records(data []byte) (ids []uint32, err error) {
	for at := 0; at < len(data); {
		rest := data[at:]
		if len(rest) < 8 {
			return ids, fmt.Errorf("%d bytes are left at %d", len(rest), at)
		}
		id, size := binary.LittleEndian.Uint32(rest), int(binary.LittleEndian.Uint32(rest[4:]))
		if size < 8 || size > len(rest) || !bytes.Equal(rest[:size], record(id, size)) {
			return ids, fmt.Errorf("at %d is no record", at)
		}
		ids, at = append(ids, id), at+size
	}
	return ids, nil
}

// once checks that ids are all the numbers below n, each once.
func once(ids []uint32, n int) error {
	seen := make([]int, n)
	lost, twice := 0, 0
	for _, id := range ids {
		if int(id) >= n {
			return fmt.Errorf("record %d was never written", id)
		}
		seen[id]++
	}
	for _, k := range seen {
		if k == 0 {
			lost++
		}
		twice += max(k-1, 0)
	}
	if lost+twice > 0 {
		return fmt.Errorf("of %d records %d are lost and %d too many", n, lost, twice)
	}
	return nil
}

// A pieceReader hands out its pieces, one a Read.
type pieceReader [][]byte

func (r *pieceReader) Read(p []byte) (int, error) {
	if len(*r) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*r)[0])
	if (*r)[0] = (*r)[0][n:]; len((*r)[0]) == 0 {
		*r = (*r)[1:]
	}
	return n, nil
}

// write puts some records where the cursor is, one way or the other.
func (c *cursorFile) write(r *rand.Rand, scratch *os.File) (err error) {
	var pieces pieceReader
	for range 1 + r.IntN(4) {
		size := 8 + r.IntN(3000)
		if r.IntN(2) == 0 {
			size = testBlock * (1 + r.IntN(2)) // all fit a buffer of io.Copy
		}
		pieces = append(pieces, record(c.ids.Add(1)-1, size))
	}
	all := bytes.Join(pieces, nil)
	n, want := int64(0), int64(len(all))
	switch r.IntN(9) {
	case 0, 1, 2:
		var m int
		m, err = c.file.Write(all)
		n = int64(m)
	case 3:
		var m int
		m, err = c.file.WriteString(string(all))
		n = int64(m)
	case 4:
		n, err = c.file.ReadFrom(bytes.NewReader(all))
	case 5:
		n, err = c.file.ReadFrom(&pieces)
	case 6:
		l := &io.LimitedReader{R: &pieces, N: want}
		if n, err = io.Copy(c.file, l); l.N != 0 && err == nil {
			err = fmt.Errorf("the LimitedReader is left with %d", l.N)
		}
	case 7: // which the kernel may copy by itself
		scratch.Truncate(0)
		scratch.WriteAt(all, 0)
		scratch.Seek(0, io.SeekStart)
		n, err = io.Copy(c.file, scratch)
	case 8:
		scratch.Truncate(0)
		scratch.WriteAt(append(all, "and more"...), 0)
		scratch.Seek(0, io.SeekStart)
		n, err = io.CopyN(c.file, scratch, want)
	}
	if n != want || err != nil {
		return fmt.Errorf("a write of %d bytes: %d, %w", want, n, err)
	}
	return nil
}

// read takes some records of size bytes from the cursor on, one way or the other,
// and adds their numbers to ids. It reports whether it met the end.
func (c *cursorFile) read(r *rand.Rand, size int, ids *[]uint32) (end bool, err error) {
	var data []byte
	take := writerFunc(func(p []byte) (int, error) {
		data = append(data, p...)
		if len(p)%size != 0 {
			return len(p), fmt.Errorf("a Write of %d bytes, which are no whole records", len(p))
		}
		return len(p), nil
	})
	want := int64(size * (1 + r.IntN(12)))
	n := int64(0)
	switch k := r.IntN(100); {
	case k < 50:
		p := AlignedBuffer(int(want))
		var m int
		m, err = c.file.Read(p)
		n, data = int64(m), p[:m]
	case k < 70:
		n, err = io.CopyN(take, c.file, want)
	case k < 80:
		l := &io.LimitedReader{R: c.file, N: want}
		n, err = io.Copy(take, l)
	case k < 97: // which the kernel may copy by itself
		to, e := os.Create(filepath.Join(c.dir, fmt.Sprint("to", r.Uint64())))
		if e != nil {
			return true, e
		}
		defer to.Close()
		defer os.Remove(to.Name())
		if n, err = io.CopyN(to, c.file, want); err == nil || err == io.EOF {
			data, e = os.ReadFile(to.Name())
			err = errors.Join(err, e)
		}
	case k < 98:
		n, err = c.file.WriteTo(take)
	case k < 99:
		to, e := os.Create(filepath.Join(c.dir, fmt.Sprint("to", r.Uint64())))
		if e != nil {
			return true, e
		}
		defer to.Close()
		defer os.Remove(to.Name())
		if n, err = c.file.WriteTo(to); err == nil {
			data, err = os.ReadFile(to.Name())
		}
	default:
		n, err = io.Copy(struct{ io.Writer }{take}, struct{ io.Reader }{c.file})
	}
	if end = errors.Is(err, io.EOF); end {
		err = nil
	}
	if n != int64(len(data)) && err == nil {
		err = fmt.Errorf("it says %d, and gave %d bytes", n, len(data))
	}
	if err != nil {
		return true, fmt.Errorf("a read of %d: %d, %w", want, n, err)
	}
	got, err := records(data)
	*ids = append(*ids, got...)
	return end || n == 0, err
}

// moveDeadlines sets far deadlines and takes them away again until stop is called.
func (c *cursorFile) moveDeadlines() (stop func()) {
	f, ok := c.file.(*File)
	if !ok {
		return func() {}
	}
	quit := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		set := []func(time.Time) error{f.SetDeadline, f.SetReadDeadline, f.SetWriteDeadline}
		for i := 0; ; i++ {
			select {
			case <-quit:
				f.SetDeadline(time.Time{})
				return
			default:
			}
			when := time.Time{}
			if i%2 == 0 {
				when = time.Now().Add(time.Hour)
			}
			if err := set[i%3](when); err != nil {
				c.t.Errorf("set deadline: %v", err)
				return
			}
			runtime.Gosched()
		}
	})
	return func() { close(quit); mover.Wait() }
}

// at returns where the cursor is.
func (c *cursorFile) at() int64 {
	pos, err := c.file.Seek(0, io.SeekCurrent)
	if err != nil {
		c.t.Errorf("Seek: %v", err)
	}
	return pos
}

// cursorGoroutines is how many use a cursor at once.
const cursorGoroutines = 4

// together runs do, each times, on several goroutines, with a source of chance for
// each of them, and while deadlines move if moving says so.
func (c *cursorFile) together(r *rand.Rand, moving bool, each int, do func(g int, r *rand.Rand) (end bool, err error)) {
	if moving {
		defer c.moveDeadlines()()
	}
	var all sync.WaitGroup
	for g := range cursorGoroutines {
		r := rand.New(rand.NewPCG(r.Uint64(), 0))
		all.Go(func() {
			for range each {
				end, err := do(g, r)
				if err != nil {
					c.t.Error(err)
				}
				if end || err != nil {
					return
				}
			}
		})
	}
	all.Wait()
}

// writers has goroutines write records: each is in the file once, whole, and the
// cursor behind them.
func (c *cursorFile) writers(r *rand.Rand, moving bool, each int) {
	c.t.Helper()
	scratch := make([]*os.File, cursorGoroutines)
	for g := range scratch {
		f, err := os.CreateTemp(c.dir, "scratch")
		if err != nil {
			c.t.Fatal(err)
		}
		defer f.Close()
		scratch[g] = f
	}
	c.together(r, moving, each, func(g int, r *rand.Rand) (bool, error) {
		if r.IntN(4) == 0 {
			c.at()
		}
		return false, c.write(r, scratch[g])
	})
	data, err := os.ReadFile(c.file.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	ids, err := records(data)
	if err == nil {
		err = once(ids, int(c.ids.Load()))
	}
	if pos := c.at(); err == nil && pos != int64(len(data)) {
		err = fmt.Errorf("the cursor is at %d of %d", pos, len(data))
	}
	if err != nil {
		c.t.Errorf("writers: %v", err)
	}
}

// readers has goroutines share the records of a file: each is had by one of them.
func (c *cursorFile) readers(r *rand.Rand, moving bool, each int) {
	c.t.Helper()
	size := []int{8, 512, testBlock}[r.IntN(3)]
	n := cursorGoroutines*each*4 + r.IntN(50)
	for range n {
		if _, err := c.file.Write(record(c.ids.Add(1)-1, size)); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := c.file.Seek(0, io.SeekStart); err != nil {
		c.t.Fatal(err)
	}
	got := make([][]uint32, cursorGoroutines)
	c.together(r, moving, 1<<30, func(g int, r *rand.Rand) (bool, error) {
		if pos := c.at(); pos < 0 || pos > int64(n*size) || pos%int64(size) != 0 {
			return true, fmt.Errorf("the cursor is at %d, inside a record of %d", pos, size)
		}
		return c.read(r, size, &got[g])
	})
	var ids []uint32
	for _, g := range got {
		ids = append(ids, g...)
	}
	err := once(ids, n)
	if pos := c.at(); err == nil && pos != int64(n*size) {
		err = fmt.Errorf("the cursor is at %d of %d", pos, n*size)
	}
	if err != nil {
		c.t.Errorf("readers of records of %d bytes: %v", size, err)
	}
}

// mixed has goroutines read and write at one cursor. Each call takes the place of
// one record: no two have the same, and none is left out.
func (c *cursorFile) mixed(r *rand.Rand, moving bool, each int) {
	c.t.Helper()
	size := []int{8, 512, testBlock}[r.IntN(3)]
	n := cursorGoroutines * each / 2
	var old []byte
	for i := range n {
		old = append(old, record(uint32(i), size)...)
	}
	c.ids.Store(uint32(n))
	if _, err := c.file.WriteAt(old, 0); err != nil {
		c.t.Fatal(err)
	}
	var taken atomic.Int64
	got := make([][]uint32, cursorGoroutines)
	c.together(r, moving, each, func(g int, r *rand.Rand) (bool, error) {
		if pos := c.at(); pos < 0 || pos%int64(size) != 0 {
			return true, fmt.Errorf("the cursor is at %d, inside a record of %d", pos, size)
		}
		if r.IntN(2) == 0 {
			p := record(c.ids.Add(1)-1, size)
			m, err := c.file.Write(p)
			if m != size || err != nil {
				return true, fmt.Errorf("Write = %d, %w", m, err)
			}
			taken.Add(1)
			return false, nil
		}
		p := AlignedBuffer(size)
		m, err := c.file.Read(p)
		switch {
		case m == 0 && err == io.EOF:
			return false, nil
		case m != size || err != nil:
			return true, fmt.Errorf("Read = %d, %w", m, err)
		}
		taken.Add(1)
		ids, err := records(p)
		got[g] = append(got[g], ids...)
		return false, err
	})
	data, err := os.ReadFile(c.file.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	pos := c.at()
	ids, err := records(data)
	if err == nil && pos != taken.Load()*int64(size) {
		err = fmt.Errorf("the cursor is at %d after %d records of %d", pos, taken.Load(), size)
	}
	if err == nil {
		// What was read was there before; what was not is still there, behind
		// the cursor, or was written over.
		var all []uint32
		for _, g := range got {
			all = append(all, g...)
		}
		for i, id := range ids {
			if int(id) >= n || int64(i*size) >= pos {
				all = append(all, id)
			}
		}
		for i, id := range ids {
			if int(id) >= n && i < n {
				all = append(all, uint32(i)) // written over
			}
		}
		err = once(all, int(c.ids.Load()))
	}
	if err != nil {
		c.t.Errorf("mixed: %v", err)
	}
}

// appendMixed is mixed in append mode: what is written goes to the end, and takes
// the cursor there; what an AsyncFile appends beside it does not.
func (c *cursorFile) appendMixed(r *rand.Rand, moving bool, each int) {
	c.t.Helper()
	const size = testBlock
	var mu sync.Mutex
	var appended []*Future
	var ids []uint32
	c.together(r, moving, each, func(g int, r *rand.Rand) (bool, error) {
		p := record(c.ids.Add(1)-1, size)
		switch f, ok := c.file.(*File); {
		case ok && r.IntN(3) == 0:
			future := f.Async().Append(p)
			mu.Lock()
			defer mu.Unlock()
			appended, ids = append(appended, future), append(ids, binary.LittleEndian.Uint32(p))
		default:
			if m, err := c.file.Write(p); m != size || err != nil {
				return true, fmt.Errorf("Write = %d, %w", m, err)
			}
		}
		if r.IntN(2) == 0 {
			return false, nil
		}
		if r.IntN(10) == 0 {
			c.file.Seek(0, io.SeekStart)
		}
		p = AlignedBuffer(size)
		m, err := c.file.Read(p)
		if m == 0 && err == io.EOF {
			return false, nil
		}
		if m != size || err != nil {
			return true, fmt.Errorf("Read = %d, %w", m, err)
		}
		_, err = records(p)
		return false, err
	})
	WaitAll(appended...)
	data, err := os.ReadFile(c.file.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	all, err := records(data)
	if err == nil {
		err = once(all, int(c.ids.Load()))
	}
	for i, future := range appended {
		if at := future.Offset(); err == nil && (at%size != 0 || at >= int64(len(data)) || all[at/size] != ids[i]) {
			err = fmt.Errorf("record %d is not at %d, where Append says", ids[i], at)
		}
	}
	if err != nil {
		c.t.Errorf("append: %v", err)
	}
}

// TestCursorLinear has goroutines do random things at the cursor of one File, and
// of an os.File, and compares what must be the same whatever the schedule: which
// records were had, by whomever, and what the file holds. ASYNCFILE_STEPS sets how
// many calls in all, ASYNCFILE_SEED repeats a run as far as the scheduler lets it.
func TestCursorLinear(t *testing.T) {
	steps, seed := differentialSteps(t), differentialSeed(t)
	cells := append(differentialCells[:len(differentialCells):len(differentialCells)], struct {
		name    string
		backend Backend
		direct  bool
	}{name: "os.File"})
	rounds := []struct {
		name string
		flag int
		run  func(c *cursorFile, r *rand.Rand, moving bool, each int)
	}{
		{"write", os.O_RDWR, (*cursorFile).writers},
		{"read", os.O_RDWR, (*cursorFile).readers},
		{"read and write", os.O_RDWR, (*cursorFile).mixed},
		{"append", os.O_WRONLY | os.O_APPEND, (*cursorFile).writers},
		{"append and read", os.O_RDWR | os.O_APPEND, (*cursorFile).appendMixed},
	}
	const each = 25
	for i, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			var opts []Option
			if cell.direct {
				needDirect(t)
				opts = append(opts, WithDirect(DirectRequire))
			}
			if cell.backend != BackendAuto {
				opts = append(opts, WithBackend(cell.backend), WithRing(newTestRing(t, WithBackend(cell.backend))))
			}
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			done := 0
			for k := 0; done < steps/len(cells) && !t.Failed(); k++ {
				round, moving := rounds[k%len(rounds)], k/len(rounds)%2 == 1
				t.Run(fmt.Sprintf("%s, deadlines move %v", round.name, moving), func(t *testing.T) {
					name := putFile(t, nil)
					c := &cursorFile{t: t, dir: filepath.Dir(name)}
					if cell.backend == BackendAuto {
						f, err := os.OpenFile(name, round.flag, 0)
						if err != nil {
							t.Fatal(err)
						}
						defer f.Close()
						c.file = f
					} else {
						c.file = openTest(t, name, round.flag, opts...).File()
					}
					round.run(c, r, moving, each)
				})
				done += cursorGoroutines * each
			}
			t.Logf("%d calls", done)
		})
	}
}

// TestCursorStuckPeer: while a copy waits for who is at the other end of a
// connection, the other calls at the cursor go on as those of an os.File do.
func TestCursorStuckPeer(t *testing.T) {
	dial := func(t *testing.T) (a, b net.Conn) {
		t.Helper()
		l := listen(t)
		a, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		t.Run("to", func(t *testing.T) {
			f := open(putFile(t, nil), os.O_RDWR)
			if err := f.Truncate(64 << 20); err != nil { // more than the connection takes
				t.Fatal(err)
			}
			a, b := dial(t)
			v := f.File()
			done := goCall(func() (int64, error) { return io.Copy(a, v) })
			if _, err := io.ReadFull(b, make([]byte, 1)); err != nil { // it has begun
				t.Fatal(err)
			}
			if _, err := v.Seek(0, io.SeekCurrent); err != nil {
				t.Error(err)
			}
			if n, err := v.ReadAt(make([]byte, 10), 0); n != 10 || err != nil {
				t.Errorf("ReadAt = %d, %v", n, err)
			}
			if n, err := v.WriteAt([]byte("beside"), 0); n != 6 || err != nil {
				t.Errorf("WriteAt = %d, %v", n, err)
			}
			if n, err := v.Write([]byte("at the cursor")); n != 13 || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			// A Read waits for sendfile(2), and its deadline ends that.
			v.SetReadDeadline(soon())
			if n, err := v.Read(make([]byte, 1)); n != 1 && !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read = %d, %v", n, err)
			}
			b.Close()
			a.Close()
			<-done
		})
		t.Run("from", func(t *testing.T) {
			name := putFile(t, nil)
			v := open(name, os.O_RDWR).File()
			a, b := dial(t)
			done := goCall(func() (int64, error) { return io.Copy(v, b) })
			for i := range 3 {
				if _, err := a.Write([]byte{'0' + byte(i)}); err != nil {
					t.Fatal(err)
				}
				eventually(t, "what came is in the file", func() bool {
					info, err := v.Stat()
					return err != nil || info.Size() == int64(2*i+1)
				})
				if n, err := v.Write([]byte{'a' + byte(i)}); n != 1 || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			a.Close()
			if r := <-done; r.n != 3 || r.err != nil {
				t.Errorf("%d, %v", r.n, r.err)
			}
			b.Close()
			wantContent(t, name, []byte("0a1b2c"))
		})
	})
}

// TestCursorFromWithin calls a File from a function that it runs.
func TestCursorFromWithin(t *testing.T) {
	v := openTest(t, putFile(t, testPattern(3*testBlock, 1)), os.O_RDWR).File()
	raw, err := v.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 10)
	other := make(chan error, 1)
	err = raw.Read(func(uintptr) bool {
		go func() { // has its turn afterwards
			_, err := v.Read(make([]byte, 10))
			other <- err
		}()
		for _, call := range []func() (int64, error){
			func() (int64, error) { return v.Seek(0, io.SeekCurrent) },
			func() (int64, error) { return count(v.Write(p)) },
			func() (int64, error) { return count(v.ReadAt(p, 0)) },
			func() (int64, error) { return v.ReadFrom(bytes.NewReader(p)) },
		} {
			if _, err := call(); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err = errors.Join(err, <-other); err != nil {
		t.Error(err)
	}
}

// TestCursorClose closes a file under the hands of those that wait for the cursor.
func TestCursorClose(t *testing.T) {
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
			v := open(putFile(t, testPattern(1<<20, 1)), os.O_RDWR).File()
			v.SetDeadline(until)
			var all sync.WaitGroup
			for _, call := range []func() (int64, error){
				func() (int64, error) { return count(v.Read(make([]byte, 10))) },
				func() (int64, error) { return count(v.Write(make([]byte, 10))) },
				func() (int64, error) { return v.Seek(0, io.SeekStart) },
				func() (int64, error) { return v.ReadFrom(bytes.NewReader(make([]byte, 10))) },
				func() (int64, error) { return io.CopyN(io.Discard, v, 10) },
				func() (int64, error) { return 0, v.SetDeadline(until) },
			} {
				all.Go(func() {
					for {
						_, err := call()
						if errors.Is(err, os.ErrClosed) {
							return
						}
						if err != nil && err != io.EOF {
							t.Error(err)
							return
						}
					}
				})
			}
			runtime.Gosched()
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			all.Wait()
		}
	})
}

// TestCursorLimit has a write stop at RLIMIT_FSIZE: what is in the file is told, and
// the cursor is behind it.
func TestCursorLimit(t *testing.T) {
	if _, err := exec.LookPath("sh"); err != nil || runtime.GOOS == "windows" {
		t.Skip("no shell to set a limit with")
	}
	if testing.CoverMode() != "" {
		t.Skip("the child process could not write its coverage beyond the limit")
	}
	inChild(t, func(t *testing.T) {
		run := func(f osMethods) []any {
			defer f.Close()
			f.Seek(testBlock, io.SeekStart)
			n, err := f.Write(testPattern(8*testBlock, 1))
			pos, err2 := f.Seek(0, io.SeekCurrent)
			m, err3 := f.Write([]byte("more"))
			info, err4 := f.Stat()
			if err4 != nil {
				return list(err4)
			}
			var pe *fs.PathError
			return list(n, errors.As(err, &pe) && pe.Op == "write", errors.Is(err, syscall.EFBIG), pos, err2, m, errors.Is(err3, syscall.EFBIG), info.Size())
		}
		osf, err := os.OpenFile(putFile(t, nil), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := run(osf)
		if n := want[0].(int); n == 0 || n == 8*testBlock {
			t.Skipf("no such limit: os.File has %v", want)
		}
		for _, backend := range []Backend{BackendPool, BackendAIO} {
			for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
				v := openTest(t, putFile(t, nil), os.O_RDWR, WithBackend(backend)).File()
				v.SetDeadline(until)
				t.Run(fmt.Sprint(backend, !until.IsZero()), func(t *testing.T) { sameResults(t, run(v), want) })
			}
		}
	}, "sh", "-c", `ulimit -f 25 || { echo "no limit on the size of files"; exit; }; exec "$0" "$@"`)
}
