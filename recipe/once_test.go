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
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

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

// With the Guard of a hold a transaction happens once, and only while the server
// has the hold's znode.
func TestR48_Guard(t *testing.T) {
	bubble(t, func(r *rig) {
		s, admin := r.dial(), r.dial()
		_, err := admin.Create(bg, "/x", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		h := r.hold(s, "/l")
		o := recipe.Once{Path: "/marker"}
		set := zk.SetOp{Path: "/x", Version: zk.AnyVersion}
		for _, executed := range []bool{false, true} {
			fault := zktest.Rule{Session: s.ID(), Op: wire.OpMulti, Do: zktest.CutBefore}
			if executed {
				fault.Do = zktest.CutAfter
			}
			r.Fault(fault)
			_, _, err = o.Do(bg, s, h.Guard(), set)
			assert.ErrorIs(t, err, zk.ErrLost)
			s = redial(t, s)
			_, again, err := o.Do(bg, s, h.Guard(), set)
			assert.NilError(t, err)
			assert.Equal(t, again, executed)
		}
		_, st, err := admin.Exists(bg, "/x", nil)
		assert.NilError(t, err)
		assert.Equal(t, st.Version, int32(2))
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpMulti, Do: zktest.CutBefore})
		_, _, err = o.Do(bg, s, h.Guard(), set)
		assert.ErrorIs(t, err, zk.ErrLost)
		s = redial(t, s)
		assert.NilError(t, admin.Delete(bg, h.Path(), zk.AnyVersion)) // the lock is gone meanwhile
		res, again, err := o.Do(bg, s, h.Guard(), set)
		assert.ErrorIs(t, err, zk.ErrNoNode)
		assert.Check(t, !again && res[0].Err == zk.ErrNoNode)
		_, st, err = admin.Exists(bg, "/x", nil)
		assert.NilError(t, err)
		assert.Equal(t, st.Version, int32(2))
		<-h.Lost()
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
	})
}

// What a Do without an answer has sent is remembered by a copy: the caller may
// write other operations into the same memory.
func TestR48_OpsAreTheCallersAgain(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		_, err := s.Create(bg, "/a", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		data, acl := []byte("first"), slices.Clone(zk.ACLOpen)
		first, other := []byte("first"), []byte("other")
		set := &zk.SetOp{Path: "/a", Data: data, Version: zk.AnyVersion}
		check := &zk.CheckOp{Path: "/a", Version: zk.AnyVersion}
		o := recipe.Once{Path: "/marker"}
		_, _, err = o.Do(bg, s, check) // makes the marker
		assert.NilError(t, err)
		for _, op := range []struct {
			zk.WriteOp
			spoil, mend func()
		}{
			{zk.SetOp{Path: "/a", Data: data, Version: zk.AnyVersion}, func() { copy(data, other) }, func() { copy(data, first) }},
			{zk.CreateOp{Path: "/a-", Mode: zk.PersistentSequential, Data: data, ACL: zk.ACLOpen}, func() { copy(data, other) }, func() { copy(data, first) }},
			{zk.CreateOp{Path: "/a-", Mode: zk.PersistentSequential, ACL: acl}, func() { acl[0].Perms = zk.PermRead }, func() { acl[0].Perms = zk.PermAll }},
			{set, func() { copy(data, other) }, func() { copy(data, first) }},
			{check, func() { check.Path = "/b" }, func() { check.Path = "/a" }},
		} {
			r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpMulti, Do: zktest.CutAfter})
			_, _, err := o.Do(bg, s, op.WriteOp)
			assert.ErrorIs(t, err, zk.ErrLost)
			s = redial(t, s)
			op.spoil()
			_, _, err = o.Do(bg, s, op.WriteOp)
			assert.Check(t, errors.Is(err, zk.ErrBadArguments), "%v: %v", op.WriteOp, err)
			op.mend()
			_, again, err := o.Do(bg, s, op.WriteOp)
			assert.NilError(t, err)
			assert.Check(t, again)
		}
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
