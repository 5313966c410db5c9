package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
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

const someGUID = "0123456789abcdef0123456789abcdef"

func TestR12_Names(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		uuid := "01234567-89ab-cdef-0123-456789abcdef"
		lock := func(l recipe.Layout, guid string) func() (*recipe.Hold, error) {
			return func() (*recipe.Hold, error) {
				return (&recipe.Lock{Path: "/l", Layout: l, GUID: guid, KeepDir: true}).Acquire(bg, s)
			}
		}
		rw := &recipe.RWLock{Path: "/l"}
		kazoo := &recipe.RWLock{Path: "/l", Layout: recipe.Kazoo}
		for i, test := range []struct {
			f    func() (*recipe.Hold, error)
			want string
		}{
			{lock(recipe.Curator, someGUID), "_c_" + uuid + "-lock-"},
			{lock(recipe.Kazoo, someGUID), someGUID + "__lock__"},
			{lock(recipe.Curator, ""), "_c_UUID-lock-"},
			{lock(recipe.Kazoo, ""), "HEX__lock__"},
			{func() (*recipe.Hold, error) { return rw.AcquireRead(bg, s) }, "_c_UUID-__READ__"},
			{func() (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) }, "_c_UUID-__WRIT__"},
			{func() (*recipe.Hold, error) { return kazoo.AcquireRead(bg, s) }, "HEX__rlock__"},
			{func() (*recipe.Hold, error) { return kazoo.AcquireWrite(bg, s) }, "HEX__lock__"},
			{func() (*recipe.Hold, error) { return (&recipe.Election{Path: "/l", ID: "x"}).Campaign(bg, s) }, "_c_UUID-latch-"},
		} {
			h, err := test.f()
			assert.NilError(t, err)
			want := strings.ReplaceAll(test.want, "UUID", `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)
			want = "^/l/" + strings.ReplaceAll(want, "HEX", `[0-9a-f]{32}`) + fmt.Sprintf("%010d$", i)
			assert.Check(t, regexp.MustCompile(want).MatchString(h.Path()), "%s %s", h.Path(), want)
			assert.NilError(t, h.Release())
		}
	})
}

func TestR13_ForeignChildren(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		_, err := s.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		foreign := []string{
			"foo", "lock-abc", "_c_", "_c_x", "!x", "lock-", "12345", "lock-99999999999", "lock-5", "lease-0000000000", "zz", "0000000000",
			"lock-00000000000", "lock-+000000001", "lock--000000000", "lock--0000000001", "lock--", "x__lock__", "lock-0x00000001", "_c_01234567-89ab-cdef-0123-456789abcdef-lock-",
		}
		for _, name := range foreign {
			_, err := s.Create(bg, "/l/"+name, nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
		}
		h := r.hold(s, "/l")
		_, err = (&recipe.Lock{Path: "/l"}).TryAcquire(bg, s)
		assert.ErrorIs(t, err, recipe.ErrLocked)
		assert.NilError(t, h.Release())
		assert.Equal(t, len(r.children("/l")), len(foreign))
		for _, name := range []string{"lock-0000000000", "latch-0000000000", "a__WRIT__0000000000", "-lock--000000001", "lock--2147483648", "a__lock__2147483647"} {
			_, err := s.Create(bg, "/l/"+name, nil, zk.Persistent, zk.ACLOpen)
			assert.NilError(t, err)
			_, err = (&recipe.Lock{Path: "/l"}).TryAcquire(bg, s)
			assert.Check(t, errors.Is(err, recipe.ErrLocked), name)
			assert.NilError(t, s.Delete(bg, "/l/"+name, zk.AnyVersion))
		}
	})
}

func TestR14_MixedKinds(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		var kinds []func() (*recipe.Hold, error)
		var shared []bool
		for _, layout := range []recipe.Layout{recipe.Curator, recipe.Kazoo} {
			rw := &recipe.RWLock{Path: "/l", Layout: layout}
			kinds = append(kinds,
				func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l", Layout: layout}).Acquire(bg, s) },
				func() (*recipe.Hold, error) {
					return (&recipe.Election{Path: "/l", Layout: layout, ID: "x"}).Campaign(bg, s)
				},
				func() (*recipe.Hold, error) { return rw.AcquireWrite(bg, s) },
				func() (*recipe.Hold, error) { return rw.AcquireRead(bg, s) })
			shared = append(shared, false, false, false, true)
		}
		for i, first := range kinds {
			for j, second := range kinds {
				h, err := first()
				assert.NilError(t, err)
				got := r.waiting(second)
				assert.Equal(t, len(got) == 1, shared[i] && shared[j], "%d %d", i, j)
				assert.NilError(t, h.Release())
				res := <-got
				assert.NilError(t, res.err)
				assert.NilError(t, res.h.Release())
			}
		}
	})
}

// The order is that of the numbers, not of the names.
func TestR15_Order(t *testing.T) {
	bubble(t, func(r *rig) {
		sessions := []*zk.Session{r.dial(), r.dial()}
		holder := r.hold(sessions[0], "/l")
		var order []int
		var all sync.WaitGroup
		for i := range 16 { // each name before those that came earlier, in both layouts
			all.Go(func() {
				lock := recipe.Lock{Path: "/l", GUID: fmt.Sprintf("%032x", 99-i), Layout: recipe.Layout(i % 2)}
				h, err := lock.Acquire(bg, sessions[i/2%2])
				assert.Check(t, err)
				assert.Check(t, holder.Err() != nil, "%d overtakes the holder", i)
				order = append(order, i)
				assert.Check(t, h.Release())
			})
			synctest.Wait()
		}
		assert.NilError(t, holder.Release())
		all.Wait()
		assert.DeepEqual(t, order, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	})
}

func TestR15_EndOfNumbers(t *testing.T) {
	for _, version := range []zktest.Version{zktest.V35, zktest.V39} {
		for _, next := range []int32{2147483645, 2147483647, -2147483640, -3} {
			bubble(t, func(r *rig) {
				a, b := r.dial(), r.dial()
				_, err := a.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
				assert.NilError(t, err)
				r.SetSequence(r.chroot+"/l", next)
				// The names sort the other way round.
				var order []int
				var all sync.WaitGroup
				inside := 0
				for i := range 8 {
					all.Go(func() {
						lock := recipe.Lock{Path: "/l", GUID: fmt.Sprintf("%032x", 9-i)}
						h, err := lock.Acquire(bg, []*zk.Session{a, b}[i%2])
						assert.Check(t, err)
						inside++
						assert.Check(t, inside == 1, "two holders")
						time.Sleep(time.Second)
						order = append(order, i)
						inside--
						assert.Check(t, h.Release())
					})
					synctest.Wait()
				}
				all.Wait()
				assert.DeepEqual(t, order, []int{0, 1, 2, 3, 4, 5, 6, 7})
			}, zktest.Options{Version: version})
		}
	}
	bubble(t, func(r *rig) { // equal numbers: a reader of Curator that also has the write lock
		s := r.dial()
		_, err := s.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		for _, name := range []string{"a-__WRIT__0000000003", "a-__READ__0000000003"} {
			_, err := s.Create(bg, "/l/"+name, nil, zk.Ephemeral, zk.ACLOpen)
			assert.NilError(t, err)
		}
		found, err := (&recipe.RWLock{Path: "/l"}).Contenders(bg, s)
		assert.NilError(t, err)
		assert.Equal(t, len(found), 2)
		assert.Check(t, !found[0].Shared && found[0].Holds && found[1].Shared && !found[1].Holds)
	})
}

func TestR17_Predecessor(t *testing.T) {
	bubble(t, func(r *rig) {
		s := make([]*zk.Session, 5)
		for i := range s {
			s[i] = r.dial()
		}
		rw := &recipe.RWLock{Path: "/l"}
		r1, err := rw.AcquireRead(bg, s[0])
		assert.NilError(t, err)
		w1 := r.waiting(func() (*recipe.Hold, error) { return rw.AcquireWrite(bg, s[1]) })
		w2 := r.waiting(func() (*recipe.Hold, error) { return rw.AcquireWrite(bg, s[2]) })
		r2 := r.waiting(func() (*recipe.Hold, error) { return rw.AcquireRead(bg, s[3]) })
		r3 := r.waiting(func() (*recipe.Hold, error) { return rw.AcquireRead(bg, s[4]) })
		found, err := rw.Contenders(bg, s[0])
		assert.NilError(t, err)
		for i, want := range []int{-1, 0, 1, 2, 2} { // whom each watches
			watched := func(path string) bool {
				return slices.ContainsFunc(s[i].Watches().List(), func(w zk.Watch) bool { return w.Path == path })
			}
			for j := range found {
				assert.Equal(t, watched(found[j].Path), j == i || j == want, "%d %d", i, j)
			}
		}
		r.ForgetFrames()
		assert.NilError(t, r1.Release())
		first := <-w1
		assert.Equal(t, len(w2)+len(r2)+len(r3), 0)
		assert.NilError(t, first.h.Release())
		second := <-w2
		synctest.Wait()
		assert.Equal(t, len(r2)+len(r3), 0)
		assert.NilError(t, second.h.Release())
		for _, got := range []<-chan result{r2, r3} {
			assert.NilError(t, (<-got).err)
		}
		for _, f := range r.Frames() {
			if f.Op == wire.OpExists {
				t.Errorf("exists: %v", f)
			}
		}
	})
}

func TestR18_NoHerd(t *testing.T) {
	bubble(t, func(r *rig) {
		holder := r.dial()
		h := r.hold(holder, "/l")
		var waiters []<-chan result
		for range 100 {
			s := r.dial()
			waiters = append(waiters, r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, s) }))
		}
		r.ForgetFrames()
		assert.NilError(t, h.Release())
		synctest.Wait()
		woken := 0
		for _, got := range waiters {
			woken += len(got)
		}
		assert.Equal(t, woken, 1)
		count := map[wire.Op]int{}
		events := 0
		for _, f := range r.Frames() {
			switch {
			case f.Op == wire.OpNotification && f.Dir == zktest.ToClient:
				if f.Session != holder.ID() {
					events++
				}
			case f.Dir == zktest.FromClient && f.Op != wire.OpPing:
				count[f.Op]++
			}
		}
		assert.Equal(t, events, 1)
		assert.Equal(t, count[wire.OpDelete], 1)
		assert.Equal(t, count[wire.OpGetChildren2], 1)
		assert.Check(t, count[wire.OpGetData] <= 1)
		assert.Equal(t, len(count), 2+min(1, count[wire.OpGetData]))
		for _, got := range waiters {
			res := <-got
			assert.NilError(t, res.err)
			assert.NilError(t, res.h.Release())
		}
	})
}

func TestR19_PredecessorWithdraws(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b, c := r.dial(), r.dial(), r.dial()
		h := r.hold(a, "/l")
		ctx, cancel := context.WithCancel(bg)
		second := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(ctx, b) })
		third := r.waiting(func() (*recipe.Hold, error) { return (&recipe.Lock{Path: "/l"}).Acquire(bg, c) })
		cancel()
		assert.ErrorIs(t, (<-second).err, context.Canceled)
		synctest.Wait()
		assert.Equal(t, len(third), 0)
		assert.NilError(t, h.Release())
		res := <-third
		assert.NilError(t, res.err)
		assert.NilError(t, res.h.Release())
	})
}

func TestR20_OwnerOfTheGUID(t *testing.T) {
	bubble(t, func(r *rig) {
		s, stranger := r.dial(), r.dial()
		_, err := stranger.Create(bg, "/l", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		lock := recipe.Lock{Path: "/l", GUID: someGUID}
		theirs, err := lock.Acquire(bg, stranger)
		assert.NilError(t, err)
		got := r.waiting(func() (*recipe.Hold, error) { return lock.Acquire(bg, s) })
		assert.Equal(t, len(r.children("/l")), 2)
		assert.Equal(t, len(got), 0)
		assert.NilError(t, theirs.Release())
		res := <-got
		assert.NilError(t, res.err)
		assert.Check(t, !strings.Contains(res.h.Path(), "01234567-89ab-cdef"), res.h.Path())
		assert.NilError(t, res.h.Release())
	})
}

// Its create is lost, the session expires while its znode is still there, and the
// new session must not take that for its own.
func TestR20_OwnFormerSession(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		lock := recipe.Lock{Path: "/l", GUID: someGUID, KeepDir: true}
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		next, err := s.Renew(bg)
		assert.NilError(t, err)
		<-h.Lost()
		start := time.Now()
		again, err := lock.Acquire(bg, next)
		assert.NilError(t, err)
		assert.Check(t, time.Since(start) > 5*time.Second) // when the old session has expired
		time.Sleep(20 * time.Second)
		assert.NilError(t, again.Err())
		assert.NilError(t, again.Release())
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
	})
}
