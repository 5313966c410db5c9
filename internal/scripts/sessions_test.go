package scripts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A snapshot of long ago is dialed with what is known today.
func TestOldSnapshot(t *testing.T) {
	e := suite.Private(t, 1)
	s, l := e.Linked()
	old := s.Config()
	path := e.Create(s, "/n", "")
	ch := make(chan zk.Event, 1)
	e.Watch(s, path, ch)
	zxid := s.Zxid()
	assert.Assert(t, old.Zxid < zxid)
	e.Cut(s, l)
	e.Sim.ForgetFrames()
	next := e.Dial(old)
	assert.Equal(t, next.ID(), s.ID())
	assert.Equal(t, suite.Frames(e, zktest.FromClient, zktest.OpConnect)[0].Zxid, zxid)
	sets := suite.Frames(e, zktest.FromClient, wire.OpSetWatches)
	assert.Equal(t, len(sets), 1)
	assert.Equal(t, sets[0].Zxid, zxid)
	e.Set(next, path, "x")
	e.Ready(ch, zk.Changed, path)
}

// The place in history goes along in JSON too, and Zxid zero gives it up.
func TestZxidOfState(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	path := e.Create(s, "/n", "")
	ch := make(chan zk.Event, 1)
	e.Watch(s, path, ch)
	place := func() (seen, floor int64) {
		return suite.Frames(e, zktest.FromClient, zktest.OpConnect)[0].Zxid, suite.Frames(e, zktest.FromClient, wire.OpSetWatches)[0].Zxid
	}
	conf := s.Detach()
	text, err := json.Marshal(conf.State)
	assert.NilError(t, err)
	assert.NilError(t, json.Unmarshal(text, &conf.State))
	assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
	e.Sim.ForgetFrames()
	s = e.Dial(conf)
	seen, floor := place()
	assert.Assert(t, seen == conf.Zxid && floor == conf.Zxid && seen > 0, "%#x, %#x, %#x", seen, floor, conf.Zxid)
	e.None(s, ch)

	conf = s.Config() // while the Session lives
	conf.Zxid = 0
	e.Sim.ForgetFrames()
	e.Dial(conf)
	seen, floor = place()
	assert.Assert(t, seen == 0 && floor == 0, "%#x, %#x", seen, floor)
	e.Want(ch, zk.Changed, path) // it has changed since the beginning of time
}

// Detach with calls in flight: they are lost, and nothing more is written.
func TestDetachInFlight(t *testing.T) {
	e := suite.Private(t, 1)
	s, l := e.Linked()
	path := e.Create(s, "/n", "")
	stalled := e.Sim.Fault(suite.StallOn(s, path))
	before, _ := l.Traffic()
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() {
			_, err := s.Set(e.Ctx, path, []byte("x"), zk.AnyVersion)
			errs <- err
		}()
	}
	suite.Await(t, stalled.Struck())
	l.AwaitSent(before + int64(cap(errs)*(4+8+4+len(path)+4+1+4)))
	s.Detach()
	for range cap(errs) {
		suite.WantLost(t, suite.Await(t, errs), zk.ErrClosed)
	}
	sent, _ := l.Traffic()
	_, err := s.Set(e.Ctx, path, nil, zk.AnyVersion)
	suite.WantUnsent(t, err, zk.ErrClosed)
	now, _ := l.Traffic()
	assert.Equal(t, now, sent)
	assert.Equal(t, s.Stats().BytesSent, sent)
}

// Close by many at once, with calls under way: one closeSession, behind what was accepted.
func TestCloseConcurrently(t *testing.T) {
	e := suite.Private(t, 1)
	for range 20 {
		s := e.Session()
		eph, err := s.Create(e.Ctx, "/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		e.Sim.ForgetFrames()
		var wg sync.WaitGroup
		start := make(chan struct{})
		var mu sync.Mutex
		answered := 0
		for i := range 32 {
			wg.Go(func() {
				<-start
				if i%2 == 0 {
					if err := s.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
					return
				}
				_, err := s.Set(e.Ctx, eph, []byte("x"), zk.AnyVersion)
				if err == nil {
					mu.Lock()
					answered++
					mu.Unlock()
				} else if !errors.Is(err, zk.ErrNotSent) || !errors.Is(err, zk.ErrClosed) {
					t.Errorf("Set: %v", err)
				}
			})
		}
		close(start)
		wg.Wait()
		var ops []wire.Op
		for _, f := range e.Sim.Frames() {
			if f.Dir == zktest.FromClient && f.Session == s.ID() {
				ops = append(ops, f.Op)
			}
		}
		assert.Equal(t, len(ops), answered+1)
		assert.Equal(t, ops[len(ops)-1], wire.OpCloseSession)
		assert.Equal(t, len(e.Sim.Sessions()), 0)
	}
}

// A server that goes away for good while it should close a session.
func TestCloseUnanswered(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	e.Sim.Fault(zktest.Rule{Op: wire.OpCloseSession, Do: zktest.CutBefore})
	err := s.Close()
	suite.WantLost(t, err, zk.ErrConnection)
	assert.ErrorContains(t, err, "expires by itself")
	assert.DeepEqual(t, e.Sim.Sessions(), []int64{s.ID()})
}

// No closeSession is sent by an old Session even if Close has begun before.
func TestStaleCloseSendsNothing(t *testing.T) {
	e := suite.Private(t, 3)
	s := e.Session()
	next := e.Move(s)
	e.Sim.ForgetFrames()
	suite.WantUnsent(t, s.Close(), zk.ErrMoved)
	_, _, err := next.Get(e.Ctx, "/", nil)
	assert.NilError(t, err)
	for _, f := range e.Sim.Frames() {
		assert.Assert(t, f.Op == wire.OpGetData, "%v", f)
	}
}

// A thousand moves under load: every call ends in one of the three ways and
// leads to the successor, who looks at a Session sees it whole, and the watches
// come along.
func TestMovesUnderLoad(t *testing.T) {
	moves := 1000
	if testing.Short() {
		moves = 100
	}
	const callers, lookers = 12, 4
	e := suite.Private(t, 3, zktest.Options{Version: zktest.V39, InMemory: true, FrameLog: -1, MaxSessionTimeout: time.Minute})
	conf, _ := e.Config()
	first := e.Dial(conf)
	e.Create(first, "/last", "")
	ch := make(chan zk.Event, 2)
	e.Watch(first, "/last", ch)
	var current atomic.Pointer[zk.Session]
	current.Store(first)
	done := make(chan struct{})
	over := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	var answered [callers]int
	var all sync.WaitGroup
	for g := range callers {
		path := e.Create(first, fmt.Sprintf("/%d", g), "")
		all.Go(func() {
			s := first
			mine := make(chan zk.Event, 1)
			for !over() || answered[g] == 0 {
				var watch chan<- zk.Event
				if g%2 == 0 {
					watch = mine
				}
				_, _, err := s.Get(e.Ctx, path, watch)
				var op *zk.OpError
				switch {
				case err == nil:
					answered[g]++
					continue
				case !errors.As(err, &op), op.Outcome() != zk.Lost && op.Outcome() != zk.NotSent, !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) && !errors.Is(err, zk.ErrClosed):
					t.Errorf("get: %v", err)
					return
				}
				next, err := s.Redial(e.Ctx)
				if err == nil {
					s = next
				} else if !errors.Is(err, zk.ErrNoServer) {
					t.Errorf("redial: %v", err)
					return
				}
			}
		})
	}
	for range lookers {
		all.Go(func() {
			for !over() {
				s := current.Load()
				conf, st := s.Config(), s.Stats()
				if conf.ID != first.ID() || len(conf.Password) != 16 || conf.Watches == nil || st.Replies > st.Requests {
					t.Errorf("%v %+v", conf, st)
					return
				}
				conf.Watches.List()
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	s := first
	for i := 0; i < moves; {
		switch i % 3 {
		case 0: // as it is
		case 1:
			e.Sim.Cut(s.ID())
		case 2:
			s.Detach()
		}
		next, err := zk.Dial(e.Ctx, s.Config())
		if errors.Is(err, zk.ErrNoServer) && e.Ctx.Err() == nil {
			continue // the cut met it
		}
		assert.NilError(t, err)
		assert.Equal(t, next.ID(), first.ID())
		s = next
		current.Store(s)
		s.Sync(e.Ctx, "/") // some time for the others' calls
		i++
	}
	close(done)
	all.Wait()
	for s.Sync(e.Ctx, "/") != nil { // a caller may have gone on
		next, err := s.Redial(e.Ctx)
		assert.NilError(t, err)
		s = next
	}
	t.Logf("answers to each caller: %v", answered)
	e.Set(s, "/last", "")
	e.Ready(ch, zk.Changed, "/last")
	e.None(s, ch)
	assert.Equal(t, s.Stats().Armed, callers/2)
	assert.NilError(t, s.Close())
}

// A consumer that is the only receiver of a channel without room redials between
// two events: what was queued comes through, in order, and then what is new.
func TestConsumerRedials(t *testing.T) {
	ways := map[string]func(s *zk.Session) (*zk.Session, error){
		"Redial of a live one": func(s *zk.Session) (*zk.Session, error) { return s.Redial(context.Background()) },
		"Dial of its Config":   func(s *zk.Session) (*zk.Session, error) { return zk.Dial(context.Background(), s.Config()) },
		"Detach and Dial":      func(s *zk.Session) (*zk.Session, error) { return zk.Dial(context.Background(), s.Detach()) },
		"Renew":                func(s *zk.Session) (*zk.Session, error) { return s.Renew(context.Background()) },
	}
	suite.OnProcs(t, func(t *testing.T) {
		for name, redial := range ways {
			t.Run(name, func(t *testing.T) {
				suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
					ctx := context.Background()
					conf, _ := e.Config()
					s, err := zk.Dial(ctx, conf)
					assert.NilError(t, err)
					ch := make(chan zk.Event)
					paths := []string{"/a", "/b", "/c"}
					for _, path := range paths {
						_, err := s.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen)
						assert.NilError(t, err)
						_, _, err = s.Get(ctx, path, ch)
						assert.NilError(t, err)
					}
					for _, path := range paths {
						_, err := s.Set(ctx, path, nil, zk.AnyVersion)
						assert.NilError(t, err)
					}
					assert.Equal(t, s.Stats().Queued, 3)
					// Twice: what is armed here and fires comes behind the rest.
					for i := range 2 * len(paths) {
						ev := <-ch
						assert.Equal(t, suite.Told(ev), "changed "+paths[i%len(paths)])
						s, err = redial(s)
						assert.NilError(t, err)
						if i >= len(paths) {
							continue
						}
						_, _, err = s.Get(ctx, ev.Path, ch)
						assert.NilError(t, err)
						_, err = s.Set(ctx, ev.Path, nil, zk.AnyVersion)
						assert.NilError(t, err)
						assert.Equal(t, s.Stats().Queued, len(paths))
					}
					assert.Equal(t, s.Stats().Queued, 0)
					assert.Equal(t, s.Stats().Armed, 0)
					assert.NilError(t, s.Close())
				})
			})
		}
	})
}

// A server whose connection was just lost is tried as the last: silent, it would
// use up the time that is left. One that was left in order is like any other.
func TestLostServerComesLast(t *testing.T) {
	orders := func(s *zk.Session, l *suite.Link) (string, map[string]bool) {
		seen := make(map[string]bool)
		asked := ""
		l.On(func(_ context.Context, addr string) error {
			asked += addr + " "
			return errors.New("no route")
		})
		for range 200 {
			asked = ""
			_, err := s.Redial(t.Context())
			assert.ErrorIs(t, err, zk.ErrNoServer)
			seen[asked] = true
		}
		return s.Addr() + " ", seen
	}
	e := suite.Private(t, 3)
	s, l := e.Linked()
	_, seen := orders(s, l) // the first of them fences s, which lives
	assert.Equal(t, len(seen), 6)
	l.On(nil)
	s = e.Move(s)
	e.Cut(s, l)
	last, seen := orders(s, l)
	assert.Equal(t, len(seen), 2)
	for order := range seen {
		assert.Assert(t, strings.HasSuffix(order, last), "%s, but %s was lost", order, last)
	}
}

// The shared Dial of Redial goes on while anybody waits for it, and no longer.
func TestRedialWaiters(t *testing.T) {
	const waiters = 3
	for first := range waiters { // whoever of them leaves first
		suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
			s, l := e.Linked()
			e.Cut(s, l)
			left := false
			l.On(func(ctx context.Context, _ string) error {
				<-ctx.Done()
				left = true
				return ctx.Err()
			})
			var cancels []func()
			errs := make(chan error, waiters)
			for range waiters {
				ctx, cancel := context.WithCancel(e.Ctx)
				cancels = append(cancels, cancel)
				go func() {
					_, err := s.Redial(ctx)
					errs <- err
				}()
			}
			synctest.Wait() // all wait for one Dial
			assert.Equal(t, len(l.Dialed()), 2)
			for i := range waiters {
				assert.Assert(t, !left, "the Dial ended while there was a waiter")
				cancels[(first+i)%waiters]()
				synctest.Wait()
				assert.Equal(t, len(errs), i+1)
			}
			assert.Assert(t, left, "the Dial goes on though nobody waits for it")
			for range waiters {
				err := <-errs
				assert.ErrorIs(t, err, context.Canceled)
				assert.ErrorIs(t, err, zk.ErrNoServer)
			}

			l.On(nil)
			next, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			e.Keep(next)
			assert.Equal(t, next.ID(), s.ID())
			assert.Equal(t, len(l.Dialed()), 3)
		})
	}
}

// Calls that wait for an answer when the connection ends are lost, later ones unsent.
func TestLossWithCallsInFlight(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	path := e.Create(s, "/n", "")
	e.Sim.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter})
	_, err := s.Set(e.Ctx, path, []byte("1"), 0)
	suite.WantLost(t, err, zk.ErrConnection)
	suite.Await(t, s.Done())
	_, err = s.Set(e.Ctx, path, []byte("2"), 0)
	suite.WantUnsent(t, err, zk.ErrConnection)

	s = e.Move(s)
	data, _, err := s.Get(e.Ctx, path, nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "1") // it did happen

	e.Sim.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutBefore})
	_, err = s.Set(e.Ctx, path, []byte("3"), 1)
	suite.WantLost(t, err, zk.ErrConnection)
	s = e.Move(s)
	data, _, err = s.Get(e.Ctx, path, nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "1") // it did not
}

// An event that was read before the connection ended is in its channel when
// Done is closed.
func TestEventBeforeDone(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	path := e.Create(s, "/n", "")
	for range 100 {
		ch := make(chan zk.Event, 1)
		e.Watch(s, path, ch)
		e.Sim.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter}) // the event is sent, the answer not
		_, err := s.Set(e.Ctx, path, nil, zk.AnyVersion)
		suite.WantLost(t, err, zk.ErrConnection)
		e.Ready(ch, zk.Changed, path)
		suite.Await(t, s.Done())
		s = e.Move(s)
		e.None(s, ch)
	}
}

// Watches are in use from the beginning of their first Dial. One that fails leaves them as
// they were.
func TestUnmarshalWhileDialing(t *testing.T) {
	e := suite.Private(t, 1)
	text := []byte(`{"armed":[{"path":"/x","kind":1,"channel":1}]}`)
	conf, l := e.Config()
	w := new(zk.Watches)
	conf.Watches = w
	refused := errors.New("refused")
	l.On(func(context.Context, string) error {
		assert.Check(t, errors.Is(json.Unmarshal(text, w), zk.ErrUnbound))
		return refused
	})
	assert.ErrorIs(t, suite.ErrOf(zk.Dial(e.Ctx, conf)), zk.ErrNoServer)
	assert.NilError(t, json.Unmarshal(text, w))
	assert.NilError(t, w.Rebind(func(zk.Watch) chan<- zk.Event { return nil }))
	refused = nil
	s := e.Dial(conf)
	assert.Equal(t, w.Len(), 0)
	assert.ErrorIs(t, json.Unmarshal(text, w), zk.ErrUnbound)
	assert.NilError(t, s.Close())
}

// Rebind is for what was unmarshalled, and Unmarshal for what is not in use.
func TestRebindInUse(t *testing.T) {
	e := suite.Private(t, 1)
	s := e.Session()
	ch := make(chan zk.Event, 1)
	e.Watch(s, "/", ch)
	never := func(zk.Watch) chan<- zk.Event { t.Error("asked"); return nil }
	w := s.Config().Watches
	assert.ErrorIs(t, w.Rebind(never), zk.ErrUnbound)
	text, err := json.Marshal(w)
	assert.NilError(t, err)
	assert.ErrorIs(t, json.Unmarshal(text, w), zk.ErrUnbound)
	assert.NilError(t, (*zk.Watches)(nil).Rebind(never))
	assert.NilError(t, new(zk.Watches).Rebind(never))
	for _, bad := range []string{`{"armed":[{"path":"a","kind":1}]}`, `{"armed":[{"path":"/a","kind":9}]}`, `{"armed":7}`, `7`, `{`} {
		assert.Assert(t, json.Unmarshal([]byte(bad), new(zk.Watches)) != nil, bad)
	}
	text, err = json.Marshal((*zk.Watches)(nil))
	assert.NilError(t, err)
	assert.Equal(t, string(text), "null")
	e.Set(s, "/", "x")
	e.Ready(ch, zk.Changed, "/")
}

// The chroot stays as long as watches or events are held.
func TestChrootChanged(t *testing.T) {
	e := suite.Private(t, 1)
	for _, path := range []string{"/a", "/b"} {
		e.Create(e.Session(), path, "")
	}
	conf, l := e.Config()
	conf.Chroot = "/a"
	s := e.Dial(conf)
	full := make(chan zk.Event)
	e.Watch(s, "/", full)
	try := func(chroot string) error {
		conf := s.Config()
		conf.Chroot = chroot
		next, err := zk.Dial(e.Ctx, conf)
		if err == nil {
			s = e.Keep(next)
		}
		return err
	}
	for _, chroot := range []string{"/b", "", "/"} {
		assert.ErrorIs(t, try(chroot), zk.ErrBadPath)
	}
	assert.NilError(t, s.Err()) // refused before anything was done
	assert.Equal(t, len(l.Dialed()), 1)
	e.Set(s, "/", "x")
	assert.ErrorIs(t, try("/b"), zk.ErrBadPath) // its event is still held
	e.Want(full, zk.Changed, "/")
	assert.NilError(t, try("/b"))
	e.Create(s, "/c", "")
	_, _, err := e.Session().Get(e.Ctx, "/b/c", nil)
	assert.NilError(t, err)
}
