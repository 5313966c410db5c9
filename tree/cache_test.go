package tree_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

var looks = flag.Int("tree.looks", 20000, "Views against Multis; 1000000 is the run to publish")

// modes runs a test in both modes of the cache.
func modes(t *testing.T, f func(t *testing.T, perNode bool)) {
	t.Run("recursive", func(t *testing.T) { f(t, false) })
	t.Run("pernode", func(t *testing.T) { f(t, true) })
}

// What a View shows is never half of a Multi, while connections are cut.
func TestR62_Views(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e := zktest.NewEnsemble(t, 3, zktest.Options{FrameLog: -1})
		admin := dial(t, zk.Config{Addrs: e.Addrs()})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w := &writer{rng: rand.New(rand.NewPCG(1, 1)), s: admin, root: "/app", group: 20}
		assert.NilError(t, w.prepare(ctx))
		var ops []zk.WriteOp
		for i := range w.group {
			ops = append(ops, zk.SetOp{Path: fmt.Sprintf("/app/group/%02d", i), Data: []byte("x"), Version: -1})
		}
		_, err := admin.Multi(ctx, ops...)
		assert.NilError(t, err)
		c := &tree.Cache{Root: "/app", PerNode: perNode}
		r := run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		load(t, c)
		var stop atomic.Bool
		var busy sync.WaitGroup
		defer busy.Wait()
		defer stop.Store(true)
		busy.Go(func() {
			for !stop.Load() {
				_, err := admin.Multi(ctx, ops...)
				assert.Check(t, err)
				time.Sleep(time.Millisecond)
			}
		})
		busy.Go(func() {
			for !stop.Load() {
				time.Sleep(100 * time.Millisecond)
				e.Cut(r.now().ID())
			}
		})
		states := make(map[int64]bool)
		until := time.Now().Add(20 * time.Second)
		for n := 0; n < *looks || len(states) < 20 && time.Now().Before(until); n++ {
			if n%100 == 0 {
				runtime.Gosched()
			}
			c.View(func(v tree.View) {
				first, ok := v.Get("/app/group/00")
				assert.Assert(t, ok)
				for i := range w.group {
					n, _ := v.Get(fmt.Sprintf("/app/group/%02d", i))
					assert.Equal(t, n.Stat.Mzxid-first.Stat.Mzxid, int64(0), "torn at 0x%x", v.Zxid())
				}
				states[v.Zxid()] = true
			})
		}
		stop.Store(true)
		busy.Wait()
		same(t, c, admin)
		t.Logf("%d looks, %d states, %d redials", *looks, len(states), r.count())
		assert.Assert(t, len(states) >= 20)
	})
}

// An event that is queued behind a full channel holds showing up, not torn
// states in.
func TestR62_FullChannel(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, "/a", "/a/x", "/a/y", "/b")
		s := dial(t, zk.Config{Addrs: e.Addrs()})
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		run(t, c, s)
		load(t, c)
		full := make(chan zk.Event)
		t.Cleanup(func() { close(full) }) // so that no Close waits for it
		_, _, err := s.Get(ctx, "/b", full)
		assert.NilError(t, err)
		_, err = admin.Set(ctx, "/b", nil, -1)
		assert.NilError(t, err)
		_, err = admin.Multi(ctx, zk.SetOp{Path: "/a/x", Version: -1}, zk.SetOp{Path: "/a/y", Version: -1})
		assert.NilError(t, err)
		// The session hears of both, but the cache's events are behind the full channel.
		assert.NilError(t, s.Sync(ctx, "/"))
		before := c.Zxid()
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, c.Wait(short, s.Zxid()), context.DeadlineExceeded)
		assert.Equal(t, c.Zxid(), before)
		assert.Assert(t, c.Live())
		<-full
		same(t, c, admin)
		n, _ := c.Get("/a/y")
		assert.Equal(t, n.Stat.Version, int32(1))
		// What is undelivered may concern nobody here: showing goes on by itself.
		_, _, err = s.Get(ctx, "/b", full)
		assert.NilError(t, err)
		_, err = admin.Set(ctx, "/b", nil, -1)
		assert.NilError(t, err)
		assert.NilError(t, s.Sync(ctx, "/"))
		waited := make(chan error)
		go func() { waited <- c.Wait(ctx, s.Zxid()) }()
		time.Sleep(50 * time.Millisecond)
		<-full
		assert.NilError(t, <-waited)
	})
}

// Every Stat is exact, those of parents too; no event reports an ACL.
func TestR63_Stats(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, wide("/a", 3, 3)...)
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		load(t, c)
		step := func(f func() error) {
			t.Helper()
			assert.NilError(t, f())
			same(t, c, admin)
		}
		step(func() error { _, err := admin.Set(ctx, "/a", []byte("top"), -1); return err })
		step(func() error { return admin.Delete(ctx, "/a/dir-0001/node-00001", -1) })
		step(func() error {
			_, err := admin.Create(ctx, "/a/dir-0001/s-", nil, zk.PersistentSequential, zk.ACLOpen)
			return err
		})
		step(func() error { _, err := admin.Create(ctx, "/a/e", nil, zk.Ephemeral, zk.ACLOpen); return err })
		step(func() error { return tree.DeleteAll(ctx, admin, "/a/dir-0002") })
		step(func() error { _, err := admin.Set(ctx, "/a/e", nil, -1); return err })
		other := dial(t, zk.Config{Addrs: e.Addrs()})
		_, err := other.Create(ctx, "/a/dir-0000/e", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		step(other.Close)
		step(func() error { _, err := admin.Create(ctx, "/a/box", nil, zk.Container, zk.ACLOpen); return err })
		step(func() error { _, err := admin.Create(ctx, "/a/box/x", nil, zk.Persistent, zk.ACLOpen); return err })
		assert.NilError(t, admin.Delete(ctx, "/a/box/x", -1))
		for {
			if found, _, err := admin.Exists(ctx, "/a/box", nil); err != nil || !found {
				assert.NilError(t, err)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		same(t, c, admin)
		n, _ := c.Get("/a")
		assert.Equal(t, n.Stat.NumChildren, int32(3))
	})
}

// What changes until the watch is armed is loaded.
func TestR63_ArmedFirst(t *testing.T) {
	e, admin := server(t)
	fill(t, admin, "/a", "/a/x")
	c := &tree.Cache{Root: "/a"}
	arming := e.Fault(zktest.Rule{Op: wire.OpAddWatch, Delay: 20 * time.Millisecond})
	run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
	<-arming.Struck()
	_, err := admin.Set(background(t), "/a/x", nil, -1)
	assert.NilError(t, err)
	same(t, c, admin)
}

// A znode with another Czxid is another one.
func TestR64_Recreated(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, "/a", "/a/n", "/a/n/old")
		s := dial(t, zk.Config{Addrs: e.Addrs()})
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		r := run(t, c, s)
		load(t, c)
		round := 0
		swap := func(mode zk.Mode, ops ...zk.WriteOp) {
			t.Helper()
			round++
			kids, _, err := admin.Children(ctx, "/a/n", nil)
			assert.NilError(t, err)
			var all []zk.WriteOp
			for _, kid := range kids {
				all = append(all, zk.DeleteOp{Path: "/a/n/" + kid, Version: -1})
			}
			all = append(all, zk.DeleteOp{Path: "/a/n", Version: -1}, zk.CreateOp{Path: "/a/n", Data: fmt.Append(nil, round), ACL: zk.ACLOpen, Mode: mode})
			_, err = admin.Multi(ctx, append(all, ops...)...)
			assert.NilError(t, err)
		}
		x := zk.CreateOp{Path: "/a/n/x", ACL: zk.ACLOpen}
		for _, cut := range []bool{false, true} {
			change := func(f func()) {
				t.Helper()
				if cut {
					e.Member(0).Refuse(true)
					e.Cut(r.now().ID())
				}
				f()
				e.Member(0).Refuse(false)
				same(t, c, admin)
			}
			change(func() { swap(zk.Persistent) })
			change(func() { swap(zk.Persistent, x) })
			change(func() { swap(zk.Persistent, x) })
			change(func() { swap(zk.Ephemeral) })
			change(func() { swap(zk.Persistent) })
			fill(t, admin, "/a/n/later")
			same(t, c, admin)
			change(func() { swap(zk.Persistent, x, zk.DeleteOp{Path: "/a/n/x", Version: -1}) })
			fill(t, admin, "/a/n/x")
			same(t, c, admin)
		}
	})
}

// A list that is newer than a Deleted shows the name again: the znode is read,
// not dropped. Here the events of many arrive in one burst with the list.
func TestR65_DeletedIsRead(t *testing.T) {
	e, admin := server(t)
	ctx := background(t)
	fill(t, admin, "/a")
	var again []zk.WriteOp
	for i := range 200 {
		path := fmt.Sprintf("/a/n%03d", i)
		fill(t, admin, path)
		again = append(again, zk.DeleteOp{Path: path, Version: -1}, zk.CreateOp{Path: path, ACL: zk.ACLOpen})
	}
	s := dial(t, zk.Config{Addrs: e.Addrs()})
	c := &tree.Cache{Root: "/a", PerNode: true}
	run(t, c, s)
	load(t, c)
	for i := range 20 {
		list := e.Fault(zktest.Rule{Op: wire.OpGetChildren2, Path: "/a", Session: s.ID(), Delay: 10 * time.Millisecond})
		e.Fault(zktest.Rule{Dir: zktest.ToClient, Session: s.ID(), Delay: 20 * time.Millisecond, Match: func(f zktest.Frame) bool {
			return f.Op == wire.OpNotification && f.Event == int32(zk.Deleted)
		}})
		fill(t, admin, fmt.Sprintf("/a/m%03d", i))
		<-list.Struck()
		_, err := admin.Multi(ctx, again...)
		assert.NilError(t, err)
		same(t, c, admin)
	}
}
