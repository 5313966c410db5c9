// Package fifo has the two queues of the client: one under a lock, and one with
// many writers and a reader that needs no lock for most of what it takes.
package fifo

import "sync/atomic"

// maxKept is how many items an empty Queue keeps room for.
const maxKept = 2048

// Queue is a FIFO. Empty, it keeps a small array for the next burst, and gives
// it back when it is trimmed. It has no lock.
type Queue[T any] struct {
	items []T
	first int
}

// Len returns the number of items.
func (q *Queue[T]) Len() int { return len(q.items) - q.first }

// Head returns the oldest item, which must exist. It is valid until the next change.
func (q *Queue[T]) Head() *T { return &q.items[q.first] }

// Last returns the newest item, which must exist. It is valid until the next change.
func (q *Queue[T]) Last() *T { return &q.items[len(q.items)-1] }

// Push appends an item.
func (q *Queue[T]) Push(v T) { q.items = append(q.items, v) }

// Pop removes the oldest item and returns it.
func (q *Queue[T]) Pop() T {
	v := q.items[q.first]
	q.Drop()
	return v
}

// Drop removes the oldest item.
func (q *Queue[T]) Drop() {
	var zero T
	q.items[q.first] = zero
	q.first++
	switch {
	case q.first == len(q.items):
		q.first = 0
		q.items = q.items[:0]
		if cap(q.items) > maxKept {
			q.items = nil
		}
	case q.first > maxKept/2 && q.first > len(q.items)/2:
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
}

// Trim gives the memory of an empty Queue back.
func (q *Queue[T]) Trim() {
	if q.Len() == 0 {
		*q = Queue[T]{}
	}
}

// Items returns all items, oldest first. They are valid until the next change.
func (q *Queue[T]) Items() []T { return q.items[q.first:] }

// minRing is the number of places of the smallest Ring.
const minRing = 8

// Ring is a FIFO with many writers and one Reader. The writers share a lock,
// under which they call its methods. The Reader takes items from a snapshot, for
// an array that was outgrown stays as it was.
type Ring[T any] struct {
	slots []T
	tail  uint64
	mark  uint64 // tail at the last Mark
	head  atomic.Uint64
}

// Len returns the number of items that have not left.
func (r *Ring[T]) Len() int { return int(r.tail - r.head.Load()) }

// Left returns the number of items that have left.
func (r *Ring[T]) Left() int64 { return int64(r.head.Load()) }

// Mark makes all items so far old ones.
func (r *Ring[T]) Mark() { r.mark = r.tail }

// Fresh returns the number of items that were appended since Mark.
func (r *Ring[T]) Fresh() int { return int(r.tail - r.mark) }

// Push appends an item, and returns its place: the caller fills all of it before it
// gives the lock up.
func (r *Ring[T]) Push() *T {
	head := r.head.Load()
	if n := uint64(len(r.slots)); r.tail-head == n {
		grown := make([]T, max(minRing, 2*n)) // always a power of two
		for i := head; i < r.tail; i++ {
			*at(grown, i) = *at(r.slots, i)
		}
		r.slots = grown
	}
	r.tail++
	return at(r.slots, r.tail-1)
}

// at returns the place of an item by its number.
func at[T any](slots []T, i uint64) *T { return &slots[i&uint64(len(slots)-1)] }

// Each calls f for the items that have not left, oldest first, while it returns true.
// The writers call it. f must not change an item: the Reader may be taking it.
func (r *Ring[T]) Each(f func(v *T) bool) {
	for i := r.head.Load(); i < r.tail; i++ {
		if !f(at(r.slots, i)) {
			return
		}
	}
}

// Release gives the memory of an empty Ring back.
func (r *Ring[T]) Release() {
	if r.Len() == 0 {
		r.slots = nil
	}
}

// Reader takes the items of a Ring. Only one goroutine uses it.
type Reader[T any] struct {
	ring  *Ring[T]
	slots []T
	head  uint64
	tail  uint64
}

// NewReader returns the Reader of a Ring.
func NewReader[T any](r *Ring[T]) Reader[T] { return Reader[T]{ring: r} }

// Next takes the oldest item of the snapshot; nil: it has no more, Refresh it. The item
// stays as it is until Leave.
func (r *Reader[T]) Next() *T {
	if r.head == r.tail {
		return nil
	}
	r.head++
	return at(r.slots, r.head-1)
}

// Refresh takes a new snapshot, under the writers' lock, and reports whether it
// has an item.
func (r *Reader[T]) Refresh() bool {
	r.slots, r.tail = r.ring.slots, r.ring.tail
	return r.head < r.tail
}

// Leave makes all items taken so far leave the Ring. Until then they count in Len.
func (r *Reader[T]) Leave() {
	r.ring.head.Store(r.head)
	if r.head == r.tail {
		r.slots = nil
	}
}

// Drained reports whether all items were taken. It is called under the writers' lock.
func (r *Reader[T]) Drained() bool { return r.ring.tail == r.head }
