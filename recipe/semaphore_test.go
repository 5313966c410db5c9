package recipe_test

import (
	"context"
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

func TestR40_Semaphore(t *testing.T) {
	for _, layout := range []recipe.Layout{recipe.Curator, recipe.Kazoo} {
		bubble(t, func(r *rig) {
			m := recipe.Semaphore{Path: "/sem", Max: 3, Layout: layout, Data: []byte("me")}
			var all sync.WaitGroup
			var mu sync.Mutex
			inside, most := 0, 0
			count := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				inside += n
				most = max(most, inside)
			}
			for range 12 {
				s := r.dial()
				all.Go(func() {
					h, err := m.Acquire(bg, s)
					assert.Check(t, err)
					count(1)
					time.Sleep(time.Second)
					count(-1)
					assert.Check(t, h.Release())
				})
			}
			s := r.dial()
			time.Sleep(500 * time.Millisecond)
			found, err := m.Contenders(bg, s)
			assert.NilError(t, err)
			holds := 0
			for _, c := range found {
				if c.Holds {
					holds++
				}
			}
			assert.Equal(t, holds, 3)
			assert.Equal(t, len(found), 12)
			_, err = m.TryAcquire(bg, s)
			assert.ErrorIs(t, err, recipe.ErrLocked)
			r.ForgetFrames()
			time.Sleep(time.Second) // three leave: nobody is woken but the first of the line, each time
			lists := 0
			for _, f := range r.Frames() {
				if f.Dir == zktest.FromClient && f.Op == wire.OpGetChildren2 {
					lists++
				}
			}
			assert.Check(t, lists <= 12, "%d lists", lists)
			all.Wait()
			assert.Equal(t, most, 3)
			h, err := m.TryAcquire(bg, s)
			assert.NilError(t, err)
			assert.NilError(t, h.Release())
			for _, dir := range []string{"/sem/locks", "/sem/leases", "/sem-__lock__"} {
				assert.Check(t, len(r.children(dir)) == 0, dir)
			}
			if layout == recipe.Kazoo {
				_, err = (&recipe.Semaphore{Path: "/sem", Max: 4, Layout: layout}).Acquire(bg, s)
				assert.ErrorIs(t, err, zk.ErrBadArguments)
				data, _, err := s.Get(bg, "/sem", nil)
				assert.NilError(t, err)
				assert.Equal(t, string(data), "3")
			}
		})
	}
}

// Others who say a larger Max may enter; ours waits until it is among its own.
func TestR40_OtherMax(t *testing.T) {
	bubble(t, func(r *rig) {
		s, other := r.dial(), r.dial()
		larger, ours := recipe.Semaphore{Path: "/sem", Max: 3}, recipe.Semaphore{Path: "/sem", Max: 2}
		var held []*recipe.Hold
		for range 2 {
			h, err := ours.Acquire(bg, other)
			assert.NilError(t, err)
			held = append(held, h)
		}
		_, err := ours.TryAcquire(bg, s)
		assert.ErrorIs(t, err, recipe.ErrLocked)
		third, err := larger.TryAcquire(bg, other)
		assert.NilError(t, err)
		got := r.waiting(func() (*recipe.Hold, error) { return ours.Acquire(bg, s) })
		assert.NilError(t, held[0].Release())
		synctest.Wait()
		assert.Equal(t, len(got), 0) // two others have one yet
		assert.NilError(t, third.Release())
		res := <-got
		assert.NilError(t, res.err)
		assert.NilError(t, res.h.Release())
		assert.NilError(t, held[1].Release())
		assert.Equal(t, len(r.children("/sem/leases")), 0)
	})
}

// Cut or cancelled at each of its steps, and the semaphore is full: never more than
// Max, and nothing left.
func TestR40_EveryStep(t *testing.T) {
	for _, full := range []bool{false, true} {
		for _, do := range []zktest.Action{zktest.Pass, zktest.CutBefore, zktest.CutAfter} {
			hits := 1
			for k := 0; hits > 0; k++ {
				synctest.Test(t, func(t *testing.T) {
					t.Cleanup(func() { time.Sleep(time.Minute) })
					r := &rig{T: t, Ensemble: zktest.NewEnsemble(t, 1, zktest.Options{InMemory: true}), timeout: 10 * time.Second}
					m := recipe.Semaphore{Path: "/sem", Max: 1, KeepDir: true}
					s, other, third := r.dial(), r.dial(), r.dial()
					var h *recipe.Hold
					if full {
						var err error
						h, err = m.Acquire(bg, other)
						assert.NilError(t, err)
					}
					ctx, cancel := context.WithTimeout(bg, 5*time.Second)
					defer cancel()
					f := r.Fault(zktest.Rule{Session: s.ID(), Skip: k, Do: do, Delay: 100 * time.Millisecond, Match: func(f zktest.Frame) bool {
						return f.Op != wire.OpPing && f.Op != zktest.OpConnect
					}})
					go func() {
						select {
						case <-f.Struck():
							if do == zktest.Pass {
								time.Sleep(time.Millisecond)
								cancel()
							}
						case <-ctx.Done():
						}
					}()
					stop := r.keepDialed(s)
					got, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return m.Acquire(ctx, s) })
					if hits = f.Hits(); err == nil {
						assert.Check(t, !full)
						ctx, cancel := context.WithTimeout(bg, time.Second)
						_, err := m.Acquire(ctx, third)
						assert.ErrorIs(t, err, context.DeadlineExceeded)
						cancel()
						assert.NilError(t, got.Release())
					} else {
						assert.Check(t, ctx.Err() != nil, err)
					}
					if h != nil {
						assert.NilError(t, h.Release())
					}
					time.Sleep(time.Second)
					for _, dir := range []string{"/sem/locks", "/sem/leases"} {
						assert.Check(t, len(r.children(dir)) == 0, "%v %d: %v", do, k, r.children(dir))
					}
					assert.Check(t, newest(s).Watches().Len() == 0, "%v", s.Watches().List())
					stop()
				})
				assert.Assert(t, k < 40)
			}
		}
	}
}
