package tree_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestR52_FewRequests(t *testing.T) {
	e, s := server(t)
	fill(t, s, wide("/a", 100, 99)...)
	for name, f := range map[string]func() (int, error){
		"get": func() (int, error) {
			n, err := tree.Get(background(t), s, "/a")
			count := 0
			for range n.All() {
				count++
			}
			return count, err
		},
		"walk": func() (count int, err error) {
			for n, failed := range tree.Walk(background(t), s, "/a") {
				if err = failed; n != nil {
					count++
				}
			}
			return count, err
		},
		"cache": func() (int, error) {
			c := &tree.Cache{Root: "/a"}
			ctx, cancel := context.WithCancel(background(t))
			done := make(chan error)
			go func() { done <- c.Run(ctx, s) }()
			load(t, c)
			n := c.Len()
			cancel()
			assert.ErrorIs(t, <-done, context.Canceled)
			return n, nil
		},
	} {
		e.ForgetFrames()
		n, err := f()
		assert.NilError(t, err)
		assert.Equal(t, n, 10001, name)
		sent := requests(e.Ensemble, wire.OpMultiRead)
		assert.Check(t, sent <= 20, "%s: %d requests", name, sent)
		assert.Check(t, requests(e.Ensemble)-sent <= 2, "%s: others", name) // AddWatch, RemoveWatch
	}
}

// Two requests are under way at a time, and no more.
func TestR52_TwoUnderWay(t *testing.T) {
	e, s := server(t)
	fill(t, s, wide("/a", 10, 500)...)
	e.ForgetFrames()
	_, err := tree.Get(background(t), s, "/a")
	assert.NilError(t, err)
	under, most := 0, 0
	for _, f := range e.Frames() {
		if f.Op != wire.OpMultiRead {
			continue
		}
		if under++; f.Dir == zktest.ToClient {
			under -= 2
		}
		most = max(most, under)
	}
	assert.Assert(t, most <= 2 && under == 0, most)
}

// Data of all sizes below one parent never makes a reply too large.
func TestR52_MixedSizes(t *testing.T) {
	_, s := server(t)
	rng := rand.New(rand.NewPCG(1, 2))
	fill(t, s, "/a")
	want := 0
	for i := range 150 {
		size := 0
		if rng.IntN(4) == 0 {
			size = 900 << 10
		}
		want += size
		_, err := s.Create(background(t), fmt.Sprintf("/a/n%03d", i), make([]byte, size), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
	got := 0
	for n, err := range tree.Walk(background(t), s, "/a") {
		assert.NilError(t, err)
		got += len(n.Data)
	}
	assert.Equal(t, got, want+len("/a"))
}

// A server without multiRead costs one connection, which the loop gets over, and
// no more in that session.
func TestR52_OldServer(t *testing.T) {
	for _, v := range []zktest.Version{zktest.V34, zktest.V35} {
		e, s := server(t, zktest.Options{Version: v})
		fill(t, s, wide("/a", 5, 20)...)
		_, err := tree.Get(background(t), s, "/a")
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.Assert(t, !zk.Hopeless(err), "%v", err)
		lost := 0
		for range 3 {
			s, err = repeat(t, s, func(s *zk.Session) error {
				lost++
				n, err := tree.Get(background(t), s, "/a")
				if err == nil {
					assert.Equal(t, len(slices.Collect(n.All())), 106)
				}
				return err
			})
			assert.NilError(t, err)
		}
		assert.Equal(t, lost, 4) // the first was on the connection that had ended
		assert.Equal(t, requests(e.Ensemble, wire.OpMultiRead), 1)

		// A Cache takes the way of old servers by itself.
		c := &tree.Cache{Root: "/a"}
		r := run(t, c, s)
		load(t, c)
		assert.Equal(t, requests(e.Ensemble, wire.OpAddWatch), 1)
		assert.Equal(t, r.count(), 1)
		same(t, c, r.now())
		_, _, err = tree.Snapshot(background(t), r.now(), "/a")
		assert.ErrorIs(t, err, zk.ErrUnimplemented)
		assert.ErrorIs(t, err, zk.ErrNotSent)
	}
}

// The answer to another call that ends the connection teaches nothing about reads.
func TestR52_OtherUnknownOperation(t *testing.T) {
	e, s := server(t, zktest.Options{Version: zktest.V36})
	fill(t, s, wide("/a", 5, 20)...)
	f := e.Fault(zktest.Rule{Op: wire.OpWhoAmI, Delay: 300 * time.Millisecond})
	var wait sync.WaitGroup
	wait.Go(func() {
		_, err := s.WhoAmI(background(t))
		assert.Check(t, errors.Is(err, zk.ErrUnimplemented), "%v", err)
	})
	<-f.Struck()
	_, err := tree.Get(background(t), s, "/a")
	assert.ErrorIs(t, err, zk.ErrLost)
	assert.ErrorIs(t, err, zk.ErrUnimplemented)
	wait.Wait()
	s, err = repeat(t, s, func(s *zk.Session) error { return s.Sync(background(t), "/") })
	assert.NilError(t, err)
	e.ForgetFrames()
	_, err = tree.Get(background(t), s, "/a")
	assert.NilError(t, err)
	assert.Assert(t, requests(e.Ensemble, wire.OpMultiRead) > 0)
	assert.Equal(t, requests(e.Ensemble, wire.OpGetData), 0)
}

func TestR53_ReplyTooLarge(t *testing.T) {
	e := zktest.NewServer(t)
	admin := dial(t, zk.Config{Addrs: e.Addrs()})
	fill(t, admin, "/a")
	for i := range 40 {
		// The first are small, so that more are asked for at a time.
		size := 1000 << 10
		if i < 8 {
			size = 0
		}
		_, err := admin.Create(background(t), fmt.Sprintf("/a/n%02d", i), make([]byte, size), zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
	}
	s := dial(t, zk.Config{Addrs: e.Addrs(), MaxReply: 4 << 20})
	tries := 0
	_, err := repeat(t, s, func(s *zk.Session) error {
		tries++
		n, err := tree.Get(background(t), s, "/a")
		if err == nil {
			assert.Equal(t, len(n.Children), 40)
			assert.Equal(t, len(n.Children[39].Data), 1000<<10)
		}
		return err
	})
	assert.NilError(t, err)
	assert.Equal(t, tries, 2)
	// A single reply above the limit is hopeless, as for the client itself.
	small := dial(t, zk.Config{Addrs: e.Addrs(), MaxReply: 100 << 10})
	_, err = repeat(t, small, func(s *zk.Session) error {
		_, err := tree.Get(background(t), s, "/a")
		return err
	})
	assert.ErrorIs(t, err, zk.ErrTooLarge)
	assert.Assert(t, zk.Hopeless(err))
}

func TestR56_VanishingZnodes(t *testing.T) {
	e, s := server(t)
	fill(t, s, wide("/a", 20, 50)...)
	other := dial(t, zk.Config{Addrs: e.Addrs()})
	var stop atomic.Bool
	var writing sync.WaitGroup
	defer writing.Wait()
	defer stop.Store(true)
	writing.Go(func() {
		for i := 0; !stop.Load(); i++ {
			dir := fmt.Sprintf("/a/dir-%04d", i%20)
			assert.Check(t, tree.DeleteAll(t.Context(), other, dir))
			_, err := other.Create(t.Context(), dir, nil, zk.Persistent, zk.ACLOpen)
			assert.Check(t, err)
			_, err = other.Create(t.Context(), dir+"/x", nil, zk.Persistent, zk.ACLOpen)
			assert.Check(t, err)
		}
	})
	for range 30 {
		n, err := tree.Get(background(t), s, "/a")
		assert.NilError(t, err)
		assert.Assert(t, n.Path == "/a")
	}
}

func TestR56_Forbidden(t *testing.T) {
	e, s := server(t)
	fill(t, s, wide("/a", 3, 3)...)
	nobody := zk.ACL{{Perms: zk.PermAll, Scheme: "digest", ID: "nobody:x"}}
	_, err := s.SetACL(background(t), "/a/dir-0001/node-00002", nobody, -1)
	assert.NilError(t, err)
	_, err = tree.Get(background(t), s, "/a")
	assert.ErrorIs(t, err, zk.ErrNoAuth)
	assert.ErrorContains(t, err, "/a/dir-0001/node-00002")
	_, _, err = tree.Snapshot(background(t), s, "/a")
	assert.ErrorIs(t, err, zk.ErrNoAuth)
	assert.ErrorContains(t, err, "/a/dir-0001/node-00002")
	assert.Equal(t, s.Watches().Len(), 0)
	_, err = tree.Get(background(t), s, "/missing")
	assert.ErrorIs(t, err, zk.ErrNoNode)
	_, _, err = tree.Snapshot(background(t), s, "/missing")
	assert.ErrorIs(t, err, zk.ErrNoNode)
	_, err = tree.Get(background(t), s, "bad")
	assert.ErrorIs(t, err, zk.ErrBadPath)
	e.ForgetFrames()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = tree.Get(ended, s, "/a")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, requests(e.Ensemble), 0)
}

// A Walk that is left early, or that fails, yields nothing more and leaves nothing
// behind.
func TestR56_LeftEarly(t *testing.T) {
	for _, v := range []zktest.Version{zktest.V39, zktest.V35} {
		_, s := server(t, zktest.Options{Version: v})
		fill(t, s, wide("/a", 10, 100)...)
		s, err := repeat(t, s, func(s *zk.Session) error { _, err := tree.Get(background(t), s, "/a"); return err })
		assert.NilError(t, err)
		for i := range 30 {
			count := 0
			for n, err := range tree.Walk(background(t), s, "/a") {
				assert.NilError(t, err)
				assert.Assert(t, n.Children == nil)
				if count++; count > i*37 {
					break
				}
			}
		}
		_, err = s.SetACL(background(t), "/a/dir-0005", zk.ACL{{Perms: zk.PermWrite, Scheme: "world", ID: "anyone"}}, -1)
		assert.NilError(t, err)
		failed := false
		for n, err := range tree.Walk(background(t), s, "/a") {
			assert.Assert(t, !failed)
			failed = err != nil
			assert.Assert(t, failed == (n == nil))
		}
		assert.Assert(t, failed)
		assert.NilError(t, s.Sync(background(t), "/"))
	}
}

func TestWalkOrder(t *testing.T) {
	_, s := server(t)
	fill(t, s, "/a", "/a/c", "/a/b", "/a/b/z", "/a/b/y", "/a/c/x")
	var got []string
	for n, err := range tree.Walk(background(t), s, "/a") {
		assert.NilError(t, err)
		assert.Equal(t, string(n.Data), n.Path)
		got = append(got, n.Path)
	}
	assert.DeepEqual(t, got, []string{"/a", "/a/b", "/a/c", "/a/b/y", "/a/b/z", "/a/c/x"})
	for n, err := range tree.Walk(background(t), s, "/") {
		assert.NilError(t, err)
		assert.Assert(t, !strings.HasPrefix(n.Path, "/zookeeper"), n.Path)
	}
	n, err := tree.Get(background(t), s, "/zookeeper")
	assert.NilError(t, err)
	assert.Assert(t, len(n.Children) > 0)
}

func TestR57_Snapshot(t *testing.T) {
	e, s := server(t)
	w := &writer{rng: rand.New(rand.NewPCG(5, 6)), s: dial(t, zk.Config{Addrs: e.Addrs()}), root: "/app", group: 20}
	w.mayfl = w.s
	ctx := background(t)
	assert.NilError(t, w.prepare(ctx))
	var stop atomic.Bool
	var writing sync.WaitGroup
	writing.Go(func() {
		for !stop.Load() {
			if !assert.Check(t, w.step(ctx)) {
				return
			}
			time.Sleep(time.Duration(w.rng.IntN(2000)) * time.Microsecond)
		}
	})
	for range 100 {
		n, zxid, err := tree.Snapshot(ctx, s, "/app")
		assert.NilError(t, err)
		nodes := make(map[string]tree.Node)
		for m := range n.All() {
			nodes[m.Path] = *m
			assert.Assert(t, max(m.Stat.Mzxid, m.Stat.Pzxid) <= zxid)
			assert.Equal(t, len(m.Children), int(m.Stat.NumChildren), m.Path)
		}
		assert.Equal(t, torn(nodes, "/app/group/"), "")
	}
	stop.Store(true)
	writing.Wait()
	assert.Equal(t, s.Watches().Len(), 0)
	n, _, err := tree.Snapshot(ctx, s, "/app")
	assert.NilError(t, err)
	got := make(map[string]tree.Node)
	for m := range n.All() {
		got[m.Path] = tree.Node{Path: m.Path, Data: m.Data, Stat: m.Stat}
	}
	assert.Equal(t, strings.Join(differences(got, read(t, s, "/app")), "\n"), "")
}

// heap returns the bytes in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
