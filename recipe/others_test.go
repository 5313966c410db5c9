package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// Cut or cancelled at each of its steps, and the semaphore is full: never more than
// Max, and nothing left.
func TestR40_EveryStep(t *testing.T) {
	for _, full := range []bool{false, true} {
		for _, do := range []zktest.Action{zktest.Pass, zktest.CutBefore, zktest.CutAfter} {
			hits := 1
			for k := 0; hits > 0; k++ {
				synctest.Test(t, func(t *testing.T) {
					t.Cleanup(func() { time.Sleep(time.Minute) })
					r := &rig{t, zktest.NewEnsemble(t, 1, zktest.Options{InMemory: true}), 10 * time.Second, ""}
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

func TestR41_Observe(t *testing.T) {
	bubble(t, func(r *rig) {
		const terms = 20
		var mu sync.Mutex
		var led []int64 // tokens of the terms
		var observers sync.WaitGroup
		seen := make([][]int64, 50)
		ctx, cancel := context.WithCancel(bg)
		for i := range seen {
			s := r.dial()
			observers.Go(func() {
				e := recipe.Election{Path: "/e"}
				var last recipe.Contender
				for ctx.Err() == nil {
					for c, err := range e.Observe(ctx, s, last) {
						if err != nil {
							break
						}
						assert.Check(t, c.Token != last.Token, "yielded again")
						last = c
						if c.Path != "" {
							assert.Check(t, strings.HasPrefix(string(c.Data), "leader"))
							seen[i] = append(seen[i], c.Token)
						}
					}
					if s.Err() != nil && ctx.Err() == nil {
						s = redial(t, s)
					}
				}
			})
		}
		var candidates sync.WaitGroup
		for c := range 2 {
			s := r.dial()
			candidates.Go(func() {
				e := recipe.Election{Path: "/e", ID: fmt.Sprint("leader", c)}
				for i := range terms / 2 {
					h, err := e.Campaign(bg, s)
					if !assert.Check(t, err) {
						return
					}
					mu.Lock()
					led = append(led, h.Token())
					mu.Unlock()
					time.Sleep(time.Second)
					if i%3 == 2 { // its session expires
						r.Cut(s.ID())
						<-h.Lost()
						h.Release()
						time.Sleep(5 * time.Second)
						next, err := s.Renew(bg)
						assert.Check(t, err)
						s = next
						continue
					}
					assert.Check(t, h.Release())
				}
			})
		}
		for range 20 {
			time.Sleep(700 * time.Millisecond)
			ids := r.Sessions()
			r.Cut(ids[rand.IntN(len(ids))]) // observers and candidates alike
			break
		}
		candidates.Wait()
		last := r.dial()
		h, err := (&recipe.Election{Path: "/e", ID: "leader of the end"}).Campaign(bg, last)
		assert.NilError(t, err)
		led = append(led, h.Token())
		c, err := (&recipe.Election{Path: "/e"}).Leader(bg, last)
		assert.NilError(t, err)
		assert.Equal(t, string(c.Data), "leader of the end")
		assert.Equal(t, c.Token, h.Token())
		time.Sleep(time.Minute)
		cancel()
		observers.Wait()
		for i, tokens := range seen {
			assert.Check(t, len(tokens) > 0 && tokens[len(tokens)-1] == h.Token(), "observer %d does not end with the last", i)
			assert.Check(t, slices.IsSorted(tokens))
			for _, token := range tokens {
				assert.Check(t, slices.Contains(led, token), "observer %d saw %x, which did not lead", i, token)
			}
		}
		assert.NilError(t, h.Release())
		_, err = (&recipe.Election{Path: "/e"}).Leader(bg, last)
		assert.ErrorIs(t, err, recipe.ErrNoLeader)
	}, zktest.Options{FrameLog: -1})
}

// An observer watches the leader alone, or the directory while there is none.
func TestR41_Watches(t *testing.T) {
	bubble(t, func(r *rig) {
		s, a, b := r.dial(), r.dial(), r.dial()
		ctx, cancel := context.WithCancel(bg)
		yielded := make(chan recipe.Contender, 10)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for c, err := range (&recipe.Election{Path: "/e"}).Observe(ctx, s, recipe.Contender{}) {
				if err == nil {
					yielded <- c
				} else {
					assert.Check(t, errors.Is(err, context.Canceled), err)
				}
			}
		}()
		watched := func(path string) {
			t.Helper()
			synctest.Wait()
			list := s.Watches().List()
			assert.Equal(t, len(list), 1)
			assert.Equal(t, list[0].Path, path)
		}
		watched("/e")
		assert.Equal(t, len(yielded), 0)
		h, err := (&recipe.Election{Path: "/e", ID: "a"}).Campaign(bg, a)
		assert.NilError(t, err)
		watched(h.Path())
		assert.Equal(t, (<-yielded).Token, h.Token())
		second := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Election{Path: "/e", ID: "b"}).Campaign(bg, b) })
		assert.NilError(t, h.SetData(bg, a, []byte("new")))
		synctest.Wait()
		assert.Equal(t, string((<-yielded).Data), "new")
		assert.NilError(t, h.Release())
		res := <-second
		watched(res.h.Path())
		assert.Equal(t, string((<-yielded).Data), "b")
		assert.NilError(t, res.h.Release())
		watched("/e")
		assert.Equal(t, (<-yielded).Path, "")
		cancel()
		<-done
		assert.Equal(t, s.Watches().Len(), 0)
	})
}

// CURATOR-696: the session expires while the list is on its way. The term of the
// new session must not begin with the znode of the old one.
func TestR42_OwnerIsRead(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		_, err := s.Create(bg, "/e", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		e := recipe.Election{Path: "/e", ID: "x", GUID: someGUID, KeepDir: true}
		f := r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpGetChildren2, Dir: zktest.ToClient, Skip: 1, Do: zktest.CutBefore})
		_, err = e.Campaign(bg, s)
		assert.ErrorIs(t, err, zk.ErrConnection)
		assert.Equal(t, f.Hits(), 1)
		old := r.children("/e")
		assert.Equal(t, len(old), 1)
		next, err := s.Renew(bg) // a new session, while the znode of the old one exists
		assert.NilError(t, err)
		h, err := e.Campaign(bg, next)
		assert.NilError(t, err)
		assert.Check(t, h.Path() != "/e/"+old[0])
		_, st, err := next.Exists(bg, h.Path(), nil)
		assert.NilError(t, err)
		assert.Equal(t, st.EphemeralOwner, next.ID())
		assert.NilError(t, h.Release())
	})
}

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

// loseAnswers lets a part of what sessions ask for be cut, or lose its answer.
func (r *rig) loseAnswers(rng *rand.Rand, ids func() []int64) (stop func() int) {
	stopped := make(chan struct{})
	hits := make(chan int)
	go func() {
		n := 0
		for {
			f := r.Fault(zktest.Rule{
				Session: ids()[rng.IntN(len(ids()))], Op: []wire.Op{wire.OpMulti, wire.OpMulti, wire.OpGetData, wire.OpCreate}[rng.IntN(4)],
				Dir: []zktest.Direction{zktest.FromClient, zktest.ToClient}[rng.IntN(2)],
				Do:  []zktest.Action{zktest.CutBefore, zktest.CutAfter}[rng.IntN(2)],
			})
			select {
			case <-stopped:
				r.Heal()
				hits <- n
				return
			case <-f.Struck():
				n++
			case <-time.After(20 * time.Millisecond):
				f.Remove()
			}
		}
	}()
	return func() int { close(stopped); return <-hits }
}

func TestR48_Once(t *testing.T) {
	bubble(t, func(r *rig) {
		const n, each = 4, 250
		rng := rand.New(rand.NewPCG(1, 2))
		admin := r.dial()
		_, err := admin.Create(bg, "/sum", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		var all sync.WaitGroup
		var ids []int64
		repeated := make([]int, n)
		for i := range n {
			s := r.dial()
			ids = append(ids, s.ID())
			all.Go(func() {
				o := recipe.Once{Path: fmt.Sprintf("/marker%d", i)}
				for range each {
					_, next, err := again(s, func(s *zk.Session) (struct{}, error) {
						res, again, err := o.Do(bg, s, zk.SetOp{Path: "/sum", Version: zk.AnyVersion}, zk.CreateOp{Path: "/made-", Mode: zk.PersistentSequential, ACL: zk.ACLOpen})
						if again {
							repeated[i]++
						}
						assert.Check(t, err != nil || again == (res == nil))
						return struct{}{}, err
					})
					if s = next; !assert.Check(t, err) {
						return
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		stop := r.loseAnswers(rng, func() []int64 { return ids })
		all.Wait()
		hits := stop()
		_, st, err := again2(admin, func(s *zk.Session) (zk.Stat, error) {
			_, st, err := s.Exists(bg, "/sum", nil)
			return st, err
		})
		assert.NilError(t, err)
		assert.Equal(t, st.Version, int32(n*each))
		sum := 0
		for _, k := range repeated {
			sum += k
		}
		assert.Check(t, hits > 20 && sum > 5, "%d faults, %d resolved", hits, sum)
	}, zktest.Options{FrameLog: -1})
}

func again2[T any](s *zk.Session, f func(*zk.Session) (T, error)) (*zk.Session, T, error) {
	v, s, err := again(s, f)
	return s, v, err
}

func TestR48_Unknown(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		o := recipe.Once{Path: "/marker"}
		create := zk.CreateOp{Path: "/made-", Mode: zk.PersistentSequential, ACL: zk.ACLOpen}
		_, _, err := o.Do(bg, s, create)
		assert.NilError(t, err)
		next, err := s.Renew(bg) // with nothing lost it goes on with a new marker
		assert.NilError(t, err)
		_, _, err = o.Do(bg, next, create)
		assert.NilError(t, err)
		r.Fault(zktest.Rule{Session: next.ID(), Op: wire.OpMulti, Do: zktest.CutAfter})
		_, _, err = o.Do(bg, next, create)
		assert.ErrorIs(t, err, zk.ErrLost)
		last, err := next.Renew(bg)
		assert.NilError(t, err)
		_, again, err := o.Do(bg, last, create)
		assert.ErrorIs(t, err, recipe.ErrUnknown)
		assert.ErrorIs(t, err, zk.ErrLost)
		assert.Check(t, !again)
		_, _, err = o.Do(bg, last, create) // said once
		assert.NilError(t, err)
		// Other operations than those whose answer is missing.
		f := r.Fault(zktest.Rule{Session: last.ID(), Op: wire.OpMulti, Delay: time.Second})
		ctx, cancel := context.WithTimeout(bg, time.Millisecond)
		defer cancel()
		_, _, err = o.Do(ctx, last, create)
		assert.ErrorIs(t, err, zk.ErrLost)
		assert.Equal(t, f.Hits(), 1)
		_, _, err = o.Do(bg, last, zk.SetOp{Path: "/x", Version: zk.AnyVersion})
		assert.ErrorIs(t, err, zk.ErrBadArguments)
		_, again, err = o.Do(bg, last, create)
		assert.NilError(t, err)
		assert.Check(t, again)
		// An operation that fails: nothing was executed.
		res, again, err := o.Do(bg, last, create, zk.SetOp{Path: "/missing", Version: zk.AnyVersion})
		assert.ErrorIs(t, err, zk.ErrNoNode)
		assert.Check(t, !again && len(res) == 2)
		made := slices.DeleteFunc(r.children("/"), func(name string) bool { return !strings.HasPrefix(name, "made-") })
		assert.Equal(t, len(made), 5)
	})
}

func TestR49_Counter(t *testing.T) {
	for _, format := range []recipe.Format{recipe.Int64, recipe.Int32, recipe.Text} {
		bubble(t, func(r *rig) {
			const n, each = 4, 60
			rng := rand.New(rand.NewPCG(3, uint64(format)))
			var all sync.WaitGroup
			var ids []int64
			for i := range n {
				s := r.dial()
				ids = append(ids, s.ID())
				all.Go(func() {
					c := recipe.Counter{Path: "/dir/count", Format: format}
					for range each {
						_, next, err := again(s, func(s *zk.Session) (int64, error) { return c.Add(bg, s, int64(i-1)) })
						if s = next; !assert.Check(t, err) {
							return
						}
					}
				})
			}
			stop := r.loseAnswers(rng, func() []int64 { return ids })
			all.Wait()
			stop()
			s := r.dial()
			c := recipe.Counter{Path: "/dir/count", Format: format}
			got, err := c.Get(bg, s)
			assert.NilError(t, err)
			assert.Equal(t, got, int64(each*(-1+0+1+2)))
			data, _, err := s.Get(bg, "/dir/count", nil)
			assert.NilError(t, err)
			want := map[recipe.Format]string{recipe.Int64: "\x00\x00\x00\x00\x00\x00\x00\x78", recipe.Int32: "\x00\x00\x00\x78", recipe.Text: "120"}
			assert.Equal(t, string(data), want[format])
			// What does not fit is refused, and nothing is written.
			for range 2 {
				_, err = c.Add(bg, s, 1<<62)
				if format == recipe.Int32 {
					assert.ErrorIs(t, err, zk.ErrBadArguments)
				}
			}
			_, err = c.Add(bg, s, 1<<62)
			assert.ErrorIs(t, err, zk.ErrBadArguments)
			_, err = s.Set(bg, "/dir/count", []byte("no number"), zk.AnyVersion)
			assert.NilError(t, err)
			_, err = c.Add(bg, s, 1)
			assert.ErrorIs(t, err, zk.ErrBadArguments)
		}, zktest.Options{FrameLog: -1})
	}
}

// Where no marker may be made, what a lost answer did is not known, and said so.
func TestR49_NoMarker(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		acl := zk.ACL{{Perms: zk.PermRead | zk.PermWrite, Scheme: "world", ID: "anyone"}}
		_, err := s.Create(bg, "/count", nil, zk.Persistent, acl)
		assert.NilError(t, err)
		c := recipe.Counter{Path: "/count"}
		n, err := c.Add(bg, s, 5)
		assert.NilError(t, err)
		assert.Equal(t, n, int64(5))
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpSetData, Do: zktest.CutAfter})
		_, err = c.Add(bg, s, 5)
		assert.ErrorIs(t, err, zk.ErrLost)
		s = redial(t, s)
		n, err = c.Get(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, n, int64(10))
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpSetData, Do: zktest.CutAfter})
		_, err = c.Add(bg, s, 5)
		assert.ErrorIs(t, err, zk.ErrLost)
		s = redial(t, s)
		n, err = c.Add(bg, s, 1) // another delta goes its own way
		assert.NilError(t, err)
		assert.Equal(t, n, int64(16))
	})
}

func TestR50_Partition(t *testing.T) {
	bubble(t, func(r *rig) {
		items := []string{"a", "b", "c", "d", "e", "f", "g"}
		var mu sync.Mutex
		at := map[string]int64{}       // who works at what, by token
		idle := map[string]time.Time{} // since when nobody does
		longest, turns := time.Duration(0), 0
		settled := time.Now()
		for _, item := range items {
			idle[item] = settled
		}
		work := func(ctx context.Context, item string, h *recipe.Hold) error {
			mu.Lock()
			assert.Check(t, at[item] == 0, "two work at %s", item)
			at[item] = h.Token()
			longest = max(longest, time.Since(idle[item]))
			turns++
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			at[item], idle[item] = 0, time.Now()
			mu.Unlock()
			return ctx.Err()
		}
		var all sync.WaitGroup
		rng := rand.New(rand.NewPCG(5, 6))
		for i := range 5 {
			s := r.dial()
			stays := time.Duration(rng.IntN(20)) * time.Second
			all.Go(func() {
				p := recipe.Partition{Path: "/p", ID: fmt.Sprint("member", i), Items: items}
				for range 4 {
					ctx, cancel := context.WithTimeout(bg, stays+time.Second)
					_, next, err := again(s, func(s *zk.Session) (struct{}, error) { return struct{}{}, p.Run(ctx, s, work) })
					s = next
					assert.Check(t, errors.Is(err, context.DeadlineExceeded), err)
					cancel()
					time.Sleep(time.Duration(i) * time.Second)
				}
			})
		}
		for range 20 {
			time.Sleep(3 * time.Second)
			ids := r.Sessions()
			r.Cut(ids[rng.IntN(len(ids))])
		}
		all.Wait()
		assert.Check(t, turns > 3*len(items), "%d", turns)
	}, zktest.Options{FrameLog: -1})
}

func TestR50_Settle(t *testing.T) {
	bubble(t, func(r *rig) {
		items := []string{"a", "b", "c", "d"}
		var mu sync.Mutex
		mine := map[string][]string{}
		run := func(ctx context.Context, s *zk.Session, id string) <-chan result {
			return r.waiting(func() (*recipe.Hold, error) {
				return nil, (&recipe.Partition{Path: "/p", ID: id, Items: items}).Run(ctx, s, func(ctx context.Context, item string, h *recipe.Hold) error {
					mu.Lock()
					mine[id] = append(mine[id], item)
					slices.Sort(mine[id])
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
					defer mu.Unlock()
					mine[id] = slices.DeleteFunc(mine[id], func(x string) bool { return x == item })
					return ctx.Err()
				})
			})
		}
		show := func(a, b []string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			assert.Check(t, slices.Equal(mine["A"], a) && slices.Equal(mine["B"], b), "%v", mine)
		}
		a, b, stranger := r.dial(), r.dial(), r.dial()
		ctxA, cancelA := context.WithCancel(bg)
		gotA := run(ctxA, a, "A")
		show(nil, nil)
		time.Sleep(time.Second)
		show(items, nil)
		taken, err := (&recipe.Lock{Path: "/p/locks/b"}).Acquire(ended, stranger)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Check(t, taken == nil)
		ctxB, cancelB := context.WithCancel(bg)
		gotB := run(ctxB, b, "B")
		show(items, nil)
		time.Sleep(time.Second)
		show([]string{"a", "c"}, []string{"b", "d"}) // only what moves was given up
		// One item that cannot be locked keeps no other waiting.
		cancelB()
		assert.ErrorIs(t, (<-gotB).err, context.Canceled)
		h, err := (&recipe.Lock{Path: "/p/locks/b"}).Acquire(bg, stranger)
		assert.NilError(t, err)
		time.Sleep(2 * time.Second)
		show([]string{"a", "c", "d"}, nil)
		assert.NilError(t, h.Release())
		time.Sleep(time.Second)
		show(items, nil)
		cancelA()
		assert.ErrorIs(t, (<-gotA).err, context.Canceled)
		show(nil, nil)
		time.Sleep(time.Second)
		assert.Equal(t, len(r.children("/p/party")), 0)
		for _, item := range items {
			assert.Equal(t, len(r.children("/p/locks/"+item)), 0)
		}
		assert.Equal(t, a.Watches().Len()+b.Watches().Len(), 0)
	})
}

// Consumers are killed, cut and slow, and every entry is done exactly once.
func TestR51_Queue(t *testing.T) {
	bubble(t, func(r *rig) {
		const entries = 200
		rng := rand.New(rand.NewPCG(7, 8))
		var ids []int64
		var mu sync.Mutex
		done := map[string]int{}
		unknown := map[string]int{}
		var producers, consumers sync.WaitGroup
		for i := range 2 {
			s := r.dial()
			ids = append(ids, s.ID())
			producers.Go(func() {
				q := recipe.Queue{Path: "/q"}
				for k := range entries / 2 {
					_, next, err := again(s, func(s *zk.Session) (struct{}, error) {
						return struct{}{}, q.Put(bg, s, fmt.Appendf(nil, "%d-%d", i, k), k%3)
					})
					if s = next; !assert.Check(t, err) {
						return
					}
				}
			})
		}
		ctx, cancel := context.WithCancel(bg)
		for range 4 {
			s := r.dial()
			ids = append(ids, s.ID())
			rng := rand.New(rand.NewPCG(9, uint64(len(ids))))
			consumers.Go(func() {
				q := recipe.Queue{Path: "/q"}
				for ctx.Err() == nil {
					item, next, err := again(s, func(s *zk.Session) (*recipe.Item, error) { return q.Take(ctx, s) })
					s = next
					if err != nil {
						assert.Check(t, errors.Is(err, context.Canceled), err)
						continue
					}
					time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
					switch rng.IntN(6) {
					case 0:
						assert.Check(t, released(item.Release()))
						continue
					case 1: // killed
						s, err = s.Renew(bg)
						if !assert.Check(t, err) {
							return
						}
						continue
					}
					_, next, err = again(s, func(s *zk.Session) (struct{}, error) { return struct{}{}, item.Done(bg, s) })
					s = next
					mu.Lock()
					switch {
					case err == nil:
						done[string(item.Data)]++
						assert.Check(t, item.Release())
					default:
						unknown[string(item.Data)]++
						assert.Check(t, errors.Is(err, recipe.ErrNotHeld) || errors.Is(err, recipe.ErrUnknown), err)
					}
					mu.Unlock()
				}
			})
		}
		stop := r.loseAnswers(rng, func() []int64 { return ids })
		producers.Wait()
		for len(r.children("/q/entries")) > 0 {
			time.Sleep(time.Second)
		}
		stop()
		cancel()
		consumers.Wait()
		assert.Equal(t, len(done), entries)
		for data, n := range done {
			assert.Check(t, n == 1, "%s: %d times", data, n)
		}
	}, zktest.Options{FrameLog: -1})
}

// released reports whether a Release has ended as it may where connections are lost.
func released(err error) bool {
	return err == nil || errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved) || errors.Is(err, recipe.ErrNotHeld)
}

func TestR51_Order(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		q := recipe.Queue{Path: "/q"}
		got := r.waiting(func() (*recipe.Hold, error) {
			item, err := q.Take(bg, s)
			if err == nil {
				err = item.Done(bg, s)
			}
			return nil, err
		})
		assert.NilError(t, q.Put(bg, s, []byte("first"), 999))
		assert.NilError(t, (<-got).err)
		for i, priority := range []int{500, 0, 500, 20, 999} {
			assert.NilError(t, q.Put(bg, s, []byte{byte('a' + i)}, priority))
		}
		var order string
		back := false
		for range 5 {
			item, err := q.Take(bg, s)
			assert.NilError(t, err)
			if string(item.Data) == "d" && !back {
				back = true
				assert.NilError(t, item.Release()) // gives it back
				item, err = q.Take(bg, s)
				assert.NilError(t, err)
			}
			order += string(item.Data)
			assert.NilError(t, item.Done(bg, s))
			assert.NilError(t, item.Done(bg, s))
			assert.ErrorIs(t, item.Err(), recipe.ErrReleased)
		}
		assert.Equal(t, order, "bdace")
		item, err := q.Take(ended, s)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Check(t, item == nil)
	})
}

func TestRun(t *testing.T) {
	bubble(t, func(r *rig) {
		conf := r.conf()
		var fresh []bool
		var ids []int64
		want := errors.New("the application's own")
		err := recipe.Run(bg, conf, func(ctx context.Context, s *zk.Session, f bool) error {
			fresh = append(fresh, f)
			ids = append(ids, s.ID())
			switch len(fresh) {
			case 1: // lost
				r.Cut(s.ID())
				<-s.Done()
				return s.Sync(ctx, "/")
			case 2: // moved
				if _, err := zk.Dial(ctx, s.Config()); err != nil {
					return err
				}
				return s.Sync(ctx, "/")
			case 3: // expired
				r.Cut(s.ID())
				r.Expire(s.ID())
				<-s.Done()
				return fmt.Errorf("wrapped: %w", s.Err())
			}
			return want
		})
		assert.Equal(t, err, want)
		assert.DeepEqual(t, fresh, []bool{true, false, false, true})
		assert.Check(t, ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3])
		assert.Equal(t, len(r.Sessions()), 0) // closed
	})
}

func TestRun_Backoff(t *testing.T) {
	bubble(t, func(r *rig) {
		r.Member(0).Stop()
		var dials []time.Time
		conf := r.conf()
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		start := time.Now()
		n := 0
		conf.DialContext = refuse(func() { dials = append(dials, time.Now()); n++ })
		err := recipe.Run(ctx, conf, func(context.Context, *zk.Session, bool) error { t.Error("work was called"); return nil })
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Since(start), time.Minute)
		assert.Check(t, n > 20 && n < 80, "%d", n)
		base := 50 * time.Millisecond
		for i := 1; i < len(dials); i++ {
			d := dials[i].Sub(dials[i-1])
			assert.Check(t, d >= base/2 && d < base*3/2, "%d: %v, about %v", i, d, base)
			base = min(2*base, 2*time.Second)
		}
		// A config that Dial cannot get over.
		assert.ErrorIs(t, recipe.Run(bg, zk.Config{Chroot: "x"}, nil), zk.ErrBadPath)
	})
}
