package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// TestI32_NoWallClock: the clock may be set to any time. No source of the client
// looks at it but through time.Now and differences, which are monotonic.
func TestI32_NoWallClock(t *testing.T) {
	suite.ToRoot(t)
	fset := token.NewFileSet()
	names := append([]string{}, rootFiles...)
	for _, name := range globAll(t, "internal/*/*.go") {
		if !strings.HasSuffix(name, "_test.go") && filepath.Dir(name) != filepath.Join("internal", "suite") {
			names = append(names, name)
		}
	}
	assert.Assert(t, len(names) > len(rootFiles)+8)
	for _, name := range names {
		src, err := os.ReadFile(name)
		assert.NilError(t, err)
		f, err := parser.ParseFile(fset, name, src, 0)
		assert.NilError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if m, ok := n.(*ast.FuncDecl); ok && ofStat(m) {
				return false // the server's clock, which is all that a Stat has
			}
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch sel.Sel.Name {
			case "Unix", "UnixMilli", "UnixMicro", "UnixNano", "Date", "UTC", "Local", "In", "Truncate", "Weekday", "Clock", "AppendFormat":
				t.Errorf("%s: %s looks at the wall clock", fset.Position(sel.Pos()), sel.Sel.Name)
			case "Round", "AddDate": // of a Time it drops the monotonic reading; a Duration has none
				if !isDuration(sel.X) {
					t.Errorf("%s: %s drops the monotonic reading", fset.Position(sel.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
	}
	r := suite.NewRig(t)
	s, l := r.Open(r.Config())
	assert.Assert(t, strings.Contains(s.ExpiresAt().String(), " m=+"), "no monotonic reading: %v", s.ExpiresAt())
	l.Close()
	<-s.Done()
}

// ofStat reports whether a function is a method of Stat.
func ofStat(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return false
	}
	name, ok := f.Recv.List[0].Type.(*ast.Ident)
	return ok && name.Name == "Stat"
}

// isDuration reports whether an expression is one of the calls that return a
// Duration.
func isDuration(x ast.Expr) bool {
	call, ok := x.(*ast.CallExpr)
	if !ok {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (sel.Sel.Name == "Since" || sel.Sel.Name == "Until" || sel.Sel.Name == "Sub")
}
