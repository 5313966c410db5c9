package recipe_test

import (
	"context"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// What the ACL of the directory forbids is said, and leaves as little as it can.
func TestPermissions(t *testing.T) {
	bubble(t, func(r *rig) {
		s, admin := r.dial(), r.dial()
		mkdir := func(path string, perms zk.Permission) {
			_, err := admin.Create(bg, path, nil, zk.Persistent, zk.ACL{{Perms: perms, Scheme: "world", ID: "anyone"}})
			assert.NilError(t, err)
		}
		mkdir("/unread", zk.PermAll&^zk.PermRead)
		_, err := (&recipe.Lock{Path: "/unread"}).Acquire(bg, s)
		assert.ErrorIs(t, err, zk.ErrNoAuth)
		_, err = admin.SetACL(bg, "/unread", zk.ACLOpen, zk.AnyVersion)
		assert.ErrorIs(t, err, nil)
		assert.Equal(t, len(r.children("/unread")), 0)

		mkdir("/kept", zk.PermAll&^zk.PermDelete)
		h := r.hold(s, "/kept")
		assert.ErrorIs(t, h.Release(), zk.ErrNoAuth)
		assert.Equal(t, len(r.children("/kept")), 1)
		assert.NilError(t, s.Close())
		assert.Equal(t, len(r.children("/kept")), 0)

		mkdir("/unwatched", zk.PermAll)
		h, err = (&recipe.Lock{Path: "/unwatched", ACL: zk.ACLWorld(zk.PermAll &^ zk.PermRead)}).Acquire(bg, admin)
		assert.NilError(t, err)
		<-h.Lost()
		assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
		assert.ErrorIs(t, h.Err(), zk.ErrNoAuth)
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		assert.Equal(t, len(r.children("/unwatched")), 0)

		mkdir("/closed", zk.PermRead)
		_, err = (&recipe.Lock{Path: "/closed"}).Acquire(bg, admin)
		assert.ErrorIs(t, err, zk.ErrNoAuth)
	})
}

// A contender whose data may not be read is waited for like any other.
func TestUnreadablePredecessor(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		private := zk.ACL{{Perms: zk.PermAll &^ zk.PermRead, Scheme: "world", ID: "anyone"}}
		_, err := a.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		path, err := a.Create(bg, "/l/lock-", nil, zk.EphemeralSequential, private)
		assert.NilError(t, err)
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, b) })
		assert.Equal(t, len(got), 0)
		assert.NilError(t, a.Delete(bg, path, zk.AnyVersion))
		res := <-got
		assert.NilError(t, res.err)
		assert.NilError(t, res.h.Release())
		assert.Check(t, b.Watches().Len() == 0, "%v", b.Watches().List())
		// A znode that its own session may not read cannot be watched: no hold is
		// given that could be lost unnoticed.
		h, err := (&recipe.Lock{Path: "/l", ACL: private}).Acquire(bg, b)
		if err == nil {
			<-h.Lost()
			assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		}
		assert.Equal(t, len(r.children("/l")), 0)
	})
}

// The same goroutine waits for itself, as with a sync.Mutex, unless it says by the
// context that it holds the lock.
func TestAcquireTwice(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		h := r.hold(s, "/l")
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		_, err := (&recipe.Lock{Path: "/l"}).Acquire(ctx, s)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NilError(t, h.Release())
	})
}

// A place is not for a call with other Data, which stands at the end; the place is
// given up after its time.
func TestOtherData(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		h := r.hold(other, "/l")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l", Data: []byte("a")}).Acquire(bg, s) })
		r.Cut(s.ID())
		assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
		s = redial(t, s)
		got = r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l", Data: []byte("b")}).Acquire(bg, s) })
		assert.Equal(t, len(r.children("/l")), 3)
		assert.NilError(t, h.Release())
		assert.Equal(t, len(got), 0) // its turn came, and nobody is there
		start := time.Now()
		res := <-got
		assert.NilError(t, res.err)
		assert.Check(t, time.Since(start) <= s.Timeout())
		assert.NilError(t, res.h.Release())
	})
}

// cutCreate lets the answer to the next create of a session be lost.
func (r *rig) cutCreate(s *zk.Session) {
	r.Fault(zktest.Rule{Session: s.ID(), Do: zktest.CutAfter, Match: func(f zktest.Frame) bool {
		return f.Op == wire.OpCreate || f.Op == wire.OpCreate2
	}})
}

// CreateProtected finds what it has made, and undoes what nobody comes back for.
func TestCreateProtected(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		_, err := recipe.CreateProtected(bg, s, "/missing/job-", nil, nil)
		assert.ErrorIs(t, err, zk.ErrNoNode)
		_, err = s.Create(bg, "/jobs", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		a, err := recipe.CreateProtected(bg, s, "/jobs/job-", []byte("x"), nil)
		assert.NilError(t, err)
		b, err := recipe.CreateProtected(bg, s, "/jobs/job-", []byte("x"), nil)
		assert.NilError(t, err)
		assert.Check(t, a != b)
		r.cutCreate(s)
		_, err = recipe.CreateProtected(bg, s, "/jobs/job-", []byte("x"), nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		assert.Equal(t, len(r.children("/jobs")), 3)
		s = redial(t, s)
		c, err := recipe.CreateProtected(bg, s, "/jobs/job-", []byte("x"), nil)
		assert.NilError(t, err)
		assert.Check(t, c != a && c != b)
		assert.Equal(t, len(r.children("/jobs")), 3)
		r.cutCreate(s)
		_, err = recipe.CreateProtected(bg, s, "/jobs/job-", []byte("x"), nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		redial(t, s)
		time.Sleep(11 * time.Second)
		assert.Equal(t, len(r.children("/jobs")), 3)
	})
}
