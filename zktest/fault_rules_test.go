package zktest

import (
	"io"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

func TestFaults(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	c.create("/a", nil, 0)

	f := e.Fault(Rule{Op: wire.OpSetData, Path: "/a", Err: wire.ErrThrottled, Skip: 1, Count: 2})
	codes := []int32{}
	for range 5 {
		codes = append(codes, c.call(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1}, &wire.Stat{}))
	}
	assert.DeepEqual(t, codes, []int32{0, wire.ErrThrottled, wire.ErrThrottled, 0, 0})
	assert.Equal(t, f.Hits(), 2)

	version := func(c *client) int32 { s, _ := c.stat("/a"); return s.Version }
	was := version(c)
	for i, do := range []Action{CutBefore, CutAfter} {
		e.Fault(Rule{Session: c.id, Op: wire.OpSetData, Do: do})
		c.watch(wire.OpGetData, "/a")
		c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
		if do == CutAfter { // the event was ahead of the reply
			body, err := c.readFrame()
			assert.NilError(t, err)
			assert.Equal(t, int32(len(body)), int32(16+4+4+4+2))
		}
		c.ended()
		n, _, err := c.move(e.Ensemble, 0)
		assert.NilError(t, err)
		c = n
		assert.Equal(t, version(c), was+int32(i))
	}

	e.Fault(Rule{Op: OpConnect, Session: c.id, Do: CutAfter})
	_, _, err := c.move(e.Ensemble, 0)
	assert.ErrorContains(t, err, "")
	c, _, err = c.move(e.Ensemble, 0)
	assert.NilError(t, err)

	// A stall swallows every later frame, and the connection stays open.
	e.Fault(Rule{Op: wire.OpGetData, Do: StallAfter})
	c.watch2("/a")
	c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err = c.nc.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "timeout")
	c, _, err = c.move(e.Ensemble, 0)
	assert.NilError(t, err)

	start := time.Now()
	e.Fault(Rule{Op: wire.OpPing, Delay: 30 * time.Millisecond})
	c.ping()
	assert.Assert(t, time.Since(start) >= 30*time.Millisecond)
}

func (c *client) watch2(path string) {
	c.send(wire.OpGetData, wire.PathWatchRequest{Path: path, Watch: true})
}

func TestLinkFaults(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	// 41 bytes answer a handshake.
	for k := range int64(41) {
		e.Link(LinkRule{ToClient: CutAt(k)})
		_, _, err := c.move(e.Ensemble, 0)
		assert.Assert(t, err != nil, "%d bytes", k)
	}
	e.Link(LinkRule{FromClient: CutAt(48)})
	_, _, err := c.move(e.Ensemble, 0)
	assert.Assert(t, err != nil)
	e.Link(LinkRule{FromClient: CutAt(49)})
	n, _, err := c.move(e.Ensemble, 0)
	assert.NilError(t, err)
	n.ended()
	e.Link(LinkRule{ToClient: StallAt(10)})
	n = open(t, e.Ensemble, 0)
	n.writeFrame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
	b := make([]byte, 10)
	n.nc.SetReadDeadline(time.Now().Add(patience))
	_, err = io.ReadFull(n.nc, b)
	assert.NilError(t, err)
	n.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err = n.nc.Read(b)
	assert.ErrorContains(t, err, "timeout")
	_, _, err = c.move(e.Ensemble, 0)
	assert.NilError(t, err)
}

func TestFaultHandles(t *testing.T) {
	e := NewEnsemble(t, 2, Options{InMemory: true, MaxClientCnxns: 2})
	c := dial(t, e, 0)
	f := e.Fault(Rule{Member: e.Member(0), Op: wire.OpGetData, Err: wire.ErrSystem, Count: -1})
	assert.Equal(t, c.watch(wire.OpGetData, "/"), wire.ErrSystem)
	<-f.Struck()
	f.Remove()
	assert.Equal(t, c.watch(wire.OpGetData, "/"), int32(0))
	e.Fault(Rule{Match: func(f Frame) bool { return f.Path == "/" }, Err: wire.ErrSystem})
	e.Heal()
	assert.Equal(t, c.watch(wire.OpGetData, "/"), int32(0))

	e.Member(0).Refuse(true)
	_, err := e.DialContext(t.Context(), "tcp", e.Member(0).Addr())
	assert.ErrorContains(t, err, "refused")
	e.Member(0).Refuse(false)
	_, err = e.DialContext(t.Context(), "tcp", "nobody:1")
	assert.ErrorContains(t, err, "no such member")
	c.ping()
	dial(t, e, 0)
	open(t, e, 0).ended() // the third connection is one too many
	e.Member(0).CutAll()
	c.ended()
	c = dial(t, e, 0)
	e.CutAll()
	c.ended()
	e.ForgetFrames()
	assert.Equal(t, len(e.Frames()), 0)
}
