package house

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// gozkLines is how much code gozk may have at most. Whoever needs more makes it simpler first.
const gozkLines = 1600

// codeLines counts the lines that have code: no blank lines, and no comments.
func codeLines(text []byte) (n int) {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, 0)
	for last := 0; ; {
		pos, tok, lit := s.Scan()
		if tok == token.EOF {
			return n
		}
		if tok == token.SEMICOLON && lit == "\n" {
			continue
		}
		first := max(file.Line(pos), last+1)
		if end := file.Line(pos) + strings.Count(lit, "\n"); end > last {
			n += end - first + 1
			last = end
		}
	}
}

// The drop-in stays as small as it was meant to be: without tests, and without the module in it.
func TestSizeOfGozk(t *testing.T) {
	assert.Equal(t, codeLines([]byte("package p // x\n\n/*\n*/ var s = `\n\n` + // y\n\t\"\"\n")), 5)
	suite.ToRoot(t)
	n := 0
	for _, file := range globAll(t, "gozk/*.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		assert.NilError(t, err)
		lines := codeLines(text)
		assert.Check(t, strings.Count(string(text), "\n") <= 400, "%s has more than 400 lines", file)
		n += lines
	}
	assert.Check(t, n <= gozkLines, "gozk has %d lines of code, more than %d", n, gozkLines)
	assert.Check(t, n > gozkLines/2, "only %d lines of code: is it elsewhere now?", n)
}

// The rooms of the client stay small: a file that one reads in a sitting, a function that fits
// a screen, a struct that one can hold in mind. zk.go is longer than the others: it is a list of
// short methods and of the values that they take, and the root gets no further files.
func TestSizeOfClient(t *testing.T) {
	suite.ToRoot(t)
	files := append(globAll(t, "internal/*/*.go"), rootFiles...)
	checked := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		checked++
		longest := 1000
		if file == "zk.go" {
			longest = 1500
		}
		fset := token.NewFileSet()
		parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
		assert.NilError(t, err)
		lines := func(n ast.Node) int { return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1 }
		assert.Check(t, fset.File(parsed.Pos()).LineCount() <= longest, "%s has more than %d lines", file, longest)
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				assert.Check(t, lines(n) <= 70, "%s: %s has %d lines", file, n.Name.Name, lines(n))
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					assert.Check(t, s.Fields.NumFields() <= 30, "%s: %s has %d fields", file, n.Name.Name, s.Fields.NumFields())
				}
			}
			return true
		})
	}
	assert.Check(t, checked > 50, "only %d files: are they elsewhere now?", checked)
}
