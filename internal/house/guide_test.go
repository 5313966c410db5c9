package house

import (
	"flag"
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
	"unicode"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

// This file holds the pages of docs to their words: code is taken from programs
// that tests run, tests that are named exist, and links lead somewhere.

// A page says before a block of Go where that comes from: <!-- code: NAME -->. After
// a paragraph it may name the tests that show it: <!-- shown by: TestX TestY -->.
var (
	codeMark  = regexp.MustCompile(`^\s*<!-- code: ([\w-]+) -->$`)
	shownMark = regexp.MustCompile(`<!-- shown by: ([\w/. ]+) -->`)
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
)

// Pages are to be read: one of docs has at most so many lines, and README.md half.
const (
	longestPage   = 300
	longestReadme = 150
)

// reference has the pages that people look things up in. Their rows name tests or code,
// and have checks of their own.
var reference = []string{"architecture.md", "changes.md", "features.md", "guarantees.md", "guarantees-recipes.md"}

// regions returns the marked regions of programs, without their indentation.
func regions(src string) map[string]string {
	found := make(map[string]string)
	name, lines := "", []string(nil)
	for line := range strings.Lines(src) {
		line = strings.TrimRight(line, "\n")
		mark, is := strings.CutPrefix(strings.TrimSpace(line), "//doc:")
		switch {
		case is && mark == "end":
			found[name] = dedent(lines)
			name, lines = "", nil
		case is:
			name = mark
		case name != "":
			lines = append(lines, line)
		}
	}
	return found
}

func dedent(lines []string) string {
	least := -1
	for _, l := range lines {
		if n := len(l) - len(strings.TrimLeft(l, "\t")); l != "" && (least < 0 || n < least) {
			least = n
		}
	}
	out := slices.Clone(lines)
	for i, l := range out {
		if l != "" {
			out[i] = l[least:]
		}
	}
	return strings.Trim(strings.Join(out, "\n"), "\n")
}

// guideRegions are those of all programs that pages may show.
func guideRegions(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, file := range globAll(t, "docs/examples/*.go", "docs/examples/*/*.go", "examples/*/*.go", "zktest/clients/*/*.go") {
		src, err := os.ReadFile(file)
		assert.NilError(t, err)
		for name, code := range regions(string(src)) {
			_, twice := all[name]
			assert.Check(t, !twice, "two regions are called %s", name)
			all[name] = code
		}
		if _, program, ok := strings.Cut(string(src), "\npackage main\n"); ok { // a whole program goes by the name of its folder
			all[filepath.Base(filepath.Dir(file))+"-program"] = "package main\n" + strings.TrimRight(program, "\n")
		}
	}
	return all
}

// snippets returns text with each marked block of Go replaced by its region, the
// names that it shows, and what is wrong with it.
func snippets(text string, from map[string]string) (fresh string, shown, wrong []string) {
	var out []string
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		m := codeMark.FindStringSubmatch(lines[i])
		if m == nil {
			if strings.HasPrefix(lines[i], "```go") {
				wrong = append(wrong, fmt.Sprintf("line %d: code from nowhere", i+1))
			}
			out = append(out, lines[i])
			continue
		}
		code, ok := from[m[1]]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("line %d: no region %s", i+1, m[1]))
		}
		shown = append(shown, m[1])
		out = append(out, lines[i], "```go", code, "```")
		if i+1 < len(lines) && lines[i+1] == "```go" { // skip what stands there now
			for i += 2; i < len(lines) && lines[i] != "```"; i++ {
			}
		}
	}
	return strings.Join(out, "\n"), shown, wrong
}

func TestGuideSnippets(t *testing.T) {
	suite.ToRoot(t)
	update := flag.Lookup("update").Value.String() == "true"
	known, used := guideRegions(t), map[string]bool{"first": true} // in README.md
	for _, page := range globAll(t, "docs/*.md") {
		text, err := os.ReadFile(page)
		assert.NilError(t, err)
		fresh, shown, wrong := snippets(string(text), known)
		for _, w := range wrong {
			t.Errorf("%s, %s", page, w)
		}
		for _, name := range shown {
			used[name] = true
		}
		switch {
		case fresh == string(text):
		case update:
			assert.NilError(t, os.WriteFile(page, []byte(fresh), 0o644))
		default:
			t.Errorf("%s shows other code than the programs have: go test ./internal/house -run TestGuideSnippets -update", page)
		}
	}
	for name := range known {
		assert.Check(t, used[name] || strings.HasSuffix(name, "-program"), "no page shows the region %s", name)
	}
}

// The check above is worth something only if it can fail.
func TestGuideSnippetsCanFail(t *testing.T) {
	from := regions("func f() {\n\t//doc:one\n\tif x {\n\t\ty()\n\t}\n\t//doc:end\n}\n")
	assert.DeepEqual(t, from, map[string]string{"one": "if x {\n\ty()\n}"})
	good := "Text.\n\n<!-- code: one -->\n```go\nif x {\n\ty()\n}\n```\n\nMore.\n"
	fresh, shown, wrong := snippets(good, from)
	assert.Equal(t, fresh, good)
	assert.DeepEqual(t, shown, []string{"one"})
	assert.Equal(t, len(wrong), 0)
	fresh, _, _ = snippets(strings.Replace(good, "y()", "z()", 1), from)
	assert.Equal(t, fresh, good)
	for _, bad := range []string{"```go\nx()\n```\n", "<!-- code: two -->\n```go\n```\n"} {
		_, _, wrong := snippets(bad, from)
		assert.Equal(t, len(wrong), 1, bad)
	}
}

// anchors returns the anchors of a page's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for line := range strings.Lines(outsideBlocks(text)) {
		heading := strings.TrimLeft(line, "#")
		if level := len(line) - len(heading); level == 0 || level > 6 || !strings.HasPrefix(heading, " ") {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				b.WriteRune(r)
			}
		}
		name := b.String()
		for n := 1; found[name]; n++ {
			name = fmt.Sprintf("%s-%d", b.String(), n)
		}
		found[name] = true
	}
	return found
}

// outsideBlocks returns a page without its fenced blocks.
func outsideBlocks(text string) string {
	parts := strings.Split(text, "```")
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		b.WriteString(parts[i])
	}
	return b.String()
}

var span = regexp.MustCompile("`[^`\n]*`")

// outsideCode returns a page without its fenced blocks and spans of code.
func outsideCode(text string) string { return span.ReplaceAllString(outsideBlocks(text), "code") }

// deadLinks returns the links of a page that lead nowhere. Those to other sites
// are not followed.
func deadLinks(page, text string, read func(string) ([]byte, error)) (dead []string) {
	for _, m := range link.FindAllStringSubmatch(outsideCode(text), -1) {
		target := m[1] + m[2]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		file, anchor, _ := strings.Cut(target, "#")
		name, content := page, []byte(text)
		if file != "" {
			name = filepath.Join(filepath.Dir(page), filepath.FromSlash(file))
			var err error
			if content, err = read(name); err != nil {
				if info, statErr := os.Stat(name); statErr != nil || !info.IsDir() {
					dead = append(dead, target)
					continue
				}
			}
		}
		if anchor != "" && (!strings.HasSuffix(name, ".md") || !anchors(string(content))[anchor]) {
			dead = append(dead, target)
		}
	}
	return dead
}

func TestGuideLinks(t *testing.T) {
	suite.ToRoot(t)
	n := 0
	for _, page := range globAll(t, "*.md", "docs/*.md", ".github/*.md", ".github/*/*.md", "*/README.md", "*/*/README.md") {
		text, err := os.ReadFile(page)
		assert.NilError(t, err)
		for _, target := range deadLinks(page, string(text), os.ReadFile) {
			t.Errorf("%s: %s leads nowhere", page, target)
		}
		n += len(link.FindAllString(string(text), -1))
	}
	assert.Assert(t, n > 50, "only %d links were found", n)
}

func TestGuideLinksCanFail(t *testing.T) {
	read := func(name string) ([]byte, error) {
		if name == filepath.Join("docs", "b.md") {
			return []byte("# One two\n## What `Get` does, in full\n## One two\n"), nil
		}
		return nil, os.ErrNotExist
	}
	text := "# Here\n[a](b.md) [b](b.md#one-two-1) [c](b.md#what-get-does-in-full) [d](#here) [e](https://example.com/x)\n" +
		"[f](c.md) [g](b.md#three) [h](#there) `[i](not-a-link.md)`\n```\n[j](x.md)\n```\n"
	dead := deadLinks(filepath.Join("docs", "a.md"), text, read)
	assert.DeepEqual(t, dead, []string{"c.md", "b.md#three", "#there"})
}

// Pages are short, the index lists all of them, and every test that one names exists.
func TestGuidePages(t *testing.T) {
	suite.ToRoot(t)
	index, err := os.ReadFile("docs/README.md")
	assert.NilError(t, err)
	known := allTests(t)
	for _, page := range globAll(t, "docs/*.md") {
		text, err := os.ReadFile(page)
		assert.NilError(t, err)
		name := filepath.Base(page)
		assert.Check(t, strings.Count(string(text), "\n") <= longestPage, "%s is too long", page)
		assert.Check(t, name == "README.md" || strings.Contains(string(index), "]("+name+")"), "docs/README.md does not list %s", name)
		for _, m := range shownMark.FindAllStringSubmatch(string(text), -1) {
			for _, test := range strings.Fields(m[1]) {
				assert.Check(t, known[test], "%s: no %s", page, test)
			}
		}
		assert.Equal(t, strings.Count(string(text), "<!-- shown by:"), len(shownMark.FindAllString(string(text), -1)), page)
	}
	readme, err := os.ReadFile("README.md")
	assert.NilError(t, err)
	assert.Check(t, strings.Count(string(readme), "\n") <= longestReadme, "README.md is too long")
}

// sectionsWithoutProof say nothing about the code that could be wrong, or what
// TestGuideNames and TestGuideLinks look after.
var sectionsWithoutProof = []string{
	"## What it is not for", "## Is it worth it?", "## Call by call", "## Habits to give up", "## Why channels, and not callbacks",
	"## Next", "## Hints", "## Which one?",
}

// Every other section of the guide shows code that is run, or names tests.
func TestGuideSections(t *testing.T) {
	suite.ToRoot(t)
	left := make(map[string]bool)
	for _, page := range globAll(t, "docs/*.md") {
		if slices.Contains(append([]string{"README.md", "faq.md", "other-servers.md"}, reference...), filepath.Base(page)) {
			continue // lists of links, of rows with tests of their own, or of others' code
		}
		text, err := os.ReadFile(page)
		assert.NilError(t, err)
		for _, section := range strings.Split(string(text), "\n## ")[1:] {
			heading, body, _ := strings.Cut(section, "\n")
			proven := strings.Contains(body, "<!-- code: ") || strings.Contains(body, "<!-- shown by: ")
			without := slices.Contains(sectionsWithoutProof, "## "+heading)
			left["## "+heading] = left["## "+heading] || without && !proven
			assert.Check(t, proven || without, "%s: nothing shows what %q says", page, heading)
		}
	}
	for _, heading := range sectionsWithoutProof {
		assert.Check(t, left[heading], "no section %q is without proof", heading)
	}
}

// The picture of the house has every room that the client is made of.
func TestHousePicture(t *testing.T) {
	suite.ToRoot(t)
	picture, err := os.ReadFile("docs/pictures/house.svg")
	assert.NilError(t, err)
	for room := range rooms {
		name, internal := strings.CutPrefix(room, "internal/")
		if internal && !slices.Contains([]string{"suite", "samples", "scripts", "sim", "house"}, name) {
			assert.Check(t, strings.Contains(string(picture), ">"+name+"<"), "docs/pictures/house.svg lacks %s: draw it in docs/pictures", room)
		}
	}
}

// allTests returns the names of all tests and Examples, with their folder in front
// where that is not the root.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	for _, file := range globAll(t, "*_test.go", "*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go") {
		folder := ""
		if dir := filepath.Dir(file); dir != "." {
			folder = filepath.ToSlash(dir) + "."
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		assert.NilError(t, err)
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				known[folder+f.Name.Name] = true
			}
		}
	}
	return known
}
