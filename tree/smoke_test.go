package tree_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestSmoke(t *testing.T) {
	for _, v := range []zktest.Version{zktest.V39, zktest.V35} {
		e := zktest.NewServer(t, zktest.Options{Version: v})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		s, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if err := tree.MkdirAll(ctx, s, fmt.Sprintf("/a/d%03d", i), nil); err != nil {
				t.Fatal(err)
			}
			for j := range 20 {
				_, err := tree.Put(ctx, s, fmt.Sprintf("/a/d%03d/n%02d", i, j), []byte("hello"), nil)
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		start := time.Now()
		n, err := tree.Get(ctx, s, "/a")
		for err != nil {
			t.Log(err, zk.Hopeless(err))
			if s, err = s.Redial(ctx); err != nil {
				t.Fatal(err)
			}
			n, err = tree.Get(ctx, s, "/a")
		}
		t.Log(time.Since(start), len(n.String()), n.Find("/a/d003/n04"))
		n, z, err := tree.Snapshot(ctx, s, "/a")
		t.Log(len(n.String()), z, err)
		s, err = s.Redial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c := tree.Cache{Root: "/a", OnChange: func(ch []tree.Change) { t.Log(len(ch), ch[0].Path) }}
		done := make(chan error)
		go func() { done <- c.Run(ctx, s) }()
		start = time.Now()
		if err := c.Wait(ctx, 0); err != nil {
			t.Fatal(err)
		}
		t.Log(c.Len(), time.Since(start), c.Zxid())
		st, err := s.Set(ctx, "/a/d003/n04", []byte("x"), -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(ctx, st.Mzxid); err != nil {
			t.Fatal(err)
		}
		got, _ := c.Get("/a/d003/n04")
		t.Log(string(got.Data))
		if err := tree.DeleteAll(ctx, s, "/a"); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(ctx, s.Zxid()); err != nil {
			t.Fatal(err)
		}
		t.Log(c.Len(), s.Watches().Len())
		c.Close()
		t.Log(<-done, s.Watches().Len())
		s.Close()
	}
}
