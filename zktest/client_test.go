package zktest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// patience is how long anything may take before a test gives up. Nothing is timed
// against it.
const patience = time.Minute

// becomes waits until something is so, and reports whether it was within patience.
func becomes(so func() bool) bool {
	for end := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// client speaks raw frames over one connection.
type client struct {
	t      testing.TB
	nc     net.Conn
	id     int64
	pw     []byte
	ro     bool
	to     time.Duration
	zxid   int64 // of the last reply
	xid    int32
	skip   int32               // a request whose reply is of no interest; 0: none
	auths  int                 // replies to auth that come when they like
	authed []int32             // their errors
	events []wire.WatcherEvent // read while waiting for replies
	ezxids []int64
}

var world = []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}

func open(t testing.TB, e *Ensemble, member int) *client {
	t.Helper()
	nc, err := e.DialContext(context.Background(), "tcp", e.Addrs()[member])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc}
}

func dial(t testing.TB, e *Ensemble, member int) *client {
	t.Helper()
	c := open(t, e, member)
	if _, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	return c
}

// move takes c's session over to a new connection.
func (c *client) move(e *Ensemble, member int) (*client, wire.ConnectResponse, error) {
	c.t.Helper()
	n := open(c.t, e, member)
	r, err := n.connect(wire.ConnectRequest{
		Timeout: 5000, SessionID: c.id, Password: c.pw, LastZxidSeen: c.zxid, HasReadOnly: true,
	})
	n.zxid = c.zxid
	return n, r, err
}

func (c *client) connect(q wire.ConnectRequest) (wire.ConnectResponse, error) {
	c.writeFrame(q)
	var r wire.ConnectResponse
	body, err := c.readFrame()
	if err != nil {
		return r, err
	}
	d := wire.NewDecoder(body)
	r.Decode(&d)
	c.id, c.pw, c.ro, c.to = r.SessionID, r.Password, r.ReadOnly, time.Duration(r.Timeout)*time.Millisecond
	return r, d.Err()
}

func (c *client) writeFrame(recs ...wire.Record) {
	b := wire.BeginFrame(nil)
	for _, r := range recs {
		b = r.Append(b)
	}
	wire.EndFrame(b, 0)
	c.nc.Write(b)
}

func (c *client) readFrame() ([]byte, error) {
	c.nc.SetReadDeadline(time.Now().Add(patience))
	var head [4]byte
	if _, err := io.ReadFull(c.nc, head[:]); err != nil {
		return nil, err
	}
	body := make([]byte, wire.FrameLen(head[:]))
	_, err := io.ReadFull(c.nc, body)
	return body, err
}

// send writes a request and returns its xid.
func (c *client) send(op wire.Op, recs ...wire.Record) int32 {
	c.xid++
	xid := c.xid
	switch op {
	case wire.OpPing:
		xid = wire.XidPing
	case wire.OpAuth:
		xid = wire.XidAuth
	}
	c.writeFrame(append([]wire.Record{wire.RequestHeader{Xid: xid, Op: op}}, recs...)...)
	return xid
}

// recv reads the reply to xid. Events before it are collected.
func (c *client) recv(xid int32) (wire.ReplyHeader, wire.Decoder, error) {
	for {
		body, err := c.readFrame()
		if err != nil {
			return wire.ReplyHeader{}, wire.Decoder{}, err
		}
		d := wire.NewDecoder(body)
		var h wire.ReplyHeader
		h.Decode(&d)
		if h.Xid == wire.XidNotification {
			var ev wire.WatcherEvent
			ev.Decode(&d)
			c.events, c.ezxids = append(c.events, ev), append(c.ezxids, h.Zxid)
			continue
		}
		if h.Xid == wire.XidAuth && c.auths > 0 {
			c.auths--
			c.authed = append(c.authed, h.Err)
			if c.auths == 0 && xid == wire.XidAuth {
				return h, d, d.Err()
			}
			continue
		}
		if h.Xid == c.skip && c.skip != 0 {
			c.skip = 0
			continue
		}
		if h.Xid != xid {
			c.t.Fatalf("reply to xid %d, want %d", h.Xid, xid)
		}
		if h.Zxid > c.zxid {
			c.zxid = h.Zxid
		}
		return h, d, d.Err()
	}
}

// call sends a request and decodes the reply's record into out, if there is one.
func (c *client) call(op wire.Op, req wire.Record, out interface{ Decode(*wire.Decoder) }) int32 {
	c.t.Helper()
	var xid int32
	if req == nil {
		xid = c.send(op)
	} else {
		xid = c.send(op, req)
	}
	h, d, err := c.recv(xid)
	if err != nil {
		c.t.Fatalf("%v: %v", op, err)
	}
	switch {
	case h.Err == 0 && out != nil:
		out.Decode(&d)
		if d.Err() != nil {
			c.t.Fatalf("%v: %v", op, d.Err())
		}
		fallthrough
	default:
		if h.Err == 0 && d.Len() != 0 {
			c.t.Fatalf("%v: %d bytes behind the reply", op, d.Len())
		}
	case h.Err != 0:
		if d.Len() != 0 {
			c.t.Fatalf("%v: a body with error %d", op, h.Err)
		}
	}
	return h.Err
}

func (c *client) must(op wire.Op, req wire.Record, out interface{ Decode(*wire.Decoder) }) {
	c.t.Helper()
	if code := c.call(op, req, out); code != 0 {
		c.t.Fatalf("%v %+v: error %d", op, req, code)
	}
}

func (c *client) create(path string, data []byte, flags int32) string {
	c.t.Helper()
	var r wire.PathResponse
	c.must(wire.OpCreate, wire.CreateRequest{Path: path, Data: data, ACL: world, Flags: flags}, &r)
	return r.Path
}

func (c *client) tryCreate(path string, flags int32) int32 {
	c.t.Helper()
	var r wire.PathResponse
	return c.call(wire.OpCreate, wire.CreateRequest{Path: path, ACL: world, Flags: flags}, &r)
}

func (c *client) set(path string, data string) wire.Stat {
	c.t.Helper()
	var s wire.Stat
	c.must(wire.OpSetData, wire.SetDataRequest{Path: path, Data: []byte(data), Version: -1}, &s)
	return s
}

func (c *client) del(path string) int32 {
	c.t.Helper()
	return c.call(wire.OpDelete, wire.PathVersionRequest{Path: path, Version: -1}, nil)
}

func (c *client) stat(path string) (wire.Stat, int32) {
	c.t.Helper()
	var s wire.Stat
	code := c.call(wire.OpExists, wire.PathWatchRequest{Path: path}, &s)
	return s, code
}

func (c *client) watch(op wire.Op, path string) int32 {
	c.t.Helper()
	xid := c.send(op, wire.PathWatchRequest{Path: path, Watch: true})
	h, _, err := c.recv(xid)
	if err != nil {
		c.t.Fatal(err)
	}
	return h.Err
}

func (c *client) ping() { c.t.Helper(); c.must(wire.OpPing, nil, nil) }

// took returns the events so far, after a ping has flushed them out, and forgets them.
func (c *client) took() []wire.WatcherEvent {
	c.t.Helper()
	c.ping()
	evs := c.events
	c.events, c.ezxids = nil, nil
	return evs
}

// ended fails unless the server has closed the connection without another frame.
func (c *client) ended() {
	c.t.Helper()
	if body, err := c.readFrame(); err == nil {
		c.t.Fatalf("a frame of %d bytes, want the end of the connection", len(body))
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal(err)
	}
}

func event(typ int32, path string) wire.WatcherEvent {
	return wire.WatcherEvent{Type: typ, State: 3, Path: path}
}

func ptr[T any](v T) *T { return &v }
