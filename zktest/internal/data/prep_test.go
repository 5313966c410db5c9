package data

import (
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

var world = []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}

// rig is a tree whose transactions a test makes, and its watches.
type rig struct {
	t       *testing.T
	prep    *Prep
	watches *Watches[string]
	zxid    int64
	told    []string
}

func newRig(t *testing.T, o Options) *rig {
	o.Members = max(o.Members, 1)
	return &rig{t: t, prep: NewPrep(o, 0, []byte{}), watches: NewWatches[string](o.Version)}
}

func (r *rig) txn() *Txn {
	r.zxid++
	return &Txn{Zxid: r.zxid, Time: 1000 * r.zxid}
}

func (r *rig) apply(x *Txn) {
	r.prep.Head.Apply(x, func(f Effect) {
		r.watches.Fire(f, func(c string, event int32, path string, zxid int64, _ *ACL) {
			assert.Equal(r.t, zxid, x.Zxid)
			r.told = append(r.told, c+" "+path)
		})
	})
}

func (r *rig) write(req Request) int32 {
	x := r.txn()
	code := r.prep.Write(Caller{IDs: []Identity{{"ip", "127.0.0.1"}}, Session: 7}, &req, x)
	r.apply(x)
	return code
}

func (r *rig) create(path string) int32 {
	return r.write(Request{Op: wire.OpCreate, Path: path, ACL: world, TTL: -1})
}

// A write that fails takes a zxid, and changes nothing.
func TestWrite(t *testing.T) {
	r := newRig(t, Options{Version: V39})
	assert.Equal(t, r.create("/a"), int32(0))
	assert.Equal(t, r.create("/a"), wire.ErrNodeExists)
	assert.Equal(t, r.create("/b/c"), wire.ErrNoNode)
	assert.Equal(t, r.create("b"), wire.ErrBadArguments)
	assert.Equal(t, r.write(Request{Op: wire.OpSetData, Path: "/a", Data: []byte("1"), Version: 1}), wire.ErrBadVersion)
	assert.Equal(t, r.write(Request{Op: wire.OpSetData, Path: "/a", Data: []byte("1"), Version: 0}), int32(0))
	assert.Equal(t, r.write(Request{Op: wire.OpDelete, Path: "/", Version: -1}), wire.ErrBadArguments)
	tree := r.prep.Head
	assert.Equal(t, tree.Zxid, int64(7))
	s := tree.Node("/a").Stat()
	assert.DeepEqual(t, s, wire.Stat{Czxid: 1, Mzxid: 6, Pzxid: 1, Ctime: 1000, Mtime: 6000, Version: 1, DataLength: 1})
}

// Operations of a multi see those before them, and none is done if one fails.
func TestMulti(t *testing.T) {
	r := newRig(t, Options{Version: V39})
	ops := []Request{
		{Op: wire.OpCreate, Path: "/a", ACL: world, TTL: -1},
		{Op: wire.OpCreate, Path: "/a/b", ACL: world, TTL: -1},
		{Op: wire.OpDelete, Path: "/a", Version: -1},
	}
	x := r.txn()
	failed, code := r.prep.Multi(Caller{}, ops, x)
	assert.Equal(t, code, int32(0))
	var codes []int32
	for _, f := range failed {
		codes = append(codes, f.Err)
	}
	assert.DeepEqual(t, codes, []int32{0, 0, wire.ErrNotEmpty})
	assert.Equal(t, r.prep.Head.ProposalSize(x), 44+4+2*(8+4+2+4+27+5)+2+8+4) // the first two as they are
	r.apply(x)
	assert.Equal(t, r.prep.Head.Len(), 5)

	x = r.txn()
	failed, code = r.prep.Multi(Caller{}, ops[:2], x)
	assert.Equal(t, code, int32(0))
	assert.Equal(t, len(failed), 0)
	r.apply(x)
	assert.Equal(t, r.prep.Head.Node("/a/b").Stat().Czxid, x.Zxid)
	assert.Equal(t, r.prep.Head.Node("/a").NumChildren(), 1)
}

// A clone does not see what comes after it.
func TestClone(t *testing.T) {
	r := newRig(t, Options{Version: V39})
	r.create("/a")
	c := r.prep.Head.Clone()
	r.create("/a/b")
	r.write(Request{Op: wire.OpSetData, Path: "/a", Data: []byte("1"), Version: -1})
	assert.Equal(t, c.Node("/a").NumChildren(), 0)
	assert.Equal(t, len(c.Node("/a").Data), 0)
	assert.Equal(t, c.Len()+1, r.prep.Head.Len())
	assert.Assert(t, c.ApproximateSize() < r.prep.Head.ApproximateSize())
}

func TestWatchesFire(t *testing.T) {
	r := newRig(t, Options{Version: V39})
	r.create("/a")
	w := r.watches
	w.AddData("/a", "one")
	w.AddChild("/a", "one")
	w.Add(&Request{Path: "/", Flags: wire.AddWatchPersistentRecursive}, "deep")
	assert.Equal(t, w.Total(), 3)
	r.create("/a/b")
	assert.DeepEqual(t, r.told, []string{"deep /a/b", "one /a"})
	r.told = nil
	r.write(Request{Op: wire.OpDelete, Path: "/a/b", Version: -1})
	r.write(Request{Op: wire.OpDelete, Path: "/a", Version: -1})
	assert.DeepEqual(t, r.told, []string{"deep /a/b", "one /a", "deep /a"})
	assert.DeepEqual(t, w.DataPaths(), []string{"/"})
	w.Forget("deep")
	assert.Equal(t, w.Total(), 0)
	assert.Assert(t, slices.Equal(w.DataPaths(), nil))
}
