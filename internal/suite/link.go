package suite

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Link is the network of one Config: it counts what is dialed, and can fail.
type Link struct {
	t   *testing.T
	sim *zktest.Ensemble // to dial into one that is in memory

	mu    sync.Mutex // guards all below
	conns map[*linkConn]struct{}
	dials []string
	hook  func(ctx context.Context, addr string) error
	sent  int64 // bytes, over all connections
	got   int64
	last  []byte // what the last Write was given
}

// Dial is the DialContext of the Config.
func (l *Link) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	l.mu.Lock()
	l.dials = append(l.dials, addr)
	hook := l.hook
	l.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, addr); err != nil {
			return nil, err
		}
	}
	dial := new(net.Dialer).DialContext
	if l.sim != nil {
		dial = l.sim.DialContext
	}
	conn, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &linkConn{Conn: conn, link: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns == nil {
		l.conns = make(map[*linkConn]struct{})
	}
	l.conns[c] = struct{}{}
	return c, nil
}

// Fail makes every dial fail, or (nil) none.
func (l *Link) Fail(err error) {
	if err == nil {
		l.On(nil)
		return
	}
	l.On(func(context.Context, string) error { return err })
}

// On has every dial ask first.
func (l *Link) On(hook func(ctx context.Context, addr string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// Cut closes the connections that are open.
func (l *Link) Cut() {
	l.mu.Lock()
	open := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range open {
		c.end()
	}
}

// Open returns how many connections are open.
func (l *Link) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Dialed returns the addresses dialed so far.
func (l *Link) Dialed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.dials)
}

// Traffic returns the bytes written to and read from all connections so far.
func (l *Link) Traffic() (sent, got int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.got
}

// AwaitSent waits until so many bytes were written.
func (l *Link) AwaitSent(n int64) {
	l.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(time.Millisecond) {
		sent, _ := l.Traffic()
		if sent >= n {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%d bytes written, want %d", sent, n)
		}
	}
}

// Hold lets nothing more be written on the connections that are open.
func (l *Link) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.held = true
	}
}

type linkConn struct {
	net.Conn
	link   *Link
	once   sync.Once
	closed chan struct{}
	held   bool // under link.mu
}

func (c *linkConn) Write(b []byte) (int, error) {
	c.link.count(len(b)) // before the answer can come
	c.link.mu.Lock()
	c.link.last = append(c.link.last[:0], b...)
	held := c.held
	c.link.mu.Unlock()
	if held {
		<-c.closed
	}
	n, err := c.Conn.Write(b)
	c.link.count(n - len(b))
	return n, err
}

// LastFrame returns the body of the last frame written.
func (l *Link) LastFrame() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.last
	for len(rest) >= 4 && len(rest) > 4+wire.FrameLen(rest) {
		rest = rest[4+wire.FrameLen(rest):]
	}
	return slices.Clone(rest[4:])
}

func (l *Link) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent += int64(n)
}

func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.link.mu.Lock()
	c.link.got += int64(n)
	c.link.mu.Unlock()
	return n, err
}

func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.end()
}

func (c *linkConn) end() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
