package zktest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
)

// What is not the protocol passes as it is.
func TestProxyPassesGarbage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer l.Close()
	go func() { // echoes
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(nc, nc)
				nc.Close()
			}()
		}
	}()
	frame := func(body ...byte) []byte {
		b := append(wire.BeginFrame(nil), body...)
		wire.EndFrame(b, 0)
		return b
	}
	handshake := wire.ConnectRequest{Timeout: 1, Password: make([]byte, 16)}.Append(nil)
	for _, test := range []struct {
		name string
		sent []byte
		want []string
	}{
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), []string{`-> bytes (text, not decoded: "GET "…)`, `<- bytes (text, not decoded: "GET "…)`}},
		{"TLS", []byte{0x16, 3, 1, 2, 0}, []string{"-> bytes (TLS, not decoded)", "<- bytes (TLS, not decoded)"}},
		{"negative", []byte{0xff, 0xff, 0xff, 0xfb, 1, 2, 3}, []string{"-> bytes (not decoded: frame length -5)", "<- bytes (not decoded: frame length -5)"}},
		{"huge", []byte{0x7f, 0, 0, 0}, []string{"-> bytes (not decoded: frame length 2130706432)", "<- bytes (not decoded: frame length 2130706432)"}},
		{"incomplete", []byte{0, 0, 1, 0, 9}, nil},
		{"empty", frame(), []string{
			"-> connect (wants timeout 0s, malformed record at byte 0: int cut short)",
			"<- connect (malformed record at byte 0: int cut short)",
		}},
		{"short header", slices.Concat(frame(handshake...), frame(1, 2)), []string{
			"-> connect (wants timeout 1ms)", "<- connect", "-> request", "<- reply",
		}},
		{"long", slices.Concat(frame(handshake...), frame(slices.Concat([]byte{0, 0, 0, 1, 0, 0, 0, 4, 0, 1, 0, 0}, make([]byte, 1<<16))...)), []string{
			"-> connect (wants timeout 1ms)", "<- connect",
			"-> getData xid 1 (too long to decode all of it)", "<- getData xid 1",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewProxy(t, l.Addr().String())
			c := link(t, p)
			_, err := c.nc.Write(test.sent)
			assert.NilError(t, err)
			c.nc.(*net.TCPConn).CloseWrite()
			back, err := io.ReadAll(c.nc)
			assert.NilError(t, err)
			assert.Assert(t, bytes.Equal(back, test.sent))
			lines := said(t, p)
			assert.Assert(t, strings.HasPrefix(lines[len(lines)-1], "x  "))
			lines = lines[:len(lines)-1]
			assert.Equal(t, len(lines), len(test.want), "%q", lines)
			for _, want := range test.want { // the two directions in any order
				assert.Assert(t, slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }), "no %s in %q", want, lines)
			}
		})
	}
}

// Replies that answer nothing are named so, and none is lost.
func TestProxyStrangeReplies(t *testing.T) {
	script := NewScript(t)
	p := NewProxy(t, script.Addr())
	c := link(t, p)
	c.writeFrame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
	server := script.Accept()
	server.Handshake()
	c.readFrame()
	for _, op := range []wire.Op{wire.OpSync, wire.OpGetACL, wire.OpAuth} {
		c.send(op)
		server.Expect(op)
	}
	for _, xid := range []int32{wire.XidAuth, 2, 1, 1} {
		server.Reply(xid, 5, 0, nil)
		c.readFrame()
	}
	lines := shown(p)
	assert.DeepEqual(t, lines[len(lines)-4:], []string{
		"<- auth xid -4 zxid 0x5",
		"<- getACL xid 2 zxid 0x5 (ahead of 1 earlier requests)",
		"<- sync xid 1 zxid 0x5",
		"<- reply xid 1 zxid 0x5 (no request has this xid)",
	})
}

// Everything at once: nothing deadlocks, races or is left.
func TestProxyUnderChaos(t *testing.T) {
	s := NewServer(t)
	before := runtime.NumGoroutine()
	p, err := StartProxy(s.Addr(), ProxyOptions{FrameLog: 100})
	assert.NilError(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(i), 0))
			for {
				select {
				case <-stop:
					return
				default:
				}
				nc, err := net.Dial("tcp", p.Addr())
				if err != nil {
					continue
				}
				c := &client{t: t, nc: nc}
				for n := 0; err == nil && n < 1+rnd.IntN(20); n++ {
					if n == 0 {
						c.writeFrame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)})
					} else {
						c.send(wire.OpGetChildren, wire.PathWatchRequest{Path: "/"})
					}
					nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
					_, err = nc.Read(make([]byte, 100))
				}
				nc.Close()
			}
		}()
	}
	rnd := rand.New(rand.NewPCG(9, 9))
	for range 300 {
		dir := Direction(rnd.IntN(2))
		switch rnd.IntN(10) {
		case 0:
			p.Cut()
		case 1:
			p.Reset()
		case 2:
			p.Hold(dir)
		case 3:
			p.Release(dir)
		case 4:
			p.Delay(dir, time.Duration(rnd.IntN(2000))*time.Microsecond)
		case 5:
			p.Drip(dir, rnd.IntN(100_000))
		case 6:
			p.Link(LinkRule{FromClient: CutAt(rnd.Int64N(200)), ToClient: ResetAt(rnd.Int64N(10)).Frames()})
		case 7:
			p.Heal()
		case 8:
			p.Frames()
		case 9:
			time.Sleep(time.Millisecond)
		}
	}
	p.Heal()
	c := join(t, p)
	c.ping()
	close(stop)
	p.Close()
	wg.Wait()
	assert.Assert(t, len(p.Frames()) <= 100)
	after := goroutines(before) // the server's of connections that it has not seen end take their time
	assert.Assert(t, after <= before, fmt.Sprint(after, " goroutines, before ", before))
}

// Whatever comes, in whatever pieces: the same frames, and no panic.
func FuzzTalk(f *testing.F) {
	handshake := wire.ConnectRequest{Timeout: 1, Password: make([]byte, 16)}.Append([]byte{0, 0, 0, 44})
	granted := wire.ConnectResponse{Timeout: 1, SessionID: 7, Password: make([]byte, 16)}.Append([]byte{0, 0, 0, 36})
	multi := wire.BeginFrame(nil)
	multi = wire.RequestHeader{Xid: 1, Op: wire.OpMulti}.Append(multi)
	multi = wire.MultiRequest{Ops: []wire.MultiOp{{Op: wire.OpDelete, Request: wire.PathVersionRequest{Path: "/a"}}}}.Append(multi)
	wire.EndFrame(multi, 0)
	reply := wire.BeginFrame(nil)
	reply = wire.ReplyHeader{Xid: 1}.Append(reply)
	reply = wire.MultiResponse{Results: []wire.MultiResult{{Op: wire.OpError, Err: -101}}}.Append(reply)
	wire.EndFrame(reply, 0)
	f.Add(slices.Concat(handshake, multi), slices.Concat(granted, reply), uint64(1))
	f.Add([]byte("GET / HTTP/1.1"), []byte{0xff, 0xff, 0xff, 0xff}, uint64(2))
	f.Fuzz(func(t *testing.T, up, down []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		whole := converse(up, down, func(n int) int { return n })
		pieces := converse(up, down, func(n int) int { return 1 + rnd.IntN(n) })
		assert.DeepEqual(t, pieces, whole)
	})
}

// converse returns what a proxy makes of two streams, one after the other.
func converse(up, down []byte, piece func(int) int) (lines []string) {
	c := &proxyConn{proxy: &Proxy{}}
	for dir, stream := range [][]byte{up, down} {
		f := newFlow(c, Direction(dir), nil, nil, Limit{}, Trickle{})
		for len(stream) > 0 {
			next := stream[:piece(len(stream))]
			stream = stream[len(next):]
			for len(next) > 0 {
				n, done := f.cutter.Cut(next)
				if next = next[n:]; done {
					entry := f.decode(time.Now())
					entry.Latency = 0
					lines = append(lines, entry.String())
				}
			}
		}
	}
	return lines
}
