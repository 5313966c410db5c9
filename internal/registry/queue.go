package registry

import (
	"time"

	"github.com/seed-9f8420c6/zk/internal/limits"
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// Start lets the events move: a connection has its session.
func (r *Registry[T, E]) Start() {
	r.mu.Lock()
	r.queue.Start((*queueOwner[T, E])(r))
	r.mu.Unlock()
}

// Stop waits until the callers that were answered run and the events before them are on
// their way. Then it lets the events stand still, and the floor too. Only the reader calls
// it, at the end of its connection.
func (r *Registry[T, E]) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.Stop()
	r.place.Stop(r.zxid.Load(), r.table.Persistent() > 0)
}

// Chunk notes that the reader has read more. Only the reader calls it.
func (r *Registry[T, E]) Chunk() { r.queue.Chunk() }

// Answer wakes a caller, behind the events before its answer. Only the reader calls it.
func (r *Registry[T, E]) Answer(wake chan<- struct{}) { r.queue.Answer(&r.mu, wake) }

// Picked is the first thing that a caller does after its wait.
func (r *Registry[T, E]) Picked() { r.queue.Picked(&r.mu) }

// Trim gives memory back that a burst of events took.
func (r *Registry[T, E]) Trim() {
	r.mu.Lock()
	r.queue.Trim()
	r.sweepLocked(true) // there is time for it
	if r.queue.Undelivered() == 0 {
		r.closed.known = nil
	}
	r.mu.Unlock()
}

// queueOwner is a Registry as the owner of its queue.
type queueOwner[T ~int32, E Event[T]] Registry[T, E]

func (o *queueOwner[T, E]) Lock()   { o.mu.Lock() }
func (o *queueOwner[T, E]) Unlock() { o.mu.Unlock() }

// Sent notes that an event is in its channel.
func (o *queueOwner[T, E]) Sent(ch chan<- E, n note) { (*Registry[T, E])(o).leftLocked(ch, n) }

// Closed notes that an event has found its channel closed.
func (o *queueOwner[T, E]) Closed(it order.Item[E, note]) {
	r := (*Registry[T, E])(o)
	r.leftLocked(it.Ch, it.Note)
	r.dropLocked(&it)
}

// Waits notes that an event is the next, and its channel is full.
func (o *queueOwner[T, E]) Waits(it order.Item[E, note]) {
	o.load.waits = true
	o.head = Head{Since: time.Now(), Path: fields[T](it.Event).Path, Cap: cap(it.Ch)}
}

// leftLocked notes that an event has left the queue.
func (r *Registry[T, E]) leftLocked(ch chan<- E, n note) {
	r.load.waits = false
	r.load.count(n.kind, n.gap, -1)
	if n.gap {
		delete(r.gaps, gapKey[E]{n.at, ch})
	}
}

// Head is the event that waits for its channel; all later ones wait for it.
type Head struct {
	Since time.Time
	Path  string
	Cap   int // of its channel

	seen bool
}

// Stuck returns the event that has waited for its channel for as long as limit. It
// returns each event once, and otherwise nil.
func (r *Registry[T, E]) Stuck(now time.Time, limit time.Duration) *Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	waits := func() bool { return r.load.waits && !r.head.seen && now.Sub(r.head.Since) >= limit }
	if !waits() {
		return nil
	}
	if r.queue.Sync(); !waits() { // it has left meanwhile
		return nil
	}
	r.head.seen = true
	h := r.head
	return &h
}

// QueuedFor returns how long the next event has waited for its channel.
func (r *Registry[T, E]) QueuedFor(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.Sync()
	if !r.load.waits {
		return 0
	}
	return now.Sub(r.head.Since)
}

// load is how many events are undelivered.
type load struct {
	persistent int // of persistent watches, without Gaps: of these each watch has one at most
	oneShots   int
	peak       int  // the most entries that were armed since oneShots was zero
	waits      bool // the next one finds its channel full
}

// count adds n events of a kind.
func (l *load) count(kind watches.Kind, gap bool, n int) {
	switch {
	case kind.OneShot():
		l.oneShots += n
	case !gap:
		l.persistent += n
	}
}

// overflowsLocked reports whether there is no room for n more events of persistent
// watches. With none undelivered there is always room, because every next connection would
// only end by them again.
func (r *Registry[T, E]) overflowsLocked(n int) bool {
	if r.load.persistent == 0 || r.load.persistent+n <= limits.PersistentQueue {
		return false
	}
	r.queue.Sync()
	return r.load.persistent > 0 && r.load.persistent+n > limits.PersistentQueue
}

// crowdedLocked reports whether too many events of one-shots are undelivered to arm one
// more. As many as were armed when the oldest of them fired do not count: an application
// may arm them all at once.
func (r *Registry[T, E]) crowdedLocked() bool {
	if r.load.oneShots <= limits.OneShotQueue+r.load.peak {
		return false
	}
	r.queue.Sync()
	return r.load.oneShots > limits.OneShotQueue+r.load.peak
}
