package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
)

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
