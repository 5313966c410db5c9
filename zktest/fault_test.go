package zktest

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// header reads the next frame's header.
func (c *client) header() wire.ReplyHeader {
	c.t.Helper()
	body, err := c.readFrame()
	if err != nil {
		c.t.Fatal(err)
	}
	d := wire.NewDecoder(body)
	var h wire.ReplyHeader
	h.Decode(&d)
	return h
}

func (c *client) silent() {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if n, err := c.nc.Read(make([]byte, 1)); err == nil || err == io.EOF {
		c.t.Fatalf("%d bytes, %v, want silence", n, err)
	}
}

func TestFaultsOfRequests(t *testing.T) {
	e := NewServer(t, Options{InMemory: true})
	c := dial(t, e.Ensemble, 0)
	c.create("/a", nil, 0)
	set := func() int32 { return c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1}) }
	version := func() int32 { s, _ := c.stat("/a"); return s.Version }

	e.Fault(Rule{Op: wire.OpSetData, Do: Drop})
	set()
	assert.Equal(t, version(), int32(0))

	e.Fault(Rule{Op: wire.OpSetData, Do: Duplicate})
	xid := set()
	first, again := c.header(), c.header()
	assert.Equal(t, first.Xid, xid)
	assert.Equal(t, again.Xid, xid)
	assert.Equal(t, again.Zxid, first.Zxid+1)
	assert.Equal(t, version(), int32(2))

	e.Fault(Rule{Op: wire.OpSetData, Do: HoldBack, Count: 2})
	xid = set()
	get := c.send(wire.OpExists, wire.PathWatchRequest{Path: "/a"})
	assert.Equal(t, c.header().Xid, get)
	assert.Equal(t, c.header().Xid, xid)
	assert.Equal(t, version(), int32(3))
	xid, next := set(), set() // of two that are to wait, the second does not
	assert.Equal(t, c.header().Xid, next)
	assert.Equal(t, c.header().Xid, xid)

	e.Fault(Rule{Op: OpConnect, Do: Drop})
	n := open(t, e.Ensemble, 0)
	n.writeFrame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
	n.silent()
}

func TestFaultsOfReplies(t *testing.T) {
	e := NewServer(t, Options{Raw: true})
	c, w := dial(t, e.Ensemble, 0), dial(t, e.Ensemble, 0)
	c.create("/a", []byte("1"), 0)
	event := func(f Frame) bool { return f.Op == wire.OpNotification }
	get := func() int32 { return c.send(wire.OpGetData, wire.PathWatchRequest{Path: "/a", Watch: true}) }

	e.Fault(Rule{Dir: ToClient, Session: c.id, Op: wire.OpGetData, Do: Drop})
	get()
	ping := c.send(wire.OpPing)
	assert.Equal(t, c.header().Xid, ping) // no reply before it

	e.Fault(Rule{Dir: ToClient, Path: "/a", Do: Duplicate, Match: event})
	e.ForgetFrames()
	w.set("/a", "2")
	assert.Equal(t, len(c.took()), 2)
	logged := 0
	for _, f := range e.Frames() {
		if event(f) {
			logged++
			assert.Equal(t, f.Len, 16+4+4+4+2)
			assert.Equal(t, len(f.Raw), f.Len)
		}
	}
	assert.Equal(t, logged, 2)

	e.Fault(Rule{Dir: ToClient, Session: c.id, Do: HoldBack, Match: event})
	xid := get()
	assert.Equal(t, c.header().Xid, xid)
	w.set("/a", "3")
	ping = c.send(wire.OpPing)
	assert.Equal(t, c.header().Xid, ping) // the reply is ahead of the event
	assert.Equal(t, c.header().Xid, wire.XidNotification)

	e.Fault(Rule{Dir: ToClient, Op: wire.OpGetData, Err: wire.ErrSystem})
	assert.Equal(t, c.watch(wire.OpGetData, "/a"), wire.ErrSystem)
	frames := e.Frames()
	assert.Equal(t, frames[len(frames)-1].Err, wire.ErrSystem)
	w.set("/a", "4")
	assert.Equal(t, len(c.took()), 1) // it was executed

	e.Fault(Rule{Dir: ToClient, Session: c.id, Delay: 20 * time.Millisecond})
	start := time.Now()
	xid = get()
	ping = c.send(wire.OpPing)
	assert.Equal(t, c.header().Xid, xid)
	assert.Equal(t, c.header().Xid, ping)
	assert.Assert(t, time.Since(start) >= 20*time.Millisecond)
	c.ping()

	for _, do := range []Action{CutBefore, CutAfter, StallBefore, StallAfter} {
		e.Fault(Rule{Dir: ToClient, Op: wire.OpGetData, Do: do})
		xid := get()
		if do == CutAfter || do == StallAfter {
			assert.Equal(t, c.header().Xid, xid)
		}
		if do == CutBefore || do == CutAfter {
			c.ended()
		} else {
			c.send(wire.OpPing)
			c.silent()
		}
		n, _, err := c.move(e.Ensemble, 0)
		assert.NilError(t, err)
		c = n
	}
	e.Fault(Rule{Dir: ToClient, Op: OpConnect, Do: Duplicate})
	n, _, err := c.move(e.Ensemble, 0)
	assert.NilError(t, err)
	body, err := n.readFrame()
	assert.NilError(t, err)
	assert.Equal(t, len(body), 37)
}

func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewServer(t, Options{InMemory: true})
		e.Link(LinkRule{SlowToClient: Trickle{Bytes: 10, Every: time.Second}})
		start := time.Now()
		c := dial(t, e.Ensemble, 0) // whose answer is of 41 bytes
		assert.Equal(t, time.Since(start), 4*time.Second)
		// The server goes on reading.
		fast := dial(t, e.Ensemble, 0)
		fast.watch(wire.OpExists, "/a")
		c.send(wire.OpCreate, wire.CreateRequest{Path: "/a", ACL: world})
		c.send(wire.OpCreate, wire.CreateRequest{Path: "/b", ACL: world})
		synctest.Wait()
		assert.Equal(t, len(fast.took()), 1)
		_, code := fast.stat("/b")
		assert.Equal(t, code, int32(0))

		e.Link(LinkRule{SlowFromClient: Trickle{Bytes: 7, Every: time.Second}, FromClient: CutAt(60)})
		start = time.Now()
		c = dial(t, e.Ensemble, 0) // with a handshake of 49
		assert.Equal(t, time.Since(start), 7*time.Second)
		c.send(wire.OpPing)
		c.ended()
	})
}

// What is asked of one direction does not strike in the other.
func TestDirections(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	to := e.Fault(Rule{Dir: ToClient, Count: -1})
	from := e.Fault(Rule{Count: -1})
	c.ping()
	c.ping()
	assert.DeepEqual(t, []int{to.Hits(), from.Hits()}, []int{2, 2})
}
