package zktest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest/internal/data"
)

// What is not the protocol ends its connection, with a reason in the log, and
// no other session notices.
func TestBadFrames(t *testing.T) {
	frame := func(body ...byte) []byte {
		b := append(wire.BeginFrame(nil), body...)
		wire.EndFrame(b, 0)
		return b
	}
	handshake := frame(wire.ConnectRequest{Timeout: 5000, Password: make([]byte, 16)}.Append(nil)...)
	get := wire.PathWatchRequest{Path: "/"}.Append(wire.RequestHeader{Xid: 1, Op: wire.OpGetData}.Append(nil))
	for _, test := range []struct {
		name   string
		sent   []byte
		reason string
	}{
		{"negative length", []byte{0xff, 0xff, 0xff, 0xff}, "frame length -1"},
		{"longer than allowed", []byte{0, 0x10, 0, 0}, "frame length 1048576"},
		{"text", []byte("GET / HTTP/1.1\r\n\r\n"), "frame length 1195725856"},
		{"TLS", []byte{0x16, 3, 1, 2, 0, 1}, "frame length 369295618"},
		{"empty handshake", frame(), "handshake: malformed record at byte 0: int cut short"},
		{"short handshake", frame(0, 0, 0, 0, 0), "handshake: malformed record at byte 4: long cut short"},
		{"password without end", frame(wire.ConnectRequest{Password: make([]byte, 16)}.Append(nil)[:30]...), "handshake: malformed record at byte 28: length 16 beyond the end"},
		{"end of the stream in a length", []byte{0, 0}, "client closed the connection before its first frame"},
		{"end of the stream in a frame", handshake[:20], "client closed the connection within a frame"},
		{"later: negative length", slices.Concat(handshake, []byte{0x80, 0, 0, 0}), "frame length -2147483648"},
		{"later: longer than allowed", slices.Concat(handshake, frame(get...), []byte{0x7f, 0xff, 0xff, 0xff}), "frame length 2147483647"},
		{"later: empty frame", slices.Concat(handshake, frame()), "request header: malformed record at byte 0: int cut short"},
		{"later: short header", slices.Concat(handshake, frame(0, 0, 0, 1, 0)), "request header: malformed record at byte 4: int cut short"},
		{"later: end in a frame", slices.Concat(handshake, frame(get...)[:15]), "client closed the connection within a frame"},
		{"later: unknown operation", slices.Concat(handshake, frame(wire.RequestHeader{Xid: 1, Op: 99}.Append(nil)...)), "unknown operation op 99"},
		{"later: malformed auth", slices.Concat(handshake, frame(wire.RequestHeader{Xid: -4, Op: wire.OpAuth}.Append(nil)...)), "malformed auth packet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log syncBuffer
			s := NewServer(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			good := dial(t, s.Ensemble, 0)
			good.create("/good", nil, wire.FlagEphemeral)
			good.watch(wire.OpGetData, "/good")

			bad := open(t, s.Ensemble, 0)
			_, err := bad.nc.Write(test.sent)
			assert.NilError(t, err)
			bad.nc.(*net.TCPConn).CloseWrite()
			bad.nc.SetReadDeadline(time.Now().Add(patience))
			_, err = io.ReadAll(bad.nc)
			var timeout net.Error
			assert.Assert(t, !errors.As(err, &timeout) || !timeout.Timeout(), "the connection did not end")
			var reason string
			becomes(func() bool { // the client may hear of it first
				for _, f := range s.Frames() {
					if f.Dir == Hangup {
						reason = f.Note
					}
				}
				return reason != ""
			})
			assert.Equal(t, reason, test.reason)
			assert.Assert(t, strings.Contains(log.String(), fmt.Sprintf("conn=2 session=%s reason=", hexOf(s, good))) ||
				strings.Contains(log.String(), "conn=2 session=0x0 reason="), "%s", log.String())
			assert.Assert(t, strings.Contains(log.String(), test.reason), "%s", log.String())

			good.set("/good", "still here")
			assert.DeepEqual(t, good.took(), []wire.WatcherEvent{event(wire.EventNodeDataChanged, "/good")})
		})
	}
}

// hexOf returns how the log names the session that is not the client's.
func hexOf(s *Server, c *client) string {
	for _, f := range s.Frames() {
		if f.Session != 0 && f.Session != c.id {
			return fmt.Sprintf("%#x", f.Session)
		}
	}
	return "none"
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Who does not introduce himself has to go.
func TestSilentConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(t, Options{InMemory: true})
		c := open(t, s.Ensemble, 0)
		start := time.Now()
		c.ended()
		assert.Equal(t, time.Since(start), sessionlessTimeout)
	})
}

// Announced bytes are not bytes: memory follows what has come.
func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	const max = 64 << 20
	s := NewServer(t, Options{MaxFrame: max})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		c := dial(t, s.Ensemble, 0)
		c.nc.Write([]byte{0x03, 0xff, 0xff, 0xff, 1, 2, 3})
		dial(t, s.Ensemble, 0).ping() // by now it has been read, most probably
	}
	runtime.ReadMemStats(&after)
	assert.Assert(t, after.TotalAlloc-before.TotalAlloc < max, "%d bytes", after.TotalAlloc-before.TotalAlloc)

	c := dial(t, s.Ensemble, 0) // and such a frame works
	assert.Equal(t, c.call(wire.OpCreate, wire.CreateRequest{Path: "/big", Data: make([]byte, 3<<20), ACL: world}, &wire.PathResponse{}), int32(0))
}

// witness is a testing.TB that takes down what a test would fail with.
type witness struct {
	testing.TB
	cleanups []func()
	said     []string
}

func (w *witness) Helper()          {}
func (w *witness) Cleanup(f func()) { w.cleanups = append(w.cleanups, f) }
func (w *witness) Errorf(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}
func (w *witness) Fatalf(format string, args ...any) {
	w.Errorf(format, args...)
	runtime.Goexit()
}

// run is a test: f, and then the cleanups.
func (w *witness) run(f func()) (said []string) {
	w.said = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for _, f := range slices.Backward(w.cleanups) {
				f()
			}
		}()
		f()
	}()
	<-done
	return w.said
}

func TestMisuseFailsTheTest(t *testing.T) {
	other := NewEnsemble(t, 1)
	for _, test := range []struct {
		says string
		do   func(e *Ensemble)
	}{
		{"zktest: no member 3 in an ensemble of 3", func(e *Ensemble) { e.Member(3) }},
		{"zktest: no member -1 in an ensemble of 3", func(e *Ensemble) { e.Member(-1) }},
		{"zktest: Fault: the rule's member is of another ensemble", func(e *Ensemble) { e.Fault(Rule{Member: other.Member(0)}) }},
		{"zktest: Link: the rule's member is of another ensemble", func(e *Ensemble) { e.Link(LinkRule{Member: other.Member(0)}) }},
		{"zktest: Fault: Dir is 2, which is neither FromClient nor ToClient", func(e *Ensemble) { e.Fault(Rule{Dir: Hangup}) }},
		{"zktest: Fault: Do is 8, which is no Action", func(e *Ensemble) { e.Fault(Rule{Do: HoldBack + 1}) }},
		{"zktest: Fault: Skip is -1", func(e *Ensemble) { e.Fault(Rule{Skip: -1}) }},
		{"zktest: Fault: Delay is -1ns", func(e *Ensemble) { e.Fault(Rule{Delay: -1}) }},
		{"zktest: Fault: Err: a handshake has no error code", func(e *Ensemble) { e.Fault(Rule{Op: OpConnect, Err: wire.ErrSystem}) }},
		{"zktest: Fault: Err: a handshake has no error code", func(e *Ensemble) { e.Fault(Rule{Dir: ToClient, Op: OpConnect, Err: wire.ErrSystem}) }},
		{"zktest: Fault: Err: with this Do there is no reply to put it in", func(e *Ensemble) { e.Fault(Rule{Err: wire.ErrSystem, Do: Drop}) }},
		{"zktest: Fault: Err: with this Do there is no reply to put it in", func(e *Ensemble) { e.Fault(Rule{Err: wire.ErrSystem, Do: CutBefore}) }},
		{"zktest: Fault: Err: with this Do there is no reply to put it in", func(e *Ensemble) { e.Fault(Rule{Dir: ToClient, Err: wire.ErrSystem, Do: StallBefore}) }},
		{"zktest: Fault: Do: a handshake can be executed only once, and only as the first request", func(e *Ensemble) { e.Fault(Rule{Op: OpConnect, Do: Duplicate}) }},
		{"zktest: Fault: Do: a handshake can be executed only once, and only as the first request", func(e *Ensemble) { e.Fault(Rule{Op: OpConnect, Do: HoldBack}) }},
		{"zktest: Link: Skip is -1", func(e *Ensemble) { e.Link(LinkRule{Skip: -1}) }},
		{"zktest: Link: a limit is below zero", func(e *Ensemble) { e.Link(LinkRule{ToClient: CutAt(-1)}) }},
		{"zktest: SetLag: member 2 is the last one that keeps up, and without one nothing would ever be applied", func(e *Ensemble) {
			e.Member(0).SetLag(1)
			e.Member(1).Freeze()
			e.Member(0).Thaw()
			e.Member(0).Freeze()
			e.Member(2).SetLag(1)
		}},
		{"zktest: no member 3 in an ensemble of 3", func(e *Ensemble) { e.MoveSession(1, 3) }},
		{"zktest: MoveSession: no session of the ensemble can come to member 1, which is stopped, isolated or read-only", func(e *Ensemble) { e.Member(1).Stop(); e.MoveSession(1, 1) }},
		{"zktest: MoveSession: no session of the ensemble can come to member 1, which is stopped, isolated or read-only", func(e *Ensemble) { e.Member(1).Isolate(); e.MoveSession(1, 1) }},
		{"zktest: MoveSession: no session of the ensemble can come to member 1, which is stopped, isolated or read-only", func(e *Ensemble) { e.Member(1).SetReadOnly(true); e.MoveSession(1, 1) }},
		{`zktest: SetSequence: there is no node "/a"`, func(e *Ensemble) { e.SetSequence("/a", 1) }},
		{"zktest: MoveSession after Close", func(e *Ensemble) { e.Close(); e.MoveSession(1, 1) }},
		{"zktest: SetSequence after Close", func(e *Ensemble) { e.Close(); e.SetSequence("/", 1) }},
		{"zktest: lag -1", func(e *Ensemble) { e.Member(0).SetLag(-1) }},
		{"zktest: Fault after Close", func(e *Ensemble) { e.Close(); e.Fault(Rule{}) }},
		{"zktest: Link after Close", func(e *Ensemble) { e.Close(); e.Link(LinkRule{}) }},
		{"zktest: Expire after Close", func(e *Ensemble) { e.Close(); e.Expire(1) }},
		{"zktest: Cut after Close", func(e *Ensemble) { e.Close(); e.Cut(1) }},
		{"zktest: CutAll after Close", func(e *Ensemble) { e.Close(); e.CutAll() }},
		{"zktest: Stall after Close", func(e *Ensemble) { e.Close(); e.Stall(1) }},
		{"zktest: Stop after Close", func(e *Ensemble) { e.Close(); e.Member(0).Stop() }},
		{"zktest: Start after Close", func(e *Ensemble) { e.Close(); e.Member(0).Start() }},
		{"zktest: Restart after Close", func(e *Ensemble) { e.Close(); e.Member(0).Restart() }},
		{"zktest: Refuse after Close", func(e *Ensemble) { e.Close(); e.Member(0).Refuse(true) }},
		{"zktest: SetLag after Close", func(e *Ensemble) { e.Close(); e.Member(0).Freeze() }},
		{"zktest: SetReadOnly after Close", func(e *Ensemble) { e.Close(); e.Member(0).SetReadOnly(true) }},
		{"zktest: CutAll after Close", func(e *Ensemble) { e.Close(); e.Member(0).CutAll() }},
		{"zktest: Elect after Close", func(e *Ensemble) { e.Close(); e.Elect() }},
		{"zktest: LoseData after Close", func(e *Ensemble) { e.Close(); e.LoseData() }},
	} {
		w := &witness{TB: t}
		got := w.run(func() {
			test.do(NewEnsemble(w, 3))
			w.Errorf("it went on")
		})
		assert.DeepEqual(t, got, []string{test.says})
	}
	for says, do := range map[string]func(*Proxy){
		"zktest: proxy: Hold: 2 is not a direction":                         func(p *Proxy) { p.Hold(Hangup) },
		"zktest: proxy: Delay after Close":                                  func(p *Proxy) { p.Close(); p.Delay(ToClient, 1) },
		"zktest: proxy: Retarget: address nowhere: missing port in address": func(p *Proxy) { p.Retarget("nowhere") },
		"zktest: proxy: server: address nowhere: missing port in address":   nil,
		"zktest: proxy: Link: a proxy has no members":                       func(p *Proxy) { p.Link(LinkRule{Member: other.Member(0)}) },
		"zktest: proxy: Link: a limit is below zero":                        func(p *Proxy) { p.Link(LinkRule{FromClient: StallAt(-1)}) },
		"zktest: proxy: Release after Close":                                func(p *Proxy) { p.Close(); p.Release(ToClient) },
	} {
		w := &witness{TB: t}
		got := w.run(func() {
			if do == nil {
				NewProxy(w, "nowhere")
			} else {
				do(NewProxy(w, "127.0.0.1:1"))
			}
			w.Errorf("it went on")
		})
		assert.DeepEqual(t, got, []string{says})
	}
	w := &witness{TB: t}
	for says, do := range map[string]func(){
		"zktest: ensemble of 0 servers":              func() { NewEnsemble(w, 0) },
		"zktest: options: TickTime is -1ns":          func() { NewServer(w, Options{TickTime: -1}) },
		"zktest: options: ReapInterval is -1s":       func() { NewServer(w, Options{ReapInterval: -time.Second}) },
		"zktest: options: MaxFrame is -1":            func() { NewServer(w, Options{MaxFrame: -1}) },
		"zktest: options: MaxClientCnxns is -1":      func() { NewServer(w, Options{MaxClientCnxns: -1}) },
		"zktest: options: MinSessionTimeout is -1ns": func() { NewServer(w, Options{MinSessionTimeout: -1}) },
		"zktest: options: MaxSessionTimeout is -1ns": func() { NewServer(w, Options{MaxSessionTimeout: -1}) },
		"zktest: options: MinSessionTimeout, 1m0s, is above MaxSessionTimeout, 10s, which is 20 ticks of 500ms unless it is set": func() {
			NewServer(w, Options{MinSessionTimeout: time.Minute})
		},
		`zktest: options: Listen is "2181", not an IP address and a port`:                           func() { NewServer(w, Options{Listen: "2181"}) },
		`zktest: options: Listen is "localhost:2181", not an IP address and a port`:                 func() { NewServer(w, Options{Listen: "localhost:2181"}) },
		`zktest: options: Listen is "127.0.0.1:65536", not an IP address and a port`:                func() { NewServer(w, Options{Listen: "127.0.0.1:65536"}) },
		`zktest: options: Listen is "0.0.0.0:2181", which is no loopback address`:                   func() { NewServer(w, Options{Listen: "0.0.0.0:2181"}) },
		`zktest: options: Listen is "[::]:0", which is no loopback address`:                         func() { NewServer(w, Options{Listen: "[::]:0"}) },
		`zktest: options: Listen is "127.0.0.1:65534", which leaves no ports for 3 members`:         func() { NewEnsemble(w, 3, Options{Listen: "127.0.0.1:65534"}) },
		`zktest: options: Listen is set, and InMemory`:                                              func() { NewServer(w, Options{Listen: "127.0.0.1:0", InMemory: true}) },
		`zktest: options: Super and SuperDigest are both set`:                                       func() { NewServer(w, Options{Super: "a:b", SuperDigest: data.DigestID("a:b")}) },
		`zktest: options: SuperDigest is "super:secret", which is not user:digest`:                  func() { NewServer(w, Options{SuperDigest: "super:secret"}) },
		`zktest: options: SuperDigest is ":2jmj7l5rSw0yVb/vlWAYkK/YBwk=", which is not user:digest`: func() { NewServer(w, Options{SuperDigest: ":2jmj7l5rSw0yVb/vlWAYkK/YBwk="}) },
		"zktest: 2 values of type zktest.Options, of which there can be one":                        func() { NewServer(w, Options{}, Options{InMemory: true}) },
		"zktest: proxy: 2 values of type zktest.ProxyOptions, of which there can be one": func() {
			NewProxy(w, "127.0.0.1:1", ProxyOptions{}, ProxyOptions{})
		},
		"zktest: SetLag: member 0 is the last one that keeps up, and without one nothing would ever be applied": func() {
			NewServer(w).Member(0).Freeze()
		},
	} {
		assert.DeepEqual(t, w.run(do), []string{says})
		w.cleanups = nil
	}
	NewServer(t, Options{MinSessionTimeout: time.Minute, MaxSessionTimeout: time.Minute})
}

func TestLeaksFailTheTest(t *testing.T) {
	for _, opts := range []Options{{NoLeaks: true}, {NoLeaks: true, InMemory: true}} {
		w := &witness{TB: t}
		got := w.run(func() {
			e := NewEnsemble(w, 2, opts)
			dial(t, e, 0).nc.Close()
			stalled := dial(t, e, 1)
			e.Stall(stalled.id)
			stalled.nc.Close()
			e.Cut(dial(t, e, 0).id) // the server's end is closed
		})
		assert.Equal(t, len(got), 0, "%q", got)

		var left *client
		w = &witness{TB: t}
		got = w.run(func() { left = dial(t, NewEnsemble(w, 2, opts), 1) })
		assert.Equal(t, len(got), 1, "%q", got)
		assert.Assert(t, strings.HasPrefix(got[0], "zktest: connection 1 to member 1, from "), got[0])
		assert.Assert(t, strings.HasSuffix(got[0], fmt.Sprintf(" session %#x, was left open", left.id)), got[0])
	}
}
