package scripts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/fourletter"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// onReleases runs a test for each real release that is to be tested, from a version
// on. The test starts its servers itself.
func onReleases(t *testing.T, since zktest.Version, f func(ctx context.Context, t *testing.T, release apache.Release)) {
	t.Helper()
	t.Parallel()
	apache.Need(t)
	for _, release := range apache.Tested() {
		if suite.Minor(string(release)) < since {
			continue
		}
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 3*suite.Patience)
			defer cancel()
			f(ctx, t, release)
		})
	}
}

// cluster is a set of three servers that a test may break, of either kind.
type cluster struct {
	addrs  []string
	kill   func(i int)
	revive func(i int) // returns when it serves
	pause  func(i int) // accepts and answers nothing; processes only
	resume func(i int)
}

func (c *cluster) index(s *zk.Session) int {
	for i, addr := range c.addrs {
		if addr == s.Addr() {
			return i
		}
	}
	panic("no server " + s.Addr())
}

// clusters runs a test against servers of its own; processes: only against such
// as can be paused.
func clusters(t *testing.T, processes bool, f func(t *testing.T, c *cluster)) {
	if !processes {
		t.Run("sim", func(t *testing.T) {
			e := zktest.NewEnsemble(t, 3, suite.SimOptions(zktest.V39))
			f(t, &cluster{
				addrs:  e.Addrs(),
				kill:   func(i int) { e.Member(i).Stop() },
				revive: func(i int) { e.Member(i).Start() },
			})
		})
	}
	if !suite.RealServers {
		return
	}
	for _, release := range apache.Tested() {
		t.Run("apache-"+string(release), func(t *testing.T) {
			e := apache.New(t, apache.Config{Release: release, Members: 3})
			f(t, &cluster{
				addrs: e.Addrs(),
				kill:  func(i int) { assert.NilError(t, e.Member(i).Kill()) },
				revive: func(i int) {
					assert.NilError(t, e.Member(i).Start())
					assert.NilError(t, e.WaitServing(t.Context()))
				},
				pause:  func(i int) { assert.NilError(t, e.Member(i).Pause()) },
				resume: func(i int) { assert.NilError(t, e.Member(i).Resume()) },
			})
		})
	}
}

// The server under a session dies, leader or not: the session goes on at
// another, and no watch misses the change made meanwhile.
func TestServerDies(t *testing.T) {
	t.Parallel()
	clusters(t, false, func(t *testing.T, c *cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*suite.Patience)
		defer cancel()
		redial := func(s *zk.Session) *zk.Session {
			t.Helper()
			for {
				next, err := s.Redial(ctx)
				if err == nil {
					t.Cleanup(func() { next.Close() })
					return next
				}
				assert.ErrorIs(t, err, zk.ErrNoServer) // an election is under way
				assert.NilError(t, ctx.Err())
				time.Sleep(10 * time.Millisecond)
			}
		}
		dial := func() *zk.Session {
			t.Helper()
			s, err := zk.Dial(ctx, zk.Config{Addrs: c.addrs, Timeout: 30 * time.Second})
			assert.NilError(t, err)
			t.Cleanup(func() { s.Close() })
			return s
		}
		s, writer := dial(), dial()
		_, err := s.Create(ctx, "/n", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		_, err = s.Create(ctx, "/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 1)
		down := -1
		for i := range int32(3) {
			_, st, err := s.Get(ctx, "/n", ch)
			assert.NilError(t, err)
			assert.Equal(t, st.Version, i)
			if down >= 0 {
				c.revive(down)
			}
			down = c.index(s)
			c.kill(down)
			suite.Await(t, s.Done())
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			for { // the writer too may have lost its server
				_, err = writer.Set(ctx, "/n", nil, i)
				if err == nil || errors.Is(err, zk.ErrVersion) { // the lost one did happen
					break
				}
				assert.ErrorIs(t, err, zk.ErrConnection)
				writer = redial(writer)
			}
			next := redial(s)
			assert.Equal(t, next.ID(), s.ID())
			s = next
			ev := suite.Await(t, ch)
			assert.Equal(t, fmt.Sprint(ev.Type, ev.Path), fmt.Sprint(zk.Changed, "/n"))
			assert.NilError(t, s.Sync(ctx, "/"))
			_, st, err = s.Get(ctx, "/eph", nil)
			assert.NilError(t, err)
			assert.Equal(t, st.EphemeralOwner, s.ID())
			assert.Equal(t, len(ch), 0)
		}
	})
}

// A server that stands still is left for another; what it says when it wakes
// up reaches nobody.
func TestServerPauses(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	clusters(t, true, func(t *testing.T, c *cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*suite.Patience)
		defer cancel()
		s, err := zk.Dial(ctx, zk.Config{Addrs: c.addrs, Timeout: suite.Patience})
		assert.NilError(t, err)
		_, err = s.Create(ctx, "/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		ch := make(chan zk.Event, 2)
		_, _, err = s.Get(ctx, "/eph", ch)
		assert.NilError(t, err)
		still := c.index(s)
		c.pause(still)
		enough, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		_, err = s.Set(enough, "/eph", []byte("1"), 0)
		suite.WantLost(t, err, context.DeadlineExceeded)
		conf := s.Detach()
		conf.Addrs = slices.Delete(slices.Clone(c.addrs), still, still+1)
		var next *zk.Session
		for next == nil { // it may have been the leader
			next, err = zk.Dial(ctx, conf)
			if err != nil {
				assert.ErrorIs(t, err, zk.ErrNoServer)
				assert.NilError(t, ctx.Err())
				time.Sleep(10 * time.Millisecond)
			}
		}
		defer next.Close()
		assert.Assert(t, c.index(next) != still)
		c.resume(still)
		_, err = next.Set(ctx, "/eph", []byte("2"), zk.AnyVersion)
		assert.NilError(t, err)
		ev := suite.Await(t, ch)
		assert.Equal(t, ev.Path, "/eph")
		for range 20 {
			_, _, err := next.Get(ctx, "/eph", nil)
			assert.NilError(t, err)
		}
		assert.Equal(t, len(ch), 0)
		assert.NilError(t, next.Err())
	})
}

// A real server that has lost its quorum serves those who can do with
// reading, if it may give them local sessions.
func TestMinorityIsReadOnly(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	type server struct {
		release apache.Release
		local   bool // gives clients local sessions, which no other server knows; since 3.5
	}
	var servers []server
	for _, release := range apache.Tested() {
		servers = append(servers, server{release, false})
		if suite.Minor(string(release)) >= zktest.V35 {
			servers = append(servers, server{release, true})
		}
	}
	for _, x := range servers {
		t.Run(fmt.Sprintf("%s-%v", x.release, x.local), func(t *testing.T) {
			conf := apache.Config{Release: x.release, Members: 3, Settings: map[string]string{}}
			if x.local {
				conf.Settings = map[string]string{"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}
			}
			// The others have none to give, and say so, as their first and only frame, by a bare reply header.
			refuses := !x.local && suite.Minor(string(x.release)) >= zktest.V37
			cluster := apache.New(t, conf)
			ctx, cancel := context.WithTimeout(t.Context(), 3*suite.Patience)
			defer cancel()
			s, err := zk.Dial(ctx, zk.Config{Addrs: cluster.Addrs(), Timeout: suite.Patience})
			assert.NilError(t, err)
			_, err = s.Create(ctx, "/n", []byte("data"), zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
			_, err = s.Create(ctx, "/eph", nil, zk.Ephemeral, zk.ACLOpen) // makes the session a global one
			assert.NilError(t, err)
			for i := range 3 {
				other, err := zk.Dial(ctx, zk.Config{Addrs: cluster.Addrs()[i : i+1]})
				assert.NilError(t, err)
				assert.NilError(t, other.Sync(ctx, "/")) // all of them know it
				other.Detach()
			}
			for i := 1; i < 3; i++ {
				assert.NilError(t, cluster.Member(i).Kill())
			}
			ro := zk.Config{Addrs: cluster.Addrs()[:1], ReadOnly: true, Timeout: suite.Patience}
			answered := func(err error) bool { // by a server that is up as a read-only one
				assert.NilError(t, ctx.Err(), "%v", err)
				time.Sleep(20 * time.Millisecond)
				return err == nil || errors.Is(err, zk.ErrNotReadOnly)
			}
			r, err := zk.Dial(ctx, ro)
			for !answered(err) || err == nil && !r.ReadOnly() {
				if err == nil { // it has not noticed yet that it is alone
					r.Detach()
				} else {
					assert.ErrorIs(t, err, zk.ErrNoServer)
				}
				r, err = zk.Dial(ctx, ro)
			}
			if !refuses {
				assert.NilError(t, err)
				assert.Assert(t, r.ReadOnly())
				ch := make(chan zk.Event, 1)
				data, _, err := r.Get(ctx, "/n", ch)
				assert.NilError(t, err)
				assert.Equal(t, string(data), "data")
				_, err = r.Set(ctx, "/n", nil, zk.AnyVersion)
				suite.WantCode(t, err, zk.ErrNotReadOnly, "/n")
				suite.WantCode(t, r.Sync(ctx, "/n"), zk.ErrNotReadOnly, "/n")
				assert.Equal(t, r.Config().ID, int64(0)) // nobody else would know it
				back := make(chan error, 1)
				go func() {
					_, err := fourletter.Client{}.AwaitReadWrite(ctx, cluster.Addrs())
					back <- err
				}()
				assert.NilError(t, suite.ErrOf2(r.Get(ctx, "/n", nil)))
				assert.Equal(t, len(back), 0)
				revive(t, cluster)
				assert.NilError(t, suite.Await(t, back))
				suite.Await(t, r.Done())
				again, err := r.Redial(ctx)
				for err != nil {
					assert.ErrorIs(t, err, zk.ErrNoServer)
					assert.NilError(t, ctx.Err())
					again, err = r.Redial(ctx)
				}
				defer again.Close()
				assert.Assert(t, !again.ReadOnly() && again.ID() != r.ID())
				_, err = again.Set(ctx, "/n", []byte("more"), zk.AnyVersion)
				assert.NilError(t, err)
				ev := suite.Await(t, ch)
				assert.Equal(t, fmt.Sprint(ev.Type, ev.Path), "changed/n")
			} else {
				assert.ErrorIs(t, err, zk.ErrNoServer)
				assert.ErrorIs(t, err, zk.ErrNotReadOnly)
				assert.Assert(t, !errors.Is(err, zk.ErrExpired))
				revive(t, cluster)
			}

			// The session of before is not lost by all this.
			next, err := s.Redial(ctx)
			for err != nil {
				assert.ErrorIs(t, err, zk.ErrNoServer)
				assert.NilError(t, ctx.Err())
				next, err = s.Redial(ctx)
			}
			_, st, err := next.Get(ctx, "/eph", nil)
			assert.NilError(t, err)
			assert.Equal(t, st.EphemeralOwner, s.ID())
			assert.NilError(t, next.Close())
		})
	}
}

func revive(t *testing.T, cluster *apache.Ensemble) {
	t.Helper()
	for i := range cluster.Len() {
		assert.NilError(t, cluster.Member(i).Start())
	}
	assert.NilError(t, cluster.WaitServing(t.Context()))
}

// A server that stands still is noticed, whether or not a call waits for it:
// two thirds of the timeout after it was heard last, when the clock is looked
// at next.
func TestPauseIsNoticed(t *testing.T) {
	onReleases(t, zktest.V34, func(ctx context.Context, t *testing.T, release apache.Release) {
		e := apache.New(t, apache.Config{Release: release})
		const timeout = 4 * time.Second
		// A ping every third of it: so long ago the last answer may be.
		const soonest, latest = timeout*2/3 - timeout/3, timeout*2/3 + timeout/6
		conf := zk.Config{Addrs: e.Addrs(), Timeout: timeout}
		idle, err := zk.Dial(t.Context(), conf)
		assert.NilError(t, err)
		defer idle.Close()
		busy, err := zk.Dial(t.Context(), conf)
		assert.NilError(t, err)
		defer busy.Close()
		assert.Equal(t, idle.Timeout(), timeout)
		time.Sleep(timeout / 2) // pings keep both alive
		began := time.Now()
		assert.NilError(t, e.Member(0).Pause())
		defer e.Member(0).Resume()
		call := suite.Start(t, func() error { return busy.Sync(t.Context(), "/") })
		for _, s := range []*zk.Session{idle, busy} {
			suite.Await(t, s.Done())
			took := time.Since(began)
			assert.ErrorIs(t, s.Err(), zk.ErrConnection)
			assert.Assert(t, took > soonest-time.Second && took < latest+timeout, "%v", took)
			t.Logf("noticed after %v of %v", took, timeout)
		}
		call.Lost(zk.ErrConnection)
	})
}

// A server that was restored from a backup is behind its sessions: it is not
// taken for one that has forgotten them, and with a Zxid of zero they go on
// there, with an event for each watch that may have missed something.
func TestRestoredBackup(t *testing.T) {
	onReleases(t, zktest.V34, func(ctx context.Context, t *testing.T, release apache.Release) {
		e := apache.New(t, apache.Config{Release: release})
		server := e.Member(0)
		start := func() {
			t.Helper()
			assert.NilError(t, server.Start())
			assert.NilError(t, e.WaitServing(t.Context()))
		}
		s, err := zk.Dial(ctx, zk.Config{Addrs: e.Addrs(), Timeout: 10 * time.Second})
		assert.NilError(t, err)
		create := func(path string) {
			t.Helper()
			_, err := s.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
		}
		create("/n")
		create("/p")
		_, err = s.Create(ctx, "/eph", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		s.Detach()
		assert.NilError(t, server.Stop())
		backup := filepath.Join(t.TempDir(), "data")
		assert.NilError(t, os.CopyFS(backup, os.DirFS(server.DataDir())))
		start()

		s, err = s.Redial(ctx)
		assert.NilError(t, err)
		_, err = s.Set(ctx, "/n", []byte("lost"), 0)
		assert.NilError(t, err)
		create("/m")
		create("/n/c")
		data, gone, child, absent, all := make(chan zk.Event, 3), make(chan zk.Event, 3), make(chan zk.Event, 3), make(chan zk.Event, 3), make(chan zk.Event, 3)
		for _, err := range []error{
			suite.ErrOf2(s.Get(ctx, "/n", data)), suite.ErrOf2(s.Get(ctx, "/m", gone)), suite.ErrOf2(s.Children(ctx, "/n", child)), suite.ErrOf2(s.Exists(ctx, "/absent", absent)),
		} {
			assert.NilError(t, err)
		}
		persistent := suite.Minor(string(release)) >= zktest.V36
		if persistent {
			assert.NilError(t, s.AddWatch(ctx, "/p", zk.WatchPersistent, all))
		}
		seen := s.Zxid()
		conf := s.Detach()
		assert.NilError(t, server.Stop())
		assert.NilError(t, os.RemoveAll(server.DataDir()))
		assert.NilError(t, os.CopyFS(server.DataDir(), os.DirFS(backup)))
		start()

		_, err = zk.Dial(ctx, conf)
		assert.ErrorIs(t, err, zk.ErrNoServer)
		assert.Assert(t, !errors.Is(err, zk.ErrExpired), "%v", err)
		conf.Zxid = 0
		s, err = zk.Dial(ctx, conf)
		assert.NilError(t, err)
		defer s.Close()
		assert.Equal(t, s.ID(), conf.ID)
		assert.Assert(t, s.Zxid() < seen, "%x", s.Zxid())
		found, st, err := s.Exists(ctx, "/eph", nil)
		assert.NilError(t, err)
		assert.Assert(t, found && st.EphemeralOwner == s.ID())
		assert.Equal(t, suite.Told(suite.Taken(data)...), "changed /n")
		assert.Equal(t, suite.Told(suite.Taken(gone)...), "deleted /m")
		assert.Equal(t, suite.Told(suite.Taken(child)...), "child /n")
		assert.Equal(t, len(absent), 0)
		if persistent {
			assert.Equal(t, suite.Told(suite.Taken(all)...), "gap /p")
		}
		create("/absent") // it was armed all the time
		assert.Equal(t, suite.Told(suite.Taken(absent)...), "created /absent")

		// Its history is the one that counts from now on.
		s, err = zk.Dial(ctx, s.Config())
		assert.NilError(t, err)
		defer s.Close()
		assert.Equal(t, s.ID(), conf.ID)
	})
}
