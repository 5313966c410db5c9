package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// Of docs/guarantees.md and docs/guarantees-recipes.md every number is there, every row has a test, every test
// is in the folder that is named, and every TestI… of the client is in the row
// of its number.
func TestGuarantees(t *testing.T) {
	suite.ToRoot(t)
	var text []byte
	for _, page := range globAll(t, "docs/guarantees*.md") {
		more, err := os.ReadFile(page)
		assert.NilError(t, err)
		text = append(text, more...)
	}
	name := regexp.MustCompile("`(?:([\\w/]+)\\.)?((?:Test|Fuzz|Example)\\w*)`")
	known := make(map[string][]string)
	rows := make(map[string]string) // their tests, by what begins them
	for line := range strings.Lines(string(text)) {
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			dir := filepath.Join(".", m[1])
			if known[dir] == nil {
				known[dir] = testsIn(t, dir)
			}
			assert.Check(t, slices.Contains(known[dir], m[2]), "no %s in %s: %s", m[2], dir, line)
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "| "), " | ")
		if len(cells) != 3 || cells[2] == "Shown by" {
			assert.Check(t, !strings.HasPrefix(line, "| ") || cells[len(cells)-1] == "Shown by", "not three cells: %s", line)
			continue
		}
		assert.Check(t, rows[cells[0]] == "", "twice: %s", cells[0])
		assert.Check(t, name.MatchString(cells[2]), "no test: %s", line)
		rows[cells[0]] = cells[2]
	}

	numbered := 0
	for letter, last := range map[string]int{"I": 36, "W": 6, "P": 65, "E": 12, "R": 72} {
		for i := 1; i <= last; i++ {
			id := fmt.Sprint(letter, i)
			assert.Check(t, rows[id] != "", "%s is missing", id)
			numbered++
		}
	}
	assert.Assert(t, len(rows) > numbered+30, "only %d rows", len(rows))

	found := 0
	for _, dir := range []string{".", "internal/scripts", "internal/house"} {
		for _, test := range testsIn(t, dir) {
			if number, ok := strings.CutPrefix(test, "TestI"); ok && number[0] >= '0' && number[0] <= '9' {
				found++
				number, _, _ = strings.Cut(number, "_")
				row := rows["I"+strings.TrimPrefix(number, "0")]
				if dir != "." {
					test = dir + "." + test
				}
				assert.Check(t, strings.Contains(row, "`"+test+"`"), "%s is not in the row of its number", test)
			}
		}
	}
	assert.Assert(t, found > 80, "only %d tests with a number", found)
}

// testsIn returns the tests, fuzz tests and Examples of a folder.
func testsIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, file := range globAll(t, filepath.Join(dir, "*_test.go")) {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		assert.NilError(t, err)
		for _, d := range tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}
