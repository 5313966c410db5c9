package house

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// This file looks after what only the forge reads, and no test runs.

// Every command of make that a workflow or CONTRIBUTING.md names is there.
func TestMakeTargets(t *testing.T) {
	suite.ToRoot(t)
	makefile, err := os.ReadFile("Makefile")
	assert.NilError(t, err)
	command := regexp.MustCompile(`(?m)(?:run: |^\s+|` + "`" + `)make ([a-z][a-z-]*)`)
	n := 0
	for _, file := range globAll(t, ".github/workflows/*.yml", "*.md", "docs/*.md", ".ci/run") {
		text, err := os.ReadFile(file)
		assert.NilError(t, err)
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			n++
			assert.Check(t, strings.Contains(string(makefile), "\n"+m[1]+":"), "%s: no make %s", file, m[1])
		}
	}
	assert.Assert(t, n > 20, n)
}

// Dependabot looks at every module.
func TestDependabot(t *testing.T) {
	suite.ToRoot(t)
	text, err := os.ReadFile(".github/dependabot.yml")
	assert.NilError(t, err)
	var listed, modules []string
	for _, m := range regexp.MustCompile(`(?m)^\s+- (/\S*)$`).FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, m[1])
	}
	assert.NilError(t, filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.Name() == "go.mod":
			modules = append(modules, path.Join("/", filepath.ToSlash(filepath.Dir(name))))
		}
		return nil
	}))
	slices.Sort(listed)
	slices.Sort(modules)
	assert.DeepEqual(t, listed, modules)
}
