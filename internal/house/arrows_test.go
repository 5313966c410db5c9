package house

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// uses says which names of other files of the root a file of the root may use. So no
// two of them need each other.
var uses = map[string][]string{
	"doc.go":     {},
	"errors.go":  {},
	"watch.go":   {"errors.go"},
	"session.go": {"errors.go", "watch.go"},
	"dial.go":    {"errors.go", "watch.go", "session.go"},
	"zk.go":      {"errors.go", "watch.go", "session.go"},
}

// upwards lists each name of a package that one of its files uses against the rule.
func upwards(t *testing.T, fset *token.FileSet, files []*ast.File) []string {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	pkg, err := conf.Check(module, fset, files, info)
	assert.NilError(t, err)
	var wrong []string
	for id, o := range info.Uses {
		if o.Pkg() != pkg {
			continue
		}
		from, to := filepath.Base(fset.Position(id.Pos()).Filename), filepath.Base(fset.Position(o.Pos()).Filename)
		if from != to && !slices.Contains(uses[from], to) {
			wrong = append(wrong, fmt.Sprintf("%s uses %s of %s", from, o.Name(), to))
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

func TestRootArrows(t *testing.T) {
	suite.ToRoot(t)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range rootFiles {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		assert.NilError(t, err)
		files = append(files, f)
	}
	assert.DeepEqual(t, upwards(t, fset, files), []string(nil))
}

// The check above is worth something only if it can fail.
func TestUpwards(t *testing.T) {
	fset := token.NewFileSet()
	var files []*ast.File
	for name, text := range map[string]string{
		"errors.go":  "package zk\ntype Code int\nfunc bad(s *Session) {}",
		"watch.go":   "package zk\nvar none Code",
		"session.go": "package zk\ntype Session struct{ Code; conf int }",
		"dial.go":    "package zk\nfunc (s *Session) dial() { s.conf++ }",
		"zk.go":      "package zk\nfunc (s *Session) get() { s.dial(); local := s.conf; _ = local }",
	} {
		f, err := parser.ParseFile(fset, name, strings.TrimSpace(text), parser.SkipObjectResolution)
		assert.NilError(t, err)
		files = append(files, f)
	}
	assert.DeepEqual(t, upwards(t, fset, files), []string{"errors.go uses Session of session.go", "zk.go uses dial of dial.go"})
}
