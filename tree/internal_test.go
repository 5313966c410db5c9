package tree

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// These tests take the steps of a Run one by one, where to hit upon them from
// outside would be luck.

func steps(t *testing.T, root string, perNode bool) (*Cache, *keeper, *zk.Session) {
	e := zktest.NewServer(t)
	s, err := zk.Dial(t.Context(), zk.Config{Addrs: e.Addrs()})
	assert.NilError(t, err)
	t.Cleanup(func() { s.Close() })
	for _, path := range []string{root, root + "/x", root + "/y"} {
		_, err := s.Create(t.Context(), path, nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
	c := &Cache{Root: root, PerNode: perNode}
	k, err := c.begin(s, false, func(error) {})
	assert.NilError(t, err)
	t.Cleanup(func() { k.end(errCacheClosed) })
	return c, k, s
}

func readStep(t *testing.T, k *keeper) {
	t.Helper()
	for len(k.f.work) > 0 || k.f.all {
		assert.NilError(t, k.read(t.Context()))
	}
}

// An event that is in the channel holds showing up, even if nobody has taken it.
func TestR62_EventInTheChannel(t *testing.T) {
	for _, perNode := range []bool{false, true} {
		c, k, s := steps(t, "/a", perNode)
		if !perNode {
			assert.NilError(t, s.AddWatch(t.Context(), "/a", zk.WatchRecursive, k.f.events))
			k.f.armed = true
		}
		readStep(t, k)
		shown, err := k.show(t.Context())
		assert.NilError(t, err)
		assert.Assert(t, shown && c.Len() == 3)
		before := c.Zxid()
		_, err = s.Multi(t.Context(), zk.SetOp{Path: "/a/x", Version: -1}, zk.SetOp{Path: "/a/y", Version: -1})
		assert.NilError(t, err)
		assert.Equal(t, len(k.f.events), 2)
		shown, err = k.show(t.Context())
		assert.NilError(t, err)
		assert.Assert(t, !shown && c.Zxid() == before)
		readStep(t, k)
		shown, err = k.show(t.Context())
		assert.NilError(t, err)
		assert.Assert(t, shown && c.Zxid() == s.Zxid())
		n, _ := c.Get("/a/y")
		assert.Equal(t, n.Stat.Version, int32(1))
	}
}

// A list that was executed after a znode was made again is taken before the
// Deleted is, which came first.
func TestR65_ListBeforeDeleted(t *testing.T) {
	c, k, s := steps(t, "/a", true)
	readStep(t, k)
	_, err := k.show(t.Context())
	assert.NilError(t, err)
	_, err = s.Multi(t.Context(), zk.DeleteOp{Path: "/a/x", Version: -1}, zk.CreateOp{Path: "/a/x", Data: []byte("new"), ACL: zk.ACLOpen})
	assert.NilError(t, err)
	var events []zk.Event
	for len(k.f.events) > 0 {
		events = append(events, <-k.f.events)
	}
	assert.Assert(t, len(events) >= 2)
	for _, ev := range events { // as if the list had been under way because of another child
		if ev.Type == zk.Child {
			k.f.note(ev)
		}
	}
	readStep(t, k)
	for _, ev := range events {
		if ev.Type != zk.Child {
			k.f.note(ev)
		}
	}
	readStep(t, k)
	shown, err := k.show(t.Context())
	assert.NilError(t, err)
	n, ok := c.Get("/a/x")
	assert.Assert(t, shown && ok && string(n.Data) == "new")
}

// What waits to be read is bounded: beyond it all is compared.
func TestR68_Bounded(t *testing.T) {
	_, k, _ := steps(t, "/a", false)
	f := k.f
	f.all = false
	f.staged["/a/z"] = nil
	for i := range maxNoted + 1 {
		f.note(zk.Event{Type: zk.Changed, Path: "/a/" + string(rune(0x4e00+i%20000)) + string(rune(0x4e00+i/20000))})
		f.note(zk.Event{Type: zk.Changed, Path: "/a/x"}) // one entry, however often
	}
	assert.Assert(t, f.all && len(f.work) < 10 && len(f.staged) == 0, "%d", len(f.work))
	f.note(zk.Event{Type: zk.Changed, Path: "/b"}) // not ours
	_, ok := f.work["/b"]
	assert.Assert(t, !ok)
}

// What a server lacks is kept with the watches of a session.
func TestLackIsForgotten(t *testing.T) {
	_, _, s := steps(t, "/a", false)
	l := lackOf(s)
	assert.Assert(t, lackOf(s) == l && !l.has(multiRead))
	l.note(multiRead)
	assert.Assert(t, lackOf(s).has(multiRead) && !l.has(addWatch) && !l.has(createStat) && !l.has(large))
	assert.Assert(t, lackOf(new(zk.Session)) != l)
	assert.ErrorIs(t, l.learn(context.Canceled, multiRead), context.Canceled)
}

// Entries of a first load are linked only if they are a whole tree.
func TestLink(t *testing.T) {
	entries := func(text string) (list []*entry) { // path:children …
		for _, word := range strings.Fields(text) {
			path, n, _ := strings.Cut(word, ":")
			kids, err := strconv.Atoi(n)
			assert.NilError(t, err)
			list = append(list, &entry{path: path, stat: zk.Stat{NumChildren: int32(kids)}})
		}
		return list
	}
	for text, want := range map[string]bool{
		"/a:0":                                 true,
		"/a:2 /a/x:1 /a/y:0 /a/x/z:0":          true,
		"/a:2 /a/x:0 /a/y:2 /a/y/p:0 /a/y/q:0": true,
		"/:1 /a:0":                             true,
		"/a:1":                                 false, // one was not read
		"/a:2 /a/x:0":                          false,
		"/a:1 /a/x:0 /a/y:0":                   false, // one too many
		"/a:0 /a/x:0":                          false,
		"/a:1 /a/x:0 /a/x/y:0":                 false,
		"/a:1 /a/x:0 /a/gone/y:0":              false, // its parent is not there
	} {
		list := entries(text)
		assert.Equal(t, link(list, ""), want, text)
		linked := 0
		for _, e := range list {
			for i, kid := range e.children() {
				linked++
				assert.Assert(t, parent(kid.path) == e.path && (i == 0 || e.kids.list[i-1].path < kid.path), text)
			}
		}
		if want {
			assert.Equal(t, linked, len(list)-1, text)
		} else {
			assert.Equal(t, linked, 0, text)
		}
	}
	list := entries("/:2 /a:0") // the server's own is counted, and left out
	assert.Assert(t, link(list, "/") && len(list[0].children()) == 1)
}
