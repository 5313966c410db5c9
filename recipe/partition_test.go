package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

func TestR50_Partition(t *testing.T) {
	bubble(t, func(r *rig) {
		items := []string{"a", "b", "c", "d", "e", "f", "g"}
		var mu sync.Mutex
		at := map[string]int64{} // who works at what, by token
		turns, members := 0, 0
		var changed time.Time // when a member came, went or was cut
		change := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			members += n
			changed = time.Now()
		}
		work := func(ctx context.Context, item string, h *recipe.Hold) error {
			mu.Lock()
			assert.Check(t, at[item] == 0, "two work at %s", item)
			at[item] = h.Token()
			turns++
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			at[item] = 0
			mu.Unlock()
			return ctx.Err()
		}
		var all sync.WaitGroup
		rng := rand.New(rand.NewPCG(5, 6))
		for i := range 5 {
			s := r.dial()
			stays := time.Duration(rng.IntN(20))*time.Second + 37*time.Millisecond // not when one is cut
			all.Go(func() {
				p := recipe.Partition{Path: "/p", ID: fmt.Sprint("member", i), Items: items}
				for range 4 {
					ctx, cancel := context.WithTimeout(bg, stays+time.Second)
					_, next, err := again(s, func(s *zk.Session) (struct{}, error) {
						change(1)
						defer change(-1)
						return struct{}{}, p.Run(ctx, s, work)
					})
					s = next
					assert.Check(t, errors.Is(err, context.DeadlineExceeded), err)
					cancel()
					time.Sleep(time.Duration(i) * time.Second)
				}
			})
		}
		looks, idle := 0, false
		for i := 0; i < 600 && !idle; i++ {
			time.Sleep(100 * time.Millisecond)
			mu.Lock()
			if members > 0 && time.Since(changed) > time.Second { // Settle
				looks++
				for _, item := range items {
					idle = idle || at[item] == 0
				}
				assert.Check(t, !idle, "%v after the last change: %v", time.Since(changed), at)
			}
			mu.Unlock()
			if i%30 == 29 {
				ids := r.Sessions()
				change(0)
				r.Cut(ids[rng.IntN(len(ids))])
			}
		}
		all.Wait()
		assert.Check(t, looks > 50, "%d", looks)
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

// A member that waits for an item when its connection is lost leaves that line: the
// item may be another's by the time it goes on.
func TestR50_LineIsLeft(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b, stranger := r.dial(), r.dial(), r.dial()
		h := r.hold(stranger, "/p/locks/b")
		var mu sync.Mutex
		at := map[string]string{}
		ctx, cancel := context.WithCancel(bg)
		run := func(s *zk.Session, id string) <-chan result {
			return r.waiting(func() (*recipe.Hold, error) {
				p := recipe.Partition{Path: "/p", ID: id, Items: []string{"a", "b"}}
				return nil, p.Run(ctx, s, func(ctx context.Context, item string, h *recipe.Hold) error {
					mu.Lock()
					at[item] = id
					mu.Unlock()
					<-ctx.Done()
					return ctx.Err()
				})
			})
		}
		gotA := run(a, "A")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, len(r.children("/p/locks/b")), 2) // A waits for it
		r.Cut(a.ID())
		assert.ErrorIs(t, (<-gotA).err, zk.ErrConnection)
		gotB := run(b, "B")
		time.Sleep(time.Second)
		synctest.Wait()
		a = redial(t, a)
		gotA = run(a, "A")
		assert.NilError(t, h.Release())
		synctest.Wait()
		mu.Lock()
		assert.Equal(t, at["b"], "B")
		mu.Unlock()
		cancel()
		assert.ErrorIs(t, (<-gotA).err, context.Canceled)
		assert.ErrorIs(t, (<-gotB).err, context.Canceled)
	})
}
