package zk

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

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
