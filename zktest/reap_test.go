package zktest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// reap makes containers and nodes with a time to live, waits until those have
// gone that must go, and tells which are left and what the watches saw.
func reap(t *testing.T, addr string) string {
	p := &peer{t: t, addrs: []string{addr}}
	c := p.open(0)
	defer c.nc.Close()
	_, err := c.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true})
	assert.NilError(t, err)
	c.ping()
	p.base = c.zxid
	container := func(path string) {
		c.must(wire.OpCreateContainer, wire.CreateRequest{Path: path, ACL: world, Flags: wire.FlagContainer}, &wire.Create2Response{})
	}
	lives := func(path string, ttl int64) {
		c.must(wire.OpCreateTTL, wire.CreateTTLRequest{Path: path, ACL: world, Flags: wire.FlagPersistentTTL, TTL: ttl}, &wire.Create2Response{})
	}
	container("/unused")
	container("/used")
	container("/full")
	container("/outer")
	container("/outer/inner")
	lives("/short", 1)
	lives("/long", 1<<30)
	lives("/parent", 1)
	c.create("/parent/child", nil, 0)
	for _, path := range []string{"/used", "/full", "/outer/inner"} {
		c.create(path+"/child", nil, 0)
		c.watch(wire.OpExists, path)
	}
	var m wire.MultiResponse // neither ever sees them with one child less
	c.must(wire.OpMulti, wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/used/child", Version: -1}},
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/outer/inner/child", Version: -1}},
	}}, &m)
	var told strings.Builder
	for _, path := range []string{"/short", "/used", "/outer"} {
		gone := becomes(func() bool {
			_, code := c.stat(path)
			return code == wire.ErrNoNode
		})
		assert.Assert(t, gone, "%s stays", path)
	}
	var kids wire.ChildrenResponse
	c.must(wire.OpGetChildren, wire.PathWatchRequest{Path: "/"}, &kids)
	s, code := c.stat("/parent")
	fmt.Fprintf(&told, "%s, /parent %d with %d, %d events", names(kids.Children), code, s.NumChildren, len(c.took()))
	return told.String()
}

// The interval of Options, by default 100 ms, passes from a container's last child to its deletion.
func TestReapInterval(t *testing.T) {
	for _, c := range []struct{ option, want time.Duration }{{0, 100 * time.Millisecond}, {3 * time.Second, 3 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			e := NewServer(t, Options{InMemory: true, ReapInterval: c.option})
			s := dial(t, e.Ensemble, 0)
			s.must(wire.OpCreateContainer, wire.CreateRequest{Path: "/c", ACL: world, Flags: wire.FlagContainer}, &wire.Create2Response{})
			s.create("/c/child", nil, 0)
			time.Sleep(time.Second)
			s.must(wire.OpDelete, wire.PathVersionRequest{Path: "/c/child", Version: -1}, nil)
			time.Sleep(c.want - time.Nanosecond)
			_, code := s.stat("/c")
			assert.Equal(t, code, int32(0))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			_, code = s.stat("/c")
			assert.Equal(t, code, wire.ErrNoNode)
		})
	}
}

func TestReapingLikeReal(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		version := parityVersions[release]
		if version < V35 {
			continue
		}
		t.Run(string(release), func(t *testing.T) {
			real := apache.New(t, apache.Config{Release: release, Properties: map[string]string{"znode.container.checkIntervalMs": "200"}})
			ours := NewServer(t, Options{Version: version, MaxSessionTimeout: time.Minute})
			want := `["full" "long" "parent" "unused" "zookeeper"], /parent 0 with 1, 2 events`
			assert.Equal(t, reap(t, ours.Addr()), want)
			assert.Equal(t, reap(t, real.Addrs()[0]), want)
		})
	}
}
