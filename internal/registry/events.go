package registry

import (
	"fmt"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/internal/zpath"
)

// note is what an undelivered event remembers of its watch.
type note struct {
	at   string // the watch's path, as the server knows it
	kind watches.Kind
	raw  bool // the event has the server's path, not the application's
	gap  bool // it is a Gap
}

type gapKey[E any] struct {
	at string
	ch chan<- E
}

// Notified is what became of an event frame, for hooks.
type Notified[E any] struct {
	// Event is as the first of its channels gets it.
	Event E
	// Queued: not all of them have it.
	Queued bool
}

// Overflow is how many events of persistent watches are undelivered, where there is no
// room for more.
type Overflow int

func (n Overflow) Error() string {
	return fmt.Sprintf("%d events of persistent watches are undelivered", int(n))
}

// Notify resolves an event frame to its channels and disarms the one-shots, all at the
// frame's place on the wire. It returns how many channels get it, and fills in got,
// unless that is nil. Only the reader calls it.
func (r *Registry[T, E]) Notify(typ T, path []byte, zxid int64, got *Notified[E]) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	targets, persistent := r.table.Match(int32(typ), path)
	if persistent > 0 && r.overflowsLocked(persistent) {
		return 0, Overflow(r.load.persistent)
	}
	r.queueGapsLocked()
	if r.load.oneShots == 0 {
		r.load.peak = r.table.Len()
	}
	var ev E
	for i := range targets {
		x := &targets[i]
		if i == 0 || x.Raw != targets[i-1].Raw { // it is the same for all others
			ev = E(fields[T]{Type: typ, Path: r.appPath(eventPath(x.Path, path), x.Raw), Zxid: max(zxid, 0)})
		}
		r.load.count(x.Kind, false, 1)
		r.queue.Post(&order.Item[E, note]{Ch: x.Ch, Event: ev, Note: note{at: x.Path, kind: x.Kind, raw: x.Raw}})
		if got != nil && i == 0 {
			got.Event = ev
		}
	}
	if len(targets) > 0 {
		r.table.Fire(int32(typ), path)
	}
	r.queue.Release()
	if got != nil {
		got.Queued = r.queue.Undelivered() > 0
	}
	return len(targets), nil
}

// eventPath returns an event's path. That of a watch stands for it, without a copy, where
// it is the same and not that of a recursive watch further up.
func eventPath(armed string, path []byte) string {
	if len(armed) == len(path) {
		return armed
	}
	return string(path)
}

// appPath returns a path of the server as a watch's events have it.
func (r *Registry[T, E]) appPath(path string, raw bool) string {
	if raw {
		return path
	}
	return zpath.Strip(r.who.chroot, path)
}

// queueGapsLocked queues the Gap of each persistent watch, where one is owed.
func (r *Registry[T, E]) queueGapsLocked() {
	if r.place.TakeGap() {
		r.postGapsLocked(r.table.EachPersistent)
	}
}

// GapAt queues a Gap for the persistent watches of one kind at a path. Only the reader
// calls it.
func (r *Registry[T, E]) GapAt(path string, kind watches.Kind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.postGapsLocked(func(f func(watches.Target[chan<- E])) { r.table.Channels(path, kind, f) })
	r.queue.Release()
}

// postGapsLocked queues a Gap for each (path, channel) of some watches that has none
// undelivered.
func (r *Registry[T, E]) postGapsLocked(each func(f func(watches.Target[chan<- E]))) {
	r.queue.Sync() // a Gap that was just received is undelivered no more
	var owed []watches.Target[chan<- E]
	each(func(x watches.Target[chan<- E]) {
		if r.noteGapLocked(x.Path, x.Ch) {
			owed = append(owed, x)
		}
	})
	for _, x := range owed { // which may find a channel closed, and change the table
		ev := E(fields[T]{Type: handover.Gap, Path: r.appPath(x.Path, x.Raw)})
		r.newly = append(r.newly, ev)
		r.news.Store(true)
		r.load.count(x.Kind, true, 1)
		r.queue.Post(&order.Item[E, note]{Ch: x.Ch, Event: ev, Note: note{at: x.Path, kind: x.Kind, raw: x.Raw, gap: true}})
	}
}

// noteGapLocked notes the Gap of a path and channel, unless one is undelivered.
func (r *Registry[T, E]) noteGapLocked(at string, ch chan<- E) bool {
	k := gapKey[E]{at, ch}
	if _, there := r.gaps[k]; there {
		return false
	}
	if r.gaps == nil {
		r.gaps = make(map[gapKey[E]]struct{})
	}
	r.gaps[k] = struct{}{}
	return true
}

// News reports whether TakeLost or TakeGaps has something.
func (r *Registry[T, E]) News() bool { return r.news.Load() }

// TakeGaps returns the Gaps since the last call, and whether not all events have been
// handed over. Only the reader calls it.
func (r *Registry[T, E]) TakeGaps() (gaps []E, queued bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gaps, r.newly = r.newly, nil
	return gaps, r.queue.Undelivered() > 0
}
