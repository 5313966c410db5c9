package tree

import (
	"context"
	"time"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// keeper is a Run at work. One goroutine uses it, which takes the events too.
type keeper struct {
	c      *Cache
	s      *zk.Session
	r      *reader
	f      *feed
	cancel context.CancelCauseFunc
	done   chan struct{}
	once   bool // end when something is shown

	pause time.Duration // before the next look at what no event reports
}

// Run keeps the cache up to date on one Session, until that or ctx ends. It
// returns an error that matches zk.ErrConnection or zk.ErrMoved, the error of
// ctx, or zk.ErrClosed after Close. Call it again with the next Session, of the
// same session or another one. The copy stays readable meanwhile, and Run
// compares it, instead of loading all. A second Run at the same time returns
// zk.ErrBadArguments.
//
// A znode that may not be read ends Run with zk.ErrNoAuth and the path. The copy
// stays. A server that does not support a request of the Cache ends the
// connection once, and the next Run does without that request.
//
// When the Session has ended, the watches stay armed for one session timeout, so
// that a Run on its successor has less to read. In per-node mode they stay armed
// after any end of Run. They hold up no events meanwhile. Otherwise Run removes
// its watches when it ends.
func (c *Cache) Run(ctx context.Context, s *zk.Session) error { return c.runOn(ctx, s, false) }

func (c *Cache) runOn(ctx context.Context, s *zk.Session, once bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k, err := c.begin(s, once, cancel)
	if err != nil {
		return err
	}
	err = k.keep(ctx)
	if cause := context.Cause(ctx); cause == errCacheClosed {
		err = cause
	}
	k.end(err)
	return err
}

// begin makes the keeper of a Run, with the watches of the last one if they are
// of the same session.
func (c *Cache) begin(s *zk.Session, once bool, cancel context.CancelCauseFunc) (*keeper, error) {
	if s.Watches() == nil {
		return nil, &refusal{"cache", c.Root, zk.ErrClosed, "no session"}
	}
	l := lackOf(s)
	perNode := c.PerNode || l.has(addWatch)
	k := &keeper{c: c, s: s, once: once, cancel: cancel, done: make(chan struct{})}
	c.ctl.Lock()
	if c.run != nil {
		c.ctl.Unlock()
		return nil, &refusal{"cache", c.Root, zk.ErrBadArguments, "another Run is at work"}
	}
	c.run = k
	c.wakeLocked()
	left := c.left
	c.left = nil
	c.ctl.Unlock()
	if left != nil && left.halt() {
		if left.watches == s.Watches() && left.perNode == perNode && left.root == c.Root {
			k.f = left
		} else {
			c.drop(left, left.last)
		}
	}
	if k.f == nil {
		k.f = newFeed(s, c.Root, perNode)
	}
	k.r = newReader(s)
	k.r.wait = k.pump
	return k, nil
}

// end leaves the watches for the next Run, or drops them.
func (k *keeper) end(err error) {
	c, f := k.c, k.f
	f.last = k.s
	f.drain()
	linger := !k.once && !errors.Is(err, errCacheClosed) && (f.perNode || f.armed && k.s.Err() != nil)
	c.ctl.Lock()
	if linger {
		f.stop, f.stopped, f.left = make(chan struct{}), make(chan struct{}), false
		c.left = f
		go c.linger(f)
	}
	c.ctl.Unlock()
	if !linger {
		left := c.drop(f, k.s)
		late := time.NewTimer(max(k.s.Timeout()/3, time.Millisecond))
		select {
		case <-left:
		case <-late.C: // it goes on without us
		}
		late.Stop()
	}
	c.ctl.Lock()
	c.run = nil
	c.ctl.Unlock()
	close(k.done)
}

// drop disarms a feed that is nobody's any more. The result is closed when that
// is done.
func (c *Cache) drop(f *feed, s *zk.Session) <-chan struct{} {
	done := make(chan struct{})
	paths := c.armed(f)
	c.leaving.Go(func() {
		defer close(done)
		f.leave(s, paths)
	})
	return done
}

// armed returns where a feed may be armed.
func (c *Cache) armed(f *feed) []string {
	if !f.perNode {
		if !f.armed {
			return nil
		}
		return []string{f.root}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	paths := append(make([]string, 0, len(c.tree.nodes)+len(f.staged)+1), f.root)
	for path := range c.tree.nodes {
		paths = append(paths, path)
	}
	for path := range f.staged {
		paths = append(paths, path)
	}
	return paths
}

// linger takes the events of a feed until the next Run halts it, at most for one
// session timeout, or until the session is closed on the server.
func (c *Cache) linger(f *feed) {
	defer close(f.stopped)
	ctx, cancel := context.WithTimeout(context.Background(), max(f.last.Timeout(), time.Millisecond))
	defer cancel()
	closed := make(chan struct{})
	go func(s *zk.Session) {
		if _, err := s.Successor(ctx); errors.Is(err, zk.ErrClosed) {
			close(closed)
		}
	}(f.last)
	for {
		select {
		case ev := <-f.events:
			f.note(ev)
			continue
		case <-f.stop:
			return
		case <-closed:
		case <-ctx.Done():
		}
		if !c.forsake(f) {
			<-f.stop // a Run is about to halt it
		}
		return
	}
}

// forsake drops a feed that no Run has taken over.
func (c *Cache) forsake(f *feed) bool {
	c.ctl.Lock()
	defer c.ctl.Unlock()
	if c.left != f {
		return false
	}
	c.left = nil
	f.left = true
	c.drop(f, f.last)
	return true
}

// halt ends linger, and reports whether the feed is still armed.
func (f *feed) halt() bool {
	close(f.stop)
	<-f.stopped
	return !f.left
}

// pump takes events until done is closed.
func (k *keeper) pump(done <-chan struct{}) {
	for {
		select {
		case ev := <-k.f.events:
			k.f.note(ev)
		case <-done:
			return
		}
	}
}

// call does what waits for the server while events are taken.
func (k *keeper) call(f func() error) error {
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = f()
	}()
	k.pump(done)
	return err
}

// keep reads what is unread, and shows it when there is nothing unread.
func (k *keeper) keep(ctx context.Context) error {
	f := k.f
	if !f.perNode && !f.armed {
		// Armed first, then loaded: what changes in between is reported.
		if err := k.call(func() error { return k.s.AddWatch(ctx, f.root, zk.WatchRecursive, f.events) }); err != nil {
			return k.r.lack.learn(err, addWatch)
		}
		f.armed, f.all = true, true
	}
	for {
		f.drain()
		if len(f.work) > 0 || f.all {
			if err := k.read(ctx); err != nil {
				return err
			}
			continue
		}
		shown, err := k.show(ctx)
		if err != nil || k.once && shown {
			return err
		}
		if len(f.work) > 0 || f.all {
			continue
		}
		if err := k.idle(ctx, shown); err != nil {
			return err
		}
	}
}

// show makes what was read readable, if it is the subtree at one zxid: there is
// nothing unread up to there. It reports whether that is so.
func (k *keeper) show(ctx context.Context) (bool, error) {
	c, f := k.c, k.f
	z := k.s.Zxid()
	if k.s.Err() != nil {
		z = k.s.Zxid() // it may have been a successor's
	}
	if k.s.Watches().Undelivered() > 0 {
		return false, nil
	}
	f.drain()
	if len(f.work) > 0 || f.all {
		return false, nil
	}
	if z < c.zxid { // a server of another session: the copy never goes back
		return false, k.call(func() error { return catchUp(ctx, k.s, c.zxid) })
	}
	if c.loaded && len(f.staged) == 0 && z == c.zxid {
		return true, nil
	}
	unchecked := ""
	if f.skip != "" {
		unchecked = f.root // it counts what is left out
	}
	linked := len(f.fresh) > 0 && link(f.fresh, unchecked)
	if !linked {
		c.tree.doubtful(f.staged, unchecked, k.repair)
	}
	if len(f.work) > 0 {
		return false, nil
	}
	staged := f.staged
	f.staged = make(map[string]*entry)
	f.noted, f.fresh = 0, nil
	c.show(staged, linked, z)
	return true, nil
}

// repair makes a znode unread, with what is known to be below it.
func (k *keeper) repair(path string) {
	f := k.f
	f.work[path] |= needData
	if e := k.known(path); e != nil && e.stat.EphemeralOwner == 0 {
		f.work[path] |= needNames
	}
	for _, kid := range k.c.tree.nodes[path].children() {
		f.work[kid.path] |= needData | needCompare
	}
	for kid, e := range f.staged {
		if e != nil && parent(kid) == path {
			f.work[kid] |= needData | needCompare
		}
	}
}

// known returns a znode as it was read last; nil if it does not exist.
func (k *keeper) known(path string) *entry {
	if e, ok := k.f.staged[path]; ok {
		return e
	}
	return k.c.tree.nodes[path]
}

// later returns a channel for one more look, later each time.
func (k *keeper) later() <-chan time.Time {
	k.pause = min(2*k.pause+time.Millisecond, 50*time.Millisecond)
	return time.After(k.pause)
}

// idle waits for something to do. shown: there is nothing to show but what
// others wait for.
func (k *keeper) idle(ctx context.Context, shown bool) error {
	var again <-chan time.Time
	want := k.c.wanted()
	switch {
	case !shown: // an event of another channel is undelivered, and may have none of ours behind it
		again = k.later()
	case want > k.c.zxid:
		if k.s.Zxid() >= want {
			return nil
		}
		if err := k.call(func() error { return hear(ctx, k.s) }); err != nil {
			return err
		}
		if k.s.Zxid() >= want {
			return nil
		}
		again = k.later()
	default:
		k.pause = 0
	}
	select {
	case ev := <-k.f.events:
		k.f.note(ev)
		k.pause = 0
	case <-k.c.wake:
	case <-again:
	case <-k.s.Done():
		return k.s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
