package zk_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
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

// A session moves to where the changed list of servers says, and back to any.
func TestChangedServers(t *testing.T) {
	suite.Ensembles(t, func(t *testing.T, e *suite.Env) {
		all := e.Addrs()
		conf, _ := e.Config()
		conf.Addrs = all[:2]
		s := e.Dial(conf)
		ch := make(chan zk.Event, 1)
		assert.NilError(t, s.Sync(e.Ctx, "/"))
		e.Watch(s, e.Root, ch)
		eph, err := s.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Assert(t, zk.Rebalance(all[:2], all, s.Addr(), 0.9) == nil)

		to := zk.Rebalance(all[:2], all, s.Addr(), 0.1)
		assert.DeepEqual(t, to, all[2:])
		next := s.Config()
		next.Addrs = to
		moved := awaitDial(e, next)
		assert.Equal(t, moved.Addr(), all[2])
		assert.Equal(t, moved.ID(), s.ID())
		next = moved.Config()
		next.Addrs = all
		s = awaitDial(e, next)
		e.Set(s, e.Root, "x")
		e.Want(ch, zk.Changed, e.Root)
		_, st, err := s.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, s.ID())
	})
}

// awaitDial dials until a server has caught up with what the session has seen.
func awaitDial(e *suite.Env, conf zk.Config) *zk.Session {
	e.T.Helper()
	for {
		s, err := zk.Dial(e.Ctx, conf)
		if err == nil {
			return e.Keep(s)
		}
		assert.ErrorIs(e.T, err, zk.ErrNoServer)
		assert.NilError(e.T, e.Ctx.Err())
		time.Sleep(time.Millisecond)
	}
}

// One server of many is enough, and a bad name does not matter.
func TestOneServerOfMany(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		conf, l := e.Config()
		good := conf.Addrs[0]
		conf.Addrs = []string{"bad-1.test:1", good, "bad-2.test", "bad-3.test:3"}
		l.On(func(_ context.Context, addr string) error {
			if addr != good {
				return errors.New("bad name")
			}
			return nil
		})
		for range 10 {
			s := e.Dial(conf)
			assert.Equal(t, s.Addr(), good)
			assert.NilError(t, s.Close())
		}
	})
}

func TestTLS(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		ca := suite.NewAuthority(t)
		front := suite.Terminate(t, &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1")}}, e.Addrs()[0])
		conf := zk.Config{Addrs: []string{front}, Chroot: e.Chroot, TLS: &tls.Config{RootCAs: ca.Pool()}}
		s := e.Dial(conf) // by the library's own dialer
		assert.NilError(t, s.Sync(e.Ctx, "/"))
		ch := make(chan zk.Event, 1)
		e.Watch(s, e.Root, ch)
		large := make([]byte, 900_000)
		_, err := s.Set(e.Ctx, e.Root, large, zk.AnyVersion)
		assert.NilError(t, err)
		e.Ready(ch, zk.Changed, e.Root)
		data, _, err := s.Get(e.Ctx, e.Root, ch)
		assert.NilError(t, err)
		assert.Equal(t, len(data), len(large))
		next, err := s.Redial(e.Ctx)
		assert.NilError(t, err)
		e.Keep(next)
		assert.Equal(t, next.ID(), s.ID())
		e.Set(next, e.Root, "x")
		e.Ready(ch, zk.Changed, e.Root)

		// Without TLS, or with another authority, there is no session.
		plain := conf
		plain.TLS = nil
		_, err = zk.Dial(e.Ctx, plain)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		stranger := conf
		stranger.TLS = &tls.Config{RootCAs: suite.NewAuthority(t).Pool()}
		_, err = zk.Dial(e.Ctx, stranger)
		assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err) // the next time would be no better
		var unknown x509.UnknownAuthorityError
		assert.Assert(t, errors.As(err, &unknown), "%v", err)
		tooPlain := conf
		tooPlain.Addrs = e.Addrs()[:1]
		_, err = zk.Dial(e.Ctx, tooPlain)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.NilError(t, next.Err())
	})
}

// The steps of a Dial and the end of a Session are told, each once and in order.
func TestTrace(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		var mu sync.Mutex
		var steps []string
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			steps = append(steps, fmt.Sprintf(format, args...))
		}
		take := func() []string {
			mu.Lock()
			defer mu.Unlock()
			s := steps
			steps = nil
			return s
		}
		conf, l := e.Config()
		good := conf.Addrs[0]
		conf.Addrs = []string{good}
		conf.Trace = &zk.Trace{
			DialStart: func(addr string) { note("dial %s", addr) },
			DialDone:  func(addr string, err error) { note("connected %s %v", addr, err) },
			Handshake: func(addr string, id int64, timeout time.Duration, err error) {
				note("handshake %s %x %v %v", addr, id, timeout, err)
			},
			End: func(addr string, err error) {
				note("end %s %v %v %v", addr, errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved), errors.Is(err, zk.ErrClosed))
			},
		}
		up := func(s *zk.Session) []string {
			return []string{
				"dial " + good, "connected " + good + " <nil>", fmt.Sprintf("handshake %s %x %v <nil>", good, s.ID(), s.Timeout()),
			}
		}
		s := e.Dial(conf)
		assert.DeepEqual(t, take(), up(s))
		next := e.Move(s)
		assert.DeepEqual(t, take(), append([]string{"end " + good + " false true false"}, up(next)...))
		e.Cut(next, l)
		assert.DeepEqual(t, take(), []string{"end " + good + " true false false"})
		assert.Assert(t, next.Close() != nil)
		l.Fail(errors.New("no route"))
		_, err := next.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrClosed) // after Close
		_, err = zk.Dial(e.Ctx, next.Config())
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.DeepEqual(t, take(), []string{"dial " + good, "connected " + good + " no route"})
		l.Fail(nil)

		s = e.Move(next)
		take()
		e.Expire(s)
		take()
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		got := take()
		assert.Equal(t, len(got), 3)
		assert.Assert(t, strings.HasPrefix(got[2], "handshake "+good) && strings.HasSuffix(got[2], zk.ErrExpired.Error()), got[2])

		conf.Trace = &zk.Trace{} // hooks may be missing
		s = e.Dial(conf)
		assert.NilError(t, s.Close())
	})
}

// Silent by default; with a Logger a few lines that say who and where.
func TestLogger(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		log := new(suite.LockedBuffer)
		conf, l := e.Config()
		conf.Logger = slog.New(slog.NewTextHandler(log, nil))
		s := e.Dial(conf)
		id := fmt.Sprintf("%x", uint64(s.ID()))
		assert.Assert(t, strings.Contains(log.String(), id) && strings.Contains(log.String(), s.Addr()), log.String())
		lines := func() int { return strings.Count(log.String(), "\n") }
		up := lines()
		for range 10 {
			_, _, err := s.Get(e.Ctx, e.Root, nil)
			assert.NilError(t, err)
		}
		assert.Equal(t, lines(), up) // calls are not logged
		e.Cut(s, l)
		assert.Equal(t, lines(), up+1)
		l.Fail(errors.New("no route"))
		_, err := zk.Dial(e.Ctx, s.Config())
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Assert(t, strings.Contains(log.String(), "no route"), log.String())
		l.Fail(nil)
		assert.NilError(t, e.Move(s).Close())
	})
}

// On real servers and in ensembles too: each session that is closed is gone.
func TestManySessions(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		const n = 50
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range n {
					conf, l := e.Config()
					s, err := zk.Dial(e.Ctx, conf)
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := s.Create(e.Ctx, fmt.Sprintf("%s/%d-%d", e.Root, g, i), nil, zk.Ephemeral, zk.ACLOpen); err != nil && !errors.Is(err, zk.ErrNoNode) {
						t.Error(err)
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
					if l.Open() != 0 {
						t.Error("a connection is open after Close")
					}
				}
			})
		}
		wg.Wait()
		assert.Equal(t, len(children(t, e, e.Session(), e.Root)), 0)
	})
}
