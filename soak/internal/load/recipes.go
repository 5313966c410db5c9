package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-9f8420c6/zk"
	"github.com/seed-9f8420c6/zk/recipe"
	"github.com/seed-9f8420c6/zk/soak/internal/history"
)

// What recipes work with.
const (
	recipeRoot  = "/recipes"
	counterPath = recipeRoot + "/counter"
	jobs        = recipeRoot + "/jobs" // that Once makes
	electionDir = recipeRoot + "/election"

	numPartners = 4 // clients with recipes: of one of them recipe.Run is the loop

	turnEvery = 100 * time.Millisecond // of one goroutine, if it can
)

// dirs are those of the locks, and of the election.
var dirs = []string{recipeRoot + "/lock-1", recipeRoot + "/lock-2", electionDir}

// guardOf is the znode that is written under a hold only.
func guardOf(dir string) string { return dir + "-guard" }

// partner is a client that uses recipes. Its goroutines share its session.
type partner struct {
	*client
	leader atomic.Int64 // the token that the observer was told last; 0: nobody leads

	mu   sync.Mutex // guards done
	done history.Recipes
}

// newPartners makes the clients, and what they work with.
func (r *run) newPartners(ctx context.Context) ([]*partner, error) {
	var all []*partner
	for i := range numPartners {
		c, err := r.newClient(fmt.Sprintf("partner-%d", i+1))
		if err != nil {
			return nil, err
		}
		if err := r.connect(ctx, c); err != nil {
			return nil, err
		}
		p := &partner{client: c}
		c.partner = p
		all = append(all, p)
	}
	s, _ := all[0].current()
	for _, path := range append([]string{recipeRoot, jobs, guardOf(dirs[0]), guardOf(dirs[1]), guardOf(dirs[2])}, dirs...) {
		if _, err := s.Create(ctx, path, nil, zk.Persistent, zk.ACLOpen); err != nil {
			return nil, fmt.Errorf("make the directories of recipes: %w", err)
		}
	}
	return all, nil
}

// start lets a partner work until stop, and its observer until observed ends. With
// byRun it has one goroutine, whose loop is recipe.Run.
func (p *partner) start(ctx, observed context.Context, stop <-chan struct{}, workers, observers *sync.WaitGroup, byRun bool) {
	for i, dir := range dirs {
		c := p.newContestant(dir, i)
		loop := c.loop
		if byRun {
			loop = c.byRun
		}
		workers.Go(func() { loop(ctx, stop) })
		if byRun {
			return // one owner, one goroutine
		}
	}
	n := &counting{worker: p.newWorker(), p: p}
	n.counter = recipe.Counter{Path: counterPath, Format: recipe.Text}
	n.once = recipe.Once{Path: recipeRoot + "/once-" + p.name}
	workers.Go(func() { n.run(ctx, stop) })
	observers.Go(func() { p.observe(observed) })
}

// contestant is a goroutine that takes a lock, or leads, again and again.
type contestant struct {
	worker
	p       *partner
	dir     string
	acquire func(context.Context, *zk.Session) (*recipe.Hold, error)
	once    recipe.Once
	n       int // values made

	hold  *recipe.Hold
	noted history.Hold
	todo  int              // writes under the hold
	open  *history.Guarded // by once, whose answer is missing
	out   []history.Hold
}

func (p *partner) newContestant(dir string, i int) *contestant {
	c := &contestant{worker: p.newWorker(), p: p, dir: dir}
	c.once = recipe.Once{Path: fmt.Sprintf("%s/once-%s-%d", recipeRoot, p.name, i)}
	switch i {
	case 0:
		c.acquire = (&recipe.Lock{Path: dir, KeepDir: true}).Acquire
	case 1:
		c.acquire = (&recipe.RWLock{Path: dir, KeepDir: true}).AcquireWrite
	default:
		c.acquire = (&recipe.Election{Path: dir, ID: p.name, KeepDir: true}).Campaign
	}
	return c
}

// loop is the loop of goroutines that share a session.
func (c *contestant) loop(ctx context.Context, stop <-chan struct{}) {
	defer c.leave()
	s, _ := c.p.current()
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for !isClosed(stop) && ctx.Err() == nil {
		if err := c.turn(ctx, s); dead(err) {
			next, err := c.p.successor(ctx, s)
			if err != nil {
				return
			}
			s = next
			continue
		}
		select {
		case <-tick.C:
		case <-stop:
		case <-ctx.Done():
		}
	}
}

// byRun is the same by recipe.Run.
func (c *contestant) byRun(ctx context.Context, stop <-chan struct{}) {
	defer c.leave()
	tick := time.NewTicker(turnEvery)
	defer tick.Stop()
	for ctx.Err() == nil && !isClosed(stop) {
		last, _ := c.p.current()
		err := recipe.Run(ctx, last.Config(), func(ctx context.Context, s *zk.Session, fresh bool) error {
			c.p.adopt(s)
			if fresh && s.ID() != last.ID() {
				c.p.renewed.Add(1)
			}
			for {
				if err := c.turn(ctx, s); dead(err) {
					return err
				}
				select {
				case <-tick.C:
				case <-stop:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		if err != nil { // the redialer was quicker, and has moved or renewed the session
			backoff(ctx)
		}
	}
}

// turn acquires, writes under the hold and releases. After an error of the
// connection it goes on with the successor, and the hold may have lasted.
func (c *contestant) turn(ctx context.Context, s *zk.Session) error {
	if c.hold == nil {
		if err := c.take(ctx, s); err != nil {
			return err
		}
	}
	for c.open != nil || c.todo > 0 && c.sure() {
		if err := c.write(ctx, s); dead(err) {
			return err
		}
		pause(ctx, 0, 4*time.Millisecond)
	}
	c.drop()
	return nil
}

// take acquires. Some of those who wait give up.
func (c *contestant) take(ctx context.Context, s *zk.Session) error {
	if c.rng.IntN(20) == 0 {
		short, cancel := context.WithTimeout(ctx, time.Duration(c.rng.Int64N(int64(100*time.Millisecond))))
		defer cancel()
		ctx = short
	}
	h, err := c.acquire(ctx, s)
	if err != nil {
		return err
	}
	now := c.p.run.clock.Tick()
	c.hold, c.todo = h, c.rng.IntN(4)
	c.noted = history.Hold{Dir: c.dir, Path: h.Path(), Token: h.Token(), Session: h.Session().ID(), From: now}
	c.sure()
	return nil
}

// sure reports whether the hold is not over, and notes that it was not.
func (c *contestant) sure() bool {
	now := c.p.run.clock.Tick()
	if c.hold.Err() != nil {
		return false
	}
	c.noted.To = now
	return true
}

// write writes under the hold: by Hold.Multi, or by Once with its Guard.
func (c *contestant) write(ctx context.Context, s *zk.Session) error {
	if c.open == nil {
		c.n++
		c.todo--
		g := history.Guarded{Path: guardOf(c.dir), Value: fmt.Sprintf("%s-%s-%06d", c.p.name, c.dir, c.n)}
		op := zk.SetOp{Path: g.Path, Data: []byte(g.Value), Version: zk.AnyVersion}
		if c.rng.IntN(3) > 0 {
			_, err := c.hold.Multi(ctx, s, op)
			g.Outcome = history.Refused
			if !errors.Is(err, recipe.ErrNotHeld) {
				g.Outcome, _ = outcome(err)
			}
			c.noted.Guarded = append(c.noted.Guarded, g)
			return err
		}
		c.open = &g
	}
	g := c.open
	op := zk.SetOp{Path: g.Path, Data: []byte(g.Value), Version: zk.AnyVersion}
	_, _, err := c.once.Do(ctx, s, c.hold.Guard(), op)
	switch {
	case err == nil:
		g.Outcome = history.OK
	case errors.Is(err, recipe.ErrUnknown):
		g.Outcome = history.Lost
	case errors.Is(err, zk.ErrNoNode):
		g.Outcome = history.Refused
	default:
		return err
	}
	c.open = nil
	c.noted.Guarded = append(c.noted.Guarded, *g)
	return nil
}

// drop releases, and hands the notes over.
func (c *contestant) drop() {
	if c.noted.To != 0 {
		c.p.run.acquired.Add(1)
	}
	c.sure()
	c.hold.Release()
	c.out = append(c.out, c.noted)
	c.hold = nil
}

// leave ends the contestant.
func (c *contestant) leave() {
	if c.hold != nil {
		if c.open != nil { // nobody asks what became of it
			c.open.Outcome = history.Lost
			c.noted.Guarded = append(c.noted.Guarded, *c.open)
		}
		c.drop()
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.done.Holds = append(c.p.done.Holds, c.out...)
}

// settle waits until nothing is left in the directories of locks and elections,
// and every observer was told that nobody leads. What does not come is for the
// checkers to find. It takes longer than a place is kept.
func (r *run) settle(ctx context.Context, all []*partner) error {
	limit := time.Now().Add(4 * sessionTimeout)
	p := all[len(all)-1] // not that of Run, which closes its session
	s, _ := p.current()
	for {
		var left []string
		err := s.Sync(ctx, recipeRoot)
		for _, dir := range dirs {
			if err != nil {
				break
			}
			var names []string
			names, _, err = s.Children(ctx, dir, nil)
			for _, name := range names {
				left = append(left, dir+"/"+name)
			}
		}
		if err != nil {
			if s, err = p.successor(ctx, s); err != nil {
				return err
			}
			continue
		}
		led := slices.ContainsFunc(all, func(p *partner) bool { return p.leader.Load() != 0 })
		if len(left) == 0 && !led || time.Now().After(limit) {
			p.done.Left = left
			return nil
		}
		pause(ctx, 20*time.Millisecond, 60*time.Millisecond)
	}
}
