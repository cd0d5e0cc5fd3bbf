package asyncfile

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guide to the code, docs/design.md, names what is there, and CONTRIBUTING.md
// every file of the root, of internal/file and of internal/ring.
func TestGuide(t *testing.T) {
	var source strings.Builder
	files := map[string]bool{}
	for _, pattern := range []string{"*.go", "internal/*/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			files[filepath.Base(name)] = true
			source.WriteString(readText(t, name))
			base, dir := filepath.Base(name), filepath.Dir(name)
			quoted := "`" + base + "`"
			if (dir == "." || dir == "internal/file" || dir == "internal/ring") && base != "doc.go" && !strings.Contains(readText(t, "CONTRIBUTING.md"), quoted) {
				t.Errorf("CONTRIBUTING.md does not name %s", name)
			}
		}
	}
	words := map[string]bool{}
	for _, word := range regexp.MustCompile(`\w+`).FindAllString(source.String(), -1) {
		words[word] = true
	}
	guide := readText(t, "docs/design.md")
	names := regexp.MustCompile("`([A-Za-z][\\w.]*)`").FindAllStringSubmatch(guide, -1)
	if len(names) < 100 {
		t.Errorf("%d names in the guide: has its form changed?", len(names))
	}
	for _, name := range names {
		for _, part := range strings.Split(name[1], ".") {
			if !words[part] {
				t.Errorf("the guide names %s, which is nowhere", name[1])
			}
		}
	}
	for _, name := range regexp.MustCompile(`\w+\.go\b`).FindAllString(guide, -1) {
		if !files[name] && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("the guide names the file %s, which is not there", name)
		}
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
