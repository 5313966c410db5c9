package tree_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pkg/errors"
	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var realMigrations = flag.Int("tree.real", 30, "migrations of each random run on real servers; 200 is the run to publish")

// TestR62_RandomApache is TestR62_Random on three real servers behind proxies
// that cut, and that hold all up until the session has expired.
func TestR62_RandomApache(t *testing.T) {
	for _, release := range apache.Tested() {
		for _, perNode := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/pernode=%v", release, perNode), func(t *testing.T) {
				apache.Need(t)
				e := apache.New(t, apache.Config{Release: release, Members: 3})
				randomReal(t, e, perNode)
			})
		}
	}
}

func randomReal(t *testing.T, e *apache.Ensemble, perNode bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var proxies []*zktest.Proxy
	var addrs []string
	for i := range e.Len() {
		p := zktest.NewProxy(t, e.Member(i).Addr(), zktest.ProxyOptions{FrameLog: -1})
		proxies = append(proxies, p)
		addrs = append(addrs, p.Addr())
	}
	each := func(f func(p *zktest.Proxy)) {
		for _, p := range proxies {
			f(p)
		}
	}
	w := &writer{rng: rand.New(rand.NewPCG(11, 2)), root: "/app", group: 8}
	var err error
	w.s, err = zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), Timeout: 30 * time.Second})
	assert.NilError(t, err)
	defer func() { w.s.Close() }()
	w.mayfl, err = zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), Timeout: 30 * time.Second})
	assert.NilError(t, err)
	defer func() { w.mayfl.Close() }()
	assert.NilError(t, w.prepare(ctx))
	l := &ledger{root: w.root}
	c := &tree.Cache{Root: w.root, PerNode: perNode, OnChange: l.take}
	l.c = c
	s, err := zk.Dial(ctx, zk.Config{Addrs: addrs, Timeout: time.Second})
	assert.NilError(t, err)
	r := run(t, c, s)

	var writing sync.WaitGroup
	stop := make(chan struct{})
	var fault error
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if fault = w.step(ctx); fault != nil {
				return
			}
			if w.rng.IntN(200) == 0 {
				w.mayfl.Close() // its ephemerals go
				w.mayfl, fault = zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), Timeout: 30 * time.Second})
				if fault != nil {
					return
				}
			}
			time.Sleep(time.Duration(w.rng.IntN(20)) * time.Millisecond)
		}
	})
	rng := rand.New(rand.NewPCG(11, 1))
	expired := 0
	for i := 0; r.count() < *realMigrations && l.failed.Load() == nil && ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		if i%20 == 10 {
			id := r.now().ID()
			each(func(p *zktest.Proxy) { p.Hold(zktest.FromClient) })
			time.Sleep(3 * time.Second)
			each(func(p *zktest.Proxy) { p.Cut() })
			each(func(p *zktest.Proxy) { p.Release(zktest.FromClient) })
			assert.NilError(t, c.Wait(ctx, w.s.Zxid()))
			if r.now().ID() != id {
				expired++
			}
			continue
		}
		each(func(p *zktest.Proxy) { p.Cut() })
	}
	close(stop)
	writing.Wait()
	assert.NilError(t, fault)
	if text := l.failed.Load(); text != nil {
		t.Fatal(*text)
	}
	same(t, c, w.s)
	t.Logf("%d redials, %d of them after an expiry, %d znodes, %d states shown", r.count(), expired, c.Len(), l.shown)
	assert.Assert(t, expired > 0)
	assert.ErrorIs(t, r.stop(), context.Canceled)
}

// What the package does on real servers of every release.
func TestApache(t *testing.T) {
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release})
			s := dial(t, zk.Config{Addrs: e.Addrs()})
			ctx := background(t)
			do := func(f func(s *zk.Session) error) {
				t.Helper()
				var err error
				s, err = repeat(t, s, f)
				assert.NilError(t, err)
			}
			do(func(s *zk.Session) error { return tree.MkdirAll(ctx, s, "/a/b/c", nil) })
			do(func(s *zk.Session) error { _, err := tree.Put(ctx, s, "/a/x/y", []byte("z"), nil); return err })
			fill(t, s, wide("/w", 20, 50)...)
			var top *tree.Node
			do(func(s *zk.Session) (err error) { top, err = tree.Get(ctx, s, "/w"); return err })
			assert.Equal(t, len(top.Children), 20)
			var b bytes.Buffer
			do(func(s *zk.Session) error {
				b.Reset()
				return tree.Export(ctx, s, "/w", &b, tree.Options{ACLs: true})
			})
			do(func(s *zk.Session) error {
				return tree.Import(ctx, s, "/v", bytes.NewReader(b.Bytes()), tree.Options{ACLs: true, Overwrite: true})
			})
			do(func(s *zk.Session) error { return tree.Copy(ctx, s, "/u", s, "/v", tree.Options{Overwrite: true}) })
			_, _, err := tree.Snapshot(ctx, s, "/u")
			assert.Assert(t, err == nil || errors.Is(err, zk.ErrUnimplemented), "%v", err)
			admin := dial(t, zk.Config{Addrs: e.Addrs()})
			modes(t, func(t *testing.T, perNode bool) {
				c := &tree.Cache{Root: "/", PerNode: perNode}
				r := run(t, c, dial(t, zk.Config{Addrs: e.Addrs()}))
				load(t, c)
				_, err := admin.Set(ctx, "/u/dir-0001", nil, -1)
				assert.NilError(t, err)
				assert.NilError(t, c.Wait(ctx, admin.Zxid()))
				n, ok := c.Get("/u/dir-0001")
				assert.Assert(t, ok && n.Data == nil)
				assert.Equal(t, c.Len(), 3*1021+6)
				r.stop()
			})
			do(func(s *zk.Session) error { return tree.DeleteAll(ctx, s, "/u") })
			state, err := tree.Wait(ctx, s, "/u", func(st tree.State) bool { return !st.Exists })
			assert.NilError(t, err)
			assert.Assert(t, !state.Exists)
		})
	}
}
