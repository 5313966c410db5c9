package tree_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

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
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // it is called after Wait may have returned
				mu.Lock()
				text := strings.Join(got, " ")
				got = nil
				mu.Unlock()
				if text != "" || time.Now().After(end) {
					return text
				}
			}
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

// A znode that an ACL hides while it is shown: newer servers say nothing of what
// happens to it. Before that Run ends.
func TestR72_HiddenLater(t *testing.T) {
	modes(t, func(t *testing.T, perNode bool) {
		for _, version := range []zktest.Version{zktest.V37, zktest.V39} {
			e, admin := server(t, zktest.Options{Version: version})
			ctx := background(t)
			fill(t, admin, "/a", "/a/x")
			c := &tree.Cache{Root: "/a", PerNode: perNode}
			s := dial(t, zk.Config{Addrs: e.Addrs()})
			over := make(chan error, 1)
			go func() { over <- c.Run(ctx, s) }()
			same(t, c, admin)
			_, err := admin.SetACL(ctx, "/a/x", zk.ACL{{Perms: zk.PermWrite | zk.PermAdmin, Scheme: "world", ID: "anyone"}}, -1)
			assert.NilError(t, err)
			stat, err := admin.Set(ctx, "/a/x", []byte("hidden"), -1)
			assert.NilError(t, err)
			if version == zktest.V37 {
				err := <-over
				assert.ErrorIs(t, err, zk.ErrNoAuth)
				assert.ErrorContains(t, err, "/a/x")
			} else {
				assert.NilError(t, c.Wait(ctx, stat.Mzxid))
				assert.Assert(t, c.Live())
			}
			n, ok := c.Get("/a/x")
			assert.Assert(t, ok && string(n.Data) == "/a/x", "%q", n.Data)
			if version == zktest.V39 { // it may be read again
				_, err := admin.SetACL(ctx, "/a/x", zk.ACLOpen, -1)
				assert.NilError(t, err)
				stat, err := admin.Set(ctx, "/a/x", []byte("open"), -1)
				assert.NilError(t, err)
				assert.NilError(t, c.Wait(ctx, stat.Mzxid))
				n, _ := c.Get("/a/x")
				assert.Equal(t, string(n.Data) == "open", !perNode, "%q", n.Data)
				e.Cut(s.ID())
				assert.ErrorIs(t, <-over, zk.ErrConnection)
				s, err = s.Redial(ctx)
				assert.NilError(t, err)
				defer s.Close()
				go func() { over <- c.Run(ctx, s) }()
				_, err = admin.Set(ctx, "/a/x", []byte("next"), -1) // the redial has armed the watch again
				assert.NilError(t, err)
				same(t, c, admin)
			}
			c.Close()
			assert.Equal(t, s.Watches().Len(), 0)
		}
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
