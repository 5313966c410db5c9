package compare

import (
	"encoding/json"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/exp/apidiff"
	"gotest.tools/v3/assert"
)

const (
	theirPath = "github.com/go-zookeeper/zk"
	ourPath   = "github.com/seed-9f8420c6/zk/gozk"
)

// exports returns the types of a package, from what the compiler exports.
func exports(t *testing.T, path string) *types.Package {
	t.Helper()
	files := make(map[string]string)
	list := run(t, ".", "go", "list", "-export", "-deps", "-json=ImportPath,Export", path)
	for d := json.NewDecoder(strings.NewReader(list)); ; {
		var p struct{ ImportPath, Export string }
		if d.Decode(&p) == io.EOF {
			break
		}
		files[p.ImportPath] = p.Export
	}
	imp := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })
	p, err := imp.Import(path)
	assert.NilError(t, err)
	return p
}

// beyond is what gozk exports and go-zookeeper does not.
var beyond = []string{
	"(*Conn).Session: added", "SimpleDNSHostProvider: added", "WithConfig: added", "WithRenew: added", "WithSession: added",
}

func changes(old, new *types.Package) (incompatible, compatible []string) {
	for _, c := range apidiff.Changes(old, new).Changes {
		if c.Compatible {
			compatible = append(compatible, c.Message)
		} else {
			incompatible = append(incompatible, c.Message)
		}
	}
	return incompatible, compatible
}

// Every exported name of go-zookeeper is there, with its signature and value, and no
// more than is listed above.
func TestAPI(t *testing.T) {
	t.Parallel()
	theirs, ours := exports(t, theirPath), exports(t, ourPath)
	incompatible, compatible := changes(theirs, ours)
	assert.DeepEqual(t, incompatible, []string(nil))
	slices.Sort(compatible)
	assert.DeepEqual(t, compatible, beyond)

	// The control: one name less, and one signature that differs, are found.
	less := types.NewPackage(ourPath, "zk")
	for _, name := range ours.Scope().Names() {
		o := ours.Scope().Lookup(name)
		switch name {
		case "FLWRuok":
			continue
		case "FormatServers":
			o = types.NewFunc(token.NoPos, less, name, types.NewSignatureType(nil, nil, nil, nil, nil, false))
		}
		less.Scope().Insert(o)
	}
	incompatible, _ = changes(theirs, less)
	found := strings.Join(incompatible, "\n")
	assert.Assert(t, strings.Contains(found, "FLWRuok: removed") && strings.Contains(found, "FormatServers: changed"), found)
}
