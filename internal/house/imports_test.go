package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/internal/suite"
)

const module = "github.com/seed-9f8420c6/zk"

// rooms says what the packages of each folder may import besides the standard
// library and their own folder. Folders of the root module that are missing
// here are not allowed; "." is the root.
var rooms = map[string][]string{
	".": {
		"wire", "sasl", "internal/acl", "internal/answers", "internal/calls", "internal/doors", "internal/flight", "internal/handover", "internal/handshake", "internal/hooks",
		"internal/hosts", "internal/modes", "internal/pipeline", "internal/registry", "internal/rescue",
		"internal/watches", "internal/zpath",
		"github.com/pkg/errors",
	},
	"wire":       {},
	"sasl":       {},
	"fourletter": {},
	"zktest":     {"wire", "internal/talk"}, // never zk: client and server share no bug above wire

	"internal/acl":       {"wire"},
	"internal/answers":   {"wire"},
	"internal/calls":     {"wire", "internal/interlock", "internal/limits", "internal/pipeline", "internal/registry", "internal/watches"},
	"internal/doors":     {"sasl", "internal/hosts", "github.com/pkg/errors"},
	"internal/fifo":      {},
	"internal/flight":    {},
	"internal/frames":    {"wire"},
	"internal/handover":  {"wire", "internal/watches", "internal/zpath"},
	"internal/handshake": {"wire", "github.com/pkg/errors"},
	"internal/liveness":  {"internal/fifo"},
	"internal/interlock": {"internal/watches"},
	"internal/zpath":     {},
	"internal/pipeline":  {"wire", "internal/fifo", "internal/frames", "internal/liveness", "internal/rescue", "github.com/pkg/errors"},
	"internal/rescue":    {},
	"internal/talk":      {"wire"},
	"internal/hooks":     {},
	"internal/hosts":     {},
	"internal/limits":    {},
	"internal/modes":     {"wire"},
	"internal/order":     {"internal/fifo"},
	"internal/place":     {},
	"internal/registry":  {"wire", "internal/handover", "internal/limits", "internal/order", "internal/place", "internal/watches", "internal/zpath"},
	"internal/watches":   {"wire"},
	"tap":                {"wire", "internal/talk"},
	"metrics":            {".", "internal/talk"},
	"zkdebug":            {".", "metrics", "tap"},
	"tree":               {".", "github.com/pkg/errors"},
	"recipe":             {".", "tree"},
	"examples":           {".", "recipe", "tree", "zktest", "fourletter"},

	// What docs shows, and the program that draws its pictures.
	"docs": {".", "recipe", "tree", "sasl", "zktest", "fourletter", "metrics"},

	// For tests: no other room may import them.
	"internal/samples": {"wire"},
	"internal/suite":   {".", "wire", "zktest", "internal/limits", "gotest.tools/v3/assert"},

	// Tests only, which may import all that they are about.
	"internal/scripts": {},
	"internal/sim":     {},
	"internal/house":   {},
}

// rootFiles are the only files of the client itself.
var rootFiles = []string{"doc.go", "zk.go", "session.go", "dial.go", "watch.go", "errors.go"}

// listed is a package as go list prints it.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string // of its non-test files
}

// room returns the first folder of a package of this module; each package below
// internal is a room of its own.
func room(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	rest, ok := strings.CutPrefix(path, module+"/")
	first, below, _ := strings.Cut(rest, "/")
	if first == "internal" {
		second, _, _ := strings.Cut(below, "/")
		first += "/" + second
	}
	return first, ok
}

// wrongImports names every import that rooms does not allow.
func wrongImports(packages []listed) []string {
	var wrong []string
	for _, p := range packages {
		from, _ := room(p.ImportPath)
		allowed, ok := rooms[from]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: no such room", p.ImportPath))
			continue
		}
		for _, imp := range p.Imports {
			to, ours := room(imp)
			switch first, _, _ := strings.Cut(imp, "/"); {
			case ours && (to == from || slices.Contains(allowed, to)):
			case !ours && (!strings.Contains(first, ".") || slices.Contains(allowed, imp)): // no dot: standard library
			default:
				wrong = append(wrong, fmt.Sprintf("%s imports %s", p.ImportPath, imp))
			}
		}
	}
	return wrong
}

func TestImports(t *testing.T) {
	suite.ToRoot(t)
	out := goCommand(t, "list", "-json=ImportPath,Dir,GoFiles,Imports", "./...")
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		assert.NilError(t, err)
		packages = append(packages, p)
		for _, name := range p.GoFiles { // which makes a cached result one of these files
			_, err := os.Stat(filepath.Join(p.Dir, name))
			assert.NilError(t, err)
		}
	}
	assert.Assert(t, len(packages) > 1, "go list found %v", packages)
	assert.DeepEqual(t, wrongImports(packages), []string(nil))
}

// The check above is worth something only if it can fail.
func TestWrongImports(t *testing.T) {
	for _, test := range []struct {
		from, imp string
		ok        bool
	}{
		{"", "net", true},
		{"", "encoding/binary", true},
		{"", module + "/wire", true},
		{"", module + "/zktest", false},
		{"", "github.com/pkg/errors", true},
		{"", "gotest.tools/v3/assert", false},
		{"/wire", "github.com/pkg/errors", false},
		{"/wire", module, false},
		{"/sasl", module + "/wire", false},
		{"/zktest", module + "/wire", true},
		{"/zktest", module, false},
		{"/zktest/apache", module, false},
		{"/zktest/apache/install", module + "/zktest/apache", true},
		{"/recipe", module, true},
		{"/recipe", module + "/zktest", false},
		{"/recipe", module + "/wire", false},
		{"/examples/redial", module, true},
		{"/examples/redial", module + "/wire", false},
		{"/examples/redial", module + "/zktest/apache", true},
		{"/tree", module, true},
		{"/tree", module + "/zktest", false},
		{"/tree", module + "/wire", false},
		{"/examples/config", module + "/tree", true},
		{"", module + "/tree", false},
		{"/internal/x", "net", false},
		{"/internal/fifo", "net", true},
		{"/internal/watches", module + "/wire", true},
		{"/internal/watches", module + "/internal/order", false},
		{"/internal/watches", module, false},
		{"", module + "/internal/registry", true},
		{"", module + "/internal/order", false},
		{"/zktest", module + "/internal/fifo", false},
		{"/zktest", module + "/internal/talk", true},
		{"/tap", module + "/internal/talk", true},
		{"/tap", module, false},
		{"/internal/suite", module, true},
		{"/internal/suite", module + "/zktest/apache", true},
		{"/internal/suite", module + "/internal/watches", false},
		{"", module + "/internal/suite", false},
		{"/zktest", module + "/internal/suite", false},
		{"/examples/redial", module + "/internal/suite", false},
	} {
		wrong := wrongImports([]listed{{ImportPath: module + test.from, Imports: []string{test.imp}}})
		assert.Equal(t, len(wrong) == 0, test.ok, "%q imports %q: %v", test.from, test.imp, wrong)
	}
}

func TestRootFiles(t *testing.T) {
	suite.ToRoot(t)
	files, err := filepath.Glob("*.go")
	assert.NilError(t, err)
	for _, f := range files {
		assert.Check(t, strings.HasSuffix(f, "_test.go") || slices.Contains(rootFiles, f), "%s does not belong in the root", f)
	}
}

func TestRequirements(t *testing.T) {
	suite.ToRoot(t)
	var mod struct {
		Module  struct{ Path string }
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []any
		Tool    []any
	}
	assert.NilError(t, json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod))
	var direct, indirect []string
	for _, r := range mod.Require {
		if r.Indirect {
			indirect = append(indirect, r.Path)
		} else {
			direct = append(direct, r.Path)
		}
	}
	slices.Sort(direct)
	assert.Equal(t, mod.Module.Path, module)
	assert.DeepEqual(t, direct, []string{"github.com/pkg/errors", "gotest.tools/v3"})
	assert.DeepEqual(t, indirect, []string{"github.com/google/go-cmp"}) // of gotest.tools
	assert.Assert(t, len(mod.Replace) == 0 && len(mod.Tool) == 0, "%+v", mod)
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	assert.NilError(t, err, "%v", cmd.Args)
	return out
}

// moduleImports says what the modules beside the root may import of it, besides the
// standard library: gozk needs nothing but the public API.
var moduleImports = map[string][]string{
	"gozk":        {module, module + "/recipe", module + "/fourletter"},
	"gozk/samuel": {module + "/gozk", module + "/zktest", module + "/zktest/apache"},
}

func TestModuleImports(t *testing.T) {
	suite.ToRoot(t)
	for dir, allowed := range moduleImports {
		out := goCommand(t, "list", "-C", dir, "-json=ImportPath,Imports", "./...")
		found := 0
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var p listed
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else {
				assert.NilError(t, err)
			}
			for _, imp := range p.Imports {
				first, _, _ := strings.Cut(imp, "/")
				if strings.Contains(first, ".") {
					found++
					assert.Check(t, slices.Contains(allowed, imp), "%s imports %s", p.ImportPath, imp)
				}
			}
		}
		assert.Equal(t, found >= len(allowed), true, "%s imports %d packages", dir, found)
	}
}
