package scripts

import (
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// countingConn counts what passes, and keeps the first bytes that are written. It
// does not show what it is laid over.
type countingConn struct {
	net.Conn
	first         atomic.Pointer[[]byte]
	sent, got     atomic.Int64
	closed, stuck atomic.Bool
}

func (c *countingConn) Write(b []byte) (int, error) {
	first := append([]byte(nil), b...)
	c.first.CompareAndSwap(nil, &first)
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.got.Add(int64(n))
	return n, err
}

func (c *countingConn) Close() error {
	c.closed.Store(true)
	if c.stuck.Load() {
		return nil // what is below is closed all the same
	}
	return c.Conn.Close()
}

// Wrap gets each connection once, with its address, over TCP and TLS: what passes is
// the frames, and the numbers are those of Stats. A successor's is wrapped too.
func TestWrap(t *testing.T) {
	a := suite.NewAuthority(t)
	for name, secure := range map[string]bool{"TCP": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			e := suite.Private(t, 1)
			conf, _ := e.Config()
			conf.DialContext = nil
			if secure {
				cert := a.Issue("127.0.0.1")
				conf.Addrs = []string{suite.Terminate(t, &tls.Config{Certificates: []tls.Certificate{cert}}, conf.Addrs[0])}
				conf.TLS = &tls.Config{RootCAs: a.Pool()}
			}
			var addrs []string
			var conns []*countingConn
			conf.Wrap = func(addr string, c net.Conn) net.Conn {
				addrs = append(addrs, addr)
				conns = append(conns, &countingConn{Conn: c})
				return conns[len(conns)-1]
			}
			s := e.Dial(conf)
			e.Create(s, "/a", "x")
			next, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			e.Keep(next)
			assert.DeepEqual(t, addrs, []string{conf.Addrs[0], conf.Addrs[0]})
			for i, s := range []*zk.Session{s, next} {
				var q wire.ConnectRequest
				first := *conns[i].first.Load()
				d := wire.NewDecoder(first[4:])
				q.Decode(&d)
				assert.NilError(t, d.Err())
				assert.Equal(t, q.Timeout, int32(40_000))
				n := s.Stats()
				assert.Equal(t, conns[i].sent.Load(), n.BytesSent)
				assert.Equal(t, conns[i].got.Load(), n.BytesReceived)
			}
			assert.Assert(t, conns[0].closed.Load() && !conns[1].closed.Load())
			assert.NilError(t, next.Close())
			assert.Assert(t, conns[1].closed.Load())
		})
	}
}

// A Close that keeps quiet cannot keep a connection open.
func TestWrapThatStaysOpen(t *testing.T) {
	e := suite.Private(t, 1)
	conf, l := e.Config()
	conf.Wrap = func(_ string, c net.Conn) net.Conn {
		w := &countingConn{Conn: c}
		w.stuck.Store(true)
		return w
	}
	s := e.Dial(conf)
	s.Detach()
	assert.Equal(t, l.Open(), 0)
}

// A Wrap that returns nothing, or panics, gives no session and leaves no connection.
func TestWrapFails(t *testing.T) {
	e := suite.Private(t, 1)
	conf, l := e.Config()
	conf.Wrap = func(string, net.Conn) net.Conn { return nil }
	_, err := zk.Dial(e.Ctx, conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.ErrorContains(t, err, "Config.Wrap returned no connection")
	assert.Equal(t, l.Open(), 0)

	conf.Wrap = func(string, net.Conn) net.Conn { panic("oops") }
	func() {
		defer func() { assert.Equal(t, recover(), "oops") }()
		zk.Dial(e.Ctx, conf)
	}()
	assert.Equal(t, l.Open(), 0)
	assert.Equal(t, len(l.Dialed()), 2)
}

// panickyConn panics in its Write or Read, once it is told to, before or after what is
// below has done its work.
type panickyConn struct {
	net.Conn
	inWrite, inRead, after atomic.Bool
}

func (c *panickyConn) Write(b []byte) (int, error) {
	if c.inWrite.Load() && c.after.Load() {
		c.Conn.Write(b)
	}
	if c.inWrite.Load() {
		panic("oops")
	}
	return c.Conn.Write(b)
}

func (c *panickyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.inRead.Load() {
		panic("oops")
	}
	return n, err
}

// A panic on a wrapped connection ends that connection and nothing else: calls report
// it as lost, and the session moves on.
func TestWrapPanics(t *testing.T) {
	for name, arm := range map[string]func(*panickyConn){
		"write":       func(c *panickyConn) { c.inWrite.Store(true) },
		"after write": func(c *panickyConn) { c.after.Store(true); c.inWrite.Store(true) },
		"read":        func(c *panickyConn) { c.inRead.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			e := suite.Private(t, 1)
			conf, _ := e.Config()
			var last *panickyConn
			conf.Wrap = func(_ string, c net.Conn) net.Conn {
				last = &panickyConn{Conn: c}
				return last
			}
			s := e.Dial(conf)
			ch := make(chan zk.Event, 1)
			e.Watch(s, "/", ch)
			arm(last)
			_, _, err := s.Get(e.Ctx, "/", nil)
			if name != "after write" { // then the answer may come
				suite.CheckOutcome(t, err, zk.Lost, zk.ErrConnection)
			}
			suite.Await(t, s.Done())
			assert.ErrorContains(t, s.Err(), "panicked at wrap_test.go:")
			assert.ErrorContains(t, s.Err(), ": oops")
			next, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			e.Keep(next)
			e.Create(next, "/a", "")
			e.Set(next, "/", "x")
			e.Want(ch, zk.Changed, "/")
		})
	}
}
