package plot

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestSave(t *testing.T) {
	for _, points := range []int{1, 2, 5} {
		p := Picture{Title: "title", X: "depth", Y: "speed"}
		for i := range points {
			p.Add("first", float64(int(1)<<i), float64(100*i))
			p.Add("second", float64(int(1)<<i), float64(50*i))
		}
		for ext, magic := range map[string]string{".svg": "<?xml", ".png": "\x89PNG"} {
			name := filepath.Join(t.TempDir(), "picture"+ext)
			if err := Save(name, p); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(name)
			if err != nil || !bytes.HasPrefix(text, []byte(magic)) {
				t.Errorf("%s begins with %.20q, %v", ext, text, err)
			}
			if ext == ".svg" && !bytes.Contains(text, []byte("second")) {
				t.Error("a line has no name in the picture")
			}
		}
	}
	if err := Save(filepath.Join(t.TempDir(), "x.svg"), Picture{}); err == nil {
		t.Error("nothing was drawn, without an error")
	}
}

func TestCheck(t *testing.T) {
	for name, ok := range map[string]bool{"": true, "a.svg": true, "a.png": true, "a": false, "a.pdf": false} {
		if err := Check(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
