package zk

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	root "github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

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

// A lock is a watch of its own on the session, and does no harm to the order here.
func TestOwnEventBesideLock(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		c, _ := connect(t, server.Addrs(), through)
		nodes(t, c, "/a")
		l := NewLock(c, "/l", WorldACL(PermAll))
		assert.NilError(t, l.Lock())
		for range 100 {
			_, _, ch, err := c.GetW("/a")
			assert.NilError(t, err)
			_, err = c.Set("/a", nil, -1)
			assert.NilError(t, err)
			assert.Equal(t, len(ch), 1)
		}
	})
}

// The function of WithSession is called for one connection after the other, also while
// it is slow.
func TestWithSessionIsCalledInOrder(t *testing.T) {
	inMemory(t, func(t *testing.T, server *zktest.Server, through connOption) {
		var inside, most, calls atomic.Int32
		c, _ := connect(t, server.Addrs(), through, WithSession(func(s *root.Session, fresh bool) {
			most.Store(max(most.Load(), inside.Add(1)))
			time.Sleep(time.Second)
			inside.Add(-1)
			assert.Check(t, fresh == (calls.Add(1) == 1))
		}))
		for range 3 {
			_, _, err := c.Get("/")
			assert.NilError(t, err)
			server.CutAll()
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		assert.Assert(t, calls.Load() == 4 && most.Load() == 1, "%d calls, %d at once", calls.Load(), most.Load())
	})
}
