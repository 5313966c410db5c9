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
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestNewSession(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		conf, l := e.config()
		conf.Timeout = 7 * time.Second
		began := time.Now()
		s := e.dial(conf)
		assert.Assert(t, s.ID() != 0)
		assert.Equal(t, s.Timeout(), 7*time.Second)
		assert.DeepEqual(t, l.dialed(), []string{s.Addr()})
		assert.Assert(t, slices.Contains(e.addrs(), s.Addr()))
		assert.Assert(t, !s.ReadOnly())
		assert.NilError(t, s.Err())
		select {
		case <-s.Done():
			t.Fatal("done at once")
		default:
		}
		at := s.ExpiresAt()
		assert.Assert(t, at.After(began) && at.Before(time.Now().Add(s.Timeout())), "%v", at.Sub(began))

		_, st, err := s.Get(e.ctx, e.root, nil)
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

		other := e.session()
		assert.Assert(t, other.ID() != s.ID())
	})
}

// The granted timeout is told, and the one to ask for stays.
func TestTimeoutIsNegotiated(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		conf, _ := e.config()
		for _, test := range []struct{ ask, granted time.Duration }{
			{time.Millisecond, 500 * time.Millisecond}, {time.Hour, time.Minute}, {12345 * time.Millisecond, 12345 * time.Millisecond},
		} {
			conf.Timeout = test.ask
			s := e.dial(conf)
			assert.Equal(t, s.Timeout(), test.granted)
			assert.Equal(t, s.Config().Timeout, test.ask)
			assert.NilError(t, s.Close())
		}
		conf.Timeout = 0
		assert.Equal(t, e.dial(conf).Timeout(), zk.DefaultTimeout)

		// A redial asks for what its Config says.
		s := e.dial(conf)
		conf = s.Config()
		conf.Timeout = 13 * time.Second
		next := e.dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		assert.Equal(t, next.Timeout(), 13*time.Second)
		assert.Equal(t, next.Config().Timeout, 13*time.Second)
	})
}

// The main job: the same session on the next connection, whether the one
// before is alive or dead.
func TestRedial(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		for _, how := range []string{"alive", "cut", "detached"} {
			s, l := e.linked()
			eph, err := s.Create(e.ctx, e.root+"/"+how, []byte("mine"), zk.Ephemeral, zk.ACLOpen)
			assert.NilError(t, err)
			conf := s.Config()
			switch how {
			case "cut":
				e.cut(s, l)
				_, _, err := s.Get(e.ctx, eph, nil)
				wantUnsent(t, err, zk.ErrConnection)
				conf = s.Config()
			case "detached":
				conf = s.Detach()
			}
			next := e.dial(conf)
			assert.Equal(t, next.ID(), s.ID())
			assert.Assert(t, next.Zxid() >= s.Zxid())
			assert.NilError(t, next.Err())
			await(t, s.Done())
			want := map[string]error{"alive": zk.ErrMoved, "cut": zk.ErrConnection, "detached": zk.ErrClosed}[how]
			assert.ErrorIs(t, s.Err(), want)
			assert.Equal(t, errors.Is(s.Err(), zk.ErrConnection), how == "cut", "%v", s.Err())

			// What comes of the old one now leads to its successor.
			again, err := s.Redial(e.ctx)
			assert.NilError(t, err)
			assert.Assert(t, again == next)
			_, err = s.Renew(e.ctx)
			assert.ErrorIs(t, err, zk.ErrMoved)

			// The old one can do nothing, and above all not end the session.
			for range 2 {
				err = s.Close()
				wantUnsent(t, err, zk.ErrMoved)
			}
			everyCall(e.root, func(name string, call func(context.Context, *zk.Session) error) {
				wantUnsent(t, call(e.ctx, s), zk.ErrMoved)
			})
			_, st, err := next.Get(e.ctx, eph, nil)
			assert.NilError(t, err)
			assert.Equal(t, st.EphemeralOwner, next.ID())
			assert.Equal(t, l.open(), 1)
			assert.NilError(t, next.Close())
			found, _, err := e.session().Exists(e.ctx, eph, nil)
			assert.NilError(t, err)
			assert.Assert(t, !found)
		}
	})
}

// Successor waits for the Session that somebody else dials, and dials nothing.
func TestSuccessor(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		type answer struct {
			s   *zk.Session
			err error
		}
		ask := func(s *zk.Session) chan answer {
			c := make(chan answer, 1)
			go func() {
				next, err := s.Successor(e.ctx)
				c <- answer{next, err}
			}()
			return c
		}
		s, l := e.linked()
		waiting := ask(s)
		gone, cancel := context.WithCancel(e.ctx)
		cancel()
		_, err := s.Successor(gone)
		assert.ErrorIs(t, err, context.Canceled)

		e.cut(s, l)
		next := e.dial(s.Config())
		for _, c := range []chan answer{waiting, ask(s)} {
			a := <-c
			assert.NilError(t, a.err)
			assert.Assert(t, a.s == next)
		}
		got, err := s.Successor(gone) // there already
		assert.NilError(t, err)
		assert.Assert(t, got == next)

		waiting = ask(next)
		renewed := e.dial(next.Config().Renew())
		a := <-waiting
		assert.NilError(t, a.err)
		assert.Assert(t, a.s == renewed && a.s.ID() != next.ID())

		waiting = ask(renewed)
		assert.NilError(t, renewed.Close())
		for _, c := range []chan answer{waiting, ask(renewed)} {
			a := <-c
			assert.ErrorIs(t, a.err, zk.ErrClosed)
		}
		assert.Equal(t, s.Chroot(), e.chroot)
		assert.Assert(t, s.Watches() == s.Config().Watches)
	})
}

// Redial gives the direct successor, dead or alive.
func TestRedialChain(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		chain := []*zk.Session{s}
		for range 4 {
			e.cut(chain[len(chain)-1], l)
			next, err := chain[len(chain)-1].Redial(e.ctx)
			assert.NilError(t, err)
			chain = append(chain, e.keep(next))
		}
		dialed := len(l.dialed())
		for i, s := range chain[:4] {
			next, err := s.Redial(e.ctx)
			assert.NilError(t, err)
			assert.Assert(t, next == chain[i+1])
			assert.Equal(t, next.ID(), s.ID())
		}
		assert.Equal(t, len(l.dialed()), dialed)
		_, _, err := chain[4].Get(e.ctx, e.root, nil)
		assert.NilError(t, err)
	})
}

// Everybody who redials a Session gets the same successor.
func TestRedialIsShared(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		for round := range 20 {
			if round%2 == 0 {
				e.cut(s, l)
			}
			before := len(l.dialed())
			got := make(chan *zk.Session, 8)
			start := make(chan struct{})
			for range cap(got) {
				go func() {
					<-start
					next, err := s.Redial(e.ctx)
					if err != nil {
						t.Error(err)
					}
					got <- next
				}()
			}
			close(start)
			next := await(t, got)
			assert.Assert(t, next != nil && next != s)
			e.keep(next)
			for range cap(got) - 1 {
				assert.Assert(t, await(t, got) == next)
			}
			e.dialedOnce(l, before)
			assert.Equal(t, next.ID(), s.ID())
			s = next
		}
		assert.Equal(t, l.open(), 1)
	})
}

// Dials of one identity come one after another: the last has the session.
func TestDialsOfOneIdentity(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		ch := make(chan zk.Event, 1)
		e.watch(s, e.root, ch)
		for range 10 {
			conf := s.Config()
			got := make(chan *zk.Session, 8)
			start := make(chan struct{})
			for range cap(got) {
				go func() {
					<-start
					next, err := zk.Dial(e.ctx, conf)
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
				next := await(t, got)
				assert.Assert(t, next != nil)
				assert.Equal(t, next.ID(), s.ID())
				all = append(all, e.keep(next))
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
			assert.Equal(t, l.open(), 1)
			for _, next := range all { // every chain ends at the live one
				for next != live[0] {
					var err error
					next, err = next.Redial(e.ctx)
					assert.NilError(t, err)
				}
			}
			s = live[0]
		}
		e.set(s, e.root, "x")
		e.ready(ch, zk.Changed, e.root)
		e.none(s, ch)
	})
}

// A snapshot of long ago is dialed with what is known today.
func TestOldSnapshot(t *testing.T) {
	e := private(t, 1)
	s, l := e.linked()
	old := s.Config()
	path := e.create(s, "/n", "")
	ch := make(chan zk.Event, 1)
	e.watch(s, path, ch)
	zxid := s.Zxid()
	assert.Assert(t, old.Zxid < zxid)
	e.cut(s, l)
	e.sim.ForgetFrames()
	next := e.dial(old)
	assert.Equal(t, next.ID(), s.ID())
	assert.Equal(t, frames(e, zktest.FromClient, zktest.OpConnect)[0].Zxid, zxid)
	sets := frames(e, zktest.FromClient, wire.OpSetWatches)
	assert.Equal(t, len(sets), 1)
	assert.Equal(t, sets[0].Zxid, zxid)
	e.set(next, path, "x")
	e.ready(ch, zk.Changed, path)
}

// The place in history goes along in JSON too, and Zxid zero gives it up.
func TestZxidOfState(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	path := e.create(s, "/n", "")
	ch := make(chan zk.Event, 1)
	e.watch(s, path, ch)
	place := func() (seen, floor int64) {
		return frames(e, zktest.FromClient, zktest.OpConnect)[0].Zxid, frames(e, zktest.FromClient, wire.OpSetWatches)[0].Zxid
	}
	conf := s.Detach()
	text, err := json.Marshal(conf.State)
	assert.NilError(t, err)
	assert.NilError(t, json.Unmarshal(text, &conf.State))
	assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return ch }))
	e.sim.ForgetFrames()
	s = e.dial(conf)
	seen, floor := place()
	assert.Assert(t, seen == conf.Zxid && floor == conf.Zxid && seen > 0, "%#x, %#x, %#x", seen, floor, conf.Zxid)
	e.none(s, ch)

	conf = s.Config() // while the Session lives
	conf.Zxid = 0
	e.sim.ForgetFrames()
	e.dial(conf)
	seen, floor = place()
	assert.Assert(t, seen == 0 && floor == 0, "%#x, %#x", seen, floor)
	e.want(ch, zk.Changed, path) // it has changed since the beginning of time
}

// frames returns the frames of one kind since the log was emptied.
func frames(e *env, dir zktest.Direction, op wire.Op) []zktest.Frame {
	return slices.DeleteFunc(e.sim.Frames(), func(f zktest.Frame) bool { return f.Dir != dir || f.Op != op })
}

// After an expiry, Renew makes a new session that misses no change.
func TestRenew(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		writer := e.session()
		changed, gone, made, child := make(chan zk.Event, 1), make(chan zk.Event, 1), make(chan zk.Event, 1), make(chan zk.Event, 1)
		kept, gap := make(chan zk.Event, 1), make(chan zk.Event, 10)
		for _, name := range []string{"/changed", "/gone", "/child", "/kept", "/gap"} {
			e.create(s, e.root+name, "")
		}
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		e.watch(s, e.root+"/changed", changed)
		e.watch(s, e.root+"/gone", gone)
		e.watch(s, e.root+"/kept", kept)
		_, _, err = s.Exists(e.ctx, e.root+"/made", made)
		assert.NilError(t, err)
		_, _, err = s.Children(e.ctx, e.root+"/child", child)
		assert.NilError(t, err)
		if e.knows(zktest.V36) {
			assert.NilError(t, s.AddWatch(e.ctx, e.root+"/gap", zk.WatchPersistent, gap))
		}

		e.fence(writer)
		e.expire(s)
		assert.ErrorIs(t, s.Err(), zk.ErrConnection) // only a Dial says that the session is gone
		e.fence(writer)
		e.set(writer, e.root+"/changed", "x")
		e.delete(writer, e.root+"/gone")
		e.create(writer, e.root+"/made", "")
		e.create(writer, e.root+"/child/c", "")

		for range 2 {
			_, err = s.Redial(e.ctx)
			assert.ErrorIs(t, err, zk.ErrExpired)
			assert.Assert(t, !errors.Is(err, zk.ErrNoServer))
			_, err = zk.Dial(e.ctx, s.Config())
			assert.ErrorIs(t, err, zk.ErrExpired)
		}
		old := s.Config()
		conf := old.Renew()
		assert.Assert(t, conf.ID == 0 && len(conf.Password) == 0 && conf.Zxid == old.Zxid && conf.Watches == old.Watches)
		assert.Equal(t, old.ID, s.ID()) // Renew has changed a copy
		next := e.dial(conf)
		assert.Assert(t, next.ID() != s.ID() && next.ID() != 0)
		e.ready(changed, zk.Changed, e.root+"/changed")
		e.ready(gone, zk.Deleted, e.root+"/gone")
		e.ready(made, zk.Created, e.root+"/made")
		e.ready(child, zk.Child, e.root+"/child")
		if e.knows(zktest.V36) {
			e.ready(gap, zk.Gap, e.root+"/gap")
		}
		found, _, err := next.Exists(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
		e.set(next, e.root+"/kept", "x")
		e.ready(kept, zk.Changed, e.root+"/kept")
		e.set(next, e.root+"/gap", "x")
		if e.knows(zktest.V36) {
			e.ready(gap, zk.Changed, e.root+"/gap")
		}
		for _, ch := range []chan zk.Event{changed, gone, made, child, kept, gap} {
			e.none(next, ch)
		}

		// Nobody gets another session unknowingly.
		_, err = s.Redial(e.ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		dials := len(l.dialed())
		_, err = zk.Dial(e.ctx, old)
		assert.ErrorIs(t, err, zk.ErrMoved)
		assert.Equal(t, len(l.dialed()), dials)
		same, err := s.Renew(e.ctx)
		assert.NilError(t, err)
		assert.Assert(t, same == next)
		_, _, err = next.Get(e.ctx, e.root, nil)
		assert.NilError(t, err)
	})
}

// Renew of a shared Session makes one new session.
func TestRenewIsShared(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		for range 5 {
			e.expire(s)
			before := len(l.dialed())
			got := make(chan *zk.Session, 8)
			for i := range cap(got) {
				go func() {
					if i%2 == 0 { // as the loop of the application does
						if _, err := s.Redial(e.ctx); !errors.Is(err, zk.ErrExpired) {
							t.Errorf("Redial: %v", err)
						}
					}
					next, err := s.Renew(e.ctx)
					if err != nil {
						t.Error(err)
					}
					got <- next
				}()
			}
			next := await(t, got)
			for range cap(got) - 1 {
				assert.Assert(t, await(t, got) == next)
			}
			assert.Assert(t, next.ID() != s.ID())
			assert.Assert(t, len(l.dialed()) > before)
			s = e.keep(next)
		}
		assert.Equal(t, l.open(), 1)
	})
}

// Renew of a Session that lives leaves its session to expire: its ephemerals
// linger for one timeout.
func TestRenewWhileAlive(t *testing.T) {
	renewed := func(t *testing.T, e *env, path string, timeout time.Duration) (s, next *zk.Session, ch chan zk.Event) {
		conf, _ := e.config()
		conf.Timeout = timeout
		s = e.dial(conf)
		_, err := s.Create(e.ctx, path, nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch = make(chan zk.Event, 1)
		e.watch(s, path, ch)
		conf = s.Config().Renew()
		conf.Timeout = time.Minute
		next = e.dial(conf)
		assert.Assert(t, next.ID() != s.ID())
		await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrMoved)
		found, _, err := next.Exists(e.ctx, path, nil)
		assert.NilError(t, err)
		assert.Assert(t, found, "the session was closed")
		wantUnsent(t, s.Close(), zk.ErrMoved)
		return s, next, ch
	}
	inBubble(t, 1, func(t *testing.T, e *env) {
		s, next, ch := renewed(t, e, "/eph", 9*time.Second)
		began := time.Now()
		e.want(ch, zk.Deleted, "/eph")
		took := time.Since(began)
		assert.Assert(t, took >= 9*time.Second && took <= 10*time.Second, took)
		assert.DeepEqual(t, e.sim.Sessions(), []int64{next.ID()})
		assert.Assert(t, s.Config().Watches == next.Config().Watches)
	})
	on(t, func(b backend) bool { return b.real() && b.members == 1 }, func(t *testing.T, e *env) {
		_, next, ch := renewed(t, e, e.root+"/eph", 3*time.Second)
		e.want(ch, zk.Deleted, e.root+"/eph")
		assert.NilError(t, next.Err())
	})
}

// Detach leaves the session on the server.
func TestDetach(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		conf := s.Detach()
		await(t, s.Done()) // final on return
		assert.Equal(t, l.open(), 0)
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		assert.Assert(t, !errors.Is(s.Err(), zk.ErrConnection))
		assert.Equal(t, conf.ID, s.ID())
		assert.Equal(t, conf.Zxid, s.Zxid())
		again := s.Detach()
		assert.Assert(t, again.ID == conf.ID && again.Zxid == conf.Zxid)
		everyCall(e.root, func(name string, call func(context.Context, *zk.Session) error) {
			if name != "RemoveWatch" {
				wantUnsent(t, call(e.ctx, s), zk.ErrClosed)
			}
		})
		err = s.Close()
		wantUnsent(t, err, zk.ErrClosed)
		assert.ErrorContains(t, err, "expires by itself")
		other := e.session()
		found, _, err := other.Exists(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, found)

		next := e.dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		e.delete(next, eph)
	})
}

// Detach with calls in flight: they are lost, and nothing more is written.
func TestDetachInFlight(t *testing.T) {
	e := private(t, 1)
	s, l := e.linked()
	path := e.create(s, "/n", "")
	stalled := e.sim.Fault(stallOn(s, path))
	before, _ := l.traffic()
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() {
			_, err := s.Set(e.ctx, path, []byte("x"), zk.AnyVersion)
			errs <- err
		}()
	}
	await(t, stalled.Struck())
	l.awaitSent(before + int64(cap(errs)*(4+8+4+len(path)+4+1+4)))
	s.Detach()
	for range cap(errs) {
		wantLost(t, await(t, errs), zk.ErrClosed)
	}
	sent, _ := l.traffic()
	_, err := s.Set(e.ctx, path, nil, zk.AnyVersion)
	wantUnsent(t, err, zk.ErrClosed)
	now, _ := l.traffic()
	assert.Equal(t, now, sent)
	assert.Equal(t, s.Stats().BytesSent, sent)
}

func TestClose(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		other := e.session()
		assert.NilError(t, s.Close())
		e.fence(other)
		found, _, err := other.Exists(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Assert(t, !found)
		await(t, s.Done())
		assert.Equal(t, l.open(), 0)
		assert.ErrorIs(t, s.Err(), zk.ErrClosed)
		assert.NilError(t, s.Close()) // the same result
		everyCall(e.root, func(name string, call func(context.Context, *zk.Session) error) {
			wantUnsent(t, call(e.ctx, s), zk.ErrClosed)
		})
		_, err = s.Redial(e.ctx)
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = s.Renew(e.ctx)
		assert.ErrorIs(t, err, zk.ErrClosed)
		_, err = zk.Dial(e.ctx, s.Config())
		assert.ErrorIs(t, err, zk.ErrExpired)
		assert.Equal(t, len(l.dialed()), 1)

		// Its watches may still be taken over by a new session.
		next := e.dial(s.Config().Renew())
		assert.Assert(t, next.ID() != s.ID())
	})
}

// Close by many at once, with calls under way: one closeSession, behind what was accepted.
func TestCloseConcurrently(t *testing.T) {
	e := private(t, 1)
	for range 20 {
		s := e.session()
		eph, err := s.Create(e.ctx, "/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		e.sim.ForgetFrames()
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
				_, err := s.Set(e.ctx, eph, []byte("x"), zk.AnyVersion)
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
		for _, f := range e.sim.Frames() {
			if f.Dir == zktest.FromClient && f.Session == s.ID() {
				ops = append(ops, f.Op)
			}
		}
		assert.Equal(t, len(ops), answered+1)
		assert.Equal(t, ops[len(ops)-1], wire.OpCloseSession)
		assert.Equal(t, len(e.sim.Sessions()), 0)
	}
}

// Close on a connection that is lost tells when the session will be gone.
func TestCloseAfterLoss(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		e.cut(s, l)
		err := s.Close()
		wantUnsent(t, err, zk.ErrConnection)
		assert.ErrorContains(t, err, "expires by itself")
		assert.ErrorContains(t, err, s.Timeout().String())
		assert.Equal(t, s.Close(), err)
	})
}

// A server that goes away for good while it should close a session.
func TestCloseUnanswered(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	e.sim.Fault(zktest.Rule{Op: wire.OpCloseSession, Do: zktest.CutBefore})
	err := s.Close()
	wantLost(t, err, zk.ErrConnection)
	assert.ErrorContains(t, err, "expires by itself")
	assert.DeepEqual(t, e.sim.Sessions(), []int64{s.ID()})
}

// The Session that lost its session to a newer one must not close it, on
// whatever server that is.
func TestStaleClose(t *testing.T) {
	ensembles(t, func(t *testing.T, e *env) {
		s := e.session()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for range 5 {
			conf := s.Config()
			conf.Addrs = slices.DeleteFunc(e.addrs(), func(a string) bool { return a == s.Addr() })
			next := e.dial(conf)
			wantUnsent(t, s.Close(), zk.ErrMoved)
			_, err := s.Set(e.ctx, eph, nil, zk.AnyVersion)
			wantUnsent(t, err, zk.ErrMoved)
			e.set(next, eph, "mine")
			s = next
		}
		other := e.session()
		_, st, err := other.Get(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, s.ID())
		assert.Equal(t, st.Version, int32(5))
	})
}

// No closeSession is sent by an old Session even if Close has begun before.
func TestStaleCloseSendsNothing(t *testing.T) {
	e := private(t, 3)
	s := e.session()
	next := e.move(s)
	e.sim.ForgetFrames()
	wantUnsent(t, s.Close(), zk.ErrMoved)
	_, _, err := next.Get(e.ctx, "/", nil)
	assert.NilError(t, err)
	for _, f := range e.sim.Frames() {
		assert.Assert(t, f.Op == wire.OpGetData, "%v", f)
	}
}

// A session goes round the members; its ephemerals and watches go with it.
func TestMoveBetweenServers(t *testing.T) {
	ensembles(t, func(t *testing.T, e *env) {
		conf, _ := e.config()
		conf.Addrs = e.addrs()[:1]
		s := e.dial(conf)
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		writer := e.session()
		ch := make(chan zk.Event, 1)
		e.watch(s, eph, ch)
		for i := 1; i < 10; i++ {
			addr := e.addrs()[i%e.members]
			conf := s.Config()
			conf.Addrs = []string{addr}
			// A change before, one meanwhile, or one after the move: each is told once.
			if i%3 == 0 {
				e.set(writer, eph, fmt.Sprint(i))
			}
			if i%3 == 1 {
				s.Detach()
				e.set(writer, eph, fmt.Sprint(i))
			}
			var next *zk.Session
			for next == nil { // a member that is behind turns us away
				next, err = zk.Dial(e.ctx, conf)
				if err != nil {
					assert.ErrorIs(t, err, zk.ErrNoServer)
				}
			}
			s = e.keep(next)
			assert.Equal(t, s.Addr(), addr)
			if i%3 == 2 {
				e.set(writer, eph, fmt.Sprint(i))
			}
			e.want(ch, zk.Changed, eph)
			e.none(s, ch)
			data, st, err := s.Get(e.ctx, eph, ch)
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
	e := private(t, 3, zktest.Options{Version: zktest.V39, InMemory: true, FrameLog: -1, MaxSessionTimeout: time.Minute})
	conf, _ := e.config()
	first := e.dial(conf)
	e.create(first, "/last", "")
	ch := make(chan zk.Event, 2)
	e.watch(first, "/last", ch)
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
		path := e.create(first, fmt.Sprintf("/%d", g), "")
		all.Go(func() {
			s := first
			mine := make(chan zk.Event, 1)
			for !over() || answered[g] == 0 {
				var watch chan<- zk.Event
				if g%2 == 0 {
					watch = mine
				}
				_, _, err := s.Get(e.ctx, path, watch)
				var op *zk.OpError
				switch {
				case err == nil:
					answered[g]++
					continue
				case !errors.As(err, &op), op.Outcome() != zk.Lost && op.Outcome() != zk.NotSent, !errors.Is(err, zk.ErrConnection) && !errors.Is(err, zk.ErrMoved) && !errors.Is(err, zk.ErrClosed):
					t.Errorf("get: %v", err)
					return
				}
				next, err := s.Redial(e.ctx)
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
			e.sim.Cut(s.ID())
		case 2:
			s.Detach()
		}
		next, err := zk.Dial(e.ctx, s.Config())
		if errors.Is(err, zk.ErrNoServer) && e.ctx.Err() == nil {
			continue // the cut met it
		}
		assert.NilError(t, err)
		assert.Equal(t, next.ID(), first.ID())
		s = next
		current.Store(s)
		s.Sync(e.ctx, "/") // some time for the others' calls
		i++
	}
	close(done)
	all.Wait()
	for s.Sync(e.ctx, "/") != nil { // a caller may have gone on
		next, err := s.Redial(e.ctx)
		assert.NilError(t, err)
		s = next
	}
	t.Logf("answers to each caller: %v", answered)
	e.set(s, "/last", "")
	e.ready(ch, zk.Changed, "/last")
	e.none(s, ch)
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
	onProcs(t, func(t *testing.T) {
		for name, redial := range ways {
			t.Run(name, func(t *testing.T) {
				inBubble(t, 1, func(t *testing.T, e *env) {
					ctx := context.Background()
					conf, _ := e.config()
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
						assert.Equal(t, told(ev), "changed "+paths[i%len(paths)])
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
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 2)
		e.watch(s, e.root, ch)
		for at := range len(s.Config().Password) {
			if at > 0 && at < len(s.Config().Password)-1 && e.backend != backends()[0] {
				continue // the first and the last byte are enough
			}
			conf := s.Config()
			conf.Watches = nil // as in another process
			conf.Password[at] ^= 1
			_, err := zk.Dial(e.ctx, conf)
			for e.real() && e.members > 1 && errors.Is(err, zk.ErrNoServer) && e.ctx.Err() == nil {
				_, err = zk.Dial(e.ctx, conf) // all may be a moment behind
			}
			assert.ErrorIs(t, err, zk.ErrExpired)
		}
		id := s.ID()
		s = e.move(s)
		assert.Equal(t, s.ID(), id)
		_, st, err := s.Get(e.ctx, eph, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, id)
		e.set(s, e.root, "x")
		e.ready(ch, zk.Changed, e.root)
		e.none(s, ch)
	})
}

// A State without Watches is another process: the two take the session from
// each other, and each is told.
func TestTwoProcesses(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		conf, _ := e.config()
		conf.Addrs = conf.Addrs[:1]
		s := e.dial(conf)
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for range 4 {
			conf := s.Config()
			conf.Watches = nil
			other := e.dial(conf)
			assert.Equal(t, other.ID(), s.ID())
			await(t, s.Done())
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			assert.Assert(t, !errors.Is(s.Err(), zk.ErrMoved), "%v", s.Err())
			_, _, err := other.Get(e.ctx, eph, nil)
			assert.NilError(t, err)
			s = other
		}
	})
}

// A Dial that cannot reach anybody fails, and loses nothing.
func TestFailedRedial(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		ch := make(chan zk.Event, 1)
		e.watch(s, e.root, ch)
		reason := errors.New("no route")
		l.fail(reason)
		for range 3 {
			_, err := s.Redial(e.ctx)
			assert.ErrorIs(t, err, zk.ErrNoServer)
			assert.ErrorIs(t, err, reason)
			await(t, s.Done()) // after the fence there is no way back
			assert.ErrorIs(t, s.Err(), zk.ErrMoved)
			_, err = zk.Dial(e.ctx, s.Config())
			assert.ErrorIs(t, err, zk.ErrNoServer)
		}
		assert.Equal(t, l.open(), 0)
		writer := e.session()
		e.set(writer, e.root, "x")
		l.fail(nil)
		next, err := s.Redial(e.ctx)
		assert.NilError(t, err)
		e.keep(next)
		assert.Equal(t, next.ID(), s.ID())
		e.want(ch, zk.Changed, e.root)
		e.none(next, ch)
	})
}

// A server whose connection was just lost is tried as the last: silent, it would
// use up the time that is left. One that was left in order is like any other.
func TestLostServerComesLast(t *testing.T) {
	orders := func(s *zk.Session, l *link) (string, map[string]bool) {
		seen := make(map[string]bool)
		asked := ""
		l.on(func(_ context.Context, addr string) error {
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
	e := private(t, 3)
	s, l := e.linked()
	_, seen := orders(s, l) // the first of them fences s, which lives
	assert.Equal(t, len(seen), 6)
	l.on(nil)
	s = e.move(s)
	e.cut(s, l)
	last, seen := orders(s, l)
	assert.Equal(t, len(seen), 2)
	for order := range seen {
		assert.Assert(t, strings.HasSuffix(order, last), "%s, but %s was lost", order, last)
	}
}

// A context that ends while Dial is under way, after the fence.
func TestDialContextEnds(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 1)
		e.watch(s, eph, ch)
		ctx, cancel := context.WithCancel(e.ctx)
		l.on(func(ctx context.Context, _ string) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		_, err = zk.Dial(ctx, s.Config())
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		await(t, s.Done())
		assert.ErrorIs(t, s.Err(), zk.ErrMoved)
		_, _, err = s.Get(e.ctx, eph, nil)
		wantUnsent(t, err, zk.ErrMoved)

		l.on(nil)
		next := e.move(s)
		assert.Equal(t, next.ID(), s.ID())
		e.set(next, eph, "x")
		e.ready(ch, zk.Changed, eph)
	})
}

// The shared Dial of Redial goes on while anybody waits for it, and no longer.
func TestRedialWaiters(t *testing.T) {
	const waiters = 3
	for first := range waiters { // whoever of them leaves first
		inBubble(t, 1, func(t *testing.T, e *env) {
			s, l := e.linked()
			e.cut(s, l)
			left := false
			l.on(func(ctx context.Context, _ string) error {
				<-ctx.Done()
				left = true
				return ctx.Err()
			})
			var cancels []func()
			errs := make(chan error, waiters)
			for range waiters {
				ctx, cancel := context.WithCancel(e.ctx)
				cancels = append(cancels, cancel)
				go func() {
					_, err := s.Redial(ctx)
					errs <- err
				}()
			}
			synctest.Wait() // all wait for one Dial
			assert.Equal(t, len(l.dialed()), 2)
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

			l.on(nil)
			next, err := s.Redial(e.ctx)
			assert.NilError(t, err)
			e.keep(next)
			assert.Equal(t, next.ID(), s.ID())
			assert.Equal(t, len(l.dialed()), 3)
		})
	}
}

// Calls that wait for an answer when the connection ends are lost, later ones unsent.
func TestLossWithCallsInFlight(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	path := e.create(s, "/n", "")
	e.sim.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter})
	_, err := s.Set(e.ctx, path, []byte("1"), 0)
	wantLost(t, err, zk.ErrConnection)
	await(t, s.Done())
	_, err = s.Set(e.ctx, path, []byte("2"), 0)
	wantUnsent(t, err, zk.ErrConnection)

	s = e.move(s)
	data, _, err := s.Get(e.ctx, path, nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "1") // it did happen

	e.sim.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutBefore})
	_, err = s.Set(e.ctx, path, []byte("3"), 1)
	wantLost(t, err, zk.ErrConnection)
	s = e.move(s)
	data, _, err = s.Get(e.ctx, path, nil)
	assert.NilError(t, err)
	assert.Equal(t, string(data), "1") // it did not
}

// Calls whose bytes did not leave when the connection ends did not happen.
func TestUnsentCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s, l := e.linked()
		path := e.create(s, e.root+"/n", "")
		l.hold()
		const calls = 10
		errs := make(chan error, calls)
		for i := range calls {
			go func() {
				switch i % 3 {
				case 0:
					errs <- errOf(s.Set(e.ctx, path, []byte("x"), zk.AnyVersion))
				case 1:
					res, err := s.Batch(e.ctx, zk.SetOp{Path: path, Version: zk.AnyVersion}, zk.DeleteOp{Path: path, Version: zk.AnyVersion})
					errs <- failed(err, res)
				case 2:
					errs <- errOf(s.Multi(context.Background(), zk.DeleteOp{Path: path, Version: zk.AnyVersion}))
				}
			}()
		}
		for end := time.Now().Add(patience); s.Stats().Pending < calls+3; time.Sleep(time.Millisecond) {
			assert.Assert(t, time.Now().Before(end), "%+v", s.Stats())
		}
		l.cut()
		for range calls {
			wantUnsent(t, await(t, errs), zk.ErrConnection)
		}
		await(t, s.Done())
		s = e.move(s)
		_, st, err := s.Get(e.ctx, path, nil)
		assert.NilError(t, err)
		assert.Equal(t, st.Version, int32(0))
	})
}

// An event that was read before the connection ended is in its channel when
// Done is closed.
func TestEventBeforeDone(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	path := e.create(s, "/n", "")
	for range 100 {
		ch := make(chan zk.Event, 1)
		e.watch(s, path, ch)
		e.sim.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter}) // the event is sent, the answer not
		_, err := s.Set(e.ctx, path, nil, zk.AnyVersion)
		wantLost(t, err, zk.ErrConnection)
		e.ready(ch, zk.Changed, path)
		await(t, s.Done())
		s = e.move(s)
		e.none(s, ch)
	}
}

// State is JSON: another process takes the session over, watches, undelivered
// events and all.
func TestStateJSON(t *testing.T) {
	since(t, zktest.V36, func(t *testing.T, e *env) {
		s := e.session()
		writer := e.session()
		paths := make(map[string]string)
		for _, name := range []string{"full", "data", "child", "both", "dropped", "persistent", "recursive"} {
			paths[name] = e.create(s, e.root+"/"+name, "")
		}
		paths["exists"] = e.root + "/exists"
		eph, err := s.Create(e.ctx, e.root+"/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		full, one, two := make(chan zk.Event), make(chan zk.Event, 1), make(chan zk.Event, 1)
		dropped := make(chan zk.Event, 1)
		e.watch(s, paths["full"], full)
		e.watch(s, paths["data"], one)
		e.watch(s, paths["both"], one)
		e.watch(s, paths["both"], two)
		e.watch(s, paths["dropped"], dropped)
		_, _, err = s.Exists(e.ctx, paths["exists"], two)
		assert.NilError(t, err)
		_, _, err = s.Children(e.ctx, paths["child"], one)
		assert.NilError(t, err)
		assert.NilError(t, s.AddWatch(e.ctx, paths["persistent"], zk.WatchPersistent, two))
		assert.NilError(t, s.AddWatch(e.ctx, paths["recursive"], zk.WatchRecursive, dropped))
		e.set(s, paths["full"], "x")
		e.set(s, paths["data"], "x") // behind it
		conf := s.Detach()
		assert.Equal(t, conf.Watches.Undelivered(), 2)
		assert.Equal(t, conf.Watches.Len(), 7)
		text, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		e.fence(writer)
		e.create(writer, paths["exists"], "")
		e.create(writer, paths["child"]+"/c", "")
		e.set(writer, paths["recursive"], "x")

		var state zk.State
		assert.NilError(t, json.Unmarshal(text, &state))
		assert.Equal(t, state.ID, s.ID())
		assert.Equal(t, state.Zxid, conf.Zxid)
		assert.DeepEqual(t, state.Password, conf.Password)
		list, was := state.Watches.List(), conf.Watches.List()
		assert.Equal(t, len(list), 9)
		assert.DeepEqual(t, describe(list), describe(was))

		conf, l := e.config()
		conf.State = state
		_, err = zk.Dial(e.ctx, conf)
		assert.ErrorIs(t, err, zk.ErrUnbound)
		assert.Equal(t, len(l.dialed()), 0)

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

		next := e.dial(conf)
		assert.Equal(t, next.ID(), s.ID())
		_, _, err = next.Get(e.ctx, eph, nil)
		assert.NilError(t, err)
		e.ready(fullB, zk.Changed, paths["full"])
		e.ready(oneB, zk.Changed, paths["data"])
		e.want(oneB, zk.Child, paths["child"])
		first := await(t, twoB)
		second := await(t, twoB)
		assert.DeepEqual(t, sortedEvents(first, second), []string{"created " + paths["exists"], "gap " + paths["persistent"]})
		assert.Equal(t, second.Type, zk.Created, "the Gap comes first: %v, %v", first, second)
		e.set(next, paths["both"], "x")
		e.ready(oneB, zk.Changed, paths["both"])
		e.ready(twoB, zk.Changed, paths["both"])
		e.set(next, paths["persistent"], "x")
		e.ready(twoB, zk.Changed, paths["persistent"])
		e.set(next, paths["recursive"], "y")
		e.set(next, paths["dropped"], "y")
		for _, ch := range byNumber {
			e.none(next, ch)
		}
	})
}

func sortedEvents(events ...zk.Event) []string {
	var list []string
	for _, ev := range events {
		list = append(list, fmt.Sprint(ev.Type, " ", ev.Path))
	}
	slices.Sort(list)
	return list
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
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		ch := make(chan zk.Event, 1)
		e.watch(s, e.root, ch)
		path := e.create(s, e.root+"/n", "")
		wg.Go(func() { // traffic beside it
			for {
				select {
				case <-stop:
					return
				default:
					_, err := s.Set(e.ctx, path, nil, zk.AnyVersion)
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
			assert.Equal(t, list[0], zk.Watch{Path: e.root, Kind: zk.DataWatch, Channel: 1})
			assert.Assert(t, state.Zxid <= s.Zxid())
		}
		text, err := json.Marshal(s.Config().State) // before the change
		assert.NilError(t, err)
		e.set(s, e.root, "changed")
		e.ready(ch, zk.Changed, e.root)
		close(stop)
		wg.Wait()

		conf, _ := e.config()
		assert.NilError(t, json.Unmarshal(text, &conf.State))
		again := make(chan zk.Event, 1)
		assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return again }))
		next := e.dial(conf)
		e.want(again, zk.Changed, e.root)
		e.none(next, again)
	})
}

// Rebind is for what was unmarshalled, and Unmarshal for what is not in use.
func TestRebindInUse(t *testing.T) {
	e := private(t, 1)
	s := e.session()
	ch := make(chan zk.Event, 1)
	e.watch(s, "/", ch)
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
	e.set(s, "/", "x")
	e.ready(ch, zk.Changed, "/")
}

// The chroot stays as long as watches or events are held.
func TestChrootChanged(t *testing.T) {
	e := private(t, 1)
	for _, path := range []string{"/a", "/b"} {
		e.create(e.session(), path, "")
	}
	conf, l := e.config()
	conf.Chroot = "/a"
	s := e.dial(conf)
	full := make(chan zk.Event)
	e.watch(s, "/", full)
	try := func(chroot string) error {
		conf := s.Config()
		conf.Chroot = chroot
		next, err := zk.Dial(e.ctx, conf)
		if err == nil {
			s = e.keep(next)
		}
		return err
	}
	for _, chroot := range []string{"/b", "", "/"} {
		assert.ErrorIs(t, try(chroot), zk.ErrBadPath)
	}
	assert.NilError(t, s.Err()) // refused before anything was done
	assert.Equal(t, len(l.dialed()), 1)
	e.set(s, "/", "x")
	assert.ErrorIs(t, try("/b"), zk.ErrBadPath) // its event is still held
	e.want(full, zk.Changed, "/")
	assert.NilError(t, try("/b"))
	e.create(s, "/c", "")
	_, _, err := e.session().Get(e.ctx, "/b/c", nil)
	assert.NilError(t, err)
}

// Passwords, credentials and lists are copied in and out.
func TestConfigIsCopied(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		conf, _ := e.config()
		secret := []byte("user:secret")
		conf.Auth = []zk.Auth{{Scheme: "digest", Credential: secret}}
		addrs := slices.Clone(conf.Addrs)
		s := e.dial(conf)
		assert.DeepEqual(t, conf.Addrs, addrs) // not even shuffled
		mine, err := s.Create(e.ctx, e.root+"/mine", nil, zk.Persistent, zk.ACLCreator)
		assert.NilError(t, err)
		added := []byte("two:secret")
		assert.NilError(t, s.AddAuth(e.ctx, zk.Auth{Scheme: "digest", Credential: added}))
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
			s = e.move(s)
			_, _, err = s.Get(e.ctx, mine, nil)
			assert.NilError(t, err)
			if e.knows(zktest.V37) {
				infos, err := s.WhoAmI(e.ctx)
				assert.NilError(t, err)
				assert.Assert(t, slices.Contains(infos, zk.AuthInfo{Scheme: "digest", User: "two"}), "%v", infos)
			}
		}
		acl, _, err := s.GetACL(e.ctx, mine)
		assert.NilError(t, err)
		acl[0].ID = "spoiled"
		acl, _, err = s.GetACL(e.ctx, mine)
		assert.NilError(t, err)
		assert.Equal(t, acl[0].ID, digestID("user", "secret"))
	})
}

// One channel may serve two sessions.
func TestChannelOfTwoIdentities(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		one, two := e.session(), e.session()
		ch := make(chan zk.Event, 2)
		e.watch(one, e.root, ch)
		e.watch(two, e.root, ch)
		e.set(one, e.root, "x")
		e.want(ch, zk.Changed, e.root)
		e.want(ch, zk.Changed, e.root)
		e.none(one, ch)
		e.none(two, ch)
	})
}

// Two watchers, two Sessions, 64 goroutines that share one, and no order among them.
func TestConcurrentCalls(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		s := e.session()
		counter := e.create(s, e.root+"/counter", "0")
		const goroutines, each = 64, 10
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				mine := fmt.Sprintf("%s/%d", e.root, g)
				if _, err := s.Create(e.ctx, mine, nil, zk.Persistent, zk.ACLOpen); err != nil {
					t.Error(err)
					return
				}
				ch := make(chan zk.Event, 1)
				for i := range each {
					if _, _, err := s.Get(e.ctx, mine, ch); err != nil {
						t.Error(err)
						return
					}
					st, err := s.Set(e.ctx, mine, fmt.Appendf(nil, "%d-%d", g, i), int32(i))
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
						data, st, err := s.Get(e.ctx, counter, nil)
						if err != nil {
							t.Error(err)
							return
						}
						n := 0
						fmt.Sscan(string(data), &n)
						_, err = s.Set(e.ctx, counter, fmt.Append(nil, n+1), st.Version)
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
		_, st, err := s.Get(e.ctx, counter, nil)
		assert.NilError(t, err)
		data, _, err := s.Get(e.ctx, counter, nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), fmt.Sprint(st.Version))
		assert.Assert(t, st.Version >= 2*goroutines)
		assert.Equal(t, s.Config().Watches.Len(), 0)
	})
}
