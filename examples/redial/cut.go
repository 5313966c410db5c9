package main

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// traffic follows the sessions that are to be cut, through the hooks of their
// configs: who they are, where they are, and how often they were redialed.
type traffic struct {
	dialer bool // make the connections here, so that they can be closed here

	mu      sync.Mutex // guards all below
	conns   []net.Conn
	at      map[string]place // by the job's name
	redials int
}

type place struct {
	addr string
	id   int64
}

// follow returns the config for a job, with hooks.
func (t *traffic) follow(job string, conf zk.Config) zk.Config {
	conf.Trace = &zk.Trace{Handshake: func(_ context.Context, addr string, id int64, _ time.Duration, err error) {
		if err != nil {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if _, ok := t.at[job]; ok {
			t.redials++
		}
		t.at[job] = place{addr, id}
	}}
	if t.dialer {
		conf.DialContext = t.dial
	}
	return conf
}

// conn tells its traffic when it is closed.
type conn struct {
	net.Conn
	closed func()
}

func (c *conn) Close() error {
	c.closed()
	return c.Conn.Close()
}

func (t *traffic) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns = append(t.conns, nc)
	return &conn{nc, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.conns = slices.DeleteFunc(t.conns, func(x net.Conn) bool { return x == nc })
	}}, nil
}

// cutOne closes a connection that the dialer has made: the way to cut it where
// the servers are not ours.
func (t *traffic) cutOne() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.conns) > 0 {
		t.conns[rand.N(len(t.conns))].Close()
	}
}

// fault does one of the things to a session that servers and networks do.
func (t *traffic) fault(e *zktest.Ensemble) {
	t.mu.Lock()
	var ids []int64
	for _, p := range t.at {
		ids = append(ids, p.id)
	}
	t.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	id := ids[rand.N(len(ids))]
	switch rand.N(6) {
	case 0: // before a request is executed
		e.Fault(zktest.Rule{Session: id, Do: zktest.CutBefore})
	case 1: // after it was, and before it is answered
		e.Fault(zktest.Rule{Session: id, Do: zktest.CutAfter})
	case 2: // at some byte of what the next connection brings, in the handshake or between two events
		e.Link(zktest.LinkRule{ToClient: zktest.CutAt(rand.Int64N(64 << rand.N(12)))})
		e.Cut(id)
	case 3: // with a whole server, that comes back
		m := e.Member(rand.N(len(e.Addrs())))
		m.Stop()
		time.Sleep(rand.N(100 * time.Millisecond))
		m.Start()
	default: // wherever it is
		e.Cut(id)
	}
}

// cut cuts connections at random moments until finish is closed.
func cut(one func(), finish <-chan struct{}) {
	for {
		select {
		case <-time.After(20*time.Millisecond + rand.N(130*time.Millisecond)):
			one()
		case <-finish:
			return
		}
	}
}

func (t *traffic) status() (redials int, at map[string]place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at = make(map[string]place, len(t.at))
	for job, p := range t.at {
		at[job] = p
	}
	return t.redials, at
}
