package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/zktest"
)

// strike forces one migration of a client, by the session itself or by its links.
func (c *client) strike(ctx context.Context, r *rand.Rand) {
	if !c.seize() {
		return
	}
	defer c.leave()
	s, _ := c.current()
	all := c.links
	dir := zktest.Direction(r.IntN(2))
	switch r.IntN(20) {
	case 0, 1, 2:
		all((*zktest.Proxy).Cut)
	case 3, 4, 5:
		all((*zktest.Proxy).Reset)
	case 6, 7:
		s.Detach()
	case 8, 9: // from the living Session, which this ends
		c.dial(ctx, s.Config())
	case 10, 11:
		c.successor(ctx, s)
	case 12, 13, 14, 15, 16: // the next connections break while the session moves
		rule := zktest.LinkRule{Count: 1 + r.IntN(2)}
		limit := randomLimit(r)
		if dir == zktest.ToClient {
			rule.ToClient = limit
		} else {
			rule.FromClient = limit
		}
		all(func(p *zktest.Proxy) { p.Link(rule) })
		all((*zktest.Proxy).Reset)
	case 17: // a hole that swallows one direction: found out by silence, or left at once
		all(func(p *zktest.Proxy) { p.Hold(dir) })
		pause(ctx, 100*time.Millisecond, 2500*time.Millisecond)
		if r.IntN(2) == 0 {
			all(func(p *zktest.Proxy) { p.Release(dir) })
		}
		c.dial(ctx, s.Config())
	case 18: // slow, and moved while it is
		all(func(p *zktest.Proxy) { p.Drip(dir, 500+r.IntN(20000)) })
		pause(ctx, 50*time.Millisecond, 500*time.Millisecond)
		c.dial(ctx, s.Config())
	case 19:
		all(func(p *zktest.Proxy) { p.Delay(dir, time.Duration(1+r.IntN(50))*time.Millisecond) })
		pause(ctx, 50*time.Millisecond, 500*time.Millisecond)
		c.successor(ctx, s)
	}
	// As far as the next Session, and no further.
	wait, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		now, changed := c.current()
		if now != s && !ended(now) {
			break
		}
		select {
		case <-changed:
			continue
		case <-wait.Done():
		}
		break
	}
	if ctx.Err() == nil {
		all((*zktest.Proxy).Heal)
	}
}

// seize begins a fault of the client's links, if none is under way; leave ends it.
func (c *client) seize() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	free := !c.struck
	c.struck = true
	return free
}

func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.struck = false
}

func (c *client) links(f func(p *zktest.Proxy)) {
	for _, p := range c.proxies {
		f(p)
	}
}

// outages silences the partners' links, one at a time, for longer than a session
// lasts. What was sent into the silence arrives at its end. Of one direction only,
// the session may live, and its holds be lost all the same.
func (r *run) outages(ctx context.Context, stop <-chan struct{}, partners []*partner) {
	rng := r.fork()
	for {
		select {
		case <-time.After(20*time.Second + time.Duration(rng.Int64N(int64(10*time.Second)))):
		case <-stop:
			return
		case <-ctx.Done():
			return
		}
		c := partners[rng.IntN(len(partners))].client
		for !c.seize() {
			if isClosed(stop) || ctx.Err() != nil {
				return
			}
			pause(ctx, time.Millisecond, 5*time.Millisecond)
		}
		r.note("%s is cut off", c.name)
		which := rng.IntN(3)
		c.links(func(p *zktest.Proxy) {
			if which != 0 {
				p.Hold(zktest.FromClient)
			}
			if which != 1 {
				p.Hold(zktest.ToClient)
			}
		})
		pause(ctx, sessionTimeout*5/4, sessionTimeout*7/4)
		c.links((*zktest.Proxy).Heal)
		c.leave()
	}
}

// dial moves the session once, if it can.
func (c *client) dial(ctx context.Context, conf zk.Config) {
	try, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s, err := zk.Dial(try, conf); err == nil {
		c.adopt(s)
	}
}

// randomLimit breaks a connection at a byte of the handshake or of the
// SetWatches behind it, or around one of the first frames.
func randomLimit(r *rand.Rand) zktest.Limit {
	limit := zktest.CutAt
	if r.IntN(2) == 0 {
		limit = zktest.ResetAt
	}
	switch r.IntN(4) {
	case 0:
		return limit(r.Int64N(60))
	case 1:
		return limit(r.Int64N(8000))
	case 2:
		return limit(r.Int64N(30)).Frames()
	}
	return limit(r.Int64N(6)).Frames().OnNext()
}

// faults breaks servers, one thing at a time, until it is stopped. All serve
// again before it returns.
func (r *run) faults(ctx context.Context, stop <-chan struct{}, begin time.Time) error {
	rng := r.fork()
	for n := 0; !isClosed(stop); n++ {
		if wait := time.Until(begin.Add(r.pace(r.conf.Faults, r.struck.Load()))); wait > 0 {
			select {
			case <-time.After(wait):
			case <-stop:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := r.fault(ctx, rng, n); err != nil {
			return err
		}
	}
	return nil
}

// pace says how long after the begin the next of so many should come.
func (r *run) pace(want int, done int64) time.Duration {
	if want <= 0 {
		return time.Duration(done) * 4 * time.Second
	}
	// A little ahead of time, so that all have come at the end.
	return time.Duration(float64(r.conf.Duration) * 0.95 * float64(done) / float64(want))
}

// fault breaks one server or several, and mends them. The first few are of
// every kind.
func (r *run) fault(ctx context.Context, rng *rand.Rand, n int) error {
	leader, err := r.leader(ctx)
	if err != nil {
		return err
	}
	follower := (leader + 1 + rng.IntN(2)) % 3
	kind := n
	if n >= 6 {
		kind = []int{0, 0, 1, 1, 1, 2, 2, 3, 4, 5}[rng.IntN(10)]
	}
	down := func() { pause(ctx, 0, time.Second) }
	switch kind {
	case 0:
		r.note("kill -9 of the leader, server %d", leader+1)
		err = r.kill(leader)
		down()
	case 1:
		r.note("kill -9 of a follower, server %d", follower+1)
		err = r.kill(follower)
		down()
	case 2:
		err = r.stall(ctx, follower, "a follower")
	case 3:
		err = r.stall(ctx, leader, "the leader")
	case 4:
		r.note("rolling restart")
		for i := range 3 {
			r.struck.Add(1)
			if err := r.ens.Member(i).Restart(ctx); err != nil {
				return err
			}
		}
	case 5:
		r.note("quorum lost: kill -9 of servers %d and %d", leader+1, follower+1)
		if err = r.kill(leader); err == nil {
			err = r.kill(follower)
		}
		pause(ctx, 200*time.Millisecond, 2*time.Second)
	}
	if err != nil {
		return err
	}
	return r.mend(ctx)
}

func (r *run) kill(i int) error {
	r.struck.Add(1)
	return r.ens.Member(i).Kill()
}

func (r *run) stall(ctx context.Context, i int, who string) error {
	r.note("SIGSTOP of %s, server %d", who, i+1)
	r.struck.Add(1)
	if err := r.ens.Member(i).Pause(); err != nil {
		return err
	}
	pause(ctx, 200*time.Millisecond, 5*time.Second)
	return r.ens.Member(i).Resume()
}

// mend starts what does not run and waits until all serve.
func (r *run) mend(ctx context.Context) error {
	for i := range r.ens.Len() {
		if err := r.ens.Member(i).Start(); err != nil {
			return err
		}
	}
	return r.ens.WaitServing(ctx)
}

// leader waits for one.
func (r *run) leader(ctx context.Context) (int, error) {
	for {
		if i, err := r.ens.Leader(); err == nil {
			return i, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("no leader: %w", ctx.Err())
		}
		pause(ctx, 10*time.Millisecond, 30*time.Millisecond)
	}
}
