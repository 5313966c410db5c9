package zk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
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
	synctest.Test(t, func(t *testing.T) {
		server := zktest.NewServer(t, zktest.Options{InMemory: true})
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

// An event is in the channels of all watches of its path when the own Set that caused it
// returns, whatever else happens; none of another change gets there.
func TestOwnEventIsThere(t *testing.T) {
	ownEvents(t, zktest.NewServer(t).Addrs(), 10000)
}

// Servers before 3.9 do not say which change an event is of.
func TestOwnEventOnRealServers(t *testing.T) {
	apache.Need(t)
	for _, r := range apache.Tested() {
		t.Run(string(r), func(t *testing.T) { ownEvents(t, apache.New(t, apache.Config{Release: r}).Addrs(), 2000) })
	}
}

func ownEvents(t *testing.T, addrs []string, rounds int) {
	c, _ := connect(t, addrs)
	nodes(t, c, "/0", "/1", "/2")
	const goroutines = 8
	var late, wrong atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			path := fmt.Sprint("/", g%3)
			for r := range rounds / goroutines {
				var armed [4]<-chan Event
				var version int32
				for i := range 1 + r%4 {
					_, st, ch, err := c.GetW(path)
					if err != nil {
						wrong.Add(1)
						return
					}
					armed[i], version = ch, st.Version
				}
				if _, err := c.Set(path, nil, -1); err != nil {
					wrong.Add(1)
					return
				}
				_, now, err := c.Get(path)
				for i := range 1 + r%4 {
					select {
					case ev, ok := <-armed[i]:
						if _, more := <-armed[i]; !ok || more || err != nil || ev.Type != EventNodeDataChanged || ev.Path != path || now.Version <= version {
							wrong.Add(1)
						}
					default:
						late.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, late.Load(), int64(0))
	assert.Equal(t, wrong.Load(), int64(0))
	b := c.link.Load().books
	assert.Equal(t, b.armed+b.pending+len(b.paths), 0)
}

// The channel of the session has an event once, for however many watches.
func TestSessionChannelHasEventOnce(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		var mu sync.Mutex
		var told []Event
		c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			mu.Lock()
			defer mu.Unlock()
			if ev.Type != EventSession {
				told = append(told, ev)
			}
		}))
		nodes(t, c, "/a", "/b")
		for range 3 {
			for _, p := range []string{"/a", "/b"} {
				c.GetW(p)
				c.ChildrenW(p)
				c.ExistsW(p)
			}
		}
		c.Set("/a", nil, -1)
		c.Delete("/b", -1)
		c.Create("/a/c", nil, 0, WorldACL(PermAll))
		synctest.Wait()
		event := func(t EventType, path string) Event { return Event{Type: t, State: StateSyncConnected, Path: path} }
		mu.Lock()
		defer mu.Unlock()
		assert.DeepEqual(t, told, []Event{
			event(EventNodeDataChanged, "/a"), event(EventNodeDeleted, "/b"), event(EventNodeChildrenChanged, "/a"),
		})
	})
}

// The root's events of before 3.9 have no zxid.
func TestOldServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := zktest.NewServer(t, zktest.Options{InMemory: true, Version: zktest.V34})
		c, events := connect(t, server.Addrs(), dialing(server.DialContext))
		nodes(t, c, "/a")
		states(events)
		for range 4 {
			_, _, one, err := c.GetW("/a")
			assert.NilError(t, err)
			_, _, two, err := c.GetW("/a")
			assert.NilError(t, err)
			c.Set("/a", nil, -1)
			assert.Equal(t, len(one)+len(two), 2)
			assert.Equal(t, len(events), 1)
			<-events
		}
	})
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
	}{
		"idle":                  {},
		"no server":             {options: []connOption{WithDialer(stuck)}},
		"handshake":             {options: []connOption{WithDialer(mute)}},
		"silent server":         {before: func(s *zktest.Server, c *Conn) { c.Exists("/"); s.Stall(c.SessionID()) }},
		"expired":               {before: func(s *zktest.Server, c *Conn) { c.Exists("/"); s.Expire(c.SessionID()) }},
		"callback that blocks":  {options: []connOption{WithEventCallback(func(Event) { <-block })}},
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

// A callback that blocks holds up what comes after it, and not the answers.
func TestCallbackBlocks(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		release := make(chan struct{})
		c, _ := connect(t, server.Addrs(), through, WithEventCallback(func(ev Event) {
			if ev.Type == EventNodeDataChanged {
				<-release
			}
		}))
		nodes(t, c, "/a")
		_, _, ch, _ := c.GetW("/a")
		began := time.Now()
		_, err := c.Set("/a", nil, -1)
		assert.NilError(t, err)
		assert.Assert(t, time.Since(began) <= patience)
		assert.Equal(t, len(ch), 0)
		close(release)
		assert.Equal(t, (<-ch).Type, EventNodeDataChanged)
	})
}

// The bridge to the root: watches of its own do no harm to the order here.
func TestSession(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a", "/b")
		s, err := c.Session(t.Context())
		assert.NilError(t, err)
		assert.Equal(t, s.ID(), c.SessionID())
		for range 100 {
			own := make(chan root.Event, 1)
			_, _, err = s.Get(t.Context(), "/b", own)
			assert.NilError(t, err)
			_, _, ch, err := c.GetW("/a")
			assert.NilError(t, err)
			_, err = c.Set("/a", nil, -1)
			assert.NilError(t, err)
			assert.Equal(t, len(ch), 1)
		}
		c.Close()
		_, err = c.Session(t.Context())
		assert.Equal(t, err, ErrConnectionClosed)
	})
}

// Armed watches take no goroutine each, and little memory.
func TestManyWatches(t *testing.T) {
	server := zktest.NewServer(t, zktest.Options{FrameLog: -1})
	c, _ := connect(t, server.Addrs())
	const n = 20000
	path := func(i int) string { return fmt.Sprintf("/w-%05d", i) }
	s, err := c.Session(t.Context())
	assert.NilError(t, err)
	c.link.Load().books.foreign.Add(-1)
	ops := make([]root.Op, n)
	for i := range ops {
		ops[i] = root.CreateOp{Path: path(i), ACL: root.ACLOpen}
	}
	_, err = s.Batch(t.Context(), ops...)
	assert.NilError(t, err)
	goroutines := runtime.NumGoroutine()
	before := heap()
	// What the root takes for them, on a session of its own.
	plain, err := root.Dial(t.Context(), root.Config{Addrs: server.Addrs()})
	assert.NilError(t, err)
	ch := make(chan root.Event, 1)
	ops = ops[:0]
	for i := range n {
		ops = append(ops, root.GetOp{Path: path(i), Watch: ch})
	}
	_, err = plain.Batch(t.Context(), ops...)
	assert.NilError(t, err)
	ops = nil
	rootAndServer := heap() - before
	plain.Close()
	plain = nil
	before = heap()
	armed := make([]<-chan Event, n)
	for i := range armed {
		_, _, armed[i], err = c.GetW(path(i))
		assert.NilError(t, err)
	}
	mine := heap() - before
	t.Logf("%d bytes a watch, of which the root and the server take %d", mine/n, rootAndServer/n)
	assert.Assert(t, (mine-rootAndServer)/n <= 300, "%d bytes a watch beside the root's", (mine-rootAndServer)/n)
	assert.Assert(t, runtime.NumGoroutine() <= goroutines+2, "%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
	assert.Assert(t, c.link.Load().books.quiet())
	runtime.KeepAlive(armed)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A server that cannot arm watches again, as some that only speak the protocol: the
// watches are restored all the same, with what they missed.
func TestServerWithoutSetWatches(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a", "/b")
		_, _, missed, err := c.GetW("/a")
		assert.NilError(t, err)
		_, _, kept, err := c.GetW("/b")
		assert.NilError(t, err)
		server.Fault(zktest.Rule{Op: wire.OpSetWatches, Err: -6, Do: zktest.CutAfter, Count: -1})
		other, _ := connect(t, server.Addrs(), through)
		server.Cut(c.SessionID())
		_, err = other.Set("/a", nil, -1)
		assert.NilError(t, err)
		assert.Equal(t, (<-missed).Type, EventNodeDataChanged)
		_, err = c.Set("/b", nil, -1)
		assert.NilError(t, err)
		assert.Equal(t, len(kept), 1)
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

// A thousand watches of one path each have the event, and the session's channel has it once.
func TestManyWatchesOfOnePath(t *testing.T) {
	server := zktest.NewServer(t)
	var told atomic.Int64
	c, _ := connect(t, server.Addrs(), WithEventCallback(func(ev Event) {
		if ev.Type == EventNodeDataChanged {
			told.Add(1)
		}
	}))
	nodes(t, c, "/a")
	for round := range int64(3) {
		var armed []<-chan Event
		for range 1000 {
			_, _, ch, err := c.GetW("/a")
			assert.NilError(t, err)
			armed = append(armed, ch)
		}
		_, err := c.Set("/a", nil, -1)
		assert.NilError(t, err)
		for _, ch := range armed {
			assert.Equal(t, len(ch), 1)
		}
		assert.Equal(t, told.Load(), round+1)
	}
	assert.Equal(t, len(c.link.Load().books.lanes), 1000)
}
