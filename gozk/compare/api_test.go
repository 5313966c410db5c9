package compare

import (
	"encoding/json"
	"fmt"
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

	ancestor   = "github.com/samuel/go-zookeeper/zk"
	ourOldPath = "github.com/seed-9f8420c6/zk/gozk/samuel/zk"
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

// The same for the ancestor, in a version that has a cluster for tests. A comparison of
// packages does not see through aliases: where ours has one, its target is compared,
// and the rest as text.
func TestAncestorsAPI(t *testing.T) {
	t.Parallel()
	theirs, target, ours := exports(t, ancestor), exports(t, ourPath), exports(t, ourOldPath)
	incompatible, _ := changes(theirs, target)
	for _, message := range incompatible {
		if message == "ServerStats.AvgLatency: changed from int64 to float64" {
			continue // by go-zookeeper: servers report fractions since 3.6
		}
		name, what, _ := strings.Cut(message, ": ")
		assert.Check(t, what == "removed" && ours.Scope().Lookup(name) != nil, message)
	}
	for _, wrong := range missing(theirs, ours) {
		t.Error(wrong)
	}

	less := types.NewPackage(ourOldPath, "zk")
	for _, name := range ours.Scope().Names() {
		if name != "StartTestCluster" {
			less.Scope().Insert(ours.Scope().Lookup(name))
		}
	}
	assert.DeepEqual(t, missing(theirs, less), []string{"StartTestCluster is missing"})
}

// missing returns what theirs exports and ours does not, in the same form.
func missing(theirs, ours *types.Package) (wrong []string) {
	for _, name := range theirs.Scope().Names() {
		their, our := theirs.Scope().Lookup(name), ours.Scope().Lookup(name)
		if !their.Exported() {
			continue
		}
		if our == nil {
			wrong = append(wrong, name+" is missing")
			continue
		}
		if tn, ok := our.(*types.TypeName); ok && tn.IsAlias() {
			if form(our.Type()) != name {
				wrong = append(wrong, name+" is another type")
			}
			continue
		}
		if a, b := describe(their), describe(our); a != b {
			wrong = append(wrong, name+": "+a+" has become "+b)
		}
	}
	return wrong
}

func form(t types.Type) string {
	return types.TypeString(types.Unalias(t), func(*types.Package) string { return "" })
}

// describe is what a user of an object sees, without packages.
func describe(o types.Object) string {
	text := form(o.Type())
	switch o := o.(type) {
	case *types.Const:
		text += " = " + o.Val().String()
	case *types.Func:
		return signature(o.Type().(*types.Signature))
	case *types.TypeName:
		if s, ok := o.Type().Underlying().(*types.Struct); ok {
			for f := range s.Fields() {
				if f.Exported() {
					text += "; " + f.Name() + " " + form(f.Type())
				}
			}
		}
		methods := types.NewMethodSet(types.NewPointer(o.Type()))
		for m := range methods.Methods() {
			if m.Obj().Exported() {
				text += "; " + m.Obj().Name() + signature(m.Obj().Type().(*types.Signature))
			}
		}
	}
	return text
}

// signature has no names of parameters.
func signature(s *types.Signature) string {
	list := func(t *types.Tuple) (out []string) {
		for v := range t.Variables() {
			out = append(out, types.TypeString(v.Type(), func(*types.Package) string { return "" }))
		}
		return out
	}
	return fmt.Sprint(list(s.Params()), s.Variadic(), list(s.Results()))
}
