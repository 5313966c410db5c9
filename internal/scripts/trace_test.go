package scripts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
)

type ctxKey string

// trail returns what contexts have picked up on their way.
func trail(ctx context.Context) string {
	s, _ := ctx.Value(ctxKey("trail")).(string)
	return s
}

func walk(ctx context.Context, step string) context.Context {
	return context.WithValue(ctx, ctxKey("trail"), trail(ctx)+step)
}

// The context of a Dial goes through the hooks of each address, to DialContext and to
// Begin; of a Redial that several wait for it is the first one's.
func TestTraceContext(t *testing.T) {
	e := suite.Private(t, 1)
	conf, l := e.Config()
	var mu sync.Mutex
	var seen []string
	note := func(ctx context.Context, what string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, what+" "+trail(ctx))
	}
	conf.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		note(ctx, "dial")
		return l.Dial(ctx, network, addr)
	}
	conf.Trace = &zk.Trace{
		DialStart:  func(ctx context.Context, addr string) context.Context { return walk(ctx, "b") },
		DialDone:   func(ctx context.Context, addr string, err error) { note(ctx, "done") },
		Handshake:  func(ctx context.Context, _ string, _ int64, _ time.Duration, _ error) { note(ctx, "handshake") },
		DialFailed: func(ctx context.Context, addr string, err error) { note(ctx, "failed") },
		Begin: func(ctx context.Context, s *zk.Session, moved bool) {
			note(ctx, "begin")
			assert.Check(t, ctx.Err() == nil)
		},
	}
	s, err := zk.Dial(walk(e.Ctx, "a"), conf)
	assert.NilError(t, err)
	want := []string{"dial ab", "done ab", "handshake ab", "begin ab"}
	assert.DeepEqual(t, seen, want)
	seen = nil
	ctx, cancel := context.WithCancel(walk(e.Ctx, "a"))
	s, err = s.Redial(ctx)
	assert.NilError(t, err)
	assert.DeepEqual(t, seen, want)
	cancel()
	assert.NilError(t, s.Sync(e.Ctx, "/")) // the caller's context does not bind the Session

	seen = nil
	l.Fail(errors.New("no route"))
	_, err = zk.Dial(walk(e.Ctx, "a"), s.Config())
	assert.ErrorIs(t, err, zk.ErrNoServer)
	assert.DeepEqual(t, seen, []string{"dial ab", "done ab", "failed ab"})
	l.Fail(nil)

	seen = nil // a hook may return no context
	conf = s.Config()
	trace := *conf.Trace
	trace.DialStart = func(context.Context, string) context.Context { return nil }
	conf.Trace = &trace
	e.Keep(e.Dial(conf))
	assert.DeepEqual(t, seen, []string{"dial ", "done ", "handshake ", "begin "})
}

// Whatever makes an address give no session, DialFailed says it, once.
func TestTraceDialFailed(t *testing.T) {
	e := suite.Private(t, 1)
	var seen []string
	trace := &zk.Trace{DialFailed: func(_ context.Context, addr string, err error) { seen = append(seen, addr+": "+err.Error()) }}
	for name, c := range map[string]struct {
		change func(conf *zk.Config)
		want   string
	}{
		"DNS":         {func(c *zk.Config) { c.DialContext, c.Addrs = nil, []string{"no.such.host.invalid:1"} }, "no.such.host.invalid:1: "},
		"TCP":         {func(c *zk.Config) { c.DialContext, c.Addrs = nil, []string{"127.0.0.1:1"} }, "127.0.0.1:1: dial tcp 127.0.0.1:1: connect"},
		"credentials": {func(c *zk.Config) { c.Auth = []zk.Auth{{Scheme: "nonsense"}} }, e.Addrs()[0] + ": zk: addauth"},
		"SASL":        {func(c *zk.Config) { c.SASL = noSASL{} }, e.Addrs()[0] + ": Config.SASL started neither"},
		"Resolve": {func(c *zk.Config) {
			c.Resolve = func(context.Context) ([]string, error) { return nil, errors.New("no luck") }
		}, ": Config.Resolve: no luck"},
		"expired": {func(c *zk.Config) { c.ID, c.Password = 77, make([]byte, 16) }, e.Addrs()[0] + ": " + zk.ErrExpired.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			seen = nil
			conf, _ := e.Config()
			conf.Trace = trace
			c.change(&conf)
			_, err := zk.Dial(e.Ctx, conf)
			assert.Assert(t, err != nil)
			assert.Equal(t, len(seen), 1, "%q", seen)
			assert.Assert(t, strings.HasPrefix(seen[0], c.want), seen[0])
		})
	}
}

// Every call has its two hooks, on its own goroutine, with the error that it returns.
func TestTraceCalls(t *testing.T) {
	e := suite.Private(t, 1)
	conf, _ := e.Config()
	var starts, dones int
	var last zk.Call
	var lastErr error
	conf.Trace = &zk.Trace{
		CallStart: func(ctx context.Context, s *zk.Session, c zk.Call) context.Context {
			starts++
			last = c
			assert.Check(t, s != nil)
			return walk(ctx, c.Op)
		},
		CallDone: func(ctx context.Context, s *zk.Session, c zk.Call, err error) {
			dones++
			assert.Check(t, c == last)
			assert.Equal(t, trail(ctx), c.Op)
			lastErr = err
		},
	}
	s := e.Dial(conf)
	ops := make(map[string]bool)
	for _, path := range []string{"/", "/none/child"} {
		suite.EveryCall(path, func(name string, call func(context.Context, *zk.Session) error) {
			if name == "AddAuth" {
				return
			}
			starts, dones, lastErr = 0, 0, errors.New("no hook")
			err := call(e.Ctx, s)
			var op *zk.OpError
			if starts == 0 && errors.Is(err, zk.ErrNotSent) { // refused for its arguments
				return
			}
			assert.Equal(t, starts, 1, name)
			assert.Equal(t, dones, 1, name)
			assert.Assert(t, err == lastErr || errors.Is(err, lastErr), "%s: %v, the hook has %v", name, err, lastErr)
			if errors.As(err, &op) && last.Ops == 1 && last.Op != "batch" {
				assert.Equal(t, op.Op, last.Op, name)
			}
			ops[last.Op] = true
			several := strings.HasSuffix(name, "of several")
			assert.Equal(t, last.Ops > 1, several, name)
		})
	}
	for _, op := range []string{"create", "get", "exists", "children", "set", "delete", "sync", "getacl", "setacl", "multi", "multiread", "batch", "addwatch"} {
		assert.Check(t, ops[op], "%s: %v", op, ops)
	}
	assert.NilError(t, s.AddAuth(e.Ctx, zk.Digest("u", "p")))
	assert.Equal(t, last.Op, "addauth")
	ch := make(chan zk.Event, 1)
	e.Watch(s, "/", ch)
	assert.NilError(t, s.RemoveWatch(e.Ctx, "/", ch)) // without a request
	assert.Equal(t, last, zk.Call{Op: "removewatch", Path: "/", Ops: 1})
	assert.NilError(t, lastErr)
	ended, cancel := context.WithCancel(e.Ctx)
	cancel()
	suite.EveryCall("/", func(name string, call func(context.Context, *zk.Session) error) {
		starts, dones = 0, 0
		err := call(ended, s)
		if name == "RemoveWatch" && starts == 0 { // of a channel that is not armed: refused
			return
		}
		assert.Check(t, starts == 1 && dones == 1 && err == lastErr, "%s: %d, %d, %v, the hook has %v", name, starts, dones, err, lastErr)
	})
	_, _, err := s.Get(ended, "/", nil)
	assert.Assert(t, err != nil && err == lastErr)
	assert.NilError(t, s.Close())
	assert.Equal(t, last.Op, "close")
	assert.ErrorIs(t, suite.ErrOf2(s.Get(e.Ctx, "/", nil)), zk.ErrClosed)
	assert.ErrorIs(t, lastErr, zk.ErrClosed)
}

// Of each event that a channel is armed for there is one call of the hook, behind the
// delivery, and one of each Gap, ahead of the events after it.
func TestTraceEvents(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		var seen []string
		conf.Trace = &zk.Trace{Event: func(s *zk.Session, ev zk.Event, queued bool) {
			assert.Check(t, s.ID() != 0 && s.Stats().Events+1 > 0)
			seen = append(seen, fmt.Sprint(ev.Type, " ", ev.Path, " ", queued))
		}}
		take := func() []string {
			synctest.Wait()
			defer func() { seen = nil }()
			return seen
		}
		s := e.Dial(conf)
		room, full := make(chan zk.Event, 9), make(chan zk.Event)
		e.Create(s, "/a", "")
		e.Watch(s, "/a", room)
		_, _, err := s.Children(e.Ctx, "/", room)
		assert.NilError(t, err)
		e.Set(s, "/a", "1")
		assert.DeepEqual(t, take(), []string{"changed /a false"})
		e.Set(s, "/a", "2") // nobody is armed
		assert.Equal(t, len(take()), 0)
		e.Watch(s, "/a", full)
		e.Set(s, "/a", "3")
		assert.DeepEqual(t, take(), []string{"changed /a true"})
		e.Create(s, "/b", "")
		assert.DeepEqual(t, take(), []string{"child / true"}) // behind the one that waits
		e.Want(full, zk.Changed, "/a")

		p := make(chan zk.Event, 9)
		assert.NilError(t, s.AddWatch(e.Ctx, "/b", zk.WatchPersistent, p))
		e.Cut(s, l)
		other := e.Session()
		e.Set(other, "/b", "x")
		s = e.Move(s)
		e.Set(other, "/b", "y")
		e.Fence(s)
		assert.DeepEqual(t, take(), []string{"gap /b false", "changed /b false"})
		assert.Equal(t, len(p), 2)
	})
}

// A Gap that an event brings has its hook ahead of the event's.
func TestTraceGapFirst(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		var seen []string
		conf.Trace = &zk.Trace{Event: func(_ *zk.Session, ev zk.Event, _ bool) { seen = append(seen, fmt.Sprint(ev.Type, " ", ev.Path)) }}
		s, l := r.Open(conf)
		ch := make(chan zk.Event, 9)
		suite.Arm(t, s, l, zk.PersistentWatch, "/p", ch)
		l.Close()
		<-s.Done()
		d := r.Begin(s.Config().Renew()) // which owes a Gap
		l = r.Accept()
		l.Greet()
		a := l.Next()
		l.Send(suite.Happened(zk.Changed, "/p", 2), suite.Answer(a.Xid, 2, nil))
		s = d.Session()
		synctest.Wait()
		assert.DeepEqual(t, seen, []string{"gap /p", "changed /p"})
		assert.DeepEqual(t, suite.Told(suite.Taken(ch)...), "gap /p, changed /p")
		l.Close()
		<-s.Done()
	})
}

// Each Begin has one End, which comes later, whatever happens to the connection.
func TestTraceBeginAndEnd(t *testing.T) {
	e := suite.Private(t, 1)
	conf, l := e.Config()
	var mu sync.Mutex
	alive := make(map[*zk.Session]bool)
	begun, ended := 0, 0
	conf.Trace = &zk.Trace{
		Begin: func(_ context.Context, s *zk.Session, moved bool) {
			mu.Lock()
			defer mu.Unlock()
			assert.Check(t, !alive[s])
			alive[s] = true
			if begun++; begun%3 == 0 {
				l.Cut() // dies before Dial returns
			}
		},
		End: func(s *zk.Session, err error) {
			mu.Lock()
			defer mu.Unlock()
			assert.Check(t, alive[s] && err != nil)
			delete(alive, s)
			ended++
		},
	}
	for range 20 {
		s, err := zk.Dial(e.Ctx, conf)
		if err != nil {
			continue
		}
		l.Cut()
		suite.Await(t, s.Done())
	}
	bad := conf
	bad.Auth = []zk.Auth{{Scheme: "nonsense"}} // a session, and then no Dial
	_, err := zk.Dial(e.Ctx, bad)
	assert.ErrorIs(t, err, zk.ErrAuth)
	mu.Lock()
	defer mu.Unlock()
	assert.Assert(t, begun >= 10 && begun == ended && len(alive) == 0, "%d begun, %d ended", begun, ended)
}

// What hooks panic with comes to the caller, with nothing held; on the reader it ends
// the connection, and no event is lost by it.
func TestTracePanics(t *testing.T) {
	e := suite.Private(t, 1)
	base, _ := e.Config()
	base.MaxInFlight = 1
	catch := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	t.Run("calls", func(t *testing.T) {
		conf, bad := base, ""
		conf.Trace = &zk.Trace{
			CallStart: func(ctx context.Context, _ *zk.Session, c zk.Call) context.Context {
				if bad == "start" {
					panic("oops")
				}
				return ctx
			},
			CallDone: func(context.Context, *zk.Session, zk.Call, error) {
				if bad == "done" {
					panic("oops")
				}
			},
		}
		s := e.Dial(conf)
		for _, bad = range []string{"start", "done", "start", "done"} {
			suite.EveryCall("/", func(name string, call func(context.Context, *zk.Session) error) {
				catch(func() { call(e.Ctx, s) })
			})
			assert.Equal(t, catch(func() { s.Sync(e.Ctx, "/") }), "oops")
		}
		bad = ""
		assert.NilError(t, s.Sync(e.Ctx, "/"))
		assert.Equal(t, len(s.Pending()), 0)
		bad = "done"
		assert.Equal(t, catch(func() { s.Close() }), "oops")
		bad = ""
		suite.Await(t, s.Done())
		assert.NilError(t, s.Close())
	})
	t.Run("Begin", func(t *testing.T) {
		conf, l := e.Config()
		began := 0
		conf.Trace = &zk.Trace{
			Begin: func(context.Context, *zk.Session, bool) { began++; panic("oops") },
			End:   func(*zk.Session, error) { t.Error("it has never begun") },
		}
		assert.Equal(t, catch(func() { zk.Dial(e.Ctx, conf) }), "oops")
		assert.Equal(t, began, 1)
		assert.Equal(t, l.Open(), 0)
	})
	t.Run("Event", func(t *testing.T) {
		conf := base
		conf.Trace = &zk.Trace{Event: func(*zk.Session, zk.Event, bool) { panic("oops") }}
		s := e.Dial(conf)
		path := e.Create(s, "/event", "")
		ch := make(chan zk.Event, 1)
		for range 3 {
			e.Watch(s, path, ch)
			e.Set(e.Session(), path, "x")
			suite.Await(t, s.Done())
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			assert.ErrorContains(t, s.Err(), "Trace.Event panicked at trace_test.go:")
			e.Want(ch, zk.Changed, path)
			s = e.Move(s)
		}
	})
	t.Run("End", func(t *testing.T) {
		conf := base
		conf.Trace = &zk.Trace{End: func(*zk.Session, error) { panic("oops") }}
		s := e.Dial(conf)
		next := e.Move(s)
		assert.ErrorIs(t, s.Err(), zk.ErrMoved)
		assert.ErrorContains(t, s.Err(), "Trace.End panicked at trace_test.go:")
		assert.NilError(t, next.Close())
		assert.ErrorIs(t, next.Err(), zk.ErrClosed)
	})
}

// Every hook may ask the Session for what needs no answer. A call in a hook on the
// reader waits for itself: its context ends that, and the reader goes on.
func TestTraceCallsBack(t *testing.T) {
	e := suite.Private(t, 1)
	conf, l := e.Config()
	ask := func(s *zk.Session) {
		_, _, _, _, _ = s.ID(), s.Stats(), s.Watches().List(), s.Pending(), s.Config()
		_, _, _, _ = s.Err(), s.String(), s.ExpiresAt(), s.Watches().Count(zk.DataWatch)
	}
	var inEvent error
	conf.Trace = &zk.Trace{
		Begin:     func(_ context.Context, s *zk.Session, _ bool) { ask(s) },
		End:       func(s *zk.Session, _ error) { ask(s) },
		CallStart: func(ctx context.Context, s *zk.Session, _ zk.Call) context.Context { ask(s); return ctx },
		CallDone:  func(_ context.Context, s *zk.Session, _ zk.Call, _ error) { ask(s) },
		Event: func(s *zk.Session, _ zk.Event, _ bool) {
			ask(s)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			inEvent = s.Sync(ctx, "/")
		},
	}
	s := e.Dial(conf)
	ch := make(chan zk.Event, 1)
	e.Watch(s, "/", ch)
	e.Set(s, "/", "x")
	e.Want(ch, zk.Changed, "/")
	assert.NilError(t, s.Sync(e.Ctx, "/"))
	assert.ErrorIs(t, inEvent, context.DeadlineExceeded)
	e.Cut(s, l)
}

// Joined hooks are called in order, and a context goes from one to the next.
func TestJoinTraces(t *testing.T) {
	assert.Assert(t, zk.JoinTraces() == nil)
	assert.Assert(t, zk.JoinTraces(nil, &zk.Trace{}, nil) == nil)
	one := &zk.Trace{End: func(*zk.Session, error) {}}
	assert.Assert(t, zk.JoinTraces(nil, one, &zk.Trace{}) == one)

	var seen []string
	all := func(name string) *zk.Trace {
		note := func(what string) { seen = append(seen, name+" "+what) }
		return &zk.Trace{
			Resolved: func(ctx context.Context, _ string, _ time.Duration, _ error) context.Context {
				note("Resolved " + trail(ctx))
				if name == "b" {
					return nil
				}
				return walk(ctx, name)
			},
			TLSStart: func(ctx context.Context, _ string) { note("TLSStart " + trail(ctx)) },
			DialStart: func(ctx context.Context, _ string) context.Context {
				note("DialStart " + trail(ctx))
				if name == "b" {
					return nil
				}
				return walk(ctx, name)
			},
			DialDone: func(ctx context.Context, _ string, _ error) { note("DialDone " + trail(ctx)) },
			Handshake: func(ctx context.Context, _ string, _ int64, _ time.Duration, _ error) {
				note("Handshake " + trail(ctx))
			},
			DialFailed: func(ctx context.Context, _ string, _ error) { note("DialFailed " + trail(ctx)) },
			Begin:      func(ctx context.Context, _ *zk.Session, _ bool) { note("Begin " + trail(ctx)) },
			End:        func(*zk.Session, error) { note("End") },
			CallStart: func(ctx context.Context, _ *zk.Session, _ zk.Call) context.Context {
				note("CallStart " + trail(ctx))
				if name == "b" {
					return nil
				}
				return walk(ctx, name)
			},
			CallDone: func(ctx context.Context, _ *zk.Session, _ zk.Call, _ error) { note("CallDone " + trail(ctx)) },
			Event:    func(*zk.Session, zk.Event, bool) { note("Event") },
			Pong:     func(*zk.Session, time.Duration) { note("Pong") },
		}
	}
	some := &zk.Trace{Event: func(*zk.Session, zk.Event, bool) { seen = append(seen, "some Event") }}
	a, b, c := all("a"), all("b"), all("c")
	j := zk.JoinTraces(zk.JoinTraces(a, some), zk.JoinTraces(b, nil, c))
	bg := context.Background()
	j.Resolved(bg, "", 0, nil)
	ctx := j.DialStart(bg, "")
	j.TLSStart(ctx, "")
	j.DialDone(ctx, "", nil)
	j.Handshake(ctx, "", 0, 0, nil)
	j.DialFailed(ctx, "", nil)
	j.Begin(ctx, nil, false)
	j.End(nil, nil)
	ctx = j.CallStart(bg, nil, zk.Call{})
	j.CallDone(ctx, nil, zk.Call{}, nil)
	j.Event(nil, zk.Event{}, false)
	j.Pong(nil, 0)
	var want []string
	for _, what := range []string{"Resolved", "DialStart", "TLSStart", "DialDone", "Handshake", "DialFailed", "Begin", "End", "CallStart", "CallDone", "Event", "Pong"} {
		for _, name := range []string{"a", "some", "b", "c"} {
			switch {
			case what == "Event":
				want = append(want, name+" Event")
			case name == "some":
			case what == "End" || what == "Pong":
				want = append(want, name+" "+what)
			case what == "Resolved" || what == "DialStart" || what == "CallStart":
				want = append(want, name+" "+what+" "+map[string]string{"b": "a", "c": "a"}[name])
			default:
				want = append(want, name+" "+what+" ac")
			}
		}
	}
	assert.DeepEqual(t, seen, want)

	seen = nil
	j.Without(b).Without(&zk.Trace{}).Without(some).Pong(nil, 0)
	assert.DeepEqual(t, seen, []string{"a Pong", "c Pong"})
	assert.Assert(t, j.Without(b).Without(some).Without(a) == c)
	assert.Assert(t, c.Without(c) == nil && a.Without(c) == a && (*zk.Trace)(nil).Without(a) == nil)

	// What only one has is that one's.
	left := zk.JoinTraces(&zk.Trace{Event: some.Event}, &zk.Trace{End: one.End})
	assert.Assert(t, left.Event != nil && left.End != nil && left.Begin == nil && left.CallStart == nil)
}

// Pending lists what waits for replies, oldest first, with its age.
func TestPending(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		s, l := r.Open(r.Config())
		began := time.Now()
		list := func() (out []string) {
			synctest.Wait()
			for _, p := range s.Pending() {
				out = append(out, fmt.Sprintf("%s %q %d %v", p.Op, p.Path, p.Ops, p.Since.Sub(began)))
			}
			return out
		}
		assert.Equal(t, len(list()), 0)
		get := suite.Get(t, s, suite.BG, "/a", nil)
		synctest.Wait()
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		given := suite.Get(t, s, ctx, "/b", nil)
		synctest.Wait()
		batch := suite.Start(t, func() error {
			_, err := s.Batch(suite.BG, zk.GetOp{Path: "/c"}, zk.GetOp{Path: "/d"})
			return err
		})
		want := []string{`get "/a" 1 0s`, `get "/b" 1 1s`, `batch "" 2 1s`}
		assert.DeepEqual(t, list(), want)
		cancel()
		assert.ErrorIs(t, given.Wait(), context.Canceled)
		assert.DeepEqual(t, list(), want) // until its reply comes
		l.Close()
		assert.ErrorIs(t, get.Wait(), zk.ErrLost)
		assert.ErrorIs(t, batch.Wait(), zk.ErrLost)
		<-s.Done()
		assert.Equal(t, len(s.Pending()), 0)
		assert.Equal(t, len(new(zk.Session).Pending()), 0)
	})
}

// The list of watches has their channels' length and capacity, and Count their number.
func TestWatchesOfChannels(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	one, many := make(chan zk.Event, 1), make(chan zk.Event, 7)
	e.Create(s, "/a", "")
	e.Watch(s, "/a", one)
	assert.NilError(t, s.AddWatch(e.Ctx, "/a", zk.WatchPersistent, many))
	e.Set(s, "/a", "x")
	e.Watch(s, "/a", one)
	list := s.Watches().List()
	slices.SortFunc(list, func(a, b zk.Watch) int { return a.Cap - b.Cap })
	assert.Equal(t, len(list), 2)
	assert.Equal(t, fmt.Sprint(list[0].Len, list[0].Cap, list[1].Len, list[1].Cap), "1 1 1 7")
	assert.Equal(t, s.Watches().Count(zk.DataWatch), 1)
	assert.Equal(t, s.Watches().Count(zk.PersistentWatch), 1)
	assert.Equal(t, s.Watches().Count(zk.ChildWatch), 0)
	assert.Equal(t, s.Watches().Count(99), 0)
	assert.Equal(t, (*zk.Watches)(nil).Count(zk.DataWatch), 0)
}

// An event that waits 10 s for its channel is reported once, with the channel's
// capacity; so is the next one that does.
func TestStuckEventIsReported(t *testing.T) {
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		log := new(suite.LockedBuffer)
		conf, l := e.Config()
		conf.Logger = slog.New(slog.NewTextHandler(log, nil))
		s := e.Dial(conf)
		e.Create(s, "/a", "")
		full, room := make(chan zk.Event), make(chan zk.Event, 9)
		e.Watch(s, "/a", full)
		_, _, err := s.Children(e.Ctx, "/a", room)
		assert.NilError(t, err)
		e.Set(s, "/a", "x")
		e.Create(s, "/a/b", "") // behind it
		warned := func() int { return strings.Count(log.String(), "an event waits for its channel") }
		synctest.Wait()
		assert.Equal(t, s.Stats().QueuedFor, time.Duration(0))
		time.Sleep(9 * time.Second)
		assert.Equal(t, warned(), 0)
		assert.Equal(t, s.Stats().QueuedFor, 9*time.Second)
		time.Sleep(time.Second + conf.Timeout/6)
		assert.Equal(t, warned(), 1)
		assert.Assert(t, strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "path=/a cap=0 took=1"), log.String())
		assert.Assert(t, strings.Contains(log.String(), "queued=2"), log.String())
		time.Sleep(11 * time.Second)
		assert.Equal(t, warned(), 1)
		e.Cut(s, l) // moving changes nothing
		s = e.Move(s)
		time.Sleep(11 * time.Second)
		assert.Equal(t, warned(), 1)
		e.Want(full, zk.Changed, "/a")
		e.Want(room, zk.Child, "/a")
		assert.Equal(t, s.Stats().QueuedFor, time.Duration(0))
		e.Watch(s, "/a", full)
		e.Set(s, "/a", "y")
		time.Sleep(10*time.Second + conf.Timeout/6)
		assert.Equal(t, warned(), 2)
		e.Want(full, zk.Changed, "/a")
	})
}

// A request that waits longer than the session timeout for its reply, on a connection
// that lives, is reported once.
func TestSlowReplyIsReported(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		log := new(suite.LockedBuffer)
		conf := r.Config()
		conf.Logger = slog.New(slog.NewTextHandler(log, nil))
		s, l := r.Open(conf)
		warned := func() int { return strings.Count(log.String(), "a call waits for its reply") }
		first := suite.Get(t, s, suite.BG, "/first", nil)
		synctest.Wait()
		second := suite.Get(t, s, suite.BG, "/second", nil)
		a, b := l.Next(), l.Next()
		l.Chatter(time.Second) // events, so that the connection lives
		time.Sleep(suite.RigTimeout)
		synctest.Wait()
		assert.Equal(t, warned(), 0, log.String())
		time.Sleep(suite.RigTimeout)
		assert.Equal(t, warned(), 1, log.String())
		assert.Assert(t, strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "op=get path="+a.Path+" took="), log.String())
		l.Send(suite.Answer(a.Xid, 1, wire.GetDataResponse{}))
		first.Wait()
		time.Sleep(suite.RigTimeout / 3)
		assert.Equal(t, warned(), 2, log.String())
		l.Send(suite.Answer(b.Xid, 1, wire.GetDataResponse{}))
		second.Wait()
		time.Sleep(suite.RigTimeout)
		assert.Equal(t, warned(), 2, log.String())
		l.Close()
		<-s.Done()
	})
}

// The answer to each ping has its hook, with the time that it took.
func TestTracePong(t *testing.T) {
	suite.Bubble(t, func(t *testing.T, r *suite.Rig) {
		conf := r.Config()
		var took []time.Duration
		bad := false
		conf.Trace = &zk.Trace{Pong: func(s *zk.Session, d time.Duration) {
			assert.Check(t, s.ID() == suite.RigID)
			if took = append(took, d); bad {
				panic("oops")
			}
		}}
		s, l := r.Open(conf)
		pong := suite.Answer(wire.XidPing, 0, nil)
		l.Send(pong) // nobody has asked
		for i := range 3 {
			body, err := l.Frame()
			assert.NilError(t, err)
			assert.Equal(t, suite.ParseAsked(body).Op, wire.OpPing)
			time.Sleep(time.Second)
			bad = i == 2
			l.Send(pong)
			synctest.Wait()
		}
		assert.DeepEqual(t, took, []time.Duration{time.Second, time.Second, time.Second})
		<-s.Done()
		assert.ErrorContains(t, s.Err(), "Trace.Pong panicked at trace_test.go:")
	})
}
