// Package registry is what a session watches: which channels are armed at which paths,
// which events are on their way to them, and how much of the history they have seen. It
// belongs to the session's identity, and moves with it from connection to connection.
package registry

import (
	"sync"
	"sync/atomic"

	"github.com/seed-9f8420c6/zk/internal/handover"
	"github.com/seed-9f8420c6/zk/internal/order"
	"github.com/seed-9f8420c6/zk/internal/place"
	"github.com/seed-9f8420c6/zk/internal/watches"
)

// Registry holds what one identity watches. E is the type of the application's events,
// and T that of their types, which have the values of the protocol. The zero value is
// empty. Methods that only the reader of a connection may call say so; the others may be
// called at any time.
type Registry[T ~int32, E Event[T]] struct {
	zxid  atomic.Int64 // newest transaction that a reply reported
	xid   atomic.Int32 // of the last request, when a connection is over
	queue order.Sequencer[E, note]
	news  atomic.Bool // there are lost watches, or new Gaps, for the reader to report

	// mu guards all that follows, and the queue. It is never held over I/O or a wait for
	// the application. The lock of a connection comes before it.
	mu     sync.Mutex
	table  watches.Table[chan<- E]
	closed closed[E]
	load   load
	gaps   map[gapKey[E]]struct{} // undelivered Gaps
	place  place.Place
	who    identity
	// unbound is set after unmarshalling, until Rebind gives the watches channels.
	unbound *handover.Watches
	head    Head // of the queue, while load says that it waits
	newly   []E  // Gaps of the reader's last chunk that no hook has seen
}

// Event is what an application's event has.
type Event[T ~int32] interface {
	~struct {
		Type T
		Path string
		Zxid int64
	}
}

// fields is an Event whose fields can be named: Go lets no generic code name those of E.
type fields[T ~int32] struct {
	Type T
	Path string
	Zxid int64
}

// Lock and Unlock are for what has to be decided together with what is armed.
func (r *Registry[T, E]) Lock()   { r.mu.Lock() }
func (r *Registry[T, E]) Unlock() { r.mu.Unlock() }

// Zxid returns the newest transaction that a reply reported.
func (r *Registry[T, E]) Zxid() int64 { return r.zxid.Load() }

// Advance notes the zxid of a reply. Only the reader calls it, or a Dial while there is none.
func (r *Registry[T, E]) Advance(zxid int64) {
	if zxid > r.zxid.Load() {
		r.zxid.Store(zxid)
	}
}

// Xid returns that of the last request of the connection before; 0: there was none. Servers
// take the first of two writes of a session with one xid for the second, if that comes
// before the first is committed (CommitProcessor). So xids go on where they were.
func (r *Registry[T, E]) Xid() int32 { return r.xid.Load() }

// NoteXid notes the last xid of a connection that is over.
func (r *Registry[T, E]) NoteXid(xid int32) { r.xid.Store(xid) }

// Len returns the number of armed entries.
func (r *Registry[T, E]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unbound != nil {
		return len(r.unbound.Armed)
	}
	r.sweepLocked(true)
	return r.table.Len()
}

// Count returns the number of armed entries of a kind; of unmarshalled watches none.
func (r *Registry[T, E]) Count(kind watches.Kind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(true)
	return r.table.Count(kind)
}

// Undelivered returns the number of events that have not left.
func (r *Registry[T, E]) Undelivered() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unbound != nil {
		return len(r.unbound.Events)
	}
	r.queue.Sync()
	return r.queue.Undelivered()
}

// Arm registers a channel; raw: its events have the server's path. Only the reader calls
// it, at the reply's place on the wire.
func (r *Registry[T, E]) Arm(path string, kind watches.Kind, raw bool, ch chan<- E) {
	r.mu.Lock()
	r.ArmLocked(path, kind, raw, ch)
	r.mu.Unlock()
}

// ArmLocked is Arm under the lock.
func (r *Registry[T, E]) ArmLocked(path string, kind watches.Kind, raw bool, ch chan<- E) {
	if len(r.closed.known) > 0 {
		r.rearmLocked(ch)
	}
	r.table.Add(path, kind, raw, ch)
	r.load.peak = max(r.load.peak, r.table.Len())
}

// Armed returns the kinds that are armed at a path.
func (r *Registry[T, E]) Armed(path string) watches.Kinds {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.Kinds(path)
}

// Room reports whether there is room to arm one more, and whether persistent watches are
// armed.
func (r *Registry[T, E]) Room() (room, persistent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.crowdedLocked(), r.table.Persistent() > 0
}

// Disarm removes a channel from a path. Its one-shots go at once. Its persistent kinds go
// at once if shared is set, or if another channel is armed there. Otherwise they stay, and
// asked is set: the server has to remove them first.
func (r *Registry[T, E]) Disarm(path string, ch chan<- E, shared bool) (found, asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(true)
	mine, others := r.table.KindsOf(path, ch)
	for kind := watches.Data; kind <= watches.Recursive; kind++ {
		switch {
		case !mine.Has(kind):
		case shared || others || kind.OneShot():
			r.table.Remove(path, kind, ch)
		default:
			asked = true
		}
	}
	r.table.Shrink()
	return mine != 0, asked
}
