package tree_test

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
)

func TestNode(t *testing.T) {
	n := &tree.Node{Path: "/app", Children: []*tree.Node{
		{Path: "/app/a", Data: []byte("one\n"), Children: []*tree.Node{
			{Path: "/app/a/x", Stat: zk.Stat{EphemeralOwner: 0x1f}},
			{Path: "/app/a/y", Data: []byte{1, 2, 3}},
		}},
		{Path: "/app/b", Data: []byte(strings.Repeat("long ", 20))},
	}}
	assert.Equal(t, n.String(), `/app
├── a  "one\n"
│   ├── x  ephemeral 0x1f
│   └── y  3 bytes
└── b  100 bytes
`)
	var paths []string
	for m := range n.All() {
		paths = append(paths, m.Path)
		assert.Assert(t, n.Find(m.Path) == m)
	}
	assert.DeepEqual(t, paths, []string{"/app", "/app/a", "/app/a/x", "/app/a/y", "/app/b"})
	for _, path := range []string{"", "/", "/ap", "/appa", "/app/", "/app/c", "/app/a/x/y", "/app/a/", "/app/a/z", "app/a"} {
		assert.Assert(t, n.Find(path) == nil, path)
	}
	top := &tree.Node{Path: "/", Children: []*tree.Node{n}}
	assert.Assert(t, top.Find("/app/a/x") == n.Children[0].Children[0])
	assert.Assert(t, top.Find("/") == top)
	var none *tree.Node
	assert.Assert(t, none.Find("/a") == nil && none.String() == "")
	for range none.All() {
		t.Fatal("a node of none")
	}
	for m := range n.All() {
		if m.Path == "/app/a" {
			break
		}
	}
}

// A tree that is deep is no deeper a stack.
func TestDeep(t *testing.T) {
	_, s := server(t)
	path := ""
	var paths []string
	for range 2000 {
		path += "/d"
		paths = append(paths, path)
	}
	fill(t, s, paths...)
	n, err := tree.Get(background(t), s, "/d")
	assert.NilError(t, err)
	assert.Assert(t, n.Find(path) != nil)
	assert.Equal(t, strings.Count(n.String(), "\n"), 2000)
	assert.NilError(t, tree.DeleteAll(background(t), s, "/d"))
	found, _, err := s.Exists(background(t), "/d", nil)
	assert.NilError(t, err)
	assert.Assert(t, !found)
}
