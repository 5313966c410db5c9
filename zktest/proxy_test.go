package zktest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
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
	becomes(func() bool { return slices.ContainsFunc(p.Frames(), ended) })
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
	c.send(wire.OpSetWatches, wire.SetWatchesRequest{RelativeZxid: 0x99, Data: []string{"/a", "/b"}, Exist: []string{}, Child: []string{"/a"}})
	c.recv(c.xid)
	c.ping()
	c.must(wire.OpCloseSession, nil, nil)
	c.ended()
	c.nc.Close()
	assert.DeepEqual(t, said(t, p), []string{
		`-> connect (wants timeout 5s)`,
		`<- connect (timeout 5s)`,
		`-> create xid 1 "/a"`,
		`<- create xid 1 "/a" zxid 0x2`,
		`-> create xid 2 "/a/n-" (ephemeral sequential)`,
		`<- create xid 2 "/a/n-" zxid 0x3 (made "/a/n-0000000000")`,
		`-> exists xid 3 "/none" (watch)`,
		`<- exists xid 3 "/none" zxid 0x3 err -101`,
		`-> getData xid 4 "/a" (watch)`,
		`<- getData xid 4 "/a" zxid 0x3`,
		`-> setData xid 5 "/a"`,
		`<- notification type 3 xid -1 "/a" zxid 0x4`,
		`<- setData xid 5 "/a" zxid 0x4`,
		`-> delete xid 6 "/a" (version 7)`,
		`<- delete xid 6 "/a" zxid 0x5 err -103`,
		`-> multi xid 7 (create "/b", delete "/none")`,
		`<- multi xid 7 zxid 0x6 (op 1 failed: err -101)`,
		`-> auth xid -4 (scheme digest)`,
		`<- auth xid -4`,
		`-> setWatches xid 9 zxid 0x99 (2 data, 1 child)`,
		`<- notification type 2 xid -1 "/b" zxid -0x1`,
		`<- setWatches xid 9 zxid 0x6`,
		`-> ping xid -2`,
		`<- ping xid -2 zxid 0x6`,
		`-> closeSession xid 11`,
		`<- notification type 4 xid -1 "/a" zxid 0x7`,
		`<- closeSession xid 11 zxid 0x7`,
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
		{p.Reset, errReset, "x  reset"},
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

// heard waits until the server's log has a request of this kind.
func heard(t testing.TB, e *Ensemble, op wire.Op) {
	t.Helper()
	asked := func(f Frame) bool { return f.Dir == FromClient && f.Op == op }
	assert.Assert(t, becomes(func() bool { return slices.ContainsFunc(e.Frames(), asked) }), "the server got no %v", op)
}

// hearsNothing fails if the server sends something. It can miss what is late, never
// accuse what is right.
func (c *client) hearsNothing() {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := c.nc.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		c.t.Fatalf("the server has said something, or has gone: %v", err)
	}
}

func TestProxyHold(t *testing.T) {
	s := NewServer(t)
	p := NewProxy(t, s.Addr())
	c := join(t, p)
	p.Hold(ToClient)
	xid := c.send(wire.OpExists, wire.PathWatchRequest{Path: "/"})
	heard(t, s.Ensemble, wire.OpExists)
	c.hearsNothing()
	s.CutAll() // its end does not pass either
	c.hearsNothing()
	late := link(t, p) // held as well
	late.writeFrame(wire.ConnectRequest{Timeout: 5000, SessionID: c.id, Password: c.pw})
	late.hearsNothing()
	p.Release(ToClient)
	_, _, err := c.recv(xid)
	assert.NilError(t, err)
	c.ended()
	_, err = late.readFrame()
	assert.NilError(t, err)

	s.ForgetFrames()
	c = join(t, p)
	p.Hold(FromClient)
	c.send(wire.OpSync, wire.PathRequest{Path: "/"})
	c.hearsNothing()
	assert.Assert(t, !slices.ContainsFunc(s.Frames(), func(f Frame) bool { return f.Op == wire.OpSync }))
	p.Heal()
	_, _, err = c.recv(c.xid)
	assert.NilError(t, err)
	heard(t, s.Ensemble, wire.OpSync)
}

func TestProxyDelayAndDrip(t *testing.T) {
	s := NewServer(t)
	p := NewProxy(t, s.Addr())
	c := join(t, p)
	c.create("/a", make([]byte, 1000), 0)
	took := func() time.Duration {
		start := time.Now()
		c.must(wire.OpGetData, wire.PathWatchRequest{Path: "/a"}, &wire.GetDataResponse{})
		frames := p.Frames()
		latency := frames[len(frames)-1].Latency
		assert.Assert(t, latency <= time.Since(start))
		return latency
	}
	p.Delay(FromClient, 30*time.Millisecond)
	assert.Assert(t, took() >= 30*time.Millisecond)
	p.Delay(ToClient, 20*time.Millisecond)
	assert.Assert(t, took() >= 50*time.Millisecond)

	// What waits does not add up: requests pass before the first of them is answered.
	p.ForgetFrames()
	for range 100 {
		c.send(wire.OpExists, wire.PathWatchRequest{Path: "/"})
	}
	for i := range 100 {
		_, _, err := c.recv(c.xid - 99 + int32(i))
		assert.NilError(t, err)
	}
	inARow, most := 0, 0
	for _, f := range p.Frames() {
		if inARow++; f.Dir == ToClient {
			inARow = 0
		}
		most = max(most, inARow)
	}
	assert.Assert(t, most > 1)

	p.Heal()
	p.Drip(ToClient, 20_000)
	start := time.Now()
	took()
	assert.Assert(t, time.Since(start) >= 40*time.Millisecond) // 1 KB, less what a drop is
	p.Drip(ToClient, 0)
	p.Drip(FromClient, 1) // a byte per second, which an end of it overtakes
	xid := c.send(wire.OpPing)
	p.Drip(FromClient, 0)
	_, _, err := c.recv(xid)
	assert.NilError(t, err)
}

func TestProxyTrickles(t *testing.T) {
	s := NewServer(t)
	p := NewProxy(t, s.Addr())
	p.Link(LinkRule{SlowToClient: Trickle{Bytes: 10, Every: 5 * time.Millisecond}})
	start := time.Now()
	c := join(t, p) // 41 bytes
	assert.Assert(t, time.Since(start) >= 20*time.Millisecond)
	c.ping()
}

func TestProxyRetargets(t *testing.T) {
	e := NewEnsemble(t, 2)
	p := NewProxy(t, e.Addrs()[0])
	c := join(t, p)
	p.Retarget(e.Addrs()[1])
	c.ping() // stays
	n := link(t, p)
	r, err := n.connect(wire.ConnectRequest{Timeout: 5000, SessionID: c.id, Password: c.pw, LastZxidSeen: c.zxid})
	assert.NilError(t, err)
	assert.Equal(t, r.SessionID, c.id)
	last := e.Frames()
	assert.Equal(t, last[len(last)-1].Member, 1)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	l.Close()
	p.Retarget(l.Addr().String()) // where nobody is
	p.ForgetFrames()
	if nc, e := net.Dial("tcp", p.Addr()); e != nil {
		err = e
	} else {
		_, err = nc.Read(make([]byte, 1))
		nc.Close()
	}
	assert.Assert(t, errors.Is(err, errReset), "%v", err)
	assert.Assert(t, strings.Contains(strings.Join(said(t, p), "\n"), "refused"), "%v", p.Frames())
}

// A limit of frames strikes behind a frame, or ahead of the next one.
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name     string
		rule     LinkRule
		executed int // of two requests
		answered int // of these
		end      error
	}{
		{"ahead of the second request", LinkRule{FromClient: CutAt(2).Frames().OnNext()}, 1, 1, io.EOF},
		{"behind the first request", LinkRule{FromClient: CutAt(2).Frames()}, 1, 0, io.EOF},
		{"behind the first reply", LinkRule{ToClient: CutAt(2).Frames()}, 1, 1, io.EOF},
		{"ahead of the first reply", LinkRule{ToClient: CutAt(1).Frames().OnNext()}, 1, 0, io.EOF},
		{"within the second reply", LinkRule{ToClient: CutAt(41 + 4 + 16 + 68 + 1)}, 2, 1, io.EOF},
		{"reset ahead of the second reply", LinkRule{ToClient: ResetAt(2).Frames().OnNext()}, 2, 1, errReset},
		{"reset ahead of the second request", LinkRule{FromClient: ResetAt(2).Frames().OnNext()}, 1, 1, errReset},
		{"silence to the client", LinkRule{ToClient: StallAt(2).Frames()}, 2, 1, nil},
		{"silence from the client", LinkRule{FromClient: StallAt(2).Frames()}, 1, 1, nil},
		{"nothing at all", LinkRule{ToClient: CutAt(0)}, 0, 0, io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, mode := range []string{"proxy", "server", "in memory"} {
				if mode != "proxy" && test.name == "behind the first request" {
					continue // a server answers it first
				}
				t.Run(mode, func(t *testing.T) {
					s := NewServer(t, Options{InMemory: mode == "in memory"})
					var c *client
					if mode == "proxy" {
						p := NewProxy(t, s.Addr())
						p.Link(test.rule)
						c = link(t, p)
					} else {
						s.Link(test.rule)
						c = open(t, s.Ensemble, 0)
					}
					_, err := c.connect(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16), HasReadOnly: true})
					for n := 0; n < test.answered; n++ {
						assert.NilError(t, err)
						_, _, err = c.recv(c.send(wire.OpExists, wire.PathWatchRequest{Path: "/"}))
					}
					if err == nil {
						xid := c.send(wire.OpExists, wire.PathWatchRequest{Path: "/"})
						if test.end == nil {
							c.hearsNothing()
						} else {
							_, _, err = c.recv(xid)
						}
					}
					switch test.end {
					case nil:
					case errReset:
						assert.Assert(t, errors.Is(err, test.end), "%v", err)
					default: // a request that comes late may be answered by a reset
						assert.Assert(t, err != nil && !errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
					}
					executed := func() (n int) {
						for _, f := range s.Frames() {
							if f.Dir == FromClient && f.Op == wire.OpExists {
								n++
							}
						}
						return n
					}
					becomes(func() bool { return executed() >= test.executed })
					assert.Equal(t, executed(), test.executed)
				})
			}
		})
	}
}

// A limit sees the same frames however the stream comes in pieces.
func TestLimitOfFramesInPieces(t *testing.T) {
	var stream []byte
	ends := []int{0}
	for _, size := range []int{0, 1, 5, 300, 0, 3} {
		at := len(stream)
		stream = append(wire.BeginFrame(stream), make([]byte, size)...)
		wire.EndFrame(stream, at)
		ends = append(ends, len(stream))
	}
	for want, end := range ends {
		for seed := range uint64(50) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			l, passed := CutAt(int64(want)).Frames(), 0
			for rest := stream; len(rest) > 0; {
				n := 1 + rnd.IntN(len(rest))
				passed += l.take(rest[:n])
				rest = rest[n:]
			}
			assert.Equal(t, passed, end, "%d frames, seed %d", want, seed)
			assert.Assert(t, l.reached())
		}
	}
}

func TestProxyReleasesStall(t *testing.T) {
	s := NewServer(t)
	p := NewProxy(t, s.Addr())
	p.Link(LinkRule{FromClient: StallAt(2).Frames()})
	c := join(t, p)
	c.create("/a", nil, 0)
	xid := c.send(wire.OpExists, wire.PathWatchRequest{Path: "/a"})
	c.hearsNothing()
	p.Release(FromClient)
	_, _, err := c.recv(xid)
	assert.NilError(t, err)
	c.ping()
}

// OnFrame comes before its frame passes, and can prevent that.
func TestProxyOnFrame(t *testing.T) {
	s := NewServer(t)
	var p *Proxy
	ready := make(chan struct{})
	var got atomic.Int64
	p = NewProxy(t, s.Addr(), ProxyOptions{FrameLog: -1, OnFrame: func(f Frame) {
		<-ready
		got.Add(1)
		if f.Dir == FromClient && f.Path == "/b" {
			p.Cut()
		}
	}})
	close(ready)
	c := join(t, p)
	var batch []byte
	for i, path := range []string{"/a", "/b", "/c"} {
		at := len(batch)
		batch = wire.BeginFrame(batch)
		batch = wire.RequestHeader{Xid: int32(i), Op: wire.OpCreate}.Append(batch)
		batch = wire.CreateRequest{Path: path, ACL: world}.Append(batch)
		wire.EndFrame(batch, at)
	}
	c.nc.Write(batch)
	for err := error(nil); err == nil; {
		_, err = c.readFrame()
	}
	heard(t, s.Ensemble, wire.OpCreate)
	d := dial(t, s.Ensemble, 0)
	_, code := d.stat("/a")
	assert.Equal(t, code, int32(0))
	_, code = d.stat("/b")
	assert.Equal(t, code, wire.ErrNoNode)
	assert.Assert(t, got.Load() >= 4)
	assert.Equal(t, len(p.Frames()), 0)
}

// A client that does not read does not keep its requests from the server.
func TestProxyDirectionsAreIndependent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer l.Close()
	p := NewProxy(t, l.Addr().String())
	c := link(t, p)
	server, err := l.Accept()
	assert.NilError(t, err)
	defer server.Close()
	block := append(wire.BeginFrame(nil), make([]byte, 1<<20)...)
	wire.EndFrame(block, 0)
	full := make(chan struct{})
	go func() {
		defer close(full)
		for {
			server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			if _, err := server.Write(block); err != nil {
				return
			}
		}
	}()
	<-full
	requests := bytes.Repeat(block, 20)
	go c.nc.Write(requests)
	_, err = io.ReadFull(server, make([]byte, len(requests)))
	assert.NilError(t, err)
	p.Cut()
}

func TestProxyMisuse(t *testing.T) {
	_, err := StartProxy("nowhere", ProxyOptions{})
	assert.ErrorContains(t, err, "missing port")
	_, err = StartProxy("127.0.0.1:1", ProxyOptions{Listen: "127.0.0.1:x"})
	assert.ErrorContains(t, err, "proxy: listen")
	p, err := StartProxy("127.0.0.1:1", ProxyOptions{})
	assert.NilError(t, err)
	said := func(f func()) (text any) {
		defer func() { text = recover() }()
		f()
		return nil
	}
	assert.Equal(t, said(func() { p.Hold(Hangup) }), "zktest: proxy: Hold: 2 is not a direction")
	assert.Equal(t, said(func() { p.Link(LinkRule{Member: &Member{}}) }), "zktest: proxy: Link: a proxy has no members")
	assert.Equal(t, said(func() { p.Retarget("x") }), "zktest: proxy: Retarget: address x: missing port in address")
	p.Close()
	p.Close()
	assert.Equal(t, said(p.Cut), "zktest: proxy: Cut after Close")
	assert.Equal(t, said(p.Heal), "zktest: proxy: Heal after Close")
}
