package zk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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

func TestNewSession(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		conf.Timeout = 7 * time.Second
		began := time.Now()
		s := e.Dial(conf)
		assert.Assert(t, s.ID() != 0)
		assert.Equal(t, s.Timeout(), 7*time.Second)
		assert.DeepEqual(t, l.Dialed(), []string{s.Addr()})
		assert.Assert(t, slices.Contains(e.Addrs(), s.Addr()))
		assert.Assert(t, !s.ReadOnly())
		assert.NilError(t, s.Err())
		select {
		case <-s.Done():
			t.Fatal("done at once")
		default:
		}
		at := s.ExpiresAt()
		assert.Assert(t, at.After(began) && at.Before(time.Now().Add(s.Timeout())), "%v", at.Sub(began))

		_, st, err := s.Get(e.Ctx, e.Root, nil)
		assert.NilError(t, err)
		assert.Assert(t, s.Zxid() >= st.Czxid)
		got := s.Config()
		assert.Equal(t, got.ID, s.ID())
		assert.Equal(t, got.Zxid, s.Zxid())
		assert.Equal(t, len(got.Password), 16)
		assert.Equal(t, got.Watches.Len(), 0)
		assert.Equal(t, got.Timeout, conf.Timeout)
		assert.Equal(t, got.Chroot, conf.Chroot)
		slices.Sort(got.Addrs)
		want := slices.Sorted(slices.Values(conf.Addrs))
		assert.DeepEqual(t, got.Addrs, want)
		assert.Equal(t, conf.ID, int64(0)) // Dial has not touched it

		other := e.Session()
		assert.Assert(t, other.ID() != s.ID())
	})
}

// The granted timeout is told, and the one to ask for stays.
func TestTimeoutIsNegotiated(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		for _, test := range []struct{ ask, granted time.Duration }{
			{time.Millisecond, 500 * time.Millisecond}, {time.Hour, time.Minute}, {12345 * time.Millisecond, 12345 * time.Millisecond},
		} {
			conf.Timeout = test.ask
			s := e.Dial(conf)
			assert.Equal(t, s.Timeout(), test.granted)
			assert.Equal(t, s.Config().Timeout, test.ask)
			assert.NilError(t, s.Close())
		}
		conf.Timeout = 0
		assert.Equal(t, e.Dial(conf).Timeout(), zk.DefaultTimeout)

		// A redial asks for what its Config says.
		s := e.Dial(conf)
		conf = s.Config()
		conf.Timeout = 13 * time.Second
		next := e.Dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		assert.Equal(t, next.Timeout(), 13*time.Second)
		assert.Equal(t, next.Config().Timeout, 13*time.Second)
	})
}

// The main job: the same session on the next connection, whether the one
// before is alive or dead.
func TestRedial(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		for _, how := range []string{"alive", "cut", "detached"} {
			s, l := e.Linked()
			eph, err := s.Create(e.Ctx, e.Root+"/"+how, []byte("mine"), zk.Ephemeral, zk.ACLOpen)
			assert.NilError(t, err)
			conf := s.Config()
			switch how {
			case "cut":
				e.Cut(s, l)
				_, _, err := s.Get(e.Ctx, eph, nil)
				suite.WantUnsent(t, err, zk.ErrConnection)
				conf = s.Config()
			case "detached":
				conf = s.Detach()
			}
			next := e.Dial(conf)
			assert.Equal(t, next.ID(), s.ID())
			assert.Assert(t, next.Zxid() >= s.Zxid())
			assert.NilError(t, next.Err())
			suite.Await(t, s.Done())
			want := map[string]error{"alive": zk.ErrMoved, "cut": zk.ErrConnection, "detached": zk.ErrClosed}[how]
			assert.ErrorIs(t, s.Err(), want)
			assert.Equal(t, errors.Is(s.Err(), zk.ErrConnection), how == "cut", "%v", s.Err())

			// What comes of the old one now leads to its successor.
			again, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			assert.Assert(t, again == next)
			_, err = s.Renew(e.Ctx)
			assert.ErrorIs(t, err, zk.ErrMoved)

			// The old one can do nothing, and above all not end the session.
			for range 2 {
				err = s.Close()
				suite.WantUnsent(t, err, zk.ErrMoved)
			}
			suite.EveryCall(e.Root, func(name string, call func(context.Context, *zk.Session) error) {
				suite.WantUnsent(t, call(e.Ctx, s), zk.ErrMoved)
			})
			_, st, err := next.Get(e.Ctx, eph, nil)
			assert.NilError(t, err)
			assert.Equal(t, st.EphemeralOwner, next.ID())
			assert.Equal(t, l.Open(), 1)
			assert.NilError(t, next.Close())
			found, _, err := e.Session().Exists(e.Ctx, eph, nil)
			assert.NilError(t, err)
			assert.Assert(t, !found)
		}
	})
}

// Successor waits for the Session that somebody else dials, and dials nothing.
func TestSuccessor(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		type answer struct {
			s   *zk.Session
			err error
		}
		ask := func(s *zk.Session) chan answer {
			c := make(chan answer, 1)
			go func() {
				next, err := s.Successor(e.Ctx)
				c <- answer{next, err}
			}()
			return c
		}
		s, l := e.Linked()
		waiting := ask(s)
		gone, cancel := context.WithCancel(e.Ctx)
		cancel()
		_, err := s.Successor(gone)
		assert.ErrorIs(t, err, context.Canceled)

		e.Cut(s, l)
		next := e.Dial(s.Config())
		for _, c := range []chan answer{waiting, ask(s)} {
			a := <-c
			assert.NilError(t, a.err)
			assert.Assert(t, a.s == next)
		}
		got, err := s.Successor(gone) // there already
		assert.NilError(t, err)
		assert.Assert(t, got == next)

		waiting = ask(next)
		renewed := e.Dial(next.Config().Renew())
		a := <-waiting
		assert.NilError(t, a.err)
		assert.Assert(t, a.s == renewed && a.s.ID() != next.ID())

		waiting = ask(renewed)
		assert.NilError(t, renewed.Close())
		for _, c := range []chan answer{waiting, ask(renewed)} {
			a := <-c
			assert.ErrorIs(t, a.err, zk.ErrClosed)
		}
		assert.Equal(t, s.Chroot(), e.Chroot)
		assert.Assert(t, s.Watches() == s.Config().Watches)
	})
}

// Redial gives the direct successor, dead or alive.
func TestRedialChain(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		chain := []*zk.Session{s}
		for range 4 {
			e.Cut(chain[len(chain)-1], l)
			next, err := chain[len(chain)-1].Redial(e.Ctx)
			assert.NilError(t, err)
			chain = append(chain, e.Keep(next))
		}
		dialed := len(l.Dialed())
		for i, s := range chain[:4] {
			next, err := s.Redial(e.Ctx)
			assert.NilError(t, err)
			assert.Assert(t, next == chain[i+1])
			assert.Equal(t, next.ID(), s.ID())
		}
		assert.Equal(t, len(l.Dialed()), dialed)
		_, _, err := chain[4].Get(e.Ctx, e.Root, nil)
		assert.NilError(t, err)
	})
}

// Everybody who redials a Session gets the same successor.
func TestRedialIsShared(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		for round := range 20 {
			if round%2 == 0 {
				e.Cut(s, l)
			}
			before := len(l.Dialed())
			got := make(chan *zk.Session, 8)
			start := make(chan struct{})
			for range cap(got) {
				go func() {
					<-start
					next, err := s.Redial(e.Ctx)
					if err != nil {
						t.Error(err)
					}
					got <- next
				}()
			}
			close(start)
			next := suite.Await(t, got)
			assert.Assert(t, next != nil && next != s)
			e.Keep(next)
			for range cap(got) - 1 {
				assert.Assert(t, suite.Await(t, got) == next)
			}
			e.DialedOnce(l, before)
			assert.Equal(t, next.ID(), s.ID())
			s = next
		}
		assert.Equal(t, l.Open(), 1)
	})
}

// Dials of one identity come one after another: the last has the session.
func TestDialsOfOneIdentity(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		for range 10 {
			conf := s.Config()
			got := make(chan *zk.Session, 8)
			start := make(chan struct{})
			for range cap(got) {
				go func() {
					<-start
					next, err := zk.Dial(e.Ctx, conf)
					if err != nil {
						t.Error(err)
					}
					got <- next
				}()
			}
			close(start)
			var live []*zk.Session
			var all []*zk.Session
			for range cap(got) {
				next := suite.Await(t, got)
				assert.Assert(t, next != nil)
				assert.Equal(t, next.ID(), s.ID())
				all = append(all, e.Keep(next))
			}
			for _, next := range all {
				select {
				case <-next.Done():
					assert.ErrorIs(t, next.Err(), zk.ErrMoved)
				default:
					live = append(live, next)
				}
			}
			assert.Equal(t, len(live), 1, "live Sessions of one identity")
			assert.Equal(t, l.Open(), 1)
			for _, next := range all { // every chain ends at the live one
				for next != live[0] {
					var err error
					next, err = next.Redial(e.Ctx)
					assert.NilError(t, err)
				}
			}
			s = live[0]
		}
		e.Set(s, e.Root, "x")
		e.Ready(ch, zk.Changed, e.Root)
		e.None(s, ch)
	})
}

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

// After an expiry, Renew makes a new session that misses no change.
func TestRenew(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		writer := e.Session()
		changed, gone, made, child := make(chan zk.Event, 1), make(chan zk.Event, 1), make(chan zk.Event, 1), make(chan zk.Event, 1)
		kept, gap := make(chan zk.Event, 1), make(chan zk.Event, 10)
		for _, name := range []string{"/changed", "/gone", "/child", "/kept", "/gap"} {
			e.Create(s, e.Root+name, "")
		}
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		e.Watch(s, e.Root+"/changed", changed)
		e.Watch(s, e.Root+"/gone", gone)
		e.Watch(s, e.Root+"/kept", kept)
		_, _, err = s.Exists(e.Ctx, e.Root+"/made", made)
		assert.NilError(t, err)
		_, _, err = s.Children(e.Ctx, e.Root+"/child", child)
		assert.NilError(t, err)
		if e.Knows(zktest.V36) {
			assert.NilError(t, s.AddWatch(e.Ctx, e.Root+"/gap", zk.WatchPersistent, gap))
		}

		e.Fence(writer)
		e.Expire(s)
		assert.ErrorIs(t, s.Err(), zk.ErrConnection) // only a Dial says that the session is gone
		e.Fence(writer)
		e.Set(writer, e.Root+"/changed", "x")
		e.Delete(writer, e.Root+"/gone")
		e.Create(writer, e.Root+"/made", "")
		e.Create(writer, e.Root+"/child/c", "")

		for range 2 {
			_, err = s.Redial(e.Ctx)
			assert.ErrorIs(t, err, zk.ErrExpired)
			assert.Assert(t, !errors.Is(err, zk.ErrNoServer))
			_, err = zk.Dial(e.Ctx, s.Config())
			assert.ErrorIs(t, err, zk.ErrExpired)
		}
		old := s.Config()
		conf := old.Renew()
		assert.Assert(t, conf.ID == 0 && len(conf.Password) == 0 && conf.Zxid == old.Zxid && conf.Watches == old.Watches)
		assert.Equal(t, old.ID, s.ID()) // Renew has changed a copy
		next := e.Dial(conf)
		assert.Assert(t, next.ID() != s.ID() && next.ID() != 0)
		e.Ready(changed, zk.Changed, e.Root+"/changed")
		e.Ready(gone, zk.Deleted, e.Root+"/gone")
		e.Ready(made, zk.Created, e.Root+"/made")
		e.Ready(child, zk.Child, e.Root+"/child")
		if e.Knows(zktest.V36) {
			e.Ready(gap, zk.Gap, e.Root+"/gap")
		}
		found, _, err := next.Exists(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
		e.Set(next, e.Root+"/kept", "x")
		e.Ready(kept, zk.Changed, e.Root+"/kept")
		e.Set(next, e.Root+"/gap", "x")
		if e.Knows(zktest.V36) {
			e.Ready(gap, zk.Changed, e.Root+"/gap")
		}
		for _, ch := range []chan zk.Event{changed, gone, made, child, kept, gap} {
			e.None(next, ch)
		}

		// Nobody gets another session unknowingly.
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		dials := len(l.Dialed())
		_, err = zk.Dial(e.Ctx, old)
		assert.ErrorIs(t, err, zk.ErrMoved)
		assert.Equal(t, len(l.Dialed()), dials)
		same, err := s.Renew(e.Ctx)
		assert.NilError(t, err)
		assert.Assert(t, same == next)
		_, _, err = next.Get(e.Ctx, e.Root, nil)
		assert.NilError(t, err)
	})
}

// Renew of a shared Session makes one new session.
func TestRenewIsShared(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		for range 5 {
			e.Expire(s)
			before := len(l.Dialed())
			got := make(chan *zk.Session, 8)
			for i := range cap(got) {
				go func() {
					if i%2 == 0 { // as the loop of the application does
						if _, err := s.Redial(e.Ctx); !errors.Is(err, zk.ErrExpired) {
							t.Errorf("Redial: %v", err)
						}
					}
					next, err := s.Renew(e.Ctx)
					if err != nil {
						t.Error(err)
					}
					got <- next
				}()
			}
			next := suite.Await(t, got)
			for range cap(got) - 1 {
				assert.Assert(t, suite.Await(t, got) == next)
			}
			assert.Assert(t, next.ID() != s.ID())
			assert.Assert(t, len(l.Dialed()) > before)
			s = e.Keep(next)
		}
		assert.Equal(t, l.Open(), 1)
	})
}

// Renew of a Session that lives leaves its session to expire: its ephemerals
// linger for one timeout.
func TestRenewWhileAlive(t *testing.T) {
	renewed := func(t *testing.T, e *suite.Env, path string, timeout time.Duration) (s, next *zk.Session, ch chan zk.Event) {
		conf, _ := e.Config()
		conf.Timeout = timeout
		s = e.Dial(conf)
		_, err := s.Create(e.Ctx, path, nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch = make(chan zk.Event, 1)
		e.Watch(s, path, ch)
		conf = s.Config().Renew()
		conf.Timeout = time.Minute
		next = e.Dial(conf)
		assert.Assert(t, next.ID() != s.ID())
		suite.Await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrMoved)
		found, _, err := next.Exists(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Assert(t, found, "the session was closed")
		suite.WantUnsent(t, s.Close(), zk.ErrMoved)
		return s, next, ch
	}
	suite.InBubble(t, 1, func(t *testing.T, e *suite.Env) {
		s, next, ch := renewed(t, e, "/eph", 9*time.Second)
		began := time.Now()
		e.Want(ch, zk.Deleted, "/eph")
		took := time.Since(began)
		assert.Assert(t, took >= 9*time.Second && took <= 10*time.Second, took)
		assert.DeepEqual(t, e.Sim.Sessions(), []int64{next.ID()})
		assert.Assert(t, s.Config().Watches == next.Config().Watches)
	})
	suite.On(t, func(b suite.Backend) bool { return b.Real() && b.Members == 1 }, func(t *testing.T, e *suite.Env) {
		_, next, ch := renewed(t, e, e.Root+"/eph", 3*time.Second)
		e.Want(ch, zk.Deleted, e.Root+"/eph")
		assert.NilError(t, next.Err())
	})
}

// Detach leaves the session on the server.
func TestDetach(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		conf := s.Detach()
		suite.Await(t, s.Done()) // final on return
		assert.Equal(t, l.Open(), 0)
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		assert.Assert(t, !errors.Is(s.Err(), zk.ErrConnection))
		assert.Equal(t, conf.ID, s.ID())
		assert.Equal(t, conf.Zxid, s.Zxid())
		again := s.Detach()
		assert.Assert(t, again.ID == conf.ID && again.Zxid == conf.Zxid)
		suite.EveryCall(e.Root, func(name string, call func(context.Context, *zk.Session) error) {
			if name != "RemoveWatch" {
				suite.WantUnsent(t, call(e.Ctx, s), zk.ErrClosed)
			}
		})
		err = s.Close()
		suite.WantUnsent(t, err, zk.ErrClosed)
		assert.ErrorContains(t, err, "expires by itself")
		other := e.Session()
		found, _, err := other.Exists(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, found)

		next := e.Dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		e.Delete(next, eph)
	})
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

func TestClose(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		other := e.Session()
		assert.NilError(t, s.Close())
		e.Fence(other)
		found, _, err := other.Exists(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
		suite.Await(t, s.Done())
		assert.Equal(t, l.Open(), 0)
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		assert.NilError(t, s.Close()) // the same result
		suite.EveryCall(e.Root, func(name string, call func(context.Context, *zk.Session) error) {
			suite.WantUnsent(t, call(e.Ctx, s), zk.ErrClosed)
		})
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = s.Renew(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = zk.Dial(e.Ctx, s.Config())
		assert.ErrorIs(t, err, zk.ErrExpired)
		assert.Equal(t, len(l.Dialed()), 1)

		// Its watches may still be taken over by a new session.
		next := e.Dial(s.Config().Renew())
		assert.Assert(t, next.ID() != s.ID())
	})
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

// Close on a connection that is lost tells when the session will be gone.
func TestCloseAfterLoss(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		e.Cut(s, l)
		err := s.Close()
		suite.WantUnsent(t, err, zk.ErrConnection)
		assert.ErrorContains(t, err, "expires by itself")
		assert.ErrorContains(t, err, s.Timeout().String())
		assert.Equal(t, s.Close(), err)
	})
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

// The Session that lost its session to a newer one must not close it, on
// whatever server that is.
func TestStaleClose(t *testing.T) {
	suite.Ensembles(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for range 5 {
			conf := s.Config()
			conf.Addrs = slices.DeleteFunc(e.Addrs(), func(a string) bool { return a == s.Addr() })
			next := e.Dial(conf)
			suite.WantUnsent(t, s.Close(), zk.ErrMoved)
			_, err := s.Set(e.Ctx, eph, nil, zk.AnyVersion)
			suite.WantUnsent(t, err, zk.ErrMoved)
			e.Set(next, eph, "mine")
			s = next
		}
		other := e.Session()
		_, st, err := other.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, s.ID())
		assert.Equal(t, st.Version, int32(5))
	})
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

// A session goes round the members; its ephemerals and watches go with it.
func TestMoveBetweenServers(t *testing.T) {
	suite.Ensembles(t, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Addrs = e.Addrs()[:1]
		s := e.Dial(conf)
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		writer := e.Session()
		ch := make(chan zk.Event, 1)
		e.Watch(s, eph, ch)
		for i := 1; i < 10; i++ {
			addr := e.Addrs()[i%e.Members]
			conf := s.Config()
			conf.Addrs = []string{addr}
			// A change before, one meanwhile, or one after the move: each is told once.
			if i%3 == 0 {
				e.Set(writer, eph, fmt.Sprint(i))
			}
			if i%3 == 1 {
				s.Detach()
				e.Set(writer, eph, fmt.Sprint(i))
			}
			var next *zk.Session
			for next == nil { // a member that is behind turns us away
				next, err = zk.Dial(e.Ctx, conf)
				if err != nil {
					assert.ErrorIs(t, err, zk.ErrNoServer)
				}
			}
			s = e.Keep(next)
			assert.Equal(t, s.Addr(), addr)
			if i%3 == 2 {
				e.Set(writer, eph, fmt.Sprint(i))
			}
			e.Want(ch, zk.Changed, eph)
			e.None(s, ch)
			data, st, err := s.Get(e.Ctx, eph, ch)
			assert.NilError(t, err)
			assert.Equal(t, string(data), fmt.Sprint(i))
			assert.Equal(t, st.EphemeralOwner, s.ID())
		}
	})
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

// Who does not know a session's password is told that there is none. The server
// that its owner is connected to ends that connection for it, but the session
// is the owner's as before.
func TestWrongPassword(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 2)
		e.Watch(s, e.Root, ch)
		for at := range len(s.Config().Password) {
			if at > 0 && at < len(s.Config().Password)-1 && e.Backend != suite.Backends()[0] {
				continue // the first and the last byte are enough
			}
			conf := s.Config()
			conf.Watches = nil // as in another process
			conf.Password[at] ^= 1
			_, err := zk.Dial(e.Ctx, conf)
			for e.Real() && e.Members > 1 && errors.Is(err, zk.ErrNoServer) && e.Ctx.Err() == nil {
				_, err = zk.Dial(e.Ctx, conf) // all may be a moment behind
			}
			assert.ErrorIs(t, err, zk.ErrExpired)
		}
		id := s.ID()
		s = e.Move(s)
		assert.Equal(t, s.ID(), id)
		_, st, err := s.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, id)
		e.Set(s, e.Root, "x")
		e.Ready(ch, zk.Changed, e.Root)
		e.None(s, ch)
	})
}

// A State without Watches is another process: the two take the session from
// each other, and each is told.
func TestTwoProcesses(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		conf.Addrs = conf.Addrs[:1]
		s := e.Dial(conf)
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for range 4 {
			conf := s.Config()
			conf.Watches = nil
			other := e.Dial(conf)
			assert.Equal(t, other.ID(), s.ID())
			suite.Await(t, s.Done())
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			assert.Assert(t, !errors.Is(s.Err(), zk.ErrMoved), "%v", s.Err())
			_, _, err := other.Get(e.Ctx, eph, nil)
			assert.NilError(t, err)
			s = other
		}
	})
}

// A Dial that cannot reach anybody fails, and loses nothing.
func TestFailedRedial(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		reason := errors.New("no route")
		l.Fail(reason)
		for range 3 {
			_, err := s.Redial(e.Ctx)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			assert.ErrorIs(t, err, reason)
			suite.Await(t, s.Done()) // after the fence there is no way back
			assert.ErrorIs(t, s.Err(), zk.ErrMoved)
			_, err = zk.Dial(e.Ctx, s.Config())
			assert.ErrorIs(t, err, zk.ErrNoServer)
		}
		assert.Equal(t, l.Open(), 0)
		writer := e.Session()
		e.Set(writer, e.Root, "x")
		l.Fail(nil)
		next, err := s.Redial(e.Ctx)
		assert.NilError(t, err)
		e.Keep(next)
		assert.Equal(t, next.ID(), s.ID())
		e.Want(ch, zk.Changed, e.Root)
		e.None(next, ch)
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

// A context that ends while Dial is under way, after the fence.
func TestDialContextEnds(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 1)
		e.Watch(s, eph, ch)
		ctx, cancel := context.WithCancel(e.Ctx)
		l.On(func(ctx context.Context, _ string) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		_, err = zk.Dial(ctx, s.Config())
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		suite.Await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrMoved)
		_, _, err = s.Get(e.Ctx, eph, nil)
		suite.WantUnsent(t, err, zk.ErrMoved)

		l.On(nil)
		next := e.Move(s)
		assert.Equal(t, next.ID(), s.ID())
		e.Set(next, eph, "x")
		e.Ready(ch, zk.Changed, eph)
	})
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

// Calls whose bytes did not leave when the connection ends did not happen.
func TestUnsentCalls(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s, l := e.Linked()
		path := e.Create(s, e.Root+"/n", "")
		l.Hold()
		const calls = 10
		errs := make(chan error, calls)
		for i := range calls {
			go func() {
				switch i % 3 {
				case 0:
					errs <- suite.ErrOf(s.Set(e.Ctx, path, []byte("x"), zk.AnyVersion))
				case 1:
					res, err := s.Batch(e.Ctx, zk.SetOp{Path: path, Version: zk.AnyVersion}, zk.DeleteOp{Path: path, Version: zk.AnyVersion})
					errs <- suite.Failed(err, res)
				case 2:
					errs <- suite.ErrOf(s.Multi(context.Background(), zk.DeleteOp{Path: path, Version: zk.AnyVersion}))
				}
			}()
		}
		for end := time.Now().Add(suite.Patience); s.Stats().Pending < calls+3; time.Sleep(time.Millisecond) {
			assert.Assert(t, time.Now().Before(end), "%+v", s.Stats())
		}
		l.Cut()
		for range calls {
			suite.WantUnsent(t, suite.Await(t, errs), zk.ErrConnection)
		}
		suite.Await(t, s.Done())
		s = e.Move(s)
		_, st, err := s.Get(e.Ctx, path, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.Version, int32(0))
	})
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

// State is JSON: another process takes the session over, watches, undelivered
// events and all.
func TestStateJSON(t *testing.T) {
	suite.Since(t, zktest.V36, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		writer := e.Session()
		paths := make(map[string]string)
		for _, name := range []string{"full", "data", "child", "both", "dropped", "persistent", "recursive"} {
			paths[name] = e.Create(s, e.Root+"/"+name, "")
		}
		paths["exists"] = e.Root + "/exists"
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		full, one, two := make(chan zk.Event), make(chan zk.Event, 1), make(chan zk.Event, 1)
		dropped := make(chan zk.Event, 1)
		e.Watch(s, paths["full"], full)
		e.Watch(s, paths["data"], one)
		e.Watch(s, paths["both"], one)
		e.Watch(s, paths["both"], two)
		e.Watch(s, paths["dropped"], dropped)
		_, _, err = s.Exists(e.Ctx, paths["exists"], two)
		assert.NilError(t, err)
		_, _, err = s.Children(e.Ctx, paths["child"], one)
		assert.NilError(t, err)
		assert.NilError(t, s.AddWatch(e.Ctx, paths["persistent"], zk.WatchPersistent, two))
		assert.NilError(t, s.AddWatch(e.Ctx, paths["recursive"], zk.WatchRecursive, dropped))
		e.Set(s, paths["full"], "x")
		e.Set(s, paths["data"], "x") // behind it
		conf := s.Detach()
		assert.Equal(t, conf.Watches.Undelivered(), 2)
		assert.Equal(t, conf.Watches.Len(), 7)
		text, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		e.Fence(writer)
		e.Create(writer, paths["exists"], "")
		e.Create(writer, paths["child"]+"/c", "")
		e.Set(writer, paths["recursive"], "x")

		var state zk.State
		assert.NilError(t, json.Unmarshal(text, &state))
		assert.Equal(t, state.ID, s.ID())
		assert.Equal(t, state.Zxid, conf.Zxid)
		assert.DeepEqual(t, state.Password, conf.Password)
		list, was := state.Watches.List(), conf.Watches.List()
		assert.Equal(t, len(list), 9)
		assert.DeepEqual(t, describe(list), describe(was))

		conf, l := e.Config()
		conf.State = state
		_, err = zk.Dial(e.Ctx, conf)
		assert.ErrorIs(t, err, zk.ErrUnbound)
		assert.Equal(t, len(l.Dialed()), 0)

		byNumber := make(map[int]chan zk.Event)
		asked := 0
		assert.NilError(t, state.Watches.Rebind(func(w zk.Watch) chan<- zk.Event {
			asked++
			if w.Path == paths["dropped"] || w.Path == paths["recursive"] {
				return nil
			}
			if byNumber[w.Channel] == nil {
				byNumber[w.Channel] = make(chan zk.Event, 20)
			}
			return byNumber[w.Channel]
		}))
		assert.Equal(t, asked, 9)
		assert.Equal(t, len(byNumber), 3)
		assert.Equal(t, state.Watches.Len(), 5)
		assert.ErrorIs(t, state.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return nil }), zk.ErrUnbound)
		number := func(path string, kind zk.WatchKind) int {
			for _, w := range list {
				if w.Path == path && w.Kind == kind {
					return w.Channel
				}
			}
			t.Fatalf("no %v watch at %s in %+v", kind, path, list)
			return 0
		}
		fullB := byNumber[number(paths["full"], zk.DataWatch)]
		oneB := byNumber[number(paths["child"], zk.ChildWatch)]
		twoB := byNumber[number(paths["exists"], zk.ExistsWatch)]

		next := e.Dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		_, _, err = next.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		e.Ready(fullB, zk.Changed, paths["full"])
		e.Ready(oneB, zk.Changed, paths["data"])
		e.Want(oneB, zk.Child, paths["child"])
		first := suite.Await(t, twoB)
		second := suite.Await(t, twoB)
		assert.DeepEqual(t, suite.SortedEvents(first, second), []string{"created " + paths["exists"], "gap " + paths["persistent"]})
		assert.Equal(t, second.Type, zk.Created, "the Gap comes first: %v, %v", first, second)
		e.Set(next, paths["both"], "x")
		e.Ready(oneB, zk.Changed, paths["both"])
		e.Ready(twoB, zk.Changed, paths["both"])
		e.Set(next, paths["persistent"], "x")
		e.Ready(twoB, zk.Changed, paths["persistent"])
		e.Set(next, paths["recursive"], "y")
		e.Set(next, paths["dropped"], "y")
		for _, ch := range byNumber {
			e.None(next, ch)
		}
	})
}

// describe lists watches, with channels by who shares them rather than by number.
func describe(list []zk.Watch) []string {
	at := make(map[int][]string)
	for _, w := range list {
		at[w.Channel] = append(at[w.Channel], fmt.Sprint(w.Kind, w.Fired, w.Path))
	}
	var out []string
	for _, l := range at {
		slices.Sort(l)
		out = append(out, strings.Join(l, "+"))
	}
	slices.Sort(out)
	return out
}

// A State may be written while its Session lives: the reader of it may see an
// event again, but misses none.
func TestStateJSONOfALiveSession(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		path := e.Create(s, e.Root+"/n", "")
		wg.Go(func() { // traffic beside it
			for {
				select {
				case <-stop:
					return
				default:
					_, err := s.Set(e.Ctx, path, nil, zk.AnyVersion)
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		for range 20 {
			text, err := json.Marshal(s.Config().State)
			assert.NilError(t, err)
			var state zk.State
			assert.NilError(t, json.Unmarshal(text, &state))
			list := state.Watches.List()
			assert.Equal(t, len(list), 1)
			assert.Equal(t, list[0], zk.Watch{Path: e.Root, Kind: zk.DataWatch, Channel: 1})
			assert.Assert(t, state.Zxid <= s.Zxid())
		}
		text, err := json.Marshal(s.Config().State) // before the change
		assert.NilError(t, err)
		e.Set(s, e.Root, "changed")
		e.Ready(ch, zk.Changed, e.Root)
		close(stop)
		wg.Wait()

		conf, _ := e.Config()
		assert.NilError(t, json.Unmarshal(text, &conf.State))
		again := make(chan zk.Event, 1)
		assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return again }))
		next := e.Dial(conf)
		e.Want(again, zk.Changed, e.Root)
		e.None(next, again)
	})
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

// Passwords, credentials and lists are copied in and out.
func TestConfigIsCopied(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, _ := e.Config()
		secret := []byte("user:secret")
		conf.Auth = []zk.Auth{{Scheme: "digest", Credential: secret}}
		addrs := slices.Clone(conf.Addrs)
		s := e.Dial(conf)
		assert.DeepEqual(t, conf.Addrs, addrs) // not even shuffled
		mine, err := s.Create(e.Ctx, e.Root+"/mine", nil, zk.Persistent, zk.ACLCreator)
		assert.NilError(t, err)
		added := []byte("two:secret")
		assert.NilError(t, s.AddAuth(e.Ctx, zk.Auth{Scheme: "digest", Credential: added}))
		spoil := func(b []byte) {
			for i := range b {
				b[i] = 'x'
			}
		}
		spoil(secret)
		spoil(added)
		conf.Addrs[0] = "spoiled:1"
		got := s.Config()
		spoil(got.Password)
		for _, a := range got.Auth {
			spoil(a.Credential)
		}
		got.Addrs[0] = "spoiled:2"
		for range 2 {
			s = e.Move(s)
			_, _, err = s.Get(e.Ctx, mine, nil)
			assert.NilError(t, err)
			if e.Knows(zktest.V37) {
				infos, err := s.WhoAmI(e.Ctx)
				assert.NilError(t, err)
				assert.Assert(t, slices.Contains(infos, zk.AuthInfo{Scheme: "digest", User: "two"}), "%v", infos)
			}
		}
		acl, _, err := s.GetACL(e.Ctx, mine)
		assert.NilError(t, err)
		acl[0].ID = "spoiled"
		acl, _, err = s.GetACL(e.Ctx, mine)
		assert.NilError(t, err)
		assert.Equal(t, acl[0].ID, digestID("user", "secret"))
	})
}

// One channel may serve two sessions.
func TestChannelOfTwoIdentities(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		one, two := e.Session(), e.Session()
		ch := make(chan zk.Event, 2)
		e.Watch(one, e.Root, ch)
		e.Watch(two, e.Root, ch)
		e.Set(one, e.Root, "x")
		e.Want(ch, zk.Changed, e.Root)
		e.Want(ch, zk.Changed, e.Root)
		e.None(one, ch)
		e.None(two, ch)
	})
}

// Two watchers, two Sessions, 64 goroutines that share one, and no order among them.
func TestConcurrentCalls(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		s := e.Session()
		counter := e.Create(s, e.Root+"/counter", "0")
		const goroutines, each = 64, 10
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				mine := fmt.Sprintf("%s/%d", e.Root, g)
				if _, err := s.Create(e.Ctx, mine, nil, zk.Persistent, zk.ACLOpen); err != nil {
					t.Error(err)
					return
				}
				ch := make(chan zk.Event, 1)
				for i := range each {
					if _, _, err := s.Get(e.Ctx, mine, ch); err != nil {
						t.Error(err)
						return
					}
					st, err := s.Set(e.Ctx, mine, fmt.Appendf(nil, "%d-%d", g, i), int32(i))
					if err != nil || st.Version != int32(i)+1 {
						t.Errorf("set %s: %+v, %v", mine, st, err)
						return
					}
					select {
					case ev := <-ch:
						if ev.Path != mine {
							t.Errorf("%+v at %s", ev, mine)
						}
					default:
						t.Errorf("no event in the channel when Set of %s returned", mine)
						return
					}
					for { // the counter is shared
						data, st, err := s.Get(e.Ctx, counter, nil)
						if err != nil {
							t.Error(err)
							return
						}
						n := 0
						fmt.Sscan(string(data), &n)
						_, err = s.Set(e.Ctx, counter, fmt.Append(nil, n+1), st.Version)
						if err == nil {
							break
						}
						if !errors.Is(err, zk.ErrVersion) {
							t.Error(err)
							return
						}
						if i >= 2 {
							break // contention is shown by now
						}
					}
				}
			})
		}
		wg.Wait()
		_, st, err := s.Get(e.Ctx, counter, nil)
		assert.NilError(t, err)
		data, _, err := s.Get(e.Ctx, counter, nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), fmt.Sprint(st.Version))
		assert.Assert(t, st.Version >= 2*goroutines)
		assert.Equal(t, s.Config().Watches.Len(), 0)
	})
}
