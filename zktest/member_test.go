package zktest

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

func TestCloseAndExpire(t *testing.T) {
	e := NewServer(t)
	c, other := dial(t, e.Ensemble, 0), dial(t, e.Ensemble, 0)
	c.create("/e1", nil, wire.FlagEphemeral)
	c.create("/e2", nil, wire.FlagEphemeral)
	other.watch(wire.OpGetData, "/e1")
	c.must(wire.OpCloseSession, nil, nil)
	c.ended()
	assert.DeepEqual(t, other.took(), []wire.WatcherEvent{event(2, "/e1")})
	_, code := other.stat("/e2")
	assert.Equal(t, code, wire.ErrNoNode)
	_, r, err := c.move(e.Ensemble, 0)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, int64(0))

	c = dial(t, e.Ensemble, 0)
	c.create("/e1", nil, wire.FlagEphemeral)
	e.Expire(c.id)
	c.ended()
	_, code = other.stat("/e1")
	assert.Equal(t, code, wire.ErrNoNode)

	c = dial(t, e.Ensemble, 0)
	c.create("/e1", nil, wire.FlagEphemeral)
	e.Cut(c.id)
	c.ended()
	n, r, err := c.move(e.Ensemble, 0)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, c.id)
	s, _ := n.stat("/e1")
	assert.Equal(t, s.EphemeralOwner, c.id)
}

func TestSessionMoves(t *testing.T) {
	e := NewEnsemble(t, 3)
	c := dial(t, e, 2)
	c.create("/a", nil, 0)
	n, r, err := c.move(e, 1)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, c.id)
	// The old connection still reads and watches, but a write ends it.
	assert.Equal(t, c.watch(wire.OpGetData, "/a"), int32(0))
	n.set("/a", "1")
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(3, "/a")})
	c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
	c.ended()
	n.set("/a", "2")
	// On the same member the old connection ends at once.
	n2, _, err := n.move(e, 1)
	assert.NilError(t, err)
	n.ended()
	n2.set("/a", "3")
	// A leader ends the old connection at a read too, and at a ping.
	for _, op := range []wire.Op{wire.OpGetData, wire.OpPing} {
		atLeader, _, err := n2.move(e, e.Leader())
		assert.NilError(t, err)
		assert.Equal(t, atLeader.watch(wire.OpGetData, "/a"), int32(0))
		n2, _, err = atLeader.move(e, 1)
		assert.NilError(t, err)
		n2.set("/a", "4")
		xid := atLeader.send(op, jute("/a", false))
		_, _, err = atLeader.recv(xid)
		assert.ErrorIs(t, err, io.EOF)
		assert.DeepEqual(t, atLeader.events, []wire.WatcherEvent{event(3, "/a")}) // which it still gets
	}
}

func TestLag(t *testing.T) {
	e := NewEnsemble(t, 2)
	a, b := dial(t, e, 0), dial(t, e, 1)
	a.create("/a", []byte("old"), 0)
	assert.Equal(t, b.watch(wire.OpGetData, "/a"), int32(0))
	e.Member(1).Freeze()
	a.set("/a", "new")
	var got wire.GetDataResponse
	b.must(wire.OpGetData, wire.PathWatchRequest{Path: "/a"}, &got)
	assert.DeepEqual(t, got.Data, []byte("old"))
	assert.Equal(t, len(b.took()), 0)

	_, _, err := a.move(e, 1) // it has seen more than the member
	assert.ErrorContains(t, err, "")

	// A write through it is committed, but answered only when it has caught up.
	committed := e.Zxid() + 1
	xid := b.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Data: []byte("mine"), Version: -1})
	assert.Assert(t, becomes(func() bool { return e.Zxid() >= committed }))
	assert.Assert(t, e.Member(1).Zxid() < committed)
	b.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = b.nc.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "timeout")
	e.Member(1).Thaw()
	h, _, err := b.recv(xid)
	assert.NilError(t, err)
	assert.Equal(t, h.Err, int32(0))
	assert.DeepEqual(t, b.took(), []wire.WatcherEvent{event(3, "/a")})
	a.must(wire.OpGetData, wire.PathWatchRequest{Path: "/a"}, &got)
	assert.DeepEqual(t, got.Data, []byte("mine"))
}

func TestMembers(t *testing.T) {
	for _, mem := range []bool{false, true} {
		e := NewEnsemble(t, 2, Options{InMemory: mem})
		c := dial(t, e, 1)
		e.Member(1).Stop()
		e.Member(1).Stop()
		c.ended()
		refused(t, e, 1)
		_, r, err := c.move(e, 0)
		assert.NilError(t, err)
		assert.Equal(t, r.SessionID, c.id)
		e.Member(1).Start()
		n, r, err := c.move(e, 1)
		assert.NilError(t, err)
		assert.Equal(t, r.SessionID, c.id)
		e.Member(1).Refuse(true)
		refused(t, e, 1)
		n.ping() // stays
		e.Member(1).Restart()
		n.ended()
		refused(t, e, 1)
		e.Member(1).Refuse(false)
		_, _, err = c.move(e, 1)
		assert.NilError(t, err)
		for range 50 { // the port outlives connections that have just ended
			e.Member(1).Restart()
			_, _, err = c.move(e, 1)
			assert.NilError(t, err)
		}
		e.Member(1).Stop() // and Close can do with that
	}
}

// refused fails unless a member takes no connections, while its port stays taken.
func refused(t *testing.T, e *Ensemble, member int) {
	t.Helper()
	addr := e.Addrs()[member]
	nc, err := e.DialContext(t.Context(), "tcp", addr)
	if err == nil && runtime.GOOS != "linux" {
		_, err = nc.Read(make([]byte, 1))
		nc.Close()
		assert.Assert(t, err != nil)
	} else {
		assert.Assert(t, errors.Is(err, errRefused), "%v", err)
	}
	if !e.opts.InMemory {
		_, err = net.Listen("tcp", addr)
		assert.Assert(t, errors.Is(err, errInUse), "%v", err)
	}
}

func TestReadOnlyMember(t *testing.T) {
	e := NewEnsemble(t, 2)
	c := dial(t, e, 0)
	c.create("/a", []byte("1"), 0)
	e.Member(1).SetReadOnly(true)
	n := open(t, e, 1)
	_, err := n.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true})
	assert.ErrorContains(t, err, "")
	n = open(t, e, 1)
	_, err = n.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: true})
	assert.NilError(t, err)
	assert.Assert(t, n.ro && n.id != 0)
	assert.Equal(t, n.tryCreate("/b", 0), wire.ErrNotReadOnly)
	assert.Equal(t, n.call(wire.OpSync, wire.PathRequest{Path: "/"}, nil), wire.ErrNotReadOnly)
	_, code := n.stat("/a")
	assert.Equal(t, code, int32(0))
	e.Member(1).SetReadOnly(false)
	n.ended()
	_, r, err := c.move(e, 1)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, c.id)
}

// TestExpiresAtTick lets sessions be heard of last in each part of a tick.
func TestExpiresAtTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for last, want := range map[time.Duration]time.Duration{
			0: 5100, 1: 5100, 99: 5100, 100: 5200, 150: 5200, 199: 5200, 250: 5300,
		} {
			e := NewServer(t, Options{InMemory: true, TickTime: 100 * time.Millisecond, MaxSessionTimeout: time.Minute})
			start := time.Now()
			c := dial(t, e.Ensemble, 0)
			time.Sleep(last * time.Millisecond)
			c.ping()
			c.ended()
			assert.Equal(t, time.Since(start), want*time.Millisecond, last*time.Millisecond)
			e.Close()
		}
	})
}

func TestElectAndLoseData(t *testing.T) {
	e := NewEnsemble(t, 2)
	c := dial(t, e, 0)
	c.create("/a", nil, 0)
	e.Elect()
	c.ended()
	n, r, err := c.move(e, 1)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, c.id)
	n.create("/b", nil, 0)
	assert.Equal(t, n.zxid, int64(2<<32+1))

	e.LoseData()
	n.ended()
	_, _, err = n.move(e, 1) // has seen more than there is now
	assert.ErrorContains(t, err, "")
	n.zxid = 0
	_, r, err = n.move(e, 1)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, int64(0))
	fresh := dial(t, e, 0)
	_, code := fresh.stat("/a")
	assert.Equal(t, code, wire.ErrNoNode)
}

// With the data go the sessions that only a read-only member knows.
func TestLoseDataOfAReadOnlyMember(t *testing.T) {
	e := NewEnsemble(t, 2)
	e.Member(1).SetReadOnly(true)
	c := open(t, e, 1)
	_, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), ReadOnly: true, HasReadOnly: true})
	assert.NilError(t, err)
	again := wire.ConnectRequest{Timeout: 5000, SessionID: c.id, Password: c.pw, ReadOnly: true, HasReadOnly: true}
	n := open(t, e, 1)
	r, err := n.connect(again)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, c.id)
	e.LoseData()
	n.ended()
	r, err = open(t, e, 1).connect(again)
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, int64(0))
}

// A session that moves takes its right to write with it, and nothing else happens to its connection.
func TestMoveSession(t *testing.T) {
	multi := wire.MultiRequest{Ops: []wire.MultiOp{{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: "/a", Version: -1}}}}
	for version := V34; version <= V39; version++ {
		e := NewEnsemble(t, 3, Options{Version: version})
		c := dial(t, e, 2)
		c.create("/a", nil, wire.FlagEphemeral)
		e.MoveSession(c.id, 1)
		c.ping()
		s, code := c.stat("/a")
		assert.Equal(t, code, int32(0))
		assert.Equal(t, s.EphemeralOwner, c.id)
		if version < V36 {
			var r wire.MultiResponse
			c.must(wire.OpMulti, multi, &r)
			assert.Equal(t, r.Results[0].Err, wire.ErrSessionMoved)
			c.ping()
		}
		c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
		c.ended()
		n, _, err := c.move(e, 1) // which has it already
		assert.NilError(t, err)
		n.set("/a", "")

		e.MoveSession(n.id, 0)
		e.MoveSession(n.id, 1) // a handshake here ends the connection that is here
		n.ended()
		n, _, err = n.move(e, 1)
		assert.NilError(t, err)
		n.set("/a", "")
		e.MoveSession(0x55, 0) // there is none
	}
}

func TestMoveSessionRenewsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEnsemble(t, 2, Options{InMemory: true})
		c := dial(t, e, 0) // for 5 s
		time.Sleep(4 * time.Second)
		e.MoveSession(c.id, 1)
		time.Sleep(4 * time.Second)
		assert.DeepEqual(t, e.Sessions(), []int64{c.id})
		time.Sleep(2 * time.Second)
		assert.Equal(t, len(e.Sessions()), 0)
	})
}

func TestReconfig(t *testing.T) {
	e := NewEnsemble(t, 3, Options{Reconfig: true, Super: "super:x"})
	c := dial(t, e, 0)
	var conf wire.GetDataResponse
	c.must(wire.OpGetData, wire.PathWatchRequest{Path: data.ConfigPath, Watch: true}, &conf)
	leave := wire.ReconfigRequest{Leaving: ptr("3"), ConfigID: data.FirstEpoch}
	assert.Equal(t, c.call(wire.OpReconfig, leave, nil), wire.ErrNoAuth)
	c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("super:x")}, nil)
	assert.Equal(t, c.call(wire.OpReconfig, wire.ReconfigRequest{Leaving: ptr("3"), ConfigID: 5}, nil), wire.ErrBadVersion)
	assert.Equal(t, c.call(wire.OpReconfig, wire.ReconfigRequest{Joining: ptr("x"), ConfigID: -1}, nil), wire.ErrBadArguments)
	assert.Equal(t, c.call(wire.OpReconfig, wire.ReconfigRequest{Leaving: ptr("2,3"), ConfigID: -1}, nil), wire.ErrBadArguments)
	join := func(line string) int32 {
		return c.call(wire.OpReconfig, wire.ReconfigRequest{Joining: ptr(line), ConfigID: -1}, &conf)
	}
	e.Member(2).Stop()
	assert.Equal(t, join("server.4=h:1:2;3"), wire.ErrNewConfigNoQuorum) // two of four
	e.Member(2).Start()
	assert.Equal(t, join("server.x=h:1:2;3"), wire.ErrMarshalling)
	assert.Equal(t, join("server.3=h:1:2:observer;3,server.2=h:1:2:observer;3"), wire.ErrBadArguments) // one voter
	assert.Equal(t, len(c.took()), 0)
	c.must(wire.OpReconfig, leave, &conf)
	assert.DeepEqual(t, c.took(), []wire.WatcherEvent{event(3, data.ConfigPath)})
	assert.Equal(t, join(" server.4 = h:1:2;3, "), int32(0))
	assert.Assert(t, strings.Contains(string(conf.Data), "server.4=h:1:2:participant;0.0.0.0:3\n"), string(conf.Data))
	assert.Equal(t, conf.Stat.DataLength, int32(len(conf.Data)))
	assert.Equal(t, conf.Stat.Mzxid, c.zxid)

	// Watches that stay hear of it twice, as the server writes the node twice.
	for i, mode := range []int32{wire.AddWatchPersistent, wire.AddWatchPersistentRecursive} {
		w := dial(t, e, i)
		w.must(wire.OpAddWatch, wire.AddWatchRequest{Path: []string{data.ConfigPath, data.ProcPath}[i], Mode: mode}, &wire.ErrorResponse{})
		c.must(wire.OpReconfig, wire.ReconfigRequest{Leaving: ptr("9"), ConfigID: -1}, &conf)
		assert.DeepEqual(t, w.took(), []wire.WatcherEvent{event(3, data.ConfigPath), event(3, data.ConfigPath)})
		c.must(wire.OpSetData, wire.SetDataRequest{Path: data.ConfigPath, Data: conf.Data, Version: -1}, &wire.Stat{})
		assert.DeepEqual(t, w.took(), []wire.WatcherEvent{event(3, data.ConfigPath)})
	}

	alone := NewServer(t, Options{Reconfig: true})
	assert.Equal(t, dial(t, alone.Ensemble, 0).call(wire.OpReconfig, leave, nil), wire.ErrUnimplemented)
	off := NewServer(t)
	assert.Equal(t, dial(t, off.Ensemble, 0).call(wire.OpReconfig, leave, nil), wire.ErrReconfigDisabled)
}

func TestLagBehindByOne(t *testing.T) {
	e := NewEnsemble(t, 2)
	a, b := dial(t, e, 0), dial(t, e, 1)
	a.create("/a", nil, wire.FlagEphemeral)
	b.watch(wire.OpGetData, "/a")
	e.Member(1).SetLag(1)
	a.set("/a", "1")
	assert.Equal(t, len(b.took()), 0)
	e.Expire(a.id) // takes the deletion of /a with it
	assert.DeepEqual(t, b.took(), []wire.WatcherEvent{event(3, "/a")})
	_, code := b.stat("/a")
	assert.Equal(t, code, int32(0))
	e.Member(1).Restart()
	b.ended()
	n, _, err := b.move(e, 1)
	assert.NilError(t, err)
	_, code = n.stat("/a")
	assert.Equal(t, code, wire.ErrNoNode)
}
