package zk_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/fourletter"
	"github.com/seed-9f8420c6/zk/internal/suite"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

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

// cluster is a set of three servers that a test may break, of either kind.
type cluster struct {
	addrs  []string
	kill   func(i int)
	revive func(i int) // returns when it serves
	pause  func(i int) // accepts and answers nothing; processes only
	resume func(i int)
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

func (c *cluster) index(s *zk.Session) int {
	for i, addr := range c.addrs {
		if addr == s.Addr() {
			return i
		}
	}
	panic("no server " + s.Addr())
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
		enough, stop := context.WithTimeout(ctx, 100*time.Millisecond)
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
	t.Parallel()
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			e := apache.New(t, apache.Config{Release: release})
			const timeout = 4 * time.Second
			// A ping every third of it: so long ago the last answer may be.
			const soonest, latest, margin = timeout*2/3 - timeout/3, timeout*2/3 + timeout/6, time.Second
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
				assert.Assert(t, took > soonest-margin && took < latest+margin, "%v", took)
				t.Logf("noticed after %v of %v", took, timeout)
			}
			call.Lost(zk.ErrConnection)
		})
	}
}

// A server that was restored from a backup is behind its sessions: it is not
// taken for one that has forgotten them, and with a Zxid of zero they go on
// there, with an event for each watch that may have missed something.
func TestRestoredBackup(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	for _, release := range apache.Tested() {
		t.Run(string(release), func(t *testing.T) {
			t.Parallel()
			e := apache.New(t, apache.Config{Release: release})
			server := e.Member(0)
			start := func() {
				t.Helper()
				assert.NilError(t, server.Start())
				assert.NilError(t, e.WaitServing(t.Context()))
			}
			ctx := suite.NewContext(t)
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
}

// reconfigReleases are those to be tested whose ensembles can change.
func reconfigReleases() []apache.Release {
	return slices.DeleteFunc(slices.Clone(apache.Tested()), func(r apache.Release) bool { return suite.Minor(string(r)) < zktest.V35 })
}

// A real ensemble grows and shrinks, by what joins and leaves and by the list
// of all members, while a session with a watch on the configuration looks on.
// Since 3.5.
func TestReconfigOfServers(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	for _, release := range reconfigReleases() {
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*suite.Patience)
			defer cancel()
			cluster := apache.New(t, apache.Config{Release: release, Members: 3})
			leader, err := cluster.Leader()
			assert.NilError(t, err)
			out := (leader + 1) % 3 // may go without an election
			addrs := slices.Delete(cluster.Addrs(), out, out+1)
			dial := func(conf zk.Config) *zk.Session {
				t.Helper()
				s, err := zk.Dial(ctx, conf)
				assert.NilError(t, err)
				t.Cleanup(func() { s.Close() })
				return s
			}
			admin := dial(zk.Config{Addrs: addrs, Timeout: time.Minute, Auth: []zk.Auth{zk.Digest("super", "zktest")}})
			s := dial(zk.Config{Addrs: addrs, Timeout: time.Minute, Chroot: "/zookeeper"})

			// members checks the configuration that a session sees, and returns its version.
			ch := make(chan zk.Event, 1)
			members := func(want ...string) int64 {
				t.Helper()
				assert.NilError(t, s.Sync(ctx, "/"))
				config, _, err := s.GetConfig(ctx, ch)
				assert.NilError(t, err)
				got := configServers(config)
				slices.Sort(got)
				assert.DeepEqual(t, got, want)
				_, hex, ok := strings.Cut(string(config), "version=")
				assert.Assert(t, ok, "%s", config)
				version, err := strconv.ParseInt(strings.TrimSpace(hex), 16, 64)
				assert.NilError(t, err)
				return version
			}
			change := func(change zk.Reconfig, want ...string) {
				t.Helper()
				config, st, err := admin.Reconfig(ctx, change)
				assert.NilError(t, err)
				got := configServers(config)
				slices.Sort(got)
				assert.DeepEqual(t, got, want)
				assert.Assert(t, st.Mzxid > 0 && int(st.DataLength) == len(config), "%+v", st)
				ev := suite.Await(t, ch)
				assert.Equal(t, ev.Type, zk.Changed)
				assert.Equal(t, ev.Path, configPath)
			}
			lines := make([]string, 4)
			for i := range 3 {
				lines[i] = cluster.Member(i).Line()
			}
			version := members(lines[:3]...)

			// One more joins, and serves.
			added, err := cluster.Add()
			assert.NilError(t, err)
			lines[3] = added.Line()
			change(zk.Reconfig{Join: lines[3:], Version: version}, lines...)
			assert.NilError(t, cluster.WaitServing(ctx))
			guest := dial(zk.Config{Addrs: []string{added.Addr()}})
			assert.NilError(t, guest.Sync(ctx, "/"))
			_, err = guest.Create(ctx, "/by-the-guest", nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
			assert.Assert(t, members(lines...) > version)

			// A change of another configuration than this is refused, and others that cannot be.
			refused := func(code zk.Code, change zk.Reconfig) {
				t.Helper()
				config, _, err := admin.Reconfig(ctx, change)
				assert.Assert(t, config == nil)
				suite.WantCode(t, err, code, "")
			}
			refused(zk.ErrVersion, zk.Reconfig{Leave: []string{"4"}, Version: version})
			refused(zk.ErrBadArguments, zk.Reconfig{Join: []string{"server.9=nonsense"}, Version: -1})
			refused(zk.ErrBadArguments, zk.Reconfig{Members: []string{"nonsense"}, Version: -1})
			refused(zk.ErrBadArguments, zk.Reconfig{Leave: []string{"1", "2", "3", "4"}, Version: -1})
			dead := []string{lines[0], "server.8=127.0.0.1:1:2:participant;127.0.0.1:3", "server.9=127.0.0.1:4:5:participant;127.0.0.1:6"}
			refused(zk.ErrNewConfigNoQuorum, zk.Reconfig{Members: dead, Version: -1})
			_, _, err = s.Reconfig(ctx, zk.Reconfig{Leave: []string{"4"}, Version: -1})
			suite.WantCode(t, err, zk.ErrNoAuth, "")
			assert.Equal(t, len(ch), 0)

			// It leaves again. Then all members are named, first without one, then with it.
			change(zk.Reconfig{Leave: []string{"4"}, Version: -1}, lines[:3]...)
			assert.NilError(t, added.Kill())
			members(lines[:3]...)
			two := slices.Delete(slices.Clone(lines[:3]), out, out+1)
			change(zk.Reconfig{Members: two, Version: -1}, two...)
			members(two...)
			change(zk.Reconfig{Members: lines[:3], Version: -1}, lines[:3]...)
			members(lines[:3]...)
			found, _, err := s.Exists(ctx, "/config", nil)
			assert.NilError(t, err)
			assert.Assert(t, found)
			assert.NilError(t, admin.Err())

			// The servers write it down.
			for written := ""; strings.Count(written, "server.") != 3; time.Sleep(10 * time.Millisecond) {
				assert.NilError(t, ctx.Err())
				written, err = cluster.Member(leader).DynamicConfig()
				assert.NilError(t, err)
			}
		})
	}
}

// A server that does not allow it says so.
func TestReconfigDisabled(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	for _, release := range reconfigReleases() {
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*suite.Patience)
			defer cancel()
			cluster := apache.New(t, apache.Config{Release: release, Members: 3, Settings: map[string]string{"reconfigEnabled": "false"}})
			s, err := zk.Dial(ctx, zk.Config{Addrs: cluster.Addrs(), Auth: []zk.Auth{zk.Digest("super", "zktest")}})
			assert.NilError(t, err)
			defer s.Close()
			_, _, err = s.Reconfig(ctx, zk.Reconfig{Leave: []string{"3"}, Version: -1})
			suite.WantCode(t, err, zk.ErrReconfigDisabled, "")
			config, _, err := s.GetConfig(ctx, nil)
			assert.NilError(t, err)
			assert.Equal(t, len(configServers(config)), 3)
		})
	}
}

// secureReleases are those to be tested that have a port with TLS.
func secureReleases() []apache.Release {
	return slices.DeleteFunc(slices.Clone(apache.Tested()), func(r apache.Release) bool { return suite.Minor(string(r)) < zktest.V35 })
}

// Servers have TLS since 3.5.5. They know a client by its certificate, and
// refuse one that they do not trust.
func TestTLSOfServers(t *testing.T) {
	t.Parallel()
	apache.Need(t)
	for _, release := range secureReleases() {
		t.Run(string(release), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*suite.Patience)
			defer cancel()
			ca, soon := suite.NewAuthority(t), time.Now().Add(time.Hour)
			server := apache.New(t, apache.Config{Release: release, TLS: ca.KeyStore(ca.Certify("server", soon, "127.0.0.1"))})
			addr := server.SecureAddrs()[0]
			as := func(cert ...tls.Certificate) zk.Config {
				return zk.Config{Addrs: []string{addr}, TLS: &tls.Config{RootCAs: ca.Pool(), Certificates: cert}}
			}
			dial := func(conf zk.Config) *zk.Session {
				t.Helper()
				s, err := zk.Dial(ctx, conf)
				assert.NilError(t, err)
				t.Cleanup(func() { s.Close() })
				return s
			}
			conf := as(ca.Certify("client", soon))
			s := dial(conf)
			list := zk.ACL{{Perms: zk.PermAll, Scheme: "x509", ID: "CN=client"}}
			_, err := s.Create(ctx, "/mine", make([]byte, 900_000), zk.Persistent, list)
			assert.NilError(t, err)
			_, err = s.Create(ctx, "/creator", nil, zk.Ephemeral, zk.ACLCreator)
			assert.NilError(t, err)
			acl, _, err := s.GetACL(ctx, "/creator")
			assert.NilError(t, err)
			assert.DeepEqual(t, acl, list)
			if suite.Minor(string(release)) >= zktest.V37 {
				infos, err := s.WhoAmI(ctx)
				assert.NilError(t, err)
				assert.Assert(t, slices.Contains(infos, zk.AuthInfo{Scheme: "x509", User: "CN=client"}), "%v", infos)
			}

			// The same session on another connection, the same name in another certificate.
			ch := make(chan zk.Event, 1)
			_, _, err = s.Get(ctx, "/mine", ch)
			assert.NilError(t, err)
			next := s.Config()
			next.TLS = as(ca.Certify("client", soon)).TLS
			moved := dial(next)
			assert.Equal(t, moved.ID(), s.ID())
			_, err = moved.Set(ctx, "/mine", nil, 0)
			assert.NilError(t, err)
			assert.Equal(t, (<-ch).Type, zk.Changed)

			stranger := dial(as(ca.Certify("stranger", soon)))
			_, _, err = stranger.Get(ctx, "/mine", nil)
			suite.WantCode(t, err, zk.ErrNoAuth, "/mine")
			plain := dial(zk.Config{Addrs: server.Addrs()}) // the other port asks for no certificate
			_, _, err = plain.Get(ctx, "/mine", nil)
			suite.WantCode(t, err, zk.ErrNoAuth, "/mine")

			// What is wrong with the server's certificate is told with the address.
			refused := func(conf zk.Config) error {
				t.Helper()
				s, err := zk.Dial(ctx, conf)
				assert.Assert(t, s == nil)
				assert.ErrorContains(t, err, conf.Addrs[0])
				assert.Assert(t, !errors.Is(err, zk.ErrExpired) && !errors.Is(err, zk.ErrAuth), "%v", err)
				return err
			}
			// Where a certificate is, no server that comes back helps.
			distrusted := func(conf zk.Config) error {
				t.Helper()
				err := refused(conf)
				assert.Assert(t, !errors.Is(err, zk.ErrNoServer), "%v", err)
				return err
			}
			_, port, err := net.SplitHostPort(addr)
			assert.NilError(t, err)
			named := conf
			named.Addrs = []string{"localhost:" + port}
			var name x509.HostnameError
			assert.Assert(t, errors.As(distrusted(named), &name) && name.Host == "localhost", "%v", name)
			late := as(ca.Certify("client", soon))
			late.TLS.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
			var invalid x509.CertificateInvalidError
			assert.Assert(t, errors.As(distrusted(late), &invalid) && invalid.Reason == x509.Expired, "%v", invalid)
			other := suite.NewAuthority(t)
			untrusted := conf
			untrusted.TLS = &tls.Config{RootCAs: other.Pool(), Certificates: conf.TLS.Certificates}
			var unknown x509.UnknownAuthorityError
			assert.Assert(t, errors.As(distrusted(untrusted), &unknown))

			// And what the server finds wrong with ours, as it puts it.
			for what, conf := range map[string]zk.Config{
				"none": as(), "untrusted": as(other.Certify("client", soon)), "expired": as(ca.Certify("client", time.Now().Add(-time.Minute))),
			} {
				var alert *net.OpError
				err := distrusted(conf)
				assert.Check(t, errors.As(err, &alert) && alert.Op == "remote error", "%s: %v", what, err)
			}
			refused(zk.Config{Addrs: []string{addr}})
			refused(zk.Config{Addrs: server.Addrs(), TLS: conf.TLS})

			// None of it has harmed the session.
			_, _, err = moved.Get(ctx, "/creator", nil)
			assert.NilError(t, err)
		})
	}
}
