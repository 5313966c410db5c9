package interop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

const turns = 20 // of each client

// exclusive lets two of ours and one of theirs add to /count under a lock.
func exclusive(s *stage, what, dir string, hold func(i int) func(*zk.Session) (*recipe.Hold, error)) {
	setup := s.dial()
	setup.create("/count", "0")
	s.cut()
	them := s.peer(what, turns, "them")
	var all sync.WaitGroup
	for i := range 2 {
		o := s.dial()
		all.Go(func() {
			for range turns {
				h := o.hold(hold(i))
				o.critical()
				o.release(h)
			}
		})
	}
	all.Wait()
	them.end()
	assert.Equal(s, setup.get("/count"), fmt.Sprint(3*turns))
	setup.gone(dir)
}

func TestKazoo(t *testing.T) {
	command := kazoo(t)
	run := func(name string, f func(s *stage)) {
		t.Run(name, func(t *testing.T) { each(t, command, f) })
	}
	run("Lock", func(s *stage) {
		exclusive(s, "lock", "/lock", func(i int) func(s *zk.Session) (*recipe.Hold, error) {
			lock := recipe.Lock{Path: "/lock", Layout: recipe.Layout(i), KeepDir: true}
			return func(s *zk.Session) (*recipe.Hold, error) { return lock.Acquire(bg, s) }
		})
	})
	run("Election", func(s *stage) {
		exclusive(s, "election", "/election", func(i int) func(s *zk.Session) (*recipe.Hold, error) {
			e := recipe.Election{Path: "/election", ID: "us", Layout: recipe.Kazoo, KeepDir: true}
			return func(s *zk.Session) (*recipe.Hold, error) { return e.Campaign(bg, s) }
		})
	})
	run("RWLock", func(s *stage) { readersAndWriters(s, recipe.Kazoo) })
	run("Semaphore", func(s *stage) { leases(s, recipe.Kazoo, "/sem", "/sem-__lock__") })
	run("Counter", func(s *stage) {
		for _, x := range []struct {
			what   string
			format recipe.Format
		}{{"counter", recipe.Text}, {"counter32", recipe.Int32}, {"counter", recipe.Text}} {
			o := s.dial()
			o.run(func(s *zk.Session) error { // the first time there is none, and both may create it
				if _, err := s.Set(bg, "/number", nil, zk.AnyVersion); err != nil && !errors.Is(err, zk.ErrNoNode) {
					return err
				}
				return nil
			})
			them := s.peer(x.what, turns, "them") // whose answers are not lost: it would count twice
			c := recipe.Counter{Path: "/number", Format: x.format}
			for i := range turns {
				if i%5 == 4 {
					s.ours.Cut()
				}
				do(o, func(s *zk.Session) (int64, error) { return c.Add(bg, s, 10) })
			}
			them.end()
			assert.Equal(s, do(o, func(s *zk.Session) (int64, error) { return c.Get(bg, s) }), int64(11*turns))
		}
	})
	run("Party", func(s *stage) {
		o := s.dial()
		g := recipe.Group{Path: "/party", Layout: recipe.Kazoo}
		h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return g.Join(bg, s, "go", nil) })
		them := s.peer("party", 1, "them")
		assert.Equal(s, them.says(), "members ['go', 'them']")
		members := do(o, func(s *zk.Session) (map[string][]byte, error) { return g.Members(bg, s) })
		assert.Equal(s, len(members), 2)
		assert.Check(s, members["them"] != nil && members["go"] != nil)
		them.goOn()
		them.end()
		members = do(o, func(s *zk.Session) (map[string][]byte, error) { return g.Members(bg, s) })
		assert.Equal(s, len(members), 1)
		o.release(h)
	})
	run("Barrier", barriers)
	run("DoubleBarrier", doubleBarriers)
	run("Queue", func(s *stage) {
		if strings.HasSuffix(s.Name(), string(apache.V3_4)) {
			s.Skip("Put needs 3.5")
		}
		q := recipe.Queue{Path: "/queue"}
		o := s.dial()
		for i := range turns {
			o.run(func(s *zk.Session) error { return q.Put(bg, s, fmt.Appendf(nil, "us-%d", i), i%3) })
			if i%5 == 0 {
				s.ours.Cut()
			}
		}
		s.peer("put", turns, "them").end()
		them := s.peer("take", 0, "them")
		ctx, cancel := context.WithCancel(bg)
		var ours []string
		var all sync.WaitGroup
		all.Go(func() {
			for ctx.Err() == nil {
				item := do(o, func(s *zk.Session) (*recipe.Item, error) {
					item, err := q.Take(ctx, s)
					if ctx.Err() != nil {
						return nil, nil
					}
					return item, err
				})
				if item == nil {
					continue
				}
				o.run(func(s *zk.Session) error { return item.Done(bg, s) })
				ours = append(ours, string(item.Data))
				time.Sleep(5 * time.Millisecond)
			}
		})
		theirs := them.end()
		cancel()
		all.Wait()
		assert.Equal(s, len(ours)+len(theirs), 2*turns, "%v %v", ours, theirs)
		o.gone("/queue/entries")
		o.gone("/queue/taken")
	})
	run("Partition", func(s *stage) {
		items := []string{"a", "b", "c", "d", "e"}
		o := s.dial()
		ctx, cancel := context.WithCancel(bg)
		var mu sync.Mutex
		mine := map[string]bool{}
		var all sync.WaitGroup
		all.Go(func() {
			p := recipe.Partition{Path: "/parts", ID: "go", Items: items}
			o.run(func(s *zk.Session) error {
				err := p.Run(ctx, s, func(ctx context.Context, item string, h *recipe.Hold) error {
					mu.Lock()
					mine[item] = true
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
					delete(mine, item)
					mu.Unlock()
					return ctx.Err()
				})
				if ctx.Err() != nil {
					return nil
				}
				return err
			})
		})
		has := func(want string) bool {
			mu.Lock()
			defer mu.Unlock()
			for _, item := range items {
				if mine[item] != strings.Contains(want, item) {
					return false
				}
			}
			return true
		}
		await := func(want string) {
			s.Helper()
			for end := time.Now().Add(30 * time.Second); !has(want); time.Sleep(20 * time.Millisecond) {
				assert.Assert(s, time.Now().Before(end), "%v, not %s", mine, want)
			}
		}
		await("abcde")
		them := s.peer("partition", 8, strings.Join(items, ","))
		await("ace")
		theirs := them.end()
		assert.Check(s, len(theirs) > 0 && theirs[len(theirs)-1] == "has b,d", "%v", theirs)
		await("abcde")
		cancel()
		all.Wait()
	})
}

// readersAndWriters lets two of ours work beside the others: writers say that they
// are inside and add to /count, and readers look.
func readersAndWriters(s *stage, layout recipe.Layout) {
	setup := s.dial()
	setup.create("/count", "0")
	setup.create("/busy", "0")
	s.cut()
	them := s.peer("rw", turns, "them")
	var all sync.WaitGroup
	for range 2 {
		o := s.dial()
		rw := recipe.RWLock{Path: "/rw", Layout: layout, KeepDir: true}
		all.Go(func() {
			for i := range turns {
				if i%3 == 0 {
					h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) })
					o.set("/busy", "1")
					o.critical()
					o.set("/busy", "0")
					o.release(h)
					continue
				}
				h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return rw.AcquireRead(bg, s) })
				assert.Check(s, o.get("/busy") == "0", "a writer is inside")
				o.release(h)
			}
		})
	}
	all.Wait()
	them.end()
	assert.Equal(s, setup.get("/count"), fmt.Sprint(3*((turns+2)/3)))
	setup.gone("/rw")
}

// leases lets two of ours and one of theirs use a semaphore of two, which leaves
// nothing in its directories.
func leases(s *stage, layout recipe.Layout, dirs ...string) {
	setup := s.dial()
	setup.create("/inside", "")
	s.cut()
	them := s.peer("semaphore", turns, "them")
	var all sync.WaitGroup
	for range 2 {
		o := s.dial()
		m := recipe.Semaphore{Path: "/sem", Max: 2, Layout: layout, KeepDir: true}
		all.Go(func() {
			for range turns {
				h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return m.Acquire(bg, s) })
				inside := do(o, func(s *zk.Session) (string, error) { return recipe.CreateProtected(bg, s, "/inside/x", nil, nil) })
				assert.Check(s, len(o.children("/inside")) <= 2, "too many inside")
				o.run(func(s *zk.Session) error {
					if err := s.Delete(bg, inside, zk.AnyVersion); !errors.Is(err, zk.ErrNoNode) {
						return err
					}
					return nil
				})
				o.release(h)
			}
		})
	}
	all.Wait()
	them.end()
	for _, dir := range dirs {
		setup.gone(dir)
	}
}

func barriers(s *stage) {
	o := s.dial()
	b := recipe.Barrier{Path: "/barrier"}
	o.run(func(s *zk.Session) error { return b.Set(bg, s) })
	them := s.peer("barrier", 1, "them")
	assert.Equal(s, them.says(), "waits")
	s.ours.Cut()
	time.Sleep(200 * time.Millisecond)
	o.run(func(s *zk.Session) error { return b.Lift(bg, s) })
	assert.Equal(s, them.says(), "passed")
	them.end()
	o.run(func(s *zk.Session) error { return b.Wait(bg, s) })
}

func doubleBarriers(s *stage) {
	const rounds = 5
	o := s.dial()
	b := recipe.DoubleBarrier{Path: "/double", Members: 2}
	them := s.peer("double", rounds, "them")
	for i := range rounds {
		if i%2 == 1 {
			s.ours.Cut()
		}
		h := o.hold(func(s *zk.Session) (*recipe.Hold, error) { return b.Enter(bg, s) })
		assert.Equal(s, them.says(), "entered")
		them.goOn()
		o.run(func(s *zk.Session) error { return b.Leave(bg, s, h) })
		assert.Equal(s, them.says(), "left")
	}
	them.end()
}
