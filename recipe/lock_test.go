package recipe_test

import (
	"context"
	"errors"
	"net"
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
	for name, next := range map[string]func(r *rig, s *zk.Session) (*zk.Session, error){
		"redialed": func(r *rig, s *zk.Session) (*zk.Session, error) {
			r.Cut(s.ID())
			<-s.Done()
			return s.Redial(bg)
		},
		"dialed": func(r *rig, s *zk.Session) (*zk.Session, error) {
			r.Cut(s.ID())
			<-s.Done()
			return zk.Dial(bg, s.Config())
		},
		"dialed while it lives": func(r *rig, s *zk.Session) (*zk.Session, error) { return zk.Dial(bg, s.Config()) },
		"detached":              func(r *rig, s *zk.Session) (*zk.Session, error) { return zk.Dial(bg, s.Detach()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				s := r.dial()
				lock := recipe.Lock{Path: "/l"}
				h, err := lock.Acquire(bg, s)
				assert.NilError(t, err)
				for range 20 {
					s, err = next(r, s)
					assert.NilError(t, err)
					assert.NilError(t, h.Err())
					assert.Equal(t, h.Session(), s)
					time.Sleep(time.Second)
					assert.NilError(t, h.Err())
				}
				time.Sleep(time.Minute)
				assert.NilError(t, h.Err())
				assert.NilError(t, h.Release())
				assert.Equal(t, s.Watches().Len(), 0)
			})
		})
	}
}

// slowToEnd is a connection whose end is not read before the gate opens.
type slowToEnd struct {
	net.Conn
	gate <-chan struct{}
}

func (c slowToEnd) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		<-c.gate
	}
	return n, err
}

// While a Session is detached it refuses calls before it is over. That is no reason
// to take the hold for lost, nor to leave a contender behind.
func TestR29_BeingDetached(t *testing.T) {
	bubble(t, func(r *rig) {
		gate := make(chan struct{})
		conf := r.conf()
		conf.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := r.DialContext(ctx, network, addr)
			return slowToEnd{conn, gate}, err
		}
		s, err := zk.Dial(bg, conf)
		assert.NilError(t, err)
		r.Fault(zktest.Rule{Session: s.ID(), Op: wire.OpGetData, Err: int32(zk.ErrThrottled)}) // so that the watch is armed a little later
		h := r.hold(s, "/l")
		other := r.hold(s, "/other")
		synctest.Wait()
		detached := make(chan zk.Config)
		go func() { detached <- s.Detach() }()
		synctest.Wait()
		assert.NilError(t, s.Err())
		time.Sleep(time.Second) // it is tried, and refused
		assert.Check(t, h.Err())
		released := make(chan error)
		go func() { released <- other.Release() }()
		synctest.Wait()
		close(gate)
		s, err = zk.Dial(bg, <-detached)
		assert.NilError(t, err)
		assert.NilError(t, <-released)
		assert.Equal(t, len(r.children("/other")), 0)
		time.Sleep(time.Minute)
		assert.NilError(t, h.Err())
		assert.NilError(t, h.Release())
		assert.NilError(t, s.Close())
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
