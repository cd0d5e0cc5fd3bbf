package digest

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// A Format is how lines are written.
type Format struct {
	Tag  bool // "SHA256 (NAME) = DIGEST", as BSD's tools do, and not "DIGEST  NAME"
	Zero bool // lines end with a zero byte, and names are not escaped
}

// Line writes the sum of one file.
func (f Format) Line(s Sum) string {
	name, escaped := s.Name, ""
	end := "\n"
	if f.Zero {
		end = "\x00"
	} else if strings.ContainsAny(name, "\\\n\r") {
		name, escaped = escaper.Replace(name), "\\"
	}
	if f.Tag {
		return fmt.Sprintf("%s%s (%s) = %x%s", escaped, s.Algorithm.Tag, name, s.Digest, end)
	}
	return fmt.Sprintf("%s%x  %s%s", escaped, s.Digest, name, end)
}

// What sha256sum does to names, so that each line is one file.
var (
	escaper   = strings.NewReplacer("\\", `\\`, "\n", `\n`, "\r", `\r`)
	unescaper = strings.NewReplacer(`\\`, "\\", `\n`, "\n", `\r`, "\r")
)

// A Wanted is a line of a list of sums.
type Wanted struct {
	Name      string
	Algorithm Algorithm
	Digest    []byte
}

// Parse reads a line without its end, in either form. algorithm is that of lines which do
// not name one. It reports false where the line is none.
func Parse(line string, algorithm Algorithm, zero bool) (w Wanted, ok bool) {
	line, escaped := strings.CutPrefix(line, "\\")
	if zero {
		escaped = false
	}
	if tag, rest, found := strings.Cut(line, " ("); found {
		if a, known := ByName(tag); known {
			if at := strings.LastIndex(rest, ") = "); at >= 0 {
				return wanted(rest[:at], rest[at+len(") = "):], a, escaped)
			}
		}
	}
	digest, name, found := strings.Cut(line, " ")
	if !found || name == "" || name[0] != ' ' && name[0] != '*' { // text or binary: no difference here
		return Wanted{}, false
	}
	return wanted(name[1:], digest, algorithm, escaped)
}

func wanted(name, digest string, a Algorithm, escaped bool) (Wanted, bool) {
	sum, err := hex.DecodeString(digest)
	if err != nil || len(sum) != a.Size || name == "" {
		return Wanted{}, false
	}
	if escaped {
		name = unescaper.Replace(name)
	}
	return Wanted{name, a, sum}, true
}
