package talk

import "slices"

// Log remembers the last Max entries.
type Log[T any] struct {
	Max  int
	ring []T
	next int // where the next one goes once the ring is full
}

// Add remembers an entry.
func (l *Log[T]) Add(x T) {
	switch {
	case l.Max == 0:
	case len(l.ring) < l.Max:
		if len(l.ring) == cap(l.ring) {
			l.ring = slices.Grow(l.ring, min(max(len(l.ring), 64), l.Max-len(l.ring))) // twice, where append does it by a quarter
		}
		l.ring = append(l.ring, x)
	default:
		l.ring[l.next] = x
		l.next = (l.next + 1) % l.Max
	}
}

// All returns a copy of what is remembered, oldest first.
func (l *Log[T]) All() []T {
	all := make([]T, 0, len(l.ring))
	all = append(all, l.ring[l.next:]...)
	return append(all, l.ring[:l.next]...)
}

// Forget empties the log.
func (l *Log[T]) Forget() { l.ring, l.next = nil, 0 }
