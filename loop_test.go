package zk_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
)

// loopConn is a connection to no server: every request written to it has its
// reply ready to read, without an allocation. It prices the client alone.
type loopConn struct {
	mu     sync.Mutex
	ready  *sync.Cond
	out    []byte // replies to read
	off    int
	rest   []byte // a request cut short
	closed bool
	greet  bool // the ConnectRequest is answered
	zxid   int64
	names  []string
	data   []byte
	event  []byte // sent ahead of every eventEvery-th reply
	every  int
	n      int
}

func newLoopConn() *loopConn {
	c := &loopConn{data: make([]byte, 100), zxid: 100}
	c.ready = sync.NewCond(&c.mu)
	return c
}

func (c *loopConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	n := len(b)
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	for len(b) >= 4 && len(b) >= 4+wire.FrameLen(b) {
		size := 4 + wire.FrameLen(b)
		c.serve(b[4:size])
		b = b[size:]
	}
	c.rest = append(c.rest[:0], b...)
	c.ready.Signal()
	return n, nil
}

func (c *loopConn) serve(b []byte) {
	if c.off == len(c.out) {
		c.out, c.off = c.out[:0], 0
	}
	at := len(c.out)
	c.out = wire.BeginFrame(c.out)
	if !c.greet {
		c.greet = true
		c.out = wire.ConnectResponse{Timeout: 10000, SessionID: 7, Password: make([]byte, 16), HasReadOnly: true}.Append(c.out)
		wire.EndFrame(c.out, at)
		return
	}
	d := wire.NewDecoder(b)
	var h wire.RequestHeader
	h.Decode(&d)
	if c.every > 0 {
		if c.n++; c.n%c.every == 0 {
			c.out = append(c.out[:at], c.event...)
			at = len(c.out)
			c.out = wire.BeginFrame(c.out)
		}
	}
	c.out = wire.ReplyHeader{Xid: h.Xid, Zxid: c.zxid}.Append(c.out)
	switch h.Op {
	case wire.OpGetData:
		c.out = wire.GetDataResponse{Data: c.data, Stat: wire.Stat{Version: 1}}.Append(c.out)
	case wire.OpExists, wire.OpSetData:
		c.out = wire.Stat{Version: 1}.Append(c.out)
	case wire.OpGetChildren2:
		c.out = wire.Children2Response{Children: c.names}.Append(c.out)
	}
	wire.EndFrame(c.out, at)
}

// happen sends an event of its own accord.
func (c *loopConn) happen(event []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.off == len(c.out) {
		c.out, c.off = c.out[:0], 0
	}
	c.out = append(c.out, event...)
	c.ready.Signal()
}

func (c *loopConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.off == len(c.out) {
		if c.closed {
			return 0, io.EOF
		}
		c.ready.Wait()
	}
	n := copy(b, c.out[c.off:])
	c.off += n
	return n, nil
}

func (c *loopConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ready.Broadcast()
	return nil
}

func (c *loopConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *loopConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *loopConn) SetDeadline(time.Time) error      { return nil }
func (c *loopConn) SetReadDeadline(time.Time) error  { return nil }
func (c *loopConn) SetWriteDeadline(time.Time) error { return nil }

// loopSession dials a loopConn.
func loopSession(tb testing.TB, conf zk.Config) (*zk.Session, *loopConn) {
	c := newLoopConn()
	conf.DialContext = func(context.Context, string, string) (net.Conn, error) { return c, nil }
	s, err := zk.Dial(context.Background(), conf)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s, c
}
