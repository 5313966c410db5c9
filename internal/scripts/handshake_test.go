package scripts

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
)

// TestHostileHandshake: what a server may answer to a ConnectRequest. The
// second address is asked for what is wrong with one server, and not for what is
// wrong with the session.
func TestHostileHandshake(t *testing.T) {
	ok := wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: suite.RigPassword, HasReadOnly: true}
	with := func(f func(r *wire.ConnectResponse)) []byte {
		r := ok
		f(&r)
		return suite.Framed(r)
	}
	padded := func(r wire.ConnectResponse, n int) []byte {
		b := r.Append(nil)
		return suite.Framed(bytesOf(append(b, make([]byte, n-len(b))...)))
	}
	const fresh, resumed = 1, 2
	for _, c := range []struct {
		name   string
		answer []byte
		when   int    // fresh, resumed or both
		want   error  // nil: accepted
		note   string // in the error
		cut    bool   // the server hangs up behind it
		closes bool   // the client sends a closeSession
	}{
		{name: "37 bytes", answer: suite.Framed(ok), when: fresh | resumed},
		{name: "36 bytes, without read-only", answer: with(func(r *wire.ConnectResponse) { r.HasReadOnly = false }), when: fresh | resumed},
		{name: "with fields of the future", answer: suite.Framed(ok, bytesOf("of the future")), when: fresh | resumed},
		{name: "protocol version 1", answer: with(func(r *wire.ConnectResponse) { r.ProtocolVersion = 1 }), when: fresh | resumed},
		{name: "timeout MaxInt32", answer: with(func(r *wire.ConnectResponse) { r.Timeout = math.MaxInt32 }), when: fresh | resumed},
		{name: "negative id", answer: with(func(r *wire.ConnectResponse) { r.SessionID = -5 }), when: fresh},

		{name: "EOF", cut: true, want: io.EOF, note: "handshake refused", when: fresh | resumed},
		{name: "EOF in the length", answer: suite.Framed(ok)[:3], cut: true, want: zk.ErrConnection, when: fresh | resumed},
		{name: "EOF in the body", answer: suite.Framed(ok)[:30], cut: true, want: io.ErrUnexpectedEOF, when: fresh | resumed},
		{name: "length -1", answer: length(-1), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length MinInt32", answer: length(math.MinInt32), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length MaxInt32", answer: length(math.MaxInt32), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length 1 MiB", answer: length(1 << 20), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "length 0", answer: length(0), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "1 byte", answer: suite.Framed(bytesOf("x")), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "15 bytes", answer: suite.Framed(bytesOf(make([]byte, 15))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "17 bytes", answer: suite.Framed(bytesOf(make([]byte, 17))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "35 bytes", answer: suite.Framed(bytesOf(suite.Framed(ok)[4:39])), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "an HTTP response", answer: hostileFrames["an HTTP response"], want: zk.ErrProtocol, when: fresh | resumed},
		{name: "a TLS alert", answer: hostileFrames["a TLS alert"], want: zk.ErrProtocol, when: fresh | resumed},
		{name: "a read-only server's error header", answer: suite.Refusal(0, 0, zk.ErrNotReadOnly), want: zk.ErrNotReadOnly, when: fresh | resumed},
		{name: "an unknown error header", answer: suite.Refusal(0, 0, -999), want: zk.Code(-999), when: fresh | resumed},
		{name: "password null", answer: padded(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, HasReadOnly: true}, 37), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 0 bytes", answer: padded(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: []byte{}}, 37), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 15 bytes", answer: padded(wire.ConnectResponse{Timeout: 9000, SessionID: suite.RigID, Password: suite.RigPassword[:15]}, 37), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 17 bytes", answer: with(func(r *wire.ConnectResponse) { r.Password = append(slices.Clone(suite.RigPassword), 'x') }), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of 2 GiB", answer: suite.Framed(bytesOf(join(length(0), length(9000), make([]byte, 8), length(math.MaxInt32), make([]byte, 17)))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "password of length -2", answer: suite.Framed(bytesOf(join(length(0), length(9000), make([]byte, 8), length(-2), make([]byte, 17)))), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "id 0", answer: with(func(r *wire.ConnectResponse) { r.SessionID = 0 }), want: zk.ErrProtocol, when: fresh | resumed},
		{name: "timeout 0", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0; r.SessionID = 0; r.Password = make([]byte, 16) }), want: zk.ErrExpired, when: resumed},
		{name: "timeout -1", answer: with(func(r *wire.ConnectResponse) { r.Timeout = -1 }), want: zk.ErrExpired, when: resumed},
		{name: "timeout MinInt32", answer: with(func(r *wire.ConnectResponse) { r.Timeout = math.MinInt32 }), want: zk.ErrExpired, when: resumed},
		{name: "timeout 0, and behind it a cut", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0 }), cut: true, want: zk.ErrExpired, when: resumed},
		{name: "timeout 0 for a new session", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0 }), want: zk.ErrNoServer, note: "refused", when: fresh},
		{name: "read-only and timeout 0", answer: with(func(r *wire.ConnectResponse) { r.Timeout = 0; r.SessionID = 0; r.ReadOnly = true }), want: zk.ErrNoServer, note: "read-only", when: fresh | resumed},
		{name: "read-only", answer: with(func(r *wire.ConnectResponse) { r.ReadOnly = true }), want: zk.ErrNotReadOnly, when: resumed},
		{name: "read-only, a new session", answer: with(func(r *wire.ConnectResponse) { r.ReadOnly = true }), want: zk.ErrNotReadOnly, closes: true, when: fresh},
		{name: "another id", answer: with(func(r *wire.ConnectResponse) { r.SessionID = 0x666 }), want: zk.ErrExpired, closes: true, when: resumed},
	} {
		for _, when := range []int{fresh, resumed} {
			if c.when&when == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", c.name, map[int]string{fresh: "new", resumed: "resumed"}[when]), func(t *testing.T) {
				suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
					conf := r.Config()
					ch := make(chan zk.Event, 1)
					if when == resumed {
						s, l := r.Open(conf)
						suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
						conf = s.Detach()
					}
					conf.Addrs = []string{"a:1", "b:2"}
					d := r.Begin(conf)
					l := r.Accept()
					q := l.Connect()
					assert.Equal(t, q.SessionID != 0, when == resumed)
					l.Quiet() // nothing is written before the answer
					l.Send(c.answer)
					if c.cut {
						l.Close()
					}
					restored := func(l *suite.Line) {
						if when == resumed {
							assert.DeepEqual(t, l.Restored(1).Data, []string{"/w"})
						}
					}
					switch {
					case c.want == nil:
						restored(l)
						s := d.Session()
						assert.Equal(t, r.Connections(), when)
						if when == resumed {
							assert.Equal(t, s.ID(), suite.RigID)
						}
						return
					case c.want == zk.ErrExpired:
						err := d.Wait()
						assert.Assert(t, errors.Is(err, zk.ErrExpired) && !errors.Is(err, zk.ErrNoServer), "%v", err)
						assert.Equal(t, r.Connections(), 2, "another server was asked about an expired session")
					default:
						l2 := r.Accept() // the other server
						l2.Connect()
						l2.Close()
						err := d.Wait()
						assert.Assert(t, errors.Is(err, zk.ErrNoServer) && !errors.Is(err, zk.ErrExpired), "%v", err)
						assert.Assert(t, errors.Is(err, c.want), "%v", err)
						assert.Assert(t, strings.Contains(err.Error(), c.note), "%v", err)
					}
					if !c.cut {
						if c.closes {
							l.Want(wire.OpCloseSession, "")
						}
						l.HungUp()
					}
					// All that was there is there.
					d = r.Begin(conf)
					l = r.Accept()
					assert.Equal(t, l.Greet().SessionID != 0, when == resumed)
					restored(l)
					d.Session()
				})
			})
		}
	}
}

// A handshake in pieces, at every byte, with the first frames right behind it in
// the same segment.
func TestHandshakeInPieces(t *testing.T) {
	for split := 1; split < 41; split++ {
		suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
			s, l := r.Open(r.Config())
			ch := make(chan zk.Event, 4)
			suite.Arm(t, s, l, zk.DataWatch, "/w", ch)
			suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
			conf := s.Detach()
			d := r.Begin(conf)
			l = r.Accept()
			b := suite.Welcome(l.Connect())
			l.Send(b[:split])
			time.Sleep(time.Second)
			l.Send(b[split:], suite.Happened(zk.Changed, "/w", -1))
			l.Restored(1)
			d.Session()
			assert.Equal(t, suite.Told(suite.Taken(ch)...), "gap /p, changed /w")
		})
	}
}

// A handshake that drips a byte a second takes the Dial no longer than its time.
func TestHandshakeDrips(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		began := time.Now()
		d := r.Begin(r.Config())
		l := r.Accept()
		b := suite.Welcome(l.Connect())
		sent := suite.Start(t, func() error {
			for i := range b {
				if err := l.TrySend(b[i : i+1]); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
			return nil
		})
		assert.Assert(t, errors.Is(d.Wait(), zk.ErrNoServer))
		assert.Equal(t, time.Since(began), suite.RigTimeout)
		assert.Assert(t, sent.Wait() != nil)
	})
}
