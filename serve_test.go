package asyncfile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// listen returns a listener on the loopback, or skips the test.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skipf("no network: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// send has copy send something over a connection of network, and returns what came
// out at the other end.
func send(t *testing.T, network string, copy func(c net.Conn) (int64, error)) (got []byte, n int64, err error) {
	t.Helper()
	l, lerr := net.Listen(network, map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")}[network])
	if lerr != nil {
		t.Skipf("no network: %v", lerr)
	}
	defer l.Close()
	sent := goCall(func() (int64, error) {
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			return 0, err
		}
		defer c.Close()
		return copy(c)
	})
	c, lerr := l.Accept()
	if lerr != nil {
		t.Fatal(lerr)
	}
	defer c.Close()
	got, lerr = io.ReadAll(c)
	if lerr != nil {
		t.Fatal(lerr)
	}
	r := <-sent
	return got, r.n, r.err
}

// serveSize is in the middle of a block.
const serveSize = 70_001

// TestServe has the standard library take a File in all the ways in which it asks
// for more than io.Reader: everything arrives.
func TestServe(t *testing.T) {
	listen(t)
	eachBackend(t, func(t *testing.T, open func(string, int) *AsyncFile) {
		content := testPattern(serveSize, 11)
		name := putFile(t, content)
		get := func(t *testing.T, s *httptest.Server, head http.Header, want []byte) {
			t.Helper()
			defer s.Close()
			req, err := http.NewRequestWithContext(context.Background(), "GET", s.URL+"/file", nil)
			if err != nil {
				t.Fatal(err)
			}
			for k := range head {
				req.Header.Set(k, head.Get(k))
			}
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if data, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(data, want) {
				t.Errorf("%d bytes of %d, %v", len(data), len(want), err)
			}
		}
		for _, until := range []time.Time{{}, time.Now().Add(time.Hour)} {
			file := func() *File {
				v := open(name, os.O_RDWR).File()
				v.SetDeadline(until)
				return v
			}
			content := func() http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					f := file()
					defer f.Close()
					http.ServeContent(w, r, "", time.Time{}, f)
				})
			}
			t.Run("ServeContent", func(t *testing.T) { get(t, httptest.NewServer(content()), nil, testPattern(serveSize, 11)) })
			t.Run("ServeContent, TLS", func(t *testing.T) { get(t, httptest.NewTLSServer(content()), nil, testPattern(serveSize, 11)) })
			t.Run("ServeContent, range", func(t *testing.T) {
				get(t, httptest.NewServer(content()), http.Header{"Range": {"bytes=777-"}}, testPattern(serveSize, 11)[777:])
			})
			t.Run("PUT", func(t *testing.T) {
				got := make(chan []byte, 1)
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					data, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					got <- data
				}))
				defer s.Close()
				f := file()
				req, err := http.NewRequestWithContext(context.Background(), "PUT", s.URL, f)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = serveSize
				resp, err := s.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if data := <-got; !bytes.Equal(data, testPattern(serveSize, 11)) {
					t.Errorf("%d bytes came", len(data))
				}
			})
			for _, network := range []string{"tcp", "unix"} {
				for _, c := range []struct {
					name string
					copy func(c net.Conn, f *File) (int64, error)
				}{
					{"CopyN", func(c net.Conn, f *File) (int64, error) { return io.CopyN(c, f, serveSize) }},
					{"CopyN of more", func(c net.Conn, f *File) (int64, error) {
						n, err := io.CopyN(c, f, serveSize+1)
						if err == io.EOF {
							return n, nil
						}
						return n, errors.New("no io.EOF")
					}},
					{"Copy", func(c net.Conn, f *File) (int64, error) { return io.Copy(c, f) }},
					{"WriteTo", func(c net.Conn, f *File) (int64, error) { return f.WriteTo(c) }},
					{"ReadFrom", func(c net.Conn, f *File) (int64, error) {
						if to, ok := c.(io.ReaderFrom); ok {
							return to.ReadFrom(f)
						}
						return io.Copy(struct{ io.Writer }{c}, f)
					}},
				} {
					t.Run(c.name+" "+network, func(t *testing.T) {
						f := file()
						got, n, err := send(t, network, func(conn net.Conn) (int64, error) { return c.copy(conn, f) })
						if n != serveSize || err != nil || !bytes.Equal(got, testPattern(serveSize, 11)) {
							t.Errorf("sent %d, %v; %d bytes came", n, err, len(got))
						}
						if pos, err := f.Seek(0, io.SeekCurrent); pos != serveSize || err != nil {
							t.Errorf("the cursor is at %d, %v", pos, err)
						}
					})
				}
			}
		}
		t.Run("over", func(t *testing.T) {
			f := open(name, os.O_RDONLY).File()
			f.SetReadDeadline(longAgo)
			for _, copy := range []func(net.Conn) (int64, error){
				func(c net.Conn) (int64, error) { return io.CopyN(c, f, serveSize) },
				func(c net.Conn) (int64, error) { return io.Copy(c, f) },
			} {
				if got, n, err := send(t, "tcp", copy); n != 0 || len(got) != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after the deadline %d, %v; %d bytes came", n, err, len(got))
				}
			}
		})
	})
}

// TestServeTree serves a directory of direct files.
func TestServeTree(t *testing.T) {
	listen(t)
	content := testPattern(serveSize, 12)
	name := putFile(t, content)
	for _, mode := range []DirectMode{DirectOff, DirectPrefer} {
		s := httptest.NewServer(http.FileServerFS(DirFS(filepath.Dir(name), WithDirect(mode))))
		resp, err := s.Client().Get(s.URL + "/file")
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(data, content) {
			t.Errorf("%v: %d bytes, %v", mode, len(data), err)
		}
		resp.Body.Close()
		s.Close()
	}
}

// TestRawConn: what goes round the library is refused where the library is needed,
// and is os.File's where it is not.
func TestRawConn(t *testing.T) {
	content := testPattern(2*testBlock, 13)
	check := func(t *testing.T, f *File, reads, writes bool) {
		t.Helper()
		raw, err := f.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		called := false
		if err := raw.Control(func(fd uintptr) { called = true }); err != nil || !called {
			t.Errorf("Control: %v", err)
		}
		for _, c := range []struct {
			name string
			call func(func(uintptr) bool) error
			may  bool
		}{{"Read", raw.Read, reads}, {"Write", raw.Write, writes}} {
			called = false
			err := c.call(func(uintptr) bool { called = true; return true })
			if called != c.may || c.may && err != nil || !c.may && !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%s: called %v, want %v; %v", c.name, called, c.may, err)
			}
		}
		f.Close()
		if err := raw.Read(func(uintptr) bool { return true }); !errors.Is(err, fs.ErrClosed) && (err == nil || err.Error() != "use of closed file") {
			t.Errorf("Read of a closed file: %v", err)
		}
	}
	later := time.Now().Add(time.Hour)
	check(t, openTest(t, putFile(t, content), os.O_RDWR).File(), true, true)
	f := openTest(t, putFile(t, content), os.O_RDWR).File()
	f.SetReadDeadline(later)
	check(t, f, false, true)
	f = openTest(t, putFile(t, content), os.O_RDWR).File()
	f.SetWriteDeadline(later)
	check(t, f, true, false)
	check(t, openTest(t, putFile(t, content), os.O_RDWR|os.O_APPEND).File(), false, false)
	check(t, openDirect(t, putFile(t, content), os.O_RDWR).File(), false, false)
}
