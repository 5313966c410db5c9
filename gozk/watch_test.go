package zk

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

// An event is in the channels of all watches of its path when the own Set that caused it
// returns, whatever else happens; none of another change gets there.
func TestOwnEventIsThere(t *testing.T) {
	ownEvents(t, zktest.NewServer(t).Addrs(), 10000)
}

// Servers before 3.9 do not say which change an event is of. The test-matrix has all
// releases, and as many rounds as on in-process servers.
func TestOwnEventOnRealServers(t *testing.T) {
	apache.Need(t)
	rounds := 2000
	if os.Getenv("ZK_TEST_RELEASES") != "" {
		rounds = 10000
	}
	for _, r := range apache.Tested() {
		t.Run(string(r), func(t *testing.T) { ownEvents(t, apache.New(t, apache.Config{Release: r}).Addrs(), rounds) })
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
	b := c.gate.Load().link.books
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
		c.GetW("/a")
		c.ChildrenW("/a")
		c.Delete("/a", -1)
		assert.Equal(t, len(events), 1)
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
	c.gate.Load().link.books.foreign.Add(-1)
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
	assert.Assert(t, c.gate.Load().link.books.quiet())
	runtime.KeepAlive(armed)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A thousand watches of each kind of one path, as a program leaves behind that reads again
// whenever a timer says so, each have the event. The session's channel has it once. They
// take no more lanes than two of each kind, and nothing stays armed for them in the root.
func TestManyWatchesOfOnePath(t *testing.T) {
	server := zktest.NewServer(t)
	var told atomic.Int64
	c, _ := connect(t, server.Addrs(), WithEventCallback(func(ev Event) {
		if ev.Type != EventSession {
			told.Add(1)
		}
	}))
	var armed []<-chan Event
	arm := func() {
		armed = armed[:0]
		for range 1000 {
			_, _, data, err := c.GetW("/a")
			assert.NilError(t, err)
			_, _, children, err := c.ChildrenW("/a")
			assert.NilError(t, err)
			_, _, exists, err := c.ExistsW("/b")
			assert.NilError(t, err)
			armed = append(armed, data, children, exists)
		}
		books := c.gate.Load().link.books
		assert.Assert(t, len(books.lanes) <= 4, "%d lanes", len(books.lanes))
		assert.Equal(t, books.session.Load().Watches().Len(), 3)
		assert.Assert(t, books.quiet())
	}
	nodes(t, c, "/a")
	for range 3 {
		arm()
		told.Store(0)
		_, err := c.Multi(&SetDataRequest{"/a", nil, -1}, &CreateRequest{Path: "/a/c", Acl: WorldACL(PermAll)}, &CreateRequest{Path: "/b", Acl: WorldACL(PermAll)})
		assert.NilError(t, err)
		for _, ch := range armed {
			ev, ok := <-ch
			_, more := <-ch
			assert.Assert(t, ok && !more && ev.Type != EventNotWatching)
		}
		assert.Equal(t, told.Load(), int64(3))
		_, err = c.Multi(&DeleteRequest{"/a/c", -1}, &DeleteRequest{"/b", -1})
		assert.NilError(t, err)
	}
	arm()
	told.Store(0)
	c.Close()
	for _, ch := range armed {
		ev := <-ch
		_, more := <-ch
		assert.Assert(t, ev.Type == EventNotWatching && ev.Err == ErrClosing && !more)
	}
	assert.Equal(t, told.Load(), int64(3))
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
