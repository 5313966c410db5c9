package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
)

// scenarios are those of all recipes.
func scenarios() map[string]scenario {
	once := scenario{
		run: func(r *rig, s *zk.Session) {
			o := recipe.Once{Path: "/app2/once"}
			for i := range 3 {
				_, next, err := again(s, func(s *zk.Session) (struct{}, error) {
					_, _, err := o.Do(bg, s, zk.CreateOp{Path: "/made-", Mode: zk.PersistentSequential, ACL: zk.ACLOpen}, zk.CreateOp{Path: fmt.Sprint("/once", i), ACL: zk.ACLOpen})
					return struct{}{}, err
				})
				assert.NilError(r, err)
				s = next
			}
		},
		check: func(r *rig, s *zk.Session) {
			n := 0
			for _, name := range r.children("/") {
				if len(name) > 5 && name[:5] == "made-" {
					n++
				}
			}
			assert.Equal(r, n, 3)
		},
	}
	counter := scenario{
		run: func(r *rig, s *zk.Session) {
			c := recipe.Counter{Path: "/counters/a"}
			for i := range 3 {
				n, next, err := again(s, func(s *zk.Session) (int64, error) { return c.Add(bg, s, 2) })
				assert.NilError(r, err)
				assert.Equal(r, n, int64(2*i+2))
				s = next
			}
		},
		check: func(r *rig, s *zk.Session) {
			n, err := (&recipe.Counter{Path: "/counters/a"}).Get(bg, s)
			assert.NilError(r, err)
			assert.Equal(r, n, int64(6))
		},
	}
	queue := scenario{
		run: func(r *rig, s *zk.Session) {
			q := recipe.Queue{Path: "/queue"}
			for i := range 2 {
				_, next, err := again(s, func(s *zk.Session) (struct{}, error) {
					return struct{}{}, q.Put(bg, s, []byte(strconv.Itoa(i)), 5)
				})
				assert.NilError(r, err)
				s = next
			}
			for i := range 2 {
				item, next, err := again(s, func(s *zk.Session) (*recipe.Item, error) { return q.Take(bg, s) })
				assert.NilError(r, err)
				assert.Equal(r, string(item.Data), strconv.Itoa(i))
				_, next, err = again(next, func(s *zk.Session) (struct{}, error) { return struct{}{}, item.Done(bg, s) })
				assert.NilError(r, err)
				s = next
			}
		},
		check: func(r *rig, s *zk.Session) {
			assert.Equal(r, len(r.children("/queue/entries"))+len(r.children("/queue/taken")), 0)
			assert.Check(r, s.Watches().Len() == 0, "%v", s.Watches().List())
		},
	}
	barrier := scenario{
		run: func(r *rig, s *zk.Session) {
			b := recipe.Barrier{Path: "/b/barrier"}
			for _, f := range []func(*zk.Session) error{
				func(s *zk.Session) error { return b.Set(bg, s) },
				func(s *zk.Session) error { return b.Lift(bg, s) },
				func(s *zk.Session) error { return b.Wait(bg, s) },
			} {
				_, next, err := again(s, func(s *zk.Session) (struct{}, error) { return struct{}{}, f(s) })
				assert.NilError(r, err)
				s = next
			}
		},
		check: func(r *rig, s *zk.Session) { assert.Equal(r, len(r.children("/b")), 0) },
	}
	double := scenario{
		run: func(r *rig, s *zk.Session) {
			b := recipe.DoubleBarrier{Path: "/double", Members: 1}
			h, s, err := again(s, func(s *zk.Session) (*recipe.Hold, error) { return b.Enter(bg, s) })
			assert.NilError(r, err)
			_, _, err = again(s, func(s *zk.Session) (struct{}, error) { return struct{}{}, b.Leave(bg, s, h) })
			assert.NilError(r, err)
		},
		check: func(r *rig, s *zk.Session) {
			assert.Check(r, len(r.children("/double")) == 0, "%v", r.children("/double"))
			assert.Check(r, s.Watches().Len() == 0, "%v", s.Watches().List())
		},
	}
	protected := scenario{
		run: func(r *rig, s *zk.Session) {
			path, _, err := again(s, func(s *zk.Session) (string, error) {
				return recipe.CreateProtected(bg, s, "/job-", []byte("x"), nil)
			})
			assert.NilError(r, err)
			made := 0
			for _, name := range r.children("/") {
				if name[0] == '_' {
					made++
					assert.Equal(r, "/"+name, path)
				}
			}
			assert.Equal(r, made, 1)
		},
		check: func(r *rig, s *zk.Session) {},
	}
	// looks only reads, and sees the same whatever was lost.
	looks := scenario{
		run: func(r *rig, s *zk.Session) {
			other := r.dial()
			h, err := (&recipe.Election{Path: "/looked", ID: "x"}).Campaign(bg, other)
			assert.NilError(r, err)
			lease, err := (&recipe.Semaphore{Path: "/sem", Max: 1}).Acquire(bg, other)
			assert.NilError(r, err)
			member, err := (&recipe.Group{Path: "/members"}).Join(bg, other, "m", nil)
			assert.NilError(r, err)
			for _, f := range []func(s *zk.Session) (string, error){
				func(s *zk.Session) (string, error) {
					c, err := (&recipe.Election{Path: "/looked"}).Leader(bg, s)
					return fmt.Sprint(c.Token == h.Token()), err
				},
				func(s *zk.Session) (string, error) {
					list, err := (&recipe.Lock{Path: "/looked"}).Contenders(bg, s)
					return fmt.Sprint(len(list) == 1 && list[0].Path == h.Path() && list[0].Holds), err
				},
				func(s *zk.Session) (string, error) {
					list, err := (&recipe.Semaphore{Path: "/sem", Max: 1}).Contenders(bg, s)
					return fmt.Sprint(len(list) == 1 && list[0].Path == lease.Path() && list[0].Holds), err
				},
				func(s *zk.Session) (string, error) {
					list, err := (&recipe.Group{Path: "/members"}).Members(bg, s)
					_, there := list["m"]
					return fmt.Sprint(len(list) == 1 && there), err
				},
			} {
				good, next, err := again(s, f)
				assert.NilError(r, err)
				assert.Equal(r, good, "true")
				s = next
			}
			for _, h := range []*recipe.Hold{h, lease, member} {
				assert.NilError(r, h.Release())
			}
		},
		check: func(r *rig, s *zk.Session) { assert.Equal(r, s.Watches().Len(), 0) },
	}
	// after is the same while another session has the first, for a second.
	after := func(first, f func(s *zk.Session) (*recipe.Hold, error), dirs ...string) scenario {
		sc := acquireAll(f, dirs...)
		return scenario{
			run: func(r *rig, s *zk.Session) {
				other := r.dial()
				h, err := first(other)
				assert.NilError(r, err)
				go func() { time.Sleep(time.Second); h.Release() }()
				sc.run(r, s)
			},
			check: sc.check,
		}
	}
	// behind waits for another one of its kind.
	behind := func(f func(s *zk.Session) (*recipe.Hold, error), dirs ...string) scenario {
		return after(f, f, dirs...)
	}
	observe := scenario{
		run: func(r *rig, s *zk.Session) {
			other := r.dial()
			var mu sync.Mutex
			var tokens, seen []int64
			terms := func() []int64 {
				mu.Lock()
				defer mu.Unlock()
				return slices.Clone(tokens)
			}
			var leading sync.WaitGroup
			defer leading.Wait()
			var resigns atomic.Bool // for the last time
			leading.Go(func() {
				for i := range 2 {
					h, err := (&recipe.Election{Path: "/observed"}).Campaign(bg, other)
					assert.Check(r, err)
					mu.Lock()
					tokens = append(tokens, h.Token())
					mu.Unlock()
					time.Sleep(time.Second)
					resigns.Store(i == 1)
					assert.Check(r, h.Release())
				}
			})
			var last recipe.Contender
			over := func() bool { return resigns.Load() && last.Token == 0 }
			for !over() {
				for c, err := range (&recipe.Election{Path: "/observed"}).Observe(bg, s, last) {
					if err != nil {
						assert.Assert(r, errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved), "%v", err)
						s = redial(r, s)
						break
					}
					last = c
					seen = append(seen, c.Token)
					if over() {
						break
					}
				}
			}
			// What came and went while the connection was lost is left out.
			n := 0
			for _, token := range seen {
				if token != 0 {
					i := slices.Index(terms()[n:], token)
					assert.Assert(r, i >= 0, "%v of %v", seen, terms())
					n += i + 1
				}
			}
		},
		check: func(r *rig, s *zk.Session) { assert.Check(r, s.Watches().Len() == 0, "%v", s.Watches().List()) },
	}
	partition := scenario{
		run: func(r *rig, s *zk.Session) {
			ctx, cancel := context.WithCancel(bg)
			defer cancel()
			var mu sync.Mutex
			at := map[string]int{}
			p := recipe.Partition{Path: "/parts", ID: "me", Items: []string{"a", "b"}, Settle: time.Second}
			_, _, err := again(s, func(s *zk.Session) (struct{}, error) {
				return struct{}{}, p.Run(ctx, s, func(ctx context.Context, item string, h *recipe.Hold) error {
					mu.Lock()
					at[item]++
					assert.Check(r, at[item] == 1, "%s is worked at twice", item)
					if len(at) == 2 {
						time.AfterFunc(3*time.Second, cancel)
					}
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
					defer mu.Unlock()
					at[item]--
					return ctx.Err()
				})
			})
			assert.ErrorIs(r, err, context.Canceled)
			assert.Equal(r, len(at), 2)
		},
		check: func(r *rig, s *zk.Session) {
			time.Sleep(r.timeout) // a place is kept so long, where ctx had ended before the call was repeated
			for _, dir := range []string{"/parts/party", "/parts/locks/a", "/parts/locks/b"} {
				assert.Check(r, len(r.children(dir)) == 0, "%s: %v", dir, r.children(dir))
			}
			assert.Check(r, s.Watches().Len() == 0, "%v", s.Watches().List())
		},
	}
	lock := recipe.Lock{Path: "/locks/a"}
	kazoo := recipe.Lock{Path: "/locks/a", Layout: recipe.Kazoo, KeepDir: true}
	rw := recipe.RWLock{Path: "/locks/a"}
	given := recipe.Lock{Path: "/locks/a", GUID: someGUID}
	standby := recipe.Election{Path: "/election", GUID: someGUID}
	sem := recipe.Semaphore{Path: "/sem", Max: 2}
	one := recipe.Semaphore{Path: "/one", Max: 1}
	kazooSem := recipe.Semaphore{Path: "/sem", Max: 2, Layout: recipe.Kazoo}
	election := recipe.Election{Path: "/election", ID: "me"}
	group := recipe.Group{Path: "/group"}
	party := recipe.Group{Path: "/group", Layout: recipe.Kazoo}
	return map[string]scenario{
		"Once": once, "Counter": counter, "Queue": queue, "Barrier": barrier, "DoubleBarrier": double, "CreateProtected": protected,
		"Observe": observe, "Partition": partition, "Looks": looks,
		"LockBehind":     behind(func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) }, "/locks/a"),
		"GivenGUID":      acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return given.Acquire(bg, s) }, "/locks/a"),
		"GUIDBehind":     behind(func(s *zk.Session) (*recipe.Hold, error) { return standby.Campaign(bg, s) }, "/election"),
		"ReadBehind":     after(func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) }, func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireRead(bg, s) }, "/locks/a"),
		"WriteBehind":    behind(func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) }, "/locks/a"),
		"LeaseBehind":    behind(func(s *zk.Session) (*recipe.Hold, error) { return one.Acquire(bg, s) }, "/one/locks", "/one/leases"),
		"CampaignBehind": behind(func(s *zk.Session) (*recipe.Hold, error) { return election.Campaign(bg, s) }, "/election"),
		"OwnBehind":      behind(func(s *zk.Session) (*recipe.Hold, error) { return recipe.Own(bg, s, "/own/a", []byte("x"), nil) }, "/own"),
		"Lock":           acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) }, "/locks/a"),
		"KazooLock":      acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return kazoo.TryAcquire(bg, s) }, "/locks/a"),
		"Read":           acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireRead(bg, s) }, "/locks/a"),
		"Write":          acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) }, "/locks/a"),
		"Semaphore":      acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return sem.Acquire(bg, s) }, "/sem/locks", "/sem/leases"),
		"KazooSemaphore": acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return kazooSem.Acquire(bg, s) }, "/sem-__lock__", "/sem"),
		"Election":       acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return election.Campaign(bg, s) }, "/election"),
		"Own":            acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return recipe.Own(bg, s, "/own/a", []byte("x"), nil) }, "/own"),
		"Group":          acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return group.Join(bg, s, "me", []byte("x")) }, "/group"),
		"Party":          acquireAll(func(s *zk.Session) (*recipe.Hold, error) { return party.Join(bg, s, "me", nil) }, "/group"),
	}
}
