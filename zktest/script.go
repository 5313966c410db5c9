package zktest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
)

// scriptPatience is how long a step of a script waits for the client before it fails the test.
const scriptPatience = 10 * time.Second

// Script is a server without behaviour. The test reads the client's frames, and
// writes every frame that the client gets. It is for exchanges that no real
// server would produce, or that must be exact to the byte. A step that fails
// ends the test, so call the methods on the test's goroutine.
type Script struct {
	tb       testing.TB
	incoming chan net.Conn
	done     chan struct{}
	listen   sync.Once
	listener net.Listener
	wg       sync.WaitGroup
}

// NewScript returns a Script that ends with the test.
func NewScript(tb testing.TB) *Script {
	s := &Script{tb: tb, incoming: make(chan net.Conn, 64), done: make(chan struct{})}
	tb.Cleanup(s.close)
	return s
}

// DialContext connects to the script in memory, whatever the address. Use it as
// the client's dial hook.
func (s *Script) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	client, server := Pipe()
	client.remote, server.local = pipeAddr(addr), pipeAddr(addr)
	select {
	case s.incoming <- server:
		return client, nil
	case <-s.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Addr returns a TCP address of the script, host:port. The first call begins to
// listen, which does not work in a testing/synctest bubble.
func (s *Script) Addr() string {
	s.listen.Do(func() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.tb.Fatalf("zktest: %v", err)
		}
		s.listener = l
		s.wg.Go(s.acceptLoop)
	})
	return s.listener.Addr().String()
}

func (s *Script) acceptLoop() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		select {
		case s.incoming <- nc:
		case <-s.done:
			nc.Close()
			return
		}
	}
}

func (s *Script) close() {
	close(s.done)
	if s.listener != nil {
		s.listener.Close()
	}
	s.wg.Wait()
	for {
		select {
		case nc := <-s.incoming:
			nc.Close()
		default:
			return
		}
	}
}

// Accept waits for the next connection.
func (s *Script) Accept() *ScriptConn {
	s.tb.Helper()
	patience := time.NewTimer(scriptPatience)
	defer patience.Stop()
	select {
	case nc := <-s.incoming:
		s.tb.Cleanup(func() { nc.Close() })
		return &ScriptConn{tb: s.tb, nc: nc}
	case <-patience.C:
		s.tb.Fatalf("zktest: no client has connected")
		return nil
	}
}

// ScriptConn is the server's end of a connection to a [Script].
type ScriptConn struct {
	tb    testing.TB
	nc    net.Conn
	batch []byte
	depth int // of nested Batch calls
}

// Conn returns the connection, for what the other methods cannot do.
func (c *ScriptConn) Conn() net.Conn { return c.nc }

// ReadFrame reads a frame and returns its body.
func (c *ScriptConn) ReadFrame() []byte {
	c.tb.Helper()
	body, err := c.readFrame()
	if err != nil {
		c.tb.Fatalf("zktest: waiting for a frame: %v", err)
	}
	return body
}

func (c *ScriptConn) readFrame() ([]byte, error) {
	c.nc.SetReadDeadline(time.Now().Add(scriptPatience))
	defer c.nc.SetReadDeadline(time.Time{})
	var head [4]byte
	if _, err := io.ReadFull(c.nc, head[:]); err != nil {
		return nil, err
	}
	n := wire.FrameLen(head[:])
	if n < 0 || n > 64<<20 {
		return nil, fmt.Errorf("frame length %d", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(c.nc, body)
	return body, err
}

// ReadConnect reads the client's first frame.
func (c *ScriptConn) ReadConnect() wire.ConnectRequest {
	c.tb.Helper()
	d := wire.NewDecoder(c.ReadFrame())
	var q wire.ConnectRequest
	q.Decode(&d)
	if err := d.Err(); err != nil {
		c.tb.Fatalf("zktest: connect request: %v", err)
	}
	return q
}

// SendConnect answers the client's first frame.
func (c *ScriptConn) SendConnect(r wire.ConnectResponse) { c.send(r) }

// Handshake reads the client's first frame and grants what it asks for. A new
// session gets the id 1 and a password of 16 bytes.
func (c *ScriptConn) Handshake() wire.ConnectRequest {
	c.tb.Helper()
	q := c.ReadConnect()
	r := wire.ConnectResponse{Timeout: q.Timeout, SessionID: q.SessionID, Password: q.Password, HasReadOnly: q.HasReadOnly}
	if r.SessionID == 0 {
		r.SessionID, r.Password = 1, []byte("0123456789abcdef")
	}
	c.SendConnect(r)
	return q
}

// Read reads a request: its header and the bytes of its record.
func (c *ScriptConn) Read() (wire.RequestHeader, []byte) {
	c.tb.Helper()
	d := wire.NewDecoder(c.ReadFrame())
	var h wire.RequestHeader
	h.Decode(&d)
	if err := d.Err(); err != nil {
		c.tb.Fatalf("zktest: request header: %v", err)
	}
	return h, d.Rest()
}

// Expect reads a request of this operation, and returns its xid and the bytes of
// its record. It answers pings that come before.
func (c *ScriptConn) Expect(op wire.Op) (int32, []byte) {
	c.tb.Helper()
	for {
		h, body := c.Read()
		switch {
		case h.Op == op:
			return h.Xid, body
		case h.Op == wire.OpPing:
			c.Reply(h.Xid, 0, 0, nil)
		default:
			c.tb.Fatalf("zktest: the client sent %v with xid %d, want %v", h.Op, h.Xid, op)
		}
	}
}

// ExpectEnd waits until the client closes the connection. No frame but pings may
// come before that.
func (c *ScriptConn) ExpectEnd() {
	c.tb.Helper()
	for {
		body, err := c.readFrame()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.tb.Fatalf("zktest: the client has not closed the connection")
			}
			return
		}
		d := wire.NewDecoder(body)
		var h wire.RequestHeader
		if h.Decode(&d); h.Op != wire.OpPing {
			c.tb.Fatalf("zktest: the client sent %v with xid %d, want the end of the connection", h.Op, h.Xid)
		}
	}
}

// Reply sends a reply. The record may be nil.
func (c *ScriptConn) Reply(xid int32, zxid int64, code int32, record wire.Record) {
	h := wire.ReplyHeader{Xid: xid, Zxid: zxid, Err: code}
	if record == nil {
		c.send(h)
		return
	}
	c.send(h, record)
}

// Event sends a notification. Servers before 3.9 put zxid -1 into each.
func (c *ScriptConn) Event(zxid int64, event int32, path string) {
	c.send(wire.ReplyHeader{Xid: wire.XidNotification, Zxid: zxid},
		wire.WatcherEvent{Type: event, State: wire.StateSyncConnected, Path: path})
}

// Raw sends bytes as they are.
func (c *ScriptConn) Raw(b []byte) { c.write(b) }

// Batch calls f, and sends all frames that f sends in one Write. The client
// usually reads them at once.
func (c *ScriptConn) Batch(f func()) {
	c.depth++
	f()
	if c.depth--; c.depth == 0 {
		b := c.batch
		c.batch = nil
		c.write(b)
	}
}

// Close closes the connection.
func (c *ScriptConn) Close() { c.nc.Close() }

func (c *ScriptConn) send(records ...wire.Record) {
	b := wire.BeginFrame(nil)
	for _, r := range records {
		b = r.Append(b)
	}
	wire.EndFrame(b, 0)
	c.write(b)
}

// write leaves errors to the next read: a client that has gone is often what the test is about.
func (c *ScriptConn) write(b []byte) {
	if c.depth > 0 {
		c.batch = append(c.batch, b...)
		return
	}
	_, _ = c.nc.Write(b)
}
