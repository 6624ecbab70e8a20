package compat_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// module is ours; its generated code, whose enums and oneofs this is about, stands in gen.
const (
	module    = "github.com/tidings-dev/tidings"
	generated = module + "/gen/"
)

// linter finds switches without a default branch over what can have a value of the future.
//
// It type-checks the module alone. What is imported from elsewhere is taken for empty, and the errors of that are passed
// over: no type of a foreign package is an enum or a oneof of ours. Where a type gets lost that way (a generic function
// of a foreign package), the cases still tell: they name the enum's constants, or the oneof's messages.
type linter struct {
	fset *token.FileSet
	root string
	pkgs map[string]*types.Package
	info *types.Info
	// found are the positions of switches, and how many there were over an enum or a oneof in all.
	found []string
	seen  int
	uses  int // of constants of enums, in all packages
}

func newLinter(root string) *linter {
	return &linter{fset: token.NewFileSet(), root: root, pkgs: map[string]*types.Package{"unsafe": types.Unsafe}}
}

// Import implements types.Importer.
func (l *linter) Import(path string) (*types.Package, error) {
	if p := l.pkgs[path]; p != nil {
		return p, nil
	}
	if rest, ours := strings.CutPrefix(path, module+"/"); ours {
		return l.check(path, filepath.Join(l.root, rest))
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	p := types.NewPackage(path, name)
	p.MarkComplete()
	l.pkgs[path] = p
	return p, nil
}

// check type-checks a package of the module, and looks at its switches unless it is generated.
func (l *linter) check(path, dir string) (*types.Package, error) {
	if p := l.pkgs[path]; p != nil {
		return p, nil
	}
	files, err := l.parse(dir)
	if err != nil {
		return nil, err
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: l, Error: func(error) {}, FakeImportC: true, IgnoreFuncBodies: strings.HasPrefix(path, generated)}
	p, _ := config.Check(path, l.fset, files, info) // with errors, as said above
	l.pkgs[path] = p
	if !strings.HasPrefix(path, generated) {
		for _, used := range info.Uses {
			if constant, ok := used.(*types.Const); ok && isEnum(constant.Type()) {
				l.uses++
			}
		}
		for _, file := range files {
			l.info = info
			ast.Inspect(file, l.visit)
		}
	}
	return p, nil
}

// parse reads the files that are built here, without tests.
func (l *linter) parse(dir string) (files []*ast.File, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if built, err := build.Default.MatchFile(dir, filepath.Base(name)); err != nil || !built {
			continue
		}
		file, err := parser.ParseFile(l.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (l *linter) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.SwitchStmt:
		l.look(n, n.Body, n.Tag != nil && isEnum(l.info.TypeOf(n.Tag)), l.namesEnum)
	case *ast.TypeSwitchStmt:
		l.look(n, n.Body, isOneof(l.info.TypeOf(switched(n))), l.namesOneof)
	}
	return true
}

// switched is what a type switch is over.
func switched(n *ast.TypeSwitchStmt) ast.Expr {
	var x ast.Expr
	switch assign := n.Assign.(type) {
	case *ast.ExprStmt:
		x = assign.X
	case *ast.AssignStmt:
		x = assign.Rhs[0]
	}
	return x.(*ast.TypeAssertExpr).X
}

// look takes note of a switch that is over an enum or a oneof, by its type or by one of its cases.
func (l *linter) look(n ast.Node, body *ast.BlockStmt, is bool, names func(ast.Expr) bool) {
	hasDefault := false
	for _, clause := range body.List {
		cases := clause.(*ast.CaseClause).List
		hasDefault = hasDefault || cases == nil
		is = is || slices.ContainsFunc(cases, names)
	}
	if !is {
		return
	}
	if l.seen++; !hasDefault {
		at := l.fset.Position(n.Pos())
		if rel, err := filepath.Rel(l.root, at.Filename); err == nil {
			at.Filename = rel
		}
		l.found = append(l.found, fmt.Sprintf("%s:%d", at.Filename, at.Line))
	}
}

// namesEnum reports whether a case is, or is made of, a constant of an enum.
func (l *linter) namesEnum(c ast.Expr) (names bool) {
	if isEnum(l.info.TypeOf(c)) {
		return true
	}
	ast.Inspect(c, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			constant, ok := l.info.Uses[id].(*types.Const)
			names = names || ok && isEnum(constant.Type())
		}
		_, call := n.(*ast.BinaryExpr) // a comparison has no future, and its switch is over bool
		return !call
	})
	return names
}

func (l *linter) namesOneof(c ast.Expr) bool {
	pointer, ok := l.info.TypeOf(c).(*types.Pointer)
	if !ok {
		return false
	}
	named, ok := types.Unalias(pointer.Elem()).(*types.Named)
	return ok && isGenerated(named.Obj()) && hasMethod(named, func(name string) bool { return strings.HasPrefix(name, "is") && strings.Contains(name, "_") })
}

// isEnum reports whether t has the methods of protoreflect.Enum, and is generated.
func isEnum(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || !isGenerated(named.Obj()) {
		return false
	}
	return hasMethod(named, func(name string) bool { return name == "EnumDescriptor" }) && hasMethod(named, func(name string) bool { return name == "Number" })
}

// isOneof reports whether t is the interface of a oneof's cases.
func isOneof(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && isGenerated(named.Obj()) && strings.HasPrefix(named.Obj().Name(), "is") && types.IsInterface(named)
}

func isGenerated(o types.Object) bool {
	return o.Pkg() != nil && strings.HasPrefix(o.Pkg().Path(), generated)
}

func hasMethod(named *types.Named, is func(string) bool) bool {
	for m := range named.Methods() {
		if is(m.Name()) {
			return true
		}
	}
	return false
}

// moduleRoot is the folder of go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no go.mod above: %v", err)
	return ""
}

// onlyOnce is for what has nothing to do with databases.
func onlyOnce(t *testing.T) {
	t.Helper()
	servicetest.SQLiteOnly(t, "it needs no database, and was done on SQLite")
}

// Tomorrow's number and tomorrow's case have to go somewhere in every switch of ours.
func TestEverySwitchOverAnEnumOrAOneofHasADefault(t *testing.T) {
	onlyOnce(t)
	root := moduleRoot(t)
	l := newLinter(root)
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		name, rel := d.Name(), filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(dir, root), string(filepath.Separator)))
		if rel != "" && (name[0] == '.' || name == "testdata" || rel == "gen") {
			return fs.SkipDir
		}
		_, err = l.check(strings.TrimSuffix(module+"/"+rel, "/"), dir)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range l.found {
		t.Errorf("%s: this switch is over a protobuf enum or oneof; give it a default branch, for values of the future", at)
	}
	t.Logf("%d packages, %d such switches, %d uses of enums' constants", len(l.pkgs), l.seen, l.uses)
	if l.uses == 0 {
		t.Error("no enum was found at all: has the rule gone blind?")
	}
}

// The sample says of each switch of its own whether it has to be found.
func TestASwitchWithoutDefaultIsFound(t *testing.T) {
	onlyOnce(t)
	dir := filepath.Join("testdata", "switches")
	l := newLinter(moduleRoot(t))
	if _, err := l.check(module+"/sample", dir); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(dir, "sample.go"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	good := 0
	number := 0
	for line := range bytes.Lines(source) {
		number++
		switch {
		case bytes.Contains(line, []byte("// bad")):
			want = append(want, fmt.Sprintf("%s:%d", filepath.Join(dir, "sample.go"), number))
		case bytes.Contains(line, []byte("// good")):
			good++
		}
	}
	if !slices.Equal(l.found, want) || l.seen != good+len(want) {
		t.Errorf("found %v of %d, want %v of %d (%s)", l.found, l.seen, want, good+len(want), runtime.Version())
	}
}
