package scripts

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// dialSteps are hooks that note each step of a Dial, with what its context has picked up.
func dialSteps(seen *[]string) *zk.Trace {
	note := func(ctx context.Context, what, addr string, err error) {
		if err != nil {
			what += " failed"
		}
		*seen = append(*seen, strings.TrimSpace(what+" "+addr)+" "+trail(ctx))
	}
	return &zk.Trace{
		Resolved: func(ctx context.Context, addr string, took time.Duration, err error) context.Context {
			if took < 0 || took > suite.Patience {
				*seen = append(*seen, took.String())
			}
			note(ctx, "resolved", addr, err)
			return walk(ctx, map[bool]string{true: "c", false: "n"}[addr == ""])
		},
		DialStart: func(ctx context.Context, addr string) context.Context {
			note(ctx, "dial", addr, nil)
			return walk(ctx, "d")
		},
		TLSStart: func(ctx context.Context, addr string) { note(ctx, "TLS", addr, nil) },
		DialDone: func(ctx context.Context, addr string, err error) { note(ctx, "dialed", addr, err) },
		Handshake: func(ctx context.Context, addr string, _ int64, _ time.Duration, err error) {
			note(ctx, "handshake", addr, err)
		},
		DialFailed: func(ctx context.Context, addr string, err error) { note(ctx, "no session", addr, err) },
		Begin:      func(ctx context.Context, s *zk.Session, _ bool) { note(ctx, "begin", s.Addr(), nil) },
	}
}

// What a name or Config.Resolve has given is shown, and its context goes on to the hooks
// of what it gave. What it has not given is a failed Dial, for the hooks and the Logger.
func TestTraceResolved(t *testing.T) {
	e := suite.Private(t, 1)
	log := new(suite.LockedBuffer)
	var seen []string
	conf := zk.Config{Trace: dialSteps(&seen), Logger: slog.New(slog.NewTextHandler(log, nil))}
	ctx := walk(e.Ctx, "a")
	dial := func(conf zk.Config) (steps []string, err error) {
		seen = nil
		s, err := zk.Dial(ctx, conf)
		if err == nil {
			assert.NilError(t, s.Close())
		}
		return seen, err
	}
	server := e.Addrs()[0]
	conf.Addrs = []string{"none.invalid:1"}
	conf.Resolve = func(context.Context) ([]string, error) { return []string{server}, nil }
	steps, err := dial(conf)
	assert.NilError(t, err)
	assert.DeepEqual(t, steps, []string{"resolved a", "dial " + server + " ac", "dialed " + server + " acd", "handshake " + server + " acd", "begin " + server + " acd"})

	// A name, which may have several addresses, of which one is right.
	_, port, _ := net.SplitHostPort(server)
	name := net.JoinHostPort("localhost", port)
	conf.Resolve = func(context.Context) ([]string, error) { return []string{name}, nil }
	steps, err = dial(conf)
	assert.NilError(t, err)
	assert.DeepEqual(t, steps[:2], []string{"resolved a", "resolved " + name + " ac"})
	for _, step := range steps[2:] {
		assert.Check(t, strings.HasSuffix(step, map[bool]string{true: " acn", false: " acnd"}[strings.HasPrefix(step, "dial ")]), step)
	}
	assert.Equal(t, steps[len(steps)-1], "begin "+name+" acnd")

	conf.Resolve = nil
	steps, err = dial(conf)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.DeepEqual(t, steps, []string{"resolved failed none.invalid:1 a", "no session failed none.invalid:1 an"})

	for what, c := range map[string]struct {
		resolve func(context.Context) ([]string, error)
		text    string
		is      error
	}{
		"error":       {func(context.Context) ([]string, error) { return nil, errors.New("no luck") }, "Config.Resolve: no luck", zk.ErrNoServer},
		"bad address": {func(context.Context) ([]string, error) { return []string{"a:b:c"}, nil }, "a:b:c", zk.ErrBadArguments},
	} {
		before := log.String()
		conf.Resolve = c.resolve
		steps, err = dial(conf)
		assert.ErrorIs(t, err, c.is, what)
		assert.DeepEqual(t, steps, []string{"resolved failed a", "no session failed ac"})
		said := strings.TrimPrefix(log.String(), before)
		assert.Assert(t, strings.Contains(said, "zk: no session") && strings.Contains(said, c.text) && strings.Contains(said, `outcome="not sent"`), said)
	}

	// Hooks may return no context.
	trace := *conf.Trace
	trace.Resolved = func(context.Context, string, time.Duration, error) context.Context { return nil }
	conf.Trace = &trace
	conf.Resolve = func(context.Context) ([]string, error) { return []string{server}, nil }
	steps, err = dial(conf)
	assert.NilError(t, err)
	assert.Equal(t, steps[0], "dial "+server+" a")
}

// The beginning of TLS is shown, between TCP and the handshake; what fails there is a step
// of its own. A hook that panics leaves no connection open.
func TestTraceTLS(t *testing.T) {
	e := suite.Private(t, 1)
	a := suite.NewAuthority(t)
	secure := suite.Terminate(t, &tls.Config{Certificates: []tls.Certificate{a.Issue("127.0.0.1")}}, e.Addrs()[0])
	var seen []string
	conf := zk.Config{Addrs: []string{secure}, TLS: &tls.Config{RootCAs: a.Pool()}, Trace: dialSteps(&seen)}
	s, err := zk.Dial(e.Ctx, conf)
	assert.NilError(t, err)
	assert.NilError(t, s.Close())
	assert.DeepEqual(t, seen, []string{"dial " + secure + " ", "TLS " + secure + " d", "dialed " + secure + " d", "handshake " + secure + " d", "begin " + secure + " d"})

	seen = nil
	bad := conf
	bad.TLS = &tls.Config{RootCAs: suite.NewAuthority(t).Pool()}
	_, err = zk.Dial(e.Ctx, bad)
	assert.ErrorContains(t, err, "TLS: ")
	assert.DeepEqual(t, seen, []string{"dial " + secure + " ", "TLS " + secure + " d", "dialed failed " + secure + " d", "no session failed " + secure + " d"})

	seen = nil
	refused := conf
	refused.Addrs = []string{"127.0.0.1:1"}
	_, err = zk.Dial(e.Ctx, refused)
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.DeepEqual(t, seen, []string{"dial 127.0.0.1:1 ", "dialed failed 127.0.0.1:1 d", "no session failed 127.0.0.1:1 d"})
}

func TestTraceDialPanics(t *testing.T) {
	e := suite.Private(t, 1)
	for name, trace := range map[string]*zk.Trace{
		"Resolved":  {Resolved: func(context.Context, string, time.Duration, error) context.Context { panic("oops") }},
		"DialStart": {DialStart: func(context.Context, string) context.Context { panic("oops") }},
		"TLSStart":  {TLSStart: func(context.Context, string) { panic("oops") }},
		"DialDone":  {DialDone: func(context.Context, string, error) { panic("oops") }},
		"Handshake": {Handshake: func(context.Context, string, int64, time.Duration, error) { panic("oops") }},
	} {
		t.Run(name, func(t *testing.T) {
			conf, l := e.Config()
			conf.Trace = trace
			addrs := conf.Addrs
			conf.Resolve = func(context.Context) ([]string, error) { return addrs, nil }
			if name == "TLSStart" {
				conf.TLS = new(tls.Config)
			}
			var caught any
			func() {
				defer func() { caught = recover() }()
				zk.Dial(e.Ctx, conf)
			}()
			assert.Equal(t, caught, "oops")
			assert.Equal(t, l.Open(), 0)
		})
	}
}

// The Gaps that a move brings are shown ahead of Begin. A hook that panics there ends the
// Dial, which waits for no answer any more.
func TestTraceGapAheadOfBegin(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		var mu sync.Mutex
		var seen []string
		bad := false
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, what)
		}
		conf, l := e.Config()
		conf.Trace = &zk.Trace{
			Begin: func(context.Context, *zk.Session, bool) { note("begin") },
			Event: func(_ *zk.Session, ev zk.Event, _ bool) {
				if note(ev.Type.String() + " " + ev.Path); bad {
					panic("oops")
				}
			},
		}
		s := e.Dial(conf)
		e.Create(s, "/p", "")
		ch := make(chan zk.Event, 9)
		assert.NilError(t, s.AddWatch(e.Ctx, "/p", zk.WatchPersistent, ch))
		e.Cut(s, l)
		other := e.Session()
		e.Set(other, "/p", "x")
		seen = nil
		s = e.Move(s)
		assert.DeepEqual(t, seen, []string{"gap /p", "begin"})

		e.Want(ch, zk.Gap, "/p")
		e.Cut(s, l)
		e.Set(other, "/p", "y")
		bad = true
		assert.ErrorContains(t, endOf(t, e, s), "Trace.Event panicked at trace_dial_test.go:")
		bad = false
		s = latest(t, s)
		e.Move(s)
		e.Want(ch, zk.Gap, "/p")
	})
}

// They are ahead of Begin even if the reader is held up as soon as the Dial has its answer.
func TestTraceGapAheadOfBeginOnABusyReader(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		var mu sync.Mutex
		var seen []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, what)
		}
		conf := r.Config()
		conf.Trace = &zk.Trace{
			Begin: func(context.Context, *zk.Session, bool) { note("begin") },
			Event: func(_ *zk.Session, ev zk.Event, _ bool) { note(ev.Type.String()) },
			Pong:  func(*zk.Session, time.Duration) { time.Sleep(time.Millisecond) },
		}
		s, l := r.Open(conf)
		ch := make(chan zk.Event, 9)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
		l.Close()
		<-s.Done()
		seen = nil
		d := r.Begin(s.Config().Renew())
		l = r.Accept()
		l.Greet()
		restores := l.Next()
		body, err := l.Frame() // by and by
		assert.NilError(t, err)
		assert.Equal(t, suite.ParseAsked(body).Op, wire.OpPing)
		l.Send(suite.Answer(restores.Xid, 2, nil), suite.Answer(wire.XidPing, 0, nil))
		s = d.Session()
		assert.DeepEqual(t, seen, []string{"gap", "begin"})
		l.Close()
		<-s.Done()
	})
}

// endOf redials and returns why that has failed, or why the Session that it made is over.
func endOf(t *testing.T, e *suite.Env, s *zk.Session) error {
	t.Helper()
	next, err := s.Redial(e.Ctx)
	if err == nil {
		suite.Await(t, next.Done())
		err = next.Err()
	}
	return err
}

// latest returns the last of a Session's successors that was made so far.
func latest(t *testing.T, s *zk.Session) *zk.Session {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		next, err := s.Successor(ended)
		if err != nil {
			return s
		}
		s = next
	}
}

// The same where watches are restored by reads, which may find that they have fired.
func TestTracePanicsWhileReading(t *testing.T) {
	e := suite.Private(t, 1)
	conf, l := e.Config()
	bad := false
	conf.Trace = &zk.Trace{Event: func(*zk.Session, zk.Event, bool) {
		if bad {
			panic("oops")
		}
	}}
	s := e.Dial(conf)
	e.Create(s, "/a", "")
	ch := make(chan zk.Event, 9)
	e.Watch(s, "/a", ch)
	other := e.Session()
	for _, op := range []wire.Op{wire.OpSetWatches, wire.OpSetWatches2} {
		e.Sim.Fault(zktest.Rule{Op: op, Err: wire.ErrUnimplemented, Count: -1})
	}
	e.Cut(s, l)
	e.Set(other, "/a", "x")
	bad = true
	assert.ErrorContains(t, endOf(t, e, s), "Trace.Event panicked at trace_dial_test.go:")
	bad = false
	s = latest(t, s)
	e.Keep(e.Move(s))
	e.Want(ch, zk.Changed, "/a")
}

// Each message of the Logger has its level, its keys, and what is true.
func TestLoggerMessages(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		type record struct {
			level slog.Level
			attrs map[string]string
		}
		var mu sync.Mutex
		var list []record
		said := func(message string) record {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			for _, r := range slices.Backward(list) {
				if r.attrs["msg"] == message {
					return r
				}
			}
			t.Fatalf("nobody said %q: %v", message, list)
			return record{}
		}
		conf, l := e.Config()
		conf.Timeout = 12 * time.Second
		conf.Logger = slog.New(onRecord(func(r slog.Record) {
			x := record{r.Level, map[string]string{"msg": r.Message}}
			r.Attrs(func(a slog.Attr) bool { x.attrs[a.Key] = a.Value.String(); return true })
			mu.Lock()
			defer mu.Unlock()
			list = append(list, x)
		}))
		check := func(message string, level slog.Level, want map[string]string) {
			t.Helper()
			r := said(message)
			assert.Equal(t, r.level, level, message)
			for key, v := range want {
				got, ok := r.attrs[key]
				assert.Check(t, ok && (v == "*" && got != "" || v == got), "%s: %s is %q, not %q", message, key, got, v)
			}
			delete(r.attrs, "msg")
			assert.DeepEqual(t, slices.Sorted(maps.Keys(r.attrs)), slices.Sorted(maps.Keys(want)))
		}
		s := e.Dial(conf)
		addr, id := e.Addrs()[0], fmt.Sprintf("0x%x", uint64(s.ID()))
		check("zk: session", slog.LevelInfo, map[string]string{"addr": addr, "id": id, "moved": "false", "timeout": "12s", "readOnly": "false",
			"zxid": "*", "watches": "0", "queued": "0", "took": "0s"})

		path := e.Create(s, "/a", "")
		full, armed := make(chan zk.Event), make(chan zk.Event, 1)
		e.Watch(s, path, full)
		e.Set(s, path, "x")
		_, _, err := s.Children(e.Ctx, path, armed)
		assert.NilError(t, err)
		time.Sleep(12 * time.Second)
		check("zk: an event waits for its channel", slog.LevelWarn, map[string]string{"addr": addr, "id": id, "path": path, "cap": "0", "took": "*", "queued": "1"})

		e.Cut(s, l)
		check("zk: session left", slog.LevelInfo, map[string]string{"addr": addr, "id": id, "why": "*", "zxid": fmt.Sprintf("0x%x", s.Zxid()), "watches": "1", "queued": "1"})

		l.Fail(errors.New("no route"))
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		unsent := map[string]string{"addr": addr, "id": id, "err": "no route", "outcome": "not sent", "code": "0", "took": "0s"}
		check("zk: no session", slog.LevelWarn, unsent)
		l.Fail(nil)
		e.Sim.Fault(zktest.Rule{Op: zktest.OpConnect, Dir: zktest.FromClient, Do: zktest.CutBefore})
		if _, err = s.Redial(e.Ctx); err != nil {
			unsent["err"], unsent["outcome"] = "*", "lost"
			check("zk: no session", slog.LevelWarn, unsent)
		}
		s = e.Move(s)
		check("zk: session", slog.LevelInfo, map[string]string{"addr": addr, "id": id, "moved": "true", "timeout": "12s", "readOnly": "false",
			"zxid": fmt.Sprintf("0x%x", s.Zxid()), "watches": "1", "queued": "1", "took": "0s"})

		bad := s.Config()
		bad.Auth = []zk.Auth{{Scheme: "nonsense"}}
		_, err = zk.Dial(e.Ctx, bad)
		assert.ErrorIs(t, err, zk.ErrAuth)
		check("zk: no session", slog.LevelWarn, map[string]string{"addr": addr, "id": id, "err": "*", "outcome": "answered", "code": "-115", "took": "0s"})
		s = e.Move(s)

		close(armed)
		e.Create(s, path+"/b", "")
		<-full
		e.Fence(s)
		synctest.Wait() // the reader says so when it has handed over the answers
		check("zk: a closed channel lost its watches", slog.LevelWarn, map[string]string{"addr": addr, "id": id, "path": path, "kind": "child"})

		e.Sim.Expire(s.ID())
		<-s.Done()
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		check("zk: no session", slog.LevelWarn, map[string]string{"addr": addr, "id": id, "err": zk.ErrExpired.Error(), "outcome": "answered", "code": "-112", "took": "0s"})
	})
}
