package registry

import (
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

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
	// At is the path of the watch, as the server knows it. Path is that of its event, as the
	// application does.
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
