package history

import (
	"context"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A Tap sees what a session sends and reads, over two connections.
func TestTap(t *testing.T) {
	ctx := context.Background()
	server := zktest.NewServer(t)
	var clock Clock
	tap := NewTap(&clock)
	s, err := zk.Dial(ctx, zk.Config{Addrs: []string{server.Addr()}, DialContext: tap.DialContext})
	assert.NilError(t, err)
	events := make(chan zk.Event, 2)
	_, err = s.Create(ctx, "/a", []byte("one"), zk.Persistent, zk.ACLOpen)
	assert.NilError(t, err)
	start := clock.Tick()
	_, _, err = s.Get(ctx, "/a", events)
	assert.NilError(t, err)
	end := clock.Tick()
	_, err = s.Set(ctx, "/a", nil, 0)
	assert.NilError(t, err)
	<-events
	_, _, err = s.Children(ctx, "/a", events)
	assert.NilError(t, err)
	floor := s.Zxid()
	s, err = s.Redial(ctx)
	assert.NilError(t, err)
	_, err = s.Multi(ctx, zk.SetOp{Path: "/a", Version: 5})
	assert.ErrorIs(t, err, zk.ErrVersion)
	assert.NilError(t, s.Close())

	conns := tap.Conns()
	assert.Equal(t, len(conns), 2)
	one, two := conns[0], conns[1]
	assert.Equal(t, one.Asked, int64(0))
	assert.Equal(t, one.Session, s.ID())
	assert.Equal(t, two.Asked, s.ID())
	assert.Equal(t, two.Session, s.ID())
	ops := func(n *Conn) (out []wire.Op) {
		for _, r := range n.Requests {
			out = append(out, r.Op)
		}
		return out
	}
	assert.DeepEqual(t, ops(one), []wire.Op{wire.OpCreate, wire.OpGetData, wire.OpSetData, wire.OpGetChildren2})
	assert.DeepEqual(t, ops(two), []wire.Op{wire.OpSetWatches, wire.OpMulti, wire.OpCloseSession})
	get := one.Requests[1]
	assert.Equal(t, get.Path, "/a")
	assert.Assert(t, get.Tick > start && get.Tick < end)
	sets := two.Requests[0]
	assert.Equal(t, sets.Floor, floor)
	assert.DeepEqual(t, sets.Restores, []Watch{{zk.ChildWatch, "/a"}})

	// Four replies, and the event ahead of the reply to the set that made it.
	assert.Equal(t, len(one.Frames), 5)
	event := one.Frames[2]
	assert.Equal(t, event.Event, zk.Changed)
	assert.Equal(t, event.Path, "/a")
	for i, xid := range []int32{one.Requests[0].Xid, get.Xid, 0, one.Requests[2].Xid, one.Requests[3].Xid} {
		f := one.Frames[i]
		assert.Equal(t, f.Event != 0, xid == 0)
		assert.Assert(t, xid == 0 || f.Xid == xid && f.Zxid > 0)
		assert.Assert(t, i == 0 || f.Tick >= one.Frames[i-1].Tick)
	}
	assert.Assert(t, one.Frames[1].Tick > get.Tick && one.Frames[1].Tick < end)
}

// Frames are found however the stream is cut.
func TestCutter(t *testing.T) {
	var stream []byte
	for n := range 5 {
		at := len(stream)
		stream = append(wire.BeginFrame(stream), make([]byte, n)...)
		wire.EndFrame(stream, at)
	}
	for size := 1; size <= len(stream); size++ {
		var u cutter
		var got []int
		for b := stream; len(b) > 0; b = b[min(size, len(b)):] {
			u.cut(b[:min(size, len(b))], func(body []byte) { got = append(got, len(body)) })
		}
		assert.DeepEqual(t, got, []int{0, 1, 2, 3, 4})
	}
}
