package realservers

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// client speaks the protocol one request at a time. It fails its test at the
// first surprise.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	rec  *recording // nil: none
	xid  int32
	wire.ConnectResponse
	zxid   int64 // the last a reply told
	events []wire.WatcherEvent
}

// timeout is for what takes a moment, on a machine that does much else.
const timeout = 5 * time.Minute

// connect makes a connection and shakes hands.
func connect(t *testing.T, rec *recording, addr string, req wire.ConnectRequest) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(timeout))
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn), rec: rec}
	c.write("connect", req)
	d := wire.NewDecoder(c.read(func([]byte) string { return "connect" }))
	c.ConnectResponse.Decode(&d)
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

// fresh is the request for a new session.
func fresh() wire.ConnectRequest {
	return wire.ConnectRequest{Timeout: 10000, Password: make([]byte, 16), HasReadOnly: true}
}

// again is the request that moves the session of c to another connection.
func (c *client) again() wire.ConnectRequest {
	return wire.ConnectRequest{
		LastZxidSeen: c.zxid, Timeout: 10000, SessionID: c.SessionID, Password: c.Password, HasReadOnly: true,
	}
}

func (c *client) write(label string, records ...wire.Record) {
	c.t.Helper()
	frame := wire.BeginFrame(nil)
	for _, r := range records {
		if r != nil {
			frame = r.Append(frame)
		}
	}
	wire.EndFrame(frame, 0)
	c.rec.add("client to server", label, frame)
	if _, err := c.conn.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// read reads one frame and returns its body. label names it in the recording.
func (c *client) read(label func(body []byte) string) []byte {
	c.t.Helper()
	frame := make([]byte, 4)
	if _, err := io.ReadFull(c.r, frame); err != nil {
		c.t.Fatal(err)
	}
	n := binary.BigEndian.Uint32(frame)
	if n > 1<<20 {
		c.t.Fatalf("a frame of %d bytes", n)
	}
	frame = append(frame, make([]byte, n)...)
	if _, err := io.ReadFull(c.r, frame[4:]); err != nil {
		c.t.Fatal(err)
	}
	c.rec.add("server to client", label(frame[4:]), frame)
	return frame[4:]
}

// call sends a request, with its own xid unless the protocol gives it one, and
// returns the reply's error and body. Events on the way are kept.
func (c *client) call(op wire.Op, request wire.Record) (int32, wire.Decoder) {
	c.t.Helper()
	var xid int32
	switch op {
	case wire.OpPing:
		xid = wire.XidPing
	case wire.OpAuth:
		xid = wire.XidAuth
	default:
		c.xid++
		xid = c.xid
	}
	c.write(op.String(), wire.RequestHeader{Xid: xid, Op: op}, request)
	for {
		h, d := c.next(op)
		if h.Xid == xid {
			return h.Err, d
		}
		if h.Xid != wire.XidNotification {
			c.t.Fatalf("reply to xid %d, want %d", h.Xid, xid)
		}
	}
}

// next reads one frame: an event, which it keeps, or the reply to op.
func (c *client) next(op wire.Op) (wire.ReplyHeader, wire.Decoder) {
	c.t.Helper()
	var h wire.ReplyHeader
	body := c.read(func(body []byte) string {
		if d := wire.NewDecoder(body); d.Int32() == wire.XidNotification {
			return "notification"
		}
		return "reply " + op.String()
	})
	d := wire.NewDecoder(body)
	h.Decode(&d)
	if h.Xid == wire.XidNotification {
		var e wire.WatcherEvent
		e.Decode(&d)
		c.events = append(c.events, e)
	} else if h.Zxid > 0 {
		c.zxid = max(c.zxid, h.Zxid)
	}
	if err := d.Err(); err != nil {
		c.t.Fatal(err)
	}
	return h, d
}

// want makes a call that must be answered with that error number.
func (c *client) want(err int32, op wire.Op, request wire.Record) wire.Decoder {
	c.t.Helper()
	got, d := c.call(op, request)
	if got != err {
		c.t.Fatalf("%v %+v: error %d, want %d", op, request, got, err)
	}
	return d
}

// ok makes a call that must succeed.
func (c *client) ok(op wire.Op, request wire.Record) wire.Decoder {
	c.t.Helper()
	return c.want(wire.ErrOK, op, request)
}

// wantEvents checks the events that came since the last time: "3 /path".
func (c *client) wantEvents(want ...string) {
	c.t.Helper()
	var got []string
	for _, e := range c.events {
		got = append(got, fmt.Sprint(e.Type, " ", e.Path))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("events %q, want %q", got, want)
	}
	c.events = nil
}

// wantEOF checks that the server hangs up.
func (c *client) wantEOF() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Errorf("byte %d, want the end of the connection", b)
	}
}

var open = []wire.ACL{{Perms: wire.PermAll, Scheme: "world", ID: "anyone"}}
