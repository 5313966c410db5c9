package metrics_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/metrics"
	"github.com/seed-9f8420c6/zk/sasl"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestMain(m *testing.M) { os.Exit(suite.RunTests(m, func() error { return nil })) }

// reading is all entries of a Map, as numbers by name and label.
func reading(t *testing.T, set *metrics.Set) map[string]float64 {
	t.Helper()
	var all map[string]json.RawMessage
	assert.NilError(t, json.Unmarshal([]byte(set.Map().String()), &all))
	out := make(map[string]float64)
	for name, raw := range all {
		var number float64
		var byLabel map[string]json.RawMessage
		if json.Unmarshal(raw, &number) == nil {
			out[name] = number
			continue
		}
		assert.NilError(t, json.Unmarshal(raw, &byLabel), name)
		out[name] = 0
		for label, raw := range byLabel {
			var h metrics.Histogram
			if json.Unmarshal(raw, &number) == nil {
				out[name+" "+label] = number
			} else if json.Unmarshal(raw, &h) == nil {
				out[name+" "+label] = float64(h.Count)
			}
		}
	}
	return out
}

// Each name moves, and only by what it is about. The steps are in an order in which
// each starts from what the ones before have left.
func TestEveryName(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		set := metrics.New()
		conf, l := e.Config()
		conf.Timeout = 12 * time.Second
		set.Attach(&conf)
		seen := make(map[string]bool)
		before := reading(t, set)
		check := func(step string, want map[string]float64) {
			t.Helper()
			time.Sleep(time.Microsecond) // let what is under way arrive
			now := reading(t, set)
			for name, by := range want {
				assert.Check(t, math.Round(1000*(now[name]-before[name])) == 1000*by, "%s: %s moved by %v, want %v", step, name, now[name]-before[name], by)
				seen[strings.Fields(name)[0]] = true
			}
			before = now
		}
		moved := func(step string, names ...string) {
			t.Helper()
			now := reading(t, set)
			for _, name := range names {
				assert.Check(t, now[name] != before[name], "%s: %s did not move from %v", step, name, now[name])
				seen[strings.Fields(name)[0]] = true
			}
		}
		s := e.Dial(conf)
		moved("dial", "bytes_sent", "bytes_received", "lease_seconds")
		check("dial", map[string]float64{"sessions": 1, "dials": 1, "dials_failed": 0, "moves": 0, "renews": 0})

		e.Create(s, "/a", "x")
		moved("create", "zxid")
		check("create", map[string]float64{"calls create": 1, "call_seconds create": 1, "frames_sent": 1, "frames_received": 1})
		_, _, err := s.Get(e.Ctx, "/none", nil)
		assert.ErrorIs(t, err, zk.ErrNoNode)
		check("get", map[string]float64{"calls get": 1, "calls_failed get answered NoNode": 1})

		room, full := make(chan zk.Event, 9), make(chan zk.Event)
		e.Watch(s, "/a", room)
		assert.NilError(t, s.AddWatch(e.Ctx, "/a", zk.WatchRecursive, room))
		check("watch", map[string]float64{"watches data": 1, "watches recursive": 1, "watches child": 0})
		e.Set(s, "/a", "y")
		check("event", map[string]float64{"events changed": 1, "events_ignored": 0, "watches data": -1, "events_queued": 0})
		assert.NilError(t, s.RemoveWatch(e.Ctx, "/a", room))
		e.Watch(s, "/a", full)
		e.Set(s, "/a", "z")
		time.Sleep(time.Second)
		check("full", map[string]float64{"events changed": 1, "events_queued": 1, "oldest_queued_event_seconds": 1})
		assert.Equal(t, (<-full).Type, zk.Changed)

		closed := make(chan zk.Event)
		e.Watch(s, "/a", closed)
		close(closed)
		e.Set(s, "/a", "q")
		e.Fence(s)
		check("closed", map[string]float64{"closed_channels": 1, "events_queued": -1})

		e.Watch(s, "/a", room) // on the server, when nobody is armed here any more
		assert.NilError(t, s.RemoveWatch(e.Ctx, "/a", room))
		e.Set(s, "/a", "r")
		e.Fence(s)
		check("ignored", map[string]float64{"events_ignored": 1})

		time.Sleep(conf.Timeout / 2)
		check("ping", map[string]float64{"pings": 1, "frames_sent": 1, "frames_received": 1})
		seen["ping_seconds"] = true
		assert.Equal(t, set.Snapshot().PingTimes.Count, int64(1))

		assert.NilError(t, addPersistent(e, s))
		before = reading(t, set)
		e.Sim.Fault(suite.StallOn(s, "/a"))
		ctx, cancel := context.WithTimeout(e.Ctx, time.Second)
		defer cancel()
		_, _, err = s.Get(ctx, "/a", nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		check("stalled", map[string]float64{"calls_abandoned": 1, "calls_pending": 1, "oldest_call_seconds": 1, "calls_failed get lost context": 1})

		e.Cut(s, l)
		e.Set(e.Session(), "/p", "x") // behind the back of a persistent watch
		time.Sleep(2 * time.Second)
		s, err = s.Redial(e.Ctx)
		assert.NilError(t, err)
		check("move", map[string]float64{"moves": 1, "dials": 1, "sessions": 0, "gaps": 1, "events gap": 1})
		h := set.Snapshot().MoveTimes
		assert.Equal(t, h.Count, int64(1))
		assert.Equal(t, h.Sum, 2.0)
		lost := 0.0
		for name, n := range reading(t, set) {
			if strings.HasPrefix(name, "connections_lost ") {
				lost += n
			}
		}
		assert.Equal(t, lost, 1.0)

		e.Sim.Expire(s.ID())
		suite.Await(t, s.Done())
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		check("expired", map[string]float64{"expired": 1, "dials_failed expired": 1, "sessions": -1})
		s, err = s.Renew(e.Ctx)
		assert.NilError(t, err)
		check("renewed", map[string]float64{"renews": 1, "moves": 0, "sessions": 1})
		sum := set.Snapshot()
		assert.NilError(t, s.Close())
		check("closed", map[string]float64{"sessions": -1, "calls close": 1})
		after := set.Snapshot()
		assert.Assert(t, after.BytesSent > sum.BytesSent && after.Lease == 0)

		for name := range before {
			name := strings.Fields(name)[0]
			switch name {
			case "move_seconds", "connections_lost": // see above
			default:
				assert.Check(t, seen[name], "no step moves %s", name)
			}
		}
		assert.Assert(t, len(before) > 29)
	})
}

// Each value of a label moves too.
func TestEveryLabel(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		set := metrics.New()
		conf, _ := e.Config()
		odd := new(oddConn)
		conf.Wrap = func(_ string, c net.Conn) net.Conn {
			odd = &oddConn{Conn: c}
			return odd
		}
		set.Attach(&conf)
		s := e.Dial(conf)
		for _, path := range []string{"/a", "/p", "/r"} {
			e.Create(s, path, "")
		}
		ch := make(chan zk.Event, 99)
		_, _, err := s.Exists(e.Ctx, "/none", ch)
		assert.NilError(t, err)
		_, _, err = s.Children(e.Ctx, "/a", ch)
		assert.NilError(t, err)
		e.Watch(s, "/a", ch)
		assert.NilError(t, s.AddWatch(e.Ctx, "/p", zk.WatchPersistent, ch))
		assert.NilError(t, s.AddWatch(e.Ctx, "/r", zk.WatchRecursive, ch))
		assert.DeepEqual(t, set.Snapshot().Watches, map[string]int{"data": 1, "exists": 1, "child": 1, "persistent": 1, "recursive": 1})
		e.Create(s, "/none", "")
		e.Create(s, "/a/b", "")
		e.Set(s, "/a", "x")
		assert.NilError(t, s.Delete(e.Ctx, "/p", zk.AnyVersion))

		ended, cancel := context.WithCancel(e.Ctx)
		cancel()
		assert.ErrorIs(t, s.Sync(ended, "/"), zk.ErrNotSent)
		assert.ErrorIs(t, s.Delete(e.Ctx, "/p", zk.AnyVersion), zk.ErrNoNode)
		odd.fails.Store(true)
		assert.ErrorIs(t, s.Sync(e.Ctx, "/"), zk.ErrLost)
		<-s.Done()
		e.Create(e.Session(), "/p", "")
		e.Move(s)
		x := set.Snapshot()
		assert.DeepEqual(t, x.Events, map[string]int64{"created": 1, "child": 1, "changed": 1, "deleted": 1, "gap": 2})
		assert.DeepEqual(t, counted(x.ConnectionsLost), map[string]int64{"other": 1})
		assert.DeepEqual(t, x.CallsFailed, map[metrics.Failure]int64{
			{Op: "sync", Outcome: "not_sent", Code: "context"}: 1, {Op: "delete", Outcome: "answered", Code: "NoNode"}: 1,
			{Op: "sync", Outcome: "lost", Code: "connection"}: 1,
		})
	})
}

// oddConn fails for a reason that has no name.
type oddConn struct {
	net.Conn
	fails atomic.Bool
}

func (c *oddConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.fails.Load() {
		return 0, errors.New("odd")
	}
	return n, err
}

func addPersistent(e *suite.Env, s *zk.Session) error {
	other := e.Session()
	e.Create(other, "/p", "")
	return s.AddWatch(e.Ctx, "/p", zk.WatchPersistent, make(chan zk.Event, 9))
}

// counted leaves zeros out.
func counted(m map[string]int64) map[string]int64 {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ string, n int64) bool { return n == 0 })
	return m
}

// Why an address gives no session has one of a few names.
func TestDialReasons(t *testing.T) {
	e := suite.Private(t, 1)
	a := suite.NewAuthority(t)
	secure := suite.Terminate(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("127.0.0.1")}}, e.Addrs()[0])
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	assert.NilError(t, err)
	defer mute.Close()
	go func() {
		for {
			c, err := mute.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // which takes connections and says nothing
	assert.NilError(t, err)
	defer deaf.Close()
	readOnly := suite.Private(t, 1, zktest.Options{NoLocalSessions: true})
	readOnly.Sim.Member(0).SetReadOnly(true)
	noAnswer := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, change := range map[string]func(c *zk.Config){
		"dns": func(c *zk.Config) { c.Addrs = []string{"no.such.host.invalid:1"} },
		"dns, by Config.Resolve": func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return nil, errors.New("no luck") }
		},
		"dns, no addresses": func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return []string{"a:b:c"}, nil }
		},
		"tcp": func(c *zk.Config) { c.Addrs = []string{"127.0.0.1:1"} },
		"tcp, no answer": func(c *zk.Config) {
			c.Timeout = 10 * time.Millisecond
			c.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, noAnswer(ctx) }
		},
		"tcp, by DialContext": func(c *zk.Config) {
			c.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no proxy") }
		},
		"tls, no answer": func(c *zk.Config) {
			c.Timeout, c.Addrs, c.TLS = 10*time.Millisecond, []string{deaf.Addr().String()}, new(tls.Config)
		},
		"handshake, no answer":      func(c *zk.Config) { c.Timeout, c.Addrs = 10*time.Millisecond, []string{deaf.Addr().String()} },
		"auth, SASL does not begin": func(c *zk.Config) { c.SASL = noSASL{} },
		"readonly":                  func(c *zk.Config) { c.Addrs, c.ReadOnly = readOnly.Addrs()[:1], true },
		"tls": func(c *zk.Config) {
			c.Addrs = []string{secure}
			c.TLS = &tls.Config{RootCAs: suite.NewAuthority(t).Pool()}
		},
		"handshake": func(c *zk.Config) { c.Addrs = []string{mute.Addr().String()} },
		"expired":   func(c *zk.Config) { c.ID, c.Password = 77, make([]byte, 16) },
		"auth":      func(c *zk.Config) { c.Auth = []zk.Auth{{Scheme: "nonsense"}} },
		"other":     func(c *zk.Config) { c.Wrap = func(string, net.Conn) net.Conn { return nil } },
	} {
		t.Run(name, func(t *testing.T) {
			want, _, _ := strings.Cut(name, ",")
			set := metrics.New()
			conf := zk.Config{Addrs: e.Addrs()}
			change(&conf)
			set.Attach(&conf)
			_, err := zk.Dial(context.Background(), conf) // a deadline would be what ends the silent ones
			assert.Assert(t, err != nil)
			x := set.Snapshot()
			assert.DeepEqual(t, counted(x.DialsFailed), map[string]int64{want: 1})
			assert.Equal(t, len(x.DialsFailed), 8)
			assert.Equal(t, x.Dials, int64(1))
			assert.Equal(t, x.Sessions, 0)
		})
	}
}

// noSASL cannot begin.
type noSASL struct{}

func (noSASL) Start(context.Context, string) (sasl.Exchange, []byte, error) {
	return nil, nil, errors.New("no ticket")
}

// Why a connection is lost has one of a few names; that it was left is no loss.
func TestLossReasons(t *testing.T) {
	for want, lose := range map[string]func(r *suite.Rig, s *zk.Session, l *suite.Line){
		"eof":      func(r *suite.Rig, s *zk.Session, l *suite.Line) { l.Close() },
		"silent":   func(r *suite.Rig, s *zk.Session, l *suite.Line) { time.Sleep(suite.RigTimeout) },
		"protocol": func(r *suite.Rig, s *zk.Session, l *suite.Line) { l.Send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
		"":         func(r *suite.Rig, s *zk.Session, l *suite.Line) { go s.Detach() },
	} {
		t.Run(want, func(t *testing.T) {
			suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
				set := metrics.New()
				conf := r.Config()
				set.Attach(&conf)
				s, l := r.Open(conf)
				lose(r, s, l)
				<-s.Done()
				lost := map[string]int64{want: 1}
				if want == "" {
					lost = map[string]int64{}
				}
				assert.DeepEqual(t, counted(set.Snapshot().ConnectionsLost), lost)
				assert.Equal(t, len(set.Snapshot().ConnectionsLost), 5)
			})
		})
	}
}

// A reset is its own reason, on a real network.
func TestLossByReset(t *testing.T) {
	e := suite.Private(t, 1)
	p := zktest.NewProxy(t, e.Addrs()[0])
	set := metrics.New()
	conf := zk.Config{Addrs: []string{p.Addr()}}
	set.Attach(&conf)
	s, err := zk.Dial(e.Ctx, conf)
	assert.NilError(t, err)
	p.Reset()
	suite.Await(t, s.Done())
	assert.DeepEqual(t, counted(set.Snapshot().ConnectionsLost), map[string]int64{"closed_by_peer": 1})
}

// Attach joins a Config once, however often; other hooks stay; Detach moves it and what
// is dialed from it to another Set.
func TestAttachAndDetach(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	var begun int
	own := &zk.Trace{Begin: func(context.Context, *zk.Session, bool) { begun++ }}
	conf.Trace = own
	set := metrics.New()
	for range 2 {
		assert.Assert(t, set.Attach(&conf) == set)
	}
	conf.Trace = zk.JoinTraces(conf.Trace, &zk.Trace{End: func(*zk.Session, error) {}})
	set.Attach(&conf)
	s := e.Dial(conf)
	assert.NilError(t, s.Sync(e.Ctx, "/"))
	next, err := s.Redial(e.Ctx) // a successor counts too
	assert.NilError(t, err)
	assert.Equal(t, set.Snapshot().Dials, int64(2))
	assert.Equal(t, set.Snapshot().Calls["sync"].Count, int64(1))
	assert.Equal(t, begun, 2)

	moved := next.Config()
	other := set.Detach(&moved)
	last := e.Dial(moved)
	assert.NilError(t, last.Sync(e.Ctx, "/"))
	lastSuccessor := e.Move(last)
	assert.NilError(t, lastSuccessor.Sync(e.Ctx, "/"))
	assert.Equal(t, begun, 4)
	a, b := set.Snapshot(), other.Snapshot()
	assert.Equal(t, fmt.Sprint(a.Sessions, a.Dials, a.Calls["sync"].Count), "0 2 1")
	assert.Equal(t, fmt.Sprint(b.Sessions, b.Dials, b.Calls["sync"].Count, b.Moves), "1 2 2 2")

	both := conf // of two Sets both count
	metrics.New().Attach(&both)
	second := metrics.New().Attach(&both)
	z := e.Dial(both)
	assert.NilError(t, z.Sync(e.Ctx, "/"))
	assert.Equal(t, second.Snapshot().Calls["sync"].Count, int64(1))
	assert.Equal(t, set.Snapshot().Calls["sync"].Count, int64(2))
}

// Whoever attaches, detaches and redials at the same time: no call and no dial is lost
// or counted twice.
func TestSums(t *testing.T) {
	const goroutines, rounds = 100, 3
	e := suite.Private(t, 1)
	base, _ := e.Config()
	set := metrics.New()
	set.Attach(&base)
	var mu sync.Mutex
	sets := []*metrics.Set{set}
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			conf := base
			for range rounds {
				switch g % 3 {
				case 0:
					set.Attach(&conf)
				case 1:
					other := set.Detach(&conf)
					mu.Lock()
					sets = append(sets, other)
					mu.Unlock()
				}
				s, err := zk.Dial(e.Ctx, conf)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Sync(e.Ctx, "/"); err != nil {
					t.Error(err)
				}
				if s, err = s.Redial(e.Ctx); err != nil {
					t.Error(err)
					return
				}
				_ = set.Snapshot()
				if err := errors.Join(s.Sync(e.Ctx, "/"), s.Close()); err != nil {
					t.Error(err)
				}
				if conf = s.Config(); true {
					conf.State = zk.State{}
				}
				if g%3 == 1 { // back to where the next Detach finds it
					conf.Trace = base.Trace
				}
			}
		})
	}
	wg.Wait()
	var dials, moves, syncs, closes, frames int64
	sessions := 0
	for _, s := range sets {
		x := s.Snapshot()
		dials, moves, syncs, closes = dials+x.Dials, moves+x.Moves, syncs+x.Calls["sync"].Count, closes+x.Calls["close"].Count
		sessions += x.Sessions
		frames += x.FramesSent
	}
	const n = goroutines * rounds
	assert.Equal(t, fmt.Sprint(sessions, dials, moves, syncs, closes), fmt.Sprint(0, 2*n, n, 2*n, n))
	assert.Assert(t, frames >= 3*n)
	assert.Assert(t, len(sets) > goroutines/4)
}

// The Map is live, and the caller's to change.
func TestMap(t *testing.T) {
	set := metrics.New()
	m := set.Map()
	m.Set("mine", expvar.Func(func() any { return 7 }))
	m.Delete("zxid")
	assert.Assert(t, strings.Contains(m.String(), `"mine": 7`), m.String())
	assert.Assert(t, m.Get("zxid") == nil)
	assert.Assert(t, set.Map() == m)
	assert.Assert(t, metrics.New().Map().Get("mine") == nil)
}

// Attach counts in Default, which expvar has.
func TestDefault(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	assert.Assert(t, metrics.Attach(&conf) == metrics.Default)
	metrics.Attach(&conf)
	e.Dial(conf)
	assert.Assert(t, strings.Contains(expvar.Get("zk").String(), `"sessions": 1`), expvar.Get("zk").String())
}

// What a server invents makes no new label.
func TestBoundedLabels(t *testing.T) {
	e := suite.Private(t, 1, zktest.Options{})
	conf, _ := e.Config()
	set := metrics.New()
	set.Attach(&conf)
	s := e.Dial(conf)
	for code := range 50 {
		e.Sim.Fault(zktest.Rule{Op: wire.OpSync, Err: int32(-20000 - code)})
		s.Sync(e.Ctx, "/")
	}
	x := set.Snapshot()
	assert.DeepEqual(t, x.CallsFailed, map[metrics.Failure]int64{{Op: "sync", Outcome: "answered", Code: "other"}: 50})
}

// A Set keeps nothing of Sessions and Watches that nobody has any more.
func TestForgets(t *testing.T) {
	set := metrics.New()
	func() {
		e := suite.Private(t, 1)
		conf, _ := e.Config()
		set.Attach(&conf)
		for range 5 {
			s, err := zk.Dial(e.Ctx, conf)
			assert.NilError(t, err)
			assert.NilError(t, s.Close())
		}
		assert.Equal(t, set.Remembered(), 5)
	}()
	for end := time.Now().Add(suite.Patience); set.Remembered() > 0; time.Sleep(time.Millisecond) {
		runtime.GC()
		assert.Assert(t, time.Now().Before(end), "%d are left", set.Remembered())
	}
}

// Nothing of a Set has a path, a session's number or a secret in it.
func TestSecrets(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	conf.Auth = []zk.Auth{zk.Digest("user", "Hush-Hush")}
	set := metrics.New()
	set.Attach(&conf)
	s := e.Dial(conf)
	e.Create(s, "/private-path", "secret-data")
	s.Get(e.Ctx, "/private-path/none", nil)
	text := set.Map().String() + fmt.Sprintf("%+v", set.Snapshot())
	for _, hidden := range []string{"Hush", "private-path", "secret-data", fmt.Sprintf("%x", uint64(s.ID())), string(s.Config().Password)} {
		assert.Assert(t, !strings.Contains(text, hidden), "%q in %s", hidden, text)
	}
}

// A time belongs to the first bucket that is not below it.
func TestDurations(t *testing.T) {
	var d metrics.Durations
	for _, ms := range []float64{0, 1, 1.1, 5, 9999, 10000, 10001} {
		d.Add(time.Duration(ms * float64(time.Millisecond)))
	}
	h := d.Read()
	assert.DeepEqual(t, h.Buckets[:], []int64{2, 2, 0, 0, 0, 0, 0, 0, 2, 1})
	assert.Equal(t, h.Count, int64(7))
	assert.Equal(t, h.Sum, 30.0071)
	assert.Assert(t, slices.IsSorted(metrics.Bounds[:]))
}

// Fine buckets are those of a native histogram: a time is in the first whose bound,
// 2^(key/8) seconds, is not below it. They have the same times as the others, always.
func TestFineDurations(t *testing.T) {
	for _, c := range []struct {
		t   time.Duration
		key int
	}{
		{0, -160}, {-1, -160}, {1, -160}, {time.Second, 0}, {time.Second + 1, 1}, {time.Second / 2, -8}, {time.Second/2 + 1, -7},
		{2 * time.Second, 8}, {1090507732, 1}, {1090507733, 2}, {time.Hour, 80}, {1 << 62, 80},
	} {
		var d metrics.Durations
		d.Add(c.t)
		assert.DeepEqual(t, d.Read().Fine, map[int]int64{c.key: 1})
	}
	var d metrics.Durations
	r := rand.New(rand.NewPCG(1, 2))
	want := make(map[int]int64)
	const n = 100_000
	for range n {
		took := time.Duration(math.Exp(math.Log(1e3) + r.Float64()*math.Log(1e9)))
		d.Add(took)
		want[max(-160, int(math.Ceil(8*math.Log2(took.Seconds()))))]++
	}
	h := d.Read()
	assert.DeepEqual(t, h.Fine, want)
	sum := int64(0)
	for _, count := range h.Buckets {
		sum += count
	}
	assert.Equal(t, sum, h.Count)
	assert.Equal(t, h.Count, int64(n))
}

// What a Set counts by hooks is what its Sessions count themselves.
func TestCallsOfStats(t *testing.T) {
	e := suite.Private(t, 1)
	set := metrics.New()
	conf, _ := e.Config()
	set.Attach(&conf)
	var all zk.Stats
	for range 2 {
		s := e.Dial(conf)
		suite.EveryCall("/", func(name string, call func(context.Context, *zk.Session) error) {
			if name != "AddAuth" && name != "Reconfig" {
				call(e.Ctx, s)
			}
		})
		e.Sim.Fault(suite.StallOn(s, "/stalled"))
		ctx, cancel := context.WithTimeout(e.Ctx, 20*time.Millisecond)
		defer cancel()
		s.Get(ctx, "/stalled", nil)
		e.Sim.Cut(s.ID())
		suite.Await(t, s.Done())
		s.Sync(e.Ctx, "/")
		n := s.Stats()
		all.Calls, all.Failed, all.Abandoned = all.Calls+n.Calls, all.Failed+n.Failed, all.Abandoned+n.Abandoned
	}
	x := set.Snapshot()
	var calls, failed int64
	for _, h := range x.Calls {
		calls += h.Count
	}
	for _, n := range x.CallsFailed {
		failed += n
	}
	assert.Equal(t, fmt.Sprint(calls, failed, x.CallsAbandoned), fmt.Sprint(all.Calls, all.Failed, all.Abandoned))
	assert.Assert(t, failed > 2 && x.CallsAbandoned == 2)
}

func ExampleAttach() {
	conf := zk.Config{Addrs: []string{"127.0.0.1:2181"}}
	set := metrics.Attach(&conf)
	// zk.Dial(ctx, conf) ...
	fmt.Println(set.Snapshot().Sessions, "sessions")
	// Output: 0 sessions
}

// An Observer sees each call, move and ping, until it is stopped.
func TestObserve(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		set := metrics.New()
		conf, _ := e.Config()
		set.Attach(&conf)
		var mu sync.Mutex
		var seen []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf(format, args...))
		}
		stop := set.Observe(metrics.Observer{
			Call: func(_ context.Context, c zk.Call, took time.Duration, err error) {
				note("%s %v %v", c.Op, took, err != nil)
			},
			Move: func(took time.Duration) { note("move %v", took) },
			Ping: func(took time.Duration) { note("ping %v", took) },
		})
		set.Observe(metrics.Observer{})
		s := e.Dial(conf)
		s.Get(e.Ctx, "/none", nil)
		time.Sleep(conf.Timeout / 2)
		s = e.Move(s)
		stop()
		assert.NilError(t, s.Sync(e.Ctx, "/"))
		assert.DeepEqual(t, seen, []string{"get 0s true", "ping 0s", "move 0s"})
	})
}

// A History has the last 64 dials, oldest first, and the ends and Gaps with their reasons.
func TestHistory(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		set := metrics.New()
		conf, _ := e.Config()
		set.Attach(&conf)
		s, err := zk.Dial(e.Ctx, conf)
		assert.NilError(t, err)
		gaps := make(chan zk.Event, 1)
		assert.NilError(t, s.AddWatch(e.Ctx, "/", zk.WatchPersistent, gaps))
		e.Sim.Cut(s.ID())
		<-s.Done()
		e.Create(e.Session(), "/new", "")
		next, err := s.Redial(e.Ctx)
		assert.NilError(t, err)
		assert.NilError(t, next.Close())
		h := set.History()
		assert.Equal(t, len(h.Dials), 2)
		assert.DeepEqual(t, h.Dials[0], metrics.Note{Time: h.Dials[0].Time, Addr: s.Addr(), Session: s.ID()})
		assert.Equal(t, len(h.Ends), 2)
		assert.Equal(t, h.Ends[0].Session, s.ID())
		assert.Equal(t, h.Ends[0].Why, "eof")
		assert.Equal(t, h.Ends[0].Text, s.Err().Error())
		assert.Equal(t, h.Ends[1].Why, "closed")
		assert.Equal(t, len(h.Gaps), 1)
		assert.Equal(t, h.Gaps[0].Path, "/")

		conf.DialContext = func(_ context.Context, _, addr string) (net.Conn, error) { return nil, errors.New("no " + addr) }
		for i := range 70 {
			conf.Addrs = []string{fmt.Sprintf("h:%d", 1+i)}
			_, err := zk.Dial(e.Ctx, conf)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			time.Sleep(time.Millisecond)
		}
		dials := set.History().Dials
		assert.Equal(t, len(dials), 64)
		for i, n := range dials {
			assert.Equal(t, n.Addr, fmt.Sprintf("h:%d", 7+i))
			assert.Equal(t, n.Why, "tcp")
			assert.Equal(t, n.Text, "no "+n.Addr)
			assert.Equal(t, time.Since(n.Time), time.Duration(64-i)*time.Millisecond)
		}
	})
}
