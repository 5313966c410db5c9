package tree

import (
	"context"
	"iter"
	"sync"

	"github.com/pkg/errors"

	"github.com/seed-9f8420c6/zk"
)

// Cache is a copy of a subtree in memory. Any number of goroutines may read it at
// any time, without waiting for a server. Run keeps it up to date. One call shows
// the server's subtree at one zxid, never half of a transaction, over any number
// of redials and renewals. The zero value with a Root is ready. The fields must
// not change after the first Run.
//
// See the package documentation for what a Cache cannot see.
type Cache struct {
	Root string // it need not exist

	// NoData keeps no data: Node.Data is nil.
	NoData bool

	// PerNode arms two one-shot watches on each znode, in place of one recursive
	// watch. Servers before 3.6 need that, and there it is always used. Elsewhere
	// it makes the copy exact sooner after a redial: Run reads only what has
	// changed.
	PerNode bool

	// Run calls OnChange once with every path whose state differs from the one
	// that was shown before; nil: none. The cache shows the new state already.
	// OnChange must not block, and must not call Run, Close or Wait.
	OnChange func([]Change)

	mu      sync.RWMutex // guards what is shown
	tree    store
	zxid    int64
	loaded  bool
	changed chan struct{} // closed when more is shown; nil unless somebody waits

	ctl     sync.Mutex     // guards who is at work, and who waits
	run     *keeper        // the Run at work
	left    *feed          // watches that a Run has left for the next
	waits   map[int64]int  // how many wait for a zxid
	wake    chan struct{}  // makes a Run look at waits
	leaving sync.WaitGroup // goroutines that disarm watches
}

// Get returns a znode. ok is false if it does not exist, or if nothing is loaded
// yet. The data belongs to the cache: do not change it.
func (c *Cache) Get(path string) (n Node, ok bool) {
	c.mu.RLock()
	if e := c.tree.nodes[path]; e != nil {
		e.fill(&n)
		ok = true
	}
	c.mu.RUnlock()
	return n, ok
}

// Children returns the names of a znode's children in order. ok is false as for
// Get.
func (c *Cache) Children(path string) (names []string, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tree.names(path)
}

// View shows a Cache at one zxid. Do not use it after the function that got
// it has returned.
type View interface {
	Get(path string) (n Node, ok bool)
	Children(path string) (names []string, ok bool)
	// All returns all znodes, parents before children, siblings by name.
	All() iter.Seq[Node]
	Len() int
	Zxid() int64
}

// View calls f, which may read several times, all at one zxid. Updates wait while
// f runs, so it should be short. f must not call methods of the Cache itself.
func (c *Cache) View(f func(v View)) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	f(view{c})
}

type view struct{ c *Cache }

func (v view) Get(path string) (n Node, ok bool) {
	if e := v.c.tree.nodes[path]; e != nil {
		e.fill(&n)
		ok = true
	}
	return n, ok
}

func (v view) Children(path string) ([]string, bool) { return v.c.tree.names(path) }
func (v view) Len() int                              { return len(v.c.tree.nodes) }
func (v view) Zxid() int64                           { return v.c.zxid }

func (v view) All() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for e := range v.c.tree.all(v.c.Root) {
			if !yield(*e.node()) {
				return
			}
		}
	}
}

// Zxid returns the transaction up to which the copy is exact, and 0 before the
// first load. It never goes back, unless the Cache is closed.
func (c *Cache) Zxid() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.zxid
}

// Len returns the number of znodes.
func (c *Cache) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.tree.nodes)
}

// Live reports whether a Run is running, on a Session that is not over.
func (c *Cache) Live() bool {
	c.ctl.Lock()
	defer c.ctl.Unlock()
	return c.run != nil && c.run.s.Err() == nil
}

// Wait waits until the cache shows a transaction. zxid is Stat.Mzxid after a Set,
// or Session.Zxid after any call. With zxid 0 it waits for the first load. It
// also waits while there is no Run, and returns the error of ctx when that ends.
func (c *Cache) Wait(ctx context.Context, zxid int64) error {
	c.waiting(zxid, 1)
	defer c.waiting(zxid, -1)
	for {
		c.mu.Lock()
		if c.loaded && c.zxid >= zxid {
			c.mu.Unlock()
			return nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting notes that n more wait for a zxid, and wakes the Run at work.
func (c *Cache) waiting(zxid int64, n int) {
	c.ctl.Lock()
	defer c.ctl.Unlock()
	if c.waits == nil {
		c.waits = make(map[int64]int)
	}
	if c.waits[zxid] += n; c.waits[zxid] == 0 {
		delete(c.waits, zxid)
	}
	select {
	case c.wakeLocked() <- struct{}{}:
	default:
	}
}

// wanted returns the largest zxid that anybody waits for.
func (c *Cache) wanted() (want int64) {
	c.ctl.Lock()
	defer c.ctl.Unlock()
	for zxid := range c.waits {
		want = max(want, zxid)
	}
	return want
}

func (c *Cache) wakeLocked() chan struct{} {
	if c.wake == nil {
		c.wake = make(chan struct{}, 1)
	}
	return c.wake
}

// show makes staged states readable, as the state of zxid. linked: see apply.
func (c *Cache) show(staged map[string]*entry, linked bool, zxid int64) {
	var changes []Change
	if c.OnChange != nil {
		changes = c.tree.changes(staged) // only the Run that calls this changes the store
	}
	c.mu.Lock()
	c.tree.apply(staged, linked)
	c.zxid, c.loaded = zxid, true
	changed := c.changed
	c.changed = nil
	c.mu.Unlock()
	if changed != nil {
		close(changed)
	}
	if len(changes) > 0 {
		c.OnChange(changes)
	}
}

// errCacheClosed is why a Run ends that Close has ended.
var errCacheClosed = errors.WithMessage(zk.ErrClosed, "zk: the cache")

// Close ends a running Run, and drops the copy and the watches that a Run has
// left for the next one. When it returns, the cache has no watch and no
// goroutine. It waits for a server for about two session timeouts at most. The
// Cache may be used again.
func (c *Cache) Close() {
	c.ctl.Lock()
	run := c.run
	if run != nil {
		run.cancel(errCacheClosed)
		c.ctl.Unlock()
		<-run.done
		c.ctl.Lock()
	}
	left := c.left
	c.left = nil
	c.ctl.Unlock()
	if left != nil && left.halt() {
		c.drop(left, left.last)
	}
	c.leaving.Wait()
	c.mu.Lock()
	c.tree, c.zxid, c.loaded = store{}, 0, false
	c.mu.Unlock()
}
