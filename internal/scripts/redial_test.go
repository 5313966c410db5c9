package scripts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
)

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

// The loop of many goroutines that share a session: each repeats one operation
// by its outcome, while the connection is cut again and again. Every set
// happens exactly once, and all of it in one session.
func TestSharedLoop(t *testing.T) {
	suite.Everywhere(t, func(t *testing.T, e *suite.Env) {
		first, l := e.Linked()
		eph, err := first.Create(e.Ctx, e.Root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		const workers, sets, between = 16, 25, 10
		var redials, lost, unsent atomic.Int64
		acks := make(chan struct{}) // each waits for the one who cuts
		work := func(path string) error {
			s := first
			redial := func() error {
				for {
					next, err := s.Redial(e.Ctx)
					if errors.Is(err, zk.ErrNoServer) && e.Ctx.Err() == nil {
						continue // cut in the middle of the Dial
					}
					if err == nil {
						s = next
						redials.Add(1)
					}
					return err
				}
			}
			for i := int32(0); i < sets; {
				_, err := s.Set(e.Ctx, path, fmt.Append(nil, i+1), i)
				switch {
				case err == nil:
					i++
					acks <- struct{}{}
				case errors.Is(err, zk.ErrLost): // look before repeating
					lost.Add(1)
					for {
						if err := redial(); err != nil {
							return err
						}
						var st zk.Stat
						err := s.Sync(e.Ctx, path) // another server may not have heard of it yet
						if err == nil {
							_, st, err = s.Get(e.Ctx, path, nil)
						}
						if err == nil {
							i = st.Version
							break
						}
						if !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) {
							return err
						}
					}
				case errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved):
					if !errors.Is(err, zk.ErrNotSent) {
						return fmt.Errorf("neither sent nor lost: %w", err)
					}
					unsent.Add(1)
					if err := redial(); err != nil {
						return err
					}
				default: // ErrVersion would be a set that happened though it was said to be unsent
					return err
				}
			}
			return nil
		}
		var wg sync.WaitGroup
		paths := make([]string, workers)
		for g := range workers {
			paths[g] = e.Create(first, fmt.Sprintf("%s/%d", e.Root, g), "0")
		}
		for _, path := range paths {
			wg.Go(func() {
				if err := work(path); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			})
		}
		done := make(chan struct{})
		go func() {
			wg.Wait()
			close(done)
		}()
		cuts := 0
		for n, over := 0, false; !over; {
			select {
			case <-acks:
				if n++; n%between == 0 {
					l.Cut()
					cuts++
				}
			case <-done:
				over = true
			}
		}
		last := first
		for last.Sync(e.Ctx, "/") != nil { // the last cut may not have been noticed yet
			next, err := last.Redial(e.Ctx)
			assert.NilError(t, err)
			last = e.Keep(next)
		}
		for _, path := range paths {
			data, st, err := last.Get(e.Ctx, path, nil)
			assert.NilError(t, err)
			assert.Equal(t, fmt.Sprint(string(data), " ", st.Version), fmt.Sprint(sets, " ", sets))
		}
		_, st, err := last.Get(e.Ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, first.ID())
		assert.Assert(t, cuts >= 10 && redials.Load() > 0 && lost.Load()+unsent.Load() > 0, "%d cuts, %d redials, %d lost, %d unsent", cuts, redials.Load(), lost.Load(), unsent.Load())
	})
}
