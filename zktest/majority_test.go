package zktest

import (
	"errors"
	"fmt"
	"io"
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
		if malformed := (*wire.Error)(nil); errors.As(err, &malformed) {
			c.id, c.to = 0, -1 // an answer, but none to the handshake
		}
		return c, err == nil
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > patience {
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
		return ok || n.to < 0
	})
	// Who may have which session there, and what that does to the zxid.
	at := func() int64 {
		n, ok := connect(wire.ConnectRequest{ReadOnly: true})
		if !ok {
			return 0
		}
		defer n.nc.Close()
		h, _, _ := n.recv(n.send(wire.OpPing))
		return h.Zxid
	}
	from := at()
	take := func(what string, q wire.ConnectRequest) *client {
		q.ReadOnly = true
		n, ok := connect(q)
		tell("%s: %t, same %t, granted %v, read-only %t", what, ok, n.id == q.SessionID, n.to, n.ro)
		if ok && n.to > 0 {
			h, d, err := n.recv(n.send(wire.OpExists, wire.PathWatchRequest{Path: "/e"}))
			if err != nil || h.Err != 0 {
				tell("%d, error %t", h.Err, err != nil)
				return n
			}
			var st wire.Stat
			st.Decode(&d)
			tell("at +%d, owner %t, version %d", h.Zxid-from, st.EphemeralOwner == n.id, st.Version)
		}
		return n
	}
	end := func(n *client) {
		h, _, err := n.recv(n.send(wire.OpCloseSession))
		tell("closes: %t %d at +%d, now +%d", err == nil, h.Err, h.Zxid-from, at()-from)
		n.nc.Close()
	}
	wrong := make([]byte, 16)
	wrong[0] = 1
	take("the session", again)
	take("the session again", again)
	take("the session with a wrong password", wire.ConnectRequest{SessionID: c.id, Password: wrong})
	take("no session", wire.ConnectRequest{SessionID: 5, Password: wrong})
	fresh := take("a new session", wire.ConnectRequest{})
	if fresh.to > 0 {
		take("that with a wrong password", wire.ConnectRequest{SessionID: fresh.id, Password: wrong})
		fresh = take("that", wire.ConnectRequest{SessionID: fresh.id, Password: fresh.pw})
		end(fresh)
		take("that when it is closed", wire.ConnectRequest{SessionID: fresh.id, Password: fresh.pw})
	}
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
			for _, local := range []bool{false, true} {
				if local && parityVersions[release] < V35 {
					continue
				}
				majorityLikeReal(t, release, local)
			}
		})
	}
}

func majorityLikeReal(t *testing.T, release apache.Release, local bool) {
	conf := apache.Config{Release: release, Members: 3}
	if local {
		conf.Settings = map[string]string{"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}
	}
	real := apache.New(t, conf)
	leads, err := real.Leader()
	assert.NilError(t, err)
	at := func(i int) *apache.Server { return real.Member((leads + 1 + i) % 3) } // 0 is a follower, 2 the leader
	want := loses(t, []string{at(0).Addr()},
		func(i int) { assert.NilError(t, at(i).Kill()) }, func(i int) { assert.NilError(t, at(i).Start()) })
	ours := NewEnsemble(t, 3, Options{Version: parityVersions[release], Majority: true, ReadOnlyMode: true, NoLocalSessions: !local, MaxSessionTimeout: time.Minute})
	got := loses(t, ours.Addrs()[1:2],
		func(i int) { ours.Member((i + 1) % 3).Stop() }, func(i int) { ours.Member((i + 1) % 3).Start() })
	assert.Equal(t, got, want, "local sessions: %t", local)
}

// TestReadOnlyRemembers asks a member that is cut off for sessions of the ensemble.
func TestReadOnlyRemembers(t *testing.T) {
	for _, version := range []Version{V36, V37} {
		e := NewEnsemble(t, 2, Options{Version: version})
		before := dial(t, e, 0)
		e.Member(1).SetReadOnly(true)
		after := dial(t, e, 0)
		take := func(of *client) (wire.ConnectResponse, error) {
			return open(t, e, 1).connect(wire.ConnectRequest{Timeout: 5000, SessionID: of.id, Password: of.pw, ReadOnly: true, HasReadOnly: true})
		}
		r, err := take(before)
		if version >= V37 {
			assert.ErrorIs(t, err, io.EOF)
		} else {
			assert.NilError(t, err)
			assert.Equal(t, r.SessionID, before.id)
		}
		r, err = take(after)
		assert.NilError(t, err)
		assert.Equal(t, r.Timeout, int32(0))
		// The others have heard nothing of it: the session is still where it was.
		before.create("/a"+version.String(), nil, 0)
	}
}
