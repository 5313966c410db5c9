package load

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// counting is a goroutine that counts, and makes znodes by Once.
type counting struct {
	worker
	p       *partner
	counter recipe.Counter
	once    recipe.Once
	add     *history.Add  // that is not answered yet
	job     *history.Once // likewise
	n       int
	out     history.Recipes
}

func (n *counting) run(ctx context.Context, stop <-chan struct{}) {
	s, _ := n.p.current()
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for ctx.Err() == nil && (!isClosed(stop) || n.add != nil || n.job != nil) {
		err := n.step(ctx, s)
		if dead(err) {
			if s, err = n.p.successor(ctx, s); err != nil {
				break
			}
			continue
		}
		select {
		case <-tick.C:
		case <-stop:
		case <-ctx.Done():
		}
	}
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	n.p.done.Adds = append(n.p.done.Adds, n.out.Adds...)
	n.p.done.Onces = append(n.p.done.Onces, n.out.Onces...)
}

// step adds to the counter, and then does one job. What was not answered is
// called again by the next step.
func (n *counting) step(ctx context.Context, s *zk.Session) error {
	if n.job == nil {
		if n.add == nil {
			n.add = &history.Add{Path: counterPath, Delta: 1 + n.rng.Int64N(3), Start: n.c.run.clock.Tick()}
		}
		sum, err := n.counter.Add(ctx, s, n.add.Delta)
		n.add.Unknown = errors.Is(err, recipe.ErrUnknown)
		if err != nil && !n.add.Unknown {
			return err
		}
		n.add.End, n.add.Sum, n.add.Session = n.c.run.clock.Tick(), sum, s.ID()
		n.out.Adds = append(n.out.Adds, *n.add)
		n.add = nil
		n.n++
		n.job = &history.Once{Value: fmt.Sprintf("%s-job-%06d", n.p.name, n.n)}
	}
	n.job.Sent++
	_, _, err := n.once.Do(ctx, s, zk.CreateOp{Path: jobs + "/", Data: []byte(n.job.Value), Mode: zk.PersistentSequential, ACL: zk.ACLOpen})
	n.job.Outcome = history.OK
	if errors.Is(err, recipe.ErrUnknown) {
		n.job.Outcome = history.Lost
	} else if err != nil {
		return err
	}
	n.out.Onces = append(n.out.Onces, *n.job)
	n.job = nil
	return nil
}

// observe follows the election, over all connections.
func (p *partner) observe(ctx context.Context) {
	e := &recipe.Election{Path: electionDir}
	var last recipe.Contender
	var looks []history.Look
	s, _ := p.current()
	for err := error(nil); err == nil; s, err = p.successor(ctx, s) {
		for c, err := range e.Observe(ctx, s, last) {
			if err != nil {
				break
			}
			last = c
			looks = append(looks, history.Look{Dir: electionDir, Token: c.Token, Tick: p.run.clock.Tick()})
			p.leader.Store(c.Token)
		}
		if ctx.Err() != nil {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done.Looks = looks
}
