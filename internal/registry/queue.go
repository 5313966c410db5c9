package registry

import (
	"time"

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

// Chunk notes that the reader has read more.
func (r *Registry[T, E]) Chunk() { r.queue.Chunk() }

// Answer wakes a caller, behind the events before its answer. Only the reader calls it.
func (r *Registry[T, E]) Answer(wake chan<- struct{}) { r.queue.Answer(&r.mu, wake) }

// Picked is the first thing that a caller does after its wait.
func (r *Registry[T, E]) Picked() { r.queue.Picked(&r.mu) }

// Trim gives memory back that a burst of events took.
func (r *Registry[T, E]) Trim() {
	r.mu.Lock()
	r.queue.Trim()
	if r.closed.unswept == 0 && r.queue.Undelivered() == 0 {
		r.closed.known = nil
	}
	r.mu.Unlock()
}

// queueOwner is a Registry as the owner of its queue.
type queueOwner[T ~int32, E Event[T]] Registry[T, E]

func (o *queueOwner[T, E]) Lock()   { o.mu.Lock() }
func (o *queueOwner[T, E]) Unlock() { o.mu.Unlock() }

// Sent notes that an event has left the queue.
func (o *queueOwner[T, E]) Sent(it order.Item[E, note], shut bool) {
	(*Registry[T, E])(o).sentLocked(&it, shut)
}

// Waits notes that an event is the next, and its channel is full.
func (o *queueOwner[T, E]) Waits(it order.Item[E, note]) {
	o.load.waits = true
	o.head = Head{Since: time.Now(), Path: fields[T](it.Event).Path, Cap: cap(it.Ch)}
}

func (r *Registry[T, E]) sentLocked(it *order.Item[E, note], shut bool) {
	gap := isGap[T](it)
	r.load.waits = false
	r.load.count(it.Note.kind, gap, -1)
	if gap {
		delete(r.gaps, gapKey[E]{it.Note.at, it.Ch})
	}
	if shut {
		r.dropLocked(it)
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

// closed are the channels that the application has closed although they are armed.
type closed[E any] struct {
	// known are those found closed. They stay here while events are undelivered, so
	// that each is reported once.
	known map[chan<- E]struct{}
	// unswept counts those whose other watches may be armed still.
	unswept int
	lost    []Lost // for the reader to report
}

// Lost is the watch whose event found its channel closed.
type Lost struct {
	// At is its path as the server knows it, and Path that of the event as the application
	// does.
	At, Path string
	Kind     watches.Kind
}

// dropLocked forgets the watch of a channel that was found closed. The channel's other
// watches go at the next sweep, because a sweep looks at all watches there are.
func (r *Registry[T, E]) dropLocked(it *order.Item[E, note]) {
	if !it.Note.kind.OneShot() {
		r.table.Remove(it.Note.at, it.Note.kind, it.Ch)
	}
	c := &r.closed
	if _, ok := c.known[it.Ch]; ok {
		return
	}
	if c.known == nil {
		c.known = make(map[chan<- E]struct{})
	}
	c.known[it.Ch] = struct{}{}
	c.unswept++
	c.lost = append(c.lost, Lost{At: it.Note.at, Path: fields[T](it.Event).Path, Kind: it.Note.kind})
	r.news.Store(true)
}

// sweepShare is how many entries are looked at for one closed channel.
const sweepShare = 64

// sweepLocked forgets all watches of closed channels. Unless all is set, it waits
// until that is worth a look at all watches.
func (r *Registry[T, E]) sweepLocked(all bool) {
	c := &r.closed
	if c.unswept == 0 || !all && c.unswept*sweepShare < r.table.Len() {
		return
	}
	c.unswept = 0
	r.table.Sweep(func(ch chan<- E) bool {
		_, ok := c.known[ch]
		return ok
	})
	if r.queue.Undelivered() == 0 {
		c.known = nil
	}
}

// TakeLost returns the watches that were lost to closed channels since the last call.
// Only the reader calls it.
func (r *Registry[T, E]) TakeLost() []Lost {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(false)
	lost := r.closed.lost
	r.closed.lost = nil
	r.newly = nil // which a hook has seen, if there is one
	r.news.Store(false)
	return lost
}
