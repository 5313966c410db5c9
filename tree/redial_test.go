package tree_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// After a redial the recursive mode compares all, if anything has changed on the
// servers, and per-node mode reads what has changed.
func TestR66_Redial(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, wide("/a", 10, 100)...)
		fill(t, admin, "/b")
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		r := run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		load(t, c)
		away := func(f func()) (reads int) {
			t.Helper()
			before := r.count()
			e.Member(0).Refuse(true)
			e.Cut(r.now().ID())
			for c.Live() {
				time.Sleep(time.Millisecond)
			}
			f()
			e.ForgetFrames()
			e.Member(0).Refuse(false)
			for r.count() == before || !c.Live() {
				time.Sleep(time.Millisecond)
			}
			assert.NilError(t, c.Wait(ctx, admin.Zxid()))
			reads = requests(e.Ensemble, wire.OpMultiRead, wire.OpGetData, wire.OpGetChildren2)
			same(t, c, admin)
			return reads
		}
		none := away(func() {})
		elsewhere := away(func() { _, err := admin.Set(ctx, "/b", nil, -1); assert.NilError(t, err) })
		changed := away(func() {
			_, err := admin.Set(ctx, "/a/dir-0003/node-00003", nil, -1)
			assert.NilError(t, err)
			assert.NilError(t, admin.Delete(ctx, "/a/dir-0004/node-00003", -1))
			fill(t, admin, "/a/dir-0005/new", "/a/dir-0005/new/below")
		})
		t.Logf("%d, %d and %d requests", none, elsewhere, changed)
		assert.Equal(t, none, 0)
		if perNode {
			assert.Equal(t, elsewhere, 0)
			assert.Assert(t, changed < 15, changed)
		} else {
			assert.Assert(t, elsewhere >= 1 && elsewhere <= 4, elsewhere)
			assert.Assert(t, changed >= 2 && changed <= 8, changed)
		}
		// A new session with the old watches, and one without.
		before := r.count()
		e.Expire(r.now().ID())
		fill(t, admin, "/a/renewed")
		same(t, c, admin)
		assert.Assert(t, r.count() > before)
		r.now().Close()
	})
}

// A first load that is cut off anywhere goes on with the next Run, and nothing is
// shown until it is whole.
func TestR66_LoadCutShort(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		fill(t, admin, wide("/a", 4, 30)...)
		op := wire.OpMultiRead
		if perNode {
			op = wire.OpGetData
		}
		for i := range 12 {
			shown := 0
			c := &tree.Cache{Root: "/a", PerNode: perNode, OnChange: func(changes []tree.Change) { shown = max(shown, len(changes)) }}
			s := dial(t, zk.Config{Addrs: e.Addrs()})
			cut := e.Fault(zktest.Rule{Op: op, Session: s.ID(), Skip: i, Do: zktest.CutBefore})
			r := run(t, c, s)
			same(t, c, admin)
			assert.ErrorIs(t, r.stop(), context.Canceled)
			assert.Equal(t, shown, 125)
			if i < 6 {
				<-cut.Struck()
			}
			cut.Remove()
		}
	})
}

// What a lost connection has left unread is read on the next one. In per-node mode
// nothing reports it a second time.
func TestR66_ReadCutShort(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, "/a", "/a/set", "/a/deleted", "/a/parent")
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		r := run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		load(t, c)
		for _, change := range []func() error{
			func() error { _, err := admin.Set(ctx, "/a/set", []byte("x"), -1); return err },
			func() error { return admin.Delete(ctx, "/a/deleted", -1) },
			func() error {
				_, err := admin.Create(ctx, "/a/parent/new", nil, zk.Persistent, zk.ACLOpen)
				return err
			},
		} {
			cut := e.Fault(zktest.Rule{Session: r.now().ID(), Do: zktest.CutBefore, Match: func(f zktest.Frame) bool {
				return slices.Contains([]wire.Op{wire.OpGetData, wire.OpGetChildren2, wire.OpMultiRead, wire.OpExists}, f.Op)
			}})
			assert.NilError(t, change())
			<-cut.Struck()
			same(t, c, admin)
		}
	})
}

// A copy goes on with a Session of another identity, and never goes back.
func TestR66_OtherSession(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e := zktest.NewEnsemble(t, 3)
		ctx := background(t)
		admin := dial(t, zk.Config{Addrs: e.Addrs()[:1]})
		behind := dial(t, zk.Config{Addrs: e.Addrs()[2:]})
		fill(t, admin, wide("/a", 3, 10)...)
		l := &ledger{root: "/a"}
		c := &tree.Cache{Root: "/a", PerNode: perNode, OnChange: l.take}
		l.c = c
		defer c.Close()
		e.Member(2).Freeze()
		fill(t, admin, "/a/new")
		one, cancel := context.WithCancel(ctx)
		over := make(chan error)
		go func() { over <- c.Run(one, admin) }()
		same(t, c, admin)
		cancel()
		assert.ErrorIs(t, <-over, context.Canceled)
		assert.Assert(t, !c.Live())
		at := c.Zxid()
		two, cancel := context.WithCancel(ctx)
		before := behind.Stats().Requests
		go func() { over <- c.Run(two, behind) }()
		for !c.Live() || behind.Stats().Requests == before { // it has begun to read
			time.Sleep(time.Millisecond)
		}
		_, ok := c.Get("/a/new")
		assert.Assert(t, ok && c.Zxid() == at && c.Live())
		e.Member(2).Thaw()
		fill(t, admin, "/a/newer")
		same(t, c, admin)
		cancel()
		assert.ErrorIs(t, <-over, context.Canceled)
		assert.Assert(t, l.failed.Load() == nil, "%v", l.failed.Load())
		c.Close()
		assert.Equal(t, admin.Watches().Len(), 0)
		assert.Equal(t, behind.Watches().Len(), 0)
		assert.Assert(t, c.Len() == 0 && c.Zxid() == 0)
	})
}
