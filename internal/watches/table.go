package watches

import (
	"hash/maphash"
	"slices"
)

// Table says which channels are armed at which paths. The zero value is empty.
//
// It has a slot for each (path, kind), chained per path, and an open-addressed
// index of the paths. That takes about half the memory of a Go map, and an event
// costs no allocation, since the armed path is its path. Where several channels
// are armed at one path in one kind, the slot has a fan of them. So all that an
// event does takes time for its path and for those who get it, not for others.
type Table[C comparable] struct {
	slots []slot[C]
	free  uint32 // first free slot + 1
	used  int    // slots that are not free
	index []place
	paths int
	fans  map[uint32]*fan[C] // by slot, of those with many

	n     int           // armed entries
	count [numKinds]int // of these, by kind

	pinned  bool // a Restorer walks the slots
	deepest int  // length of the longest path with a recursive watch, or more
	hash    maphash.Hash
	matched []Target[C] // of the last Match
}

// slot is a kind at a path, with its only channel or a fan. It is 32 bytes; a free
// one has no kind and links to the next free one.
type slot[C comparable] struct {
	path string
	ch   C
	next uint32 // next slot of the path + 1
	kind Kind
	many bool // the channels are in a fan
	raw  bool
}

// place is one path of the index.
type place struct {
	hash uint32
	slot uint32 // head of the chain + 1; 0: empty
}

var hashSeed = maphash.MakeSeed()

const (
	minTable = 8
	// maxScratch is how many targets a Table keeps room for between events.
	maxScratch = 1024
)

// Len returns the number of entries: of (path, kind, channel).
func (t *Table[C]) Len() int { return t.n }

// Count returns the number of entries of a kind.
func (t *Table[C]) Count(kind Kind) int {
	if int(kind) >= numKinds {
		return 0
	}
	return t.count[kind]
}

// Persistent returns the number of entries that their events do not disarm.
func (t *Table[C]) Persistent() int { return t.count[Persistent] + t.count[Recursive] }

// find returns the place of a path in the index, or the empty place for it.
func find[C comparable, P string | []byte](t *Table[C], path P, hash uint32) (int, bool) {
	mask := uint32(len(t.index) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		p := t.index[i]
		if p.slot == 0 {
			return int(i), false
		}
		if p.hash == hash && t.slots[p.slot-1].path == string(path) {
			return int(i), true
		}
	}
}

// lookup returns the place of a path, and whether it is armed.
func (t *Table[C]) lookup(path string) (int, bool) {
	if t.paths == 0 {
		return 0, false
	}
	return find(t, path, uint32(maphash.String(hashSeed, path)))
}

// chain returns the first slot of a path + 1, or 0.
func (t *Table[C]) chain(path []byte, hash uint32) uint32 {
	i, _ := find(t, path, hash)
	return t.index[i].slot
}

// Kinds returns the kinds that are armed at a path.
func (t *Table[C]) Kinds(path string) (kinds Kinds) {
	if i, ok := t.lookup(path); ok {
		for at := t.index[i].slot; at != 0; at = t.slots[at-1].next {
			kinds.add(t.slots[at-1].kind)
		}
	}
	return kinds
}

// KindsOf returns the kinds in which a channel is armed at a path, and whether
// another channel is armed there.
func (t *Table[C]) KindsOf(path string, ch C) (mine Kinds, others bool) {
	i, ok := t.lookup(path)
	if !ok {
		return 0, false
	}
	for at := t.index[i].slot; at != 0; at = t.slots[at-1].next {
		s := &t.slots[at-1]
		switch {
		case s.many:
			f := t.fans[at-1]
			has := f.find(ch) >= 0
			if has {
				mine.add(s.kind)
			}
			others = others || !has || f.len() > 1
		case s.ch == ch:
			mine.add(s.kind)
		default:
			others = true
		}
	}
	return mine, others
}

// Channels calls f for each channel that is armed at a path in a kind.
func (t *Table[C]) Channels(path string, kind Kind, f func(Target[C])) {
	i, ok := t.lookup(path)
	if !ok {
		return
	}
	for at := t.index[i].slot; at != 0; at = t.slots[at-1].next {
		if t.slots[at-1].kind == kind {
			t.each(at-1, f)
		}
	}
}

// Add arms a channel, unless it is armed at the path in this kind already.
func (t *Table[C]) Add(path string, kind Kind, raw bool, ch C) {
	at, fresh := t.insert(path, kind)
	s := &t.slots[at]
	switch {
	case fresh:
		s.ch, s.raw = ch, raw
	case s.many:
		if !t.fans[at].add(ch, raw) {
			return
		}
	case s.ch == ch:
		return
	default:
		f := new(fan[C])
		f.add(s.ch, s.raw)
		f.add(ch, raw)
		t.widen(at, f)
	}
	t.n++
	t.count[kind]++
	if kind == Recursive {
		t.deepest = max(t.deepest, len(path))
	}
}

// widen makes a slot have a fan.
func (t *Table[C]) widen(at uint32, f *fan[C]) {
	if t.fans == nil {
		t.fans = make(map[uint32]*fan[C])
	}
	var none C
	t.slots[at].ch, t.slots[at].many = none, true
	t.fans[at] = f
}

// insert returns the slot of a kind at a path, and whether it is new.
func (t *Table[C]) insert(path string, kind Kind) (at uint32, fresh bool) {
	if t.paths >= len(t.index)/4*3 {
		t.grow(max(minTable, 2*len(t.index)))
	}
	hash := uint32(maphash.String(hashSeed, path))
	i, found := find(t, path, hash)
	last := uint32(0)
	if found {
		path = t.slots[t.index[i].slot-1].path // one string for the whole chain
		for at := t.index[i].slot; at != 0; at = t.slots[at-1].next {
			if t.slots[at-1].kind == kind {
				return at - 1, false
			}
			last = at
		}
	}
	at = t.free
	if at != 0 {
		t.free = t.slots[at-1].next
	} else {
		t.slots = append(t.slots, slot[C]{})
		at = uint32(len(t.slots))
	}
	t.slots[at-1] = slot[C]{path: path, kind: kind}
	if found {
		t.slots[last-1].next = at
	} else {
		t.index[i] = place{hash, at}
		t.paths++
	}
	t.used++
	return at - 1, true
}

// Remove disarms a channel at a path in one kind and reports whether it was armed.
func (t *Table[C]) Remove(path string, kind Kind, ch C) bool {
	i, ok := t.lookup(path)
	if !ok {
		return false
	}
	for at, before := t.index[i].slot, uint32(0); at != 0; before, at = at, t.slots[at-1].next {
		s := &t.slots[at-1]
		if s.kind != kind {
			continue
		}
		if s.many {
			f := t.fans[at-1]
			if !f.remove(ch) {
				return false
			}
			t.forget(kind, 1)
			if f.len() > 0 {
				return true
			}
		} else if s.ch != ch {
			return false
		} else {
			t.forget(kind, 1)
		}
		t.unlink(i, before, at)
		return true
	}
	return false
}

// forget counts entries that are disarmed.
func (t *Table[C]) forget(kind Kind, n int) {
	t.n -= n
	if t.count[kind] -= n; t.count[Recursive] == 0 {
		t.deepest = 0
	}
}

// unlink frees a slot: at-1, behind before-1 in the chain of a place.
func (t *Table[C]) unlink(i int, before, at uint32) {
	next := t.slots[at-1].next
	switch {
	case before != 0:
		t.slots[before-1].next = next
	case next != 0:
		t.index[i].slot = next
	default:
		t.unindex(i)
	}
	if t.slots[at-1].many {
		delete(t.fans, at-1)
	}
	t.slots[at-1] = slot[C]{next: t.free}
	t.free = at
	t.used--
}

// unindex removes a path from the index and closes the hole.
func (t *Table[C]) unindex(hole int) {
	mask := len(t.index) - 1
	for i := (hole + 1) & mask; t.index[i].slot != 0; i = (i + 1) & mask {
		if home := int(t.index[i].hash) & mask; (i-home)&mask >= (i-hole)&mask {
			t.index[hole] = t.index[i]
			hole = i
		}
	}
	t.index[hole] = place{}
	t.paths--
}

// grow makes the index n places large.
func (t *Table[C]) grow(n int) {
	old := t.index
	t.index = make([]place, n)
	mask := uint32(n - 1)
	for _, p := range old {
		if p.slot == 0 {
			continue
		}
		i := p.hash & mask
		for t.index[i].slot != 0 {
			i = (i + 1) & mask
		}
		t.index[i] = p
	}
}

// Shrink rebuilds a table that is mostly empty.
func (t *Table[C]) Shrink() {
	if t.pinned || len(t.slots) <= 64 || t.used > len(t.slots)/4 {
		return
	}
	small := Table[C]{slots: make([]slot[C], 0, t.used), n: t.n, count: t.count, deepest: t.deepest}
	for i := range t.slots {
		s := &t.slots[i]
		if s.kind == 0 {
			continue
		}
		at, _ := small.insert(s.path, s.kind)
		small.slots[at].ch, small.slots[at].raw = s.ch, s.raw
		if s.many {
			small.widen(at, t.fans[uint32(i)])
		}
	}
	*t = small
}

// each calls f for the entries of a slot.
func (t *Table[C]) each(at uint32, f func(Target[C])) {
	s := &t.slots[at]
	if !s.many {
		f(Target[C]{s.path, s.ch, s.kind, s.raw})
		return
	}
	t.fans[at].each(func(m member[C]) { f(Target[C]{s.path, m.ch, s.kind, m.raw}) })
}

// EachPersistent calls f for the entries that their events do not disarm.
func (t *Table[C]) EachPersistent(f func(Target[C])) {
	if t.Persistent() == 0 {
		return
	}
	for at := range t.slots {
		if k := t.slots[at].kind; k != 0 && !k.OneShot() {
			t.each(uint32(at), f)
		}
	}
}

// Sweep disarms the entries that gone reports.
func (t *Table[C]) Sweep(gone func(Target[C]) bool) {
	var swept []Target[C]
	for at := range t.slots {
		if t.slots[at].kind != 0 {
			t.each(uint32(at), func(e Target[C]) {
				if gone(e) {
					swept = append(swept, e)
				}
			})
		}
	}
	for _, e := range swept {
		t.Remove(e.Path, e.Kind, e.Ch)
	}
	t.Shrink()
}

// Snapshot is a copy of a Table's entries, to look at without its owner's lock.
type Snapshot[C comparable] struct {
	slots []slot[C]
	fans  map[uint32][]member[C]
}

// Snapshot copies all entries.
func (t *Table[C]) Snapshot() *Snapshot[C] {
	s := &Snapshot[C]{slots: slices.Clone(t.slots)}
	if len(t.fans) > 0 {
		s.fans = make(map[uint32][]member[C], len(t.fans))
		for at, f := range t.fans {
			s.fans[at] = slices.Clone(f.list)
		}
	}
	return s
}

// Each calls f for every entry.
func (s *Snapshot[C]) Each(f func(Target[C])) {
	for i := range s.slots {
		switch x := &s.slots[i]; {
		case x.kind == 0:
		case !x.many:
			f(Target[C]{x.path, x.ch, x.kind, x.raw})
		default:
			for _, m := range s.fans[uint32(i)] {
				if m.live {
					f(Target[C]{x.path, m.ch, x.kind, m.raw})
				}
			}
		}
	}
}
