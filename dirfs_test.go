package asyncfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

// makeTree makes a tree with directories, empty ones too, and symbolic links, and
// with one file of so many bytes.
func makeTree(t *testing.T, large int) (dir string, files map[string][]byte) {
	t.Helper()
	dir = t.TempDir()
	files = map[string][]byte{
		"empty": nil, "small.txt": []byte("small"), "page": testPattern(testBlock, 1),
		"sub/large": testPattern(large, 2), "sub/deep/er/file.txt": []byte("deep"), "sub/other.txt": []byte("other"),
	}
	for name, data := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "nothing"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "small.txt", "sub/up": "../page", "dirlink": "sub/deep"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Logf("no symbolic links: %v", err)
		}
	}
	return dir, files
}

func TestDirFS(t *testing.T) {
	dir, files := makeTree(t, 9000)
	for which, opts := range backendOptions(t) {
		t.Run(which, func(t *testing.T) {
			fsys := DirFS(dir, opts...)
			var names []string
			for name := range files {
				names = append(names, name)
			}
			if err := fstest.TestFS(fsys, names...); err != nil {
				t.Error(err)
			}
			for name, want := range files {
				f, err := fsys.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := f.(*File); !ok {
					t.Errorf("Open returns a %T", f)
				}
				got, err := io.ReadAll(f)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, %v", name, len(got), err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			sub, err := fs.Sub(fsys, "sub")
			if err != nil {
				t.Fatal(err)
			}
			if err := fstest.TestFS(sub, "large", "deep/er/file.txt"); err != nil {
				t.Error(err)
			}
			walk := func(fsys fs.FS) (all []string) {
				err := fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
					all = append(all, fmt.Sprint(path, d, err))
					return nil
				})
				return append(all, fmt.Sprint(err))
			}
			if got, want := walk(fsys), walk(os.DirFS(dir)); !reflect.DeepEqual(got, want) {
				t.Errorf("WalkDir sees %v, in os.DirFS %v", got, want)
			}
			for _, pattern := range []string{"*", "*/*.txt", "sub/*/er/f*", "[", "none*"} {
				got, err := fs.Glob(fsys, pattern)
				want, wantErr := fs.Glob(os.DirFS(dir), pattern)
				if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
					t.Errorf("Glob(%q) = %v, %v, in os.DirFS %v, %v", pattern, got, err, want, wantErr)
				}
			}
		})
	}
}

// TestDirFSResults compares every method with os.DirFS, on names good and bad.
func TestDirFSResults(t *testing.T) {
	dir, _ := makeTree(t, 9000)
	for _, root := range []string{dir, dir + string(os.PathSeparator), filepath.Join(dir, "nowhere"), ""} {
		ours, theirs := DirFS(root), os.DirFS(root)
		for _, name := range []string{
			".", "small.txt", "sub", "sub/large", "link", "dirlink", "dirlink/er/file.txt", "sub/nothing",
			"", "/", "/small.txt", "../small.txt", "..", "./small.txt", "sub/", "sub//large", "sub/../small.txt",
			"is not there", "small.txt/x", "a\x00b", "sub\\large", strings.Repeat("n", 300),
		} {
			for what, call := range map[string]func(fs.FS) []any{
				"Open": func(fsys fs.FS) []any {
					f, err := fsys.Open(name)
					if err != nil {
						return list(f == nil, err)
					}
					defer f.Close()
					info, err := f.Stat()
					if err != nil {
						return list(err)
					}
					return list(info.Name(), info.Size(), info.Mode(), f.(osMethods).Name())
				},
				"ReadFile": func(fsys fs.FS) []any {
					data, err := fs.ReadFile(fsys, name)
					return list(data, data == nil, err)
				},
				"Stat": func(fsys fs.FS) []any {
					info, err := fs.Stat(fsys, name)
					if err != nil {
						return list(err)
					}
					return list(info.Name(), info.Mode())
				},
				"Lstat": func(fsys fs.FS) []any {
					info, err := fs.Lstat(fsys, name)
					if err != nil {
						return list(err)
					}
					return list(info.Name(), info.Mode())
				},
				"ReadLink": func(fsys fs.FS) []any { target, err := fs.ReadLink(fsys, name); return list(target, err) },
				"ReadDir": func(fsys fs.FS) []any {
					entries, err := fs.ReadDir(fsys, name)
					return list(fmt.Sprint(entries), err)
				},
				"Sub": func(fsys fs.FS) []any { _, err := fs.Sub(fsys, name); return list(err) },
			} {
				t.Run(fmt.Sprintf("%q/%s %q", filepath.Base(root), what, name), func(t *testing.T) {
					sameResults(t, call(ours), call(theirs))
				})
			}
		}
	}
}

// TestDirFSOptions: options that do not fit are refused, naming the file.
func TestDirFSOptions(t *testing.T) {
	dir, _ := makeTree(t, 9000)
	fsys := DirFS(dir, WithQueueDepth(-1))
	_, err := fsys.Open("small.txt")
	var pe *fs.PathError
	if !errors.Is(err, os.ErrInvalid) || !errors.As(err, &pe) || pe.Path != "small.txt" {
		t.Errorf("Open: %v", err)
	}
	if _, err := fs.ReadFile(fsys, "small.txt"); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("ReadFile: %v", err)
	}
}

// TestFileServer serves a tree over HTTP: it seeks, reads ranges and copies to
// sockets, from many requests at once.
func TestFileServer(t *testing.T) {
	dir, files := makeTree(t, defaultBlockSize*2+99)
	for which, opts := range backendOptions(t) {
		t.Run(which, func(t *testing.T) {
			server := httptest.NewServer(http.FileServerFS(DirFS(dir, opts...)))
			defer server.Close()
			client := server.Client()
			get := func(name string, headers ...string) (*http.Response, []byte) {
				req, err := http.NewRequest("GET", server.URL+"/"+name, nil)
				if err != nil {
					t.Error(err)
					return nil, nil
				}
				for i := 0; i < len(headers); i += 2 {
					req.Header.Set(headers[i], headers[i+1])
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return nil, nil
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Error(err)
				}
				return resp, body
			}
			large := files["sub/large"]
			resp, body := get("sub/large")
			if resp == nil || resp.StatusCode != 200 || !bytes.Equal(body, large) {
				t.Fatalf("GET: %v, %d bytes", resp, len(body))
			}
			modified := resp.Header.Get("Last-Modified")
			if resp, body := get("sub/large", "If-Modified-Since", modified); resp == nil || resp.StatusCode != 304 || len(body) != 0 {
				t.Errorf("If-Modified-Since: %v, %d bytes", resp, len(body))
			}
			resp, body = get("sub/large", "Range", "bytes=1000-300000")
			if resp == nil || resp.StatusCode != 206 || !bytes.Equal(body, large[1000:300001]) {
				t.Errorf("Range: %v, %d bytes", resp, len(body))
			}
			resp, body = get("sub/large", "Range", "bytes=-77")
			if resp == nil || resp.StatusCode != 206 || !bytes.Equal(body, large[len(large)-77:]) {
				t.Errorf("Range at the end: %v, %d bytes", resp, len(body))
			}
			if resp, _ := get("sub/large", "Range", "bytes=99999999-"); resp == nil || resp.StatusCode != 416 {
				t.Errorf("Range behind the end: %v", resp)
			}
			resp, body = get("sub/large", "Range", "bytes=0-9,100000-400000,50-60")
			if resp == nil || resp.StatusCode != 206 {
				t.Fatalf("ranges: %v", resp)
			}
			_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
			for _, want := range [][]byte{large[:10], large[100000:400001], large[50:61]} {
				part, err := parts.NextPart()
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(part); err != nil || !bytes.Equal(got, want) {
					t.Errorf("a part has %d bytes, %v; want %d", len(got), err, len(want))
				}
			}
			if resp, body := get("sub/"); resp == nil || resp.StatusCode != 200 || !strings.Contains(string(body), "other.txt") {
				t.Errorf("the directory: %v, %q", resp, body)
			}
			if resp, _ := get("is/not/there"); resp == nil || resp.StatusCode != 404 {
				t.Errorf("what is not there: %v", resp)
			}
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					for name, want := range files {
						if resp, body := get(name); resp == nil || resp.StatusCode != 200 || !bytes.Equal(body, want) {
							t.Errorf("%s: %v, %d bytes, want %d", name, resp, len(body), len(want))
						}
					}
				})
			}
			all.Wait()
		})
	}
}
