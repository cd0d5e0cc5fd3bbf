package asyncfile

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Rules of the source that a compiler does not know. Each has a list of what is
// excepted, with the reason. What is on a list and need not be is reported too, so that
// the lists only shrink.

// rooms are the files of the root package, from the top down. A file refers to none
// of a room above it.
var rooms = []room{
	{"the view of a file that os.File has", "copy.go create.go dirfs.go dup.go file.go format.go rawconn.go replace.go"},
	{"what is made of a file's operations", "completion.go gather.go queue.go readahead.go reader.go readerat.go readmany.go receive.go stream.go writer.go"},
	{"the file", "asyncfile.go blocking.go direct.go open.go ranges.go resize.go"},
	{"the Ring", "call.go completer.go kernel.go ring.go shared.go stats.go"},
	{"what knows neither", "buffers.go deadline.go doc.go future.go op.go options.go profile.go"},
}

// upward are the references from a room to one above.
var upward = exceptions{
	"asyncfile.go to file.go: File":        "AsyncFile.File returns it",
	"open.go to file.go: initView":         "the view is a part of the AsyncFile",
	"readerat.go to file.go: File, ReadAt": "a read that fits no pattern is one that its caller waits for",
	"options.go to ring.go: Ring, lent":    "WithRing",
}

// imports are the packages of this module that the files of a folder import; those
// of tests may import what testImports has as well.
var (
	imports = map[string]string{
		".":                    "internal/aio internal/file internal/ring internal/seam internal/vec",
		"asyncfiletest":        ". internal/aio internal/aiotest internal/seam",
		"internal/aio":         "",
		"internal/aiotest":     "internal/aio",
		"internal/file":        "internal/aio internal/order internal/ring internal/seam internal/vec",
		"internal/golden":      "",
		"internal/order":       "",
		"internal/ring":        "internal/aio internal/workers",
		"internal/seam":        "internal/aio",
		"internal/vec":         "internal/aio",
		"internal/vec/vectest": "internal/aio",
		"internal/workers":     "",
		"examples/checkpoint":  ".",
		"examples/classic":     ".",
		"examples/copy":        ".",
		"examples/quickstart":  ".",
		"probe":                ". internal/aio",
	}
	testImports = map[string]string{
		".":             ". internal/aiotest internal/golden internal/vec/vectest",
		"internal/ring": "internal/aiotest",
		"internal/vec":  "internal/vec/vectest",
	}
	// others are the packages outside of this module and the standard library.
	others = map[string]string{
		"golang.org/x/sys/unix":       "internal/aio internal/vec internal/vec/vectest",
		"golang.org/x/sync/semaphore": ".",
	}
)

var (
	unsafeFiles = exceptions{} // outside of internal/aio; bench has rivals that need it

	constrained = exceptions{
		"internal/vec/copy_linux_test.go":     "memory that faults is made with mmap(2)",
		"internal/vec/vectest/fault_linux.go": "likewise",
		"internal/vec/vectest/fault_other.go": "likewise",
	}

	sleepers = exceptions{
		"completer.go":               "the kernel has no memory, and nothing is in flight that could make room",
		"internal/file/companion.go": "not in step with another that turns O_DIRECT on and off",
	}

	panics = exceptions{
		"copy.go: ReadFrom":                "is never called: hides the method of what is embedded",
		"copy.go: WriteTo":                 "likewise",
		"internal/file/verify.go: crash":   "ASYNCFILE_VERIFY asks for it",
		"internal/order/order.go: Enter":   "the links of a sequence would be torn",
		"internal/order/order.go: Release": "likewise",
		"internal/vec/copy.go: guard":      "passes on what is no fault of memory",
	}

	variables = exceptions{
		"future.go: closedChan": "a closed channel cannot change",
		"queue.go: closedQueue": "likewise",
		"shared.go: sharedAIO":  "the Ring that files share which name none; gone after the last of them",
		"shared.go: sharedPool": "likewise",

		"examples/quickstart/main.go: sampleSize": "its test makes a smaller file",
	}

	// longFiles are those of more than maxLines lines, and how many they have.
	longFiles = map[string]int{
		"internal/aiotest/kernel.go": 602,
	}

	undocumented = exceptions{}

	// spokenFor are types whose comment tells the errors of all their methods.
	spokenFor = exceptions{
		"AsyncFile": "results are those of the same call on an os.File",
		"File":      "likewise, method by method",
	}

	// errorless are those whose errors nobody has written down yet.
	errorless = exceptions{}
)

const maxLines = 400

// exceptions are what is excepted, and why.
type exceptions map[string]string

// A room is files, in one string.
type room struct{ name, files string }

const leftOver = "need not be excepted any more: take it off the list"

// A source is one Go file of the repository.
type source struct {
	path string
	dir  string
	core bool // of this module, not of one in a folder of its own
	test bool
	text string
	file *ast.File
	fset *token.FileSet
}

// A finding is what is against a rule, and where.
type finding struct{ where, what string }

// A rule finds what is against it, but for exceptions that are listed.
type rule struct {
	name   string
	find   func(list []*source) []finding
	listed exceptions
}

var sourceRules = []rule{
	{"unsafe", findUnsafe, unsafeFiles},
	{"constraints", findConstraints, constrained},
	{"imports", findImports, nil},
	{"rooms", findUpward, upward},
	{"the Ring knows no files", findFiles, exceptions{"internal/ring/setup.go: Open": "the null device, to try the context on"}},
	{"sleeps", findSleeps, sleepers},
	{"panics", findPanics, panics},
	{"variables", findVariables, variables},
	{"init", findInit, nil},
	{"documented", findUndocumented, undocumented},
	{"errors are documented", findErrorless, errorless},
	{"long files", findLong, nil},
}

func TestRules(t *testing.T) {
	list := readSources(t)
	for _, r := range sourceRules {
		t.Run(r.name, func(t *testing.T) {
			for _, problem := range r.apply(list) {
				t.Error(problem)
			}
		})
	}
}

// apply returns what is found and not listed, and what is listed and not found.
func (r rule) apply(list []*source) (problems []string) {
	left := maps.Clone(r.listed)
	for _, f := range r.find(list) {
		if _, ok := r.listed[f.where]; ok {
			delete(left, f.where)
			continue
		}
		problems = append(problems, f.where+": "+f.what)
	}
	for where := range left {
		problems = append(problems, where+": "+leftOver)
	}
	slices.Sort(problems)
	return slices.Compact(problems)
}

// readSources reads the repository, whose root is the folder of the test.
func readSources(t *testing.T) (list []*source) {
	t.Helper()
	own := map[string]bool{} // folders of other modules
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if name == ".git" || d != nil && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if _, e := os.Stat(path.Join(name, "go.mod")); e == nil && name != "." {
				own[name] = true
			}
			return err
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parseSource(name, string(text))
		if err != nil {
			return err
		}
		for dir := s.dir; dir != "."; dir = path.Dir(dir) {
			s.core = s.core && !own[dir]
		}
		list = append(list, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func parseSource(name, text string) (*source, error) {
	s := &source{path: name, dir: path.Dir(name), core: true, test: strings.HasSuffix(name, "_test.go"), text: text, fset: token.NewFileSet()}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments)
	return s, err
}

// core returns the files of this module: its tests, or the others.
func coreFiles(list []*source, tests bool) (core []*source) {
	for _, s := range list {
		if s.core && s.test == tests {
			core = append(core, s)
		}
	}
	return core
}

func (s *source) importPaths() (paths []string) {
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// unsafe is in internal/aio, and what else would go past the type system.
func findUnsafe(list []*source) (found []finding) {
	for _, s := range list {
		top, _, _ := strings.Cut(s.path, "/")
		if s.dir == "internal/aio" || top == "bench" {
			continue
		}
		for _, p := range s.importPaths() {
			if p == "unsafe" || p == "C" {
				found = append(found, finding{s.path, "imports " + p})
			}
		}
		if strings.Contains(s.text, "\n//go:"+"linkname") {
			found = append(found, finding{s.path, "has linkname"})
		}
	}
	return found
}

// So are build constraints, be it in the text or in the name.
func findConstraints(list []*source) (found []finding) {
	nowhere := build.Default
	nowhere.GOOS, nowhere.GOARCH = "nowhere", "nothing"
	nowhere.OpenFile = func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("package p\n")), nil
	}
	for _, s := range list {
		if !s.core || s.dir == "internal/aio" {
			continue
		}
		matches, err := nowhere.MatchFile(s.dir, path.Base(s.path))
		if err != nil || !matches {
			found = append(found, finding{s.path, "its name is a build constraint"})
		}
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if group.Pos() < s.file.Package && (strings.HasPrefix(c.Text, "//go:build") || strings.HasPrefix(c.Text, "// +build")) {
					found = append(found, finding{s.path, "has a build constraint"})
				}
			}
		}
	}
	return found
}

const modulePath = "github.com/seed-39be8cca/asyncfile"

// A package imports those below it, and of the world outside only what is listed.
func findImports(list []*source) (found []finding) {
	for _, s := range list {
		if !s.core {
			continue
		}
		allowed, known := imports[s.dir]
		if !known {
			found = append(found, finding{s.path, "what its folder imports is not listed: add it to imports"})
			continue
		}
		if s.test {
			allowed += " " + testImports[s.dir] + " " + s.dir // its own package, from outside
		}
		for _, p := range s.importPaths() {
			own, inside := strings.CutPrefix(p+"/", modulePath+"/")
			own = cmp.Or(strings.TrimSuffix(own, "/"), ".")
			first, _, _ := strings.Cut(p, "/")
			switch {
			case inside && slices.Contains(strings.Fields(allowed), own):
			case inside:
				found = append(found, finding{s.path, "imports " + own})
			case strings.Contains(first, ".") && !slices.Contains(strings.Fields(others[p]), s.dir):
				found = append(found, finding{s.path, "imports " + p})
			}
		}
	}
	return found
}

// In the root package, too, references go down: see rooms.
func findUpward(list []*source) (found []finding) {
	floor := map[string]int{}
	for i, r := range rooms {
		for _, name := range strings.Fields(r.files) {
			floor[name] = i
		}
	}
	names := map[string]map[string]bool{} // by arrow
	refer(rootFiles(list), func(from, to, name string) {
		if floor[to] < floor[from] {
			arrow := from + " to " + to
			if names[arrow] == nil {
				names[arrow] = map[string]bool{}
			}
			names[arrow][name] = true
		}
	})
	for _, arrow := range slices.Sorted(maps.Keys(names)) {
		list := names[arrow]
		found = append(found, finding{arrow + ": " + strings.Join(slices.Sorted(maps.Keys(list)), ", "), "goes up"})
	}
	for _, s := range rootFiles(list) {
		if _, ok := floor[s.path]; !ok {
			found = append(found, finding{s.path, "is in no room: add it to rooms"})
		}
	}
	return found
}

// rootFiles are the files of the root package, its tests left out.
func rootFiles(list []*source) (root []*source) {
	for _, s := range coreFiles(list, false) {
		if s.dir == "." {
			root = append(root, s)
		}
	}
	return root
}

// refer tells of every name in one of the files that is declared in another. It
// knows methods and fields, but for those of other packages' types.
func refer(list []*source, tell func(from, to, name string)) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, s := range list {
		f, err := parser.ParseFile(fset, s.path, s.text, 0)
		if err != nil {
			panic(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: emptyImporter{}, Error: func(error) {}} // other packages' names are unknown
	pkg, _ := conf.Check("asyncfile", fset, files, info)
	for id, obj := range info.Uses {
		if obj.Pkg() != pkg || !obj.Pos().IsValid() {
			continue
		}
		if from, to := fset.Position(id.Pos()).Filename, fset.Position(obj.Pos()).Filename; from != to {
			tell(from, to, id.Name)
		}
	}
}

// An emptyImporter imports packages without reading them.
type emptyImporter struct{}

func (emptyImporter) Import(name string) (*types.Package, error) {
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	return p, nil
}

// The Ring knows neither os.File nor paths. A Future knows it, and not the kernel.
func findFiles(list []*source) (found []finding) {
	for _, s := range coreFiles(list, false) {
		ringFile := s.dir == "internal/ring"
		for _, p := range s.importPaths() {
			below, inside := strings.CutPrefix(p, modulePath+"/")
			if ringFile && (path.Base(p) == "filepath" || p == "path") || s.path == "future.go" && inside && below != "internal/ring" {
				found = append(found, finding{s.path, "imports " + p})
			}
		}
		if !ringFile {
			continue
		}
		eachSelector(s, func(pkg, name string, _ token.Pos) {
			if pkg == "os" && slices.Contains([]string{"File", "FileInfo", "FileMode", "Open", "OpenFile", "Create", "NewFile", "Stat"}, name) {
				found = append(found, finding{s.path + ": " + name, "is about a file"})
			}
		})
	}
	return found
}

// eachSelector calls f with each name of s that is selected from another name.
func eachSelector(s *source, f func(pkg, name string, at token.Pos)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				f(x.Name, sel.Sel.Name, sel.Pos())
			}
		}
		return true
	})
}

// bubbleMark is in a comment behind a time.Sleep of a test that only runs in a bubble
// of testing/synctest, where that cannot be seen from where it stands: in a function
// that is an argument of synctest.Test or of inBubble.
const bubbleMark = "of the bubble"

// Tests wait for events, not for time; and so does the library.
func findSleeps(list []*source) (found []finding) {
	for _, s := range list {
		if !s.core {
			continue
		}
		var bubbles []ast.Node
		if s.test {
			ast.Inspect(s.file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					switch fun := types.ExprString(call.Fun); fun {
					case "synctest.Test", "inBubble":
						bubbles = append(bubbles, call)
					}
				}
				return true
			})
		}
		lines := strings.Split(s.text, "\n")
		eachSelector(s, func(pkg, name string, at token.Pos) {
			if pkg != "time" || name != "Sleep" {
				return
			}
			line := s.fset.Position(at).Line
			if s.test && strings.Contains(lines[line-1], bubbleMark) ||
				slices.ContainsFunc(bubbles, func(n ast.Node) bool { return n.Pos() < at && at < n.End() }) {
				return
			}
			where := s.path
			if s.test {
				where = fmt.Sprintf("%s:%d", s.path, line)
			}
			found = append(found, finding{where, "time.Sleep"})
		})
	}
	return found
}

// The library panics only for misuse that would corrupt memory.
func findPanics(list []*source) (found []finding) {
	for _, s := range coreFiles(list, false) {
		if strings.HasPrefix(s.dir, "internal/aiotest") || strings.HasSuffix(s.dir, "vectest") {
			continue // for tests
		}
		for _, decl := range s.file.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && types.ExprString(call.Fun) == "panic" {
					where := s.path
					if f, ok := decl.(*ast.FuncDecl); ok {
						where += ": " + f.Name.Name
					}
					found = append(found, finding{where, "panics"})
				}
				return true
			})
		}
	}
	return found
}

// A package has no state. Errors that nobody assigns to are none.
func findVariables(list []*source) (found []finding) {
	for _, s := range coreFiles(list, false) {
		for _, decl := range s.file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if id.Name != "_" && !strings.HasPrefix(strings.ToLower(id.Name), "err") {
						found = append(found, finding{s.path + ": " + id.Name, "is a variable of the package"})
					}
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			assign, ok := n.(*ast.AssignStmt)
			if !ok || assign.Tok == token.DEFINE {
				return true
			}
			for _, left := range assign.Lhs {
				if id, ok := left.(*ast.Ident); ok && isErrorVar(id.Name) {
					found = append(found, finding{s.path + ": " + id.Name, "is assigned to"})
				}
			}
			return true
		})
	}
	return found
}

// isErrorVar tells the name of a package's error, such as ErrLost, from that of a
// local variable.
func isErrorVar(name string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(name[:1])+name[1:], "err")
	return ok && rest != "" && token.IsExported(rest)
}

func findInit(list []*source) (found []finding) {
	for _, s := range coreFiles(list, false) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, finding{s.path, "has an init function"})
			}
		}
	}
	return found
}

// A symbol is an exported name.
type symbol struct {
	source *source
	name   string // T.M for a method
	doc    string
	fn     *ast.FuncDecl
	value  bool // a constant or a variable, which may be documented with others
}

// exported returns the exported names of the packages: those of methods, if their
// type's is.
func exported(list []*source) (symbols []symbol) {
	for _, s := range list {
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if d.Recv != nil {
					receiver := strings.TrimLeft(types.ExprString(d.Recv.List[0].Type), "*")
					receiver, _, _ = strings.Cut(receiver, "[")
					if !token.IsExported(receiver) {
						continue
					}
					name = receiver + "." + name
				}
				if d.Name.IsExported() {
					symbols = append(symbols, symbol{s, name, d.Doc.Text(), d, false})
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if spec.Name.IsExported() {
							symbols = append(symbols, symbol{s, spec.Name.Name, cmp.Or(spec.Doc.Text(), d.Doc.Text()), nil, false})
						}
					case *ast.ValueSpec:
						for _, id := range spec.Names {
							if id.IsExported() {
								doc := cmp.Or(spec.Doc.Text(), spec.Comment.Text(), d.Doc.Text())
								symbols = append(symbols, symbol{s, id.Name, doc, nil, spec.Doc == nil})
							}
						}
					}
				}
			}
		}
	}
	return symbols
}

// What is exported is documented, beginning with its name.
func findUndocumented(list []*source) (found []finding) {
	for _, sym := range exported(coreFiles(list, false)) {
		where := sym.source.path + ": " + sym.name
		_, name, method := strings.Cut(sym.name, ".")
		if !method {
			name = sym.name
		}
		first := strings.Fields(sym.doc)
		if len(first) > 1 && slices.Contains([]string{"A", "An", "The"}, first[0]) {
			first = first[1:]
		}
		switch {
		case len(first) == 0:
			found = append(found, finding{where, "is not documented"})
		case !sym.value && strings.TrimRight(first[0], ",.:'s") != strings.TrimRight(name, "s"):
			found = append(found, finding{where, "its comment does not begin with its name"})
		}
	}
	return found
}

// errorTarget is what a comment says of an error that errors.Is can be asked for, or
// of a function of package os whose errors they are.
var errorTarget = regexp.MustCompile(`errors\.Is|errors\.As|\bErr[A-Z]|\b(fs|os|errors)\.Err|io\.EOF|\bE[A-Z]{3,}\b|os\.File|PathError|[A-Z]\w*Error\b|\bos\.[A-Z]`)

// sameErrors is how a comment says that the errors are those of another symbol.
var sameErrors = regexp.MustCompile(`(?:[Aa]s|[Ll]ike|is|of) ([A-Z]\w*(?:\.[A-Z]\w*)?)`)

// Who returns an error, or a Future, says what it answers errors.Is for, or names an
// exported symbol whose comment does. The comments of some types do for all methods.
func findErrorless(list []*source) (found []finding) {
	symbols := exported(rootFiles(list))
	says := map[string]bool{}
	for changed := true; changed; {
		changed = false
		for _, sym := range symbols {
			if says[sym.name] {
				continue
			}
			receiver, _, method := strings.Cut(sym.name, ".")
			ok := errorTarget.MatchString(sym.doc) || method && says[receiver] && spokenFor[receiver] != ""
			for _, other := range sameErrors.FindAllStringSubmatch(sym.doc, -1) {
				ok = ok || says[other[1]] || says[receiver+"."+other[1]]
			}
			if ok {
				says[sym.name], changed = true, true
			}
		}
	}
	for _, sym := range symbols {
		if sym.fn == nil || sym.fn.Type.Results == nil || says[sym.name] {
			continue
		}
		for _, result := range sym.fn.Type.Results.List {
			switch types.ExprString(result.Type) {
			case "error", "*Future", "[]*Future":
				found = append(found, finding{sym.source.path + ": " + sym.name, "does not say what its errors are"})
			}
		}
	}
	return found
}

// A file is read in one sitting.
func findLong(list []*source) (found []finding) {
	left := maps.Clone(longFiles)
	for _, s := range coreFiles(list, false) {
		n, listed := strings.Count(s.text, "\n"), longFiles[s.path]
		delete(left, s.path)
		switch {
		case n > max(maxLines, listed):
			found = append(found, finding{s.path, fmt.Sprintf("has %d lines, not up to %d", n, max(maxLines, listed))})
		case listed > 0 && n <= maxLines:
			found = append(found, finding{s.path, "has become short: take it off the list"})
		case n < listed:
			found = append(found, finding{s.path, fmt.Sprintf("has become shorter: put %d on the list", n)})
		}
	}
	for name := range left {
		found = append(found, finding{name, leftOver})
	}
	return found
}

// required are the modules that the core requires, its tests included.
var required = []string{"golang.org/x/sync", "golang.org/x/sys"}

func TestRequirements(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if problem := findRequirements(string(text)); problem != "" {
		t.Error(problem)
	}
}

// findRequirements says what of a go.mod is more, or less, than what is required.
func findRequirements(text string) string {
	var got []string
	block := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "//"):
		case block && fields[0] == ")":
			block = false
		case block:
			got = append(got, fields[0])
		case fields[0] == "require" && fields[1] == "(":
			block = true
		case fields[0] == "require":
			got = append(got, fields[1])
		case fields[0] != "module" && fields[0] != "go":
			return "go.mod has a line " + fields[0]
		}
	}
	if slices.Sort(got); !slices.Equal(got, required) {
		return fmt.Sprintf("go.mod requires %v, want %v", got, required)
	}
	return ""
}

// machinePath is a place on the machine of whoever wrote a line.
var machinePath = regexp.MustCompile(`(^|[^\w.~$}/-])/(work|root|home|Users|tmp|mnt)/[\w.-]`)

// Nothing speaks of the machine that it was made on.
func TestNoMachinePaths(t *testing.T) {
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".git" && d.IsDir():
			return fs.SkipDir
		case name == ".git" || !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil || bytes.IndexByte(text, 0) >= 0 {
			return err
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if machinePath.Match(line) && !bytes.Contains(line, []byte("machinePath")) {
				t.Errorf("%s:%d: %s", name, i+1, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
