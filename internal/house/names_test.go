package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// This file checks that what the pages call by a name of the API has that name.

// names returns the exported names of a package: functions, types and values by
// themselves, methods and fields behind their type's.
func names(t *testing.T, folder string) map[string]bool {
	t.Helper()
	found, embedded := make(map[string]bool), make(map[string]string)
	for _, file := range globAll(t, filepath.Join(folder, "*.go")) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		assert.NilError(t, err)
		for _, d := range parsed.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					found[d.Name.Name] = true
				} else {
					found[receiver(d.Recv.List[0].Type)+"."+d.Name.Name] = true
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					addSpec(found, embedded, spec)
				}
			}
		}
	}
	for outer, inner := range embedded {
		for name := range maps.Clone(found) {
			if member, ok := strings.CutPrefix(name, inner+"."); ok {
				found[outer+"."+member] = true
			}
		}
	}
	return found
}

func addSpec(found map[string]bool, embedded map[string]string, spec ast.Spec) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			found[n.Name] = true
		}
	case *ast.TypeSpec:
		found[spec.Name.Name] = true
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range s.Fields.List {
				if len(field.Names) == 0 {
					embedded[spec.Name.Name] = receiver(field.Type)
				}
				for _, n := range field.Names {
					found[spec.Name.Name+"."+n.Name] = true
				}
			}
		}
	}
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var (
	qualified = regexp.MustCompile(`\b(zk|recipe|tree|zktest|fourletter|sasl)\.([A-Z]\w*)(?:\.([A-Z]\w*))?`)
	member    = regexp.MustCompile(`\b([A-Z]\w*)\.([A-Z]\w*)`)
	testName  = regexp.MustCompile(`^(Test|Example|Fuzz)`)
	errorName = regexp.MustCompile(`\bErr[A-Z]\w*`)
)

// wrongNames returns the names in the spans of code of a page that no package has.
// Errors of another client, of a page about that, are not looked at.
func wrongNames(text string, packages map[string]map[string]bool, errors bool) (wrong []string) {
	some := func(name string) bool {
		for _, p := range packages {
			if p[name] {
				return true
			}
		}
		return false
	}
	for _, code := range span.FindAllString(outsideBlocks(text), -1) {
		rest := qualified.ReplaceAllStringFunc(code, func(s string) string {
			m := qualified.FindStringSubmatch(s)
			name := m[2]
			if m[3] != "" {
				name += "." + m[3]
			}
			if !packages[m[1]][name] && !testName.MatchString(m[2]) {
				wrong = append(wrong, s)
			}
			return ""
		})
		for _, m := range member.FindAllStringSubmatch(rest, -1) {
			if some(m[1]) && !some(m[0]) {
				wrong = append(wrong, m[0])
			}
		}
		for _, name := range errorName.FindAllString(rest, -1) {
			if errors && !some(name) {
				wrong = append(wrong, name)
			}
		}
	}
	return wrong
}

// Whatever a page calls by a name of the API is there.
func TestGuideNames(t *testing.T) {
	suite.ToRoot(t)
	packages := map[string]map[string]bool{"zk": names(t, ".")}
	for _, p := range []string{"recipe", "tree", "zktest", "fourletter", "sasl"} {
		packages[p] = names(t, p)
	}
	for _, page := range globAll(t, "README.md", "docs/*.md") {
		if slices.Contains([]string{"architecture.md", "changes.md"}, filepath.Base(page)) {
			continue // they are about what is not exported
		}
		text, err := os.ReadFile(page)
		assert.NilError(t, err)
		for _, name := range wrongNames(string(text), packages, filepath.Base(page) != "from-go-zookeeper.md") {
			t.Errorf("%s: there is no %s", page, name)
		}
	}
	bad := "`zk.Dail` `zk.Config.Addr` `Session.Redail(ctx)` `ErrNoSuchNode` `zk.Dial` `zk.Config.Addrs` `Session.Redial` `ErrNoNode` `Os.Other`"
	assert.DeepEqual(t, wrongNames(bad, packages, true), []string{"zk.Dail", "zk.Config.Addr", "Session.Redail", "ErrNoSuchNode"})
}
