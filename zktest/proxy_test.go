package zktest

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// link opens a connection through a proxy.
func link(t testing.TB, p *Proxy) *client {
	t.Helper()
	nc, err := net.Dial("tcp", p.Addr())
	assert.NilError(t, err)
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc}
}

// join makes a session through a proxy.
func join(t testing.TB, p *Proxy) *client {
	t.Helper()
	c := link(t, p)
	_, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true})
	assert.NilError(t, err)
	return c
}

// said returns the log without what differs from run to run, once a Hangup is in it.
func said(t testing.TB, p *Proxy) []string {
	t.Helper()
	ended := func(f Frame) bool { return f.Dir == Hangup }
	for range 2000 {
		if slices.ContainsFunc(p.Frames(), ended) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return shown(p)
}

func shown(p *Proxy) []string {
	var lines []string
	for _, f := range p.Frames() {
		_, line, _ := strings.Cut(f.String(), " session ")
		_, line, _ = strings.Cut(line, " ")
		line, note, _ := strings.Cut(line, " (")
		line, _, _ = strings.Cut(line, " after ")
		if note != "" {
			line += " (" + note
		}
		lines = append(lines, line)
	}
	return lines
}

func TestProxyDecodes(t *testing.T) {
	s := NewServer(t)
	p := NewProxy(t, s.Addr(), ProxyOptions{Raw: true})
	c := join(t, p)
	c.create("/a", []byte("x"), 0)
	c.create("/a/n-", nil, wire.FlagEphemeralSequential)
	assert.Equal(t, c.watch(wire.OpExists, "/none"), wire.ErrNoNode)
	assert.Equal(t, c.watch(wire.OpGetData, "/a"), int32(0))
	c.set("/a", "y")
	assert.Equal(t, c.call(wire.OpDelete, wire.PathVersionRequest{Path: "/a", Version: 7}, nil), wire.ErrBadVersion)
	c.call(wire.OpMulti, wire.MultiRequest{Ops: []wire.MultiOp{
		{Op: wire.OpCreate, Request: wire.CreateRequest{Path: "/b", ACL: world}},
		{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/none", Version: -1}},
	}}, &wire.MultiResponse{})
	c.must(wire.OpAuth, wire.AuthRequest{Scheme: "digest", Auth: []byte("user:secret")}, nil)
	c.send(wire.OpSetWatches, wire.SetWatchesRequest{RelativeZxid: 0x100000099, Data: []string{"/a", "/b"}, Child: []string{"/a"}})
	c.recv(c.xid)
	c.ping()
	c.must(wire.OpCloseSession, nil, nil)
	c.ended()
	c.nc.Close()
	assert.DeepEqual(t, said(t, p), []string{
		`-> connect (wants timeout 5s)`,
		`<- connect (timeout 5s)`,
		`-> create xid 1 "/a"`,
		`<- create xid 1 "/a" zxid 0x100000002`,
		`-> create xid 2 "/a/n-" (ephemeral sequential)`,
		`<- create xid 2 "/a/n-" zxid 0x100000003 (made "/a/n-0000000000")`,
		`-> exists xid 3 "/none" (watch)`,
		`<- exists xid 3 "/none" zxid 0x100000003 err -101`,
		`-> getData xid 4 "/a" (watch)`,
		`<- getData xid 4 "/a" zxid 0x100000003`,
		`-> setData xid 5 "/a"`,
		`<- notification type 3 xid -1 "/a" zxid 0x100000004`,
		`<- setData xid 5 "/a" zxid 0x100000004`,
		`-> delete xid 6 "/a" (version 7)`,
		`<- delete xid 6 "/a" zxid 0x100000005 err -103`,
		`-> multi xid 7 (create "/b", delete "/none")`,
		`<- multi xid 7 zxid 0x100000006 (op 1 failed: err -101)`,
		`-> auth xid -4 (scheme digest)`,
		`<- auth xid -4`,
		`-> setWatches xid 9 zxid 0x100000099 (2 data, 1 child)`,
		`<- notification type 2 xid -1 "/b" zxid -0x1`,
		`<- setWatches xid 9 zxid 0x100000006`,
		`-> ping xid -2`,
		`<- ping xid -2 zxid 0x100000006`,
		`-> closeSession xid 11`,
		`<- notification type 4 xid -1 "/a" zxid 0x100000007`,
		`<- closeSession xid 11 zxid 0x100000007`,
		`x  server closed the connection`,
	})
	for i, f := range p.Frames() {
		assert.Equal(t, f.Conn, int64(1))
		assert.Assert(t, f.Session == c.id || i == 0, "%v", f)
		assert.Equal(t, len(f.Raw), f.Len, "%v", f)
		assert.Equal(t, f.Latency > 0, f.Dir == ToClient && f.Op != OpConnect && f.Op != wire.OpNotification, "%v", f)
	}
	p.ForgetFrames()
	assert.Equal(t, len(p.Frames()), 0)
}

func TestProxyCutAndReset(t *testing.T) {
	s := NewServer(t)
	p := NewProxy(t, s.Addr())
	for _, test := range []struct {
		strike func()
		err    error
		note   string
	}{
		{p.Cut, io.EOF, "x  cut"},
		{p.Reset, syscall.ECONNRESET, "x  reset"},
	} {
		c := join(t, p)
		c.ping()
		p.ForgetFrames()
		test.strike()
		_, err := c.readFrame()
		assert.Assert(t, errors.Is(err, test.err), "%v", err)
		c.nc.Close()
		assert.DeepEqual(t, said(t, p), []string{test.note})
	}
	assert.Equal(t, len(s.Sessions()), 2)
}
