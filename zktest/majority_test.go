package zktest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// loses takes an ensemble of three through the loss of its majority and back,
// and tells what clients of member 0 see.
func loses(t *testing.T, addrs []string, stop, start func(member int)) string {
	p := &peer{t: t, addrs: addrs}
	var told strings.Builder
	tell := func(format string, args ...any) { fmt.Fprintf(&told, format+"\n", args...) }
	connect := func(q wire.ConnectRequest) (*client, bool) {
		q.Timeout, q.HasReadOnly = 60000, true
		if q.Password == nil {
			q.Password = make([]byte, 16)
		}
		c := p.open(0)
		t.Cleanup(func() { c.nc.Close() })
		_, err := c.connect(q)
		return c, err == nil
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > 30*time.Second {
				t.Fatalf("%v: never %s", addrs, what)
			}
		}
	}
	c, ok := connect(wire.ConnectRequest{})
	assert.Assert(t, ok)
	c.create("/e", []byte("1"), wire.FlagEphemeral)
	epoch := c.zxid >> 32
	watch := func() { assert.Equal(t, c.watch(wire.OpGetData, "/e"), int32(0)) }
	watch()

	stop(1)
	c.ping()
	tell("with two: set %d", c.set("/e", "2").Version)
	watch()
	stop(2)
	c.ended()
	tell("events %v", c.events)
	c.events = nil
	again := wire.ConnectRequest{SessionID: c.id, Password: c.pw, LastZxidSeen: c.zxid}
	until("read-only", func() bool {
		n, ok := connect(wire.ConnectRequest{ReadOnly: true})
		if ok {
			tell("read-only %t, exists, set, sync", n.ro)
			_, code := n.stat("/e")
			tell("%d %d %d", code, n.call(wire.OpSetData, wire.SetDataRequest{Path: "/e", Version: -1}, nil), n.call(wire.OpSync, wire.PathRequest{Path: "/e"}, nil))
			n.nc.Close()
		}
		return ok
	})
	_, ok = connect(wire.ConnectRequest{})
	tell("a client that wants more: %t", ok)
	_, ok = connect(again)
	tell("the session: %t", ok)

	start(2)
	until("back", func() bool {
		n, ok := connect(again)
		if ok {
			s, code := n.stat("/e")
			tell("same %t, read-only %t, exists %d, owner %t, version %d", n.id == c.id, n.ro, code, s.EphemeralOwner == c.id, s.Version)
			tell("set %d, later epoch %t", n.set("/e", "3").Version, n.zxid>>32 > epoch)
			n.must(wire.OpCloseSession, nil, nil)
		}
		return ok
	})
	return told.String()
}

func TestMajorityLikeReal(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			version := parityVersions[release]
			conf := apache.Config{Release: release, Members: 3}
			if version >= V35 {
				conf.Settings = map[string]string{"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}
			}
			real := apache.New(t, conf)
			leads, err := real.Leader()
			assert.NilError(t, err)
			at := func(i int) *apache.Server { return real.Member((leads + 1 + i) % 3) } // 0 is a follower, 2 the leader
			want := loses(t, []string{at(0).Addr()},
				func(i int) { assert.NilError(t, at(i).Kill()) }, func(i int) { assert.NilError(t, at(i).Start()) })
			ours := NewEnsemble(t, 3, Options{Version: version, Majority: true, ReadOnlyMode: true, MaxSessionTimeout: time.Minute})
			got := loses(t, ours.Addrs()[1:2],
				func(i int) { ours.Member((i + 1) % 3).Stop() }, func(i int) { ours.Member((i + 1) % 3).Start() })
			assert.Equal(t, got, want)
		})
	}
}
