package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// Every test that docs/features.md names is in the package that it says, and no
// row is without one.
func TestFeatures(t *testing.T) {
	suite.ToRoot(t)
	known := make(map[string]bool) // with the folder, but for the client's own
	for _, file := range globAll(t, "*_test.go", "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go") {
		folder := ""
		if dir := filepath.Dir(file); dir != "." {
			folder = filepath.ToSlash(dir) + "."
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		assert.NilError(t, err)
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				known[folder+f.Name.Name] = true
			}
		}
	}
	text, err := os.ReadFile("docs/features.md")
	assert.NilError(t, err)
	test := regexp.MustCompile("`((?:[\\w/]+\\.)?Test\\w+)`")
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || strings.HasPrefix(line, "| What") {
			continue
		}
		rows++
		names := test.FindAllStringSubmatch(cells[2], -1)
		assert.Check(t, len(names) > 0, line)
		for _, n := range names {
			assert.Check(t, known[n[1]], "no %s: %s", n[1], line)
		}
	}
	assert.Assert(t, rows > 60, rows)
}

// docs/features.md names every operation.
func TestFeaturesNameOperations(t *testing.T) {
	suite.ToRoot(t)
	text, err := os.ReadFile("docs/features.md")
	assert.NilError(t, err)
	for name := range suite.Calls {
		named := strings.Contains(string(text), "`"+name+"`") || strings.Contains(string(text), "`Session."+name+"`")
		assert.Check(t, named, "no row names %s", name)
	}
}
