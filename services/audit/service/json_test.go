package service

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// The program shows the JSON of what it links. Tests link every version for their own sake, so it is the imports of the
// file that count: a version of the events that is added has to be added there.
func TestEveryVersionOfTheEventsIsLinked(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "json.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var linked []string
	for _, i := range file.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		linked = append(linked, path)
	}
	versions, err := filepath.Glob("../../../gen/users/events/v*")
	if err != nil || len(versions) < 2 {
		t.Fatalf("versions %v, %v", versions, err)
	}
	for _, v := range versions {
		if want := "github.com/tidings-dev/tidings/gen/users/events/" + filepath.Base(v); !slices.Contains(linked, want) {
			t.Errorf("json.go does not import %s", want)
		}
	}
}
