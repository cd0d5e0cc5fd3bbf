package digest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Sums of nothing and of "abc", from FIPS 180, the authors of BLAKE3 and of XXH3, RFC 3720.
func TestKnownSums(t *testing.T) {
	for name, want := range map[string][2]string{
		"sha256": {"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		"blake3": {"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"},
		"xxh3":   {"2d06800538d394c2", "78af5f94892f3950"},
		"crc32c": {"00000000", "364b3fb7"},
	} {
		a, ok := ByName(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		for i, text := range []string{"", "abc"} {
			s := one(t, File{Name: "-", Algorithm: a, In: strings.NewReader(text)})
			if got := hex.EncodeToString(s.Digest); got != want[i] || s.Bytes != int64(len(text)) || len(s.Digest) != a.Size {
				t.Errorf("%s of %q is %s, want %s", name, text, got, want[i])
			}
		}
	}
}

func one(t *testing.T, f File) (s Sum) {
	t.Helper()
	All(t.Context(), slices.Values([]File{f}), 1, func(got Sum) bool { s = got; return true })
	if s.Err != nil {
		t.Fatal(s.Err)
	}
	return s
}

// However many are read at once, in the page cache or not, the sums are right and come in
// the order that was asked for.
func TestAll(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(7, 8))
	sha := Algorithms()[0]
	var files []File
	var want [][]byte
	for i := range 40 {
		size := random.IntN(1 << random.IntN(18))
		if i%10 == 9 {
			size = large + random.IntN(1<<20)
		}
		content := bytes.Repeat([]byte(fmt.Sprintf("%d:", i)), size/2)
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Name: name, Algorithm: sha})
		h := sha.New()
		h.Write(content)
		want = append(want, h.Sum(nil))
	}
	for _, atOnce := range []int{0, 1, 3, 100} {
		for _, f := range files {
			uncache(t, f.Name)
		}
		i := 0
		All(t.Context(), slices.Values(files), atOnce, func(s Sum) bool {
			if s.Name != files[i].Name || !bytes.Equal(s.Digest, want[i]) || s.Err != nil {
				t.Fatalf("at once %d: sum %d is that of %s, %v", atOnce, i, s.Name, s.Err)
			}
			i++
			return true
		})
		if i != len(files) {
			t.Errorf("at once %d: %d sums, want %d", atOnce, i, len(files))
		}
	}
}

func uncache(t *testing.T, name string) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Sync()
	unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// It can be stopped at any place, from either side, and nothing stays behind.
func TestAllStops(t *testing.T) {
	forever := func(yield func(File) bool) {
		for yield(File{Name: os.DevNull, Algorithm: Algorithms()[0]}) {
		}
	}
	for _, stop := range []int{1, 2, 50} {
		n := 0
		All(t.Context(), forever, 3, func(Sum) bool { n++; return n < stop })
		if n != stop {
			t.Errorf("%d sums, want %d", n, stop)
		}
		ctx, cancel := context.WithCancel(t.Context())
		n = 0
		All(ctx, forever, 3, func(Sum) bool {
			if n++; n == stop {
				cancel()
			}
			return true
		})
		if n != stop {
			t.Errorf("with a context: %d sums, want %d", n, stop)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]error{dir: errDirectory, filepath.Join(dir, "absent"): fs.ErrNotExist} {
		All(t.Context(), slices.Values([]File{{Name: name, Algorithm: Algorithms()[0]}}), 1, func(s Sum) bool {
			if !errors.Is(s.Err, want) {
				t.Errorf("%s: %v, want %v", name, s.Err, want)
			}
			return true
		})
	}
}

// Every line that is written is read again, whatever the name.
func TestLines(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	pieces := []string{"a", " ", "\n", "\r", "\\", `\n`, "(", ") = ", "\xff", "*", "SHA256 (", "ü"}
	for range 2000 {
		name := ""
		for range 1 + random.IntN(6) {
			name += pieces[random.IntN(len(pieces))]
		}
		for _, a := range Algorithms() {
			s := Sum{File: File{Name: name, Algorithm: a}, Digest: make([]byte, a.Size)}
			s.Digest[0] = byte(random.Uint32())
			for _, f := range []Format{{}, {Tag: true}, {Zero: true}, {Tag: true, Zero: true}} {
				line := f.Line(s)
				text := line[:len(line)-1]
				if !f.Zero && strings.ContainsAny(text, "\n\r") {
					t.Fatalf("%q is more than a line", line)
				}
				got, ok := Parse(text, a, f.Zero)
				if tricky := strings.Contains(name, "SHA256 (") && !f.Tag; tricky && (!ok || got.Name != name) {
					continue // such a name looks like BSD's form, to sha256sum as well
				}
				if !ok || got.Name != name || got.Algorithm.Name != a.Name || !bytes.Equal(got.Digest, s.Digest) {
					t.Fatalf("%+v: %q is read as %+v, %v", f, line, got, ok)
				}
			}
		}
	}
	for _, line := range []string{"", "x", "00  ", strings.Repeat("0", 63) + "  a", strings.Repeat("z", 64) + "  a", strings.Repeat("0", 64) + " a", "MD5 (a) = 00"} {
		if w, ok := Parse(line, Algorithms()[0], false); ok {
			t.Errorf("%q is read as %+v", line, w)
		}
	}
}
