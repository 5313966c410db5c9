package scripts

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// A change of the ensemble is answered with the new configuration, and fires
// the watch of GetConfig, whose path has no chroot.
func TestReconfig(t *testing.T) {
	e := suite.Private(t, 3)
	for _, chroot := range []string{"", suite.Chroot, "/zookeeper"} {
		conf, _ := e.Config()
		conf.Chroot, conf.Auth = chroot, []zk.Auth{{Scheme: "digest", Credential: []byte("super:zktest")}}
		s := e.Dial(conf)
		ch := make(chan zk.Event, 1)
		old, _, err := s.GetConfig(e.Ctx, ch)
		assert.NilError(t, err)
		data, st, err := s.Reconfig(e.Ctx, zk.Reconfig{Leave: []string{"3"}, Version: -1})
		assert.NilError(t, err)
		e.Ready(ch, zk.Changed, suite.ConfigPath)
		assert.Assert(t, !bytes.Equal(data, old) && !strings.Contains(string(data), "server.3="), "%s", data)
		got, gotStat, err := s.GetConfig(e.Ctx, ch)
		assert.NilError(t, err)
		assert.Equal(t, string(got), string(data))
		assert.Equal(t, gotStat, st)

		// Over a redial too.
		other := e.Dial(conf)
		s.Detach()
		_, _, err = other.Reconfig(e.Ctx, zk.Reconfig{Members: suite.ConfigServers(old), Version: -1})
		assert.NilError(t, err)
		e.Move(s)
		e.Ready(ch, zk.Changed, suite.ConfigPath)
	}
}

// A real ensemble grows and shrinks, by what joins and leaves and by the list
// of all members, while a session with a watch on the configuration looks on.
// Since 3.5.
func TestReconfigOfServers(t *testing.T) {
	onReleases(t, zktest.V35, func(ctx context.Context, t *testing.T, release apache.Release) {
		cluster := apache.New(t, apache.Config{Release: release, Members: 3})
		leader, err := cluster.Leader()
		assert.NilError(t, err)
		out := (leader + 1) % 3 // may go without an election
		addrs := slices.Delete(cluster.Addrs(), out, out+1)
		dial := func(conf zk.Config) *zk.Session {
			t.Helper()
			s, err := zk.Dial(ctx, conf)
			assert.NilError(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		}
		admin := dial(zk.Config{Addrs: addrs, Timeout: time.Minute, Auth: []zk.Auth{zk.Digest("super", "zktest")}})
		s := dial(zk.Config{Addrs: addrs, Timeout: time.Minute, Chroot: "/zookeeper"})

		// members checks the configuration that a session sees, and returns its version.
		ch := make(chan zk.Event, 1)
		members := func(want ...string) int64 {
			t.Helper()
			assert.NilError(t, s.Sync(ctx, "/"))
			config, _, err := s.GetConfig(ctx, ch)
			assert.NilError(t, err)
			got := suite.ConfigServers(config)
			slices.Sort(got)
			assert.DeepEqual(t, got, want)
			_, hex, ok := strings.Cut(string(config), "version=")
			assert.Assert(t, ok, "%s", config)
			version, err := strconv.ParseInt(strings.TrimSpace(hex), 16, 64)
			assert.NilError(t, err)
			return version
		}
		change := func(change zk.Reconfig, want ...string) {
			t.Helper()
			config, st, err := admin.Reconfig(ctx, change)
			assert.NilError(t, err)
			got := suite.ConfigServers(config)
			slices.Sort(got)
			assert.DeepEqual(t, got, want)
			assert.Assert(t, st.Mzxid > 0 && int(st.DataLength) == len(config), "%+v", st)
			ev := suite.Await(t, ch)
			assert.Equal(t, ev.Type, zk.Changed)
			assert.Equal(t, ev.Path, suite.ConfigPath)
		}
		lines := make([]string, 4)
		for i := range 3 {
			lines[i] = cluster.Member(i).Line()
		}
		version := members(lines[:3]...)

		// One more joins, and serves.
		added, err := cluster.Add()
		assert.NilError(t, err)
		lines[3] = added.Line()
		change(zk.Reconfig{Join: lines[3:], Version: version}, lines...)
		assert.NilError(t, cluster.WaitServing(ctx))
		guest := dial(zk.Config{Addrs: []string{added.Addr()}})
		assert.NilError(t, guest.Sync(ctx, "/"))
		_, err = guest.Create(ctx, "/by-the-guest", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Assert(t, members(lines...) > version)

		// A change of another configuration than this is refused, and others that cannot be.
		refused := func(code zk.Code, change zk.Reconfig) {
			t.Helper()
			config, _, err := admin.Reconfig(ctx, change)
			assert.Assert(t, config == nil)
			suite.WantCode(t, err, code, "")
		}
		refused(zk.ErrVersion, zk.Reconfig{Leave: []string{"4"}, Version: version})
		refused(zk.ErrBadArguments, zk.Reconfig{Join: []string{"server.9=nonsense"}, Version: -1})
		refused(zk.ErrBadArguments, zk.Reconfig{Members: []string{"nonsense"}, Version: -1})
		refused(zk.ErrBadArguments, zk.Reconfig{Leave: []string{"1", "2", "3", "4"}, Version: -1})
		dead := []string{lines[0], "server.8=127.0.0.1:1:2:participant;127.0.0.1:3", "server.9=127.0.0.1:4:5:participant;127.0.0.1:6"}
		refused(zk.ErrNewConfigNoQuorum, zk.Reconfig{Members: dead, Version: -1})
		_, _, err = s.Reconfig(ctx, zk.Reconfig{Leave: []string{"4"}, Version: -1})
		suite.WantCode(t, err, zk.ErrNoAuth, "")
		assert.Equal(t, len(ch), 0)

		// It leaves again. Then all members are named, first without one, then with it.
		change(zk.Reconfig{Leave: []string{"4"}, Version: -1}, lines[:3]...)
		assert.NilError(t, added.Kill())
		members(lines[:3]...)
		two := slices.Delete(slices.Clone(lines[:3]), out, out+1)
		change(zk.Reconfig{Members: two, Version: -1}, two...)
		members(two...)
		change(zk.Reconfig{Members: lines[:3], Version: -1}, lines[:3]...)
		members(lines[:3]...)
		found, _, err := s.Exists(ctx, "/config", nil)
		assert.NilError(t, err)
		assert.Assert(t, found)
		assert.NilError(t, admin.Err())

		// The servers write it down.
		for written := ""; strings.Count(written, "server.") != 3; time.Sleep(10 * time.Millisecond) {
			assert.NilError(t, ctx.Err())
			written, err = cluster.Member(leader).DynamicConfig()
			assert.NilError(t, err)
		}
	})
}

// A server that does not allow it says so.
func TestReconfigDisabled(t *testing.T) {
	onReleases(t, zktest.V35, func(ctx context.Context, t *testing.T, release apache.Release) {
		cluster := apache.New(t, apache.Config{Release: release, Members: 3, Settings: map[string]string{"reconfigEnabled": "false"}})
		s, err := zk.Dial(ctx, zk.Config{Addrs: cluster.Addrs(), Auth: []zk.Auth{zk.Digest("super", "zktest")}})
		assert.NilError(t, err)
		defer s.Close()
		_, _, err = s.Reconfig(ctx, zk.Reconfig{Leave: []string{"3"}, Version: -1})
		suite.WantCode(t, err, zk.ErrReconfigDisabled, "")
		config, _, err := s.GetConfig(ctx, nil)
		assert.NilError(t, err)
		assert.Equal(t, len(suite.ConfigServers(config)), 3)
	})
}
