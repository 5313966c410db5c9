package watches

import (
	"hash/maphash"
	"slices"

	"github.com/seed-9f8420c6/zk/wire"
)

// Match returns who gets an event, each channel once, and how many of them by a
// persistent watch: those armed at the path, then recursive ones further up, from
// the top. The targets are the caller's until the next Match.
func (t *Table[C]) Match(typ int32, path []byte) (targets []Target[C], persistent int) {
	if t.paths == 0 {
		return nil, 0
	}
	targets = t.matched[:0]
	sets := 0 // slots that the targets come from
	collect := func(at uint32) {
		sets++
		s := &t.slots[at]
		if !s.many {
			targets = append(targets, Target[C]{s.path, s.ch, s.kind, s.raw})
			return
		}
		for _, m := range t.fans[at].list {
			if m.live {
				targets = append(targets, Target[C]{s.path, m.ch, s.kind, m.raw})
			}
		}
	}
	for at := t.chain(path, uint32(maphash.Bytes(hashSeed, path))); at != 0; at = t.slots[at-1].next {
		if t.slots[at-1].kind.Takes(typ) {
			collect(at - 1)
		}
	}
	if t.count[Recursive] > 0 && typ != wire.EventNodeChildrenChanged {
		t.above(path, collect)
	}
	if sets > 1 {
		targets = distinct(targets)
	}
	for i := range targets {
		if !targets[i].Kind.OneShot() {
			persistent++
		}
	}
	if t.matched = targets; cap(targets) > maxScratch {
		t.matched = nil
	}
	return targets, persistent
}

// above calls f for the recursive watches of a path's ancestors. One hash serves
// them all, for a path may have very many.
func (t *Table[C]) above(path []byte, f func(at uint32)) {
	t.hash.SetSeed(hashSeed)
	hashed := 0
	for end := 0; end < len(path) && max(end, 1) <= t.deepest; end++ {
		if path[end] != '/' || len(path) == 1 {
			continue
		}
		prefix := path[:max(end, 1)]
		t.hash.Write(prefix[hashed:])
		hashed = len(prefix)
		for at := t.chain(prefix, uint32(t.hash.Sum64())); at != 0; at = t.slots[at-1].next {
			if t.slots[at-1].kind == Recursive {
				f(at - 1)
			}
		}
		if end == 0 { // the root is no prefix of the others' text
			t.hash.Reset()
			hashed = 0
		}
	}
}

// distinct keeps the first target of each channel: one notification gives a
// channel one event, in however many ways it is armed.
func distinct[C comparable](targets []Target[C]) []Target[C] {
	kept := targets[:0]
	if len(targets) <= 32 {
		for _, x := range targets {
			if !slices.ContainsFunc(kept, func(k Target[C]) bool { return k.Ch == x.Ch }) {
				kept = append(kept, x)
			}
		}
		return kept
	}
	seen := make(map[C]struct{}, len(targets))
	for _, x := range targets {
		if _, ok := seen[x.Ch]; !ok {
			seen[x.Ch] = struct{}{}
			kept = append(kept, x)
		}
	}
	return kept
}

// Fire disarms the one-shots at a path that an event of the type disarms, those of
// all channels.
func (t *Table[C]) Fire(typ int32, path []byte) {
	if t.n == t.Persistent() {
		return
	}
	i, ok := find(t, path, uint32(maphash.Bytes(hashSeed, path)))
	if !ok {
		return
	}
	for at, before := t.index[i].slot, uint32(0); at != 0; {
		s := &t.slots[at-1]
		next, kind := s.next, s.kind
		if !kind.OneShot() || !kind.Takes(typ) {
			before, at = at, next
			continue
		}
		n := 1
		if s.many {
			n = t.fans[at-1].len()
		}
		t.forget(kind, n)
		last := before == 0 && next == 0 // the place goes with it
		t.unlink(i, before, at)
		if last {
			break
		}
		at = next
	}
	t.Shrink()
}
