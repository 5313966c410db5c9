package recipe_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestR43_Own(t *testing.T) {
	bubble(t, func(r *rig) {
		old, s, admin := r.dial(), r.dial(), r.dial()
		first, err := recipe.Own(bg, old, "/app1/own", []byte("old"), nil)
		assert.NilError(t, err)
		data, st, err := admin.Get(bg, "/app1/own", nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), "old")
		assert.Equal(t, st.Czxid, first.Token())
		ctx, cancel := context.WithTimeout(bg, time.Second)
		_, err = recipe.Own(ctx, s, "/app1/own", nil, nil)
		assert.ErrorIs(t, err, recipe.ErrNotOwner)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, fmt.Sprintf("0x%x", old.ID()))
		cancel()
		assert.Equal(t, s.Watches().Len(), 0)
		ctx, cancel = context.WithTimeout(bg, time.Second)
		_, err = recipe.Own(ctx, s, "/app1", nil, nil) // its znode is persistent
		assert.ErrorIs(t, err, recipe.ErrNotOwner)
		assert.ErrorContains(t, err, "not ephemeral")
		cancel()
		again, err := recipe.Own(bg, old, "/app1/own", []byte("taken"), nil)
		assert.NilError(t, err)
		assert.Equal(t, again.Token(), first.Token())
		data, _, err = admin.Get(bg, "/app1/own", nil)
		assert.NilError(t, err)
		assert.Equal(t, string(data), "taken")
		got := r.waiting(func() (*recipe.Hold, error) { return recipe.Own(bg, s, "/app1/own", []byte("new"), nil) })
		assert.Equal(t, len(got), 0)
		r.Cut(old.ID()) // the program was restarted within the timeout: its former session has to expire
		start := time.Now()
		res := <-got
		assert.NilError(t, res.err)
		assert.Check(t, time.Since(start) > 5*time.Second && time.Since(start) < 11*time.Second)
		// What another has made in the meantime is not deleted.
		assert.NilError(t, admin.Delete(bg, "/app1/own", zk.AnyVersion))
		<-res.h.Lost()
		_, err = admin.Create(bg, "/app1/own", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		assert.ErrorIs(t, res.h.Release(), recipe.ErrNotHeld)
		assert.ErrorIs(t, first.Release(), recipe.ErrNotHeld)
		again.Release()
		assert.DeepEqual(t, r.children("/app1"), []string{"own"})
	})
}

// A create that is lost, and nobody comes back for it, is undone; one that was
// there before is not.
func TestR43_LostCreate(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		assert.NilError(t, (&recipe.Barrier{Path: "/own"}).Set(bg, s))
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpCreate, Do: zktest.CutAfter})
		_, err := recipe.Own(bg, s, "/own/a", nil, nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		assert.Equal(t, len(r.children("/own")), 1)
		s = redial(t, s)
		time.Sleep(11 * time.Second)
		assert.Equal(t, len(r.children("/own")), 0)
		h, err := recipe.Own(bg, s, "/own/a", nil, nil)
		assert.NilError(t, err)
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpSetData, Do: zktest.CutAfter})
		_, err = recipe.Own(bg, s, "/own/a", []byte("x"), nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		redial(t, s)
		time.Sleep(11 * time.Second)
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
	})
}

// The znode goes, and its name to another session, while Own is about to take it.
func TestR43_GoesWhileTaken(t *testing.T) {
	// slow dials a session whose calls of these kinds wait before they are sent. Those
	// that create wait a little, so that the other session is first.
	slow := func(r *rig, ops map[string]time.Duration) *zk.Session {
		ops["batch"] = time.Millisecond
		conf := r.conf()
		conf.Trace = &zk.Trace{CallStart: func(ctx context.Context, s *zk.Session, c zk.Call) context.Context {
			time.Sleep(ops[c.Op])
			return ctx
		}}
		s, err := zk.Dial(bg, conf)
		assert.NilError(r, err)
		r.Cleanup(func() { closeLast(s) })
		return s
	}
	// check lets another session get the znode meanwhile, by what go does. then is the
	// data of that.
	check := func(r *rig, s *zk.Session, first int64, then string, free func()) {
		other := r.dial()
		theirs := r.waiting(func() (*recipe.Hold, error) { return recipe.Own(bg, other, "/own", []byte("other"), nil) })
		mine := r.waiting(func() (*recipe.Hold, error) { return recipe.Own(bg, s, "/own", []byte("mine"), nil) })
		time.Sleep(10 * time.Millisecond)
		free()
		b := <-theirs
		assert.NilError(r, b.err)
		time.Sleep(3 * time.Second)
		assert.NilError(r, b.h.Err())
		assert.Equal(r, len(mine), 0) // else both hold it
		data, _, err := other.Get(bg, "/own", nil)
		assert.NilError(r, err)
		assert.Equal(r, string(data), then)
		assert.NilError(r, b.h.Release())
		a := <-mine
		assert.NilError(r, a.err)
		assert.Check(r, a.h.Token() > b.h.Token() && b.h.Token() > first)
		assert.NilError(r, a.h.Err())
		assert.NilError(r, a.h.Release())
		assert.Equal(r, newest(s).Watches().Len(), 0)
	}
	bubble(t, func(r *rig) { // by the Release of this session, which had no connection
		s := slow(r, map[string]time.Duration{"delete": time.Second, "set": 2 * time.Second})
		first, err := recipe.Own(bg, s, "/own", nil, nil)
		assert.NilError(t, err)
		r.Cut(s.ID())
		<-s.Done()
		assert.ErrorIs(t, first.Release(), zk.ErrConnection)
		check(r, redial(t, s), first.Token(), "other", func() {})
	})
	bubble(t, func(r *rig) { // by a Release that is at work
		s := slow(r, map[string]time.Duration{"delete": time.Second, "set": 2 * time.Second})
		first, err := recipe.Own(bg, s, "/own", nil, nil)
		assert.NilError(t, err)
		released := r.waiting(func() (*recipe.Hold, error) { return nil, first.Release() })
		check(r, s, first.Token(), "other", func() { assert.NilError(t, (<-released).err) })
	})
	bubble(t, func(r *rig) { // by an Own that has given up
		s := slow(r, map[string]time.Duration{"delete": time.Second, "set": 2 * time.Second})
		r.Fault(zktest.Rule{Dir: zktest.ToClient, Session: s.ID(), Op: wire.OpCreate, Delay: 100 * time.Millisecond})
		ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
		defer cancel()
		failed := r.waiting(func() (*recipe.Hold, error) { return recipe.Own(ctx, s, "/own", nil, nil) })
		time.Sleep(200 * time.Millisecond)
		check(r, s, 0, "other", func() { assert.ErrorIs(t, (<-failed).err, zk.ErrLost) })
	})
	bubble(t, func(r *rig) { // as nobody came for a place
		s := slow(r, map[string]time.Duration{"delete": time.Second, "set": 2 * time.Second})
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpCreate, Do: zktest.CutAfter})
		_, err := recipe.Own(bg, s, "/own", nil, nil)
		assert.ErrorIs(t, err, zk.ErrLost)
		s = redial(t, s)
		time.Sleep(r.timeout + 100*time.Millisecond)
		check(r, s, 0, "other", func() {})
	})
	bubble(t, func(r *rig) { // by a stranger: what Own sets then is the other's, as with Hold.SetData
		s := slow(r, map[string]time.Duration{"set": 2 * time.Second})
		first, err := recipe.Own(bg, s, "/own", nil, nil)
		assert.NilError(t, err)
		check(r, s, first.Token(), "mine", func() { assert.NilError(t, r.dial().Delete(bg, "/own", zk.AnyVersion)) })
	})
	bubble(t, func(r *rig) { // a context that ends
		s := slow(r, map[string]time.Duration{"delete": 2 * time.Second})
		first, err := recipe.Own(bg, s, "/own", nil, nil)
		assert.NilError(t, err)
		released := r.waiting(func() (*recipe.Hold, error) { return nil, first.Release() })
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err = recipe.Own(ctx, s, "/own", nil, nil)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.NilError(t, (<-released).err)
	})
}

func TestR44_Group(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		g := recipe.Group{Path: "/g"}
		none, err := g.Members(bg, a)
		assert.NilError(t, err)
		assert.Equal(t, len(none), 0)
		ha, err := g.Join(bg, a, "a", []byte("data of a"))
		assert.NilError(t, err)
		assert.Equal(t, ha.Path(), "/g/a")
		k := recipe.Group{Path: "/g", Layout: recipe.Kazoo}
		hb, err := k.Join(bg, b, "b", nil)
		assert.NilError(t, err)
		assert.Check(t, strings.HasSuffix(hb.Path(), "__party__"))
		_, err = a.Create(bg, "/g/persistent", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		_, err = a.Create(bg, "/g/"+someGUID+"-shallow", nil, zk.Ephemeral, zk.ACLOpen)
		assert.NilError(t, err)
		for _, g := range []recipe.Group{g, k} {
			members, err := g.Members(bg, a)
			assert.NilError(t, err)
			assert.DeepEqual(t, members, map[string][]byte{"a": []byte("data of a"), "b": []byte("b"), "shallow": nil})
		}
		assert.NilError(t, ha.SetData(bg, a, []byte("new")))
		members, err := g.Members(bg, b)
		assert.NilError(t, err)
		assert.Equal(t, string(members["a"]), "new")
		assert.NilError(t, ha.Release())
		assert.NilError(t, hb.Release())
		members, err = g.Members(bg, b)
		assert.NilError(t, err)
		assert.Equal(t, len(members), 1)
	})
}
