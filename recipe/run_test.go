package recipe_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/wire"
	"github.com/seed-9f8420c6/zk/zktest"
)

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

// A new session is fresh once, though the call that was told so has made nothing.
// A Hold kept outside, as the documentation has it, is made again when it must be.
func TestRun_FreshOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		admin := r.dial()
		_, err := admin.Create(bg, "/members", nil, zk.Persistent, zk.ACLOpen)
		assert.NilError(t, err)
		var me *recipe.Hold
		var fresh []bool
		want := errors.New("the application's own")
		err = recipe.Run(bg, r.conf(), func(ctx context.Context, s *zk.Session, f bool) (err error) {
			fresh = append(fresh, f)
			switch n := len(fresh); n {
			case 1, 4: // it ends before it has asked for anything
				r.Cut(s.ID())
				<-s.Done()
			case 2, 5: // and when the create is on its way
				r.Fault(zktest.Rule{Session: s.ID(), Do: zktest.CutBefore, Match: func(f zktest.Frame) bool { return f.Op == wire.OpCreate || f.Op == wire.OpCreate2 }})
			}
			assert.Check(t, !f || me == nil || me.Err() != nil)
			if me != nil && me.Err() != nil {
				assert.ErrorIs(t, me.Release(), recipe.ErrNotHeld)
				me = nil
			}
			if me == nil {
				if me, err = recipe.Own(ctx, s, "/members/me", nil, nil); err != nil {
					return err
				}
			}
			assert.DeepEqual(t, r.children("/members"), []string{"me"})
			if len(fresh) == 6 {
				return want
			}
			r.Cut(s.ID())
			r.Expire(s.ID())
			<-s.Done()
			return s.Err()
		})
		assert.Equal(t, err, want)
		assert.DeepEqual(t, fresh, []bool{true, false, false, true, false, false})
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

// A request that ends each connection is not sent as fast as Dials go.
func TestRun_EndsAtOnce(t *testing.T) {
	bubble(t, func(r *rig) {
		r.Fault(zktest.Rule{Op: wire.OpGetData, Do: zktest.CutBefore, Count: -1})
		ctx, cancel := context.WithTimeout(bg, time.Minute)
		defer cancel()
		var works []time.Time
		err := recipe.Run(ctx, r.conf(), func(ctx context.Context, s *zk.Session, _ bool) error {
			if len(works) == 10 {
				time.Sleep(time.Second) // one lasts longer
			}
			if works = append(works, time.Now()); len(works) > 100 {
				return errors.New("it does not wait")
			}
			_, _, err := s.Get(ctx, "/", nil)
			return err
		})
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		base := 50 * time.Millisecond
		for i := 1; i < len(works); i++ {
			d := works[i].Sub(works[i-1])
			switch i {
			case 1, 11, 12: // the first that ends at once, and the one that lasted
				assert.Check(t, d < time.Millisecond, "%d: %v", i, d)
				base = 50 * time.Millisecond
			case 10:
				d -= time.Second
				fallthrough
			default:
				assert.Check(t, d >= base/2 && d < base*3/2, "%d: %v, about %v", i, d, base)
				base = min(2*base, 2*time.Second)
			}
		}
		assert.Check(t, len(works) > 20 && len(works) < 80, "%d", len(works))
	}, zktest.Options{FrameLog: -1})
}
