package zk_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
			DialStart: func(ctx context.Context, addr string) context.Context { note("dial %s", addr); return ctx },
			DialDone:  func(_ context.Context, addr string, err error) { note("connected %s %v", addr, err) },
			Handshake: func(_ context.Context, addr string, id int64, timeout time.Duration, err error) {
				note("handshake %s %x %v %v", addr, id, timeout, err)
			},
			DialFailed: func(_ context.Context, addr string, err error) { note("failed %s %v", addr, err) },
			Begin:      func(_ context.Context, s *zk.Session, moved bool) { note("begin %x %v", s.ID(), moved) },
			End: func(s *zk.Session, err error) {
				note("end %s %v %v %v", s.Addr(), errors.Is(err, zk.ErrConnection), errors.Is(err, zk.ErrMoved), errors.Is(err, zk.ErrClosed))
			},
		}
		up := func(s *zk.Session, moved bool) []string {
			return []string{
				"dial " + good, "connected " + good + " <nil>", fmt.Sprintf("handshake %s %x %v <nil>", good, s.ID(), s.Timeout()),
				fmt.Sprintf("begin %x %v", s.ID(), moved),
			}
		}
		s := e.Dial(conf)
		assert.DeepEqual(t, take(), up(s, false))
		next := e.Move(s)
		assert.DeepEqual(t, take(), append([]string{"end " + good + " false true false"}, up(next, true)...))
		e.Cut(next, l)
		assert.DeepEqual(t, take(), []string{"end " + good + " true false false"})
		assert.Assert(t, next.Close() != nil)
		l.Fail(errors.New("no route"))
		_, err := next.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrClosed) // after Close
		_, err = zk.Dial(e.Ctx, next.Config())
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.DeepEqual(t, take(), []string{"dial " + good, "connected " + good + " no route", "failed " + good + " no route"})
		l.Fail(nil)

		s = e.Move(next)
		take()
		e.Expire(s)
		take()
		_, err = s.Redial(e.Ctx)
		assert.ErrorIs(t, err, zk.ErrExpired)
		got := take()
		assert.Equal(t, len(got), 4)
		assert.Assert(t, strings.HasPrefix(got[2], "handshake "+good) && strings.HasSuffix(got[2], zk.ErrExpired.Error()), got[2])
		assert.Equal(t, got[3], "failed "+good+" "+zk.ErrExpired.Error())

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
