package main

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// docs/tool.md names every field of every document.
func TestSchemasAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/tool.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := string(text)
	seen := 0
	var check func(schema string, v reflect.Type)
	check = func(schema string, v reflect.Type) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			check(schema, v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				field := v.Field(i)
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				_, section, ok := strings.Cut(documented, "**"+schema+"**")
				section, _, _ = strings.Cut(section, "\n\n")
				switch common := name == "schema" || name == "ok" || name == "error"; {
				case !ok:
					t.Fatalf("%s is not documented", schema)
				case name != "" && !common && !strings.Contains(section, "`"+name+"`") && !strings.HasSuffix(v.PkgPath(), "latency"):
					t.Errorf("the field %s of %s is not documented", name, schema)
				}
				seen++
				check(schema, field.Type)
			}
		}
	}
	for schema, v := range map[string]any{
		probeSchema: probeDocument{}, pingSchema: pingDocument{}, copySchema: copyDocument{},
		sumSchema: sumDocument{}, benchSchema: benchDocument{}, profileSchema: profile{},
	} {
		check(schema, reflect.TypeOf(v))
	}
	if seen < 100 {
		t.Errorf("%d fields were looked at: has their form changed?", seen)
	}
}
