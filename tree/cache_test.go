package tree_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
		ctx := background(t)
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

// Every Stat is exact, those of parents too; of ACLs no event tells.
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
		go func() { over <- c.Run(two, behind) }()
		time.Sleep(50 * time.Millisecond)
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

// Without a Run the copy stays, and the watches hold up no other events: they
// are gone after one session timeout.
func TestR67_Abandoned(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		for _, how := range []string{"context", "cut", "detached"} {
			t.Run(how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { abandoned(t, perNode, how) })
			})
		}
	})
}

func abandoned(t *testing.T, perNode bool, how string) {
	e := zktest.NewServer(t, zktest.Options{InMemory: true, FrameLog: -1})
	conf := zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext, Timeout: 4 * time.Second}
	ctx := t.Context()
	admin, err := zk.Dial(ctx, conf)
	assert.NilError(t, err)
	defer admin.Close()
	var ops []zk.Op
	for _, path := range append(wide("/a", 3, 900), "/b") {
		ops = append(ops, zk.CreateOp{Path: path, ACL: zk.ACLOpen})
	}
	_, err = admin.Batch(ctx, ops...)
	assert.NilError(t, err)
	s, err := zk.Dial(ctx, conf)
	assert.NilError(t, err)
	c := &tree.Cache{Root: "/a", PerNode: perNode}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan error, 1)
	go func() { over <- c.Run(running, s) }()
	assert.NilError(t, c.Wait(ctx, 0))
	switch how {
	case "context":
		cancel()
	case "cut":
		e.Cut(s.ID())
	case "detached":
		s.Detach()
	}
	assert.Assert(t, <-over != nil)
	if how == "detached" {
		time.Sleep(10 * time.Second) // longer than any watch stays
	}
	if how != "context" {
		old := s
		s, err = zk.Dial(ctx, old.Config())
		if how == "detached" { // it has expired
			assert.ErrorIs(t, err, zk.ErrExpired)
			s, err = zk.Dial(ctx, old.Config().Renew())
		}
		assert.NilError(t, err)
	}
	if how == "context" && !perNode {
		assert.Equal(t, s.Watches().Len(), 0) // taken along
	}
	assert.Assert(t, !c.Live())
	assert.Equal(t, c.Len(), 2704)
	for part := 0; part < 3; part++ { // more than a channel has room for, and of each znode
		for i := range 900 {
			_, err = admin.Set(ctx, fmt.Sprintf("/a/dir-%04d/node-%05d", part, i), nil, -1)
			assert.NilError(t, err)
		}
	}
	changed := make(chan zk.Event, 1)
	_, _, err = s.Get(ctx, "/b", changed)
	assert.NilError(t, err)
	_, err = s.Set(ctx, "/b", nil, -1)
	assert.NilError(t, err)
	assert.Equal(t, len(changed), 1)
	time.Sleep(5 * time.Second)
	assert.Equal(t, s.Watches().Len(), 0)
	assert.NilError(t, s.Close())
	_, ok := c.Get("/a/dir-0001/node-00007")
	assert.Assert(t, ok)
	c.Close()
}

// Close leaves nothing, wherever the Run is.
func TestR67_Close(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, s := server(t)
		fill(t, s, wide("/a", 5, 50)...)
		for i := range 20 {
			c := &tree.Cache{Root: "/a", PerNode: perNode}
			over := make(chan error, 1)
			go func() { over <- c.Run(t.Context(), s) }()
			switch i % 4 {
			case 1:
				load(t, c)
			case 2:
				runtime.Gosched()
			case 3:
				load(t, c)
				_, err := s.Set(background(t), "/a", nil, -1)
				assert.NilError(t, err)
			}
			if i%4 == 0 {
				time.Sleep(time.Duration(i) * 200 * time.Microsecond)
			}
			for !c.Live() {
				time.Sleep(time.Millisecond)
			}
			c.Close()
			assert.ErrorIs(t, <-over, zk.ErrClosed)
			assert.Equal(t, s.Watches().Len(), 0)
			assert.Equal(t, c.Len(), 0)
			_, ok := c.Get("/a")
			assert.Assert(t, !ok)
		}
		// With a connection that is lost nothing is waited for.
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		over := make(chan error, 1)
		go func() { over <- c.Run(t.Context(), s) }()
		load(t, c)
		e.Member(0).Refuse(true)
		e.Cut(s.ID())
		assert.ErrorIs(t, <-over, zk.ErrConnection)
		assert.Assert(t, s.Watches().Len() > 0) // for a successor
		c.Close()
		assert.Equal(t, s.Watches().Len(), 0)
		e.Member(0).Refuse(false)
		c.Close()
		new(tree.Cache).Close()
	})
}

func TestOneRunAtATime(t *testing.T) {
	_, s := server(t)
	fill(t, s, "/a")
	c := &tree.Cache{Root: "/a"}
	run(t, c, s)
	load(t, c)
	assert.ErrorIs(t, c.Run(background(t), s), zk.ErrBadArguments)
	assert.Assert(t, c.Live())
	bad := &tree.Cache{Root: "a/"}
	assert.ErrorIs(t, bad.Run(background(t), s), zk.ErrBadPath)
	assert.ErrorIs(t, bad.Run(background(t), nil), zk.ErrClosed)
	assert.ErrorIs(t, bad.Run(background(t), new(zk.Session)), zk.ErrClosed)
}

// A writer at full speed during the load of a wide znode: no event is lost, the
// session lives, memory stays bounded.
func TestR68_FullSpeed(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e := zktest.NewEnsemble(t, 1, zktest.Options{FrameLog: -1})
		admin := dial(t, zk.Config{Addrs: e.Addrs()})
		names := 20000
		if testing.Short() {
			names = 5000
		}
		paths := []string{"/w"}
		for i := range names {
			paths = append(paths, fmt.Sprintf("/w/n%06d", i))
		}
		fill(t, admin, paths...)
		ctx := background(t)
		var stop atomic.Bool
		var written atomic.Int64
		var writing sync.WaitGroup
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(1, 1))
			for !stop.Load() {
				var ops []zk.Op
				for range 200 {
					path := paths[1+rng.IntN(names)]
					ops = append(ops, zk.SetOp{Path: path, Data: []byte("y"), Version: -1}, zk.DeleteOp{Path: path + "x", Version: -1},
						zk.CreateOp{Path: path + "x", ACL: zk.ACLOpen})
				}
				res, err := admin.Batch(ctx, ops...)
				assert.Check(t, res != nil, "%v", err)
				written.Add(int64(len(res)))
			}
		})
		s := dial(t, zk.Config{Addrs: e.Addrs()})
		for written.Load() == 0 {
			runtime.Gosched()
		}
		before := written.Load()
		c := &tree.Cache{Root: "/w", PerNode: perNode}
		r := run(t, c, s)
		for s.Stats().Requests == 0 {
			runtime.Gosched()
		}
		for written.Load() < before+30000 {
			assert.Assert(t, s.Watches().Undelivered() < 65536)
			time.Sleep(10 * time.Millisecond)
		}
		stop.Store(true)
		writing.Wait()
		same(t, c, admin)
		assert.Equal(t, r.count(), 0)
	})
}

// So many distinct paths that they are not kept one by one.
func TestR68_TooManyPaths(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 150,000 events")
	}
	e := zktest.NewEnsemble(t, 1, zktest.Options{FrameLog: -1})
	admin := dial(t, zk.Config{Addrs: e.Addrs(), Timeout: 10 * time.Second})
	fill(t, admin, "/a", "/a/stays")
	s := dial(t, zk.Config{Addrs: e.Addrs(), Timeout: 10 * time.Second})
	ctx := background(t)
	c := &tree.Cache{Root: "/a"}
	r := run(t, c, s)
	load(t, c)
	// The first answer is late: all that happens meanwhile waits.
	rule := e.Fault(zktest.Rule{Dir: zktest.ToClient, Op: wire.OpMultiRead, Session: s.ID(), Match: func(zktest.Frame) bool { return true }, Delay: 4 * time.Second})
	for part := range 15 {
		var ops []zk.Op
		for i := range 5000 {
			path := fmt.Sprintf("/a/%d-%d", part, i)
			ops = append(ops, zk.CreateOp{Path: path, ACL: zk.ACLOpen}, zk.DeleteOp{Path: path, Version: -1})
		}
		_, err := admin.Batch(ctx, ops...)
		assert.NilError(t, err)
	}
	_ = rule
	fill(t, admin, "/a/last")
	same(t, c, admin)
	assert.Equal(t, r.count(), 0)
}

func TestR69_RootFlips(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t, zktest.Options{FrameLog: -1})
		ctx := background(t)
		s := dial(t, zk.Config{Addrs: e.Addrs()})
		c := &tree.Cache{Root: "/r", PerNode: perNode}
		run(t, c, s)
		load(t, c) // missing is loaded, and empty
		assert.Equal(t, c.Len(), 0)
		assert.Assert(t, c.Live() && c.Zxid() > 0)
		flip := func() {
			fill(t, admin, "/r", "/r/x")
			assert.NilError(t, tree.DeleteAll(ctx, admin, "/r"))
		}
		flips := 1000
		var before uint64
		for i := range flips {
			flip()
			if i == flips/2 {
				same(t, c, admin)
				before = heap()
			}
		}
		same(t, c, admin)
		assert.Assert(t, s.Watches().Len() <= 2, s.Watches().Len())
		assert.Assert(t, int64(heap())-int64(before) < 2<<20)
		fill(t, admin, "/r", "/r/y")
		same(t, c, admin)
		assert.Equal(t, c.Len(), 2)
		sent := s.Stats().Requests
		time.Sleep(50 * time.Millisecond)
		assert.Assert(t, s.Stats().Requests == sent, "it spins")
	})
}

func TestR70_OnChange(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, "/a", "/a/b", "/a/b/c", "/a/d")
		var mu sync.Mutex
		var got []string
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		c.OnChange = func(changes []tree.Change) {
			mu.Lock()
			defer mu.Unlock()
			for _, ch := range changes {
				sign := "*"
				switch {
				case ch.Before == nil:
					sign = "+"
				case ch.After == nil:
					sign = "-"
				}
				got = append(got, sign+ch.Path)
				n, ok := c.Get(ch.Path) // it can be read already
				assert.Check(t, ok == (ch.After != nil))
				assert.Check(t, !ok || n.Stat == ch.After.Stat)
			}
		}
		run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		take := func() string {
			t.Helper()
			same(t, c, admin)
			mu.Lock()
			defer mu.Unlock()
			text := strings.Join(got, " ")
			got = nil
			return text
		}
		assert.Equal(t, take(), "+/a +/a/b +/a/b/c +/a/d")
		_, err := admin.Multi(ctx, zk.DeleteOp{Path: "/a/b/c", Version: -1}, zk.DeleteOp{Path: "/a/b", Version: -1},
			zk.CreateOp{Path: "/a/e", ACL: zk.ACLOpen}, zk.CreateOp{Path: "/a/e/f", ACL: zk.ACLOpen}, zk.SetOp{Path: "/a/d", Version: -1})
		assert.NilError(t, err)
		assert.Equal(t, take(), "-/a/b/c -/a/b */a */a/d +/a/e +/a/e/f")
		_, err = admin.Multi(ctx, zk.CreateOp{Path: "/a/g", ACL: zk.ACLOpen}, zk.DeleteOp{Path: "/a/g", Version: -1})
		assert.NilError(t, err)
		assert.Equal(t, take(), "*/a")
	})
}

func TestR71_OwnWrites(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e := zktest.NewEnsemble(t, 3, zktest.Options{FrameLog: -1})
		ctx := background(t)
		admin := dial(t, zk.Config{Addrs: e.Addrs()[:1]})
		fill(t, admin, "/a", "/a/n")
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		r := run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		load(t, c)
		e.Member(1).SetLag(2)
		rounds := 1000
		for i := range rounds {
			if i%100 == 50 {
				e.Cut(r.now().ID())
			}
			stat, err := admin.Set(ctx, "/a/n", fmt.Append(nil, i), -1)
			assert.NilError(t, err)
			if i == rounds/50 {
				e.Member(1).SetLag(0)
			}
			if e.Member(1).Zxid() < stat.Mzxid { // what nobody writes after does not reach a member that lags
				_, err := admin.Set(ctx, "/", nil, -1)
				assert.NilError(t, err)
				_, err = admin.Set(ctx, "/", nil, -1)
				assert.NilError(t, err)
			}
			assert.NilError(t, c.Wait(ctx, stat.Mzxid))
			n, ok := c.Get("/a/n")
			assert.Assert(t, ok)
			assert.Equal(t, string(n.Data), fmt.Sprint(i))
		}
		// What happens elsewhere, or on no znode at all, is waited for as well.
		_, err := admin.Set(ctx, "/", nil, -1)
		assert.NilError(t, err)
		assert.NilError(t, c.Wait(ctx, admin.Zxid()))
		ended, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, c.Wait(ended, 1<<60), context.DeadlineExceeded)
		sent := r.now().Stats().Requests
		time.Sleep(100 * time.Millisecond)
		assert.Assert(t, r.now().Stats().Requests-sent <= 1, "it goes on for nobody")
	})
}

func TestR72_Forbidden(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, "/a", "/a/open", "/a/secret", "/a/secret/x")
		nobody := zk.ACL{{Perms: zk.PermWrite | zk.PermAdmin, Scheme: "world", ID: "anyone"}}
		_, err := admin.SetACL(ctx, "/a/secret", nobody, -1)
		assert.NilError(t, err)
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		s := dial(t, zk.Config{Addrs: e.Addrs()})
		err = c.Run(ctx, s)
		assert.ErrorIs(t, err, zk.ErrNoAuth)
		assert.ErrorContains(t, err, "/a/secret")
		assert.Assert(t, c.Len() == 0 && c.Zxid() == 0)
		_, err = admin.SetACL(ctx, "/a/secret", zk.ACLOpen, -1)
		assert.NilError(t, err)
		over := make(chan error, 1)
		go func() { over <- c.Run(ctx, s) }()
		same(t, c, admin)
		// Made while it runs: the parent's Stat shows that there is one.
		_, err = admin.Create(ctx, "/a/hidden", nil, zk.Persistent, nobody)
		assert.NilError(t, err)
		fill(t, admin, "/a/other")
		err = <-over
		assert.ErrorIs(t, err, zk.ErrNoAuth)
		assert.ErrorContains(t, err, "/a/hidden")
		_, ok := c.Get("/a/other")
		assert.Assert(t, !ok && c.Len() == 4)
		c.Close()
		assert.Equal(t, s.Watches().Len(), 0)
	})
}

func TestCacheNoData(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		ctx := background(t)
		fill(t, admin, "/a", "/a/x")
		_, err := admin.Create(ctx, "/a/large", make([]byte, 500<<10), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		c := &tree.Cache{Root: "/a", PerNode: perNode, NoData: true}
		run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
		load(t, c)
		for i := range 3 {
			nodes, _ := contents(c)
			for _, n := range nodes {
				assert.Assert(t, n.Data == nil)
			}
			n, ok := c.Get("/a/large")
			assert.Assert(t, ok && n.Stat.DataLength == 500<<10 && n.Stat.Version == int32(i))
			stat, err := admin.Set(ctx, "/a/large", make([]byte, 500<<10), -1)
			assert.NilError(t, err)
			assert.NilError(t, c.Wait(ctx, stat.Mzxid))
		}
	})
}

// A cache of everything leaves the server's own out; below a chroot there is none.
func TestCacheOfAll(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		fill(t, admin, "/a", "/a/zookeeper")
		for _, chroot := range []string{"", "/a"} {
			c := &tree.Cache{Root: "/", PerNode: perNode}
			r := run(t, c, dial(t, zk.Config{Addrs: e.Addrs(), Chroot: chroot}))
			load(t, c)
			fill(t, admin, "/a/new")
			assert.NilError(t, c.Wait(background(t), admin.Zxid()))
			got, _ := contents(c)
			var paths []string
			for path := range got {
				paths = append(paths, path)
			}
			slices.Sort(paths)
			want := "[/ /a /a/new /a/zookeeper]"
			if chroot != "" {
				want = "[/ /new /zookeeper]"
			}
			assert.Equal(t, fmt.Sprint(paths), want)
			r.stop()
			assert.NilError(t, admin.Delete(background(t), "/a/new", -1))
		}
	})
}

func TestCacheReadOnly(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		fill(t, admin, wide("/a", 2, 2)...)
		e.Member(0).SetReadOnly(true)
		s := dial(t, zk.Config{Addrs: e.Addrs(), ReadOnly: true})
		assert.Assert(t, s.ReadOnly())
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		run(t, c, s)
		load(t, c)
		assert.Equal(t, c.Len(), 7)
		_, err := tree.Get(background(t), s, "/a")
		assert.NilError(t, err)
		state, err := tree.Wait(background(t), s, "/a", func(tree.State) bool { return true })
		assert.NilError(t, err)
		assert.Equal(t, len(state.Children), 2)
		assert.ErrorIs(t, tree.MkdirAll(background(t), s, "/x", nil), zk.ErrNotReadOnly)
	})
}
