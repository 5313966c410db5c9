package scripts

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// strangeOp is an opcode that no server supports.
const strangeOp = 150

// withoutSetWatches makes of a server one that does not support SetWatches: what asks
// for it has another opcode. It returns how many such requests were sent.
func withoutSetWatches(conf *zk.Config) *atomic.Int32 {
	var sent atomic.Int32
	dial := conf.DialContext
	conf.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &strangeConn{Conn: conn, sent: &sent}, nil
	}
	return &sent
}

type strangeConn struct {
	net.Conn
	sent    *atomic.Int32
	greeted bool // the ConnectRequest has no opcode
}

// Write takes whole frames, as the client writes them.
func (c *strangeConn) Write(b []byte) (int, error) {
	out := append([]byte(nil), b...)
	for at := 0; at+12 <= len(out); at += 4 + wire.FrameLen(out[at:]) {
		op := wire.Op(binary.BigEndian.Uint32(out[at+8:]))
		if c.greeted && (op == wire.OpSetWatches || op == wire.OpSetWatches2) {
			binary.BigEndian.PutUint32(out[at+8:], strangeOp)
			c.sent.Add(1)
		}
		c.greeted = true
	}
	return c.Conn.Write(out)
}

// Watches of a server that does not support SetWatches are restored by reading: what
// was missed arrives, once, and what was not stays armed. The server is asked for
// SetWatches once per session.
func TestServerWithoutSetWatches(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		writer := e.Session()
		conf, l := e.Config()
		asked := withoutSetWatches(&conf)
		s := e.Dial(conf)
		type armed struct {
			path string
			ch   chan zk.Event
		}
		arm := func(kind zk.WatchKind, name string) armed {
			w := armed{e.Root + name, make(chan zk.Event, 1)}
			if kind != zk.ExistsWatch {
				e.Create(s, w.path, "")
			}
			assert.NilError(t, suite.WatchCalls[kind](s, w.path, w.ch))
			return w
		}
		changed, deleted, again, calm := arm(zk.DataWatch, "/changed"), arm(zk.DataWatch, "/deleted"), arm(zk.DataWatch, "/again"), arm(zk.DataWatch, "/calm")
		created, missing, gone := arm(zk.ExistsWatch, "/created"), arm(zk.ExistsWatch, "/missing"), arm(zk.ExistsWatch, "/gone")
		parent, orphan, idle := arm(zk.ChildWatch, "/parent"), arm(zk.ChildWatch, "/orphan"), arm(zk.ChildWatch, "/idle")

		e.Cut(s, l)
		e.Set(writer, changed.path, "2")
		e.Delete(writer, deleted.path)
		e.Delete(writer, again.path)
		e.Create(writer, again.path, "")
		e.Create(writer, created.path, "")
		e.Create(writer, gone.path, "")
		e.Delete(writer, gone.path)
		e.Create(writer, parent.path+"/child", "")
		e.Delete(writer, orphan.path)
		before := s.ID()
		s = e.Move(s)
		assert.Equal(t, s.ID(), before)
		assert.Equal(t, asked.Load(), int32(1))
		e.Ready(changed.ch, zk.Changed, changed.path)
		e.Ready(deleted.ch, zk.Deleted, deleted.path)
		e.Ready(again.ch, zk.Changed, again.path)
		e.Ready(created.ch, zk.Created, created.path)
		e.Ready(parent.ch, zk.Child, parent.path)
		e.Ready(orphan.ch, zk.Deleted, orphan.path)
		assert.Equal(t, s.Watches().Len(), 4)

		e.Cut(s, l)
		s = e.Move(s)
		assert.Equal(t, asked.Load(), int32(1), "it is known")
		for _, w := range []armed{calm, missing, gone, idle} {
			e.None(s, w.ch)
		}
		e.Set(writer, calm.path, "2")
		e.Create(writer, missing.path, "")
		e.Create(writer, gone.path, "")
		e.Create(writer, idle.path+"/child", "")
		e.Want(calm.ch, zk.Changed, calm.path)
		e.Want(missing.ch, zk.Created, missing.path)
		e.Want(gone.ch, zk.Created, gone.path)
		e.Want(idle.ch, zk.Child, idle.path)
		assert.Equal(t, s.Watches().Len(), 0)
		assert.Equal(t, s.Watches().Undelivered(), 0)
	})
}

// Persistent watches are armed again, with a Gap.
func TestPersistentWithoutSetWatches(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		writer := e.Session()
		conf, l := e.Config()
		withoutSetWatches(&conf)
		s := e.Dial(conf)
		one, all := make(chan zk.Event, 8), make(chan zk.Event, 8)
		a, b := e.Create(s, e.Root+"/a", ""), e.Create(s, e.Root+"/b", "")
		assert.NilError(t, s.AddWatch(e.Ctx, a, zk.WatchPersistent, one))
		assert.NilError(t, s.AddWatch(e.Ctx, b, zk.WatchRecursive, all))
		e.Cut(s, l)
		e.Create(writer, b+"/c", "")
		e.Move(s)
		e.Ready(one, zk.Gap, a)
		e.Ready(all, zk.Gap, b)
		e.Set(writer, a, "2")
		e.Set(writer, b+"/c", "2")
		e.Want(one, zk.Changed, a)
		e.Want(all, zk.Changed, b+"/c")
	})
}

// Many watches are read a few at a time, and a znode that may not be read counts as one
// that changed: the application then sees why.
func TestManyWithoutSetWatches(t *testing.T) {
	e := suite.Private(t, 1)
	writer := e.Session()
	conf, l := e.Config()
	withoutSetWatches(&conf)
	s := e.Dial(conf)
	ch := make(chan zk.Event, 2000)
	var ops []zk.Op
	for i := range 1000 {
		p := manyPath(i)
		if i == 0 {
			e.Create(s, "/many", "")
		}
		ops = append(ops, zk.CreateOp{Path: p, ACL: zk.ACLOpen}, zk.GetOp{Path: p, Watch: ch}, zk.ChildrenOp{Path: p, Watch: ch})
	}
	_, err := s.Batch(e.Ctx, ops...)
	assert.NilError(t, err)
	e.Cut(s, l)
	_, err = writer.SetACL(e.Ctx, manyPath(7), zk.ACLWorld(zk.PermAdmin), zk.AnyVersion)
	assert.NilError(t, err)
	e.Set(writer, manyPath(999), "2")
	s = e.Move(s)
	got := map[zk.EventType]string{}
	for len(ch) > 0 {
		event := <-ch
		got[event.Type] += event.Path
	}
	assert.DeepEqual(t, got, map[zk.EventType]string{zk.Child: manyPath(7), zk.Changed: manyPath(7) + manyPath(999)})
	assert.Equal(t, s.Watches().Len(), 1997)
}

func manyPath(i int) string { return fmt.Sprintf("/many/%04d", i) }
