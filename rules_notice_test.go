package asyncfile

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// What is against a rule is found, and what is not is not.
func TestRulesNotice(t *testing.T) {
	type files map[string]string
	for _, test := range []struct {
		find  func([]*source) []finding
		files files
		want  string // the place of what is found; nothing, where all is well
	}{
		{findUnsafe, files{"a.go": `package p; import "unsafe"`}, "a.go"},
		{findUnsafe, files{"integration/a.go": `package p; import "unsafe"`}, "integration/a.go"},
		{findUnsafe, files{"a.go": `package p; import "C"`}, "a.go"},
		{findUnsafe, files{"a.go": "package p\n\n//go:" + "linkname a runtime.a\nfunc a()\n"}, "a.go"},
		{findUnsafe, files{"internal/aio/a.go": `package p; import "unsafe"`}, ""},

		{findConstraints, files{"a_linux.go": "package p"}, "a_linux.go"},
		{findConstraints, files{"a_arm64_test.go": "package p"}, "a_arm64_test.go"},
		{findConstraints, files{"a.go": "//go:build !linux\n\npackage p"}, "a.go"},
		{findConstraints, files{"a.go": "package p\n\n// as in //go:build linux\n"}, ""},
		{findConstraints, files{"internal/aio/a_linux.go": "//go:build linux\n\npackage p"}, ""},

		{findImports, files{"internal/order/a.go": `package p; import "` + modulePath + `/internal/aio"`}, "internal/order/a.go"},
		{findImports, files{"internal/aio/a.go": `package p; import "` + modulePath + `"`}, "internal/aio/a.go"},
		{findImports, files{"a.go": `package p; import "` + modulePath + `/internal/aiotest"`}, "a.go"},
		{findImports, files{"a_test.go": `package p; import "` + modulePath + `/internal/aiotest"`}, ""},
		{findImports, files{"a.go": `package p; import "golang.org/x/sys/unix"`}, "a.go"},
		{findImports, files{"internal/order/a.go": `package p; import "golang.org/x/exp/slices"`}, "internal/order/a.go"},
		{findImports, files{"internal/new/a.go": "package p"}, "internal/new/a.go"},
		{findImports, files{"internal/vec/a.go": `package p; import "fmt"; import "` + modulePath + `/internal/aio"`}, ""},

		{findUpward, files{"asyncfile.go": "package p; type AsyncFile struct{ n int }", "ring.go": "package p; var x AsyncFile"},
			"ring.go to asyncfile.go: AsyncFile"},
		{findUpward, files{"asyncfile.go": "package p; type AsyncFile struct{ n int }; func f(*AsyncFile) {}", "stats.go": "package p; func g() { f(nil) }"},
			"stats.go to asyncfile.go: f"},
		{findUpward, files{"shared.go": "package p; type request struct { operation }", "direct.go": "package p; type operation struct{ op int }", "completer.go": "package p; func g(q *request) { q.op++ }"},
			"completer.go to direct.go: op shared.go to direct.go: operation"},
		{findUpward, files{"ring.go": "package p; type Ring struct{}", "future.go": "package p; type Future struct { r *Ring }"},
			"future.go to ring.go: Ring"},
		{findUpward, files{"new.go": "package p"}, "new.go"},
		{findUpward, files{"ring.go": "package p; type Ring struct{}", "asyncfile.go": "package p; type AsyncFile struct { r *Ring }"}, ""},

		{findFiles, files{"internal/ring/ring.go": `package p; import "os"; var f *os.File`}, "internal/ring/ring.go: File"},
		{findFiles, files{"internal/ring/lane.go": `package p; import "path/filepath"`}, "internal/ring/lane.go"},
		{findFiles, files{"future.go": `package p; import "` + modulePath + `/internal/aio"`}, "future.go"},
		{findFiles, files{"asyncfile.go": `package p; import "os"; var f *os.File`, "internal/ring/reap.go": `package p; import "os"; var f = os.Getenv`}, ""},

		{findSleeps, files{"a.go": "package p; func f() { time.Sleep(1) }"}, "a.go"},
		{findSleeps, files{"a_test.go": "package p\nfunc f() { time.Sleep(1) }"}, "a_test.go:2"},
		{findSleeps, files{"a_test.go": "package p\nfunc f() { time.Sleep(1) } // of the bubble"}, ""},
		{findSleeps, files{"a_test.go": "package p\nfunc f() { synctest.Test(t, func() { time.Sleep(1) }) }"}, ""},
		{findSleeps, files{"a_test.go": "package p\nfunc f() { synctest.Test(t, g); time.Sleep(1) }"}, "a_test.go:2"},

		{findPanics, files{"a.go": `package p; func f() { panic("") }`}, "a.go: f"},
		{findPanics, files{"internal/aio/a.go": `package p; var f = func() { panic("") }`}, "internal/aio/a.go"},
		{findPanics, files{"a_test.go": `package p; func f() { panic("") }`}, ""},

		{findVariables, files{"a.go": "package p; var n int"}, "a.go: n"},
		{findVariables, files{"a.go": "package p; var (\na = 1\nErrA error\n)"}, "a.go: a"},
		{findVariables, files{"a.go": "package p; var ErrA error; func f() { ErrA = nil }"}, "a.go: ErrA"},
		{findVariables, files{"a.go": "package p; var errA error; var _ = 1; func f() { var err error; err = nil; errs := err }"}, ""},

		{findInit, files{"internal/vec/a.go": "package p; func init() {}"}, "internal/vec/a.go"},
		{findInit, files{"a.go": "package p; func (t T) init() {}"}, ""},

		{findUndocumented, files{"a.go": "package p\n\nfunc F() {}"}, "a.go: F"},
		{findUndocumented, files{"a.go": "package p\n\n// It does.\nfunc F() {}"}, "a.go: F"},
		{findUndocumented, files{"a.go": "package p\n\n// A T is.\ntype T struct{}\n\nfunc (t *T) M() {}"}, "a.go: T.M"},
		{findUndocumented, files{"a.go": "package p\n\nconst C = 1"}, "a.go: C"},
		{findUndocumented, files{"a.go": "package p\n\n// A T is.\ntype T struct{}\n\n// M does.\nfunc (t *T) M() {}\nfunc (u u) M() {}\nconst C = 1 // one"}, ""},

		{findErrorless, files{"a.go": "package p\n\n// F does.\nfunc F() error"}, "a.go: F"},
		{findErrorless, files{"a.go": "package p\n\n// F does as G.\nfunc F() error\n\n// G does.\nfunc G() *Future"}, "a.go: F a.go: G"},
		{findErrorless, files{"a.go": "package p\n\n// F does as G.\nfunc F() error\n\n// G answers errors.Is for ErrX.\nfunc G() error"}, ""},

		{findLong, files{"a.go": "package p" + strings.Repeat("\n", maxLines+1)}, "a.go"},
		{findLong, files{"a.go": "package p" + strings.Repeat("\n", maxLines), "a_test.go": "package p" + strings.Repeat("\n", maxLines+1)}, ""},
	} {
		var list []*source
		for _, name := range slices.Sorted(maps.Keys(test.files)) {
			s, err := parseSource(name, test.files[name])
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, s)
		}
		var got []string
		for _, f := range test.find(list) {
			if f.what != leftOver {
				got = append(got, f.where)
			}
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%v: found %q, want %q", test.files, got, test.want)
		}
	}
}

func TestOtherRulesNotice(t *testing.T) {
	for text, fine := range map[string]bool{
		"module m\n\ngo 1.25\n\nrequire (\n\tgolang.org/x/sync v1\n\tgolang.org/x/sys v1\n)\n":             true,
		"module m\n\nrequire golang.org/x/sync v1\nrequire golang.org/x/sys v1\n":                          true,
		"module m\n\nrequire (\n\tgolang.org/x/sync v1\n\tgolang.org/x/sys v1\n\tgolang.org/x/exp v1\n)\n": false,
		"module m\n\nrequire golang.org/x/sys v1\n":                                                        false,
		"module m\n\nrequire golang.org/x/sync v1\nrequire golang.org/x/sys v1\nreplace a => b\n":          false,
	} {
		if got := findRequirements(text); got == "" != fine {
			t.Errorf("%q: %q", text, got)
		}
	}
	for line, found := range map[string]bool{
		"see /" + "home/me/x":       true,
		"(/" + "tmp/x)":             true,
		"/" + "work/main":           true,
		"/proc/sys/fs/aio-nr":       false,
		"a path such as tmp/x":      false,
		"$HOME/" + "tmp/x":          false,
		"https://host/" + "home/me": false,
	} {
		if machinePath.MatchString(line) != found {
			t.Errorf("%q: found %v", line, !found)
		}
	}
	r := rule{"", func([]*source) []finding { return []finding{{"a", ""}, {"b", ""}} }, exceptions{"b": "", "c": ""}}
	got := r.apply(nil)
	if len(got) != 2 || !strings.HasPrefix(got[0], "a: ") || !strings.HasPrefix(got[1], "c: ") {
		t.Errorf("of a and b found, and b and c listed, it reports %q", got)
	}
}
