package asyncfile

import (
	"bytes"
	"cmp"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// apiFile lists what programs can name, a line a symbol, so that a change of it shows in
// review. go test -run TestAPI -rewrite . writes it.
const apiFile = "docs/api.txt"

func TestAPI(t *testing.T) {
	got := listAPI(t)
	if *rewrite {
		if err := os.WriteFile(apiFile, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(apiFile)
	if err != nil {
		t.Fatal(err)
	}
	have, listed := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for _, line := range have {
		if !slices.Contains(listed, line) {
			t.Errorf("%s does not have: %s", apiFile, line)
		}
	}
	for _, line := range listed {
		if !slices.Contains(have, line) {
			t.Errorf("%s has what is no more: %s", apiFile, line)
		}
	}
	if t.Failed() {
		t.Log("if that is meant: go test -run TestAPI -rewrite .")
	}
}

// listAPI returns a line for each symbol of the packages of this module that others can
// import, as the compiler has them. So a type of another name, of an internal package,
// has its methods here all the same.
func listAPI(t *testing.T) string {
	t.Helper()
	exports, packages := map[string]string{}, []string(nil)
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-deps", "-export", "-f", "{{.ImportPath}} {{.Export}} {{.Name}} {{.Standard}}", "./...")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0") // what others lack is no other API
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("go list: %v: %s", err, stderr.String())
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue // unsafe has no export data
		}
		exports[fields[0]] = fields[1]
		own := fields[0] == modulePath || strings.HasPrefix(fields[0], modulePath+"/")
		if own && fields[2] != "main" && !strings.Contains(fields[0], "/internal/") {
			packages = append(packages, fields[0])
		}
	}
	compiled := importer.ForCompiler(token.NewFileSet(), "gc", func(name string) (io.ReadCloser, error) { return os.Open(exports[name]) })
	var lines []string
	for _, name := range packages {
		pkg, err := compiled.Import(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, symbol := range pkg.Scope().Names() {
			if token.IsExported(symbol) {
				lines = append(lines, symbolLines(pkg, pkg.Scope().Lookup(symbol))...)
			}
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// symbolLines returns the lines of one symbol: of a type also those of its fields and
// methods.
func symbolLines(pkg *types.Package, obj types.Object) (lines []string) {
	short := strings.TrimPrefix(strings.TrimPrefix(pkg.Path(), modulePath), "/")
	prefix := cmp.Or(short, pkg.Name()) + ": "
	// Types of other packages of this module are told from its own by name alone.
	qualify := func(p *types.Package) string {
		if p == pkg {
			return ""
		}
		return p.Name()
	}
	add := func(format string, args ...any) { lines = append(lines, prefix+fmt.Sprintf(format, args...)) }
	switch obj := obj.(type) {
	case *types.Const:
		add("const %s %s = %s", obj.Name(), types.TypeString(obj.Type(), qualify), obj.Val())
	case *types.TypeName:
		what := types.TypeString(obj.Type().Underlying(), qualify)
		if s, ok := obj.Type().Underlying().(*types.Struct); ok {
			what = "struct"
			for field := range s.Fields() {
				if field.Exported() {
					add("field %s.%s %s", obj.Name(), field.Name(), types.TypeString(field.Type(), qualify))
				}
			}
		}
		add("type %s %s", obj.Name(), what)
		set := types.NewMethodSet(types.NewPointer(obj.Type()))
		for method := range set.Methods() {
			fn := method.Obj().(*types.Func)
			if !fn.Exported() {
				continue
			}
			signature := fn.Type().(*types.Signature)
			star := ""
			if _, ok := signature.Recv().Type().(*types.Pointer); ok {
				star = "*"
			}
			add("method (%s%s) %s%s", star, obj.Name(), fn.Name(), strings.TrimPrefix(types.TypeString(signature, qualify), "func"))
		}
	default:
		add("%s", types.ObjectString(obj, qualify))
	}
	return lines
}
