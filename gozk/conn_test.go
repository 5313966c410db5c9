package zk

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// silent takes no log lines.
type silent struct{}

func (silent) Printf(string, ...any) {}

func connect(t *testing.T, addrs []string, options ...connOption) (*Conn, <-chan Event) {
	t.Helper()
	c, events, err := Connect(addrs, 10*time.Second, append([]connOption{WithLogger(silent{})}, options...)...)
	assert.NilError(t, err)
	t.Cleanup(c.Close)
	return c, events
}

// inMemory runs a test in a bubble with a fake clock, on a server without a network.
func inMemory(t *testing.T, f func(t *testing.T, server *zktest.Server, through connOption)) {
	inMemoryOf(t, zktest.V39, f)
}

func inMemoryOf(t *testing.T, version zktest.Version, f func(t *testing.T, server *zktest.Server, through connOption)) {
	synctest.Test(t, func(t *testing.T) {
		server := zktest.NewServer(t, zktest.Options{InMemory: true, Version: version})
		f(t, server, dialing(server.DialContext))
	})
}

func dialing(dial func(ctx context.Context, network, addr string) (net.Conn, error)) connOption {
	return func(c *Conn) {
		WithHostProvider(new(SimpleDNSHostProvider))(c)
		WithDialer(func(network, addr string, timeout time.Duration) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			return dial(ctx, network, addr)
		})(c)
	}
}

// nodes creates znodes.
func nodes(t *testing.T, c *Conn, paths ...string) {
	t.Helper()
	for _, p := range paths {
		_, err := c.Create(p, nil, 0, WorldACL(PermAll))
		assert.NilError(t, err)
	}
}

// states takes the states out of events that have come.
func states(events <-chan Event) (out []State) {
	for len(events) > 0 {
		if ev := <-events; ev.Type == EventSession {
			out = append(out, ev.State)
		}
	}
	return out
}

// What was sent and not answered fails, when the loss has been told, and is not
// repeated; what was not sent waits for the next connection.
func TestLostAndNotSent(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, events := connect(t, server.Addrs(), through)
		nodes(t, c, "/a")
		assert.DeepEqual(t, states(events), []State{StateConnecting, StateConnected, StateHasSession})
		id := c.SessionID()

		server.Fault(zktest.Rule{Op: wire.OpSetData, Do: zktest.CutAfter})
		refused := server.Member(0)
		refused.Refuse(true)
		_, err := c.Set("/a", []byte("lost"), -1)
		assert.Equal(t, err, ErrConnectionClosed)
		assert.Equal(t, c.State() == StateDisconnected || c.State() == StateConnecting, true)
		assert.Equal(t, states(events)[0], StateDisconnected)

		synctest.Wait() // the first round has failed
		_, err = c.Set("/a", []byte("kept"), 1)
		assert.Equal(t, err, ErrNoServer) // and so has the second
		refused.Refuse(false)
		_, err = c.Set("/a", []byte("kept"), 1)
		assert.NilError(t, err)
		data, st, err := c.Get("/a")
		assert.NilError(t, err)
		assert.Equal(t, string(data), "kept")
		assert.Equal(t, st.Version, int32(2))
		assert.Equal(t, c.SessionID(), id)
	})
}

// A call that the end of the connection fails returns when that has been told, also where
// its answer ended the connection.
func TestErrorsFollowStates(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		const takes = 100 * time.Millisecond
		c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			if ev.State == StateDisconnected {
				time.Sleep(takes)
			}
		}))
		nodes(t, c, "/a")
		for _, x := range []struct {
			rule zktest.Rule
			want error
		}{
			{zktest.Rule{Do: zktest.CutAfter}, ErrConnectionClosed},
			{zktest.Rule{Err: -112}, ErrSessionExpired},
			{zktest.Rule{Err: -115}, ErrAuthFailed},
			{zktest.Rule{Err: -118}, ErrSessionMoved},
		} {
			_, _, err := c.Get("/a")
			assert.NilError(t, err)
			x.rule.Op = wire.OpSetData
			server.Fault(x.rule)
			began := time.Now()
			_, err = c.Set("/a", nil, -1)
			assert.Equal(t, err, x.want)
			assert.Equal(t, time.Since(began), takes, "%v", err)
		}
	})
}

// A cut with one server: no call fails for a server that is there.
func TestFirstAttemptAfterLossIsNoRound(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a")
		for range 20 {
			server.CutAll()
			synctest.Wait()
			began := time.Now()
			_, _, err := c.Get("/a")
			assert.NilError(t, err)
			assert.Equal(t, time.Since(began), time.Duration(0))
		}
	})
}

// At expiry all watches end, and there is a new session; with WithRenew they move to it.
func TestExpiry(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		type up struct {
			id    int64
			fresh bool
		}
		var ups []up
		hook := WithSession(func(s *root.Session, fresh bool) { ups = append(ups, up{s.ID(), fresh}) })
		c, events := connect(t, server.Addrs(), through, hook)
		nodes(t, c, "/a")
		_, _, data, _ := c.GetW("/a")
		_, _, child, _ := c.ChildrenW("/a")
		_, _, late, _ := c.ExistsW("/b")
		old := c.SessionID()
		states(events)
		server.CutAll()
		synctest.Wait()
		server.Expire(old)
		for _, ch := range []<-chan Event{data, child, late} {
			ev := <-ch
			assert.Assert(t, ev.Type == EventNotWatching && ev.Err == ErrSessionExpired && ev.State == StateDisconnected, "%v", ev)
			_, open := <-ch
			assert.Assert(t, !open)
		}
		_, _, err := c.Get("/a")
		assert.NilError(t, err)
		assert.Assert(t, c.SessionID() != old && c.SessionID() != 0)
		_, _, data, err = c.GetW("/a") // on the lanes of the new session
		assert.NilError(t, err)
		c.Set("/a", nil, -1)
		assert.Equal(t, len(data), 1)
		synctest.Wait()
		assert.DeepEqual(t, ups, []up{{old, true}, {old, false}, {c.SessionID(), true}}, cmp.AllowUnexported(up{}))
	})
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, events := connect(t, server.Addrs(), through, WithRenew())
		nodes(t, c, "/a")
		_, _, data, _ := c.GetW("/a")
		_, _, kept, _ := c.ChildrenW("/a")
		old := c.SessionID()
		states(events)
		server.Member(0).Refuse(true)
		server.CutAll()
		server.Expire(old)
		other, _ := connect(t, server.Addrs(), through)
		server.Member(0).Refuse(false)
		_, err := other.Set("/a", nil, -1)
		assert.NilError(t, err)
		ev := <-data
		assert.Assert(t, ev.Type == EventNodeDataChanged && ev.Err == nil, "%v", ev)
		_, err = c.Create("/a/c", nil, 0, WorldACL(PermAll))
		assert.NilError(t, err)
		assert.Equal(t, len(kept), 1)
		assert.Assert(t, slices.Contains(states(events), StateExpired))
		assert.Assert(t, c.SessionID() != old)
	})
}

// A Conn closes within a second in every state, and leaves nothing behind.
func TestClose(t *testing.T) {
	block := make(chan struct{})
	stuck := func(network, addr string, timeout time.Duration) (net.Conn, error) {
		time.Sleep(timeout)
		return nil, errors.New("timeout")
	}
	mute := func(string, string, time.Duration) (net.Conn, error) {
		client, _ := zktest.Pipe()
		return client, nil
	}
	for name, test := range map[string]struct {
		options []connOption
		before  func(server *zktest.Server, c *Conn)
		waits   bool // something else that blocks may take longer
	}{
		"idle":                  {},
		"no server":             {options: []connOption{WithDialer(stuck)}, waits: true},
		"handshake":             {options: []connOption{WithDialer(mute)}},
		"silent server":         {before: func(s *zktest.Server, c *Conn) { c.Exists("/"); s.Stall(c.SessionID()) }},
		"expired":               {before: func(s *zktest.Server, c *Conn) { c.Exists("/"); s.Expire(c.SessionID()) }},
		"callback that blocks":  {options: []connOption{WithEventCallback(func(Event) { <-block })}, waits: true},
		"between two addresses": {options: []connOption{WithDialer(func(string, string, time.Duration) (net.Conn, error) { return nil, errors.New("no") })}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				block = make(chan struct{})
				server := zktest.NewServer(t, zktest.Options{InMemory: true})
				c, events := connect(t, server.Addrs(), append([]connOption{dialing(server.DialContext)}, test.options...)...)
				if test.before != nil {
					test.before(server, c)
				}
				var err error
				waiting := make(chan struct{})
				go func() {
					_, _, err = c.Get("/")
					close(waiting)
				}()
				synctest.Wait()
				began := time.Now()
				c.Close()
				assert.Assert(t, time.Since(began) <= time.Second, "%v", time.Since(began))
				assert.Assert(t, test.waits || c.ended(), "something goes on")
				_, _, after := c.Get("/")
				assert.Equal(t, after, ErrConnectionClosed)
				close(block)
				<-waiting
				assert.Assert(t, err == nil || err == ErrConnectionClosed || err == ErrNoServer, "%v", err)
				for range events { // until it is closed
				}
				assert.Equal(t, c.State(), StateDisconnected)
				c.Close()
				time.Sleep(time.Minute) // the bubble fails if anything is left
			})
		})
	}
}

// ended reports whether all that a Conn did is over.
func (c *Conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// Close ends ephemerals before it returns, and watches with ErrClosing.
func TestCloseEndsSession(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		other, _ := connect(t, server.Addrs(), through)
		_, err := c.Create("/e", nil, FlagEphemeral, WorldACL(PermAll))
		assert.NilError(t, err)
		_, _, ch, err := c.GetW("/")
		assert.NilError(t, err)
		c.Close()
		found, st, err := other.Exists("/e")
		assert.NilError(t, err)
		assert.Assert(t, !found && st != nil)
		ev := <-ch
		assert.Assert(t, ev.Type == EventNotWatching && ev.Err == ErrClosing, "%v", ev)
	})
}

// What a callback and a channel are told comes in the same order, each with its server.
func TestEventsNameTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.NewEnsemble(t, 3, zktest.Options{InMemory: true})
		var mu sync.Mutex
		var called []Event
		c, events := connect(t, e.Addrs(), dialing(e.DialContext), WithEventCallback(func(ev Event) {
			mu.Lock()
			defer mu.Unlock()
			called = append(called, ev)
		}))
		_, _, err := c.Get("/")
		assert.NilError(t, err)
		first := c.Server()
		for i, addr := range e.Addrs() {
			if addr == first {
				e.Member(i).Stop()
			}
		}
		synctest.Wait()
		_, _, err = c.Get("/")
		assert.NilError(t, err)
		assert.Assert(t, c.Server() != first)
		mu.Lock()
		defer mu.Unlock()
		for _, want := range called[:6] { // the channel has room for six
			assert.Equal(t, <-events, want)
			assert.Assert(t, slices.Contains(e.Addrs(), want.Server), "%v", want)
		}
		assert.Assert(t, called[3].State == StateDisconnected && called[3].Server == first, "%v", called[3])
	})
}

// A session timeout below what servers grant is no hurry for the handshake, and restoring
// watches may take longer than one.
func TestShortTimeout(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		server.Fault(zktest.Rule{Op: zktest.OpConnect, Delay: 500 * time.Millisecond, Count: -1})
		c, _, err := Connect(server.Addrs(), 0, WithLogger(silent{}), through)
		assert.NilError(t, err)
		defer c.Close()
		nodes(t, c, "/a")
		_, _, ch, err := c.GetW("/a")
		assert.NilError(t, err)
		id := c.SessionID()
		server.Fault(zktest.Rule{Op: wire.OpSetWatches, Delay: 400 * time.Millisecond, Count: -1})
		server.CutAll()
		time.Sleep(5 * time.Second)
		_, err = c.Set("/a", nil, -1)
		assert.NilError(t, err)
		assert.Equal(t, len(ch), 1)
		assert.Equal(t, c.SessionID(), id)
	})
}

// StateHasSession comes when the watches are back. Until then calls wait.
func TestHasSessionAfterWatches(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		const delay = 300 * time.Millisecond
		c, events := connect(t, server.Addrs(), through)
		nodes(t, c, "/a")
		_, _, _, err := c.GetW("/a")
		assert.NilError(t, err)
		server.Fault(zktest.Rule{Op: wire.OpSetWatches, Delay: delay})
		states(events)
		began := time.Now()
		server.CutAll()
		for ev := range events {
			if ev.State == StateHasSession {
				break
			}
			assert.Equal(t, time.Since(began), time.Duration(0), "%v", ev)
		}
		assert.Equal(t, time.Since(began), delay)
	})
}

// The channel of Connect has room for six events. Further ones are dropped, and the callback gets them all.
func TestEventChannelDropsWhatHasNoRoom(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		told := 0
		c, events := connect(t, server.Addrs(), through, WithEventCallback(func(Event) { told++ }))
		for range 3 {
			_, err := c.Sync("/")
			assert.NilError(t, err)
			server.CutAll()
			synctest.Wait()
		}
		_, err := c.Sync("/")
		assert.NilError(t, err)
		c.Close()
		assert.Assert(t, told > 6)
		got := 0
		for range events {
			got++
		}
		assert.Equal(t, got, 6)
	})
}

// A Dialer gets one second to connect, whatever the session timeout is.
func TestDialerGetsASecond(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		var given []time.Duration
		c, _ := connect(t, server.Addrs(), through, WithDialer(func(network, addr string, timeout time.Duration) (net.Conn, error) {
			given = append(given, timeout)
			return server.DialContext(context.Background(), network, addr)
		}))
		_, err := c.Sync("/")
		assert.NilError(t, err)
		c.Close()
		assert.DeepEqual(t, given, []time.Duration{time.Second})
	})
}

// A server that ends every connection by its first request is dialed ever more rarely, until one
// is of use: it lasts, or answers a call.
func TestEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := zktest.NewServer(t, zktest.Options{InMemory: true})
		var dials []time.Time
		c, _ := connect(t, server.Addrs(), dialing(func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials = append(dials, time.Now())
			return server.DialContext(ctx, network, addr)
		}))
		// ends makes connections end by their first request, the one at hand too, and returns
		// after how many milliseconds the server is dialed again.
		ends := func(n int) (after []int64) {
			server.Fault(zktest.Rule{Op: wire.OpGetData, Do: zktest.CutBefore, Count: n})
			first := len(dials)
			var lost []time.Time
			for range n {
				_, _, err := c.Get("/")
				assert.Equal(t, err, ErrConnectionClosed)
				lost = append(lost, time.Now())
			}
			_, _, err := c.Exists("/")
			assert.NilError(t, err)
			for i, at := range lost {
				after = append(after, dials[first+i].Sub(at).Milliseconds())
			}
			return after
		}
		_, _, _, err := c.ExistsW("/none") // which each connection restores
		assert.NilError(t, err)
		after := ends(60)
		assert.DeepEqual(t, after[:8], []int64{0, 0, 50, 100, 200, 400, 800, 1000}) // the first has answered a call
		assert.Equal(t, slices.Min(after[7:]), int64(1000))
		assert.DeepEqual(t, ends(3), []int64{0, 0, 50})
		server.CutAll()
		time.Sleep(time.Second)
		assert.DeepEqual(t, ends(3), []int64{0, 0, 50}) // the first has lasted
	})
}
