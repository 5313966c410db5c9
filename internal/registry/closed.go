package registry

import (
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// closed are the channels that the application has closed although they are armed.
type closed[E any] struct {
	// known are those found closed. They stay here while events are undelivered, so
	// that each is reported once, or until they are armed again.
	known map[chan<- E]struct{}
	// unswept counts those whose other watches may be armed still.
	unswept int
	// For the reader: what to report, and the paths whose recursive watches have gone.
	lost      []Lost
	recursive []string
}

// Lost is the watch whose event found its channel closed.
type Lost struct {
	Path string // of its event, as the application knows it
	Kind watches.Kind
}

// dropLocked forgets the watch of a channel that was found closed. The channel's other
// watches go at the next sweep, because a sweep looks at all watches there are.
func (r *Registry[T, E]) dropLocked(it *order.Item[E, note]) {
	c := &r.closed
	if !it.Note.kind.OneShot() {
		r.table.Remove(it.Note.at, it.Note.kind, it.Ch)
		r.goneLocked(it.Note.at, it.Note.kind)
	}
	if _, ok := c.known[it.Ch]; ok {
		return
	}
	if c.known == nil {
		c.known = make(map[chan<- E]struct{})
	}
	c.known[it.Ch] = struct{}{}
	c.unswept++
	c.lost = append(c.lost, Lost{Path: fields[T](it.Event).Path, Kind: it.Note.kind})
	r.news.Store(true)
}

// goneLocked notes that a watch of a closed channel is disarmed.
func (r *Registry[T, E]) goneLocked(at string, kind watches.Kind) {
	if kind == watches.Recursive {
		r.closed.recursive = append(r.closed.recursive, at)
		r.news.Store(true)
	}
}

// rearmLocked forgets that a channel was found closed, before it is armed again: all that
// it has from then on must go when its next event finds it closed.
func (r *Registry[T, E]) rearmLocked(ch chan<- E) {
	if _, ok := r.closed.known[ch]; ok {
		r.sweepLocked(true)
		delete(r.closed.known, ch)
	}
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
	r.table.Sweep(func(x watches.Target[chan<- E]) bool {
		_, ok := c.known[x.Ch]
		if ok {
			r.goneLocked(x.Path, x.Kind)
		}
		return ok
	})
	if r.queue.Undelivered() == 0 {
		c.known = nil
	}
}

// TakeLost returns the watches that were lost to closed channels since the last call, and
// the paths whose recursive watches are gone by that. Only the reader calls it.
func (r *Registry[T, E]) TakeLost() (lost []Lost, recursive []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(false)
	c := &r.closed
	lost, recursive = c.lost, c.recursive
	c.lost, c.recursive = nil, nil
	r.newly = nil // which a hook has seen, if there is one
	r.news.Store(false)
	return lost, recursive
}
