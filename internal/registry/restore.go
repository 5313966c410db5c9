package registry

import (
	"github.com/seed-9f8420c6/zk/internal/place"
	"github.com/seed-9f8420c6/zk/internal/watches"
	"github.com/seed-9f8420c6/zk/wire"
)

// Restorer builds the SetWatches frames of one migration.
type Restorer[T ~int32, E Event[T]] struct {
	// Deaf are the lower floors of child watches.
	Deaf place.Children
	// Reads: the watches are restored one by one, by reads.
	Reads bool

	r     *Registry[T, E]
	of    *watches.Restorer[chan<- E]
	floor int64
}

// Restore begins a migration; nil if there is nothing to restore.
func (r *Registry[T, E]) Restore() *Restorer[T, E] {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweepLocked(true)
	r.closed.recursive = nil // the server hears of nothing but what is left
	deaf := r.place.Restore(func(path string) bool { return r.table.Kinds(path).Has(watches.Child) })
	floor := r.place.Floor(r.zxid.Load())
	of := r.table.Restore(floor)
	if of == nil {
		return nil
	}
	return &Restorer[T, E]{Deaf: deaf, Reads: r.who.reads, r: r, of: of, floor: floor}
}

// Op returns the opcode of the next frame.
func (x *Restorer[T, E]) Op() wire.Op { return x.of.Op() }

// Rearms reports whether the last frame has persistent watches.
func (x *Restorer[T, E]) Rearms() bool { return x.of.Rearms() }

// Next appends the record of the next frame, see watches.Restorer.
func (x *Restorer[T, E]) Next(dst []byte, limit int) (out []byte, more bool) {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	return x.of.Next(dst, limit)
}

// Path returns the next watch to restore and the zxid since which it may have missed
// its event; false: there is none.
func (x *Restorer[T, E]) Path() (path string, kind watches.Kind, floor int64, ok bool) {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	path, kind, ok = x.of.Path()
	floor = x.floor
	if since, deaf := x.Deaf[path]; deaf && kind == watches.Child {
		floor = since
	}
	return path, kind, floor, ok
}

// Done ends the migration.
func (x *Restorer[T, E]) Done() {
	x.r.mu.Lock()
	defer x.r.mu.Unlock()
	x.of.Done()
}
