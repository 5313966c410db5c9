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

func TestR41_Observe(t *testing.T) {
	bubble(t, func(r *rig) {
		const terms = 20
		var mu sync.Mutex
		var led []int64 // tokens of the terms
		var observers sync.WaitGroup
		seen := make([][]int64, 50)
		ctx, cancel := context.WithCancel(bg)
		var ids []int64
		for i := range seen {
			s := r.dial()
			ids = append(ids, s.ID())
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
		for range 60 {
			time.Sleep(500 * time.Millisecond)
			r.Cut(ids[rand.IntN(len(ids))])
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

		h, err = (&recipe.Election{Path: "/e", ID: "a"}).Campaign(bg, a)
		assert.NilError(t, err)
		func() { // a loop that panics leaves no watch either
			defer func() { assert.Check(t, recover() != nil) }()
			for range (&recipe.Election{Path: "/e"}).Observe(bg, s, recipe.Contender{}) {
				panic("by the loop")
			}
		}()
		assert.Equal(t, s.Watches().Len(), 0)
		assert.NilError(t, h.Release())
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
