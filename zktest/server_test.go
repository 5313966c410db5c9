package zktest

import (
	"bytes"
	"crypto/tls"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

func TestHandshake(t *testing.T) {
	e := NewEnsemble(t, 2)
	c := dial(t, e, 0)
	assert.Assert(t, c.id != 0)
	assert.Equal(t, len(c.pw), 16)
	assert.Equal(t, c.to, 5*time.Second)

	for asked, granted := range map[int32]time.Duration{-5: time.Second, 0: time.Second, 999: time.Second, 1001: 1001 * time.Millisecond, 99999999: 10 * time.Second} {
		n := open(t, e, 0)
		_, err := n.connect(wire.ConnectRequest{Timeout: asked, Password: make([]byte, 16)})
		assert.NilError(t, err)
		assert.Equal(t, n.to, granted)
	}

	t.Run("without the read-only byte", func(t *testing.T) {
		n := open(t, e, 0)
		n.writeFrame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
		body, err := n.readFrame()
		assert.NilError(t, err)
		assert.Equal(t, len(body), 36)
	})
	t.Run("unknown session", func(t *testing.T) {
		n := open(t, e, 0)
		r, err := n.connect(wire.ConnectRequest{Timeout: 5000, SessionID: 77, Password: c.pw, HasReadOnly: true})
		assert.NilError(t, err)
		assert.DeepEqual(t, r, wire.ConnectResponse{Password: make([]byte, 16), HasReadOnly: true})
		n.ended()
	})
	t.Run("wrong password ends the old connection too", func(t *testing.T) {
		old := dial(t, e, 0)
		n := open(t, e, 0)
		r, err := n.connect(wire.ConnectRequest{Timeout: 5000, SessionID: old.id, Password: make([]byte, 16), HasReadOnly: true})
		assert.NilError(t, err)
		assert.Equal(t, r.Timeout, int32(0))
		n.ended()
		old.ended()
	})
	t.Run("zxid ahead", func(t *testing.T) {
		n := open(t, e, 0)
		_, err := n.connect(wire.ConnectRequest{Timeout: 5000, LastZxidSeen: 1 << 40, Password: make([]byte, 16)})
		assert.ErrorContains(t, err, "")
	})
	t.Run("garbage", func(t *testing.T) {
		for _, b := range [][]byte{{0xff, 0xff, 0xff, 0xff}, {0, 0x10, 0, 0}, {0, 0, 0, 2, 1, 2}} {
			n := open(t, e, 0)
			n.nc.Write(b)
			n.ended()
		}
		n := dial(t, e, 0)
		n.nc.Write([]byte{0x7f, 0xff, 0xff, 0xff})
		n.ended()
	})
}

func TestTree(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)

	s, code := c.stat("/")
	assert.Equal(t, code, int32(0))
	assert.DeepEqual(t, s, wire.Stat{Cversion: -1, NumChildren: 1})
	s, _ = c.stat("/zookeeper")
	assert.DeepEqual(t, s, wire.Stat{Cversion: -2, NumChildren: 2})

	assert.Equal(t, c.create("/a", []byte("1"), wire.FlagPersistent), "/a")
	created := c.zxid
	s, _ = c.stat("/a")
	assert.Equal(t, s.Czxid, created)
	assert.Equal(t, s.Pzxid, created)
	assert.Equal(t, s.DataLength, int32(1))

	var got wire.GetDataResponse
	c.must(wire.OpGetData, wire.PathWatchRequest{Path: "/a"}, &got)
	assert.DeepEqual(t, got.Stat, s)
	assert.DeepEqual(t, got.Data, []byte("1"))

	c.create("/null", nil, 0)
	c.create("/empty", []byte{}, 0)
	c.must(wire.OpGetData, wire.PathWatchRequest{Path: "/null"}, &got)
	assert.Assert(t, got.Data == nil)
	c.must(wire.OpGetData, wire.PathWatchRequest{Path: "/empty"}, &got)
	assert.Assert(t, got.Data != nil && len(got.Data) == 0)

	s2 := c.set("/a", "22")
	assert.Equal(t, s2.Version, int32(1))
	assert.Equal(t, s2.Mzxid, c.zxid)
	assert.Equal(t, s2.Czxid, created)

	// A failed write takes a zxid, and reads show it.
	before := c.zxid
	assert.Equal(t, c.tryCreate("/a", 0), wire.ErrNodeExists)
	assert.Equal(t, c.zxid, before+1)
	c.stat("/a")
	assert.Equal(t, c.zxid, before+1)

	// Sequence numbers count every child that was ever created.
	assert.Equal(t, c.create("/a/", nil, wire.FlagPersistentSequential), "/a/0000000000")
	c.create("/a/x", nil, 0)
	assert.Equal(t, c.del("/a/x"), int32(0))
	assert.Equal(t, c.create("/a/n-", nil, wire.FlagEphemeralSequential), "/a/n-0000000002")
	s, _ = c.stat("/a")
	assert.Equal(t, s.Cversion, int32(4)) // three creates, one delete
	assert.Equal(t, s.NumChildren, int32(2))
	assert.Equal(t, s.Pzxid, c.zxid)
	s, _ = c.stat("/a/n-0000000002")
	assert.Equal(t, s.EphemeralOwner, c.id)

	var kids wire.Children2Response
	c.must(wire.OpGetChildren2, wire.PathWatchRequest{Path: "/a"}, &kids)
	assert.Equal(t, len(kids.Children), 2)

	long := string(bytes.Repeat([]byte("x"), 3))
	for _, test := range []struct {
		name string
		code int32
		want int32
	}{
		{"create below nothing", c.tryCreate("/no/x", 0), wire.ErrNoNode},
		{"create below an ephemeral node", c.tryCreate("/a/n-0000000002/x", 0), wire.ErrNoChildrenForEphemerals},
		{"create root", c.tryCreate("/", 0), wire.ErrNodeExists},
		{"create without slash", c.tryCreate("x", 0), wire.ErrBadArguments},
		{"create dot", c.tryCreate("/a/.", 0), wire.ErrBadArguments},
		{"create trailing slash", c.tryCreate("/b/", 0), wire.ErrNoNode},
		{"create double slash", c.tryCreate("//"+long, 0), wire.ErrBadArguments},
		{"create with control character", c.tryCreate("/\x01", 0), wire.ErrBadArguments},
		{"create beyond the BMP", c.tryCreate("/\U0001F600", 0), wire.ErrBadArguments},
		{"create with unknown flags", c.tryCreate("/f", 9), wire.ErrBadArguments},
		{"create TTL without ttl", c.tryCreate("/f", wire.FlagPersistentTTL), wire.ErrBadArguments},
		{"delete root", c.del("/"), wire.ErrBadArguments},
		{"delete nothing", c.del("/no"), wire.ErrNoNode},
		{"delete non-empty", c.del("/a"), wire.ErrNotEmpty},
		{"delete other version", c.call(wire.OpDelete, wire.PathVersionRequest{Path: "/a", Version: 7}, nil), wire.ErrBadVersion},
		{"set nothing", c.call(wire.OpSetData, wire.SetDataRequest{Path: "/no", Version: -1}, nil), wire.ErrNoNode},
		{"set other version", c.call(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: 0}, nil), wire.ErrBadVersion},
		{"set bad path", c.call(wire.OpSetData, wire.SetDataRequest{Path: "/a/", Version: 0}, nil), wire.ErrBadArguments},
		{"get nothing", c.watch(wire.OpGetData, "/no"), wire.ErrNoNode},
		{"children of nothing", c.watch(wire.OpGetChildren, "/no"), wire.ErrNoNode},
		{"empty ACL", c.call(wire.OpCreate, wire.CreateRequest{Path: "/q", ACL: []wire.ACL{}}, nil), wire.ErrInvalidACL},
		{"null ACL", c.call(wire.OpCreate, wire.CreateRequest{Path: "/q"}, nil), wire.ErrInvalidACL},
		{"malformed request", c.call(wire.OpGetData, wire.ErrorResponse{Err: 99}, nil), wire.ErrMarshalling},
	} {
		assert.Equal(t, test.code, test.want, test.name)
	}

	var n wire.CountResponse
	c.must(wire.OpAllChildrenNumber, wire.PathRequest{Path: "/a"}, &n)
	assert.Equal(t, n.Count, int32(2))
	c.must(wire.OpAllChildrenNumber, wire.PathRequest{Path: "/"}, &n)
	assert.Equal(t, n.Count, int32(8)) // zookeeper, quota, config, a and its two, null, empty
	var list wire.ChildrenResponse
	c.must(wire.OpGetEphemerals, wire.PathRequest{Path: "/a"}, &list)
	assert.DeepEqual(t, list.Children, []string{"/a/n-0000000002"})
	c.must(wire.OpSync, wire.PathRequest{Path: "/a"}, &wire.PathResponse{})
}

// Old releases wrap a sequence number; new ones get stuck at the last one, but for the operations of a multi.
// Children have one order, until there are other ones: that of a real server.
func TestOrderOfChildren(t *testing.T) {
	c := dial(t, NewServer(t).Ensemble, 0)
	c.create("/kids", nil, 0)
	for i := range 14 {
		c.create("/kids/"+kidName(i), nil, 0)
	}
	lists := func() [][]string {
		var r1 wire.ChildrenResponse
		var r2 wire.Children2Response
		var m wire.MultiResponse
		c.must(wire.OpGetChildren, wire.PathWatchRequest{Path: "/kids"}, &r1)
		c.must(wire.OpGetChildren2, wire.PathWatchRequest{Path: "/kids"}, &r2)
		c.must(wire.OpMultiRead, juteMulti(wire.MultiOp{Op: wire.OpGetChildren, Request: jute("/kids", false)}), &m)
		return [][]string{r1.Children, r2.Children, m.Results[0].Children}
	}
	var want []string
	for i := range 10 {
		want = append(want, kidName(i))
	}
	want = append(want, "s-169", "s-100", "s-144", "s-121")
	for range 5 {
		assert.DeepEqual(t, lists(), [][]string{want, want, want})
	}
	c.del("/kids/s-100")
	c.del("/kids/" + want[3])
	want = append(slices.Delete(want, 3, 4)[:10], "s-144", "s-121")
	assert.DeepEqual(t, lists(), [][]string{want, want, want})
}

func TestSequenceWraps(t *testing.T) {
	for version := V34; version <= V39; version++ {
		e := NewServer(t, Options{Version: version})
		c := dial(t, e.Ensemble, 0)
		c.create("/s", nil, 0)
		e.SetSequence("/s", math.MaxInt32)
		last := c.create("/s/", nil, wire.FlagPersistentSequential)
		assert.Equal(t, last, "/s/2147483647")
		s, _ := c.stat("/s")
		if version < V36 {
			assert.Equal(t, s.Pzxid, c.zxid)
			assert.Equal(t, c.create("/s/", nil, wire.FlagPersistentSequential), "/s/-2147483648")
			assert.Equal(t, c.create("/s/", nil, wire.FlagPersistentSequential), "/s/-2147483647")
			continue
		}
		assert.Equal(t, s.Pzxid, s.Czxid)
		assert.Equal(t, c.tryCreate("/s/", wire.FlagPersistentSequential), wire.ErrNodeExists)
		c.create("/s/x", nil, 0)
		assert.Equal(t, c.del(last), int32(0))
		create := wire.MultiOp{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/s/", ACL: world, Flags: wire.FlagPersistentSequential}}
		var r wire.MultiResponse
		c.must(wire.OpMulti, wire.MultiRequest{Ops: []wire.MultiOp{create, create}}, &r)
		assert.Equal(t, r.Results[0].Path, last)
		assert.Equal(t, r.Results[1].Path, "/s/-2147483648")
	}
}

func TestUnknownOperation(t *testing.T) {
	for _, test := range []struct {
		version Version
		op      wire.Op
	}{{V35, wire.OpAddWatch}, {V36, wire.OpWhoAmI}, {V34, wire.OpCreate2}, {V39, wire.OpCheck}, {V39, 4711}} {
		e := NewServer(t, Options{Version: test.version})
		op := test.op
		c := dial(t, e.Ensemble, 0)
		h, _, err := c.recv(c.send(op, wire.AddWatchRequest{Path: "/"}))
		assert.NilError(t, err)
		assert.Equal(t, h.Err, wire.ErrUnimplemented)
		assert.Equal(t, h.Zxid, int64(-1))
		c.ended()
		_, r, err := c.move(e.Ensemble, 0)
		assert.NilError(t, err)
		assert.Equal(t, r.SessionID, c.id) // the session survives
	}
}

func TestMulti(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	c.watch(wire.OpExists, "/m")
	multi := func(ops ...wire.MultiOp) []wire.MultiResult {
		t.Helper()
		var r wire.MultiResponse
		c.must(wire.OpMulti, wire.MultiRequest{Ops: ops}, &r)
		return r.Results
	}
	create := func(op wire.Op, path string, flags int32) wire.MultiOp {
		return wire.MultiOp{Op: op, Request: wire.CreateRequest{Path: path, ACL: world, Flags: flags}}
	}
	got := multi(
		create(wire.OpCreate, "/m", 0),
		create(wire.OpCreate2, "/m/s-", wire.FlagPersistentSequential),
		create(wire.OpCreateContainer, "/m/c", wire.FlagContainer),
		wire.MultiOp{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: "/m", Data: []byte("x"), Version: 0}},
		wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/m", Version: 1}},
		wire.MultiOp{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/m/c", Version: -1}},
	)
	var ops []wire.Op
	for _, r := range got {
		ops = append(ops, r.Op)
	}
	assert.DeepEqual(t, ops, []wire.Op{wire.OpCreate, wire.OpCreate2, wire.OpCreate2, wire.OpSetData, wire.OpCheck, wire.OpDelete})
	assert.Equal(t, got[1].Path, "/m/s-0000000000")
	assert.Equal(t, got[1].Stat.Czxid, c.zxid)
	assert.Equal(t, got[3].Stat.Version, int32(1))
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(1, "/m")})

	before := c.zxid
	got = multi(
		create(wire.OpCreate, "/m/new", 0),
		wire.MultiOp{Op: wire.OpCheck, Request: wire.PathVersionRequest{Path: "/m", Version: 9}},
		create(wire.OpCreate, "/m", 0),
	)
	assert.DeepEqual(t, got, []wire.MultiResult{
		{Op: wire.OpError}, {Op: wire.OpError, Err: wire.ErrBadVersion}, {Op: wire.OpError, Err: wire.ErrRuntimeInconsistency},
	})
	assert.Equal(t, c.zxid, before+1)
	_, code := c.stat("/m/new")
	assert.Equal(t, code, wire.ErrNoNode)

	assert.Equal(t, len(multi()), 0)
	assert.Equal(t, c.zxid, before+2)

	var read wire.MultiResponse
	c.must(wire.OpMultiRead, wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpGetData, Request: wire.PathWatchRequest{Path: "/m"}},
		{Op: wire.OpGetData, Request: wire.PathWatchRequest{Path: "/no"}},
		{Op: wire.OpGetChildren, Request: wire.PathWatchRequest{Path: "/m"}},
	}}, &read)
	assert.DeepEqual(t, read.Results[0].Data, []byte("x"))
	assert.Equal(t, read.Results[1].Err, wire.ErrNoNode)
	assert.DeepEqual(t, read.Results[2].Children, []string{"s-0000000000"})

	mixed := wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpGetData, Request: wire.PathWatchRequest{Path: "/m"}}, create(wire.OpCreate, "/z", 0),
	}}
	assert.Equal(t, c.call(wire.OpMulti, mixed, nil), wire.ErrMarshalling)
	assert.Equal(t, c.call(wire.OpMultiRead, mixed, nil), wire.ErrMarshalling)
}

func TestWatches(t *testing.T) {
	e := NewServer(t)
	c, other := dial(t, e.Ensemble, 0), dial(t, e.Ensemble, 0)

	assert.Equal(t, c.watch(wire.OpExists, "/w"), wire.ErrNoNode)
	assert.Equal(t, c.watch(wire.OpGetData, "/w"), wire.ErrNoNode) // sets none
	assert.Equal(t, c.watch(wire.OpGetChildren, "/"), int32(0))
	other.create("/w", nil, 0)
	body := c.took()
	assert.DeepEqual(t, body, []wire.WatcherEvent{event(1, "/w"), event(4, "/")})
	other.set("/w", "1")
	assert.Equal(t, len(c.took()), 0) // one-shot

	// One Deleted for data, exists and child watches, before the writer's own reply.
	c.watch(wire.OpGetData, "/w")
	c.watch(wire.OpExists, "/w")
	c.watch(wire.OpGetChildren, "/w")
	c.watch(wire.OpGetChildren2, "/")
	assert.Equal(t, c.del("/w"), int32(0))
	assert.DeepEqual(t, c.ezxids, []int64{c.zxid, c.zxid})
	assert.DeepEqual(t, c.events, []wire.WatcherEvent{event(2, "/w"), event(4, "/")})
	c.took()

	// Persistent and recursive.
	c.must(wire.OpAddWatch, wire.AddWatchRequest{Path: "/p", Mode: wire.AddWatchPersistent}, &wire.ErrorResponse{})
	other.must(wire.OpAddWatch, wire.AddWatchRequest{Path: "/p", Mode: wire.AddWatchPersistentRecursive}, &wire.ErrorResponse{})
	c.create("/p", nil, 0)
	c.create("/p/q", nil, 0)
	c.set("/p/q", "1")
	c.watch(wire.OpGetData, "/p") // beside the persistent watch
	c.set("/p", "1")
	c.set("/p", "2")
	c.del("/p/q")
	c.del("/p")
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(1, "/p"), event(4, "/p"), event(3, "/p"), event(3, "/p"), event(4, "/p"), event(2, "/p")})
	assert.DeepEqual(t, other.took(), []wire.WatcherEvent{event(1, "/p"), event(1, "/p/q"), event(3, "/p/q"), event(3, "/p"), event(3, "/p"), event(2, "/p/q"), event(2, "/p")})

	types := func(typ int32) wire.WatcherTypeRequest { return wire.WatcherTypeRequest{Path: "/p", Type: typ} }
	assert.Equal(t, c.call(wire.OpCheckWatches, types(wire.WatcherPersistent), nil), int32(0))
	assert.Equal(t, c.call(wire.OpRemoveWatches, types(wire.WatcherData), nil), wire.ErrNoWatcher)
	assert.Equal(t, c.call(wire.OpRemoveWatches, types(wire.WatcherPersistent), nil), int32(0))
	assert.Equal(t, c.call(wire.OpRemoveWatches, types(wire.WatcherAny), nil), wire.ErrNoWatcher)
	assert.Equal(t, c.call(wire.OpRemoveWatches, types(77), nil), wire.ErrMarshalling)
	assert.Equal(t, other.call(wire.OpRemoveWatches, types(wire.WatcherPersistentRecursive), nil), int32(0))
	c.create("/p", nil, 0)
	assert.Equal(t, len(c.took())+len(other.took()), 0)
}

func TestWatchesOfOlderReleases(t *testing.T) {
	e := NewServer(t, Options{Version: V36})
	c := dial(t, e.Ensemble, 0)
	c.must(wire.OpAddWatch, wire.AddWatchRequest{Path: "/p", Mode: wire.AddWatchPersistent}, &wire.ErrorResponse{})
	c.create("/p", nil, 0)
	assert.DeepEqual(t, c.ezxids, []int64{-1})
	c.watch(wire.OpGetData, "/p") // downgrades the data half of the persistent watch
	c.set("/p", "1")
	c.set("/p", "2")
	c.create("/p/q", nil, 0)
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(1, "/p"), event(3, "/p"), event(4, "/p")})
	assert.Equal(t, c.call(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: "/p", Type: wire.WatcherPersistent}, nil), wire.ErrMarshalling)
	assert.Equal(t, c.call(wire.OpRemoveWatches, wire.WatcherTypeRequest{Path: "/p", Type: wire.WatcherAny}, nil), int32(0))

	c.must(wire.OpAddWatch, wire.AddWatchRequest{Path: "/p", Mode: wire.AddWatchPersistentRecursive}, &wire.ErrorResponse{})
	c.create("/p/r", nil, 0)
	c.del("/p/r")
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(1, "/p/r"), event(2, "/p/r")})
}

func TestSetWatches(t *testing.T) {
	e := NewEnsemble(t, 2)
	c, w := dial(t, e, 0), dial(t, e, 1)
	for _, p := range []string{"/same", "/changed", "/gone", "/kids", "/kidsgone", "/exists"} {
		w.create(p, nil, 0)
	}
	c.must(wire.OpSync, wire.PathRequest{Path: "/"}, &wire.PathResponse{})
	floor := c.zxid
	w.set("/changed", "1")
	w.del("/gone")
	w.create("/kids/k", nil, 0)
	w.del("/kidsgone")

	n, _, err := c.move(e, 1)
	assert.NilError(t, err)
	n.must(wire.OpSetWatches, wire.SetWatchesRequest{
		RelativeZxid: floor,
		Data:         []string{"/same", "/changed", "/gone", "/kids"},
		Exist:        []string{"/exists", "/missing"},
		Child:        []string{"/same", "/kids", "/kidsgone"},
	}, nil)
	assert.DeepEqual(t, n.events, []wire.WatcherEvent{
		event(3, "/changed"), event(2, "/gone"), event(1, "/exists"), event(4, "/kids"), event(2, "/kidsgone"),
	})
	for _, z := range n.ezxids {
		assert.Equal(t, z, int64(-1))
	}
	n.took()
	// What did not fire is armed.
	w.set("/same", "1")
	w.create("/same/k", nil, 0)
	w.create("/missing", nil, 0)
	w.set("/changed", "2")
	w.set("/kids", "2")
	assert.DeepEqual(t, n.took(), []wire.WatcherEvent{event(3, "/same"), event(4, "/same"), event(1, "/missing"), event(3, "/kids")})

	n.must(wire.OpSetWatches2, wire.SetWatches2Request{RelativeZxid: floor, Data: []string{}, Exist: []string{}, Child: []string{}, Persistent: []string{"/changed"}, Recursive: []string{"/kids"}}, nil)
	assert.Equal(t, len(n.took()), 0) // no catch-up
	w.set("/changed", "3")
	w.set("/kids/k", "3")
	assert.DeepEqual(t, n.took(), []wire.WatcherEvent{event(3, "/changed"), event(3, "/kids/k")})
}

func TestACL(t *testing.T) {
	e := NewServer(t, Options{Super: "super:secret"})
	c, other := dial(t, e.Ensemble, 0), dial(t, e.Ensemble, 0)
	create := func(c *client, path string, acl ...wire.ACL) int32 {
		return c.call(wire.OpCreate, wire.CreateRequest{Path: path, ACL: acl}, &wire.PathResponse{})
	}
	auth := wire.ACL{Perms: wire.PermAll, Scheme: "auth"}
	assert.Equal(t, create(c, "/x", auth), wire.ErrInvalidACL) // nobody yet
	assert.Equal(t, create(c, "/x", wire.ACL{Perms: 31, Scheme: "digest", ID: "nocolon"}), wire.ErrInvalidACL)
	assert.Equal(t, create(c, "/x", wire.ACL{Perms: 31, Scheme: "nope", ID: "x"}), wire.ErrInvalidACL)
	assert.Equal(t, create(c, "/x", wire.ACL{Perms: 31, Scheme: "world", ID: "all"}), wire.ErrInvalidACL)

	c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("u:p")}, nil)
	assert.Equal(t, create(c, "/x", auth), int32(0))
	var acl wire.GetACLResponse
	c.must(wire.OpGetACL, wire.PathRequest{Path: "/x"}, &acl)
	assert.DeepEqual(t, acl.ACL, []wire.ACL{{Perms: 31, Scheme: "digest", ID: data.DigestID("u:p")}})

	assert.Equal(t, other.watch(wire.OpGetData, "/x"), wire.ErrNoAuth)
	assert.Equal(t, other.watch(wire.OpExists, "/x"), wire.ErrNoAuth)
	assert.Equal(t, other.call(wire.OpGetACL, wire.PathRequest{Path: "/x"}, nil), wire.ErrNoAuth)
	assert.Equal(t, other.call(wire.OpSetData, wire.SetDataRequest{Path: "/x", Version: -1}, nil), wire.ErrNoAuth)
	assert.Equal(t, other.tryCreate("/x/y", 0), wire.ErrNoAuth)
	assert.Equal(t, other.del("/x"), int32(0)) // asks for DELETE on the root

	assert.Equal(t, create(c, "/ip", wire.ACL{Perms: 31, Scheme: "ip", ID: "127.0.0.0/8"}), int32(0))
	assert.Equal(t, other.watch(wire.OpGetData, "/ip"), int32(0))
	assert.Equal(t, create(c, "/ip2", wire.ACL{Perms: 31, Scheme: "ip", ID: "10.0.0.1"}), int32(0))
	assert.Equal(t, other.watch(wire.OpGetData, "/ip2"), wire.ErrNoAuth)

	// Without ADMIN the digests are hidden.
	assert.Equal(t, create(c, "/r", wire.ACL{Perms: 31, Scheme: "digest", ID: data.DigestID("u:p")}, wire.ACL{Perms: 1, Scheme: "world", ID: "anyone"}), int32(0))
	other.must(wire.OpGetACL, wire.PathRequest{Path: "/r"}, &acl)
	assert.Equal(t, acl.ACL[0].ID, "u:x")
	other.must(wire.OpExists, wire.PathWatchRequest{Path: "/r", Watch: true}, &wire.Stat{})
	var s wire.Stat
	c.must(wire.OpSetACL, wire.SetACLRequest{Path: "/r", ACL: []wire.ACL{auth}, Version: 0}, &s)
	assert.Equal(t, s.Aversion, int32(1))
	c.set("/r", "x")
	assert.Equal(t, len(other.took()), 0) // dropped: it may not read any more

	other.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("super:secret")}, nil)
	assert.Equal(t, other.watch(wire.OpGetData, "/r"), int32(0))
	var who wire.WhoAmIResponse
	other.must(wire.OpWhoAmI, nil, &who)
	assert.DeepEqual(t, who.Infos, []wire.ClientInfo{{AuthScheme: "ip", User: "127.0.0.1"}, {AuthScheme: "super"}, {AuthScheme: "digest", User: "super"}})

	assert.Equal(t, other.call(wire.OpAuth, wire.AuthRequest{Scheme: "nope"}, nil), wire.ErrAuthFailed)
	other.ended()
}

func TestInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnsemble(t, 2, Options{InMemory: true})
		c, other := dial(t, e, 0), dial(t, e, 1)
		c.create("/e", nil, wire.FlagEphemeral)
		other.watch(wire.OpGetData, "/e")
		go func() { // keeps its session
			for range 20 {
				other.nc.Write(wire.RequestHeader{Xid: wire.XidPing, Op: wire.OpPing}.Append([]byte{0, 0, 0, 8}))
				time.Sleep(time.Second)
			}
		}()
		start := time.Now()
		time.Sleep(4 * time.Second)
		c.ping()
		c.ended() // more than 5s later, at the end of a tick
		assert.Equal(t, time.Since(start), 9500*time.Millisecond)
		_, r, err := c.move(e, 1)
		assert.NilError(t, err)
		assert.Equal(t, r.Timeout, int32(0))
		e.Close()
		time.Sleep(time.Minute)
	})
}

func TestReaping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewServer(t, Options{InMemory: true})
		c := dial(t, e.Ensemble, 0)
		c.must(wire.OpCreateContainer, wire.CreateRequest{Path: "/c", ACL: world, Flags: wire.FlagContainer}, &wire.Create2Response{})
		var made wire.Create2Response
		c.must(wire.OpCreateTTL, wire.CreateTTLRequest{Path: "/t", ACL: world, Flags: wire.FlagPersistentTTL, TTL: 2000}, &made)
		assert.Equal(t, made.Stat.EphemeralOwner, int64(0))
		gone := func(path string) bool { _, code := c.stat(path); return code == wire.ErrNoNode }
		time.Sleep(1900 * time.Millisecond)
		assert.Assert(t, !gone("/t"))
		c.set("/t", "x")
		c.create("/c/k", nil, 0)
		time.Sleep(1900 * time.Millisecond)
		assert.Assert(t, !gone("/t"))
		assert.Assert(t, !gone("/c"))
		c.del("/c/k")
		time.Sleep(200 * time.Millisecond)
		assert.Assert(t, gone("/t"))
		assert.Assert(t, gone("/c"))
	})
}

func TestFrames(t *testing.T) {
	e := NewServer(t, Options{Raw: true, FrameLog: 6})
	c := dial(t, e.Ensemble, 0)
	c.watch(wire.OpExists, "/a")
	c.create("/a", nil, 0)
	e.Cut(c.id)
	var lines []string
	for _, f := range e.Frames() {
		f.Time, f.Session = time.Time{}, 1
		lines = append(lines, f.String()[len("00:00:00.000000 "):])
		assert.Assert(t, f.Dir == Hangup || len(f.Raw) == f.Len && f.Len > 0)
	}
	assert.DeepEqual(t, lines, []string{
		`member 0 conn 1 session 0x1 -> exists xid 1 "/a"`,
		`member 0 conn 1 session 0x1 <- exists xid 1 "/a" zxid 0x1 err -101`,
		`member 0 conn 1 session 0x1 -> create xid 2 "/a"`,
		`member 0 conn 1 session 0x1 <- notification type 1 xid -1 "/a" zxid 0x2`,
		`member 0 conn 1 session 0x1 <- create xid 2 "/a" zxid 0x2`,
		`member 0 conn 1 session 0x1 x  cut`,
	})
}

// A member that is behind learns of a sequence in its turn, and nobody is told.
func TestSetSequence(t *testing.T) {
	e := NewEnsemble(t, 2)
	c, behind := dial(t, e, 0), dial(t, e, 1)
	e.Member(1).SetLag(1)
	c.create("/s", nil, 0)
	c.watch(wire.OpGetData, "/s")
	c.watch(wire.OpGetChildren, "/s")
	e.SetSequence("/s", 7)
	s, _ := behind.stat("/s")
	assert.Equal(t, s.Cversion, int32(0))
	assert.Equal(t, c.create("/s/", nil, wire.FlagPersistentSequential), "/s/0000000007")
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(wire.EventNodeChildrenChanged, "/s")})
	s, _ = behind.stat("/s")
	assert.Equal(t, s.Cversion, int32(14)) // twice the creates, but for the children that are there
	e.SetSequence("/s", math.MinInt32)
	assert.Equal(t, c.create("/s/", nil, wire.FlagPersistentSequential), "/s/-2147483648")
	assert.Equal(t, c.create("/s/", nil, wire.FlagPersistentSequential), "/s/-2147483647")
}

func TestMisuse(t *testing.T) {
	e, err := StartEnsemble(1, Options{})
	assert.NilError(t, err)
	said := func(f func()) (text any) {
		defer func() { text = recover() }()
		f()
		return nil
	}
	assert.Equal(t, said(func() { e.Member(1) }), "zktest: no member 1 in an ensemble of 1")
	assert.Equal(t, said(func() { e.Member(0).SetLag(-1) }), "zktest: lag -1")
	assert.Equal(t, said(func() { e.Fault(Rule{Skip: -1}) }), "zktest: Fault: Skip is -1")
	e.Close()
	assert.Equal(t, said(func() { e.Fault(Rule{}) }), "zktest: Fault after Close")
	_, err = StartEnsemble(0, Options{})
	assert.ErrorContains(t, err, "ensemble of 0")
	_, err = StartServer(Options{Version: 3})
	assert.ErrorContains(t, err, "unknown version")
	_, err = StartServer(Options{Version: V34, TLS: &tls.Config{}})
	assert.ErrorContains(t, err, "3.4 has no TLS")
}

func TestNames(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	var r wire.PathResponse
	c.must(wire.OpSync, wire.PathRequest{Path: "/\U0001F600"}, &r)
	assert.Equal(t, r.Path, "/\xed\xa0\xbd\xed\xb8\x80") // as Java encodes it
	assert.Equal(t, V39.String(), "3.9")
}
