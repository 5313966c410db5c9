package zktest

import (
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// refusedFirst sends a read, a write and another read in one go to a read-only
// server. It says whether the refusal of the write came ahead of the first read.
// Apart from that everything comes in order.
func refusedFirst(t *testing.T, c *client, op wire.Op, rec wire.Record) bool {
	t.Helper()
	var out []byte
	xid := c.xid
	read := jute("/", false)
	for i, part := range []wire.MultiOp{{Op: wire.OpGetData, Request: read}, {Op: op, Request: rec}, {Op: wire.OpExists, Request: read}} {
		out = appendRequest(out, xid+int32(i)+1, part.Op, part.Request)
	}
	c.xid += 3
	c.nc.Write(out)
	var order []int32
	for range 3 {
		body, err := c.readFrame()
		assert.NilError(t, err)
		d := wire.NewDecoder(body)
		var h wire.ReplyHeader
		h.Decode(&d)
		want := int32(0)
		if h.Xid == xid+2 {
			want = wire.ErrNotReadOnly
		}
		assert.Equal(t, h.Err, want)
		order = append(order, h.Xid-xid)
	}
	var reads []int32
	for _, x := range order {
		if x != 2 {
			reads = append(reads, x)
		}
	}
	assert.DeepEqual(t, reads, []int32{1, 3})
	return order[0] == 2
}

// refusals are what a read-only server refuses.
func refusals(version Version) []wire.MultiOp {
	list := []wire.MultiOp{
		{Op: wire.OpSetData, Request: wire.SetDataRequest{Path: "/", Version: -1}},
		{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/x", ACL: world}},
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/x", Version: -1}},
		{Op: wire.OpSetACL, Request: wire.SetACLRequest{Path: "/", ACL: world, Version: -1}},
		{Op: wire.OpMulti, Request: juteMulti()},
		{Op: wire.OpSync, Request: wire.PathRequest{Path: "/"}},
		{Op: wire.OpCreate2, Request: wire.CreateRequest{Path: "/x", ACL: world}},
		{Op: wire.OpReconfig, Request: jute(nil, "9", nil, int64(-1))},
	}
	if version < V35 {
		return list[:6]
	}
	return list
}

// A member that is cut off does always what real servers often do.
func TestReadOnlyRefusesAtOnce(t *testing.T) {
	for version := V34; version <= V39; version++ {
		e := NewEnsemble(t, 2, Options{Version: version})
		e.Member(1).SetReadOnly(true)
		c := open(t, e, 1)
		_, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), ReadOnly: true, HasReadOnly: true})
		assert.NilError(t, err)
		for _, w := range refusals(version) {
			for range 5 {
				assert.Assert(t, refusedFirst(t, c, w.Op, w.Request), "%v: %v", version, w.Op)
			}
		}
		c.must(wire.OpCloseSession, nil, nil) // of a session of its own, in order
		c.ended()
	}
}

// dialReadOnly connects to the second of two members, which is cut off.
func dialReadOnly(t *testing.T, opts Options) *client {
	t.Helper()
	opts.InMemory = true
	e := NewEnsemble(t, 2, opts)
	e.Member(1).SetReadOnly(true)
	c := open(t, e, 1)
	_, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), ReadOnly: true, HasReadOnly: true})
	assert.NilError(t, err)
	return c
}

// appendRequest appends the frame of a request.
func appendRequest(b []byte, xid int32, op wire.Op, rec wire.Record) []byte {
	at := len(b)
	b = wire.RequestHeader{Xid: xid, Op: op}.Append(wire.BeginFrame(b))
	b = rec.Append(b)
	wire.EndFrame(b, at)
	return b
}

// What is wrong ends a connection at once, but behind the requests before it.
func TestReadOnlyBadFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dialReadOnly(t, Options{})
		start := time.Now()
		c.nc.Write(append(appendRequest(nil, 1, wire.OpGetData, jute("/", false)), 0xff, 0xff, 0xff, 0xff))
		h, _, err := c.recv(1)
		assert.NilError(t, err)
		assert.Equal(t, h.Err, int32(0))
		c.ended()
		assert.Equal(t, time.Since(start), time.Duration(0))
	})
}

// Writes are refused in their order.
func TestReadOnlyRefusesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dialReadOnly(t, Options{})
		var out []byte
		for i, op := range []wire.Op{wire.OpGetData, wire.OpDelete, wire.OpExists, wire.OpSync, wire.OpDelete} {
			out = appendRequest(out, int32(i), op, jute("/", 0))
		}
		c.nc.Write(out)
		for _, xid := range []int32{1, 3, 4, 0, 2} {
			_, _, err := c.recv(xid)
			assert.NilError(t, err)
		}

		// A session of its own ends behind the reads before.
		out = appendRequest(nil, 5, wire.OpGetData, jute("/", false))
		out = appendRequest(out, 6, wire.OpCloseSession, jute())
		c.nc.Write(out)
		for _, xid := range []int32{5, 6} {
			_, _, err := c.recv(xid)
			assert.NilError(t, err)
		}
		c.ended()

		// Who must prove himself before hears that first.
		c = dialReadOnly(t, Options{SASL: map[string]string{"me": "x"}, RequireSASL: true})
		out = appendRequest(nil, 1, wire.OpGetData, jute("/", false))
		c.nc.Write(appendRequest(out, 2, wire.OpDelete, jute("/", 0)))
		h, _, err := c.recv(1)
		assert.NilError(t, err)
		assert.Equal(t, h.Err, wire.ErrSessionClosedRequireSASL)
		c.ended()
	})
}

func TestReadOnlyRefusesAtOnceLikeReal(t *testing.T) {
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			conf := apache.Config{Release: release, Members: 3}
			if parityVersions[release] >= V35 {
				conf.Settings = map[string]string{"localSessionsEnabled": "true"}
			}
			real := apache.New(t, conf)
			for i := range 2 {
				assert.NilError(t, real.Member(i).Kill())
			}
			p := &peer{t: t, addrs: []string{real.Member(2).Addr()}}
			var c *client
			for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
				c = p.open(0)
				if r, err := c.connect(wire.ConnectRequest{Timeout: 60000, Password: make([]byte, 16), HasReadOnly: true, ReadOnly: true}); err == nil && r.ReadOnly && r.Timeout > 0 {
					break
				}
				c.nc.Close()
				assert.Assert(t, time.Since(began) < patience)
			}
			defer c.nc.Close()
			first := map[wire.Op]int{}
			for range 60 { // a server before 3.6 counts what it has refused as unanswered, and reads no more after a thousand
				for _, w := range refusals(parityVersions[release]) {
					if refusedFirst(t, c, w.Op, w.Request) {
						first[w.Op]++
					}
				}
			}
			t.Logf("refused ahead of a read, in so many of 60: %v", first)
			total := 0
			for _, n := range first {
				total += n
			}
			assert.Assert(t, total > 0)
		})
	}
}
