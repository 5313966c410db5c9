package tree_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
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

// A cache that is closed while its events are queued behind a full channel
// leaves, and what was queued for it is in nobody's way afterwards.
func TestR67_BehindAFullChannel(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		for _, drained := range []bool{false, true} {
			e, admin := server(t)
			ctx := background(t)
			fill(t, admin, wide("/a", 3, 1000)...)
			fill(t, admin, "/b")
			s := dial(t, zk.Config{Addrs: e.Addrs(), Timeout: 2 * time.Second})
			c := &tree.Cache{Root: "/a", PerNode: perNode}
			over := make(chan error, 1)
			go func() { over <- c.Run(ctx, s) }()
			load(t, c)
			full := make(chan zk.Event)
			_, _, err := s.Get(ctx, "/b", full)
			assert.NilError(t, err)
			_, err = admin.Set(ctx, "/b", nil, -1)
			assert.NilError(t, err)
			var ops []zk.Op
			for _, path := range wide("/a", 3, 1000) {
				ops = append(ops, zk.SetOp{Path: path, Version: -1})
			}
			_, err = admin.Batch(ctx, ops...)
			assert.NilError(t, err)
			assert.NilError(t, s.Sync(ctx, "/"))
			assert.Assert(t, s.Watches().Undelivered() > 3000)
			if drained {
				time.AfterFunc(100*time.Millisecond, func() { <-full })
			}
			start := time.Now()
			c.Close()
			assert.Assert(t, time.Since(start) < 20*time.Second)
			assert.ErrorIs(t, <-over, zk.ErrClosed)
			if !drained {
				<-full
			}
			changed := make(chan zk.Event, 1)
			_, _, err = s.Get(ctx, "/b", changed)
			assert.NilError(t, err)
			_, err = s.Set(ctx, "/b", nil, -1)
			assert.NilError(t, err)
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatal("the event does not come")
			}
			assert.Equal(t, s.Watches().Len(), 0)
			assert.Equal(t, s.Watches().Undelivered(), 0)
		}
	})
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

// Close waits for the successor that somebody else is dialing, and disarms the watches there.
func TestR67_CloseWhileMoving(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		s, begin := movable(t)
		fill(t, s, wide("/a", 2, 5)...)
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		over := make(chan error, 1)
		go func() { over <- c.Run(t.Context(), s) }()
		load(t, c)
		assert.Assert(t, s.Watches().Len() > 0)
		finish := begin()
		assert.ErrorIs(t, <-over, zk.ErrMoved)
		closed := make(chan struct{})
		go func() {
			c.Close()
			close(closed)
		}()
		select {
		case <-closed: // too early, and the watches stay
		case <-time.After(20 * time.Millisecond):
		}
		next := finish()
		<-closed
		assert.Equal(t, next.Watches().Len(), 0)
	})
}

// A session that was closed has no next Run: nothing waits for one.
func TestR67_SessionClosed(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		e, admin := server(t)
		fill(t, admin, wide("/a", 2, 10)...)
		s := dial(t, zk.Config{Addrs: e.Addrs(), Timeout: 10 * time.Second})
		c := &tree.Cache{Root: "/a", PerNode: perNode}
		over := make(chan error, 1)
		go func() { over <- c.Run(t.Context(), s) }()
		load(t, c)
		assert.NilError(t, s.Close())
		assert.ErrorIs(t, <-over, zk.ErrClosed)
		for end := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
			buf := make([]byte, 1<<20)
			left := strings.Count(string(buf[:runtime.Stack(buf, true)]), "zk/tree.")
			if left == 0 {
				break
			}
			assert.Assert(t, time.Now().Before(end), "%d left", left)
		}
		assert.Equal(t, c.Len(), 23)
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
