package recipe_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/zktest"
	"github.com/seed-9f8420c6/zk/zktest/apache"
)

var faultsFor = flag.Duration("faults.for", 15*time.Second, "how long TestRealFaults breaks servers")

// TestRealFaults lets clients take turns under a lock and add to a counter, on
// three real servers that are killed, stopped, cut off and left without a quorum.
// No two holds may be certain at a time, Tokens grow, guarded writes and the
// counter are exact, and nothing is left.
//
//	ZK_TEST_APACHE=1 go test -run TestRealFaults -faults.for 10m -timeout 20m -v
func TestRealFaults(t *testing.T) {
	apache.Need(t)
	e := apache.New(t, apache.Config{Members: 3})
	f := &faults{T: t, e: e, until: time.Now().Add(*faultsFor)}
	for i := range 3 {
		f.proxies = append(f.proxies, zktest.NewProxy(t, e.Member(i).Addr()))
	}
	admin := f.client()
	for _, path := range []string{"/guarded", "/lock"} {
		admin.must(func(s *zk.Session) error {
			_, err := s.Create(bg, path, nil, zk.Persistent, zk.ACLOpen)
			if errors.Is(err, zk.ErrExists) {
				err = nil
			}
			return err
		})
	}
	var clients sync.WaitGroup
	for i := range 5 {
		c := f.client()
		clients.Go(func() { c.work(i) })
	}
	f.strike()
	clients.Wait()
	admin.must(func(s *zk.Session) error {
		names, _, err := s.Children(bg, "/lock", nil)
		for end := time.Now().Add(20 * time.Second); err == nil && len(names) > 0 && time.Now().Before(end); {
			time.Sleep(100 * time.Millisecond)
			names, _, err = s.Children(bg, "/lock", nil)
		}
		if err == nil {
			assert.Check(t, len(names) == 0, "left behind: %v", names)
		}
		return err
	})
	admin.must(func(s *zk.Session) error {
		_, st, err := s.Exists(bg, "/guarded", nil)
		if err == nil {
			assert.Check(t, int(st.Version) >= f.writes && int(st.Version) <= f.writes+f.maybe, "%d guarded writes, %d without an answer, version %d", f.writes, f.maybe, st.Version)
		}
		return err
	})
	admin.must(func(s *zk.Session) error {
		n, err := (&recipe.Counter{Path: "/counter"}).Get(bg, s)
		if err == nil {
			assert.Check(t, int(n) >= f.added && int(n) <= f.added+f.unknown, "%d added, %d unknown, counter %d", f.added, f.unknown, n)
		}
		return err
	})
	t.Logf("%d acquired, %d lost, %d faults, %d guarded writes, %d without an answer, %d refused, %d added, %d unknown, %d expired",
		f.acquired, f.lost, f.faults, f.writes, f.maybe, f.refused, f.added, f.unknown, f.expired)
	assert.Check(t, f.acquired > 20)
}

type faults struct {
	*testing.T
	e       *apache.Ensemble
	proxies []*zktest.Proxy
	until   time.Time

	mu                                                                      sync.Mutex // guards all below
	holds                                                                   []*recipe.Hold
	token                                                                   int64
	acquired, lost, faults, writes, maybe, refused, added, unknown, expired int
}

// strike breaks servers until the time is over, and mends them.
func (f *faults) strike() {
	for time.Now().Before(f.until) {
		time.Sleep(rand.N(time.Second))
		f.count(&f.faults)
		m := f.e.Member(rand.IntN(3))
		switch rand.IntN(8) {
		case 0:
			assert.Check(f, m.Kill())
			time.Sleep(rand.N(2 * time.Second))
			assert.Check(f, m.Start())
		case 1:
			assert.Check(f, m.Pause())
			time.Sleep(rand.N(4 * time.Second))
			assert.Check(f, m.Resume())
		case 2: // no quorum
			other := f.e.Member((m.ID()) % 3)
			assert.Check(f, m.Kill())
			assert.Check(f, other.Kill())
			time.Sleep(rand.N(3 * time.Second))
			assert.Check(f, m.Start())
			assert.Check(f, other.Start())
		case 3:
			f.proxies[rand.IntN(3)].Reset()
		default:
			f.proxies[rand.IntN(3)].Cut()
		}
	}
	assert.Check(f, f.e.WaitServing(bg))
}

func (f *faults) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
}

// faultClient is a session that is dialed again, and renewed, as long as it takes.
type faultClient struct {
	*faults
	s *zk.Session
}

func (f *faults) client() *faultClient {
	var addrs []string
	for _, p := range f.proxies {
		addrs = append(addrs, p.Addr())
	}
	s, err := zk.Dial(bg, zk.Config{Addrs: addrs, Timeout: 5 * time.Second})
	assert.NilError(f, err)
	c := &faultClient{f, s}
	f.Cleanup(func() { c.s.Close() })
	return c
}

// must repeats what may be repeated until it is answered.
func (c *faultClient) must(do func(s *zk.Session) error) {
	for {
		err := do(c.s)
		if !c.again(err) {
			assert.Check(c, err)
			return
		}
	}
}

// again makes sure of a Session, and reports whether err is that of a lost
// connection.
func (c *faultClient) again(err error) bool {
	for c.s.Err() != nil {
		next, err := c.s.Redial(bg)
		if errors.Is(err, zk.ErrExpired) {
			c.count(&c.expired)
			next, err = c.s.Renew(bg)
		}
		if err == nil {
			c.s = next
		} else {
			time.Sleep(50 * time.Millisecond)
		}
	}
	return errors.Is(err, zk.ErrConnection) || errors.Is(err, zk.ErrMoved)
}

func (c *faultClient) work(i int) {
	counter := recipe.Counter{Path: "/counter"}
	for time.Now().Before(c.until) {
		switch rand.IntN(3) {
		case 0:
			c.add(&counter)
		default:
			c.turn(i)
		}
	}
	c.must(func(s *zk.Session) error { return s.Sync(bg, "/") })
}

// add counts one.
func (c *faultClient) add(counter *recipe.Counter) {
	for {
		_, err := counter.Add(bg, c.s, 1)
		switch {
		case err == nil:
			c.count(&c.added)
			return
		case errors.Is(err, recipe.ErrUnknown):
			c.count(&c.unknown)
			return
		case !c.again(err):
			assert.Check(c, err)
			return
		}
	}
}

// turn acquires, writes, releases.
func (c *faultClient) turn(i int) {
	ctx, cancel := context.WithTimeout(bg, time.Second+rand.N(10*time.Second))
	defer cancel()
	lock := recipe.Lock{Path: "/lock", Layout: recipe.Layout(i % 2), KeepDir: true}
	h, err := lock.Acquire(ctx, c.s)
	for err != nil {
		if !c.again(err) || ctx.Err() != nil {
			assert.Check(c, ctx.Err() != nil || c.again(err), err)
			return
		}
		h, err = lock.Acquire(ctx, c.s)
	}
	c.mu.Lock()
	c.acquired++
	live := c.holds[:0]
	for _, o := range c.holds {
		if o.Err() == nil && h.Err() == nil {
			c.Errorf("two holders: %s and %s", o.Path(), h.Path())
			live = append(live, o)
		}
	}
	c.holds = append(live, h)
	assert.Check(c, h.Token() > c.token)
	c.token = h.Token()
	c.mu.Unlock()
	for range rand.IntN(4) {
		_, err := h.Multi(bg, c.s, zk.SetOp{Path: "/guarded", Version: zk.AnyVersion})
		switch {
		case err == nil:
			c.count(&c.writes)
		case errors.Is(err, zk.ErrLost):
			c.count(&c.maybe)
		case errors.Is(err, recipe.ErrNotHeld):
			c.count(&c.refused)
		}
		c.again(err)
		time.Sleep(rand.N(50 * time.Millisecond))
	}
	if err := h.Release(); errors.Is(err, recipe.ErrNotHeld) {
		c.count(&c.lost)
	}
}
