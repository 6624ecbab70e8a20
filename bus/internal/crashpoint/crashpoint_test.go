package crashpoint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// bus is the library's folder, as seen from this package's, where tests run.
const bus = "../.."

// row is how a row of a table begins in the text of a package's documentation.
var row = regexp.MustCompile(`(?m)^\t([DPR]?\d+[a-z]?)[ \t]`)

// rows returns the points that a package's documentation lists, in its order.
func rows(t *testing.T, pkg string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(bus, pkg, "doc.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for _, m := range row.FindAllStringSubmatch(file.Doc.Text(), -1) {
		points = append(points, pkg+"."+m[1])
	}
	return points
}

func TestThePointsAreTheRowsOfTheTables(t *testing.T) {
	if want := slices.Concat(rows(t, "outbox"), rows(t, "inbox")); !slices.Equal(All(), want) {
		t.Errorf("the points are\n%q\nand the tables in outbox/doc.go and inbox/doc.go list\n%q", All(), want)
	}
}

// A point is passed at one place, so that its name says what has been done by then.
func TestEachPointIsPassedAtOnePlace(t *testing.T) {
	places := map[string][]string{}
	eachCall(t, func(at token.Position, argument ast.Expr) {
		text, ok := argument.(*ast.BasicLit)
		if !ok || text.Kind != token.STRING {
			t.Errorf("%s: Pass is called with something that is not a text, which nobody can compare with the tables", at)
			return
		}
		point, err := strconv.Unquote(text.Value)
		if err != nil {
			t.Fatal(err)
		}
		places[point] = append(places[point], at.String())
	})
	for _, point := range All() {
		if len(places[point]) != 1 {
			t.Errorf("%s is passed at %d places, want one: %v", point, len(places[point]), places[point])
		}
		delete(places, point)
	}
	for point, at := range places {
		t.Errorf("%s, passed at %v, is a row of no table", point, at)
	}
}

// eachCall finds the calls of Pass in the library's code.
func eachCall(t *testing.T, found func(token.Position, ast.Expr)) {
	t.Helper()
	files := token.NewFileSet()
	err := filepath.WalkDir(bus, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isPass(call) {
				found(files.Position(call.Pos()), call.Args[0])
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func isPass(call *ast.CallExpr) bool {
	fn, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || fn.Sel.Name != "Pass" || len(call.Args) != 1 {
		return false
	}
	pkg, ok := fn.X.(*ast.Ident)
	return ok && pkg.Name == "crashpoint"
}

func TestASettingNamesAPointThatIsThere(t *testing.T) {
	for setting, want := range map[string]int64{"inbox.D8a": 1, "inbox.D8a:3": 3, "outbox.1a:1": 1} {
		point, passing, err := Parse(setting)
		if name, _, _ := strings.Cut(setting, ":"); err != nil || point != name || passing != want {
			t.Errorf("Parse(%q) = %q, %d, %v; want passing %d", setting, point, passing, err, want)
		}
	}
	for _, setting := range []string{"", "D8a", "inbox.D8", "inbox.D8a:", "inbox.D8a:0", "inbox.D8a:-1", "inbox.D8a:x", "inbox.d8a", ":1"} {
		if point, passing, err := Parse(setting); err == nil {
			t.Errorf("Parse(%q) = %q, %d; want an error", setting, point, passing)
		}
	}
	_, _, err := Parse("inbox.D99")
	for _, point := range All() {
		if !strings.Contains(err.Error(), point) {
			t.Errorf("the error for a point that isn't there does not name %s: %v", point, err)
		}
	}
}

// In a build without the tag nothing listens to the variable.
func TestANormalBuildPassesEveryPoint(t *testing.T) {
	for _, point := range All() {
		t.Setenv(Variable, point)
		Pass(point)
	}
	if n := testing.AllocsPerRun(100, func() { Pass("inbox.D1") }); n != 0 {
		t.Errorf("Pass allocates %v times", n)
	}
}
