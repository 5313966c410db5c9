package suite

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// This file is for tests whose server is played by hand, frame by frame: a rig
// takes what is dialed through its Config, a line is one connection of it, and
// the test reads and writes the frames in the order in which it states them.

// Of the sessions of a rig, unless a test says otherwise.
const (
	RigID      int64 = 0x5e5510
	RigTimeout       = 12 * time.Second // its third, sixth and quarters are whole seconds
)

// RigPassword is what Welcome gives with a session.
var RigPassword = []byte("0123456789abcdef")

// Rig is the far end of a network on which every server is played by the test.
type Rig struct {
	T       testing.TB
	Arrived chan *Line
	Stop    chan struct{} // closed at the end of the test

	Lay func(net.Conn) net.Conn // what the client gets instead of its bare end; nil: that

	Mu         sync.Mutex // guards all below
	Lines      []*Line
	LastClient *zktest.PipeConn // the client's end of the last connection
	over       bool
}

// Bubble runs a test on a rig, on the fake clock. No goroutine may be left.
func Bubble(t *testing.T, f func(t *testing.T, r *Rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, NewRig(t)) })
}

// NewRig returns a rig that ends with the test.
func NewRig(t testing.TB) *Rig {
	r := &Rig{T: t, Arrived: make(chan *Line, 4096), Stop: make(chan struct{})}
	t.Cleanup(r.End) // of a test that failed half-way too
	return r
}

// End closes every connection, now and later, so that nothing waits for an answer.
func (r *Rig) End() {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	if r.over {
		return
	}
	r.over = true
	close(r.Stop)
	for _, l := range r.Lines {
		l.Close()
	}
}

// Config is a Config of servers of this rig.
func (r *Rig) Config() zk.Config {
	return zk.Config{Addrs: []string{"server:2181"}, Timeout: RigTimeout, DialContext: r.dial}
}

func (r *Rig) dial(context.Context, string, string) (net.Conn, error) {
	client, server := zktest.Pipe()
	r.Mu.Lock()
	defer r.Mu.Unlock()
	if r.over {
		return nil, errors.New("the test is over")
	}
	l := &Line{PipeConn: server, T: r.T, Stop: r.Stop}
	r.Lines = append(r.Lines, l)
	r.LastClient = client
	r.Arrived <- l
	if r.Lay != nil {
		return r.Lay(client), nil
	}
	return client, nil
}

// Connections returns how many there were so far.
func (r *Rig) Connections() int {
	r.Mu.Lock()
	defer r.Mu.Unlock()
	return len(r.Lines)
}

// Accept returns the next connection that is dialed.
func (r *Rig) Accept() *Line {
	r.T.Helper()
	select {
	case l := <-r.Arrived:
		return l
	case <-time.After(time.Minute):
		r.T.Fatal("nobody dials")
		return nil
	}
}

// Open dials a Session whose server says what an ordinary one says. A State
// with watches needs more answers: see Begin.
func (r *Rig) Open(conf zk.Config) (*zk.Session, *Line) {
	r.T.Helper()
	d := r.Begin(conf)
	l := r.Accept()
	l.Greet()
	return d.Session(), l
}

// Dialing is a Dial under way.
type Dialing struct {
	*Under
	S *zk.Session
}

// Begin starts a Dial.
func (r *Rig) Begin(conf zk.Config) *Dialing { return r.BeginContext(context.Background(), conf) }

// BeginContext is Begin with a context.
func (r *Rig) BeginContext(ctx context.Context, conf zk.Config) *Dialing {
	d := new(Dialing)
	d.Under = Start(r.T, func() (err error) {
		d.S, err = zk.Dial(ctx, conf)
		return err
	})
	return d
}

// Session waits for the Session.
func (d *Dialing) Session() *zk.Session {
	d.t.Helper()
	d.OK()
	return d.S
}

// Move redials, on a server that has nothing to tell.
func (r *Rig) Move(conf zk.Config, zxid int64) (*zk.Session, *Line, wire.ConnectRequest, wire.SetWatches2Request) {
	r.T.Helper()
	d := r.Begin(conf)
	l := r.Accept()
	q := l.Greet()
	w := l.Restored(zxid)
	return d.Session(), l, q, w
}
