package recipe_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

// A session that lives after all, though nobody heard of it until ExpiresAt: the
// hold is lost, and its znode keeps others out until Release.
func TestR31_LostAndTheSessionLives(t *testing.T) {
	bubble(t, func(r *rig) {
		r.timeout = 10 * time.Second
		s, other := r.dial(), r.dial()
		h := r.hold(s, "/l")
		time.Sleep(20 * time.Second)
		r.Cut(s.ID())
		<-s.Done()
		time.Sleep(time.Until(s.ExpiresAt()) - time.Millisecond)
		assert.Check(t, !isLost(h.Lost()))
		time.Sleep(2 * time.Millisecond)
		assert.Check(t, isLost(h.Lost()))
		next := redial(t, s) // within the timeout of the server
		assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, other) })
		time.Sleep(time.Minute)
		assert.Equal(t, len(got), 0)
		r.ForgetFrames()
		_, err := h.Multi(bg, next, zk.CreateOp{Path: "/x", ACL: zk.ACLOpen})
		assert.ErrorIs(t, err, recipe.ErrNotHeld)
		assert.ErrorIs(t, h.SetData(bg, next, nil), recipe.ErrNotHeld)
		assert.Equal(t, len(r.requests(next.ID())), 0)
		_, err = next.Multi(bg, h.Guard(), zk.CreateOp{Path: "/x", ACL: zk.ACLOpen}) // the server's to answer
		assert.NilError(t, err)
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		res := <-got
		assert.NilError(t, res.err)
		_, err = next.Multi(bg, h.Guard(), zk.CreateOp{Path: "/y", ACL: zk.ACLOpen})
		assert.ErrorIs(t, err, zk.ErrNoNode)
		assert.NilError(t, res.h.Release())
	})
}

func TestR32_Reasons(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(r *rig, s *zk.Session, h *recipe.Hold)
		want string
		now  bool // at once, and not at ExpiresAt
	}{
		"deleted": {func(r *rig, s *zk.Session, h *recipe.Hold) {
			assert.NilError(r, r.dial().Delete(bg, h.Path(), zk.AnyVersion))
		}, "was deleted", true},
		"deleted while away": {func(r *rig, s *zk.Session, h *recipe.Hold) {
			admin := r.dial()
			r.Cut(s.ID())
			<-s.Done()
			assert.NilError(r, admin.Delete(bg, h.Path(), zk.AnyVersion))
			redial(r, s)
		}, "was deleted", true},
		"closed": {func(r *rig, s *zk.Session, h *recipe.Hold) { assert.NilError(r, s.Close()) }, "closed", true},
		"renewed": {func(r *rig, s *zk.Session, h *recipe.Hold) {
			_, err := s.Renew(bg)
			assert.NilError(r, err)
		}, "renewed", true},
		"multi": {func(r *rig, s *zk.Session, h *recipe.Hold) {
			r.Fault(zktest.Rule{Dir: zktest.ToClient, Session: s.ID(), Match: func(f zktest.Frame) bool { return f.Op == wire.OpNotification }, Do: zktest.Drop, Count: -1})
			assert.NilError(r, r.dial().Delete(bg, h.Path(), zk.AnyVersion))
			synctest.Wait()
			assert.Check(r, !isLost(h.Lost()))
			_, err := h.Multi(bg, s, zk.CreateOp{Path: "/x", ACL: zk.ACLOpen})
			assert.ErrorIs(r, err, recipe.ErrNotHeld)
		}, "was deleted", true},
		"detached":     {func(r *rig, s *zk.Session, h *recipe.Hold) { s.Detach() }, "no server", false},
		"cut":          {func(r *rig, s *zk.Session, h *recipe.Hold) { r.Cut(s.ID()) }, "no server", false},
		"stalled":      {func(r *rig, s *zk.Session, h *recipe.Hold) { r.Stall(s.ID()) }, "no server", false},
		"close failed": {func(r *rig, s *zk.Session, h *recipe.Hold) { r.Cut(s.ID()); <-s.Done(); s.Close() }, "no server", false},
		"another process": {func(r *rig, s *zk.Session, h *recipe.Hold) {
			conf := s.Config()
			text, err := json.Marshal(conf.State)
			assert.NilError(r, err)
			conf.State = zk.State{}
			assert.NilError(r, json.Unmarshal(text, &conf.State))
			assert.NilError(r, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return nil }))
			s, err = zk.Dial(bg, conf)
			assert.NilError(r, err)
			r.Cleanup(func() { s.Close() })
		}, "no server", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				s := r.dial()
				h := r.hold(s, "/l")
				ctx, cancel := h.Context(bg)
				defer cancel()
				time.Sleep(3 * time.Second)
				test.do(r, s, h)
				start := time.Now()
				select {
				case <-h.Lost():
				case <-time.After(time.Minute):
					t.Fatal("not lost")
				}
				if test.now {
					assert.Equal(t, time.Since(start), time.Duration(0))
				} else {
					assert.Equal(t, time.Now(), s.ExpiresAt())
				}
				assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
				assert.ErrorContains(t, h.Err(), test.want)
				<-ctx.Done()
				assert.Equal(t, context.Cause(ctx), h.Err())
				assert.Equal(t, h.Release(), h.Err())
			})
		})
	}
}

func TestR33_TokenGrows(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		var token int64
		for range 5 {
			h := r.hold(s, "/l")
			assert.Check(t, strings.HasSuffix(h.Path(), "-lock-0000000000"))
			assert.Check(t, h.Token() > token)
			token = h.Token()
			_, st, err := s.Exists(bg, h.Path(), nil)
			assert.NilError(t, err)
			assert.Equal(t, st.Czxid, token)
			assert.NilError(t, h.Release())
			assert.NilError(t, s.Delete(bg, "/l", zk.AnyVersion))
		}
	})
}

func TestR34_Multi(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		h := r.hold(s, "/l")
		res, err := h.Multi(bg, s, zk.CreateOp{Path: "/x", Data: []byte("1"), ACL: zk.ACLOpen}, zk.SetOp{Path: "/x", Version: 0})
		assert.NilError(t, err)
		assert.Equal(t, len(res), 2)
		assert.Equal(t, res[0].Path, "/x")
		res, err = h.Multi(bg, s, zk.CreateOp{Path: "/y", ACL: zk.ACLOpen}, zk.SetOp{Path: "/missing", Version: 0})
		assert.ErrorIs(t, err, zk.ErrNoNode) // of an operation, and the hold goes on
		assert.Equal(t, len(res), 2)
		assert.Equal(t, res[1].Err, zk.ErrNoNode)
		assert.NilError(t, h.Err())

		// As if this process were stopped: the session expires, another takes over,
		// and the process goes on before it has noticed anything.
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, other) })
		r.Stall(s.ID())
		r.Expire(s.ID())
		second := <-got
		assert.NilError(t, second.err)
		assert.NilError(t, h.Err())
		_, err = h.Multi(bg, r.dial(), zk.SetOp{Path: "/x", Data: []byte("stale"), Version: zk.AnyVersion})
		assert.ErrorIs(t, err, recipe.ErrNotHeld)
		next, err := s.Renew(bg)
		assert.NilError(t, err)
		_, err = next.Multi(bg, h.Guard(), zk.SetOp{Path: "/x", Data: []byte("stale"), Version: zk.AnyVersion})
		assert.ErrorIs(t, err, zk.ErrNoNode)
		_, err = h.Multi(bg, next, zk.SetOp{Path: "/x", Data: []byte("stale"), Version: zk.AnyVersion})
		assert.ErrorIs(t, err, recipe.ErrNotHeld)
		data, _, err := other.Get(bg, "/x", nil)
		assert.NilError(t, err)
		assert.Equal(t, len(data), 0)
		assert.NilError(t, second.h.Release())
		h.Release()
	})
}

func TestR35_ReleaseOrder(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		h := r.hold(s, "/l")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, other) })
		f := r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpDelete, Delay: time.Second})
		r.ForgetFrames()
		released := make(chan error)
		go func() { released <- h.Release() }()
		<-f.Struck()
		synctest.Wait()
		assert.Check(t, isLost(h.Lost()))
		assert.ErrorIs(t, h.Err(), recipe.ErrReleased)
		assert.Equal(t, len(got), 0)
		assert.Equal(t, s.Watches().Len(), 0) // so that the deletion fires nothing
		assert.NilError(t, <-released)
		assert.NilError(t, (<-got).h.Release())
		assert.DeepEqual(t, r.requests(s.ID()), []wire.Op{wire.OpDelete})
	})
}

func TestR36_ReleaseAnywhere(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		h := r.hold(s, "/l")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { assert.Check(t, h.Release()) })
		}
		all.Wait()
		assert.NilError(t, h.Release())
		h = r.hold(s, "/l") // without a connection
		r.Cut(s.ID())
		<-s.Done()
		start := time.Now()
		err := h.Release()
		assert.Equal(t, time.Since(start), s.Timeout()/3)
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.Equal(t, len(r.children("/l")), 1)
		s = redial(t, s)
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 0)
		assert.Equal(t, h.Release(), err)
		h = r.hold(s, "/l") // with one that comes in time
		r.Cut(s.ID())
		<-s.Done()
		go func() {
			time.Sleep(time.Second)
			redial(t, s)
		}()
		assert.NilError(t, h.Release())
		assert.Equal(t, len(r.children("/l")), 0)
	})
}

func TestR36a_Forgotten(t *testing.T) {
	server := zktest.NewServer(t)
	s, err := zk.Dial(bg, zk.Config{Addrs: server.Addrs(), Timeout: time.Second})
	assert.NilError(t, err)
	defer s.Close()
	lost := func() <-chan struct{} {
		h, err := (&recipe.Lock{Path: "/l"}).Acquire(bg, s)
		assert.NilError(t, err)
		return h.Lost() // does not keep it
	}()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				runtime.GC()
			}
		}
	}()
	ctx, cancel := context.WithTimeout(bg, 20*time.Second)
	defer cancel()
	h, err := (&recipe.Lock{Path: "/l"}).Acquire(ctx, s)
	assert.NilError(t, err)
	<-lost
	held, end := h.Context(bg) // keeps it, though nothing else does
	path := h.Path()
	h = nil
	time.Sleep(1500 * time.Millisecond)
	assert.NilError(t, held.Err())
	found, _, err := s.Exists(bg, path, nil)
	assert.NilError(t, err)
	assert.Check(t, found)
	end()
}

func TestR37_Context(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		h := r.hold(s, "/l")
		a, endA := h.Context(bg)
		defer endA()
		b, endB := h.Context(a)
		endB()
		<-b.Done()
		assert.ErrorIs(t, context.Cause(b), context.Canceled)
		assert.NilError(t, h.Err()) // to end the context releases nothing
		assert.NilError(t, a.Err())
		parent, endParent := context.WithTimeout(bg, time.Second)
		defer endParent()
		c, endC := h.Context(parent)
		defer endC()
		<-c.Done()
		assert.ErrorIs(t, context.Cause(c), context.DeadlineExceeded)
		assert.NilError(t, h.Release())
		<-a.Done()
		assert.ErrorIs(t, context.Cause(a), recipe.ErrReleased)
		d, endD := h.Context(bg) // of a hold that is over
		defer endD()
		<-d.Done()
		assert.ErrorIs(t, context.Cause(d), recipe.ErrReleased)
	})
}

func TestR38_NewestSession(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		h := r.hold(s, "/l")
		assert.Equal(t, h.Session(), s)
		for range 3 { // one that goes on by itself
			r.Cut(h.Session().ID())
			<-h.Session().Done()
			go func(s *zk.Session) { redial(t, s) }(h.Session())
			time.Sleep(time.Second)
			_, err := h.Multi(bg, h.Session(), zk.CreateOp{Path: "/made-", Mode: zk.PersistentSequential, ACL: zk.ACLOpen})
			assert.NilError(t, err)
		}
		assert.NilError(t, h.Release())
	})
}

func TestR39_HandOver(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		h := r.hold(s, "/l")
		waiter := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, other) })
		guid := h.Detach()
		assert.Equal(t, len(guid), 32)
		assert.Check(t, isLost(h.Lost()))
		assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		assert.Equal(t, h.Detach(), "")
		conf := s.Detach()
		text, err := json.Marshal(conf.State)
		assert.NilError(t, err)
		conf.State = zk.State{}
		assert.NilError(t, json.Unmarshal(text, &conf.State))
		next, err := zk.Dial(bg, conf) // the other process
		assert.NilError(t, err)
		defer next.Close()
		h2, err := (&recipe.Lock{Path: "/l", GUID: guid}).Acquire(bg, next)
		assert.NilError(t, err)
		assert.Equal(t, h2.Token(), h.Token())
		assert.Equal(t, h2.Path(), h.Path())
		time.Sleep(30 * time.Second)
		assert.NilError(t, h2.Err())
		assert.Equal(t, len(waiter), 0)
		assert.NilError(t, h2.Release())
		assert.NilError(t, (<-waiter).h.Release())
	})
}

func TestSetData(t *testing.T) {
	bubble(t, func(r *rig) {
		s, admin := r.dial(), r.dial()
		h := r.hold(s, "/l")
		for range 3 {
			assert.NilError(t, h.SetData(bg, s, []byte("new")))
			synctest.Wait()
			data, _, err := admin.Get(bg, h.Path(), nil)
			assert.NilError(t, err)
			assert.Equal(t, string(data), "new")
			assert.NilError(t, h.Err())
		}
		assert.NilError(t, admin.Delete(bg, h.Path(), zk.AnyVersion)) // it still watches
		<-h.Lost()
		assert.ErrorIs(t, h.SetData(bg, s, nil), recipe.ErrNotHeld)
		h.Release()
	})
}

// A hold that was made by nobody, and a Session that is none, are errors.
func TestZeroValues(t *testing.T) {
	ctx := bg
	for _, h := range []*recipe.Hold{nil, {}} {
		<-h.Lost()
		assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		assert.ErrorIs(t, h.SetData(ctx, nil, nil), recipe.ErrNotHeld)
		_, err := h.Multi(ctx, nil)
		assert.ErrorIs(t, err, recipe.ErrNotHeld)
		assert.Check(t, h.Until().IsZero() && h.Token() == 0 && h.Path() == "" && h.Session() == nil && h.Detach() == "")
		c, cancel := h.Context(ctx)
		defer cancel()
		assert.ErrorIs(t, context.Cause(c), recipe.ErrNotHeld)
		assert.Equal(t, h.Guard().Path, "")
		assert.ErrorIs(t, (&recipe.DoubleBarrier{Path: "/b", Members: 1}).Leave(ctx, nil, h), zk.ErrClosed)
	}
	assert.ErrorIs(t, (*recipe.Item)(nil).Done(ctx, nil), recipe.ErrNotHeld)
	assert.ErrorIs(t, (&recipe.Item{}).Done(ctx, nil), recipe.ErrNotHeld)
	for _, s := range []*zk.Session{nil, {}} {
		for name, f := range everyCall(s) {
			err := f(ctx, "")
			assert.Check(t, errors.Is(err, zk.ErrClosed), "%s: %v", name, err)
		}
	}
}
