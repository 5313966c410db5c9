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

// What is cut at an event does not go on with the reply behind it: a client that
// gets the reply takes it that no event is missing.
func TestCutAtAnEventLosesTheReply(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	c.create("/a", nil, 0)
	c.create("/b", nil, 0)
	event := func(f Frame) bool { return f.Op == wire.OpNotification }
	restart := func() {
		c.ended()
		n, _, err := c.move(e.Ensemble, 0)
		assert.NilError(t, err)
		c = n
	}
	for _, do := range []Action{CutBefore, CutAfter} {
		sent := func() {
			if do == CutAfter {
				assert.Equal(t, c.header().Xid, wire.XidNotification)
			}
			restart()
		}
		e.Fault(Rule{Dir: ToClient, Match: event, Do: do})
		c.watch(wire.OpGetData, "/a")
		c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
		sent()

		e.Fault(Rule{Dir: ToClient, Match: event, Do: do})
		c.send(wire.OpSetWatches, wire.SetWatchesRequest{Data: []string{"/a", "/b", "/none"}})
		sent()
	}
}

// reply reads the next frame, a reply to xid, and returns its error code.
func (c *client) reply(xid int32) int32 {
	c.t.Helper()
	h := c.header()
	assert.Equal(c.t, h.Xid, xid)
	return h.Err
}

// What a fault delays still comes when the connection ends meanwhile, and then the end.
func TestDelayedRepliesComeBeforeTheEnd(t *testing.T) {
	const delay = 12 * time.Second // longer than a connection may take to introduce itself
	late := Rule{Dir: ToClient, Op: wire.OpGetData, Delay: delay}
	get := func(c *client) int32 { return c.send(wire.OpGetData, wire.PathWatchRequest{Path: "/"}) }
	for name, do := range map[string]func(e *Ensemble, c *client){
		"closeSession": func(e *Ensemble, c *client) {
			e.Fault(Rule{Dir: ToClient, Op: wire.OpCloseSession, Delay: delay})
			xid := c.send(wire.OpCloseSession)
			assert.Equal(c.t, c.reply(xid), int32(0))
		},
		"CutAfter": func(e *Ensemble, c *client) {
			e.Fault(Rule{Dir: ToClient, Op: wire.OpGetData, Delay: delay, Do: CutAfter})
			xid := get(c)
			assert.Equal(c.t, c.reply(xid), int32(0))
		},
		"CutBefore": func(e *Ensemble, c *client) {
			e.Fault(Rule{Dir: ToClient, Op: wire.OpGetData, Delay: delay, Do: CutBefore})
			get(c)
		},
		"refused credentials": func(e *Ensemble, c *client) {
			e.Fault(Rule{Dir: ToClient, Op: wire.OpAuth, Delay: delay})
			c.send(wire.OpAuth, wire.AuthRequest{Scheme: "nonsense"})
			assert.Equal(c.t, c.reply(wire.XidAuth), wire.ErrAuthFailed)
		},
		"no such session": func(e *Ensemble, c *client) {
			e.Expire(c.id)
			c.ended()
			e.Fault(Rule{Dir: ToClient, Op: OpConnect, Delay: delay})
			n, r, err := c.move(e, 0)
			assert.NilError(c.t, err)
			assert.Equal(c.t, r.SessionID, int64(0))
			*c = *n
		},
		"closeSession after it": func(e *Ensemble, c *client) {
			e.Fault(late)
			xid, end := get(c), c.send(wire.OpCloseSession)
			assert.Equal(c.t, c.reply(xid), int32(0))
			assert.Equal(c.t, c.reply(end), int32(0))
		},
		"bad frame after it": func(e *Ensemble, c *client) {
			e.Fault(late)
			xid := get(c)
			c.nc.Write([]byte{0xff, 0xff, 0xff, 0xff})
			assert.Equal(c.t, c.reply(xid), int32(0))
		},
		"limit after it": func(e *Ensemble, c *client) {
			e.Link(LinkRule{FromClient: CutAt(2).Frames()})
			n, _, err := c.move(e, 0)
			assert.NilError(c.t, err)
			*c = *n
			e.Fault(late)
			xid := get(c)
			assert.Equal(c.t, c.reply(xid), int32(0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := NewServer(t, Options{InMemory: true, MinSessionTimeout: time.Minute, MaxSessionTimeout: time.Minute})
				c := dial(t, e.Ensemble, 0)
				start := time.Now()
				do(e.Ensemble, c)
				c.ended()
				assert.Equal(t, time.Since(start), delay)
			})
		})
	}
}

// Each frame waits for its own delay, and none overtakes another.
func TestDelaysOfReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewServer(t, Options{InMemory: true, NoLeaks: true})
		c := dial(t, e.Ensemble, 0)
		exists := func() int32 { return c.send(wire.OpExists, wire.PathWatchRequest{Path: "/"}) }
		start := time.Now()
		at := func(want time.Duration) { t.Helper(); assert.Equal(t, time.Since(start), want) }
		f := e.Fault(Rule{Dir: ToClient, Op: wire.OpExists, Delay: 3 * time.Second, Count: 2})
		e.Fault(Rule{Dir: ToClient, Op: wire.OpGetData, Delay: time.Second})
		first := exists()
		time.Sleep(time.Second)
		second := exists()
		get := c.send(wire.OpGetData, wire.PathWatchRequest{Path: "/"}) // due before the one ahead of it
		third := exists()
		c.reply(first)
		at(3 * time.Second)
		c.reply(second)
		c.reply(get)
		c.reply(third)
		at(4 * time.Second)
		assert.Equal(t, f.Hits(), 2)

		// A client that leaves meanwhile has left nothing open.
		e.Fault(Rule{Dir: ToClient, Op: wire.OpCloseSession, Delay: time.Hour})
		c.send(wire.OpCloseSession)
		synctest.Wait()
		c.nc.Close()
		// And silence is silence for what is late, too.
		c = dial(t, e.Ensemble, 0)
		e.Fault(Rule{Dir: ToClient, Op: wire.OpExists, Delay: time.Second})
		exists()
		synctest.Wait()
		e.Stall(c.id)
		c.nc.SetReadDeadline(time.Now().Add(time.Minute))
		_, err := c.nc.Read(make([]byte, 1))
		assert.ErrorContains(t, err, "timeout")
		c.nc.Close()
	})
}

// What ends connections ends silent ones too; what ends or moves their session does not.
func TestEndsOfStalledConnections(t *testing.T) {
	for name, test := range map[string]struct {
		do    func(e *Ensemble, c *client)
		stays bool
	}{
		"Cut":            {do: func(e *Ensemble, c *client) { e.Cut(c.id) }},
		"CutAll":         {do: func(e *Ensemble, c *client) { e.CutAll() }},
		"Member.CutAll":  {do: func(e *Ensemble, c *client) { e.Member(1).CutAll() }},
		"Stop":           {do: func(e *Ensemble, c *client) { e.Member(1).Stop() }},
		"Restart":        {do: func(e *Ensemble, c *client) { e.Member(1).Restart() }},
		"Isolate":        {do: func(e *Ensemble, c *client) { e.Member(1).Isolate() }},
		"SetReadOnly":    {do: func(e *Ensemble, c *client) { e.Member(1).SetReadOnly(true) }},
		"LoseData":       {do: func(e *Ensemble, c *client) { e.LoseData() }},
		"Elect":          {do: func(e *Ensemble, c *client) { e.Elect() }},
		"Close":          {do: func(e *Ensemble, c *client) { e.Close() }},
		"another member": {do: func(e *Ensemble, c *client) { e.Member(0).CutAll() }, stays: true},
		"another id":     {do: func(e *Ensemble, c *client) { e.Cut(c.id + 1) }, stays: true},
		"Expire":         {do: func(e *Ensemble, c *client) { e.Expire(c.id) }, stays: true},
		"timeout":        {do: func(e *Ensemble, c *client) { time.Sleep(time.Minute) }, stays: true},
		"taken over": {do: func(e *Ensemble, c *client) {
			_, _, err := c.move(e, 1)
			assert.NilError(t, err)
		}, stays: true},
		"closed elsewhere": {do: func(e *Ensemble, c *client) {
			n, _, err := c.move(e, 0)
			assert.NilError(t, err)
			n.must(wire.OpCloseSession, nil, nil)
		}, stays: true},
	} {
		for how, stall := range map[string]func(e *Ensemble, c *client) *client{
			"Stall": func(e *Ensemble, c *client) *client { e.Stall(c.id); return c },
			"StallBefore": func(e *Ensemble, c *client) *client {
				e.Fault(Rule{Op: wire.OpPing, Do: StallBefore})
				c.send(wire.OpPing)
				return c
			},
			"StallAfter": func(e *Ensemble, c *client) *client {
				e.Fault(Rule{Dir: ToClient, Op: wire.OpPing, Do: StallAfter})
				c.ping()
				return c
			},
			"StallAt": func(e *Ensemble, c *client) *client {
				e.Link(LinkRule{ToClient: StallAt(2).Frames()})
				n, _, err := c.move(e, 1)
				assert.NilError(t, err)
				n.ping()
				return n
			},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := NewEnsemble(t, 3, Options{InMemory: true, NoLeaks: true})
					c := stall(e, dial(t, e, 1))
					synctest.Wait()
					test.do(e, c)
					if test.stays {
						c.send(wire.OpPing)
						c.silent()
						// Also what is no connection of the session any more.
						if how == "Stall" || how == "StallAt" {
							e.Cut(c.id)
						} else {
							e.CutAll()
						}
					}
					c.ended()
				})
			})
		}
	}
}

// A handshake is stalled for longer than the server would wait for one.
func TestStalledHandshakes(t *testing.T) {
	gone := wire.ConnectRequest{Timeout: 5000, SessionID: 5, Password: make([]byte, 16)}
	fresh := wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)}
	for _, rule := range []Rule{
		{Do: StallBefore}, {Do: StallAfter}, {Dir: ToClient, Do: StallBefore}, {Do: StallBefore, Delay: time.Second},
	} {
		for _, q := range []wire.ConnectRequest{fresh, gone} {
			synctest.Test(t, func(t *testing.T) {
				e := NewServer(t, Options{InMemory: true, NoLeaks: true})
				rule.Op = OpConnect
				e.Fault(rule)
				c := open(t, e.Ensemble, 0)
				c.writeFrame(q)
				c.nc.SetReadDeadline(time.Now().Add(time.Hour))
				_, err := c.nc.Read(make([]byte, 1))
				assert.ErrorContains(t, err, "timeout")
				if rule.Dir == FromClient && rule.Do == StallBefore {
					for _, f := range e.Frames() {
						assert.Assert(t, f.Dir != Hangup, "%v", f)
					}
				}
				c.nc.Close()
			})
		}
	}
}

// Err goes with what decides whether, when and how often it is sent.
func TestErrTogetherWithDo(t *testing.T) {
	for _, dir := range []Direction{FromClient, ToClient} {
		synctest.Test(t, func(t *testing.T) {
			e := NewServer(t, Options{InMemory: true})
			c := dial(t, e.Ensemble, 0)
			c.create("/a", nil, 0)
			executed := int32(dir) // of a reply: the request was executed
			sets := int32(0)
			strike := func(do Action) int32 {
				f := e.Fault(Rule{Dir: dir, Op: wire.OpSetData, Err: wire.ErrSystem, Do: do, Delay: time.Second})
				start, xid := time.Now(), c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
				if do != HoldBack {
					assert.Equal(t, c.reply(xid), wire.ErrSystem)
					assert.Equal(t, time.Since(start), time.Second)
					assert.Equal(t, f.Hits(), 1)
				}
				return xid
			}
			check := func() {
				sets += executed
				s, _ := c.stat("/a")
				assert.Equal(t, s.Version, sets)
			}

			strike(Pass)
			check()
			xid := strike(Duplicate)
			assert.Equal(t, c.reply(xid), wire.ErrSystem)
			check()
			xid = strike(HoldBack)
			ping := c.send(wire.OpPing)
			assert.Equal(t, c.reply(ping), int32(0))
			assert.Equal(t, c.reply(xid), wire.ErrSystem)
			check()
			strike(StallAfter)
			c.send(wire.OpPing)
			c.silent()
			c, _, _ = c.move(e.Ensemble, 0)
			check()
			strike(CutAfter)
			c.ended()
			c, _, _ = c.move(e.Ensemble, 0)
			check()
		})
	}
}

// A request that waits for the next one is not executed if that silences the connection.
func TestHeldBackBehindAStall(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	c.create("/a", nil, 0)
	e.Fault(Rule{Op: wire.OpSetData, Do: HoldBack})
	e.Fault(Rule{Op: wire.OpExists, Do: StallBefore})
	c.send(wire.OpSetData, wire.SetDataRequest{Path: "/a", Version: -1})
	c.send(wire.OpExists, wire.PathWatchRequest{Path: "/a"})
	c.silent()
	n, _, err := c.move(e.Ensemble, 0)
	assert.NilError(t, err)
	s, _ := n.stat("/a")
	assert.Equal(t, s.Version, int32(0))
}

// A rule does not strike, nor count, where it could do nothing.
func TestRulesSpareWhatTheyCannotStrike(t *testing.T) {
	for _, rule := range []Rule{
		{Err: wire.ErrSystem},
		{Do: Duplicate},
		{Do: HoldBack},
		{Dir: ToClient, Err: wire.ErrSystem},
	} {
		e := NewServer(t)
		f := e.Fault(rule)
		c := dial(t, e.Ensemble, 0)
		assert.Equal(t, f.Hits(), 0, "%+v", rule)
		if rule.Dir == ToClient { // an event has no room for an error either
			f.Remove()
			c.watch(wire.OpExists, "/a")
			f = e.Fault(rule)
			other := dial(t, e.Ensemble, 0)
			xid := other.send(wire.OpCreate, wire.CreateRequest{Path: "/a", ACL: world})
			assert.Equal(t, other.reply(xid), wire.ErrSystem)
			assert.Equal(t, c.header().Xid, wire.XidNotification)
		} else {
			xid := c.send(wire.OpPing)
			c.send(wire.OpPing)
			h := c.header()
			assert.Equal(t, h.Xid, xid)
			assert.Equal(t, h.Err, rule.Err)
		}
		assert.Equal(t, f.Hits(), 1, "%+v", rule)
	}
}

// A path is one of a multi's, too, in both directions.
func TestRulesByPathStrikeMultis(t *testing.T) {
	e := NewServer(t)
	c := dial(t, e.Ensemble, 0)
	c.create("/a", nil, 0)
	c.create("/b", nil, 0)
	set := func(path string) wire.MultiOp {
		return wire.MultiOp{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: path, Version: -1}}
	}
	get := func(path string) wire.MultiOp {
		return wire.MultiOp{Op: wire.OpGetData, Request: wire.PathWatchRequest{Path: path}}
	}
	for _, dir := range []Direction{FromClient, ToClient} {
		for op, make := range map[wire.Op]func(string) wire.MultiOp{wire.OpMulti: set, wire.OpMultiRead: get} {
			other := e.Fault(Rule{Dir: dir, Path: "/c", Count: -1})
			f := e.Fault(Rule{Dir: dir, Path: "/b", Err: wire.ErrSystem})
			code := func(paths ...string) int32 {
				var q wire.MultiRequest
				for _, path := range paths {
					q.Ops = append(q.Ops, make(path))
				}
				return c.reply(c.send(op, q))
			}
			assert.Equal(t, code("/a"), int32(0))
			assert.Equal(t, code("/a", "/b"), wire.ErrSystem)
			assert.DeepEqual(t, []int{f.Hits(), other.Hits()}, []int{1, 0})
			e.Heal()
		}
	}
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
