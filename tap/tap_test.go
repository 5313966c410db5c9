package tap_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/tap"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestMain(m *testing.M) { os.Exit(suite.RunTests(m, func() error { return nil })) }

// tape keeps what a tap reports, over all connections.
type tape struct {
	opts   []tap.Option
	mu     sync.Mutex
	frames []tap.Frame
}

func (t *tape) wrap(_ string, c net.Conn) net.Conn {
	return tap.Conn(c, func(f tap.Frame) {
		t.mu.Lock()
		defer t.mu.Unlock()
		f.Body = bytes.Clone(f.Body)
		t.frames = append(t.frames, f)
	}, t.opts...)
}

func (t *tape) all() []tap.Frame {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.frames)
}

// A tap reports what a Session says and hears, each frame once, and what is in it.
func TestConn(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		tp := new(tape)
		conf, _ := e.Config()
		conf.Wrap = tp.wrap
		s := e.Dial(conf)
		ch := make(chan zk.Event, 1)
		e.Create(s, "/a", "data")
		e.Watch(s, "/a", ch)
		e.Set(s, "/a", "more")
		_, _, err := s.Get(e.Ctx, "/none", nil)
		assert.ErrorIs(t, err, zk.ErrNoNode)
		time.Sleep(conf.Timeout / 2) // a ping
		synctest.Wait()
		assert.NilError(t, s.Close())

		frames := tp.all()
		var lines []string
		for _, f := range frames {
			assert.Equal(t, f.Latency > 0, false, "%v", f) // the clock stands still
			assert.Assert(t, f.Size >= len(f.Body) && len(f.Body) > 0)
			lines = append(lines, f.String())
		}
		id, z := fmt.Sprintf("0x%x", uint64(s.ID())), func(n int64) string { return fmt.Sprintf("zxid 0x%x", n) }
		base := frames[3].Zxid
		assert.DeepEqual(t, lines, []string{
			`-> connect (wants timeout 40s)`,
			`<- connect session ` + id + ` (timeout 40s)`,
			`-> create #1 "/a"`,
			`<- create #1 "/a" ` + z(base),
			`-> getData #2 "/a" (watch)`,
			`<- getData #2 "/a" ` + z(base),
			`-> setData #3 "/a"`,
			`<- event changed "/a" ` + z(base+1),
			`<- setData #3 "/a" ` + z(base+1),
			`-> getData #4 "/none"`,
			`<- getData #4 "/none" ` + z(base+1) + ` NoNode (-101)`,
			`-> ping`, `<- ping ` + z(base+1),
			`-> closeSession #5`, `<- closeSession #5 ` + z(base+2),
		})
		assert.Assert(t, bytes.Contains(frames[2].Body, []byte("data")))
		assert.Equal(t, frames[6].Session, s.ID())

		// The numbers are those of Stats, and the server's own log says the same.
		var sent, received, requests int64
		for i, f := range frames {
			if f.Sent {
				sent += int64(f.Size) + 4
			} else {
				received += int64(f.Size) + 4
			}
			if f.Sent && f.Op != tap.OpConnect && f.Op != wire.OpPing {
				requests++
			}
			g := e.Sim.Frames()[i]
			assert.Equal(t, g.Op, f.Op, "frame %d", i)
			assert.Equal(t, g.Path, f.Path, "frame %d", i)
			assert.Equal(t, g.Xid, f.Xid, "frame %d", i)
			assert.Equal(t, g.Len, f.Size, "frame %d", i)
		}
		n := s.Stats()
		assert.Equal(t, n.BytesSent, sent)
		assert.Equal(t, n.BytesReceived, received)
		assert.Equal(t, n.Requests, requests)
	})
}

// No password, credential or token is in what a tap shows.
func TestSecrets(t *testing.T) {
	e := suite.Private(t, 1, zktest.Options{SASL: map[string]string{"user": "Hush-Hush-0"}})
	tp := new(tape)
	conf, _ := e.Config()
	conf.Wrap = tp.wrap
	conf.SASL = sasl.DigestMD5("user", "Hush-Hush-0")
	conf.Auth = []zk.Auth{zk.Digest("user", "Hush-Hush-1")}
	s := e.Dial(conf)
	assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("user", "Hush-Hush-2")))
	next := e.Move(s)
	password := next.Config().Password
	assert.Equal(t, len(password), 16)
	seen := make(map[wire.Op]int)
	for _, f := range tp.all() {
		seen[f.Op]++
		for _, secret := range []string{string(password[:4]), string(password[12:]), "Hush", "response=", "nonce="} {
			assert.Assert(t, !bytes.Contains(f.Body, []byte(secret)), "%v: %q", f, f.Body)
			assert.Assert(t, !strings.Contains(fmt.Sprintf("%v %+v", f, struct{ F tap.Frame }{f}), secret), "%v", f)
		}
		if f.Op == wire.OpAuth && f.Sent {
			assert.Assert(t, bytes.Contains(f.Body, []byte("digest")), "the scheme is no secret: %q", f.Body)
		}
	}
	assert.Assert(t, seen[tap.OpConnect] == 4 && seen[wire.OpAuth] >= 6 && seen[wire.OpSASL] >= 4, "%v", seen)
}

// With WithSecrets they are there, each in its frame.
func TestWithSecrets(t *testing.T) {
	e := suite.Private(t, 1, zktest.Options{SASL: map[string]string{"user": "Hush-Hush-0"}})
	tp := &tape{opts: []tap.Option{tap.WithSecrets()}}
	conf, _ := e.Config()
	conf.Wrap = tp.wrap
	conf.SASL = sasl.DigestMD5("user", "Hush-Hush-0")
	conf.Auth = []zk.Auth{zk.Digest("user", "Hush-Hush-1")}
	next := e.Move(e.Dial(conf))
	password := next.Config().Password
	seen := make(map[string]bool)
	for _, f := range tp.all() {
		for name, secret := range map[string]string{"password": string(password), "credential": "user:Hush-Hush-1", "challenge": "nonce=", "answer": "response="} {
			if bytes.Contains(f.Body, []byte(secret)) {
				seen[fmt.Sprint(name, " ", f.Op, " ", f.Sent)] = true
			}
		}
		assert.Assert(t, !strings.Contains(f.String(), "Hush"), "%v", f)
	}
	for _, want := range []string{
		fmt.Sprint("password ", tap.OpConnect, " false"), fmt.Sprint("password ", tap.OpConnect, " true"), fmt.Sprint("credential ", wire.OpAuth, " true"),
		fmt.Sprint("challenge ", wire.OpSASL, " false"), fmt.Sprint("answer ", wire.OpSASL, " true"),
	} {
		assert.Check(t, seen[want], "no %s: %v", want, seen)
	}
}

// pipe is a connection whose other end does nothing but what the test says.
type pipe struct {
	net.Conn
	in  io.Reader
	out bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)  { return p.in.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

func body(records ...wire.Record) []byte {
	b := wire.BeginFrame(nil)
	for _, r := range records {
		b = r.Append(b)
	}
	wire.EndFrame(b, 0)
	return b
}

// What is malformed shows nothing behind the place from where it cannot be read.
func TestSecretsOfMalformedFrames(t *testing.T) {
	const secret = "SECRET"
	var frames []tap.Frame
	see := func(f tap.Frame) { f.Body = bytes.Clone(f.Body); frames = append(frames, f) }
	connect := body(wire.ConnectRequest{Password: []byte(secret)})
	auth := body(wire.RequestHeader{Xid: wire.XidAuth, Op: wire.OpAuth}, wire.AuthRequest{Scheme: "digest", Auth: []byte(secret)})
	granted := body(wire.ConnectResponse{Password: []byte(secret)})
	for _, c := range []struct {
		frame    []byte
		at       int // of the length that is spoilt
		received bool
		ahead    []byte
	}{
		{connect, 4 + 24, false, nil},
		{granted, 4 + 16, true, nil},
		{auth, 4 + 12, false, body(wire.ConnectRequest{})},
		{body(wire.ReplyHeader{Xid: 9}, wire.SASLResponse{Token: []byte(secret)}), 0, true, body(wire.ConnectResponse{})},
	} {
		assert.Assert(t, bytes.Contains(c.frame, []byte(secret)))
		for _, n := range []int32{-1, 0, 1, 5, 6, 7, 1 << 30} {
			for _, cut := range []int{0, 1, 3, 9, 20} {
				spoilt := bytes.Clone(c.frame[:len(c.frame)-cut])
				if c.at > 0 && len(spoilt) >= c.at+4 {
					binary.BigEndian.PutUint32(spoilt[c.at:], uint32(n))
				}
				wire.EndFrame(spoilt, 0)
				p := &pipe{in: bytes.NewReader(append(bytes.Clone(c.ahead), spoilt...))}
				conn := tap.Conn(p, see)
				if c.received {
					io.Copy(io.Discard, conn)
				} else {
					conn.Write(c.ahead)
					conn.Write(spoilt)
				}
				last := frames[len(frames)-1]
				if n >= 0 && n <= 5 && c.at > 0 && !bytes.Equal(c.frame, auth) {
					continue // what says that it is no password is none
				}
				assert.Assert(t, !bytes.ContainsAny(last.Body, secret), "length %d, %d less: %q", n, cut, last.Body)
			}
		}
	}
}

// The bytes pass as they are, whatever they are, in whatever pieces.
func FuzzConn(f *testing.F) {
	f.Add(body(wire.ConnectRequest{Password: []byte("x")}), body(wire.ConnectResponse{}), 3)
	f.Add([]byte("ruok"), []byte("imok"), 1)
	f.Add(body(wire.ConnectRequest{}, wire.RequestHeader{Op: wire.OpAuth}), []byte{0, 0, 0, 1, 7}, 2)
	f.Fuzz(func(t *testing.T, up, down []byte, piece int) {
		piece = 1 + (piece&0x7fffffff)%64
		size := 0
		p := &pipe{in: bytes.NewReader(down)}
		c := tap.Conn(p, func(f tap.Frame) {
			if f.Op != wire.OpError {
				size += f.Size + 4
			}
			_ = f.String()
		})
		for part := range slices.Chunk(up, piece) {
			n, err := c.Write(part)
			assert.Assert(t, err == nil && n == len(part))
		}
		got, err := io.ReadAll(c)
		assert.NilError(t, err)
		assert.Assert(t, bytes.Equal(got, down) && bytes.Equal(p.out.Bytes(), up))
		assert.Assert(t, size <= len(up)+len(down))
	})
}

// What is kept of a frame is bounded, and so is what a length promises.
func TestBodyIsBounded(t *testing.T) {
	var frames []tap.Frame
	c := tap.Conn(&pipe{}, func(f tap.Frame) { frames = append(frames, f) })
	c.Write(body(wire.ConnectRequest{}))
	c.Write(body(wire.RequestHeader{Xid: 1, Op: wire.OpSetData}, wire.SetDataRequest{Path: "/a", Data: make([]byte, 1<<20)}))
	assert.Equal(t, len(frames[1].Body), tap.MaxBody)
	assert.Assert(t, frames[1].Size > 1<<20)
	assert.Equal(t, frames[1].Path, "/a")
	c.Write([]byte("GET / HTTP/1.1\r\n"))
	assert.Equal(t, len(frames), 3)
	assert.Equal(t, frames[2].String(), `-> unknown (text, not decoded: "GET "…)`)
	c.Write(make([]byte, 100))
	assert.Equal(t, len(frames), 3)
}

// Nothing that a peer has chosen can steer a terminal.
func TestString(t *testing.T) {
	for _, f := range []tap.Frame{{Path: "/\x1b[2J"}, {Note: "\x1b[2J\r\n"}} {
		assert.Assert(t, !strings.ContainsAny(f.String(), "\x1b\r\n"), "%q", f.String())
	}
	f := tap.Frame{Sent: true, Op: wire.OpGetData, Xid: 7, Latency: 1500 * time.Nanosecond}
	assert.Equal(t, f.String(), "-> getData #7 2µs")
}

// A function that panics costs the connection, not the process, and nobody waits for
// it after that.
func TestPanic(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	conf.Wrap = func(_ string, c net.Conn) net.Conn {
		return tap.Conn(c, func(f tap.Frame) {
			if f.Path == "/bad" {
				panic("oops")
			}
		})
	}
	s := e.Dial(conf)
	_, _, err := s.Get(e.Ctx, "/bad", nil)
	assert.ErrorIs(t, err, zk.ErrLost)
	suite.Await(t, s.Done())
	assert.ErrorContains(t, s.Err(), "panicked at tap_test.go")
	next, err := s.Redial(e.Ctx)
	assert.NilError(t, err)
	e.Keep(next)
	assert.NilError(t, next.Sync(e.Ctx, "/"))
}

// The fast path of writes knows the socket below.
func TestNetConn(t *testing.T) {
	below := &net.TCPConn{}
	over, ok := tap.Conn(below, nil).(interface{ NetConn() net.Conn })
	assert.Assert(t, ok && over.NetConn() == net.Conn(below))
}

func ExampleConn() {
	e, err := zktest.StartServer(zktest.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer e.Close()
	conf := zk.Config{Addrs: e.Addrs()}
	conf.Wrap = func(addr string, c net.Conn) net.Conn {
		return tap.Conn(c, func(f tap.Frame) {
			if f.Path != "" && f.Sent {
				fmt.Println(f)
			}
		})
	}
	s, err := zk.Dial(context.Background(), conf)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if _, _, err := s.Get(context.Background(), "/a", nil); !errors.Is(err, zk.ErrNoNode) {
		fmt.Println(err)
	}
	// Output: -> getData #1 "/a"
}
