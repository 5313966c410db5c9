package recipe_test

import (
	"context"
	"errors"
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

func TestR16_RoundTrips(t *testing.T) {
	bubble(t, func(r *rig) {
		s := r.dial()
		lock := recipe.Lock{Path: "/locks/db"}
		h, err := lock.Acquire(bg, s)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
		r.ForgetFrames()
		h, err = lock.Acquire(bg, s)
		assert.NilError(t, err)
		synctest.Wait()
		assert.NilError(t, h.Release())
		assert.DeepEqual(t, r.requests(s.ID()), []wire.Op{wire.OpCreate2, wire.OpGetChildren2, wire.OpGetData, wire.OpDelete})
		assert.ErrorIs(t, h.Err(), recipe.ErrReleased)
		assert.Equal(t, s.Watches().Len(), 0)
	})
}

func TestR28_Goroutines(t *testing.T) {
	bubble(t, func(r *rig) {
		lock := recipe.Lock{Path: "/locks/db"}
		sessions := []*zk.Session{r.dial(), r.dial()}
		var wg sync.WaitGroup
		n, inside := 0, 0
		var token int64
		for i := range 16 {
			wg.Go(func() {
				h, err := lock.Acquire(bg, sessions[i%2])
				assert.Check(t, err)
				inside++
				assert.Check(t, inside == 1)
				assert.Check(t, h.Token() > token)
				token = h.Token()
				time.Sleep(time.Second)
				n++
				inside--
				assert.Check(t, h.Release())
			})
		}
		wg.Wait()
		assert.Equal(t, n, 16)
		assert.Equal(t, len(r.children("/locks/db")), 0)
	})
}

func TestR24_PlaceIsKept(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b, c := r.dial(), r.dial(), r.dial()
		acquire := func(s *zk.Session) (*recipe.Hold, error) {
			lock := recipe.Lock{Path: "/l"} // a new value per connection
			return lock.Acquire(bg, s)
		}
		ha, err := acquire(a)
		assert.NilError(t, err)
		got := make(chan *recipe.Hold)
		go func() {
			h, _, err := again(b, acquire)
			assert.Check(t, err)
			got <- h
		}()
		synctest.Wait()
		hc := make(chan *recipe.Hold)
		go func() {
			h, err := acquire(c)
			assert.Check(t, err)
			hc <- h
		}()
		synctest.Wait()
		before := r.children("/l")
		assert.Equal(t, len(before), 3)
		for range 5 {
			r.Cut(b.ID())
			time.Sleep(time.Second)
		}
		assert.Equal(t, len(r.children("/l")), 3)
		assert.NilError(t, ha.Release())
		hb := <-got
		assert.NilError(t, hb.Release())
		h := <-hc
		assert.NilError(t, h.Release())
	})
}

func TestR24_NobodyComes(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		lock := recipe.Lock{Path: "/l"}
		h, err := lock.Acquire(bg, a)
		assert.NilError(t, err)
		failed := make(chan error)
		go func() {
			_, err := lock.Acquire(bg, b)
			failed <- err
		}()
		synctest.Wait()
		r.Cut(b.ID())
		err = <-failed
		assert.Check(t, errors.Is(err, zk.ErrConnection), err)
		redial(t, b)
		time.Sleep(9 * time.Second)
		assert.Equal(t, len(r.children("/l")), 2)
		time.Sleep(2 * time.Second)
		assert.Equal(t, len(r.children("/l")), 1)
		assert.NilError(t, h.Release())
	})
}

func TestR30_LostAtExpiresAt(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		lock := recipe.Lock{Path: "/l"}
		h, err := lock.Acquire(bg, a)
		assert.NilError(t, err)
		got := make(chan time.Time)
		go func() {
			h, err := lock.Acquire(bg, b)
			assert.Check(t, err)
			got <- time.Now()
			h.Release()
		}()
		time.Sleep(20 * time.Second)
		r.Stall(a.ID())
		<-h.Lost()
		lost := time.Now()
		assert.Check(t, lost.Equal(a.ExpiresAt()), "%v %v", lost, a.ExpiresAt())
		assert.ErrorIs(t, h.Err(), recipe.ErrNotHeld)
		assert.Check(t, h.Until().IsZero())
		next := <-got
		assert.Check(t, next.After(lost))
		assert.ErrorIs(t, h.Release(), recipe.ErrNotHeld)
	})
}

func TestR29_FollowsTheSession(t *testing.T) {
	bubble(t, func(r *rig) {
		a := r.dial()
		lock := recipe.Lock{Path: "/l"}
		h, err := lock.Acquire(bg, a)
		assert.NilError(t, err)
		s := a
		for range 20 {
			r.Cut(s.ID())
			<-s.Done()
			s = redial(t, s)
			assert.Equal(t, h.Session(), s)
			time.Sleep(time.Second)
			assert.NilError(t, h.Err())
		}
		time.Sleep(time.Minute)
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
	})
}

func TestR23_CancelWhileWaiting(t *testing.T) {
	bubble(t, func(r *rig) {
		a, b := r.dial(), r.dial()
		lock := recipe.Lock{Path: "/l"}
		h, err := lock.Acquire(bg, a)
		assert.NilError(t, err)
		ctx, cancel := context.WithTimeout(bg, time.Second)
		defer cancel()
		_, err = lock.Acquire(ctx, b)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, len(r.children("/l")), 1)
		_, err = lock.TryAcquire(bg, b)
		assert.ErrorIs(t, err, recipe.ErrLocked)
		assert.Equal(t, len(r.children("/l")), 1)
		assert.Equal(t, b.Watches().Len(), 0)
		assert.NilError(t, h.Release())
		h, err = lock.TryAcquire(bg, b)
		assert.NilError(t, err)
		assert.NilError(t, h.Release())
	})
}

var _ = zktest.V34
