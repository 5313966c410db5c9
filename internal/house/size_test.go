package house

import (
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
