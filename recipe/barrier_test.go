package recipe_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
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

func TestR45_Barrier(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		barrier := recipe.Barrier{Path: "/x/barrier"}
		assert.NilError(t, barrier.Wait(bg, a)) // not set
		assert.NilError(t, barrier.Set(bg, a))
		assert.NilError(t, barrier.Set(bg, b))
		wait := func(s *zk.Session) <-chan result {
			return r.waiting(func() (*recipe.Hold, error) {
				_, _, err := again(s, func(s *zk.Session) (struct{}, error) { return struct{}{}, barrier.Wait(bg, s) })
				return nil, err
			})
		}
		// Lifted and set again before the event is seen: it goes on waiting.
		got := wait(b)
		_, err := a.Multi(bg, zk.DeleteOp{Path: "/x/barrier", Version: zk.AnyVersion}, zk.CreateOp{Path: "/x/barrier", ACL: zk.ACLOpen})
		assert.NilError(t, err)
		synctest.Wait()
		assert.Equal(t, len(got), 0)
		r.Cut(b.ID()) // also while it is away
		_, err = a.Multi(bg, zk.DeleteOp{Path: "/x/barrier", Version: zk.AnyVersion}, zk.CreateOp{Path: "/x/barrier", ACL: zk.ACLOpen})
		assert.NilError(t, err)
		time.Sleep(time.Second)
		assert.Equal(t, len(got), 0)
		assert.NilError(t, barrier.Lift(bg, a))
		assert.NilError(t, (<-got).err)
		assert.NilError(t, barrier.Lift(bg, a))
		b = newest(b)
		for i := range 1000 {
			assert.NilError(t, barrier.Set(bg, a))
			got := wait(b)
			if i%2 == 0 {
				_, err := a.Multi(bg, zk.DeleteOp{Path: "/x/barrier", Version: zk.AnyVersion}, zk.CreateOp{Path: "/x/barrier", ACL: zk.ACLOpen})
				assert.NilError(t, err)
			}
			assert.Equal(t, len(got), 0)
			assert.NilError(t, barrier.Lift(bg, a))
			assert.NilError(t, (<-got).err)
		}
		assert.Equal(t, b.Watches().Len(), 0)
	}, zktest.Options{FrameLog: -1})
}

func TestR46_DoubleBarrier(t *testing.T) {
	bubble(t, func(r *rig) {
		const n = 4
		b := recipe.DoubleBarrier{Path: "/b", Members: n}
		enter := func(s *zk.Session) <-chan result {
			return r.waiting(func() (*recipe.Hold, error) { return b.Enter(bg, s) })
		}
		var sessions []*zk.Session
		var got []<-chan result
		for i := range n {
			sessions = append(sessions, r.dial())
			got = append(got, enter(sessions[i]))
			for _, g := range got[:i] {
				assert.Check(t, len(g) == 0 || i == n-1, "%d have entered", i)
			}
		}
		for _, g := range got {
			assert.NilError(t, (<-g).err)
		}
		// All are killed between Enter and Leave: ready is left.
		for _, s := range sessions {
			assert.NilError(t, s.Close())
		}
		assert.DeepEqual(t, r.children("/b"), []string{"ready"})
		got = nil
		for i := range n {
			s := r.dial()
			got = append(got, enter(s))
			synctest.Wait()
			if i < n-1 {
				for _, g := range got {
					assert.Check(t, len(g) == 0, "the next round did not wait for all: %d", i)
				}
			}
		}
		for _, g := range got {
			res := <-g
			assert.NilError(t, res.err)
			assert.NilError(t, res.h.Release()) // without Leave: it gives up
		}
		// A ready that is older than all members is left from another round.
		admin := r.dial()
		_, err := admin.Create(bg, "/b/ready", nil, zk.Persistent, zk.ACLOpen)
		if !errors.Is(err, zk.ErrExists) {
			assert.NilError(t, err)
		}
		for range 2 {
			_, err = admin.Create(bg, "/b/member-", nil, zk.EphemeralSequential, zk.ACLOpen)
			assert.NilError(t, err)
		}
		late := enter(r.dial())
		assert.Equal(t, len(late), 0)
		last := enter(r.dial())
		for _, g := range []<-chan result{late, last} {
			res := <-g
			assert.NilError(t, res.err)
			assert.NilError(t, res.h.Release())
		}
	})
}

// A round that began while a member had no connection has begun for it too, even
// if the others have left by the time it comes back.
func TestR46_BegunWhileAway(t *testing.T) {
	bubble(t, func(r *rig) {
		b := recipe.DoubleBarrier{Path: "/b", Members: 2}
		away, other := r.dial(), r.dial()
		got := r.waiting(func() (*recipe.Hold, error) { return b.Enter(bg, away) })
		r.Cut(away.ID())
		assert.ErrorIs(t, (<-got).err, zk.ErrConnection)
		h, err := b.Enter(bg, other)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		away, err = away.Redial(bg)
		assert.NilError(t, err)
		got = r.waiting(func() (*recipe.Hold, error) { return b.Enter(bg, away) })
		assert.Equal(t, len(got), 1, "it waits for others")
		h = (<-got).h
		assert.NilError(t, b.Leave(bg, away, h))
		assert.Equal(t, len(r.children("/b")), 0)
	})
}

// A ready is deleted only if it is the one that was read, as far as its version
// says, and gives way to the next one in one transaction.
func TestR46_ReadyOfAnotherRound(t *testing.T) {
	bubble(t, func(r *rig) {
		s, admin := r.dial(), r.dial()
		// meanwhile changes ready while the deletion is on its way.
		meanwhile := func(f func()) {
			r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpDelete, Path: r.chroot + "/b/ready", Delay: time.Second})
			done := make(chan struct{})
			go func() { f(); close(done) }()
			time.Sleep(time.Second / 2)
			_, err := admin.Set(bg, "/b/ready", []byte("another"), zk.AnyVersion)
			assert.NilError(t, err)
			<-done
			there, st, err := admin.Exists(bg, "/b/ready", nil)
			assert.NilError(t, err)
			assert.Check(t, there && st.Version > 0, "it was deleted")
		}
		b := recipe.DoubleBarrier{Path: "/b", Members: 1}
		h, err := b.Enter(bg, s)
		assert.NilError(t, err)
		meanwhile(func() { assert.Check(t, b.Leave(bg, s, h)) })
		b.Members = 2
		meanwhile(func() {
			ctx, cancel := context.WithTimeout(bg, 2*time.Second)
			defer cancel()
			_, err := b.Enter(ctx, s)
			assert.Check(t, errors.Is(err, context.DeadlineExceeded), err)
		})
		_, old, err := admin.Exists(bg, "/b/ready", nil)
		assert.NilError(t, err)

		_, err = admin.Create(bg, "/b/member", nil, zk.Ephemeral, zk.ACLOpen) // so that nobody clears the barrier
		assert.NilError(t, err)
		r.ForgetFrames()
		h, err = b.Enter(bg, s)
		assert.NilError(t, err)
		asked := r.requests(s.ID())
		assert.Check(t, slices.Contains(asked, wire.OpMulti) && !slices.Contains(asked, wire.OpDelete), "%v", asked)
		_, st, err := admin.Exists(bg, "/b/ready", nil)
		assert.NilError(t, err)
		assert.Check(t, st.Czxid > old.Czxid)
		assert.NilError(t, h.Release())
	})
}

func TestR47_Rounds(t *testing.T) {
	bubble(t, func(r *rig) {
		const n, rounds = 4, 50
		var mu sync.Mutex
		entered, leaving, gone := make([]int, rounds), make([]int, rounds), make([]int, rounds)
		var all sync.WaitGroup
		var sessions []*zk.Session
		for range n {
			sessions = append(sessions, r.dial())
		}
		for i := range n {
			all.Go(func() {
				b := recipe.DoubleBarrier{Path: "/b", Members: n, Data: []byte{byte('a' + i)}}
				s := sessions[i]
				for k := range rounds {
					mu.Lock()
					entered[k]++
					mu.Unlock()
					h, next, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return b.Enter(bg, s) })
					s = next
					if !assert.Check(t, err) {
						return
					}
					mu.Lock()
					assert.Check(t, entered[k] == n, "round %d began with %d", k, entered[k])
					mu.Unlock()
					time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
					mu.Lock()
					leaving[k]++
					mu.Unlock()
					_, next, err = again(s, func(s *zk.Session) (struct{}, error) { return struct{}{}, b.Leave(bg, s, h) })
					s = next
					if !assert.Check(t, err) {
						return
					}
					mu.Lock()
					assert.Check(t, leaving[k] == n, "round %d ended with %d", k, leaving[k])
					gone[k]++
					mu.Unlock()
				}
			})
		}
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(150 * time.Millisecond):
					r.Cut(sessions[rand.IntN(n)].ID())
				}
			}
		}()
		all.Wait()
		close(stop)
		assert.Equal(t, gone[rounds-1], n)
		assert.Check(t, len(r.children("/b")) == 0, "%v", r.children("/b"))
	}, zktest.Options{FrameLog: -1})
	bubble(t, func(r *rig) { // an Enter that fails leaves nothing
		s := r.dial()
		b := recipe.DoubleBarrier{Path: "/b", Members: 2}
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err := b.Enter(ctx, s)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, len(r.children("/b")), 0)
		assert.Equal(t, s.Watches().Len(), 0)
	})
}

// The connection is lost in Leave, and the goroutine that has to redial is the one
// that waits in it.
func TestR47_LeaveOfOneOwner(t *testing.T) {
	for k := range 6 {
		for _, do := range []zktest.Action{zktest.CutBefore, zktest.CutAfter} {
			bubble(t, func(r *rig) {
				s := r.dial()
				b := recipe.DoubleBarrier{Path: "/b", Members: 1}
				h, err := b.Enter(bg, s)
				assert.NilError(t, err)
				synctest.Wait()
				r.Fault(zktest.Rule{Session: s.ID(), Skip: k, Do: do, Match: func(f zktest.Frame) bool { return f.Op != wire.OpPing }})
				start := time.Now()
				tries := 0
				_, _, err = again(s, func(s *zk.Session) (struct{}, error) {
					tries++
					return struct{}{}, b.Leave(bg, s, h)
				})
				assert.NilError(t, err)
				assert.Check(t, tries <= 2, "%d calls", tries)
				assert.Equal(t, time.Since(start), time.Duration(0))
				synctest.Wait()
				assert.Check(t, len(r.children("/b")) == 0, "%v", r.children("/b"))
			})
		}
	}
}
