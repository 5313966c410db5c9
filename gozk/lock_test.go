package zk

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// Twenty contenders on Conns that are cut all the time: one at a time has the lock, in
// the order of the transactions that made their znodes, and each gets it.
func TestLockExcludes(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		const contenders, turns = 20, 5
		var inside, count atomic.Int32
		var last atomic.Int64
		watcher, _ := connect(t, server.Addrs(), through)
		var wg sync.WaitGroup
		for i := range contenders {
			c, _ := connect(t, server.Addrs(), through)
			wg.Go(func() {
				l := NewLock(c, "/some/lock", WorldACL(PermAll))
				for range turns {
					for l.LockWithData(fmt.Append(nil, i)) != nil {
						time.Sleep(time.Millisecond)
					}
					if !assert.Check(t, inside.Add(1) == 1, "two hold the lock") {
						return
					}
					st := owner(t, watcher)
					assert.Check(t, st > last.Swap(st), "a later znode was served first")
					time.Sleep(10 * time.Millisecond)
					count.Add(1)
					inside.Add(-1)
					l.Unlock() // after an error it is given up all the same
				}
			})
		}
		stop := make(chan struct{})
		go func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(37 * time.Millisecond):
				}
				if list := server.Sessions(); len(list) > 0 {
					if id := list[i%len(list)]; id != watcher.SessionID() {
						server.Cut(id)
					}
				}
			}
		}()
		wg.Wait()
		close(stop)
		assert.Equal(t, count.Load(), int32(contenders*turns))
		names, _, err := watcher.Children("/some/lock")
		assert.NilError(t, err)
		assert.Equal(t, len(names), 0)
	})
}

// owner returns the czxid of the first in the queue.
func owner(t *testing.T, c *Conn) (first int64) {
	names, _, err := c.Children("/some/lock")
	assert.Check(t, err == nil, "%v", err)
	for _, name := range names {
		if found, st, _ := c.Exists("/some/lock/" + name); found && (first == 0 || st.Czxid < first) {
			first = st.Czxid
		}
	}
	return first
}

// A lock is go-zookeeper's, and kazoo's; children that are no contenders do not matter.
func TestLockAmongOthers(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		l := NewLock(c, "/l", WorldACL(PermAll))
		assert.Equal(t, l.Unlock(), ErrNotLocked)
		assert.NilError(t, l.Lock())
		assert.Equal(t, l.Lock(), ErrDeadlock)
		names, _, err := c.Children("/l")
		assert.NilError(t, err)
		assert.Assert(t, len(names) == 1 && strings.HasPrefix(names[0], "_c_") && strings.HasSuffix(names[0], "-lock-0000000000"), "%v", names)
		assert.NilError(t, l.Unlock())

		nodes(t, c, "/l/readme", "/l/da5719988c244fc793f49ec3aa29b566__lock__0000000000", "/l/_c_38553bd6d1d57f710ae70ddcc3d24715-lock-0000000000")
		done := make(chan error)
		go func() { done <- l.Lock() }()
		time.Sleep(time.Second)
		assert.NilError(t, c.Delete("/l/da5719988c244fc793f49ec3aa29b566__lock__0000000000", -1))
		time.Sleep(time.Second)
		select {
		case <-done:
			t.Fatal("go-zookeeper's contender was passed over")
		default:
		}
		assert.NilError(t, c.Delete("/l/_c_38553bd6d1d57f710ae70ddcc3d24715-lock-0000000000", -1))
		assert.NilError(t, <-done)
		assert.NilError(t, l.Unlock())

		for path, want := range map[string]error{"": ErrInvalidPath, "/": ErrInvalidPath, "x": ErrInvalidPath, "/x/": ErrInvalidPath} {
			assert.Equal(t, NewLock(c, path, WorldACL(PermAll)).Lock(), want)
		}
		assert.Equal(t, NewLock(c, "/no/acl", nil).Lock(), ErrInvalidACL)
	})
}

// A waiter whose session ends, or whose Conn is closed, fails; nobody waits behind it.
func TestLockWaiterFails(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		first, _ := connect(t, server.Addrs(), through)
		held := NewLock(first, "/l", WorldACL(PermAll))
		assert.NilError(t, held.Lock())
		results := make(map[string]chan error)
		conns := make(map[string]*Conn)
		for _, name := range []string{"expires", "closes", "waits"} {
			c, _ := connect(t, server.Addrs(), through)
			done := make(chan error, 1)
			go func() { done <- NewLock(c, "/l", WorldACL(PermAll)).Lock() }()
			results[name], conns[name] = done, c
			time.Sleep(time.Second)
		}
		server.Expire(conns["expires"].SessionID())
		assert.Equal(t, <-results["expires"], ErrSessionExpired)
		conns["closes"].Close()
		assert.Equal(t, <-results["closes"], ErrClosing)
		assert.NilError(t, held.Unlock())
		assert.NilError(t, <-results["waits"])

		// What is held ends with its session.
		again := NewLock(first, "/m", WorldACL(PermAll))
		assert.NilError(t, again.Lock())
		server.Expire(first.SessionID())
		_, _, err := first.Get("/")
		for err != nil {
			_, _, err = first.Get("/")
		}
		assert.Equal(t, again.Unlock(), ErrNoNode)
		assert.NilError(t, again.Lock())
		time.Sleep(time.Minute) // all that worked for the old session has ended
	})
}

// Unlock is a Delete of the znode, and fails as one. Where its answer is lost, it finds out
// what became of the znode.
func TestUnlock(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		other, _ := connect(t, server.Addrs(), through)
		contenders := func() int {
			names, _, err := other.Children("/l")
			assert.NilError(t, err)
			return len(names)
		}
		l := NewLock(c, "/l", WorldACL(PermAll))
		deletes := func() (n int) {
			for _, f := range server.Frames() {
				if f.Op == wire.OpDelete && f.Dir == zktest.FromClient {
					n++
				}
			}
			return n
		}
		away := func(c *Conn) {
			server.Member(0).Refuse(true)
			server.Cut(c.SessionID())
			time.Sleep(100 * time.Millisecond) // it has been tried once more, and now there is a pause
		}

		server.ForgetFrames()
		for range 3 {
			assert.NilError(t, l.Lock())
			assert.NilError(t, l.Unlock())
		}
		synctest.Wait()
		assert.Equal(t, deletes(), 3)

		// Somebody else has deleted it, and the event has not come yet.
		assert.NilError(t, l.Lock())
		late := server.Fault(zktest.Rule{
			Dir: zktest.ToClient, Session: c.SessionID(), Delay: 100 * time.Millisecond,
			Match: func(f zktest.Frame) bool { return f.Op == wire.OpNotification },
		})
		rmr(t, other, "/l")
		assert.Equal(t, l.Unlock(), ErrNoNode)
		late.Remove()
		assert.Equal(t, l.Unlock(), ErrNotLocked)

		// It waits for a connection, also where the pause is longer than a third of the timeout.
		short, _, err := Connect(server.Addrs(), 1500*time.Millisecond, WithLogger(silent{}), through)
		assert.NilError(t, err)
		defer short.Close()
		m := NewLock(short, "/l", WorldACL(PermAll))
		assert.NilError(t, m.Lock())
		away(short)
		time.AfterFunc(100*time.Millisecond, func() { server.Member(0).Refuse(false) })
		assert.NilError(t, m.Unlock())
		assert.Equal(t, contenders(), 0)

		// But no longer than any call.
		assert.NilError(t, l.Lock())
		away(c)
		assert.Equal(t, l.Unlock(), ErrNoServer)
		server.Member(0).Refuse(false)
		assert.NilError(t, l.Lock()) // which waits for the one before
		assert.Equal(t, contenders(), 1)
		assert.NilError(t, l.Unlock())

		for _, do := range []zktest.Action{zktest.CutBefore, zktest.CutAfter} {
			assert.NilError(t, l.Lock())
			server.Fault(zktest.Rule{Op: wire.OpDelete, Do: do})
			assert.NilError(t, l.Unlock())
			assert.Equal(t, contenders(), 0)
		}

		// The directory lets nobody delete.
		assert.NilError(t, l.Lock())
		_, err = other.SetACL("/l", WorldACL(PermAll&^PermDelete), -1)
		assert.NilError(t, err)
		assert.Equal(t, l.Unlock(), ErrNoAuth)
		assert.Equal(t, contenders(), 1)
		_, err = other.SetACL("/l", WorldACL(PermAll), -1)
		assert.NilError(t, err)
		rmr(t, other, "/l")

		synctest.Wait()
		assert.Equal(t, c.gate.Load().link.books.foreign.Load(), int32(0)) // no call has to look for its events
		assert.NilError(t, l.Lock())
		c.Close()
		assert.Equal(t, l.Unlock(), ErrConnectionClosed)
		assert.Equal(t, contenders(), 0)
	})
}

// rmr deletes the children of a znode.
func rmr(t *testing.T, c *Conn, path string) {
	t.Helper()
	names, _, err := c.Children(path)
	assert.NilError(t, err)
	for _, name := range names {
		assert.NilError(t, c.Delete(path+"/"+name, -1))
	}
}
