package recipe_test

import (
	"context"
	"encoding/json"
	"errors"
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

func TestR22_DeletedBySomebody(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b, c, admin := r.dial(), r.dial(), r.dial(), r.dial()
		h := r.hold(a, "/l")
		second := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, b) })
		found, err := (&recipe.Lock{Path: "/l"}).Contenders(bg, admin)
		assert.NilError(t, err)
		third := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, c) })
		assert.NilError(t, admin.Delete(bg, found[1].Path, zk.AnyVersion))
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 3) // it stands again, at the end
		assert.NilError(t, admin.Delete(bg, h.Path(), zk.AnyVersion))
		synctest.Wait()
		assert.Check(t, isLost(h.Lost()))
		assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
		res := <-third
		assert.NilError(t, res.err)
		assert.Equal(t, len(second), 0)
		assert.NilError(t, res.h.Release())
		res = <-second
		assert.NilError(t, res.err)
		assert.NilError(t, res.h.Release())
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
	})
}

// A context that ends at any step leaves nothing, when Acquire returns or after
// the next redial.
func TestR23_CancelAtEveryStep(t *testing.T) {
	for _, held := range []bool{false, true} {
		for _, do := range []zktest.Action{zktest.Pass, zktest.CutBefore, zktest.CutAfter, zktest.StallAfter} {
			hits := 1
			for k := 0; hits > 0; k++ {
				synctest.Test(t, func(t *testing.T) {
					t.Cleanup(func() { time.Sleep(time.Minute) })
					r := &rig{T: t, Ensemble: zktest.NewEnsemble(t, 1, zktest.Options{InMemory: true}), timeout: 10 * time.Second}
					s, other := r.dial(), r.dial()
					want := 0
					if held {
						defer r.hold(other, "/l").Release()
						want = 1
					}
					f := r.Fault(zktest.Rule{Session: s.ID(), Skip: k, Do: do, Delay: time.Second, Match: func(f zktest.Frame) bool {
						return f.Op != wire.OpPing && f.Op != zktest.OpConnect
					}})
					ctx, cancel := context.WithTimeout(bg, 30*time.Second)
					defer cancel()
					go func() {
						select {
						case <-f.Struck():
							time.Sleep(time.Millisecond)
							cancel()
						case <-ctx.Done():
						}
					}()
					start := time.Now()
					h, err := (&recipe.Lock{Path: "/l"}).Acquire(ctx, s)
					if hits = f.Hits(); hits == 0 {
						cancel()
					}
					if err == nil {
						h.Release()
					}
					assert.Check(t, time.Since(start) < 35*time.Second)
					if do != zktest.Pass || hits == 0 {
						r.Heal()
						s = newest(s)
						if s.Err() != nil {
							redial(t, s)
						} else {
							r.Cut(s.ID())
							<-s.Done()
							redial(t, s)
						}
						time.Sleep(11 * time.Second)
					}
					assert.Check(t, len(r.children("/l")) == want, "%v %d: %v", do, k, r.children("/l"))
				})
				assert.Assert(t, k < 20)
			}
		}
	}
}

func TestR25_Renewed(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		held := r.hold(s, "/held")
		h := r.hold(other, "/l")
		got := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) })
		assert.Equal(t, len(r.children("/l")), 2)
		next, err := s.Renew(bg) // though the old session lives
		assert.NilError(t, err)
		assert.ErrorIs(t, (<-got).err, zk.ErrMoved)
		synctest.Wait()
		assert.Equal(t, len(r.children("/l")), 1) // the waiter's is gone
		assert.Equal(t, len(r.children("/held")), 1)
		<-held.Lost()
		assert.ErrorContains(t, held.Err(), "renewed")
		time.Sleep(11 * time.Second)
		assert.Equal(t, len(r.children("/held")), 0)
		assert.NilError(t, h.Release())
		assert.ErrorIs(t, held.Release(), recipe.ErrNotHeld)
		assert.Equal(t, next.Watches().Len(), 0)
	})
}

// A contender with a given GUID can have the name of one that an earlier session
// had: where the numbers end, and where the directory was made again. What is
// left to be deleted of the earlier one is not the later one's znode.
func TestR25_NameComesAgain(t *testing.T) {
	for _, layout := range []recipe.Layout{recipe.Curator, recipe.Kazoo} {
		for name, again := range map[string]func(r *rig, admin *zk.Session){
			"numbers end": func(r *rig, admin *zk.Session) { r.SetSequence(r.chroot+"/l", 2147483647) },
			"new directory": func(r *rig, admin *zk.Session) {
				assert.NilError(r, admin.Delete(bg, "/l", zk.AnyVersion))
			},
		} {
			t.Run(name, func(t *testing.T) {
				bubble(t, func(r *rig) {
					s, admin := r.dial(), r.dial()
					_, err := admin.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
					assert.NilError(t, err)
					if name == "numbers end" {
						again(r, admin)
					}
					lock := recipe.Lock{Path: "/l", GUID: someGUID, Layout: layout}
					h, err := lock.Acquire(bg, s)
					assert.NilError(t, err)
					r.Expire(s.ID())
					<-s.Done()
					next, err := s.Renew(bg)
					assert.NilError(t, err)
					<-h.Lost()
					again(r, admin)
					later, err := lock.Acquire(bg, next)
					assert.NilError(t, err)
					assert.Equal(t, later.Path(), h.Path())
					assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
					synctest.Wait()
					assert.NilError(t, later.Err())
					assert.Equal(t, len(r.children("/l")), 1)
					assert.NilError(t, later.Release())
					assert.Equal(t, len(r.children("/l")), 0)
				})
			})
		}
	}
}

// The session may live: while its connection is lost, the znode of the hold is
// deleted, and a contender of another session gets the GUID and the name.
func TestR25_NameOfAnotherSession(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other, admin := r.dial(), r.dial(), r.dial()
		lock := recipe.Lock{Path: "/l", GUID: someGUID}
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		r.Cut(s.ID())
		<-s.Done()
		r.deleteAll(admin, "/l")
		later, err := lock.Acquire(bg, other)
		assert.NilError(t, err)
		assert.Equal(t, later.Path(), h.Path())
		released := make(chan error)
		go func() { released <- h.Release() }()
		synctest.Wait() // it waits for a connection
		redial(t, s)
		assert.NilError(t, <-released)
		synctest.Wait()
		assert.NilError(t, later.Err())
		assert.Equal(t, len(r.children("/l")), 1)
		assert.NilError(t, later.Release())
	})
}

// A hold that follows a redial is over if its name is another znode's.
func TestR32_NameComesAgain(t *testing.T) {
	bubble(t, func(r *rig) {
		s, admin := r.dial(), r.dial()
		_, err := admin.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		r.SetSequence(r.chroot+"/l", 2147483647)
		h, err := (&recipe.Lock{Path: "/l", GUID: someGUID}).Acquire(bg, s)
		assert.NilError(t, err)
		r.Cut(s.ID())
		<-s.Done()
		assert.NilError(t, admin.Delete(bg, h.Path(), zk.AnyVersion))
		conf := r.conf() // another process goes on, and makes a znode of that name
		text, err := json.Marshal(s.Config().State)
		assert.NilError(t, err)
		assert.NilError(t, json.Unmarshal(text, &conf.State))
		assert.NilError(t, conf.Watches.Rebind(func(zk.Watch) chan<- zk.Event { return nil }))
		other, err := zk.Dial(bg, conf)
		assert.NilError(t, err)
		path, err := other.Create(bg, strings.TrimRight(h.Path(), "0123456789"), nil, zk.EphemeralSequential, zk.ACLOpen)
		assert.NilError(t, err)
		assert.Equal(t, path, h.Path())
		assert.NilError(t, h.Err())
		redial(t, s)
		select {
		case <-h.Lost():
		case <-time.After(time.Minute):
			t.Fatal("not lost")
		}
		assert.ErrorContains(t, h.Err(), "another znode has its name")
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
		assert.Equal(t, len(r.children("/l")), 1) // which is not the hold's
	})
}

func TestR26_ReleaseAfterDetach(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		lock := recipe.Lock{Path: "/l", GUID: someGUID}
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, h.Detach(), someGUID)
		first, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.ErrorContains(t, h.Release(), "detached") // not the GUID of the next one
		_, err = lock.Acquire(bg, s)
		assert.ErrorIs(t, err, recipe.ErrDeadlock)
		assert.NilError(t, first.Release())
	})
	bubble(t, func(r *rig) { // at a time
		s := r.dial()
		for range 20 {
			h := r.hold(s, "/l")
			var all sync.WaitGroup
			for range 3 {
				all.Go(func() { h.Release() })
				all.Go(func() { h.Detach() })
			}
			all.Wait()
			assert.Check(t, h.Err() != nil)
			r.deleteAll(s, "/l")
		}
	})
}

func TestR26_OneGUIDTwice(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		first := r.hold(other, "/l")
		lock := recipe.Lock{Path: "/l", GUID: someGUID}
		got := r.waiting(func() (*recipe.Hold, error) { return lock.Acquire(bg, s) })
		for _, l := range []recipe.Lock{lock, {Path: "/l", GUID: someGUID, Data: []byte("x")}, {Path: "/l", GUID: someGUID, Layout: recipe.Kazoo}} {
			ctx, cancel := context.WithTimeout(bg, time.Minute)
			_, err := l.Acquire(ctx, s)
			assert.ErrorIs(t, err, recipe.ErrDeadlock)
			cancel()
		}
		assert.Equal(t, len(r.children("/l")), 2)
		assert.NilError(t, first.Release())
		res := <-got
		assert.NilError(t, res.err)
		_, err := lock.Acquire(bg, s) // while it is held
		assert.ErrorIs(t, err, recipe.ErrDeadlock)
		assert.NilError(t, res.h.Release())
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		var all sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 8 {
			all.Go(func() {
				h, err := lock.Acquire(bg, s)
				if err != nil {
					assert.Check(t, errors.Is(err, recipe.ErrDeadlock), err)
					return
				}
				mu.Lock()
				won++
				mu.Unlock()
				time.Sleep(time.Second)
				assert.Check(t, h.Release())
			})
		}
		all.Wait()
		assert.Equal(t, won, 1)
	})
}

func TestR27_Deadlock(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		rw := &recipe.RWLock{Path: "/l"}
		for _, first := range []func(context.Context, *zk.Session) (*recipe.Hold, error){rw.AcquireRead, rw.AcquireWrite, (&recipe.Lock{Path: "/l"}).Acquire} {
			h, err := first(bg, s)
			assert.NilError(t, err)
			ctx, cancel := h.Context(bg)
			inner := r.hold(s, "/other")
			ctx2, cancel2 := inner.Context(ctx)
			for _, second := range []func(context.Context, *zk.Session) (*recipe.Hold, error){rw.AcquireRead, rw.AcquireWrite, rw.TryAcquireRead, (&recipe.Lock{Path: "/l"}).Acquire} {
				for _, ctx := range []context.Context{ctx, ctx2} {
					synctest.Wait()
					r.ForgetFrames()
					_, err := second(ctx, s)
					assert.ErrorIs(t, err, recipe.ErrDeadlock)
					assert.Equal(t, len(r.requests(s.ID())), 0)
				}
			}
			ended, end := context.WithTimeout(ctx, time.Second)
			_, err = rw.AcquireWrite(ended, other) // another session: it waits
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			end()
			cancel2()
			cancel()
			assert.NilError(t, h.Err())
			assert.NilError(t, inner.Release())
			assert.NilError(t, h.Release())
		}
		m := &recipe.Semaphore{Path: "/sem", Max: 1}
		h, err := m.Acquire(bg, s)
		assert.NilError(t, err)
		ctx, cancel := h.Context(bg)
		_, err = m.Acquire(ctx, s)
		assert.ErrorIs(t, err, recipe.ErrDeadlock)
		cancel()
		assert.NilError(t, h.Release())
	})
}
