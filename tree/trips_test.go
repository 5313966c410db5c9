package tree_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/tree"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Of 10,000 znodes with their ACLs, by the time that passes where only the way
// to the server takes any: requests that are under way together count as one.
func TestR59_FewRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewServer(t, zktest.Options{InMemory: true, FrameLog: -1})
		ctx := t.Context()
		s, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), DialContext: far(e.DialContext), Timeout: time.Hour})
		assert.NilError(t, err)
		defer s.Close()
		fill(t, s, wide("/a", 100, 99)...)
		few := func(what string, f func() error) {
			t.Helper()
			start := time.Now()
			assert.NilError(t, f(), what)
			trips := time.Since(start) / aWay
			t.Logf("%s: %d round trips", what, trips)
			assert.Check(t, trips <= 50, what)
		}
		var b bytes.Buffer
		opt := tree.Options{ACLs: true}
		into := func() error { return tree.Import(ctx, s, "/b", bytes.NewReader(b.Bytes()), opt) }
		few("export", func() error { return tree.Export(ctx, s, "/a", &b, opt) })
		few("import", into)
		opt.Overwrite, opt.Mirror = true, true
		few("import again", into)
		opt.Atomic = 1000
		few("import by Multis", into)
		few("copy", func() error { return tree.Copy(ctx, s, "/c", s, "/a", tree.Options{ACLs: true}) })
		n, err := tree.Get(ctx, s, "/b/dir-0099")
		assert.NilError(t, err)
		assert.Equal(t, len(n.Children), 99)
	})
}

// aWay is how long a request takes to the server of far.
const aWay = time.Second

// far makes what is written arrive later.
func far(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &farConn{Conn: conn, on: make(chan chunk, 1<<16)}
		go func() {
			for b := range c.on {
				time.Sleep(time.Until(b.at))
				if _, err := conn.Write(b.data); err != nil {
					conn.Close()
				}
			}
		}()
		return c, nil
	}
}

type farConn struct {
	net.Conn
	on   chan chunk
	over sync.Once
}

type chunk struct {
	at   time.Time
	data []byte
}

func (c *farConn) Write(p []byte) (int, error) {
	c.on <- chunk{time.Now().Add(aWay), bytes.Clone(p)}
	return len(p), nil
}

func (c *farConn) Close() error {
	c.over.Do(func() { close(c.on) })
	return c.Conn.Close()
}

// A comparison of 10,000 znodes has two requests under way at a time, too.
func TestR66_FewRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewServer(t, zktest.Options{InMemory: true, FrameLog: -1})
		ctx := t.Context()
		conf := zk.Config{Addrs: e.Addrs(), DialContext: far(e.DialContext), Timeout: time.Hour}
		s, err := zk.Dial(ctx, conf)
		assert.NilError(t, err)
		fill(t, s, wide("/a", 100, 99)...)
		c := &tree.Cache{Root: "/a"}
		over := make(chan error, 1)
		go func() { over <- c.Run(ctx, s) }()
		start := time.Now()
		load(t, c)
		t.Logf("load: %d round trips", time.Since(start)/aWay)
		conf = s.Detach()
		<-over
		other, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), DialContext: e.DialContext})
		assert.NilError(t, err)
		_, err = other.Set(ctx, "/", nil, -1)
		assert.NilError(t, err)
		s, err = zk.Dial(ctx, conf)
		assert.NilError(t, err)
		go func() { over <- c.Run(ctx, s) }()
		start = time.Now()
		assert.NilError(t, c.Wait(ctx, other.Zxid()))
		trips := time.Since(start) / aWay
		t.Logf("comparison: %d round trips", trips)
		assert.Check(t, trips >= 5 && trips <= 7, "%d", trips) // of 11 requests
		c.Close()
		<-over
		other.Close()
		s.Close()
	})
}
