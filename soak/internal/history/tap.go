package history

import (
	"context"
	"encoding/binary"
	"net"
	"sync"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
)

// Tap makes the connections of one client and writes down what passes.
type Tap struct {
	clock *Clock

	mu    sync.Mutex // guards all below
	conns []*tapConn
	names map[string]string // one copy of every path
}

// NewTap returns a Tap without connections.
func NewTap(c *Clock) *Tap { return &Tap{clock: c, names: map[string]string{}} }

// DialContext is for zk.Config.
func (t *Tap) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &tapConn{Conn: nc, tap: t}
	c.log.Begun = t.clock.Tick()
	t.mu.Lock()
	t.conns = append(t.conns, c)
	t.mu.Unlock()
	return c, nil
}

// Conns returns what was written down. The connections must have ended.
func (t *Tap) Conns() []*Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []*Conn
	for _, c := range t.conns {
		c.mu.Lock()
		out = append(out, &c.log)
		c.mu.Unlock()
	}
	return out
}

func (t *Tap) name(b []byte) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.names[string(b)]; ok {
		return s
	}
	s := string(b)
	t.names[s] = s
	return s
}

// tapConn is a connection that takes notes.
type tapConn struct {
	net.Conn
	tap *Tap

	mu       sync.Mutex // guards all below
	log      Conn
	out, in  cutter
	said     bool // the ConnectRequest is through
	answered bool // so is the ConnectResponse
}

func (c *tapConn) Write(p []byte) (int, error) {
	tick := c.tap.clock.Tick()
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.cut(p[:n], func(body []byte) { c.request(tick, body) })
	return n, err
}

func (c *tapConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		tick := c.tap.clock.Tick()
		c.mu.Lock()
		c.in.cut(p[:n], func(body []byte) { c.frame(tick, body) })
		c.mu.Unlock()
	}
	return n, err
}

// cutter cuts a stream into frames.
type cutter struct{ rest []byte }

func (u *cutter) cut(p []byte, frame func(body []byte)) {
	b := p
	if len(u.rest) > 0 {
		u.rest = append(u.rest, p...)
		b = u.rest
	}
	for len(b) >= 4 {
		size := int(int32(binary.BigEndian.Uint32(b)))
		if size < 0 || len(b)-4 < size {
			break
		}
		frame(b[4 : 4+size])
		b = b[4+size:]
	}
	u.rest = append(u.rest[:0], b...)
}

// request notes what the client wrote.
func (c *tapConn) request(tick int64, body []byte) {
	d := wire.NewDecoder(body)
	if !c.said {
		c.said = true
		var r wire.ConnectRequest
		r.Decode(&d)
		c.log.Asked = r.SessionID
		return
	}
	var h wire.RequestHeader
	h.Decode(&d)
	if h.Xid <= 0 || d.Err() != nil {
		return
	}
	r := Request{Tick: tick, Xid: h.Xid, Op: h.Op}
	switch h.Op {
	case wire.OpSetWatches, wire.OpSetWatches2:
		var q wire.SetWatches2Request
		if h.Op == wire.OpSetWatches2 {
			q.Decode(&d)
		} else {
			var old wire.SetWatchesRequest
			old.Decode(&d)
			q.RelativeZxid, q.Data, q.Exist, q.Child = old.RelativeZxid, old.Data, old.Exist, old.Child
		}
		r.Floor = q.RelativeZxid
		for i, list := range [][]string{q.Data, q.Exist, q.Child, q.Persistent, q.Recursive} {
			for _, p := range list {
				r.Restores = append(r.Restores, Watch{zk.WatchKind(i + 1), c.tap.name([]byte(p))})
			}
		}
	case wire.OpMulti:
		var m wire.MultiRequest
		m.Decode(&d)
		for _, op := range m.Ops {
			switch q := op.Request.(type) {
			case wire.CreateRequest:
				r.Changes = append(r.Changes, c.tap.name([]byte(q.Path)))
			case wire.SetDataRequest:
				r.Changes = append(r.Changes, c.tap.name([]byte(q.Path)))
			case wire.PathVersionRequest:
				if op.Op == wire.OpDelete {
					r.Changes = append(r.Changes, c.tap.name([]byte(q.Path)))
				}
			}
		}
	case wire.OpMultiRead, wire.OpCloseSession:
	default:
		r.Path = c.tap.name([]byte(d.String()))
	}
	c.log.Requests = append(c.log.Requests, r)
}

// frame notes what the client read.
func (c *tapConn) frame(tick int64, body []byte) {
	d := wire.NewDecoder(body)
	if !c.answered {
		c.answered = true
		var r wire.ConnectResponse
		if r.Decode(&d); d.Err() == nil && r.Timeout > 0 {
			c.log.Session = r.SessionID
		}
		return
	}
	var h wire.ReplyHeader
	h.Decode(&d)
	f := Frame{Tick: tick, Xid: h.Xid, Err: h.Err, Zxid: h.Zxid}
	switch {
	case h.Xid == wire.XidNotification:
		var e wire.WatcherEvent
		e.Decode(&d)
		f.Event, f.Path = zk.EventType(e.Type), c.tap.name([]byte(e.Path))
	case h.Xid <= 0:
		return
	}
	c.log.Frames = append(c.log.Frames, f)
}
